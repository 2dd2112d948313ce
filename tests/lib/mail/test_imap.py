"""A mailbox seen through IMAP, against a server whose habits the tests choose."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from time import perf_counter
from typing import Any

import pytest
from pydantic import ValidationError

from probes.core.context import Context, Shared
from probes.core.contract import Failed, Inconclusive, Secret, Stopped
from probes.core.reasons import Reason
from probes.lib.mail import imap
from probes.lib.mail.ends import Folder, Found, Mailbox
from probes.lib.mail.imap import ImapReceive, mailbox
from probes.lib.mail.letter import Letter, Template, mime, new_letter
from probes.lib.mail.sasl import plain
from tests.fakes import hostile
from tests.fakes.certificates import ca_file
from tests.fakes.imap import AFTER, EXCHANGE, Box, ImapServer
from tests.lib.runs import on_both_loops
from tests.probes.pages import lookup, read

STRANGER = b"From: someone@example.org\r\nSubject: hello\r\nMessage-ID: <1@example.org>\r\n\r\nhi\r\n"
ALL = (Folder.INBOX, Folder.JUNK, Folder.SENT, Folder.DELETED, Folder.RECOVERABLE)
EVENTUALLY = 5.0


def report_on(letter: Letter) -> bytes:
    return (
        "From: postmaster@example.org\r\nSubject: Undeliverable: hello\r\nMessage-ID: <r@example.org>\r\n"
        'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\r\n\r\n'
        "--b\r\nContent-Type: text/plain\r\n\r\nSorry.\r\n"
        "--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example.org\r\n\r\n"
        "Final-Recipient: rfc822; nobody@example.org\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n"
        f"--b\r\nContent-Type: text/rfc822-headers\r\n\r\nMessage-ID: {letter.message_id}\r\n\r\n--b--\r\n"
    ).encode()


def a_letter() -> Letter:
    return new_letter("p", "a@contoso.example", "b@contoso.example", Template())


def exchange(**boxes: Box) -> ImapServer:
    """Return a server with Exchange Online's folders."""
    junk, sent, trash = Box(attributes=r"\HasNoChildren \Junk"), Box(attributes=r"\Sent"), Box(attributes=r"\Trash")
    usual = {"INBOX": Box(), "Junk Email": junk, "Sent Items": sent, "Deleted Items": trash}
    return ImapServer(usual | boxes)


def context() -> Context:
    return Context("p", Shared(lookup, read))


@asynccontextmanager
async def opened(server: ImapServer, ctx: Context | None = None, **settings: Any) -> AsyncIterator[tuple[Mailbox, Context]]:
    """Yield the mailbox of this server, open, and what its run found."""
    ctx = ctx or context()
    tls = settings.get("security", "tls") == "tls"
    async with server.running(tls=tls) as (host, port):
        account = {"username": "b@contoso.example", "password": {"env": "pass-word"}, "tls": {"ca_file": ca_file()}}
        box = mailbox(ImapReceive.model_validate({"via": "imap", "host": host, "port": port, **account, **settings}))
        try:
            with ctx.step("sign_in"):
                await box.open(ctx)
            with ctx.step("transit"):
                yield box, ctx
        finally:
            await box.close()


async def refused(server: ImapServer, **settings: Any) -> Stopped:
    with pytest.raises(Stopped) as caught:
        async with opened(server, **settings):
            pass
    return caught.value


def soon(seconds: float = EVENTUALLY) -> float:
    return perf_counter() + seconds


def of(found: list[Found]) -> list[tuple[str, Folder]]:
    return [(one.tag, one.folder) for one in found]


HOSTILE = {
    "an endless line": b"* OK hi\r\n* CAPABILITY " + b"x" * 70_000,
    "endless responses": b"* OK hi\r\n" + b"* OK still here\r\n" * 300,
    "a literal without an end": b"* OK hi\r\n* LIST {4294967296}\r\n",
    "endless literals": b"* OK hi\r\n* LIST" + b" {0}\r\n" * 300,
    "another's answer": b"* OK hi\r\nx9 OK done\r\n",
    "a request that nobody made": b"* OK hi\r\n+ go on\r\n",
    "no words": bytes(range(256)) + b"\r\n",
}


