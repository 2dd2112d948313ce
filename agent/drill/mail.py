"""The tenant's mail server: an MX that takes mail for its people, and a submission server for those who sign in.

Both put letters into the mailboxes that Graph and IMAP show. Faults hit both as the host `mail`: `Smtp` at the stage they name, `Tcp` when
a client connects, `Tls` at STARTTLS, and `Mail` decides what becomes of a letter that was taken.
"""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from email import message_from_bytes
from email.utils import parseaddr

import trustme

from agent.drill.faults import Smtp, Tls
from agent.drill.graph.letters import Address, Letter, entered, from_mime, mail_date, server_of
from agent.drill.graph.mailbox import Mailbox
from agent.drill.graph.post import Post
from agent.drill.hosting import Contexts
from agent.drill.lossy import losing
from agent.drill.mail_login import SUBMIT, LoginError, MailPolicy, by_password, by_token, decoded
from agent.drill.stream import admitted, listening_socket, serve_stream, serve_tls_stream
from agent.drill.world import World

_READY_FOR_TLS = "220 2.0.0 SMTP server ready"
_GOODBYE = "221 2.0.0 Service closing transmission channel"
_LOST = ""
"""In place of a reply: the connection breaks."""
_STAGES = {"EHLO": "helo", "HELO": "helo", "MAIL": "mail", "RCPT": "rcpt", "DATA": "data"}
_PATH = re.compile(r"(?:FROM|TO):\s*<([^<>]*)>(.*)", re.IGNORECASE)
_SIZE = re.compile(r"\bSIZE=(\d{1,15})\b", re.IGNORECASE)
_TOO_LARGE = "552 5.3.4 Message size exceeds fixed maximum message size"
_FULL = "554 5.2.2 mailbox full; STOREDRV.Submission.Exception:QuotaExceededException.MapiExceptionShutoffQuotaExceeded"


@dataclass(frozen=True, slots=True)
class Door:
    """One way in: the server's name, whether it is for people who sign in, and whether TLS comes first (port 465)."""

    name: str
    submission: bool = False
    tls_first: bool = False


SUBMISSION = Door("smtp.office365.com", submission=True)
"""Where programs of the tenant hand in mail (port 587)."""


@dataclass(slots=True)
class _Envelope:
    """Who sends what to whom, as far as it was said."""

    sender: str | None = None
    recipients: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Talk:
    """One conversation: its two ends, and what was said."""

    world: World
    door: Door
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    tls: Contexts
    encrypted: bool = False
    client: str = ""
    """How the client called itself; empty before EHLO."""
    user: Mailbox | None = None
    envelope: _Envelope = field(default_factory=_Envelope)

    @property
    def policy(self) -> MailPolicy:
        return self.world.of(MailPolicy)

    @property
    def server(self) -> str:
        """Name of the machine behind the door."""
        return server_of(self.user.owner.mail) if self.user else f"DB1PEPF0000.{self.door.name}"

    def say(self, reply: str) -> None:
        self.writer.write(f"{reply}\r\n".encode("ascii", "replace"))

    async def line(self) -> str:
        """Hear one line.

        Raises:
            ConnectionError: at the end.

        """
        heard = await self.reader.readline()
        if not heard:
            raise ConnectionAbortedError
        return heard.decode(errors="replace").rstrip("\r\n")

    async def asked(self, question: str) -> str:
        """Ask within AUTH and hear the answer."""
        self.say(f"334 {question}")
        return await self.line()

    async def begin_tls(self) -> None:
        await self.writer.start_tls(self.tls.under(self.world.faults.first(Tls, "mail", region=self.world.region)))
        self.encrypted, self.client, self.envelope = True, "", _Envelope()

    def fault(self, stage: str) -> str | None:
        """Give what a fault makes the server say at this stage."""
        hits = self.world.faults.hits("mail", Smtp, region=self.world.region)
        return next((fault.effect.reply for fault in hits if isinstance(fault.effect, Smtp) and fault.effect.stage == stage), None)


async def _converse(talk: _Talk) -> None:
    """Hold one conversation until the client quits or goes."""
    mark = talk.world.random.randbytes(8).hex().upper()
    greeting = f"220 {talk.server} Microsoft ESMTP MAIL Service ready at {mail_date(talk.world.now())} [{mark}]"
    talk.say(talk.fault("connect") or greeting)
    while True:
        verb, _, rest = (await talk.line()).strip().partition(" ")
        reply = await _reply(talk, verb.upper(), rest.strip())
        if reply == _LOST:
            return
        talk.say(reply)
        if reply == _GOODBYE:
            return
        if reply == _READY_FOR_TLS:
            await talk.begin_tls()


