"""One conversation by IMAP: lines and literals, who is signed in, which folder is selected, and what the client knows of it."""

import asyncio
import re
from dataclasses import dataclass, field

from agent.drill.graph.mailbox import Folder, Mailbox, Message
from agent.drill.graph.post import Post
from agent.drill.imap.words import Row, quoted
from agent.drill.world import World

_LITERAL = re.compile(r"\{(\d{1,7})(\+?)\}$")
_LARGEST_LITERAL = 1 << 20


class NoError(Exception):
    """The command is understood and fails; the message says why."""


class GoneError(Exception):
    """The conversation is over."""


@dataclass(slots=True)
class View:
    """The folder that is selected, and the numbers of its messages as the client knows them."""

    folder: Folder
    read_only: bool
    numbers: list[int] = field(default_factory=list)
    highest: int = 0


@dataclass(slots=True)
class Talk:
    """One conversation."""

    world: World
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    user: Mailbox | None = None
    view: View | None = None

    def say(self, line: str | bytes) -> None:
        """Send one line."""
        self.writer.write((line.encode(errors="replace") if isinstance(line, str) else line) + b"\r\n")

    async def line(self) -> str:
        """Hear one line.

        Raises:
            GoneError: at the end of the connection.

        """
        heard = await self.reader.readline()
        if not heard:
            raise GoneError
        return heard.decode("utf-8", "surrogateescape").rstrip("\r\n")

    async def command(self) -> tuple[str, str, str]:
        """Hear a command with its literals, which become strings: tag, name, arguments."""
        text = piece = await self.line()
        while found := _LITERAL.search(piece):
            if int(found[1]) > _LARGEST_LITERAL:
                raise GoneError
            if not found[2]:
                self.say("+ Ready for additional command text.")
            content = (await self.reader.readexactly(int(found[1]))).decode("utf-8", "surrogateescape")
            piece = await self.line()
            text = text[: -len(found[0])] + quoted(content) + piece
        tag, _, rest = text.partition(" ")
        name, _, arguments = rest.partition(" ")
        return tag, name.upper(), arguments

    @property
    def box(self) -> Mailbox:
        """The mailbox, with what has arrived."""
        found = self.world.of(Post).mailbox(self.user.owner.mail) if self.user else None
        if found is None:
            raise GoneError
        return found

    @property
    def selected(self) -> View:
        """The folder that is selected.

        Raises:
            ValueError: where none is.

        """
        if self.view is None:
            raise ValueError("no folder")
        return self.view

    def there(self) -> dict[int, Message]:
        """Give what is in the folder now, by number."""
        return {each.number: each for each in sorted(self.box.within(self.selected.folder.key), key=lambda each: each.number)}

    def rows(self) -> list[Row]:
        """Give the messages that the client knows and that are still there."""
        there, numbers = self.there(), self.selected.numbers
        known = [(place, number) for place, number in enumerate(numbers, 1) if number in there]
        return [Row(place, there[number], len(numbers), numbers[-1]) for place, number in known]

    def tell(self, *, removals: bool = True) -> None:
        """Tell the client what has changed; of removals only where it does not count by places (RFC 3501 7.4.1)."""
        there, numbers = self.there(), self.selected.numbers
        for index in range(len(numbers) - 1, -1, -1):
            if removals and numbers[index] not in there:
                del numbers[index]
                self.say(f"* {index + 1} EXPUNGE")
        if new := [number for number in there if number > self.selected.highest]:
            numbers.extend(new)
            self.selected.highest = new[-1]
            self.say(f"* {len(numbers)} EXISTS")
            self.say(f"* {len(new)} RECENT")