@pytest.mark.parametrize("said", HOSTILE.values(), ids=HOSTILE)
async def test_a_hostile_server_is_a_failure_with_a_name(said: bytes) -> None:
    async with hostile.closes_after(said, waits_for_request=False) as (host, port):
        settings = ImapReceive(via="imap", host=host, port=port, username="me", password=Secret(env="x"), security="none")
        ctx = context()
        with pytest.raises(Failed) as caught, ctx.step("sign_in"):
            await mailbox(settings).open(ctx)
    assert caught.value.reason is Reason.PROTOCOL_ERROR


@pytest.mark.parametrize("begin", ["", "* BYE ", "* "], ids=["an echo", "a good-bye", "an untagged echo"])
@pytest.mark.parametrize("offered", ["AUTH=PLAIN SASL-IR", "X"], ids=["PLAIN", "LOGIN"])
async def test_a_server_that_repeats_the_login_does_not_make_us_tell_it(begin: str, offered: str) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"* OK hi\r\n* CAPABILITY IMAP4rev1 {offered}\r\nf1 OK done\r\n".encode())
        await reader.readline()
        writer.write(begin.encode() + await reader.readline())

    password = "pass-word-" * 30
    async with hostile.serving(echo) as (host, port):
        settings = ImapReceive(via="imap", host=host, port=port, username="me", password=Secret(env=password), security="none")
        ctx = context()
        with pytest.raises(Failed) as caught, ctx.step("sign_in"):
            await mailbox(settings).open(ctx)
    told = caught.value.message + str(ctx.evidence_found)
    assert "pass-word" not in told
    assert plain("me", password)[:20] not in told


async def test_a_good_bye_that_says_why_is_heard() -> None:
    async with hostile.closes_after(b"* BYE Too many simultaneous connections\r\n", waits_for_request=False) as (host, port):
        settings = ImapReceive(via="imap", host=host, port=port, username="me", password=Secret(env="x"), security="none")
        ctx = context()
        with pytest.raises(Inconclusive) as caught, ctx.step("sign_in"):
            await mailbox(settings).open(ctx)
    assert caught.value.reason is Reason.THROTTLED


# Arrival


@on_both_loops
async def test_an_arrival_is_told_by_the_server_before_anybody_asks() -> None:
    server, letter = exchange(), a_letter()
    server.boxes["INBOX"].put(STRANGER)
    async with opened(server) as (box, ctx):
        waiting = asyncio.create_task(box.arrival(ctx, letter, soon()))
        server.arrive(STRANGER)
        told = server.arrive(mime(letter), came="23-Nov-2026 15:00:30 +0100")
        found = await waiting
    assert found is not None
    assert (found.tag, found.folder, found.delivered, found.granularity) == (letter.tag, Folder.INBOX, 1795442430.0, 0.0)
    assert f"Message-ID: {letter.message_id}" in found.headers
    assert found.seen >= told


async def test_what_is_new_is_read_by_uid_and_never_searched_for() -> None:
    server, letter = exchange(), a_letter()
    async with opened(server) as (box, ctx):
        server.arrive(mime(letter))
        assert await box.arrival(ctx, letter, soon())
    said = "\n".join(server.heard)
    assert "UID FETCH 1:* (UID INTERNALDATE BODY.PEEK[HEADER])" in said
    assert not [word for word in ("SEARCH", "ENABLE", "RETURN", "KEYWORD") if word in said]
    assert server.heard[-1].endswith("LOGOUT")


async def test_a_letter_that_came_between_opening_and_waiting_is_seen_when_it_was_told_of() -> None:
    server, letter = exchange(), a_letter()
    async with opened(server) as (box, ctx):
        server.arrive(mime(letter))
        await asyncio.sleep(0.1)  # as long as a submission may take
        waited_from = perf_counter()
        found = await box.arrival(ctx, letter, soon())
    assert found is not None
    assert found.seen < waited_from


async def test_an_arrival_counts_from_the_bytes_that_told_of_it_not_from_its_header() -> None:
    server, letter = exchange(), a_letter()
    async with opened(server) as (box, ctx):
        waiting = asyncio.create_task(box.arrival(ctx, letter, soon()))
        await server.hears("IDLE")
        told = server.arrive(mime(letter))
        found = await waiting
    assert found is not None
    assert told <= found.seen <= server.when("UID FETCH") <= perf_counter()


