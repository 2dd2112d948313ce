"""Reads delivery reports: what a mail server sends back when it could not, or not yet, deliver what it had accepted.

The machine-readable kind is RFC 3464's (Postfix, Exchange); where a report has no such part, its words are searched. The message is cut
into parts by our own flat scan, linear in the text, because it may be anything: Python's parser can be made to recurse.
"""

import binascii
import quopri
import re
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass

from probes.core.text import shown
from probes.lib.mail.letter import tag_in, unfolded

MESSAGE_BYTES = 1 << 17
"""Of a longer message only this much is read."""

_MOST_PARTS = 100
# What comes behind them belongs to the last: a message of nothing but boundaries would hold up the loop.
_DIAGNOSTIC_CHARACTERS = 300
_STATUS = re.compile(r"(?<![\d.])[245]\.\d{1,3}\.\d{1,3}(?![\d.])", re.ASCII)
_BOUNDARY = re.compile(r'boundary="?([^";]{1,70})', re.IGNORECASE)
_ACTIONS = ("failed", "delayed", "delivered", "relayed", "expanded")
# RFC 3464 2.3.3.
_STATUS_PARTS = ("message/delivery-status", "message/global-delivery-status")
_ORIGINALS = ("message/rfc822", "text/rfc822-headers", "message/global", "message/global-headers")
# RFC 3462, and RFC 6533 for mail with international addresses.
_SUBJECTS = (
    "undeliverable:",
    "undelivered mail",
    "unzustellbar:",
    "non remis",
    "no se puede entregar:",
    "delivery status notification",
    "delivery has failed",
    "mail delivery failed",
    "mail delivery failure",
    "failure notice",
    "returned mail",
)
_DELAYS = ("delayed", "delivery status notification (delay", "warning:")


@dataclass(frozen=True, slots=True)
class Report:
    """One delivery report. `tag` is that of our letter, "" where it tells none; `action` one of RFC 3464's.

    `status` is an enhanced code such as "5.1.1", "" where none can be found; `diagnostic` what the refusing server said.
    """

    tag: str
    action: str
    status: str
    diagnostic: str


@dataclass(frozen=True, slots=True)
class _Part:
    fields: Mapping[str, str]
    body: str

    @property
    def kind(self) -> str:
        return self.fields.get("content-type", "text/plain").partition(";")[0].strip().lower()

    @property
    def text(self) -> str:
        """The body without its transfer encoding; as it is where that cannot be undone."""
        encoding = self.fields.get("content-transfer-encoding", "").strip().lower()
        raw = self.body.encode("utf-8", "surrogateescape")
        if encoding == "quoted-printable":
            return quopri.decodestring(raw).decode(errors="backslashreplace")
        if encoding == "base64":
            return _unpacked(raw).decode(errors="backslashreplace")
        return self.body


def report_in(message: bytes) -> Report | None:
    """Return what a delivery report says, None where the message is none."""
    text = message[:MESSAGE_BYTES].decode("utf-8", "surrogateescape").replace("\r\n", "\n").replace("\r", "\n")
    parts = _parts(text)
    tag = _tag(parts, text)
    for part in parts:
        if part.kind in _STATUS_PARTS and (fields := _recipient(part.text)):
            return _structured(tag, fields)
    return _in_words(tag, parts)


def _structured(tag: str, fields: Mapping[str, str]) -> Report:
    action = fields.get("action", "").split(" ", 1)[0].lower()
    words = fields.get("diagnostic-code", "").partition(";")
    said = (words[2] or words[0]).strip()
    where = fields.get("remote-mta", "").rpartition(";")[2].strip()
    status = _specific(fields.get("status", ""), said)
    return Report(tag, action if action in _ACTIONS else "failed", status, _diagnostic(f"{said} (said by {where})" if where else said))


def _specific(stated: str, said: str) -> str:
    """Return the status; where it is a general one, such as 5.0.0, the server's own words may have a better one of the same class."""
    status = _status_in(stated)
    better = _status_in(said)
    return better if better and (not status or (status.endswith(".0.0") and better[0] == status[0])) else status


def _recipient(text: str) -> Mapping[str, str]:
    """Return the fields of the first recipient that failed, else of the first recipient (RFC 3464 2.1: groups between empty lines)."""
    groups = [dict(unfolded(group)) for group in text.strip("\n").split("\n\n")]
    recipients = [group for group in groups if "action" in group or "status" in group]
    failed = [group for group in recipients if group.get("action", "").lower().startswith("failed")]
    return next(iter(failed or recipients), {})


def _in_words(tag: str, parts: list[_Part]) -> Report | None:
    """Read a report that people are meant to read; its subject says that it is one."""
    subject = parts[0].fields.get("subject", "").lower()
    if not subject.startswith((*_SUBJECTS, *_DELAYS)):
        return None
    action = "delayed" if subject.startswith(_DELAYS) else "failed"
    for part in parts:
        if part.kind.startswith("text/") and (line := _telling(part.text)):
            return Report(tag, action, _status_in(line), _diagnostic(line))
    return Report(tag, action, "", "")


def _telling(text: str) -> str:
    return next((line for line in text.split("\n") if _STATUS.search(line)), "")


def _tag(parts: list[_Part], text: str) -> str:
    """Find whose letter it is about: by the original that is sent along, the report's own header, else anywhere in its words."""
    originals = (part.text for part in parts if part.kind in _ORIGINALS)
    headers = (*originals, text, *(f"References: {part.text}".replace("\n", " ") for part in parts if part.kind.startswith("text/")))
    return next((tag for header in headers if (tag := tag_in(header))), "")


def _parts(text: str) -> list[_Part]:
    """Cut a message at the boundaries its own headers name. The first part is its header and what stands before the first boundary."""
    boundaries: set[str] = set()
    pieces: list[list[str]] = [[]]
    for line in text.split("\n"):
        if line[:2] == "--" and line[2:].rstrip().removesuffix("--") in boundaries and len(pieces) < _MOST_PARTS:
            pieces.append([])
            continue
        pieces[-1].append(line)
        # Headers that were sent along name boundaries, too; words that look like one do no harm.
        boundaries.update(name.strip() for name in _BOUNDARY.findall(line))
    return [_part(lines) for lines in pieces]


def _part(lines: list[str]) -> _Part:
    end = lines.index("") if "" in lines else len(lines)
    return _Part(dict(reversed(unfolded("\n".join(lines[:end])))), "\n".join(lines[end + 1 :]))


def _unpacked(raw: bytes) -> bytes:
    """Undo base64, also of what was cut off; nothing where it is none."""
    letters = b"".join(raw.split())
    try:
        return b64decode(letters[: len(letters) // 4 * 4])
    except binascii.Error:
        return b""


def _status_in(text: str) -> str:
    found = _STATUS.search(text)
    return found[0] if found else ""


def _diagnostic(text: str) -> str:
    return shown(" ".join(text.split()))[:_DIAGNOSTIC_CHARACTERS]
