"""A letter as a client hands it in, as Graph JSON or as MIME, and the headers that transport adds on its way."""

import base64
import binascii
import email.policy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.headerregistry import ContentDispositionHeader, HeaderRegistry
from email.message import EmailMessage, MIMEPart
from email.parser import BytesParser
from email.utils import format_datetime, getaddresses
from random import Random
from typing import Any

from agent.drill.graph.frame import GraphError
from agent.drill.graph.sent import entries, members

_CUSTOM_HEADERS_AT_MOST = 5
"""Custom headers one JSON message may carry; a MIME message may carry any."""

_BUILD = "15.20.9052.13"
_LOCAL = "[fe80::d2a:1f05:9b1c:7a20%4]"


@dataclass(frozen=True, slots=True)
class Address:
    """One mail address with the name shown for it."""

    address: str
    name: str = ""

    def as_graph(self) -> dict[str, Any]:
        """Give a Graph recipient."""
        return {"emailAddress": {"name": self.name or self.address, "address": self.address}}


@dataclass(frozen=True, slots=True)
class Attachment:
    """One attached file."""

    name: str
    media_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Letter:
    """What was handed in for delivery; `headers` are newest first and do not repeat what the fields say."""

    sender: Address
    to: tuple[Address, ...]
    subject: str
    body: str
    message_id: str
    sent: float
    cc: tuple[Address, ...] = ()
    bcc: tuple[Address, ...] = ()
    reply_to: tuple[Address, ...] = ()
    body_type: str = "text"
    importance: str = "normal"
    headers: tuple[tuple[str, str], ...] = ()
    attachments: tuple[Attachment, ...] = ()
    kind: str = "text/plain"
    payload: bytes = b""
    """What followed the header of a letter that came as MIME, as it came; `kind` and `encoding` are its Content-Type and its encoding."""
    encoding: str = ""
    entered: str = ""
    """Name of the server that took it in over SMTP; empty where it was handed to the sender's own mailbox server."""

    @property
    def size(self) -> int:
        """Bytes the letter counts against a mailbox, roughly as Exchange counts them."""
        return 4096 + len(self.payload or self.body.encode()) + sum(len(each.content) for each in self.attachments)

    @property
    def recipients(self) -> tuple[Address, ...]:
        """Everyone it goes to, each address once, in the order written."""
        return tuple({each.address.lower(): each for each in (*self.to, *self.cc, *self.bcc)}.values())


def mail_date(moment: float) -> str:
    """Write a moment (Unix seconds) as RFC 5322 section 3.3 does, in UTC."""
    return format_datetime(datetime.fromtimestamp(int(moment), UTC))


def server_of(address: str) -> str:
    """Give the mailbox server of an address: always the same for one address, named as Exchange Online names them."""
    number = binascii.crc32(address.lower().encode()) % 9000 + 1000
    return f"AM0PR05MB{number}.eurprd05.prod.outlook.com"


def new_message_id(sender: str, random: Random) -> str:
    """Give a Message-ID of the form that Exchange Online gives: the server twice, with a number between."""
    server = server_of(sender)
    return f"<{server.partition('.')[0]}{random.randbytes(10).hex().upper()}@{server}>"


def in_lower_camel(body: Mapping[str, Any]) -> dict[str, Any]:
    """Give the members with a small first letter: sendMail takes `Message` (its declared name) as well as `message`."""
    return {name[:1].lower() + name[1:]: value for name, value in body.items()}


def _addresses(recipients: object) -> tuple[Address, ...]:
    found = []
    for each in entries(recipients):
        part = members(each.get("emailAddress"))
        if "@" not in str(part.get("address", "")):
            raise GraphError(400, "ErrorInvalidRecipients", "At least one recipient isn't valid.")
        found.append(Address(str(part["address"]), str(part.get("name") or "")))
    return tuple(found)


def _custom_headers(headers: object) -> tuple[tuple[str, str], ...]:
    """Give the message's own headers, by the rule that each begins with x- and that there are few."""
    pairs = [(str(each.get("name", "")), str(each.get("value", ""))) for each in entries(headers)]
    for name, _ in pairs:
        if not name.lower().startswith("x-"):
            raise GraphError(
                400, "InvalidInternetMessageHeader", f"The internet message header name '{name}' should start with 'x-' or 'X-'."
            )
    if len(pairs) > _CUSTOM_HEADERS_AT_MOST:
        limit = f"Maximum number of headers in one message should be less than or equal to {_CUSTOM_HEADERS_AT_MOST}."
        raise GraphError(400, "InvalidInternetMessageHeaderCollection", limit)
    return tuple(pairs)