async def test_without_idle_the_inbox_is_looked_at_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imap, "looks", lambda: iter([0.05 * i for i in range(1, 200)]))
    server, letter = exchange(), a_letter()
    server.before = server.after = EXCHANGE.replace(" IDLE", "")
    async with opened(server) as (box, ctx):
        waiting = asyncio.create_task(box.arrival(ctx, letter, soon()))
        await server.hears("NOOP", times=3)
        server.arrive(mime(letter))
        found = await waiting
    assert found is not None
    assert 0 < found.granularity < EVENTUALLY
    assert not [line for line in server.heard if "IDLE" in line]


async def test_a_server_that_refuses_idle_is_looked_at_instead() -> None:
    server, letter = exchange(), a_letter()
    server.refuses["IDLE"] = "BAD Command Argument Error. 11"
    async with opened(server) as (box, ctx):
        server.arrive(mime(letter))
        found = await box.arrival(ctx, letter, soon())
    assert found is not None
    assert ctx.evidence_found["imap_idle"] == "refused"


async def test_a_server_that_idles_and_never_tells_is_looked_at_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imap, "IDLE_SECONDS", 0.1)
    server, letter = exchange(), a_letter()
    server.tells = False
    async with opened(server) as (box, ctx):
        server.arrive(mime(letter))
        found = await box.arrival(ctx, letter, soon())
    assert found is not None
    assert found.granularity > 0


async def test_a_server_that_ends_idle_at_once_is_not_asked_without_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imap, "QUICK_LOOKS", 5)
    server, letter = exchange(), a_letter()
    server.ends_idle = True
    async with opened(server) as (box, ctx):
        assert await box.arrival(ctx, letter, soon(0.1)) is None
        server.arrive(mime(letter))
        assert await box.arrival(ctx, letter, soon())
    assert sum("IDLE" in line for line in server.heard) < 10


async def test_a_letter_that_does_not_come_is_none_and_the_waiting_can_go_on() -> None:
    server, letter = exchange(), a_letter()
    async with opened(server) as (box, ctx):
        assert await box.arrival(ctx, letter, soon(0.05)) is None
        server.arrive(mime(letter))
        assert await box.find(ctx, {letter.tag}, (Folder.JUNK,)) == []
        assert await box.arrival(ctx, letter, soon())


async def test_a_letter_that_comes_while_another_is_read_is_looked_at_next() -> None:
    server, letter = exchange(), a_letter()
    async with opened(server) as (box, ctx):
        server.meanwhile.append(mime(letter))
        server.arrive(STRANGER)
        found = await box.arrival(ctx, letter, soon())
    assert found is not None
    assert found.key == "7.2"


async def test_a_delivery_report_is_no_arrival() -> None:
    server, letter = exchange(), a_letter()
    async with opened(server) as (box, ctx):
        server.arrive(report_on(letter).replace(b"Subject", f"References: {letter.message_id}\r\nSubject".encode()))
        assert await box.arrival(ctx, letter, soon(0.05)) is None


@pytest.mark.parametrize("bye", ["", "Connection closed. 14"], ids=["without a word", "with a good-bye"])
async def test_a_connection_that_is_lost_while_waiting_is_opened_anew(bye: str) -> None:
    server, letter = exchange(), a_letter()
    async with opened(server) as (box, ctx):
        waiting = asyncio.create_task(box.arrival(ctx, letter, soon()))
        server.boxes["INBOX"].put(mime(letter))
        server.hang_up(bye)
        found = await waiting
    assert found is not None
    assert found.tag == letter.tag
    assert bye in ctx.evidence_found["imap_reconnected"]


async def test_a_server_that_hangs_up_each_time_is_not_asked_for_ever() -> None:
    server = exchange()
    async with opened(server) as (box, ctx):
        server.refuses["UID FETCH"] = "HANG UP"
        server.arrive(STRANGER)
        with pytest.raises(Failed) as caught:
            await box.arrival(ctx, a_letter(), soon())
    assert caught.value.reason is Reason.CONNECTION_RESET
    assert sum("AUTHENTICATE" in line for line in server.heard) == 2


