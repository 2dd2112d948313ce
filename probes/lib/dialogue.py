"""How SMTP, IMAP and POP3 frame what they say: replies of several lines, tagged answers, literals, stuffed dots.

It asks, reads, and gives a refusal its name; what else a kind wants to hear is the kind's. Every read is bounded in line length and in
lines, because the other side may be anything.
"""

import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv6Address, ip_address

from probes.core.contract import Failed
from probes.core.reasons import Reason
from probes.core.text import shown
from probes.lib.wire import Wire

LINE_BYTES = 4096
"""Longest line. RFC 5321 allows 512 and RFC 2449 512, but IMAP servers list their capabilities in one line."""
LINES = 200
"""Most lines of one answer."""
IMAP_LINE_BYTES = 1 << 16
"""Longest line of IMAP: all that a search found is in one."""
LITERAL_BYTES = 1 << 20
"""Largest IMAP literal."""
IMAP_ANSWER_BYTES = 1 << 22
"""Most bytes of one answer with all its literals."""
POP_LINE_BYTES = 1 << 16
"""Longest line of a message that POP3 shows; RFC 5322 allows 998, and not everybody keeps to it."""
POP_BODY_BYTES = 1 << 20
"""Largest POP3 answer of several lines."""

_SMTP_LINE = re.compile(r"([2-5]\d\d)(?:([ -])(.*))?", re.DOTALL)
_ENHANCED = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?:\s|$)")
_LITERAL = re.compile(r"\{(\d{1,10})\+?\}$")
_IMAP_STATUS = re.compile(r"(OK|NO|BAD|PREAUTH|BYE)(?: (.*))?", re.IGNORECASE | re.DOTALL)


class Protocol(StrEnum):
    """A mail protocol whose greeting, capabilities and STARTTLS are known here."""

    SMTP = "smtp"
    IMAP = "imap"
    POP3 = "pop3"


async def read_text(wire: Wire, limit: int = LINE_BYTES) -> str:
    """Return the next line of at most `limit` bytes; bytes that are not UTF-8 stand as escapes."""
    return (await wire.read_line(limit)).decode(errors="backslashreplace")


def send_line(wire: Wire, line: str) -> None:
    """Send one line."""
    wire.write(line.encode() + b"\r\n")


# SMTP


@dataclass(frozen=True, slots=True)
class SmtpReply:
    """One reply (RFC 5321 4.2): its code, the enhanced code ("" where there is none), and the text of each line."""

    code: int
    enhanced: str
    lines: tuple[str, ...]

    @property
    def label(self) -> str:
        """Reply and enhanced code, as "451 4.3.2"."""
        return f"{self.code} {self.enhanced}".rstrip()

    def __str__(self) -> str:
        return shown(f"{self.code} {' / '.join(self.lines)}".rstrip())


async def smtp_reply(wire: Wire) -> SmtpReply:
    """Read one reply.

    Raises:
        Failed: PROTOCOL_ERROR where it is no SMTP reply, CONNECTION_RESET where the connection ends inside it.

    """
    lines: list[str] = []
    first = ""
    for _ in range(LINES):
        line = await read_text(wire)
        match = _SMTP_LINE.fullmatch(line)
        if match is None or (first and match[1] != first):
            raise Failed(Reason.PROTOCOL_ERROR, f"not an SMTP reply: {shown(line)[:200]!r}")
        first = match[1]
        lines.append(match[3] or "")
        if match[2] != "-":
            return SmtpReply(int(first), _enhanced(first, lines[0]), tuple(lines))
    raise Failed(Reason.PROTOCOL_ERROR, f"an SMTP reply of more than {LINES} lines")


async def smtp_ask(wire: Wire, command: str) -> SmtpReply:
    """Send a command and read its reply."""
    send_line(wire, command)
    return await smtp_reply(wire)


