import asyncio
import smtplib
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import trustme
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from agent.drill.faults import Effect, Fault, Mail, Smtp, Tcp, Tls
from agent.drill.graph.letters import Address, from_mime
from agent.drill.graph.mime import mime_of
from agent.drill.mail import Door, serve_smtp
from agent.drill.world import World
from tests.drill.mailing import MX, ROLES, Mailing, mailing, message

STRANGER = "anna@control.example"
PROBE1, PROBE2 = "probe1@contoso.example", "probe2@contoso.example"


async def read_reply(reader: asyncio.StreamReader) -> list[str]:
    lines = [(await reader.readline()).decode()]
    while lines[-1][3:4] == "-":
        lines.append((await reader.readline()).decode())
    return [line.rstrip("\r\n") for line in lines]


async def converse(*commands: str, world: World | None = None) -> list[str]:
    """Say the commands to the MX, starting TLS where it agrees to, and return the last line of each reply, the greeting first."""
    authority, trust = trustme.CA(), ssl.create_default_context()
    authority.configure_trust(trust)
    async with serve_smtp(world or World(), MX, authority) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        replies = await read_reply(reader)
        for command in commands:
            writer.write(f"{command}\r\n".encode())
            replies.append((await read_reply(reader))[-1])
            if command == "STARTTLS" and replies[-1].startswith("220"):
                await writer.start_tls(trust, server_hostname=MX.name)
        writer.close()
    return replies


def broken(effect: Effect) -> World:
    world = World()
    world.faults.set(Fault(effect))
    return world


def code_of(call: Callable[[], object]) -> str:
    """Reply and enhanced code of a refusal."""
    with pytest.raises(smtplib.SMTPResponseException) as refused:
        call()
    said = refused.value.smtp_error
    return f"{refused.value.smtp_code} {(said if isinstance(said, str) else said.decode()).split()[0]}"


def test_it_greets_starts_tls_once_and_says_goodbye() -> None:
    commands = ("EHLO probe", "STARTTLS", "EHLO probe", "STARTTLS", "QUIT")
    with asyncio.Runner() as runner:
        replies = runner.run(converse(*commands))
    assert [reply[:3] for reply in replies] == ["220", "250", "220", "250", "500", "221"]
    assert f"{MX.name} Microsoft ESMTP MAIL Service ready at " in replies[0]


def test_it_works_on_the_loop_of_the_agent_too() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(converse("STARTTLS", "NOOP"))[-1] == "250 2.0.0 OK"


