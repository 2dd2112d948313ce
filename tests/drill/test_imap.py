import asyncio
import imaplib
import re
import smtplib
import ssl
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from email import message_from_bytes

import pytest

from agent.drill.faults import Fault, Tcp, Tls
from agent.drill.graph.letters import Address, Letter
from agent.drill.imap.words import in_set, words_of
from tests.drill.mailing import ROLES, Mailing, mailing, message

PROBE1, PROBE2 = "probe1@contoso.example", "probe2@contoso.example"


def deliver(here: Mailing, *subjects: str, number: int = 1) -> None:
    """Put letters into the inbox of one of the tenant's people, each with a header of its own."""
    for subject in subjects:
        owner = here.world.people[number]
        to, sender = (Address(owner.mail, owner.name),), Address(PROBE1, "Probe One")
        letter = Letter(sender, to, subject, "Hello.\n", f"<{subject}@contoso.example>", here.world.now(), headers=(("X-Tag", subject),))
        here.post.send(letter)


@dataclass
class Lines:
    """A client that says lines and hears lines."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def hear(self) -> str:
        return (await self.reader.readline()).decode().rstrip("\r\n")

    async def ask(self, command: str) -> list[str]:
        """Say a command and hear all lines up to its tagged answer."""
        self.writer.write(f"{command}\r\n".encode())
        heard = [await self.hear()]
        while not heard[-1].startswith((command.split(maxsplit=1)[0] + " ", "+ ")) and heard[-1]:
            heard.append(await self.hear())
        return heard


async def connected(here: Mailing, *commands: str) -> Lines:
    """Connect as the second person's app, and say the commands."""
    streams = await asyncio.open_connection("127.0.0.1", here.ports["imap"], ssl=here.trust)
    client = Lines(*streams)
    await client.hear()
    response = b64encode(here.xoauth2(here.token(*ROLES), 1).encode()).decode()
    assert (await client.ask(f"a AUTHENTICATE XOAUTH2 {response}"))[-1] == "a OK AUTHENTICATE completed."
    for command in commands:
        await client.ask(command)
    return client


async def test_it_greets_as_exchange_and_offers_xoauth2_alone_until_somebody_signs_in() -> None:
    async with mailing() as here:
        greeting, before = await here.imap(lambda client: (client.welcome, client.capabilities), signed_in=False)
        after = await here.imap(lambda client: client.capability()[1][0].decode().split())
    assert re.match(rb"\* OK Microsoft Exchange IMAP4 service ready. [0-9a-f-]{36} \(tcpproxy/", greeting)
    assert {"AUTH=XOAUTH2", "LOGINDISABLED", "SASL-IR", "UIDPLUS", "IDLE"} <= set(before)
    assert "LOGINDISABLED" not in after


async def test_a_token_in_the_command_itself_will_do() -> None:
    async with mailing() as here:
        client = await connected(here)
        assert (await client.ask("b NOOP"))[-1] == "b OK NOOP completed."
        client.writer.close()


@pytest.mark.parametrize(
    "token",
    [
        lambda here: here.token("SMTP.SendAsApp"),
        lambda here: here.token(*ROLES, seconds=-1),
        lambda here: here.token("IMAP.AccessAsUser.All", person=0),
    ],
    ids=["no right", "over", "another person's"],
)
async def test_a_wrong_token_is_refused(token: Callable[[Mailing], str]) -> None:
    async with mailing() as here:

        def sign_in(client: imaplib.IMAP4_SSL) -> None:
            with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATE failed"):
                client.authenticate("XOAUTH2", lambda _challenge: here.xoauth2(token(here), 1).encode())

        await here.imap(sign_in, signed_in=False)


async def test_a_person_reads_their_own_mailbox() -> None:
    async with mailing() as here:
        token = here.token("IMAP.AccessAsUser.All", person=1)
        signed = await here.imap(lambda client: client.authenticate("XOAUTH2", lambda _: here.xoauth2(token, 1).encode()), signed_in=False)
    assert signed[0] == "OK"