async def test_an_inbox_that_was_made_anew_is_looked_at_from_its_newest() -> None:
    server, letter = exchange(), a_letter()
    for _ in range(9):
        server.boxes["INBOX"].put(STRANGER)
    async with opened(server) as (box, ctx):
        server.boxes["INBOX"] = Box(validity=8)
        server.boxes["INBOX"].put(mime(letter))
        server.hang_up()
        found = await box.arrival(ctx, letter, soon())
    assert found is not None
    assert found.key == "8.1"


@pytest.mark.parametrize("there", [0, 3], ids=["empty", "three messages"])
async def test_a_server_that_does_not_tell_the_next_uid(there: int) -> None:
    server, letter = exchange(), a_letter()
    server.untold = frozenset({"UIDNEXT", "UIDVALIDITY"})
    for _ in range(there):
        server.boxes["INBOX"].put(STRANGER)
    async with opened(server) as (box, ctx):
        server.arrive(mime(letter))
        found = await box.arrival(ctx, letter, soon())
        assert found is not None
        await box.remove(ctx, [found])
    assert f"UID FETCH {there + 1}:*" in "\n".join(server.heard)
    assert len(server.boxes["INBOX"].mails) == there


# Finding


async def test_all_of_ours_is_found_in_all_folders_and_nothing_else() -> None:
    server, letter, other = exchange(), a_letter(), a_letter()
    for name in server.boxes:
        server.boxes[name].put(STRANGER)
        server.boxes[name].put(mime(letter))
        server.boxes[name].put(mime(other))
    async with opened(server) as (box, ctx):
        found = await box.find(ctx, {letter.tag}, ALL)
    assert of(found) == [(letter.tag, folder) for folder in ALL[:4]]


async def test_two_copies_are_both_found() -> None:
    server, letter = exchange(), a_letter()
    server.boxes["INBOX"].put(mime(letter))
    server.boxes["INBOX"].put(mime(letter))
    async with opened(server) as (box, ctx):
        found = await box.find(ctx, {letter.tag}, (Folder.INBOX,))
    assert [one.key for one in found] == ["7.1", "7.2"]


async def test_a_delivery_report_is_found_by_the_original_it_returns() -> None:
    server, letter = exchange(), a_letter()
    server.boxes["INBOX"].put(report_on(a_letter()))
    server.boxes["INBOX"].put(report_on(letter))
    async with opened(server) as (box, ctx):
        found = await box.find(ctx, {letter.tag}, (Folder.INBOX,))
    assert [(one.tag, one.report and one.report.status) for one in found] == [(letter.tag, "5.1.1")]
    assert any("BODY.PEEK[]<0." in line for line in server.heard)


@pytest.mark.parametrize("refusal", ["", "BAD Command Argument Error. 11", "NO [LIMIT] too much"], ids=["works", "bad", "no"])
async def test_search_helps_where_a_folder_has_more_than_is_read(refusal: str) -> None:
    server, letter = exchange(), a_letter()
    server.boxes["INBOX"].put(mime(letter))
    for _ in range(imap.NEWEST + 5):
        server.boxes["INBOX"].put(STRANGER)
    if refusal:
        server.refuses["UID SEARCH"] = refusal
    async with opened(server) as (box, ctx):
        found = await box.find(ctx, {letter.tag}, (Folder.INBOX,))
    assert of(found) == ([] if refusal else [(letter.tag, Folder.INBOX)])
    assert ctx.evidence_found.get("imap_search", "") == ("refused" if refusal else "")


async def test_litter_is_what_is_ours_and_older_than_a_day() -> None:
    server, old, new, reported = exchange(), a_letter(), a_letter(), a_letter()
    long_ago = "01-Jan-2026 00:00:00 +0000"
    inbox = server.boxes["INBOX"]
    inbox.put(mime(old), long_ago)
    inbox.put(STRANGER, long_ago)
    inbox.put(mime(new), "01-Jan-2099 00:00:00 +0000")
    inbox.put(report_on(reported), long_ago)
    async with opened(server) as (box, ctx):
        found = await box.find(ctx, (), (Folder.INBOX,))
    assert [one.tag for one in found] == [old.tag, reported.tag]


