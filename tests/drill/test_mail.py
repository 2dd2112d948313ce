import asyncio
import ssl
import time
from contextlib import suppress

import pytest
import trustme
import uvloop

from agent.drill.faults import Effect, Fault, Faults, Smtp, Tcp, Tls
from agent.drill.hosting import Contexts
from agent.drill.mail import serve_greeting

NAME = "contoso-example.mail.protection.outlook.com"


async def read_reply(reader: asyncio.StreamReader) -> list[str]:
    lines = [(await reader.readline()).decode()]
    while lines[-1][3:4] == "-":
        lines.append((await reader.readline()).decode())
    return [line.rstrip("\r\n") for line in lines]


async def converse(authority: trustme.CA, *commands: str, faults: Faults | None = None) -> list[str]:
    """Say the commands, starting TLS where the server agrees to, and return the last line of each reply, the greeting first."""
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    async with serve_greeting(NAME, Contexts(authority, (NAME,)), faults or Faults(time.time)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        replies = await read_reply(reader)
        for command in commands:
            writer.write(f"{command}\r\n".encode())
            replies.append((await read_reply(reader))[-1])
            if command == "STARTTLS" and replies[-1].startswith("220"):
                await writer.start_tls(trust, server_hostname=NAME)
        writer.close()
    return replies


def test_it_greets_starts_tls_once_and_says_goodbye() -> None:
    commands = ("EHLO probe", "STARTTLS", "EHLO probe", "STARTTLS", "QUIT")
    with asyncio.Runner() as runner:
        replies = runner.run(converse(trustme.CA(), *commands))
    assert [reply[:3] for reply in replies] == ["220", "250", "220", "250", "500", "221"]
    assert replies[0] == f"220 {NAME} Microsoft ESMTP MAIL Service ready"


def test_it_works_on_the_loop_of_the_agent_too() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(converse(trustme.CA(), "STARTTLS", "NOOP"))[-1] == "250 2.0.0 OK"


async def test_an_endless_line_ends_the_conversation() -> None:
    async with serve_greeting(NAME, Contexts(trustme.CA(), (NAME,)), Faults(time.time)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await reader.readline()
        writer.write(b"x" * 200_000)
        with suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()


def broken(effect: Effect) -> Faults:
    faults = Faults(time.time)
    faults.set(Fault(effect))
    return faults


async def test_a_recipient_is_taken_and_a_message_is_not() -> None:
    replies = await converse(trustme.CA(), "EHLO probe", "MAIL FROM:<a@b.example>", "RCPT TO:<c@d.example>", "DATA", "QUIT")
    assert [reply[:3] for reply in replies] == ["220", "250", "250", "250", "550", "221"]


@pytest.mark.parametrize(("stage", "codes"), [("connect", "451 250 250 250"), ("mail", "220 250 451 250"), ("rcpt", "220 250 250 451")])
async def test_a_fault_speaks_at_its_own_stage(stage: str, codes: str) -> None:
    fault = Smtp("451 4.3.2 Temporary server error", stage)  # type: ignore[arg-type]
    replies = await converse(trustme.CA(), "EHLO probe", "MAIL FROM:<a@b.example>", "RCPT TO:<c@d.example>", faults=broken(fault))
    assert [reply[:3] for reply in replies] == codes.split()


async def test_a_certificate_of_a_proxy_is_not_trusted() -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        await converse(trustme.CA(), "STARTTLS", faults=broken(Tls("intercepted")))


async def test_a_reset_ends_the_connection_before_the_greeting() -> None:
    with pytest.raises(ConnectionResetError):
        await converse(trustme.CA(), faults=broken(Tcp("reset")))
