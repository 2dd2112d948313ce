"""A scripted IMAP server: inboxes that tell of a letter the moment it is put in, and remember when they told. No TLS, any login."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from time import perf_counter

from tests.fakes import hostile

_ARRIVED = "23-Nov-2026 12:00:00 +0000"


@dataclass(slots=True)
class Inbox:
    """One mailbox. `told` is when its EXISTS was written (perf_counter), to whoever waits with IDLE and to nobody else."""

    letters: list[bytes] = field(default_factory=list)
    told: float = 0.0
    idle: asyncio.StreamWriter | None = None

    def put(self, letter: bytes) -> None:
        """Let a letter arrive."""
        self.letters.append(letter)
        self.told = perf_counter()
        if self.idle is not None:
            self.idle.write(f"* {len(self.letters)} EXISTS\r\n".encode())


@dataclass(frozen=True, slots=True)
class Inboxes:
    """The server: an inbox for every user name."""

    by_user: dict[str, Inbox] = field(default_factory=dict)

    def of(self, user: str) -> Inbox:
        """Return somebody's inbox."""
        return self.by_user.setdefault(user, Inbox())

    def serving(self) -> AbstractAsyncContextManager[tuple[str, int]]:
        """Serve while the block runs; gives host and port."""
        return hostile.serving(self._talk)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"* OK ready\r\n")
        session = _Session(self, reader, writer)
        while line := (await reader.readline()).decode().rstrip("\r\n"):
            tag, command, rest = (*line.split(" ", 2), "")[:3]
            await session.does(tag, command.upper(), rest)


@dataclass(slots=True)
class _Session:
    """One client."""

    inboxes: Inboxes
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    inbox: Inbox = field(default_factory=Inbox)

    async def does(self, tag: str, command: str, rest: str) -> None:
        """Answer one command."""
        known: dict[str, Callable[[str, str], Awaitable[None]]] = {"IDLE": self._idle, "LOGIN": self._login, "UID": self._uid}
        if command in known:
            await known[command](tag, rest)
        elif command in {"CAPABILITY", "SELECT", "NOOP"}:
            state = {"CAPABILITY": "* CAPABILITY IMAP4rev1 IDLE UIDPLUS\r\n"}.get(command, f"* {len(self.inbox.letters)} EXISTS\r\n")
            self._say(state + f"{tag} OK [UIDVALIDITY 1] done\r\n")
        else:
            self._say(f"{tag} OK done\r\n")

    async def _login(self, tag: str, rest: str) -> None:
        self.inbox = self.inboxes.of(rest.split(maxsplit=1)[0].strip('"'))
        self._say(f"{tag} OK welcome\r\n")

    async def _idle(self, tag: str, _: str) -> None:
        self._say("+ idling\r\n")
        self.inbox.idle = self.writer
        await self.reader.readline()
        self.inbox.idle = None
        self._say(f"{tag} OK done\r\n")

    async def _uid(self, tag: str, rest: str) -> None:
        found = re.match(r"FETCH (\d+)", rest)
        for uid in range(int(found[1]), len(self.inbox.letters) + 1) if found else ():
            header = self.inbox.letters[uid - 1].partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
            told = f'* {uid} FETCH (UID {uid} INTERNALDATE "{_ARRIVED}" BODY[HEADER] {{{len(header)}}}\r\n'
            self.writer.write(told.encode() + header + b")\r\n")
        self._say(f"{tag} OK done\r\n")

    def _say(self, text: str) -> None:
        self.writer.write(text.encode())