@pytest.mark.parametrize(
    ("names", "junk"),
    [
        pytest.param({"INBOX": r"\x", "Junk-E-Mail": r"\Junk"}, "Junk-E-Mail", id="told by the server"),
        pytest.param({"INBOX": r"\x", "Spam": r"\x", "Junk": r"\x"}, "Junk", id="by its usual name"),
        pytest.param({"INBOX": r"\x", "Junk Email": r"\Noselect", "Junk": r"\x"}, "Junk", id="not one that is only a name"),
        pytest.param({"INBOX": r"\x", "INBOX/Spam": r"\x"}, "INBOX/Spam", id="below the inbox"),
    ],
)
async def test_the_junk_folder_by_any_name(names: dict[str, str], junk: str) -> None:
    server, letter = ImapServer({name: Box(attributes=attributes) for name, attributes in names.items()}), a_letter()
    server.boxes[junk].put(mime(letter))
    async with opened(server) as (box, ctx):
        assert of(await box.find(ctx, {letter.tag}, ALL)) == [(letter.tag, Folder.JUNK)]


async def test_a_folder_can_be_named_in_any_language() -> None:
    server, letter = exchange(**{"Gel&APY-schte": Box()}), a_letter()
    server.boxes["Gel&APY-schte"].put(mime(letter))
    async with opened(server, deleted="Gelöschte") as (box, ctx):
        assert of(await box.find(ctx, {letter.tag}, ALL)) == [(letter.tag, Folder.DELETED)]


async def test_a_server_that_does_not_list_its_folders_hides_no_letter_in_the_inbox() -> None:
    server, letter = exchange(), a_letter()
    server.refuses["LIST"] = "NO Server Unavailable. 15"
    server.boxes["INBOX"].put(mime(letter))
    server.boxes["Sent Items"].put(mime(letter))
    async with opened(server, sent="Sent Items") as (box, ctx):
        found = await box.find(ctx, {letter.tag}, ALL)
        await box.remove(ctx, found)
    assert of(found) == [(letter.tag, Folder.INBOX), (letter.tag, Folder.SENT)], "a folder that is named needs no list"
    assert "NO Server Unavailable. 15" in ctx.evidence_found["imap_list"]
    assert ctx.cleanup_failed, "what may lie in the others stays there"
    assert sum("LIST" in line for line in server.heard) == 1


async def test_a_connection_that_is_lost_over_the_list_is_a_lost_connection() -> None:
    server = exchange()
    server.refuses["LIST"] = "HANG UP"
    async with opened(server) as (box, ctx):
        with pytest.raises(Failed) as caught:
            await box.find(ctx, {a_letter().tag}, ALL)
    assert caught.value.reason is Reason.CONNECTION_RESET


async def test_what_somebody_else_removes_meanwhile_is_nothing_and_no_failure() -> None:
    server, letter = exchange(), a_letter()
    for text in (mime(letter), mime(letter)):
        server.boxes["INBOX"].put(text)
    async with opened(server) as (box, ctx):
        server.gone.add(1)
        assert [one.key for one in await box.find(ctx, {letter.tag}, (Folder.INBOX,))] == ["7.2"]


async def test_litter_is_searched_for_where_a_folder_has_more_than_is_read() -> None:
    server, old = exchange(), a_letter()
    inbox = server.boxes["INBOX"]
    inbox.put(mime(old), "01-Jan-2026 00:00:00 +0000")
    for _ in range(imap.NEWEST + 5):
        inbox.put(STRANGER)
    async with opened(server) as (box, ctx):
        assert [one.tag for one in await box.find(ctx, (), (Folder.INBOX,))] == [old.tag]
    assert any(re.search(r"UID SEARCH BEFORE \d+-\w{3}-\d{4} HEADER X-Fogbell-Id \"\"", line) for line in server.heard)


# Removing


async def test_ours_is_removed_for_good_and_no_other() -> None:
    server, letter = exchange(), a_letter()
    inbox = server.boxes["INBOX"]
    inbox.put(STRANGER).flags.add(r"\Deleted")
    inbox.put(mime(letter))
    async with opened(server) as (box, ctx):
        found = await box.find(ctx, {letter.tag}, ALL)
        await box.remove(ctx, found)
        await box.remove(ctx, found)
    assert [mail.text for mail in inbox.mails] == [STRANGER]