def _attached(attachments: object) -> tuple[Attachment, ...]:
    return tuple(
        Attachment(
            str(each.get("name", "")),
            str(each.get("contentType") or "application/octet-stream"),
            decoded(str(each.get("contentBytes") or ""), "ErrorInvalidProperty", "The attachment's contentBytes are not valid base64."),
        )
        for each in entries(attachments)
    )


def decoded(text: str | bytes, code: str, message: str) -> bytes:
    """Give the bytes of a base64 text, line ends allowed.

    Raises:
        GraphError: 400 with this code, where it is no base64.

    """
    raw = text.encode() if isinstance(text, str) else text
    try:
        return base64.b64decode(b"".join(raw.split()), validate=True)
    except binascii.Error:
        raise GraphError(400, code, message) from None


def _body_of(body: Mapping[str, Any]) -> tuple[str, str]:
    return str(body.get("content") or ""), "html" if str(body.get("contentType", "text")).lower() == "html" else "text"


def from_json(message: Mapping[str, Any], sender: Address, *, now: float, random: Random) -> Letter:
    """Give the letter of a Graph `message`.

    Raises:
        GraphError: 400, where a recipient or a header is not allowed.

    """
    body, body_type = _body_of(members(message.get("body")))
    return Letter(
        sender=author(_addresses([message["from"]]) if message.get("from") else (), sender),
        to=_addresses(message.get("toRecipients")),
        cc=_addresses(message.get("ccRecipients")),
        bcc=_addresses(message.get("bccRecipients")),
        reply_to=_addresses(message.get("replyTo")),
        subject=str(message.get("subject") or ""),
        body=body,
        body_type=body_type,
        kind="text/html" if body_type == "html" else "text/plain",
        message_id=new_message_id(sender.address, random),
        sent=now,
        importance=str(message.get("importance") or "normal").lower(),
        headers=_custom_headers(message.get("internetMessageHeaders")),
        attachments=_attached(message.get("attachments")),
    )


def author(named: tuple[Address, ...], sender: Address) -> Address:
    """Give the author whom a message names: the mailbox's owner, as nobody here may send as another.

    Raises:
        GraphError: 403, where it names anybody else.

    """
    if not named:
        return sender
    if named[0].address.lower() != sender.address.lower():
        denied = "The account used to submit this request does not have the right to send mail on behalf of the specified sending account."
        raise GraphError(403, "ErrorSendAsDenied", denied)
    return replace(sender, name=named[0].name or sender.name)


_FIELDS = {
    "from",
    "to",
    "cc",
    "bcc",
    "reply-to",
    "subject",
    "date",
    "message-id",
    "content-type",
    "content-transfer-encoding",
    "mime-version",
}


def _mime_addresses(mail: EmailMessage, field: str) -> tuple[Address, ...]:
    return tuple(
        Address(address, name) for name, address in getaddresses([str(each) for each in mail.get_all(field, [])]) if "@" in address
    )


def authors_of(raw: bytes) -> tuple[Address, ...]:
    """Give whom a MIME message names as its authors."""
    return _mime_addresses(BytesParser(EmailMessage, policy=email.policy.default).parsebytes(raw, headersonly=True), "from")


_AS_TEXT = HeaderRegistry(use_default_map=False)
_AS_TEXT.map_to_type("content-disposition", ContentDispositionHeader)  # type: ignore[arg-type] # typeshed has the class that is made of it
_LENIENT = email.policy.default.clone(header_factory=_AS_TEXT)
"""Takes each header for text but for one: the parsers of addresses and types fail at what strangers write."""


def from_mime(raw: bytes, sender: Address, *, now: float, random: Random) -> Letter:
    """Give the letter of a MIME message; its Message-ID is kept, as a client that set one counts on it."""
    mail = _parsed(raw)
    part = mail.get_body(("plain", "html"))
    files = list(mail.iter_attachments())
    return Letter(
        sender=sender,
        to=_mime_addresses(mail, "to"),
        cc=_mime_addresses(mail, "cc"),
        bcc=_mime_addresses(mail, "bcc"),
        reply_to=_mime_addresses(mail, "reply-to"),
        subject=str(mail.get("subject", "")),
        body=_text(part) if part else "",
        body_type="html" if part and part.get_content_subtype() == "html" else "text",
        kind=str(mail.get("content-type", "text/plain")),
        encoding=str(mail.get("content-transfer-encoding", "")),
        payload=_behind_the_header(raw),
        message_id=str(mail.get("message-id") or new_message_id(sender.address, random)),
        sent=now,
        headers=tuple((name, str(value)) for name, value in mail.items() if name.lower() not in _FIELDS),
        attachments=tuple(Attachment(_file_name(each), each.get_content_type(), _payload(each)) for each in files),
    )