def smtp_want(reply: SmtpReply, code: int) -> SmtpReply:
    """Return the reply where it has the wanted code.

    Raises:
        Failed: MAIL_DEFERRED (4xx), MAIL_REJECTED (5xx), PROTOCOL_ERROR (any other), with the code.

    """
    if reply.code == code:
        return reply
    raise smtp_refusal(reply)


def smtp_refusal(reply: SmtpReply) -> Failed:
    """Return what to raise for a reply that is not the wanted one."""
    reason = {4: Reason.MAIL_DEFERRED, 5: Reason.MAIL_REJECTED}.get(reply.code // 100, Reason.PROTOCOL_ERROR)
    return Failed(reason, f"the mail server said {reply}"[:300], code=reply.label)


def smtp_refusal_in(line: str) -> Failed | None:
    """Return what to raise where a single line says 4xx or 5xx, for dialogues that read line by line."""
    match = _SMTP_LINE.fullmatch(line)
    if match is None or match[1] < "400":
        return None
    text = match[3] or ""
    return smtp_refusal(SmtpReply(int(match[1]), _enhanced(match[1], text), (text,)))


async def smtp_greeting(wire: Wire) -> str:
    """Read the greeting, which has to be 220 (RFC 5321 3.1)."""
    return str(smtp_want(await smtp_reply(wire), 220))


async def smtp_capabilities(wire: Wire) -> frozenset[str]:
    """Say EHLO and return the extensions, in upper case with their parameters ("AUTH LOGIN XOAUTH2")."""
    reply = smtp_want(await smtp_ask(wire, f"EHLO {own_name(wire)}"), 250)
    return frozenset(line.upper() for line in reply.lines[1:])


async def _smtp_starttls(wire: Wire) -> None:
    _require("STARTTLS", await smtp_capabilities(wire))
    smtp_want(await smtp_ask(wire, "STARTTLS"), 220)


def own_name(wire: Wire) -> str:
    """Return what to call ourselves in EHLO: the address of our end as a literal (RFC 5321 4.1.3), which needs no name that resolves."""
    address = ip_address(wire.sock.getsockname()[0].partition("%")[0])
    return f"[IPv6:{address}]" if isinstance(address, IPv6Address) else f"[{address}]"


def _enhanced(code: str, text: str) -> str:
    match = _ENHANCED.match(text)
    return match[1] if match and match[1][0] == code[0] else ""


# IMAP


@dataclass(frozen=True, slots=True)
class ImapResponse:
    """One response: its text, with "{n}" where a literal stood, and the literals."""

    text: str
    literals: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class ImapAnswer:
    """The end of a command: OK, NO or BAD, its text, the untagged responses before it (without the "* "), and what was asked in between."""

    status: str
    text: str
    untagged: tuple[ImapResponse, ...] = ()
    challenges: tuple[str, ...] = ()


async def imap_response(wire: Wire) -> ImapResponse:
    """Read one response with its literals.

    Raises:
        Failed: PROTOCOL_ERROR where it is too long, CONNECTION_RESET where the connection ends inside it.

    """
    part = await read_text(wire, IMAP_LINE_BYTES)
    text, literals, size = part, list[bytes](), 0
    while match := _LITERAL.search(part):
        size += int(match[1])
        if size > LITERAL_BYTES or len(literals) >= LINES:
            raise Failed(Reason.PROTOCOL_ERROR, f"an IMAP response with more than {LINES} literals or {LITERAL_BYTES} bytes in them")
        literals.append(await wire.read_exactly(int(match[1])))
        part = await read_text(wire, IMAP_LINE_BYTES)
        text += part
    return ImapResponse(text, tuple(literals))


async def imap_ask(wire: Wire, tag: str, command: str, replies: Iterable[str] = (), most: int = LINES) -> ImapAnswer:
    """Send a command and read up to its tagged answer, of at most `most` responses.

    `replies` are said one by one, each when the server asks to go on ("+"), as logins and literals need it.

    Raises:
        Failed: CONNECTION_RESET at BYE, PROTOCOL_ERROR for what is no answer to this command, or too much of it.

    """
    send_line(wire, f"{tag} {command}")
    untagged, challenges, to_say, size = list[ImapResponse](), list[str](), iter(replies), 0
    while len(untagged) + len(challenges) < most and size <= IMAP_ANSWER_BYTES:
        response = await imap_response(wire)
        size += len(response.text) + sum(map(len, response.literals))
        mark, _, rest = response.text.partition(" ")
        if mark == tag:
            status, text = _imap_status(rest)
            return ImapAnswer(status, text, tuple(untagged), tuple(challenges))
        reply = next(to_say, None) if mark == "+" else None
        if reply is not None:
            challenges.append(rest)
            send_line(wire, reply)
            continue
        untagged.append(imap_untagged(response))
    raise Failed(Reason.PROTOCOL_ERROR, f"an IMAP answer of more than {most} responses or {IMAP_ANSWER_BYTES} bytes")


def imap_untagged(response: ImapResponse) -> ImapResponse:
    """Return an untagged response without its mark.

    Raises:
        Failed: CONNECTION_RESET at BYE, PROTOCOL_ERROR where it is none.

    """
    mark, _, rest = response.text.partition(" ")
    if mark != "*":
        raise Failed(Reason.PROTOCOL_ERROR, f"not an IMAP response: {shown(response.text)[:200]!r}")
    _raise_at_bye(rest)
    return ImapResponse(rest, response.literals)


def imap_want_ok(answer: ImapAnswer) -> ImapAnswer:
    """Return the answer where it is OK.

    Raises:
        Failed: CONTENT_MISMATCH.

    """
    if answer.status == "OK":
        return answer
    raise Failed(Reason.CONTENT_MISMATCH, f"the mail server said {answer.status} {shown(answer.text)}"[:300])


async def imap_greeting(wire: Wire) -> str:
    """Read the greeting (RFC 3501 7.1): OK or PREAUTH pass."""
    response = await imap_response(wire)
    mark, _, rest = response.text.partition(" ")
    status, _ = _imap_status(rest) if mark == "*" else ("", "")
    _raise_at_bye(rest if mark == "*" else "")
    if status not in {"OK", "PREAUTH"}:
        raise Failed(Reason.PROTOCOL_ERROR, f"not an IMAP greeting: {shown(response.text)[:200]!r}")
    return shown(response.text)


async def imap_capabilities(wire: Wire) -> frozenset[str]:
    """Ask for the capabilities, in upper case."""
    answer = imap_want_ok(await imap_ask(wire, "c1", "CAPABILITY"))
    words = (response.text.upper().split() for response in answer.untagged)
    return frozenset(word for first, *rest in words if first == "CAPABILITY" for word in rest)


async def _imap_starttls(wire: Wire) -> None:
    _require("STARTTLS", await imap_capabilities(wire))
    imap_want_ok(await imap_ask(wire, "s1", "STARTTLS"))


def _imap_status(text: str) -> tuple[str, str]:
    match = _IMAP_STATUS.fullmatch(text)
    if match is None:
        raise Failed(Reason.PROTOCOL_ERROR, f"not an IMAP status: {shown(text)[:200]!r}")
    return match[1].upper(), match[2] or ""


def _raise_at_bye(text: str) -> None:
    if text[:4].upper().rstrip() == "BYE":
        raise Failed(Reason.CONNECTION_RESET, f"the mail server says good-bye: {shown(text)}"[:300])


# POP3


@dataclass(frozen=True, slots=True)
class PopAnswer:
    """One status line (RFC 1939 3)."""

    ok: bool
    text: str


async def pop_answer(wire: Wire) -> PopAnswer:
    """Read one status line.

    Raises:
        Failed: PROTOCOL_ERROR where it is none, CONNECTION_RESET where the connection ends inside it.

    """
    line = await read_text(wire)
    mark, _, text = line.partition(" ")
    if mark not in {"+OK", "-ERR"}:
        raise Failed(Reason.PROTOCOL_ERROR, f"not a POP3 answer: {shown(line)[:200]!r}")
    return PopAnswer(mark == "+OK", text)


async def pop_ask(wire: Wire, command: str) -> PopAnswer:
    """Send a command and read its status line."""
    send_line(wire, command)
    return await pop_answer(wire)


def pop_want_ok(answer: PopAnswer) -> PopAnswer:
    """Return the answer where it is +OK.

    Raises:
        Failed: CONTENT_MISMATCH.

    """
    if answer.ok:
        return answer
    raise Failed(Reason.CONTENT_MISMATCH, f"the mail server said -ERR {shown(answer.text)}"[:300])


async def pop_lines(wire: Wire) -> tuple[bytes, ...]:
    """Read the lines that follow a +OK, up to the single dot, with stuffed dots taken away (RFC 1939 3)."""
    lines: list[bytes] = []
    size = 0
    while (line := await wire.read_line(POP_LINE_BYTES)) != b".":
        size += len(line) + 2
        if size > POP_BODY_BYTES:
            raise Failed(Reason.PROTOCOL_ERROR, f"a POP3 answer of more than {POP_BODY_BYTES} bytes")
        lines.append(line.removeprefix(b"."))
    return tuple(lines)


async def pop_greeting(wire: Wire) -> str:
    """Read the greeting, which has to be +OK."""
    return f"+OK {shown(pop_want_ok(await pop_answer(wire)).text)}"


async def pop_capabilities(wire: Wire) -> frozenset[str]:
    """Ask for the capabilities (RFC 2449), in upper case with their parameters; a server that does not know CAPA has none."""
    answer = await pop_ask(wire, "CAPA")
    lines = await pop_lines(wire) if answer.ok else ()
    return frozenset(line.decode(errors="backslashreplace").upper() for line in lines)


async def _pop_starttls(wire: Wire) -> None:
    _require("STLS", await pop_capabilities(wire))
    pop_want_ok(await pop_ask(wire, "STLS"))


# All three

GREETING: dict[Protocol, Callable[[Wire], Awaitable[str]]] = {
    Protocol.SMTP: smtp_greeting,
    Protocol.IMAP: imap_greeting,
    Protocol.POP3: pop_greeting,
}
"""Reads and judges the greeting, and returns it."""

CAPABILITIES: dict[Protocol, Callable[[Wire], Awaitable[frozenset[str]]]] = {
    Protocol.SMTP: smtp_capabilities,
    Protocol.IMAP: imap_capabilities,
    Protocol.POP3: pop_capabilities,
}
"""Asks what the server can do."""

FAREWELL = {Protocol.SMTP: "QUIT", Protocol.IMAP: "z1 LOGOUT", Protocol.POP3: "QUIT"}
"""What a polite client says last; without it mail servers log a lost connection."""

_STARTTLS = {Protocol.SMTP: _smtp_starttls, Protocol.IMAP: _imap_starttls, Protocol.POP3: _pop_starttls}


async def ask_for_tls(wire: Wire, protocol: Protocol) -> None:
    """Agree on TLS; the handshake is the next thing on the wire. What was learnt before it must be asked again.

    Raises:
        Failed: where it is not offered or refused, and PROTOCOL_ERROR where bytes wait behind the agreement: they came in the clear, and
            would count as said under TLS (the injection of CVE-2011-0411).

    """
    await _STARTTLS[protocol](wire)
    wire.refuse_unread()


def _require(word: str, offered: Iterable[str]) -> None:
    """Raise unless the capability is offered. A middlebox that strips or masks it (XXXXXXXA) looks the same as a server without it."""
    if word not in offered:
        offers = shown(", ".join(sorted(offered)))
        raise Failed(Reason.CONTENT_MISMATCH, f"does not offer {word}; it offers: {offers or 'nothing'}"[:300])