@pytest.mark.parametrize("marked", [False, True], ids=["nothing else is marked", "something else is marked"])
async def test_without_uidplus_all_that_is_marked_goes_so_nothing_else_may_be(marked: bool) -> None:  # noqa: FBT001 - a table
    server, letter = exchange(), a_letter()
    server.before = server.after = EXCHANGE.replace(" UIDPLUS", "")
    inbox = server.boxes["INBOX"]
    inbox.put(STRANGER).flags.update({r"\Deleted"} if marked else set())
    inbox.put(mime(letter))
    async with opened(server) as (box, ctx):
        found = await box.find(ctx, {letter.tag}, ALL)
        if marked:
            with pytest.raises(Failed, match="1 other messages are marked"):
                await box.remove(ctx, found)
        else:
            await box.remove(ctx, found)
    assert [mail.uid for mail in inbox.mails] == ([1, 2] if marked else [1])


async def test_a_uid_of_another_uidvalidity_is_nobodys() -> None:
    server, letter = exchange(), a_letter()
    inbox = server.boxes["INBOX"]
    inbox.put(STRANGER)
    inbox.put(mime(letter))
    async with opened(server) as (box, ctx):
        found = await box.find(ctx, {letter.tag}, ALL)
        await box.remove(ctx, [replace(one, key="6.1") for one in found])
    assert [mail.text for mail in inbox.mails] == [STRANGER]


async def test_what_is_nowhere_needs_no_removal() -> None:
    server, letter = exchange(), a_letter()
    del server.boxes["Junk Email"]
    nowhere = [Found(letter.tag, "6.1", folder) for folder in (Folder.INBOX, Folder.JUNK, Folder.RECOVERABLE)]
    async with opened(server) as (box, ctx):
        await box.remove(ctx, nowhere)
    assert not [line for line in server.heard if "STORE" in line]


# Login


async def test_a_password_is_said_at_once_where_the_server_lets_it() -> None:
    server = exchange()
    async with opened(server):
        pass
    assert [line.split(" ", 1)[1] for line in server.heard[:4]] == [
        "CAPABILITY",
        "AUTHENTICATE PLAIN AGJAY29udG9zby5leGFtcGxlAHBhc3Mtd29yZA==",
        "CAPABILITY",
        'SELECT "INBOX"',
    ]


async def test_a_password_waits_where_the_server_wants_it_to() -> None:
    server = exchange()
    server.before = "IMAP4rev1 AUTH=PLAIN"
    async with opened(server):
        pass
    assert server.heard[1:3] == ["f2 AUTHENTICATE PLAIN", "AGJAY29udG9zby5leGFtcGxlAHBhc3Mtd29yZA=="]


@pytest.mark.parametrize(
    ("password", "said"),
    [
        pytest.param('pass"\\word', ['f2 LOGIN "b@contoso.example" "pass\\"\\\\word"'], id="quoted"),
        pytest.param("grüße", ["f2 LOGIN {17}", "b@contoso.example {7}", "grüße"], id="literals"),
    ],
)
async def test_a_server_that_knows_only_login(password: str, said: list[str]) -> None:
    server = exchange()
    server.before = "IMAP4rev1"
    async with opened(server, password={"env": password}):
        pass
    assert server.heard[1 : 1 + len(said)] == said


@pytest.mark.parametrize(
    ("answer", "reason", "words"),
    [
        pytest.param("NO [AUTHENTICATIONFAILED] bad pass-word", Reason.CREDENTIAL_INVALID, "bad …", id="wrong password"),
        pytest.param("NO AUTHENTICATE failed.", Reason.CREDENTIAL_INVALID, "AUTHENTICATE failed", id="as Exchange says it"),
        pytest.param("NO [EXPIRED] old", Reason.CREDENTIAL_EXPIRED, "old", id="expired"),
        pytest.param("NO [PRIVACYREQUIRED] TLS", Reason.BLOCKED_BY_POLICY, "TLS", id="not in the clear"),
        pytest.param("NO [AUTHORIZATIONFAILED] no", Reason.PERMISSION, "no", id="not as this one"),
        pytest.param("NO [UNAVAILABLE] later", Reason.IDENTITY_FAULT, "later", id="the server cannot ask"),
        pytest.param("NO Server Unavailable. 15", Reason.IDENTITY_FAULT, "Unavailable", id="the mailbox's server is away"),
        pytest.param("NO Basic authentication is disabled.", Reason.BLOCKED_BY_POLICY, "disabled", id="passwords are retired"),
        pytest.param("BAD User is authenticated but not connected.", Reason.PERMISSION, "no mailbox", id="not connected"),
    ],
)
async def test_a_refused_login(answer: str, reason: Reason, words: str) -> None:
    server = exchange()
    server.refuses["AUTHENTICATE"] = answer
    stopped = await refused(server)
    assert (type(stopped), stopped.reason) == (Failed, reason)
    assert words in stopped.message
    assert "pass-word" not in stopped.message


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        pytest.param("NO [UNAVAILABLE] Maximum number of connections from user+IP exceeded", 0.0, id="Dovecot"),
        pytest.param("BAD Request is throttled. Suggested Backoff Time: 92415 milliseconds", 92.415, id="Exchange"),
        pytest.param("NO [LIMIT] enough", 0.0, id="by its code"),
    ],
)
async def test_a_server_that_limits_us_says_nothing_about_itself(answer: str, seconds: float) -> None:
    server = exchange()
    server.refuses["AUTHENTICATE"] = answer
    stopped = await refused(server)
    assert (type(stopped), stopped.reason, stopped.retry_after) == (Inconclusive, Reason.THROTTLED, seconds)