def _text(part: MIMEPart) -> str:
    try:
        return _payload(part).decode(part.get_content_charset("utf-8"), errors="replace")
    except (LookupError, ValueError, TypeError):  # a character set that nobody knows, or parameters that Python cannot put together
        return _payload(part).decode(errors="replace")


def _parsed(raw: bytes) -> EmailMessage:
    """Parse a message; one whose parameters Python cannot put together has no parts."""
    parser = BytesParser(EmailMessage, policy=_LENIENT)
    try:
        return parser.parsebytes(raw)
    except TypeError:
        return parser.parsebytes(raw, headersonly=True)


def _file_name(part: MIMEPart) -> str:
    try:
        return part.get_filename() or ""
    except TypeError:  # parameters that Python cannot put together
        return ""


def _behind_the_header(raw: bytes) -> bytes:
    """Give what follows the first empty line, with the line ends of the wire."""
    lines = raw.replace(b"\r\n", b"\n")
    return lines.partition(b"\n\n")[2].replace(b"\n", b"\r\n") if not lines.startswith(b"\n") else lines[1:].replace(b"\n", b"\r\n")


def _payload(part: MIMEPart) -> bytes:
    content = part.get_payload(decode=True)
    return content if isinstance(content, bytes) else b""


def received_chain(letter: Letter, mailbox: str, *, left_queue: float, received: float) -> tuple[tuple[str, str], ...]:
    """Give the Received headers of one delivery inside Exchange Online, newest first (RFC 5321 section 4.4).

    Three hops: handed in at the sender's server, taken over by the recipient's site, put into the mailbox. A message that
    was held up waited between the first and the second, so that a reader can see where the time went. The first is on a
    letter already that came over SMTP.
    """
    origin, target = letter.entered or server_of(letter.sender.address), server_of(mailbox)
    relay = f"AS8PR05CA{binascii.crc32(letter.message_id.encode()) % 9000 + 1000}.eurprd05.prod.outlook.com"
    smtp = f"with Microsoft SMTP Server (version=TLS1_3, cipher=TLS_AES_256_GCM_SHA384) id {_BUILD}"
    handed_in = f"from {origin} ({_LOCAL}) by {origin} ({_LOCAL}) with mapi id {_BUILD}; {mail_date(letter.sent)}"
    return (
        ("Received", f"from {relay} (2603:10a6:20b:2f1::25) by {target} with HTTPS; {mail_date(received)}"),
        ("Received", f"from {origin} (2603:10a6:208:c1::14) by {relay} (2603:10a6:20b:2f1::25) {smtp}; {mail_date(left_queue)}"),
        *(() if letter.entered else (("Received", handed_in),)),
    )


def entered(letter: Letter, server: str, client: str, via: str) -> Letter:
    """Give the letter as the server notes that it took it from a client over SMTP."""
    smtp = f"with Microsoft SMTP Server (version=TLS1_3, cipher=TLS_AES_256_GCM_SHA384) id {_BUILD}{via}"
    note = f"from {client} by {server} (2603:10a6:10:2f1::9) {smtp}; {mail_date(letter.sent)}"
    return replace(letter, headers=(("Received", note), *letter.headers), entered=server)


def all_headers(letter: Letter) -> list[tuple[str, str]]:
    """Every header in the order of the wire: what transport put in front, then what the author wrote."""
    return [
        *(pair for pair in letter.headers if pair[0] == "Received"),
        ("From", _written([letter.sender])),
        ("To", _written(letter.to)),
        *([("CC", _written(letter.cc))] if letter.cc else []),
        ("Subject", letter.subject),
        ("Date", mail_date(letter.sent)),
        ("Message-ID", letter.message_id),
        ("Content-Type", letter.kind),
        ("MIME-Version", "1.0"),
        *(pair for pair in letter.headers if pair[0] != "Received"),
    ]


def _written(addresses: Iterable[Address]) -> str:
    return ", ".join(f"{each.name} <{each.address}>" if each.name else each.address for each in addresses)
