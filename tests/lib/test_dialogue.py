"""Replies of SMTP, IMAP and POP3 as servers really send them, and as nobody should."""

import socket
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.core.context import Context, Shared
from probes.core.contract import Failed, Secret
from probes.core.reasons import Reason
from probes.lib import dialogue
from probes.lib.connect import connect
from probes.lib.wire import Wire
from tests.fakes import hostile
from tests.fakes.scripted import plays

T = TypeVar("T")


async def no_lookup(host: str, family: int) -> tuple[str, ...]:
    raise AssertionError((host, family))


def no_secret(secret: Secret) -> str:
    raise AssertionError(secret)


async def after(server: hostile.Server, act: Callable[[Wire], Awaitable[T]]) -> T:
    """Return what `act` makes of a connection to this server."""
    ctx = Context("p", Shared(no_lookup, no_secret))
    async with server as (host, port):
        with ctx.step("connect"):
            wire = await connect(ctx, host, port)
        with wire:
            return await act(wire)


async def read(data: bytes, act: Callable[[Wire], Awaitable[T]], *, asks: bool = False) -> T:
    """Return what `act` makes of these bytes, after which the server hangs up; with `asks` it waits for a question first."""
    return await after(hostile.closes_after(data, waits_for_request=asks), act)


async def reason_for(data: bytes, act: Callable[[Wire], Awaitable[object]], *, asks: bool = False) -> Reason:
    with pytest.raises(Failed) as caught:
        await read(data, act, asks=asks)
    return caught.value.reason


# SMTP


@pytest.mark.parametrize(
    ("data", "label", "lines"),
    [
        pytest.param(b"250 2.1.0 OK\r\n", "250 2.1.0", ("2.1.0 OK",), id="enhanced"),
        pytest.param(b"220-one\r\n220-\r\n220 two\r\n", "220", ("one", "", "two"), id="several lines"),
        pytest.param(b"250\r\n", "250", ("",), id="the code alone"),
        pytest.param(b"250-\r\n250\r\n", "250", ("", ""), id="the code alone, twice"),
        pytest.param(b"451 4.3.2 Temporary server error. [X]\n", "451 4.3.2", ("4.3.2 Temporary server error. [X]",), id="LF alone"),
        pytest.param(
            b"535 5.7.139 Authentication unsuccessful\r\n", "535 5.7.139", ("5.7.139 Authentication unsuccessful",), id="3 digits"
        ),
        pytest.param(b"550 4.7.1 says one class and means another\r\n", "550", ("4.7.1 says one class and means another",), id="classes"),
        pytest.param(b"220 5.7.1.example.com ESMTP\r\n", "220", ("5.7.1.example.com ESMTP",), id="a name like a code"),
        pytest.param(b"220 gr\xfc\xdfe\r\n", "220", (r"gr\xfc\xdfe",), id="not UTF-8"),
    ],
)
async def test_an_smtp_reply(data: bytes, label: str, lines: tuple[str, ...]) -> None:
    reply = await read(data, dialogue.smtp_reply)
    assert (reply.label, reply.lines) == (label, lines)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n", Reason.PROTOCOL_ERROR, id="HTTP"),
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", Reason.PROTOCOL_ERROR, id="SSH"),
        pytest.param(b"\r\n", Reason.PROTOCOL_ERROR, id="empty line"),
        pytest.param(b"2200 too many digits\r\n", Reason.PROTOCOL_ERROR, id="four digits"),
        pytest.param(b"150 no such class\r\n", Reason.PROTOCOL_ERROR, id="first digit"),
        pytest.param(b"220-one\r\n250 other\r\n", Reason.PROTOCOL_ERROR, id="code changes"),
        pytest.param(b"220-more\r\n" * 201, Reason.PROTOCOL_ERROR, id="too many lines"),
        pytest.param(b"220 " + b"x" * 5000 + b"\r\n", Reason.PROTOCOL_ERROR, id="line too long"),
        pytest.param(hostile.GARBAGE, Reason.PROTOCOL_ERROR, id="garbage"),
        pytest.param(b"220-one\r\n", Reason.CONNECTION_RESET, id="closed between lines"),
        pytest.param(b"220 hal", Reason.CONNECTION_RESET, id="closed in a line"),
        pytest.param(b"", Reason.CONNECTION_RESET, id="closed at once"),
    ],
)
async def test_what_is_no_smtp_reply(data: bytes, reason: Reason) -> None:
    assert await reason_for(data, dialogue.smtp_reply) is reason