async def test_a_password_is_never_taken() -> None:
    async with mailing() as here:

        def sign_in(client: imaplib.IMAP4_SSL) -> None:
            with pytest.raises(imaplib.IMAP4.error):
                client.login(PROBE2, here.password(1))

        await here.imap(sign_in, signed_in=False)


async def test_a_mailbox_without_permission_is_authenticated_but_not_connected() -> None:
    async with mailing() as here:
        here.policy.not_granted.add(PROBE2)
        client = await connected(here)
        assert await client.ask("b SELECT INBOX") == ["b BAD User is authenticated but not connected."]
        assert await client.hear() == "* BYE Connection closed. 14"
        assert await client.hear() == ""
        client.writer.close()


async def test_folders_are_listed_with_what_they_are_for() -> None:
    async with mailing() as here:
        listed = {line.decode() for line in (await here.imap(lambda client: client.list()))[1] if isinstance(line, bytes)}
    assert {
        '(\\HasNoChildren) "/" INBOX',
        '(\\HasNoChildren \\Junk) "/" "Junk Email"',
        '(\\HasNoChildren \\Sent) "/" "Sent Items"',
        '(\\HasNoChildren \\Trash) "/" "Deleted Items"',
    } <= listed
    assert not [line for line in listed if "Deletions" in line or "Top of" in line]


async def test_a_message_is_found_by_header_and_read_without_a_mark() -> None:
    async with mailing() as here:
        deliver(here, "one", "two")

        def use(client: imaplib.IMAP4_SSL) -> tuple[bytes, bytes, bytes]:
            assert client.select("INBOX") == ("OK", [b"2"])
            number = client.uid("SEARCH", "HEADER", "X-Tag", '"two"')[1][0]
            ((meta, header), _) = client.uid("FETCH", number.decode(), "(FLAGS INTERNALDATE BODY.PEEK[HEADER])")[1]
            ((_, whole), _) = client.uid("FETCH", number.decode(), "(BODY.PEEK[])")[1]
            return meta, header, whole

        meta, header, whole = await here.imap(use)
        assert [each.is_read for each in here.box(1).within("inbox")] == [False, False]
    assert re.match(rb'2 \(UID 2 FLAGS \(\) INTERNALDATE "\d\d-\w{3}-\d{4} \d\d:\d\d:\d\d \+0000" BODY\[HEADER\] \{\d+\}', meta)
    assert whole.startswith(header)
    assert b"Message-ID: <two@contoso.example>\r\n" in header
    assert whole.endswith(b"\r\n\r\nHello.\r\n")


@pytest.mark.parametrize(
    ("looked_for", "found"),
    [
        (("ALL",), b"1 2 3"),
        (("UNSEEN", "SUBJECT", "t"), b"2 3"),
        (("NOT", "SUBJECT", "two"), b"1 3"),
        (("OR", "SUBJECT", "one", "(SUBJECT two FROM probe1)"), b"1 2"),
        (("UID", "2:*"), b"2 3"),
        (("1",), b"1"),
        (("SINCE", "1-Jan-2020", "TEXT", "hello"), b"1 2 3"),
        (("BEFORE", "1-Jan-2020"), b""),
        (("CHARSET", "UTF-8", "HEADER", "X-Tag", '""'), b"1 2 3"),
    ],
    ids=str,
)
async def test_it_finds_what_is_looked_for(looked_for: tuple[str, ...], found: bytes) -> None:
    async with mailing() as here:
        deliver(here, "one", "two", "three")
        answer = await here.imap(lambda client: (client.select("INBOX", readonly=True), client.search(None, *looked_for))[1])
    assert answer == ("OK", [found])


