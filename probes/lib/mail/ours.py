"""Whose a message in a mailbox is: ours that is asked for, litter of ours, a report that may be about ours, or somebody else's."""

import time
from collections.abc import Collection

from probes.lib.mail.letter import HEADER, unfolded
from probes.lib.mail.report import report_in

LITTER_SECONDS = 86_400
"""Age from which something of ours that nobody remembers is litter."""


def is_wanted(tag: str, came: float | None, tags: Collection[str]) -> bool:
    """Say whether a message with this tag is asked for. With no tags all of ours is that came (Unix seconds) more than a day ago."""
    if tags:
        return tag in tags
    return bool(tag) and came is not None and time.time() - came > LITTER_SECONDS


def may_report(header: bytes) -> bool:
    """Say whether a header could be a delivery report's; its body then tells. A letter of ours is none, whatever its subject says."""
    fields = dict(unfolded(header_text(header)))
    if HEADER.lower() in fields:
        return False
    return fields.get("content-type", "").lower().startswith("multipart/report") or report_in(header) is not None


def header_text(header: bytes) -> str:
    """Return a header as text; bytes that are not UTF-8 stand as escapes."""
    return header.decode(errors="backslashreplace")