async def _reply(talk: _Talk, verb: str, rest: str) -> str:
    """Reply to one command, without the final line end."""
    if verb in _STAGES and (said := talk.fault(_STAGES[verb])):
        return said
    match verb:
        case "AUTH":
            return await _authenticate(talk, *rest.partition(" ")[::2])
        case "DATA":
            return await _data(talk)
    return _AT_ONCE[verb](talk, rest) if verb in _AT_ONCE else "500 5.3.3 Unrecognized command"


def _starttls(talk: _Talk, _rest: str) -> str:
    return "500 5.3.3 Unrecognized command" if talk.encrypted else _READY_FOR_TLS


def _reset(talk: _Talk, _rest: str) -> str:
    talk.envelope = _Envelope()
    return "250 2.0.0 Resetting"


def _hello(talk: _Talk, name: str) -> str:
    talk.client, talk.envelope = name or "unknown", _Envelope()
    return f"250 {talk.server} Hello [127.0.0.1]"


def _extended_hello(talk: _Talk, name: str) -> str:
    hello = _hello(talk, name).removeprefix("250 ")
    offers = [f"SIZE {talk.policy.largest}", "PIPELINING", "DSN", "ENHANCEDSTATUSCODES"]
    offers += [] if talk.encrypted else ["STARTTLS"]
    offers += ["AUTH LOGIN XOAUTH2"] if talk.encrypted and talk.door.submission else []
    return "\r\n".join([*(f"250-{line}" for line in (hello, *offers, "8BITMIME")), "250 SMTPUTF8"])


class _RefusedError(Exception):
    """Signing in this way is not for here; the message is the reply."""


_NO_MECHANISM = "504 5.7.4 Unrecognized authentication type"


async def _authenticate(talk: _Talk, mechanism: str, first: str) -> str:
    """Sign in, or say why not."""
    if not (talk.door.submission and talk.encrypted):
        return _NO_MECHANISM
    try:
        return _welcome(talk, await _user(talk, mechanism.upper(), first))
    except LoginError:
        return f"535 5.7.3 Authentication unsuccessful [{talk.server}]"
    except _RefusedError as refused:
        return str(refused)


def _welcome(talk: _Talk, box: Mailbox) -> str:
    """Let somebody in whom we know, if the policy allows."""
    policy, address = talk.policy, box.owner.mail
    if policy.submission_disabled:
        more = "SmtpClientAuthentication is disabled for the Tenant. Visit https://aka.ms/smtp_auth_disabled for more information."
        return f"535 5.7.139 Authentication unsuccessful, {more} [{talk.server}]"
    if policy.submitting[address] >= policy.connections:
        return f"432 4.3.2 Concurrent connections limit exceeded. Visit https://aka.ms/concurrent_sending. [Hostname={talk.server}]"
    policy.submitting[address] += 1 if talk.user is None else 0
    talk.user = box
    return "235 2.7.0 Authentication successful"


async def _user(talk: _Talk, mechanism: str, first: str) -> Mailbox:
    """Hear who it is.

    Raises:
        LoginError: where they are not let in.
        _RefusedError: for a password where none are taken, and for another mechanism.

    """
    match mechanism:
        case "XOAUTH2":
            return by_token(talk.world, first or await talk.asked(""), SUBMIT)
        case "PLAIN":
            _, name, password = f"{decoded(first or await talk.asked(''))}\0\0".split("\0")[:3]
        case "LOGIN":
            name = decoded(first or await talk.asked("VXNlcm5hbWU6"))
            password = decoded(await talk.asked("UGFzc3dvcmQ6"))
        case _:
            raise _RefusedError(_NO_MECHANISM)
    if not talk.policy.passwords:
        raise _RefusedError("550 5.7.30 Basic authentication is not supported for Client Submission.")
    return by_password(talk.world, name, password)


def _sender(talk: _Talk, rest: str) -> str:
    path = _PATH.fullmatch(rest)
    if not talk.client:
        return "503 5.5.2 Send hello first"
    if talk.door.submission and talk.user is None:
        return f"530 5.7.57 Client not authenticated to send mail. [{talk.server}]"
    if path is None:
        return "501 5.5.4 Invalid arguments"
    size = _SIZE.search(path[2])
    if size and int(size[1]) > talk.policy.largest:
        return _TOO_LARGE
    talk.envelope = _Envelope(path[1])
    return "250 2.1.0 Sender OK"


def _recipient(talk: _Talk, rest: str) -> str:
    path = _PATH.fullmatch(rest)
    if talk.envelope.sender is None:
        return "503 5.5.2 Need mail command"
    if path is None or "@" not in path[1]:
        return "501 5.1.3 Invalid address"
    ours = path[1].lower().endswith(f"@{talk.world.domain}")
    if not talk.door.submission and not ours:
        return f"550 5.7.64 TenantAttribution; Relay Access Denied [{talk.server}]"
    if not talk.door.submission and talk.world.of(Post).mailbox(path[1]) is None:
        return f"550 5.4.1 Recipient address rejected: Access denied. [{talk.server}]"
    talk.envelope.recipients.append(path[1])
    return "250 2.1.5 Recipient OK"


