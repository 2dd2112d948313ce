"""IMAP over the same mailboxes that Graph shows, as Exchange Online offers it: TLS at once, XOAUTH2 alone, IDLE, UIDPLUS, MOVE.

Faults hit it as the host `exchange` (outlook.office365.com speaks both): `Tcp` when a client connects, `Tls` at the handshake. What a real
front end does with a mailbox that the app may not open is played too: signing in succeeds, and every command after it fails.
"""

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from uuid import UUID

import trustme

from agent.drill.hosting import Contexts
from agent.drill.imap.commands import BY_UID, KNOWN, SELECTED, STRANGER, Asked
from agent.drill.imap.talk import GoneError, NoError, Talk
from agent.drill.imap.words import words_of
from agent.drill.mail_login import MailPolicy
from agent.drill.stream import serve_tls_stream
from agent.drill.world import World

NAME = "outlook.office365.com"


async def _answer(talk: Talk, name: str, arguments: str) -> str:
    """Do what a command says, and give its tagged answer without the tag."""
    by_uid = name == "UID"
    if by_uid:
        name, _, arguments = arguments.partition(" ")
        name = name.upper()
    commands = STRANGER if talk.user is None else KNOWN if talk.view is None else SELECTED
    if name not in commands or (by_uid and name not in BY_UID):
        return "BAD Command received in Invalid state." if name in {**STRANGER, **SELECTED} else "BAD Command Error. 10"
    try:
        said = commands[name](talk, Asked(words_of(arguments), by_uid))
        return f"OK {said if isinstance(said, str) else await said}"
    except NoError as refused:
        return f"NO {refused}"
    except (ValueError, IndexError):
        return "BAD Command Argument Error. 11"


async def _converse(talk: Talk) -> None:
    """Hold one conversation until the client logs out or goes."""
    world = talk.world
    session, server = UUID(int=world.random.getrandbits(128)), base64.b64encode(world.random.randbytes(24)).decode()
    talk.say(f"* OK Microsoft Exchange IMAP4 service ready. {session} (tcpproxy/15.21.0406.000 BACKENDAUTHENTICATE) [{server}]")
    name = ""
    while name != "LOGOUT":
        tag, name, arguments = await talk.command()
        if talk.user and name != "LOGOUT" and talk.user.owner.mail.lower() in world.of(MailPolicy).not_granted:
            talk.say(f"{tag} BAD User is authenticated but not connected.")
            talk.say("* BYE Connection closed. 14")
            return
        talk.say(f"{tag} {await _answer(talk, name, arguments)}")
        await talk.writer.drain()


@asynccontextmanager
async def serve_imap(world: World, authority: trustme.CA) -> AsyncIterator[int]:
    """Be the tenant's IMAP server while the block runs, and give its port on 127.0.0.1."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # The client broke off, or sent a line without end.
        with suppress(GoneError, ConnectionError, EOFError, ssl.SSLError, ValueError):
            await _converse(Talk(world, reader, writer))

    async with serve_tls_stream(world, "exchange", Contexts(authority, (NAME,)), serve) as port:
        yield port
