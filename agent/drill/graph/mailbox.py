"""What lies in mailboxes: folders, messages, what is deleted and where it goes, how much room is left.

It knows neither Graph's JSON nor how letters travel.
"""

import base64
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random

from agent.drill.graph.letters import Letter
from agent.drill.world import Person

WELL_KNOWN = {
    "msgfolderroot": ("Top of Information Store", ""),
    "inbox": ("Inbox", "msgfolderroot"),
    "drafts": ("Drafts", "msgfolderroot"),
    "sentitems": ("Sent Items", "msgfolderroot"),
    "deleteditems": ("Deleted Items", "msgfolderroot"),
    "junkemail": ("Junk Email", "msgfolderroot"),
    "outbox": ("Outbox", "msgfolderroot"),
    "archive": ("Archive", "msgfolderroot"),
    "recoverableitemsroot": ("Recoverable Items", ""),
    "recoverableitemsdeletions": ("Deletions", "recoverableitemsroot"),
    "recoverableitemspurges": ("Purges", "recoverableitemsroot"),
}
"""Well-known folder names with what people see and the folder above. Source: the Graph page of mailFolder."""

QUOTA = 50 * 2**30
"""Bytes in a mailbox of the usual plan."""

MOST = 1000
"""Messages a folder keeps; the oldest go first, as a tenant that runs for weeks must not grow."""


def new_id(prefix: str, random: Random, size: int = 42) -> str:
    """Give an identifier as Outlook makes them: URL-safe base64 of nothing that a client may read."""
    return f"{prefix}{base64.urlsafe_b64encode(random.randbytes(size)).decode()}AAA="


@dataclass(frozen=True, slots=True)
class Folder:
    """One folder; `key` is its well-known name."""

    key: str
    id: str
    name: str
    parent: str


@dataclass(slots=True)
class Message:
    """One message in one folder. `id` changes when it moves, `lasting_id` (ImmutableId) does not."""

    letter: Letter
    id: str
    lasting_id: str
    folder: str
    received: float
    changed: float
    version: int
    is_read: bool = False
    number: int = 0
    """Its unique identifier (RFC 9051 2.3.1.1) in its folder: higher than that of all before it."""
    flags: frozenset[str] = frozenset()
    """What a mail program noted on it over IMAP, apart from whether it is read."""


@dataclass(frozen=True, slots=True)
class Removal:
    """A message that left a folder, for whoever follows the folder's changes."""

    version: int
    folder: str
    id: str
    lasting_id: str


@dataclass(slots=True)
class Mailbox:
    """One person's mailbox. `version` counts its changes; `quota` (bytes) can be set at any time."""

    owner: Person
    random: Random
    quota: int = QUOTA
    version: int = 0
    folders: dict[str, Folder] = field(default_factory=dict)
    messages: dict[str, Message] = field(default_factory=dict)
    removals: deque[Removal] = field(default_factory=lambda: deque(maxlen=1000))
    forgotten: int = 0
    """The version up to which removals may have been forgotten."""
    numbers: dict[str, int] = field(default_factory=dict)
    """The highest number a message of each folder ever had."""
    watchers: list[Callable[[], object]] = field(default_factory=list)

    def __post_init__(self) -> None:
        ids = {key: new_id("AAMkAG", self.random) for key in WELL_KNOWN}
        self.folders = {key: Folder(key, ids[key], name, ids.get(above, ids["msgfolderroot"])) for key, (name, above) in WELL_KNOWN.items()}

    @property
    def used(self) -> int:
        """Bytes in all folders a person sees."""
        return sum(each.letter.size for each in self.messages.values() if not each.folder.startswith("recoverable"))

    def folder(self, name: str) -> Folder | None:
        """Give the folder of this well-known name (any case) or id."""
        known = self.folders.get(name.lower())
        return known or next((each for each in self.folders.values() if each.id == name), None)

    def find(self, message_id: str) -> Message | None:
        """Give the message of this id, of either kind."""
        found = self.messages.get(message_id)
        return found or next((each for each in self.messages.values() if each.lasting_id == message_id), None)

    def within(self, folder: str) -> Iterator[Message]:
        """Give the messages of one folder, in no order that means anything."""
        return (each for each in self.messages.values() if each.folder == folder)

    def store(self, letter: Letter, folder: str, moment: float, *, is_read: bool = False) -> Message:
        """Put a letter into a folder at this moment (Unix seconds)."""
        self.version += 1
        prefix = "AAkALgAAAAAAHYQDEapmEc2byACqAC-EWg0A"
        message = Message(
            letter, new_id("AAMkAG", self.random), new_id(prefix, self.random, 12), folder, moment, moment, self.version, is_read=is_read
        )
        self._put(message)
        return message

    def move(self, message: Message, folder: str, moment: float) -> None:
        """Move a message: it gets a new id, and the old one is gone."""
        self._take_out(message)
        self.version += 1
        message.id, message.folder, message.changed, message.version = new_id("AAMkAG", self.random), folder, moment, self.version
        self._put(message)

    def delete(self, message: Message, moment: float) -> None:
        """Delete as a person does: to Deleted Items, and from there to Recoverable Items."""
        self.move(message, "recoverableitemsdeletions" if message.folder == "deleteditems" else "deleteditems", moment)

    def copy(self, message: Message, folder: str, moment: float) -> Message:
        """Put a copy into a folder."""
        copied = self.store(message.letter, folder, message.received, is_read=message.is_read)
        copied.flags, copied.changed = message.flags, moment
        return copied

    def mark(self, message: Message, flags: frozenset[str], moment: float, *, is_read: bool) -> None:
        """Note flags on a message; its place among the changes of its folder is the newest."""
        self.version += 1
        message.flags, message.is_read, message.changed, message.version = flags, is_read, moment, self.version
        self._tell()

    def purge(self, message: Message, moment: float) -> None:
        """Delete for good: to Purges, which no mail program shows."""
        self.move(message, "recoverableitemspurges", moment)

    def _put(self, message: Message) -> None:
        self.numbers[message.folder] = message.number = self.numbers.get(message.folder, 0) + 1
        self.messages[message.id] = message
        for old in sorted(self.within(message.folder), key=lambda each: each.number)[:-MOST]:
            self._take_out(old)
        self._tell()

    def _tell(self) -> None:
        for watcher in self.watchers:
            watcher()

    def _take_out(self, message: Message) -> None:
        self.version += 1
        if len(self.removals) == self.removals.maxlen:
            self.forgotten = self.removals[0].version
        self.removals.append(Removal(self.version, message.folder, message.id, message.lasting_id))
        del self.messages[message.id]
