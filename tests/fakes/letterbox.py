"""A post office of two mailboxes, told what becomes of the next letter: states that no server can be made to show at will.

It keeps what real ones keep: copies, reports, junk, what was deleted. What is said on the wire is tested with servers.
"""

import asyncio
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from time import perf_counter, time

from probes.core.context import Context
from probes.core.contract import Stopped
from probes.lib.mail.ends import Accepted, Folder, Found
from probes.lib.mail.letter import Letter, mime
from probes.lib.mail.outstanding import DAY
from probes.lib.mail.report import Report


@dataclass(frozen=True, slots=True)
class Stored:
    """A message as it lies in a folder, and since when (Unix seconds)."""

    tag: str
    folder: Folder
    headers: str
    delivered: float
    report: Report | None = None


@dataclass(slots=True)
class Box:
    """One mailbox. `broken` is raised by whoever looks into it; `hangs` keeps them waiting."""

    kept: dict[str, Stored] = field(default_factory=dict)
    broken: Stopped | None = None
    broken_to_remove: Stopped | None = None
    hangs: bool = False
    before_find: "Callable[[Box], None]" = lambda _: None
    opened: int = 0
    closed: int = 0
    asked: list[tuple[frozenset[str], frozenset[Folder]]] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    numbers: Iterator[int] = field(default_factory=count)

    def put(self, letter: Letter, folder: Folder = Folder.INBOX, *, report: Report | None = None, received: str = "") -> str:
        """Let the letter, or a report about it, lie in a folder, and return its key."""
        key = str(next(self.numbers))
        self.kept[key] = Stored(letter.tag, folder, received + mime(letter).decode().partition("\r\n\r\n")[0], time(), report)
        return key

    async def deliver(self, letter: Letter, folder: Folder = Folder.INBOX, *, report: Report | None = None, received: str = "") -> None:
        """Put it, and tell whoever waits."""
        self.put(letter, folder, report=report, received=received)
        async with self.changed:
            self.changed.notify_all()

    def found(self, key: str) -> Found:
        """Return what a look shows of a message."""
        one = self.kept[key]
        return Found(one.tag, key, one.folder, one.headers, one.delivered, perf_counter(), 0.0, one.report)

    async def open(self, _: Context) -> None:
        """Sign in."""
        self.opened += 1
        await self._be_well()

    async def arrival(self, _: Context, letter: Letter, until: float) -> Found | None:
        """Wait for the letter in the inbox."""
        await self._be_well()

        def arrived() -> str | None:
            at = [key for key, one in self.kept.items() if one.tag == letter.tag and one.folder is Folder.INBOX and one.report is None]
            return at[0] if at else None

        try:
            async with asyncio.timeout(until - perf_counter()), self.changed:
                key = await self.changed.wait_for(arrived)
        except TimeoutError:
            return None
        return self.found(str(key))

    async def find(self, _: Context, tags: Collection[str], folders: Collection[Folder]) -> list[Found]:
        """Look for everything of ours."""
        self.asked.append((frozenset(tags), frozenset(folders)))
        self.before_find(self)
        await self._be_well()
        wanted: Callable[[Stored], bool] = (lambda one: one.tag in tags) if tags else (lambda one: time() - one.delivered > DAY)
        return [self.found(key) for key, one in self.kept.items() if one.folder in folders and one.tag and wanted(one)]

    async def remove(self, _: Context, found: Sequence[Found]) -> None:
        """Remove for good."""
        await self._be_well()
        if found and self.broken_to_remove:
            raise self.broken_to_remove
        for one in found:
            self.kept.pop(one.key, None)

    async def close(self) -> None:
        """Let go."""
        self.closed += 1

    async def _be_well(self) -> None:
        if self.hangs:
            await asyncio.Event().wait()
        if self.broken:
            raise self.broken


@dataclass(slots=True)
class Office:
    """Takes letters, within `takes` seconds, and keeps a copy of each where `copies` are kept.

    `fate` says what becomes of one; without it, it is delivered. `refusal` is raised in place of that, `refusal_after` after it.
    """

    to: Box = field(default_factory=Box)
    of: Box = field(default_factory=Box)
    fate: "Callable[[Office, Letter], None] | None" = None
    refusal: Stopped | None = None
    refusal_after: Stopped | None = None
    copies: bool = False
    takes: float = 0.0
    letters: list[Letter] = field(default_factory=list)
    closed_to_us: Stopped | None = None
    """Raised at the sender's login."""

    async def open(self, _: Context) -> None:
        """Sign in to send."""
        if self.closed_to_us:
            raise self.closed_to_us

    async def submit(self, _: Context, letter: Letter) -> Accepted:
        """Take a letter, or do not."""
        self.letters.append(letter)
        await asyncio.sleep(self.takes)
        if self.refusal:
            raise self.refusal
        if self.copies:
            self.of.put(letter, Folder.SENT)
        if self.fate:
            self.fate(self, letter)
        else:
            await self.to.deliver(letter)
        if self.refusal_after:
            raise self.refusal_after
        return Accepted(time(), "250 2.0.0", "4Q1")


def older(box: Box, seconds: float) -> None:
    """Let everything in a mailbox have lain there for longer."""
    box.kept = {key: replace(one, delivered=one.delivered - seconds) for key, one in box.kept.items()}
