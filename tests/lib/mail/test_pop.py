"""A mailbox seen through POP3, against a server whose habits the tests choose."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from time import perf_counter
from typing import Any

import pytest
from pydantic import ValidationError

from probes.core.context import Context, Shared
from probes.core.contract import Failed, Inconclusive, Stopped
from probes.core.reasons import Reason
from probes.lib.mail import pop
from probes.lib.mail.ends import Folder, Mailbox
from probes.lib.mail.letter import Letter, Template, mime, new_letter
from probes.lib.mail.pop import PopReceive, mailbox
from tests.fakes.certificates import ca_file
from tests.fakes.pop import PopServer
from tests.fakes.scripted import plays
from tests.lib.mail.test_imap import STRANGER, report_on
from tests.probes.pages import lookup, read

RECEIVED = b"Received: from a by b with LMTP; Mon, 23 Nov 2026 15:00:30 +0100\r\n"
LONG_AGO = b"Received: from a by b with LMTP; Thu, 1 Jan 2026 00:00:00 +0000\r\n"
INBOX = (Folder.INBOX, Folder.JUNK)


@pytest.fixture(autouse=True)
def _quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pop, "looks", lambda: iter([0.02 * i for i in range(1, 1000)]))


def a_letter() -> Letter:
    return new_letter("p", "a@contoso.example", "b@contoso.example", Template())


def context() -> Context:
    return Context("p", Shared(lookup, read))


@asynccontextmanager
async def opened(server: PopServer, **settings: Any) -> AsyncIterator[tuple[Mailbox, Context]]:
    """Yield the mailbox of this server, open, and what its run found."""
    ctx = context()
    async with server.running() as (host, port):
        account = {"username": "b@contoso.example", "password": {"env": "pass-word"}, "tls": {"ca_file": ca_file()}}
        box = mailbox(PopReceive.model_validate({"via": "pop3", "host": host, "port": port, **account, **settings}))
        with ctx.step("sign_in"):
            await box.open(ctx)
        with ctx.step("transit"):
            yield box, ctx
        await box.close()


async def refused(server: PopServer, **settings: Any) -> Stopped:
    with pytest.raises(Stopped) as caught:
        async with opened(server, **settings):
            pass
    return caught.value


def soon(seconds: float = 5.0) -> float:
    return perf_counter() + seconds


async def test_an_arrival_is_seen_by_the_look_after_it() -> None:
    server, letter = PopServer(), a_letter()
    server.put(STRANGER)
    async with opened(server) as (box, ctx):
        waiting = asyncio.create_task(box.arrival(ctx, letter, soon()))
        await server.hears("UIDL", times=3)
        server.put(STRANGER)
        server.put(RECEIVED + mime(letter))
        found = await waiting
    assert found is not None
    assert (found.tag, found.folder, found.delivered) == (letter.tag, Folder.INBOX, 1795442430.0)
    assert 0 < found.granularity < 5
    assert "TOP 1 0" not in server.heard, "what was there before is not read"


async def test_a_letter_that_does_not_come_is_none() -> None:
    server = PopServer()
    async with opened(server) as (box, ctx):
        server.put(report_on(a_letter()))
        assert await box.arrival(ctx, a_letter(), soon(0.1)) is None
    assert sum(line.startswith("TOP") for line in server.heard) == 1, "what was looked at once is not looked at again"


@pytest.mark.parametrize("refusal", ["-ERR [IN-USE] Do you have another POP session running?", "-ERR [LOGIN-DELAY] wait"])
async def test_a_mailbox_that_is_busy_is_looked_at_next_time(refusal: str) -> None:
    server, letter = PopServer(), a_letter()
    async with opened(server) as (box, ctx):
        server.put(mime(letter))
        server.refuses["AUTH"] = refusal
        waiting = asyncio.create_task(box.arrival(ctx, letter, soon()))
        await server.hears("AUTH", times=2)
        server.refuses.clear()
        assert await waiting


async def test_a_mailbox_that_stays_busy_says_nothing_about_the_letter() -> None:
    server = PopServer()
    async with opened(server) as (box, ctx):
        server.refuses["AUTH"] = "-ERR [IN-USE] busy"
        with pytest.raises(Inconclusive) as caught:
            await box.arrival(ctx, a_letter(), soon(0.05))
    assert caught.value.reason is Reason.THROTTLED


async def test_what_is_ours_is_found_and_removed_and_nothing_else() -> None:
    server, letter, reported = PopServer(), a_letter(), a_letter()
    for text in (STRANGER, mime(letter), report_on(reported), report_on(a_letter()), mime(a_letter()), mime(letter)):
        server.put(text)
    async with opened(server) as (box, ctx):
        found = await box.find(ctx, {letter.tag, reported.tag}, INBOX)
        assert [(one.tag, one.report and one.report.status) for one in found] == [
            (letter.tag, None),
            (reported.tag, "5.1.1"),
            (letter.tag, None),
        ]
        await box.remove(ctx, found)
        await box.remove(ctx, found)
        await box.remove(ctx, [replace(found[0], key="UID of nobody")])
        assert await box.find(ctx, {letter.tag, reported.tag}, INBOX) == []
    assert len(server.mails) == 3


async def test_there_is_the_inbox_alone() -> None:
    server, letter = PopServer(), a_letter()
    server.put(mime(letter))
    async with opened(server) as (box, ctx):
        assert await box.find(ctx, {letter.tag}, (Folder.JUNK, Folder.SENT)) == []


async def test_litter_is_what_is_ours_and_older_than_a_day() -> None:
    server, old = PopServer(), a_letter()
    new = RECEIVED.replace(b"2026", b"2099")
    for text in (LONG_AGO + mime(old), LONG_AGO + STRANGER, new + mime(a_letter()), mime(a_letter())):
        server.put(text)
    async with opened(server) as (box, ctx):
        assert [one.tag for one in await box.find(ctx, (), INBOX)] == [old.tag]


async def test_what_could_not_be_removed_is_told() -> None:
    server, letter = PopServer(), a_letter()
    server.put(mime(letter))
    async with opened(server) as (box, ctx):
        found = await box.find(ctx, {letter.tag}, INBOX)
        server.refuses["QUIT"] = "-ERR some deleted messages not removed"
        with pytest.raises(Failed, match="not removed"):
            await box.remove(ctx, found)


# Login


@pytest.mark.parametrize(
    ("offers", "said"),
    [
        pytest.param(("SASL PLAIN",), ["AUTH PLAIN", "AGJAY29udG9zby5leGFtcGxlAHBhc3Mtd29yZA=="], id="PLAIN"),
        pytest.param(("USER", "SASL XOAUTH2"), ["USER b@contoso.example", "PASS pass-word"], id="USER"),
        pytest.param((), ["USER b@contoso.example", "PASS pass-word"], id="no CAPA"),
    ],
)
async def test_a_password_is_said_as_the_server_takes_it(offers: tuple[str, ...], said: list[str]) -> None:
    server = PopServer(offers=offers)
    async with opened(server):
        pass
    assert server.heard == ["CAPA", *said, "UIDL", "QUIT"]


async def test_a_server_without_passwords_is_not_sent_one() -> None:
    server = PopServer(offers=("TOP", "SASL XOAUTH2"))
    stopped = await refused(server)
    assert stopped.reason is Reason.BLOCKED_BY_POLICY
    assert "XOAUTH2" in stopped.message
    assert server.heard == ["CAPA"]


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        pytest.param("-ERR Authentication failure: unknown user name or bad password.", Reason.CREDENTIAL_INVALID, id="Exchange"),
        pytest.param("-ERR [AUTH] Authentication failed for pass-word", Reason.CREDENTIAL_INVALID, id="Dovecot"),
        pytest.param("-ERR [SYS/TEMP] later", Reason.IDENTITY_FAULT, id="the server cannot ask"),
        pytest.param("-ERR [IN-USE] busy", Reason.THROTTLED, id="in use"),
    ],
)
async def test_a_refused_login(refusal: str, reason: Reason) -> None:
    stopped = await refused(PopServer(offers=("USER",), refuses={"PASS": refusal}))
    assert stopped.reason is reason
    assert "pass-word" not in stopped.message


@pytest.mark.parametrize("password", ["a\r\nDELE 1", "a\0b"], ids=["a command", "a NUL"])
async def test_a_password_cannot_smuggle_a_command(password: str) -> None:
    server = PopServer(offers=("USER",))
    assert (await refused(server, password={"env": password})).reason is Reason.CREDENTIAL_INVALID
    assert server.heard == ["CAPA"]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        pytest.param("* OK IMAP4", Reason.PROTOCOL_ERROR, id="another protocol"),
        pytest.param("-ERR too busy", Reason.CONTENT_MISMATCH, id="busy at the greeting"),
        pytest.param("-ERR [IN-USE] Too many connections", Reason.THROTTLED, id="too many of us at the greeting"),
        pytest.param("+OK\nC: CAPA\nS: -ERR\nC: USER\nS: ?", Reason.PROTOCOL_ERROR, id="no answer"),
        pytest.param("+OK\nC: CAPA\nS: +OK\nS: SASL PLAIN\nS: .\nC: AUTH\nS: 334 go on", Reason.PROTOCOL_ERROR, id="no challenge"),
        pytest.param("+OK\nC: CAPA\nS: +OK\nS: SASL PLAIN\nS: .\nC: AUTH\nS: + \nCLOSE", Reason.CONNECTION_RESET, id="hangs up"),
        pytest.param(
            "+OK\nC: CAPA\nS: -ERR\nC: USER\nS: +OK\nC: PASS\nS: +OK\nC: UIDL\nS: +OK\nS: " + "x" * 70_000,
            Reason.PROTOCOL_ERROR,
            id="endless",
        ),
    ],
)
async def test_a_server_that_is_none_is_a_failure_with_a_name(said: str, reason: Reason) -> None:
    async with plays(f"S: {said}") as (host, port):
        account = {"username": "b@contoso.example", "password": {"env": "pass-word"}, "security": "none"}
        ctx = context()
        with pytest.raises(Stopped) as caught, ctx.step("sign_in"):
            await mailbox(PopReceive.model_validate({"via": "pop3", "host": host, "port": port, **account})).open(ctx)
    assert caught.value.reason is reason


async def test_a_refused_command_is_named() -> None:
    server = PopServer(refuses={"UIDL": "-ERR no such command"})
    stopped = await refused(server)
    assert (stopped.reason, stopped.message) == (Reason.CONTENT_MISMATCH, "the mail server said -ERR no such command to UIDL")


async def test_under_starttls_the_login_comes_last() -> None:
    heard: list[str] = []
    script = """
        S: +OK Dovecot ready.
        C: CAPA
        S: +OK
        S: STLS
        S: .
        C: STLS
        S: +OK Begin TLS negotiation now.
        TLS
        C: CAPA
        S: +OK
        S: USER
        S: .
        C: USER b@contoso.example
        S: +OK
        C: PASS pass-word
        S: +OK Logged in.
        C: UIDL
        S: +OK
        S: .
        C: QUIT
        S: +OK Logging out.
    """
    ctx = context()
    async with plays(script, heard=heard) as (host, port):
        account = {"username": "b@contoso.example", "password": {"env": "pass-word"}, "tls": {"ca_file": ca_file()}}
        box = mailbox(PopReceive.model_validate({"via": "pop3", "host": host, "port": port, "security": "starttls", **account}))
        with ctx.step("sign_in"):
            await box.open(ctx)
    assert heard[-1] == "QUIT"
    assert ctx.evidence_found["pop3_greeting"] == "+OK Dovecot ready."


@pytest.mark.parametrize(("security", "port"), [("tls", 995), ("starttls", 110)])
def test_the_usual_port(security: str, port: int) -> None:
    settings = PopReceive.model_validate({"via": "pop3", "host": "h", "username": "me", "oauth": True, "security": security})
    assert settings.server.port == port


def test_a_login_has_to_be_named() -> None:
    with pytest.raises(ValidationError, match="exactly one of password and oauth"):
        PopReceive(via="pop3", host="h", username="me")
