"""A POP3 server with one mailbox in memory, which tests fill, and whose habits they choose."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.fakes import hostile
from tests.fakes.certificates import Flaw, server_context

EXCHANGE = ("TOP", "UIDL", "SASL PLAIN XOAUTH2", "USER")


@dataclass(eq=False)
class PopServer:
    """The mailbox, the server's habits, and what it heard."""

    mails: dict[str, bytes] = field(default_factory=dict)
    offers: tuple[str, ...] = EXCHANGE
    """Its capabilities; with none it does not know CAPA."""
    refuses: dict[str, str] = field(default_factory=dict)
    """Command, as its words begin, to what is answered instead."""
    heard: list[str] = field(default_factory=list)
    said: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, text: bytes) -> str:
        """Put a message in and return its unique id."""
        key = f"UID{len(self.mails) + len(self.heard):06}"
        self.mails[key] = text.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        return key

    async def hears(self, words: str, times: int = 1) -> None:
        """Wait until commands with these words were heard so often."""
        while sum(words in line for line in self.heard) < times:
            self.said.clear()
            await self.said.wait()

    @asynccontextmanager
    async def running(self, *, tls: bool = True) -> AsyncIterator[tuple[str, int]]:
        """Serve."""

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await _Talk(self, reader, writer, dict(self.mails)).run()

        async with hostile.serving(talk, server_context(Flaw.NONE) if tls else None) as address:
            yield address


@dataclass(eq=False)
class _Talk:
    """A session sees the mailbox as it was when it began."""

    server: PopServer
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    mails: dict[str, bytes]
    deleted: list[str] = field(default_factory=list)

    def say(self, line: str) -> None:
        self.writer.write(line.encode() + b"\r\n")

    def say_lines(self, lines: list[bytes]) -> None:
        self.say("+OK")
        for line in lines:
            self.writer.write((b"." if line.startswith(b".") else b"") + line + b"\r\n")
        self.say(".")

    async def hear(self) -> str:
        line = (await self.reader.readuntil(b"\n")).decode().rstrip("\r\n")
        self.server.heard.append(line)
        self.server.said.set()
        return line

    async def run(self) -> None:
        self.say("+OK The Microsoft Exchange POP3 service is ready.")
        while True:
            line = await self.hear()
            refusal = next((text for begin, text in self.server.refuses.items() if line.upper().startswith(begin)), "")
            if refusal:
                await self._refuse(line, refusal)
                continue
            verb, _, rest = line.partition(" ")
            await getattr(self, f"on_{verb.lower()}")(rest)
            if verb == "QUIT":
                return

    async def _refuse(self, line: str, refusal: str) -> None:
        if line == "AUTH XOAUTH2":
            self.say("+ ")
            await self.hear()
            self.say("+ eyJzdGF0dXMiOiI0MDAiLCJzY2hlbWVzIjoiYmVhcmVyIn0=")
            await self.hear()
        self.say(refusal)

    async def on_capa(self, _: str) -> None:
        if self.server.offers:
            self.say_lines([line.encode() for line in self.server.offers])
        else:
            self.say("-ERR Protocol error. 14")

    async def on_auth(self, _: str) -> None:
        self.say("+ ")
        await self.hear()
        self.say("+OK User successfully authenticated.")

    async def on_user(self, _: str) -> None:
        self.say("+OK")

    async def on_pass(self, _: str) -> None:
        self.say("+OK User successfully logged on.")

    async def on_uidl(self, _: str) -> None:
        self.say_lines([f"{number} {key}".encode() for number, key in enumerate(self.mails, 1)])

    async def on_top(self, rest: str) -> None:
        number, lines = map(int, rest.split())
        header, _, body = list(self.mails.values())[number - 1].partition(b"\r\n\r\n")
        self.say_lines([*header.split(b"\r\n"), b"", *body.split(b"\r\n")[:lines]])

    async def on_dele(self, rest: str) -> None:
        self.deleted.append(list(self.mails)[int(rest) - 1])
        self.say("+OK")

    async def on_quit(self, _: str) -> None:
        for key in self.deleted:
            self.server.mails.pop(key, None)
        self.say("+OK Microsoft Exchange Server POP3 server signing off.")