@pytest.mark.parametrize(
    ("data", "reason", "code"),
    [
        pytest.param(b"421 4.3.2 Service not available\r\n", Reason.MAIL_DEFERRED, "421 4.3.2", id="4xx"),
        pytest.param(b"554 5.7.1 No service for you\r\n", Reason.MAIL_REJECTED, "554 5.7.1", id="5xx"),
        pytest.param(b"354 go on\r\n", Reason.PROTOCOL_ERROR, "354", id="3xx"),
    ],
)
async def test_a_greeting_that_refuses(data: bytes, reason: Reason, code: str) -> None:
    with pytest.raises(Failed) as caught:
        await read(data, dialogue.smtp_greeting)
    assert (caught.value.reason, caught.value.code) == (reason, code)


@pytest.mark.parametrize(
    ("line", "code"), [("250 OK", None), ("451 4.3.2 later", "451 4.3.2"), ("550-5.1.1 no", "550 5.1.1"), ("599x", None)]
)
def test_a_refusal_in_a_single_line(line: str, code: str | None) -> None:
    refusal = dialogue.smtp_refusal_in(line)
    assert (refusal.code if refusal else None) == code


async def test_ehlo_gives_our_address_and_returns_extensions_with_their_parameters() -> None:
    heard: list[str] = []
    script = """
        C: EHLO
        S: 250-mail.example.com Hello [192.0.2.1]
        S: 250-size 157286400
        S: 250 AUTH LOGIN XOAUTH2
    """
    found = await after(plays(script, heard=heard), dialogue.smtp_capabilities)
    assert found == {"SIZE 157286400", "AUTH LOGIN XOAUTH2"}
    assert heard == ["EHLO [127.0.0.1]"]


# IMAP


@pytest.mark.parametrize(
    ("data", "text", "literals"),
    [
        pytest.param(b"* OK ready\r\n", "* OK ready", (), id="plain"),
        pytest.param(b"* 1 FETCH (B {5}\r\na\r\nbc)\r\n", "* 1 FETCH (B {5})", (b"a\r\nbc",), id="literal"),
        pytest.param(b"* X {1}\r\na {0}\r\n {2+}\r\nbc\r\n", "* X {1} {0} {2+}", (b"a", b"", b"bc"), id="several literals"),
        pytest.param(b"* OK {5} in the middle\r\n", "* OK {5} in the middle", (), id="braces that are none"),
    ],
)
async def test_an_imap_response(data: bytes, text: str, literals: tuple[bytes, ...]) -> None:
    assert await read(data, dialogue.imap_response) == dialogue.ImapResponse(text, literals)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(b"* X {9999999999}\r\n", Reason.PROTOCOL_ERROR, id="literal of 10 GB"),
        pytest.param(b"* X {1048577}\r\n", Reason.PROTOCOL_ERROR, id="one byte too many"),
        pytest.param(b"* X {0}\r\n" + b"{0}\r\n" * 300, Reason.PROTOCOL_ERROR, id="endless literals"),
        pytest.param(b"* X {10}\r\nabc", Reason.CONNECTION_RESET, id="closed in a literal"),
        pytest.param(b"* X " + b"x" * 70_000, Reason.PROTOCOL_ERROR, id="line too long"),
    ],
)
async def test_what_is_no_imap_response(data: bytes, reason: Reason) -> None:
    assert await reason_for(data, dialogue.imap_response) is reason