@pytest.mark.parametrize(
    "command", ["SEARCH RETURN (ALL) ALL", "SEARCH KEYWORD x", "SEARCH", "FETCH 1 (", "FETCH x FLAGS", "FETCH 1 BODY[1.2]"]
)
async def test_what_exchange_does_not_understand_is_bad(command: str) -> None:
    async with mailing() as here:
        deliver(here, "one")
        client = await connected(here, "b SELECT INBOX")
        assert (await client.ask(f"c {command}"))[-1] == "c BAD Command Argument Error. 11"
        client.writer.close()


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("FETCH 1 FLAGS", "BAD Command received in Invalid state."),
        ("XYZZY", "BAD Command Error. 10"),
        ("SELECT Nowhere", "NO Nowhere doesn't exist."),
        ("UID NOOP", "BAD Command received in Invalid state."),
        ("AUTHENTICATE XOAUTH2 x", "BAD Command received in Invalid state."),
    ],
)
async def test_a_command_out_of_place_is_refused(command: str, said: str) -> None:
    async with mailing() as here:
        client = await connected(here)
        assert (await client.ask(f"b {command}"))[-1] == f"b {said}"
        client.writer.close()


async def test_deleted_messages_go_to_the_recoverable_items_and_only_those_that_were_named() -> None:
    async with mailing() as here:
        deliver(here, "one", "two", "three")

        def use(client: imaplib.IMAP4_SSL) -> list[object]:
            client.select("INBOX")
            client.uid("STORE", "1:2", "+FLAGS.SILENT", "(\\Deleted)")
            named = client.uid("EXPUNGE", "2")
            expunged = client.response("EXPUNGE")
            return [named[0], expunged[1], client.expunge()[1], client.search(None, "ALL")[1]]

        assert await here.imap(use) == ["OK", [b"2"], [b"1"], [b"1"]]
        assert here.subjects(1) == ["three"]
        assert sorted(here.subjects(1, "recoverableitemsdeletions")) == ["one", "two"]


async def test_a_folder_that_was_only_examined_cannot_be_changed() -> None:
    async with mailing() as here:
        deliver(here, "one")
        client = await connected(here, "b EXAMINE INBOX")
        assert (await client.ask("c STORE 1 +FLAGS (\\Deleted)"))[-1] == "c NO Mailbox is read-only."
        assert (await client.ask("d EXPUNGE"))[-1] == "d NO Mailbox is read-only."
        client.writer.close()


async def test_a_read_message_is_read_for_graph_too_and_a_flag_can_be_taken_away() -> None:
    async with mailing() as here:
        deliver(here, "one")

        def use(client: imaplib.IMAP4_SSL) -> object:
            client.select("INBOX")
            client.fetch("1", "(BODY[TEXT])")
            client.store("1", "+FLAGS", "\\Flagged $Own")
            return client.store("1", "-FLAGS", "(\\Flagged)")[1]

        assert await here.imap(use) == [b"1 (FLAGS ($Own \\Seen))"]
        assert [each.is_read for each in here.box(1).within("inbox")] == [True]


async def test_a_message_can_be_moved_and_copied() -> None:
    async with mailing() as here:
        deliver(here, "one", "two")
        client = await connected(here, "b SELECT INBOX")
        moved = await client.ask('c UID MOVE 1 "Junk Email"')
        copied = await client.ask("d COPY 1 Archive")
        client.writer.close()
        assert [re.sub(r"COPYUID \d+", "COPYUID V", line) for line in (*moved, *copied)] == [
            "* OK [COPYUID V 1 1]",
            "* 1 EXPUNGE",
            "c OK MOVE completed.",
            "d OK [COPYUID V 2 1] COPY completed.",
        ]
        assert [here.subjects(1), here.subjects(1, "junkemail"), here.subjects(1, "archive")] == [["two"], ["one"], ["two"]]


async def test_who_idles_hears_of_a_letter_as_soon_as_it_arrives() -> None:
    async with mailing() as here:
        here.post.delay = 0.05
        client = await connected(here, "b SELECT INBOX", "c IDLE")
        await here.smtp(lambda smtp: smtp.send_message(message("New", "anna@control.example", PROBE2)), "mx")
        assert [await client.hear(), await client.hear()] == ["* 1 EXISTS", "* 1 RECENT"]
        here.box(1).delete(next(here.box(1).within("inbox")), here.world.now())
        assert await client.hear() == "* 1 EXPUNGE"
        client.writer.write(b"DONE\r\n")
        assert await client.hear() == "c OK IDLE completed."
        assert here.post.watchers == []
        client.writer.close()


