"""The message a mail probe sends: marked so that it is found again wherever it ends up, and plain about what it is.

It carries its tag three times (a header of ours, the Message-ID and, as a rule, the subject), because gateways rewrite Message-IDs,
delivery reports quote only that, and people see only the subject.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from secrets import token_hex
from time import time
from typing import Annotated

from pydantic import AfterValidator, Field

from probes.core.contract import Settings
from probes.lib.resolve import ascii_host

HEADER = "X-Fogbell-Id"
"""Name of the header that carries the tag."""
HEADER_CHARACTERS = 1 << 17
"""Header text beyond this is not looked at."""

_SUBJECT_CHARACTERS = 1000
_PLACEHOLDERS = ("tag", "probe", "sent")
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_LOCAL_PART = re.compile(r"[^\s\"(),:;<>@\[\\\]]{1,64}")
_TAG = re.compile(r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])")
_MESSAGE_ID = re.compile(r"\bfogbell\.([0-9a-f]{32})@")
# Patterns of fixed length: linear in the text, whatever strangers send.
_POLICY = SMTP.clone(cte_type="7bit")

_BODY = """\
This message was sent by Fogbell, which measures whether mail arrives and how
long it takes. Nobody has to answer it. It is removed on its own, and may be
deleted at any time.

Probe: {probe}
Sent: {sent}
Tag: {tag}
"""


def mail_address(text: str) -> str:
    """Return a mail address as SMTP writes it: the domain as DNS does, in A-labels; the part before it is as it is (RFC 5321 2.4).

    Raises:
        ValueError: where it is none, or one with blanks, quotes or angle brackets.

    """
    local, at, domain = text.rpartition("@")
    if not (at and _LOCAL_PART.fullmatch(local) and local.isprintable()):
        raise ValueError(f"{text!r} is no mail address; write it as name@example.org")
    return f"{local}@{ascii_host(domain)}"


Address = Annotated[str, AfterValidator(mail_address)]
"""A setting: a mail address."""


def _known_placeholders(text: str) -> str:
    for name in _PLACEHOLDER.findall(text):
        if name not in _PLACEHOLDERS:
            known = ", ".join(f"{{{known}}}" for known in _PLACEHOLDERS)
            raise ValueError(f"does not know {{{name}}}; placeholders are {known}")
    return text


def _one_line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must be one line without control characters")
    return text


class Template(Settings):
    """How the message reads, so that spam filters and transport rules can know it."""

    subject: Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_one_line), AfterValidator(_known_placeholders)] = (
        "Fogbell mail probe {tag}"
    )
    """Subject. `{tag}`, `{probe}` and `{sent}` stand for the message's own mark, the probe's name and the time."""
    body: Annotated[str, Field(max_length=10_000), AfterValidator(_known_placeholders)] = _BODY
    """Text, with the same placeholders."""


@dataclass(frozen=True, slots=True)
class Letter:
    """One message of ours. `tag` is 32 hex digits, `created` Unix seconds; addresses are as `mail_address` gives them."""

    tag: str
    sender: str
    recipient: str
    subject: str
    body: str
    created: float

    @property
    def message_id(self) -> str:
        """Message-ID with its angle brackets."""
        return f"<fogbell.{self.tag}@{self.sender.rpartition('@')[2]}>"


def new_letter(probe: str, sender: str, recipient: str, template: Template) -> Letter:
    """Write a message with a tag of its own.

    Raises:
        ValueError: where one of the two is no mail address.

    """
    tag, created = token_hex(16), time()
    sent = datetime.fromtimestamp(created, UTC).isoformat(timespec="milliseconds")
    values = {"tag": tag, "probe": probe, "sent": sent}
    subject, body = _filled(template.subject, values), _filled(template.body, values)
    return Letter(tag, mail_address(sender), mail_address(recipient), subject, body, created)


def mime(letter: Letter) -> bytes:
    """Return the message as it goes over the wire (RFC 5322), with CRLF; always the same bytes for the same letter.

    It is 7-bit unless an address needs SMTPUTF8 (RFC 6531).
    """
    message = EmailMessage(_POLICY.clone(utf8=needs_utf8(letter)))
    message["Date"] = format_datetime(datetime.fromtimestamp(letter.created, UTC))
    message["From"] = letter.sender
    message["To"] = letter.recipient
    message["Subject"] = letter.subject
    message["Message-ID"] = letter.message_id
    message[HEADER] = letter.tag
    # RFC 3834; the other is Exchange's (MS-OXCMAIL): no holiday notes and receipts, but delivery reports, which we look for.
    message["Auto-Submitted"] = "auto-generated"
    message["X-Auto-Response-Suppress"] = "DR, RN, NRN, OOF, AutoReply"
    message.set_content(letter.body)
    return message.as_bytes()


def needs_utf8(letter: Letter) -> bool:
    """Say whether an address of it can only be sent with SMTPUTF8."""
    return not (letter.sender + letter.recipient).isascii()


def tag_in(header_text: str) -> str:
    """Return the tag of ours in a message's header, "" where there is none.

    It stands in our own header, the Message-ID, In-Reply-To or References (delivery reports), or in a subject that names Fogbell: 32 hex
    digits alone could be anybody's.
    """
    fields = dict(reversed(unfolded(header_text)))
    if found := _TAG.fullmatch(fields.get(HEADER.lower(), "").lower()):
        return found[0]
    for name in ("message-id", "in-reply-to", "references"):
        if ids := _MESSAGE_ID.findall(fields.get(name, "").lower()):
            return str(ids[-1])
    subject = _decoded(fields.get("subject", "")[:_SUBJECT_CHARACTERS]).lower()
    found = _TAG.search(subject) if "fogbell" in subject else None
    return found[0] if found else ""


def is_marked(header_text: str) -> bool:
    """Say whether a message is a letter of ours itself. What only names one, as people's replies to it do, is theirs."""
    fields = dict(reversed(unfolded(header_text)))
    own = fields.get(HEADER.lower(), "").lower(), fields.get("message-id", "").lower()
    return _TAG.fullmatch(own[0]) is not None or _MESSAGE_ID.search(own[1]) is not None


def unfolded(header_text: str) -> list[tuple[str, str]]:
    """Split a header into (name in lower case, value) with folded lines joined (RFC 5322 2.2.3). It ends at the first empty line."""
    fields: list[tuple[str, list[str]]] = []
    for line in header_text[:HEADER_CHARACTERS].lstrip("\r\n").replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        if not line:
            break
        if line[0] in " \t":
            if fields:
                fields[-1][1].append(line.strip())
            continue
        name, _, value = line.partition(":")
        fields.append((name.strip().lower(), [value.strip()]))
    return [(name, " ".join(parts)) for name, parts in fields]


def _filled(text: str, values: dict[str, str]) -> str:
    return _PLACEHOLDER.sub(lambda match: values[match[1]], text)


def _decoded(text: str) -> str:
    """Decode the encoded words of a header (RFC 2047), as far as they can be."""
    try:
        return str(make_header(decode_header(text)))
    except (HeaderParseError, LookupError, ValueError):
        return text