async def test_an_imap_answer_collects_what_comes_before_its_tag() -> None:
    data = b"* 3 EXISTS\r\n* FETCH {2}\r\nhi\r\nt7 NO [UNAVAILABLE] later\r\n"
    answer = await read(data, lambda wire: dialogue.imap_ask(wire, "t7", "NOOP"), asks=True)
    untagged = (dialogue.ImapResponse("3 EXISTS"), dialogue.ImapResponse("FETCH {2}", (b"hi",)))
    assert answer == dialogue.ImapAnswer("NO", "[UNAVAILABLE] later", untagged)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(b"* BYE Connection closed. 14\r\n", Reason.CONNECTION_RESET, id="BYE"),
        pytest.param(b"t8 OK for another command\r\n", Reason.PROTOCOL_ERROR, id="another tag"),
        pytest.param(b"+ go on\r\n", Reason.PROTOCOL_ERROR, id="continuation"),
        pytest.param(b"t7 MAYBE\r\n", Reason.PROTOCOL_ERROR, id="no status"),
        pytest.param(b"* 1 EXISTS\r\n" * 300, Reason.PROTOCOL_ERROR, id="endless"),
        pytest.param(b"* 1 EXISTS\r\n", Reason.CONNECTION_RESET, id="closed"),
    ],
)
async def test_what_is_no_imap_answer(data: bytes, reason: Reason) -> None:
    assert await reason_for(data, lambda wire: dialogue.imap_ask(wire, "t7", "NOOP"), asks=True) is reason


@pytest.mark.parametrize("status", ["NO", "BAD"])
def test_an_imap_answer_that_is_not_ok(status: str) -> None:
    with pytest.raises(Failed) as caught:
        dialogue.imap_want_ok(dialogue.ImapAnswer(status, "\x1b[2Jno"))
    assert caught.value.reason is Reason.CONTENT_MISMATCH
    assert caught.value.message == rf"the mail server said {status} \x1b[2Jno"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(b"* BYE overloaded\r\n", Reason.CONNECTION_RESET, id="BYE"),
        pytest.param(b"+OK POP3\r\n", Reason.PROTOCOL_ERROR, id="POP3"),
        pytest.param(b"220 SMTP\r\n", Reason.PROTOCOL_ERROR, id="SMTP"),
        pytest.param(b"* 3 EXISTS\r\n", Reason.PROTOCOL_ERROR, id="no status"),
        pytest.param(b"* NO\r\n", Reason.PROTOCOL_ERROR, id="no"),
    ],
)
async def test_what_is_no_imap_greeting(data: bytes, reason: Reason) -> None:
    assert await reason_for(data, dialogue.imap_greeting) is reason


async def test_a_greeting_may_say_that_no_login_is_needed() -> None:
    assert await read(b"* PREAUTH welcome\r\n", dialogue.imap_greeting) == "* PREAUTH welcome"


# POP3


async def test_lines_of_pop3_lose_their_stuffed_dots() -> None:
    assert await read(b"a\r\n..b\r\n...\r\n\r\n.\r\nnot read\r\n", dialogue.pop_lines) == (b"a", b".b", b"..", b"")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(b"x" * 4000 + b"\r\n", Reason.CONNECTION_RESET, id="closed before the dot"),
        pytest.param((b"x" * 4000 + b"\r\n") * 300, Reason.PROTOCOL_ERROR, id="endless"),
        pytest.param(b"x" * 70_000, Reason.PROTOCOL_ERROR, id="line too long"),
    ],
)
async def test_what_are_no_pop3_lines(data: bytes, reason: Reason) -> None:
    assert await reason_for(data, dialogue.pop_lines) is reason


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(b"-ERR [SYS/TEMP] overloaded\r\n", Reason.CONTENT_MISMATCH, id="error"),
        pytest.param(b"* OK IMAP\r\n", Reason.PROTOCOL_ERROR, id="IMAP"),
        pytest.param(b"+OKAY\r\n", Reason.PROTOCOL_ERROR, id="another word"),
    ],
)
async def test_what_is_no_pop3_greeting(data: bytes, reason: Reason) -> None:
    assert await reason_for(data, dialogue.pop_greeting) is reason


async def test_a_pop3_server_without_capa_has_no_capabilities() -> None:
    assert await after(plays("C: CAPA\nS: -ERR unknown command"), dialogue.pop_capabilities) == frozenset()


# STARTTLS