@pytest.mark.parametrize("command", ["SELECT", "CAPABILITY"])
async def test_authenticated_but_not_connected_is_told_from_a_missing_right(command: str) -> None:
    server = exchange()
    server.refuses[command] = "BAD User is authenticated but not connected."
    stopped = await refused(server)
    assert (stopped.reason, stopped.code) == (Reason.PERMISSION, "not_connected")
    assert "service principal" in stopped.message


@pytest.mark.parametrize("password", ["a\r\nx LOGOUT", "ü\0"], ids=["a command", "a NUL"])
async def test_a_password_cannot_smuggle_a_command(password: str) -> None:
    server = exchange()
    server.before = "IMAP4rev1"
    assert (await refused(server, password={"env": password})).reason is Reason.CREDENTIAL_INVALID
    assert server.heard == ["f1 CAPABILITY"]


async def test_a_server_without_passwords_is_not_sent_one() -> None:
    server = exchange()
    server.before = AFTER.replace("AUTH=PLAIN ", "") + " LOGINDISABLED"
    stopped = await refused(server)
    assert stopped.reason is Reason.BLOCKED_BY_POLICY
    assert "it offers XOAUTH2" in stopped.message
    assert not [line for line in server.heard if "LOGIN" in line or "AUTHENTICATE" in line]


async def test_an_inbox_that_is_not_there() -> None:
    stopped = await refused(exchange(), folder="Elsewhere")
    assert stopped.reason is Reason.NOT_FOUND


BOTH: dict[str, Any] = {"password": Secret(env="X"), "oauth": True}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        pytest.param(BOTH, "exactly one of password and oauth", id="both"),
        pytest.param({}, "exactly one of password and oauth", id="neither"),
        pytest.param({"oauth": True, "security": "none"}, "in the clear", id="in the clear"),
        pytest.param({"password": Secret(env="X"), "purge": True}, "purge goes through Graph", id="purge without a tenant"),
        pytest.param({"oauth": True, "folder": "a\r\nb"}, "name of a folder", id="a command in a name"),
    ],
)
def test_settings_that_contradict_each_other(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        ImapReceive.model_validate({"via": "imap", "host": "mail.example.org", "username": "me", **settings})


@pytest.mark.parametrize(("security", "port"), [("tls", 993), ("starttls", 143)])
def test_the_usual_port(security: str, port: int) -> None:
    settings = ImapReceive.model_validate({"via": "imap", "host": "h", "username": "me", "oauth": True, "security": security})
    assert settings.server.port == port


async def test_closing_twice_and_before_opening_is_no_mistake() -> None:
    box = mailbox(ImapReceive(via="imap", host="localhost", username="me", oauth=True))
    await box.close()
    await box.close()


async def test_a_wait_that_is_cut_short_leaves_a_mailbox_that_works() -> None:
    server, letter = exchange(), a_letter()
    async with opened(server) as (box, ctx):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await box.arrival(ctx, letter, soon(60))
        server.boxes["INBOX"].put(mime(letter))
        assert of(await box.find(ctx, {letter.tag}, (Folder.INBOX,))) == [(letter.tag, Folder.INBOX)]