async def test_an_endless_line_ends_the_conversation() -> None:
    async with serve_smtp(World(), MX, trustme.CA()) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await reader.readline()
        writer.write(b"x" * 200_000)
        with suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_where_tls_comes_first_no_greeting_of_a_client_is_lost(loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def greeted_by_all() -> set[bytes]:
        authority, trust = trustme.CA(), ssl.create_default_context()
        authority.configure_trust(trust)
        async with serve_smtp(World(), Door(MX.name, submission=True, tls_first=True), authority) as port:
            streams = await asyncio.gather(*(asyncio.open_connection("127.0.0.1", port, ssl=trust) for _ in range(40)))
            greetings = {(await reader.readline())[:4] for reader, _ in streams}
            for _, writer in streams:
                writer.close()
        return greetings

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        assert runner.run(asyncio.wait_for(greeted_by_all(), 20)) == {b"220 "}


@pytest.mark.parametrize(
    ("commands", "last"),
    [
        (("MAIL FROM:<a@b.example>",), "503 5.5.2 Send hello first"),
        (("EHLO probe", "STARTTLS", "MAIL FROM:<a@b.example>"), "503 5.5.2 Send hello first"),
        (("EHLO probe", "RCPT TO:<probe1@contoso.example>"), "503 5.5.2 Need mail command"),
        (("EHLO probe", "MAIL FROM:<a@b.example>", "DATA"), "503 5.5.2 Need rcpt command"),
        (("EHLO probe", "MAIL FROM:<>", "RCPT TO:<probe1@contoso.example>"), "250 2.1.5 Recipient OK"),
        (("EHLO probe", "MAIL FROM:<a@b.example>", "RCPT TO:<c@d.example>"), "550 5.7.64"),
        (("EHLO probe", "MAIL FROM:<a@b.example>", "RCPT TO:<nobody@contoso.example>"), "550 5.4.1"),
        (("HELO probe",), f"250 DB1PEPF0000.{MX.name} Hello [127.0.0.1]"),
        (("EHLO probe", "MAIL a@b.example"), "501 5.5.4"),
        (("EHLO probe", "MAIL FROM:<a@b.example> SIZE=999999999"), "552 5.3.4"),
        (("EHLO probe", "STARTTLS", "EHLO probe", "AUTH XOAUTH2"), "504 5.7.4"),
        (("EHLO probe", "MAIL FROM:<a@b.example>", "RSET", "RCPT TO:<probe1@contoso.example>"), "503 5.5.2 Need mail command"),
    ],
)
async def test_the_mx_says_what_is_wrong(commands: tuple[str, ...], last: str) -> None:
    assert (await converse(*commands))[-1].startswith(last)


@pytest.mark.parametrize(("stage", "codes"), [("connect", "451 250 250 250"), ("mail", "220 250 451 503"), ("rcpt", "220 250 250 451")])
async def test_a_fault_speaks_at_its_own_stage(stage: str, codes: str) -> None:
    fault = Smtp("451 4.3.2 Temporary server error", stage)  # type: ignore[arg-type]
    replies = await converse("EHLO probe", "MAIL FROM:<a@b.example>", f"RCPT TO:<{PROBE1}>", world=broken(fault))
    assert [reply[:3] for reply in replies] == codes.split()


async def test_a_certificate_of_a_proxy_is_not_trusted() -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        await converse("STARTTLS", world=broken(Tls("intercepted")))


async def test_a_reset_ends_the_connection_before_the_greeting() -> None:
    with pytest.raises(ConnectionResetError):
        await converse(world=broken(Tcp("reset")))


async def test_mail_from_outside_reaches_the_mailbox_that_graph_shows_with_its_way_written_on_it() -> None:
    async with mailing() as here:
        sent = message("Inbound", STRANGER, PROBE2, ".hidden\n..dots\n\nÜber\n")
        refused = await here.smtp(lambda client: client.send_message(sent), "mx")
        (arrived,) = here.box(1).within("inbox")
    assert refused == {}
    assert arrived.letter.body.splitlines() == [".hidden", "..dots", "", "Über"]
    assert (arrived.letter.sender.address, arrived.letter.message_id) == (STRANGER, sent["Message-ID"])
    ways = [value for name, value in arrived.letter.headers if name == "Received"]
    assert ["with HTTPS" in ways[0], "via Frontend Transport" in ways[2], ways[2][:19]] == [True, True, "from probe.example "]
    assert len(ways) == 3


async def test_the_reply_to_a_message_has_its_id_and_the_server_s_name() -> None:
    async with mailing() as here:
        await here.smtp(lambda client: (client.ehlo(), client.mail(STRANGER), client.rcpt(PROBE2)), "mx")
        code, said = await here.smtp(
            lambda client: (client.ehlo(), client.mail(STRANGER), client.rcpt(PROBE2), client.data(b"Message-ID: <1@x>\r\n\r\nHi"))[-1],
            "mx",
        )
    assert code == 250
    assert said.startswith(b"2.6.0 <1@x> [InternalId=")
    assert said.endswith(b"Queued mail for delivery")


async def test_what_an_app_submits_arrives_and_leaves_a_copy() -> None:
    async with mailing() as here:

        def submit(client: smtplib.SMTP) -> tuple[int, bytes]:
            assert here.authorized(client) == (235, b"2.7.0 Authentication successful")
            client.mail(PROBE1)
            client.rcpt(PROBE2)
            client.rcpt(STRANGER)
            return client.data(message("Submitted", PROBE1, PROBE2).as_bytes())

        code, said = await here.smtp(submit)
        assert (code, said.partition(b" <")[0], here.subjects(1), here.subjects(0, "sentitems")) == (
            *(250, b"2.0.0 OK"),
            *(["Submitted"], ["Submitted"]),
        )
        assert [letter.subject for letter in here.post.outside] == ["Submitted"]
        assert here.subjects(0) == []


async def test_a_person_submits_with_a_token_of_their_own_only_for_themselves() -> None:
    async with mailing() as here:
        own = here.token("SMTP.Send", person=0)
        assert (await here.smtp(lambda client: here.authorized(client, own)))[0] == 235
        assert await here.smtp(lambda client: code_of(lambda: here.authorized(client, own, number=1))) == "535 5.7.3"


@pytest.mark.parametrize(
    "token",
    [
        lambda here: here.token("Mail.Send"),
        lambda here: here.token(*ROLES, seconds=-1),
        lambda here: here.token(*ROLES, audience="https://graph.microsoft.com"),
        lambda _here: "no.token",
    ],
    ids=["no right", "over", "for Graph", "no token"],
)
async def test_a_wrong_token_is_refused(token: Callable[[Mailing], str]) -> None:
    async with mailing() as here:
        assert await here.smtp(lambda client: code_of(lambda: here.authorized(client, token(here)))) == "535 5.7.3"


async def test_a_token_given_after_the_challenge_will_do() -> None:
    async with mailing() as here:

        def sign_in(client: smtplib.SMTP) -> int:
            client.ehlo()
            client.auth("XOAUTH2", lambda _challenge=None: here.xoauth2(here.token(*ROLES)), initial_response_ok=False)
            return client.mail(PROBE1)[0]

        assert await here.smtp(sign_in) == 250


async def test_nothing_is_submitted_without_signing_in() -> None:
    async with mailing() as here:
        assert await here.smtp(lambda client: code_of(lambda: client.send_message(message("No", PROBE1, PROBE2)))) == "530 5.7.57"


@pytest.mark.parametrize("mechanism", ["plain", "login"])
async def test_a_password_is_no_longer_taken_unless_the_tenant_still_does(mechanism: str) -> None:
    async with mailing() as here:

        def sign_in(client: smtplib.SMTP, word: str) -> tuple[int, bytes]:
            client.ehlo()
            client.user, client.password = PROBE1, word
            return client.auth(mechanism.upper(), getattr(client, f"auth_{mechanism}"))

        word = here.password(0)
        assert await here.smtp(lambda client: code_of(lambda: sign_in(client, word))) == "550 5.7.30"
        here.policy.passwords = True
        assert (await here.smtp(lambda client: sign_in(client, word)))[0] == 235
        assert await here.smtp(lambda client: code_of(lambda: sign_in(client, "wrong"))) == "535 5.7.3"


async def test_submission_can_be_switched_off_for_the_tenant() -> None:
    async with mailing() as here:
        here.policy.submission_disabled = True
        assert await here.smtp(lambda client: code_of(lambda: here.authorized(client))) == "535 5.7.139"


async def test_a_fourth_connection_for_a_mailbox_is_one_too_many() -> None:
    async with mailing() as here:

        def nested(client: smtplib.SMTP, depth: int = 1) -> Any:
            if depth > here.policy.connections:
                return code_of(lambda: here.authorized(client))
            here.authorized(client)
            with smtplib.SMTP("127.0.0.1", here.ports["submission"], "probe.example", timeout=10) as more:
                more.starttls(context=here.trust)
                return nested(more, depth + 1)

        assert await here.smtp(nested) == "432 4.3.2"
        await asyncio.to_thread(wait_until, lambda: not +here.policy.submitting)
        assert (await here.smtp(here.authorized))[0] == 235


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def submitted(here: Mailing, sender: str = PROBE1, text: bytes = b"Subject: S\r\n\r\nHi") -> Callable[[smtplib.SMTP], str]:
    """Sign in, hand in a letter to the second person, and give reply and enhanced code."""

    def submit(client: smtplib.SMTP) -> str:
        here.authorized(client)
        client.mail(sender)
        client.rcpt(PROBE2)
        code, said = client.data(text)
        return f"{code} {said.decode().split()[0]}"

    return submit


async def test_nobody_sends_as_somebody_else() -> None:
    async with mailing() as here:
        assert await here.smtp(submitted(here, PROBE2)) == "554 5.2.252"
        assert here.subjects(1) == []


async def test_a_full_mailbox_submits_nothing() -> None:
    async with mailing() as here:
        here.box(0).quota = 1000
        assert await here.smtp(submitted(here)) == "554 5.2.2"


async def test_a_message_beyond_the_limit_is_not_taken() -> None:
    async with mailing() as here:
        here.policy.largest = 10_000
        assert await here.smtp(submitted(here, text=b"x" * 9_000)) == "250 2.0.0"
        assert await here.smtp(submitted(here, text=b"\r\n".join([b"x" * 900] * 20))) == "552 5.3.4"


async def test_a_fault_at_the_final_dot_refuses_the_message_or_leaves_open_whether_it_was_taken() -> None:
    async with mailing() as here:
        here.world.faults.set(Fault(Smtp("451 4.7.500 Server busy", "dot")))
        assert await here.smtp(submitted(here)) == "451 4.7.500"
        assert here.subjects(1) == []
        here.world.faults.set(Fault(Smtp("", "dot")))
        with pytest.raises(smtplib.SMTPServerDisconnected):
            await here.smtp(submitted(here))
        assert here.subjects(1) == ["S"]


@pytest.mark.parametrize(
    ("fate", "inbox", "junk", "returned"),
    [
        (Mail("lost"), [], [], []),
        (Mail("junk"), [], ["S"], []),
        (Mail("bounce"), [], [], ["Undeliverable: S"]),
        (Mail("delay", 3600), [], [], []),
    ],
    ids=str,
)
async def test_a_letter_that_was_taken_meets_its_fate(fate: Mail, inbox: list[str], junk: list[str], returned: list[str]) -> None:
    async with mailing() as here:
        here.world.faults.set(Fault(fate))
        assert await here.smtp(submitted(here)) == "250 2.0.0"
        assert (here.subjects(1), here.subjects(1, "junkemail"), here.subjects(0)) == (inbox, junk, returned)


FIELDS = b"From:|To: |Subject: |Message-ID:|Content-Transfer-Encoding: |Content-Type: text/plain; charset=nonsense|"
PARTS = b"Content-Type: multipart/mixed; boundary=x|\r\n--x\r\n|=?x?q?a?=|group:;|base64|"
PARTS += b"Content-Disposition: attachment; filename*=|; charset*=a; charset*0=b|"
SIGNS = b'\r\n|\r\n |\r\n\r\n|<|>|@|a@b|,|"|(|\xff\x00|\xc3\xbc'


@given(st.lists(st.sampled_from((FIELDS + PARTS + SIGNS).split(b"|")), max_size=30).map(b"".join))
def test_whatever_a_stranger_writes_is_a_letter(raw: bytes) -> None:
    letter = from_mime(raw, Address(STRANGER), now=1e9, random=World().random)
    assert mime_of(letter).partition(b"\r\n\r\n")[0].isascii()