NO_STARTTLS = {
    dialogue.Protocol.SMTP: "C: EHLO\nS: 250-mail.example.com\nS: 250-XXXXXXXA\nS: 250 SIZE 1000",
    dialogue.Protocol.IMAP: "C: c1 CAPABILITY\nS: * CAPABILITY IMAP4rev1 LOGINDISABLED\nS: c1 OK done",
    dialogue.Protocol.POP3: "C: CAPA\nS: +OK\nS: USER\nS: .",
}
STARTTLS = {
    dialogue.Protocol.SMTP: "C: EHLO\nS: 250-mail.example.com\nS: 250 STARTTLS\nC: STARTTLS\nS: 220 2.0.0 ready",
    dialogue.Protocol.IMAP: "C: c1 CAPABILITY\nS: * CAPABILITY IMAP4rev1 STARTTLS\nS: c1 OK done\nC: s1 STARTTLS\nS: s1 OK begin",
    dialogue.Protocol.POP3: "C: CAPA\nS: +OK\nS: STLS\nS: .\nC: STLS\nS: +OK begin",
}
REFUSED = {
    dialogue.Protocol.SMTP: ("454 4.7.0 TLS not available", Reason.MAIL_DEFERRED),
    dialogue.Protocol.IMAP: ("s1 BAD not now", Reason.CONTENT_MISMATCH),
    dialogue.Protocol.POP3: ("-ERR not now", Reason.CONTENT_MISMATCH),
}


async def starttls_failure(script: str, protocol: dialogue.Protocol) -> Failed:
    with pytest.raises(Failed) as caught:
        await after(plays(script), lambda wire: dialogue.ask_for_tls(wire, protocol))
    return caught.value


@pytest.mark.parametrize("protocol", dialogue.Protocol)
async def test_tls_that_is_not_offered(protocol: dialogue.Protocol) -> None:
    failure = await starttls_failure(NO_STARTTLS[protocol], protocol)
    assert failure.reason is Reason.CONTENT_MISMATCH
    assert "does not offer ST" in failure.message


@pytest.mark.parametrize("protocol", dialogue.Protocol)
async def test_tls_that_is_offered_and_refused(protocol: dialogue.Protocol) -> None:
    line, reason = REFUSED[protocol]
    failure = await starttls_failure(STARTTLS[protocol].rpartition("\n")[0] + "\nS: " + line, protocol)
    assert failure.reason is reason


@pytest.mark.parametrize("protocol", dialogue.Protocol)
async def test_bytes_behind_the_agreement_on_tls_are_an_injection(protocol: dialogue.Protocol) -> None:
    failure = await starttls_failure(STARTTLS[protocol] + "\nS: 250 injected", protocol)
    assert failure.reason is Reason.PROTOCOL_ERROR


@pytest.mark.parametrize("protocol", dialogue.Protocol)
async def test_an_agreement_on_tls_leaves_nothing_unread(protocol: dialogue.Protocol) -> None:
    await after(plays(STARTTLS[protocol]), lambda wire: dialogue.ask_for_tls(wire, protocol))


# Anything at all


READERS: tuple[Callable[[Wire], Awaitable[object]], ...] = (
    dialogue.smtp_greeting,
    dialogue.imap_greeting,
    dialogue.imap_capabilities,
    dialogue.pop_greeting,
    dialogue.pop_capabilities,
)


PIECES = st.sampled_from(
    [b"220 ", b"250-", b"250 ", b"* OK ", b"* CAPABILITY ", b"c1 OK", b"+OK", b"-ERR", b"{3}", b"{}", b"\r\n", b"\n", b".", b" "]
)


@given(st.lists(st.one_of(PIECES, st.binary(max_size=8)), max_size=30).map(b"".join), st.sampled_from(READERS))
def test_whatever_a_server_says_the_answer_is_a_value_or_a_named_failure(data: bytes, reader: Callable[[Wire], Awaitable[object]]) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        wire = Wire(sock, ("127.0.0.1", 1))
        wire.data_received(data)
        wire.eof_received()
        reading = reader(wire).__await__()
        with pytest.raises((StopIteration, Failed)):  # all bytes are there, so nothing is waited for
            next(reading)


@pytest.mark.parametrize(
    ("family", "address", "name"), [(socket.AF_INET, "127.0.0.1", "[127.0.0.1]"), (socket.AF_INET6, "::1", "[IPv6:::1]")]
)
def test_in_ehlo_we_are_an_address_literal(family: socket.AddressFamily, address: str, name: str) -> None:
    with socket.socket(family) as sock:
        sock.bind((address, 0))
        assert dialogue.own_name(Wire(sock, (address, 1))) == name