async def test_who_asks_hears_of_a_letter_and_a_number_is_never_used_twice() -> None:
    async with mailing() as here:
        deliver(here, "one")
        client = await connected(here, "b SELECT INBOX", "c STORE 1 +FLAGS (\\Deleted)", "d EXPUNGE")
        deliver(here, "two")
        assert await client.ask("e NOOP") == ["* 1 EXISTS", "* 1 RECENT", "e OK NOOP completed."]
        assert (await client.ask("f FETCH 1 UID"))[0] == "* 1 FETCH (UID 2)"
        assert (await client.ask("g STATUS INBOX (MESSAGES UIDNEXT)"))[0] == '* STATUS "INBOX" (MESSAGES 1 UIDNEXT 3)'
        client.writer.close()


async def test_a_removal_is_not_told_while_the_client_counts_by_places() -> None:
    async with mailing() as here:
        deliver(here, "one", "two")
        client = await connected(here, "b SELECT INBOX")
        here.box(1).delete(next(here.box(1).within("inbox")), here.world.now())
        assert await client.ask("c SEARCH ALL") == ["* SEARCH 2", "c OK SEARCH completed."]
        assert await client.ask("d UID SEARCH ALL") == ["* SEARCH 2", "* 1 EXPUNGE", "d OK SEARCH completed."]
        client.writer.close()


async def test_a_string_may_come_as_a_literal() -> None:
    async with mailing() as here:
        deliver(here, "one")
        client = await connected(here, "b SELECT INBOX")
        assert (await client.ask("c SEARCH SUBJECT {3}"))[-1] == "+ Ready for additional command text."
        client.writer.write(b"one UNSEEN\r\n")
        assert await client.hear() == "* SEARCH 1"
        assert await client.hear() == "c OK SEARCH completed."
        client.writer.close()


async def test_a_report_of_a_bounce_is_a_real_one_over_imap() -> None:
    async with mailing() as here:

        def submit(client: smtplib.SMTP) -> None:
            here.authorized(client)
            client.send_message(message("Lost", PROBE1, "nobody@contoso.example"))

        await here.smtp(submit)
        fetched = await here.imap(lambda client: (client.select("INBOX"), client.fetch("1", "(BODY.PEEK[])"))[1], number=0)
    found = fetched[1][0]
    assert isinstance(found, tuple)
    report = message_from_bytes(found[1])
    parts = [(part.get_content_type(), part["Status"], part["Subject"]) for part in report.walk()]
    assert [kind for kind, _, _ in parts][1:3] == ["text/plain", "message/delivery-status"]
    assert ("text/plain", "5.1.10", None) in parts
    assert parts[-1] == ("text/plain", None, "Lost")


async def test_faults_of_exchange_hit_it() -> None:
    async with mailing() as here:
        here.world.faults.set(Fault(Tls("intercepted")))
        with pytest.raises(ssl.SSLCertVerificationError):
            await here.imap(lambda client: client.noop())
        here.world.faults.set(Fault(Tcp("reset")))
        with pytest.raises(OSError):  # noqa: PT011 - the system's own words
            await here.imap(lambda client: client.noop())


@pytest.mark.parametrize(("text", "there"), [("1:3,7", [1, 2, 3, 7]), ("8:*", [8, 9]), ("*", [9]), ("*:8", [8, 9]), ("20:*", [9])])
def test_a_set_names_numbers(text: str, there: list[int]) -> None:
    assert [number for number in range(1, 10) if in_set(text, number, 9)] == there


@pytest.mark.parametrize("text", ["(a", "a)", '"a', "a[b", "(" * 30 + ")" * 30])
def test_words_that_do_not_end_are_none(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        words_of(text)
