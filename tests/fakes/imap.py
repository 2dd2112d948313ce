"""An IMAP server with mailboxes in memory, which tests fill, and whose habits they choose.

It knows what the probes say and nothing else: an unknown command is a BAD, and stands in `heard` like all others.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import perf_counter

from tests.fakes import hostile
from tests.fakes.certificates import Flaw, server_context

EXCHANGE = "IMAP4 IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2 SASL-IR UIDPLUS ID UNSELECT CHILDREN IDLE NAMESPACE LITERAL+"
AFTER = f"{EXCHANGE} ENABLE IMAP4rev2 CLIENTACCESSRULES ESEARCH"


@dataclass(slots=True)
class Mail:
    """One message: its bytes with CRLF, when it came as INTERNALDATE has it, its flags."""

    uid: int
    text: bytes
    came: str = "23-Nov-2026 14:00:00 +0000"
    flags: set[str] = field(default_factory=set)

    @property
    def header(self) -> bytes:
        return self.text.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"


@dataclass(slots=True)
class Box:
    """One folder."""

    mails: list[Mail] = field(default_factory=list)
    validity: int = 7
    attributes: str = r"\HasNoChildren"
    next_uid: int = 1

    def put(self, text: bytes, came: str = "23-Nov-2026 14:00:00 +0000") -> Mail:
        """Put a message in, without a word to anybody."""
        mail = Mail(self.next_uid, text.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"), came)
        self.next_uid += 1
        self.mails.append(mail)
        return mail


@dataclass(eq=False)
class ImapServer:
    """The server's habits, and what it heard."""

    boxes: dict[str, Box]
    before: str = EXCHANGE
    after: str = AFTER
    refuses: dict[str, str] = field(default_factory=dict)
    """Command, as its words begin ("UID SEARCH"), to what is answered instead."""
    untold: frozenset[str] = frozenset()
    """Response codes of SELECT that are left out."""
    meanwhile: list[bytes] = field(default_factory=list)
    """Messages that arrive while the next UID FETCH is answered: behind what it tells."""
    gone: set[int] = field(default_factory=set)
    """UIDs of messages that others have removed, of which this session was not told yet."""
    ends_idle: bool = False
    """Whether IDLE is ended by the server at once."""
    tells: bool = True
    """Whether IDLE tells of arrivals."""
    heard: list[str] = field(default_factory=list)
    sessions: "list[_Talk]" = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    """When each line was heard (perf_counter)."""
    said: asyncio.Event = field(default_factory=asyncio.Event)

    def arrive(self, text: bytes, box: str = "INBOX", came: str = "23-Nov-2026 14:00:00 +0000") -> float:
        """Put a message in and tell those who idle there; return when (perf_counter)."""
        self.boxes[box].put(text, came)
        for talk in self.sessions:
            if talk.idling and talk.box is self.boxes[box] and self.tells:
                talk.say(f"* {len(talk.box.mails)} EXISTS")
        return perf_counter()

    def when(self, words: str) -> float:
        """Return when a command with these words was first heard (perf_counter)."""
        return next(at for at, line in zip(self.times, self.heard, strict=True) if words in line)

    async def hears(self, words: str, times: int = 1) -> None:
        """Wait until commands with these words were heard so often."""
        while sum(words in line for line in self.heard) < times:
            self.said.clear()
            await self.said.wait()

    def hang_up(self, bye: str = "") -> None:
        """Drop all connections."""
        for talk in self.sessions:
            if bye:
                talk.say(f"* BYE {bye}")
            talk.writer.close()

    @asynccontextmanager
    async def running(self, *, tls: bool = True) -> AsyncIterator[tuple[str, int]]:
        """Serve."""

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            session = _Talk(self, reader, writer)
            self.sessions.append(session)
            try:
                await session.run()
            finally:
                self.sessions.remove(session)

        async with hostile.serving(talk, server_context(Flaw.NONE) if tls else None) as address:
            yield address


