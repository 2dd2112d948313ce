"""The content of a file that a probe overwrites: it says what it is, to people and to other probes of ours, and proves that it is whole.

Two lines of text, then what cannot be guessed: the second line is JSON with who wrote it, when, under which tag, and length and SHA-256 of
the rest. Several agents may write one file; each knows its own content, and that of the others for what it is.
"""

import hashlib
import json
import secrets
import time
from dataclasses import dataclass

_FIRST = b"Fogbell overwrites this file to see whether files can be written. It may be deleted: the next run makes it anew.\n"
_LINE = 1024
# Longest second line, in bytes.
_BLOCK = 65_536
# The filler repeats after so many bytes: farther than deflate looks back, so that nothing on the way makes it smaller.
_FIELDS = {"tag": str, "probe": str, "moment": int | float, "bytes": int, "sha256": str}


@dataclass(frozen=True, slots=True)
class Marked:
    """A content of ours. `moment` (Unix seconds) is when it was written, by the clock of whoever wrote it."""

    tag: str
    probe: str
    moment: float
    content: bytes


def marked(probe: str, size: int) -> Marked:
    """Return a new content of about `size` bytes."""
    filler = (secrets.token_bytes(_BLOCK) * (size // _BLOCK + 1))[: max(size - len(_FIRST), 1)]
    tag, moment = secrets.token_hex(16), time.time()
    says = {"tag": tag, "probe": probe[:200], "moment": moment, "bytes": len(filler), "sha256": hashlib.sha256(filler).hexdigest()}
    return Marked(tag, probe, moment, b"".join((_FIRST, json.dumps(says).encode(), b"\n", filler)))


def read_marked(content: bytes) -> Marked | None:
    """Return what a content of ours says, of whichever probe; None where it is none, or not whole."""
    line, end, filler = content.removeprefix(_FIRST).partition(b"\n")
    if not content.startswith(_FIRST) or not end or len(line) > _LINE:
        return None
    try:
        says = json.loads(line)
    except ValueError:
        return None
    if not isinstance(says, dict) or not all(isinstance(says.get(name), kind) for name, kind in _FIELDS.items()):
        return None
    if says["bytes"] != len(filler) or says["sha256"] != hashlib.sha256(filler).hexdigest():
        return None
    return Marked(says["tag"], says["probe"], float(says["moment"]), content)