async def _data(talk: _Talk) -> str:
    """Take the message, and say what became of it."""
    if not talk.envelope.recipients:
        return "503 5.5.2 Need rcpt command"
    talk.say("354 Start mail input; end with <CRLF>.<CRLF>")
    raw = await _message(talk)
    said, envelope = talk.fault("dot"), talk.envelope
    talk.envelope = _Envelope()
    if said:
        return said
    if raw is None:
        return _TOO_LARGE
    reply = _submitted(talk, talk.user, envelope, raw) if talk.user else _relayed(talk, envelope, raw)
    return reply if said is None else _LOST


async def _message(talk: _Talk) -> bytes | None:
    """Read up to the single dot and take stuffed dots away (RFC 5321 4.5.2); None where it is too large.

    Raises:
        ConnectionError: where the client goes before the end.

    """
    lines: list[bytes] = []
    size = 0
    while (line := await talk.reader.readline()) != b".\r\n":
        if not line:
            raise ConnectionAbortedError
        size += len(line)
        if size <= talk.policy.largest:
            lines.append(line.removeprefix(b"."))
    return b"".join(lines) if size <= talk.policy.largest else None


def _letter(talk: _Talk, raw: bytes, sender: Address, via: str = "") -> Letter:
    letter = from_mime(raw, sender, now=talk.world.now(), random=talk.world.random)
    return entered(letter, talk.server, f"{talk.client} (127.0.0.1)", via)


def _submitted(talk: _Talk, box: Mailbox, envelope: _Envelope, raw: bytes) -> str:
    """Take a letter of one of the tenant's people: it goes its way, and a copy stays in Sent Items."""
    letter = _letter(talk, raw, Address(box.owner.mail, box.owner.name))
    if (envelope.sender or "").lower() != box.owner.mail.lower():
        return f"554 5.2.252 SendAsDenied; {box.owner.mail} not allowed to send as {envelope.sender}; STOREDRV.Submission.Exception"
    if box.used + letter.size > box.quota:
        return f"{_FULL} [Hostname={talk.server}]"
    box.store(letter, "sentitems", talk.world.now(), is_read=True)
    _forward(talk, letter, envelope)
    return f"250 2.0.0 OK {letter.message_id} [Hostname={talk.server.upper()}]"


def _relayed(talk: _Talk, envelope: _Envelope, raw: bytes) -> str:
    """Take a letter from another server."""
    name, address = parseaddr(str(message_from_bytes(raw).get("from", "")))
    letter = _letter(talk, raw, Address(address or envelope.sender or "", name), " via Frontend Transport")
    _forward(talk, letter, envelope)
    number = talk.world.random.getrandbits(44)
    size = f"{len(raw)} bytes in 0.100, {len(raw) / 102.4:.3f} KB/sec"
    return f"250 2.6.0 {letter.message_id} [InternalId={number}, Hostname={talk.server}] {size} Queued mail for delivery"


def _forward(talk: _Talk, letter: Letter, envelope: _Envelope) -> None:
    for recipient in {address.lower(): address for address in envelope.recipients}.values():
        talk.world.of(Post).forward(letter, recipient)


_AT_ONCE: Mapping[str, Callable[[_Talk, str], str]] = {
    "EHLO": _extended_hello,
    "HELO": _hello,
    "STARTTLS": _starttls,
    "MAIL": _sender,
    "RCPT": _recipient,
    "RSET": _reset,
    "NOOP": lambda _talk, _rest: "250 2.0.0 OK",
    "QUIT": lambda _talk, _rest: _GOODBYE,
}
"""What is answered without hearing more."""


@asynccontextmanager
async def serve_smtp(world: World, door: Door, authority: trustme.CA) -> AsyncIterator[int]:
    """Be one of the tenant's mail servers while the block runs, and give its port on 127.0.0.1."""
    tls = Contexts(authority, (door.name,))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talk = _Talk(world, door, reader, writer, tls, encrypted=door.tls_first)
        try:
            # The client broke off, or sent a line without end.
            with suppress(ConnectionError, ssl.SSLError, ValueError):
                if door.tls_first or await admitted(world, "mail", writer):
                    await _converse(talk)
        finally:
            if talk.user is not None:
                talk.policy.submitting[talk.user.owner.mail] -= 1

    if door.tls_first:
        async with serve_tls_stream(world, "mail", tls, serve) as port:
            yield port
        return
    listening = listening_socket()
    async with serve_stream(serve, listening), losing(world.faults, "mail", lambda: world.region, (listening,)):
        yield listening.getsockname()[1]