@dataclass(eq=False)
class _Talk:
    server: ImapServer
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    box: Box | None = None
    idling: bool = False

    def say(self, line: str) -> None:
        self.writer.write(line.encode() + b"\r\n")

    async def hear(self) -> str:
        line = (await self.reader.readuntil(b"\n")).decode().rstrip("\r\n")
        self.server.heard.append(line)
        self.server.times.append(perf_counter())
        self.server.said.set()
        return line

    async def run(self) -> None:
        self.say("* OK Microsoft Exchange IMAP4 service ready.")
        while True:
            tag, _, command = (await self.hear()).partition(" ")
            if command.upper() == "LOGOUT":
                return
            refusal = next((text for begin, text in self.server.refuses.items() if command.upper().startswith(begin)), "")
            if refusal:
                await self._refuse(tag, command, refusal)
                continue
            await self._serve(tag, command)

    async def _refuse(self, tag: str, command: str, refusal: str) -> None:
        if command.upper().startswith("AUTHENTICATE XOAUTH2"):
            self.say("+ eyJzdGF0dXMiOiI0MDAiLCJzY2hlbWVzIjoiYmVhcmVyIn0=")
            await self.hear()
        if refusal == "HANG UP":
            raise ConnectionResetError
        self.say(f"{tag} {refusal}")

    async def _serve(self, tag: str, command: str) -> None:
        words = command.split(" ", 2)
        name = "_".join(words[:2] if words[0].upper() == "UID" else words[:1]).lower()
        rest = command[len(name) :].strip()
        act = getattr(self, f"on_{name}", None)
        if act is None:
            self.say(f"{tag} BAD Command Argument Error. 11")
        else:
            self.say(f"{tag} {await act(rest) or 'OK done'}")

    async def on_capability(self, _: str) -> None:
        signed_in = any(line.split(" ")[1] in {"AUTHENTICATE", "LOGIN"} for line in self.server.heard if " " in line)
        self.say(f"* CAPABILITY {self.server.after if signed_in else self.server.before}")

    async def on_authenticate(self, rest: str) -> None:
        if " " not in rest:
            self.say("+ ")
            await self.hear()

    async def on_login(self, rest: str) -> None:
        while rest.endswith("}"):
            self.say("+ go on")
            rest = await self.hear()

    async def on_noop(self, _: str) -> None:
        if self.box is not None:
            self.say(f"* {len(self.box.mails)} EXISTS")

    async def on_select(self, rest: str) -> str:
        name = re.sub(r"\\(.)", r"\1", rest.strip('"'))
        if name not in self.server.boxes:
            return "NO [NONEXISTENT] no such mailbox"
        self.box = box = self.server.boxes[name]
        self.say(r"* FLAGS (\Answered \Flagged \Deleted \Seen \Draft)")
        self.say(f"* {len(box.mails)} EXISTS")
        for code in (f"UIDVALIDITY {box.validity}", f"UIDNEXT {box.next_uid}"):
            if code.partition(" ")[0] not in self.server.untold:
                self.say(f"* OK [{code}] told")
        return "OK [READ-WRITE] SELECT completed."

    async def on_list(self, _: str) -> None:
        for name, box in self.server.boxes.items():
            self.say(f'* LIST ({box.attributes}) "/" "{name}"')

    async def on_idle(self, _: str) -> str:
        self.say("+ IDLE accepted, awaiting DONE command.")
        self.say("* OK Still here")
        if self.server.ends_idle:
            return "OK IDLE terminated."
        self.idling = True
        line = await self.hear()
        self.idling = False
        return "OK IDLE completed." if line == "DONE" else "BAD IDLE ends with DONE"

    async def on_fetch(self, rest: str) -> None:
        numbers, _, what = rest.partition(" ")
        first, _, last = numbers.partition(":")
        for number, mail in enumerate(self._mails, 1):
            if int(first) <= number <= int(last or first):
                self._tell(number, mail, what)

    async def on_uid_fetch(self, rest: str) -> str | None:
        uids, _, what = rest.partition(" ")
        for number, mail in self._in(uids):
            self._tell(number, mail, what)
        if self.box is not None and self.server.meanwhile:
            self.box.put(self.server.meanwhile.pop())
            self.say(f"* {len(self.box.mails)} EXISTS")
        return "NO [EXPUNGEISSUED] Some messages were already expunged" if self.server.gone else None

    async def on_uid_search(self, rest: str) -> None:
        self.say(f"* SEARCH {' '.join(str(mail.uid) for mail in self._mails if _fits(mail, rest))}")

    async def on_uid_store(self, rest: str) -> None:
        for _, mail in self._in(rest.partition(" ")[0]):
            mail.flags.add(r"\Deleted")

    async def on_uid_expunge(self, rest: str) -> str | None:
        if "UIDPLUS" not in self.server.after:
            return "BAD no such command"
        self._expunge({mail.uid for _, mail in self._in(rest)})
        return None

    async def on_expunge(self, _: str) -> None:
        self._expunge({mail.uid for mail in self._mails})

    @property
    def _mails(self) -> list[Mail]:
        return self.box.mails if self.box else []

    def _in(self, uids: str) -> Iterator[tuple[int, Mail]]:
        last = max((mail.uid for mail in self._mails), default=0)
        for number, mail in enumerate(self._mails, 1):
            for part in uids.split(","):
                low, _, high = part.partition(":")
                ends = [last if end == "*" else int(end) for end in (low, high or low)]
                if min(ends) <= mail.uid <= max(ends):
                    yield number, mail
                    break

    def _expunge(self, uids: set[int]) -> None:
        for number in range(len(self._mails), 0, -1):
            mail = self._mails[number - 1]
            if mail.uid in uids and r"\Deleted" in mail.flags:
                del self._mails[number - 1]
                self.say(f"* {number} EXPUNGE")

    def _tell(self, number: int, mail: Mail, what: str) -> None:
        if mail.uid in self.server.gone:
            self.say(f'* {number} FETCH (UID {mail.uid} INTERNALDATE "01-Jan-1970 00:00:00 +0000" BODY[HEADER] NIL)')
            return
        section = re.search(r"BODY\.PEEK(\[[^\]]*\])(?:<0\.(\d+)>)?", what)
        assert section is not None, what
        body = mail.text if section[1] == "[]" else mail.header
        body = body[: int(section[2])] if section[2] else body
        name = f"BODY{section[1]}" + ("<0>" if section[2] else "")
        # Flags that others changed, and an answer in an order of its own, are both allowed.
        self.say(rf"* {number} FETCH (FLAGS (\Seen))")
        self.writer.write(f"* {number} FETCH ({name} {{{len(body)}}}\r\n".encode() + body)
        self.say(f' INTERNALDATE "{mail.came}" UID {mail.uid})')


def _fits(mail: Mail, criteria: str) -> bool:
    if criteria == "DELETED":
        return r"\Deleted" in mail.flags
    words = re.findall(r'HEADER (\S+) "([^"]*)"', criteria)
    lines = mail.header.decode().lower().split("\r\n")
    return any(line.startswith(f"{name.lower()}:") and text.lower() in line for name, text in words for line in lines)
