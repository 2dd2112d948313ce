"""The search index over drives: it lags behind, and what is deleted is still found for a while."""

import re
from collections import deque
from dataclasses import dataclass
from typing import Any

from agent.drill.graph.drives import Drive, Item
from agent.drill.graph.items import item_as_graph
from agent.drill.world import World

LAG = 300.0
"""Seconds from a change to its being found, as people report of good days; hours have been seen."""
_CONTENT = 65_536
"""Bytes of a file that are read for words."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What the index knows of one file: how it was when it was read."""

    item_id: str
    drive_id: str
    url: str
    name: frozenset[str]
    content: frozenset[str]
    resource: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Change:
    moment: float
    item_id: str
    entry: Entry | None


def words(text: str) -> frozenset[str]:
    """Give the words of a text, as the index cuts them."""
    return frozenset(re.findall(r"[^\W_]+", text.lower()))


@dataclass(frozen=True, slots=True)
class Query:
    """What is looked for: words anywhere, words in the name, a file ending, a place. Everything given must fit."""

    anywhere: frozenset[str] = frozenset()
    name: frozenset[str] = frozenset()
    ending: str = ""
    place: str = ""


_TERM = re.compile(r'(?:(\w+):)?(?:"([^"]*)"|(\S+))')


def parsed(text: str) -> Query:
    """Read the part of the keyword query language that people use: words, quotes, filename:, filetype:, path:, AND."""
    parts: dict[str, str] = {"": "", "filename": "", "filetype": "", "path": ""}
    for key, quoted, plain in _TERM.findall(text):
        if key or (quoted or plain) != "AND":
            known = key.lower() if key.lower() in parts else ""
            parts[known] += f" {quoted or plain}"
    return Query(words(parts[""]), words(parts["filename"]), parts["filetype"].strip().lower(), parts["path"].strip().lower())


def _among(wanted: frozenset[str], there: frozenset[str]) -> bool:
    """Whether each wanted word begins one that is there."""
    return all(any(word.startswith(each) for word in there) for each in wanted)


def _fits(query: Query, entry: Entry) -> bool:
    return (
        _among(query.anywhere, entry.name | entry.content)
        and _among(query.name, entry.name)
        and str(entry.resource["name"]).lower().endswith(query.ending)
        and entry.url.lower().startswith(query.place)
    )


class Index:
    """The index of one world. `lag` (seconds) can be set at any time, also for what is already waiting."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.lag = LAG
        self._waiting: deque[_Change] = deque()
        self._known: dict[str, Entry] = {}

    def note(self, drive: Drive, item: Item, moment: float) -> None:
        """Note that a file was written or removed at this moment; it is found, or not any more, `lag` seconds later."""
        entry = _entry(drive, item) if item.id in drive.items and item.content is not None else None
        self._waiting.append(_Change(moment, item.id, entry))
        self._catch_up()

    def find(self, query: Query, drive_id: str | None = None) -> list[Entry]:
        """Find what is indexed by now, best first: a fit in the name comes before one in the content."""
        self._catch_up()
        found = [each for each in self._known.values() if drive_id in (None, each.drive_id) and _fits(query, each)]
        return sorted(found, key=lambda each: not _among(query.anywhere, each.name))

    def _catch_up(self) -> None:
        seen = self._world.now() - self.lag
        while self._waiting and self._waiting[0].moment <= seen:
            change = self._waiting.popleft()
            if change.entry:
                self._known[change.item_id] = change.entry
            else:
                self._known.pop(change.item_id, None)


def _entry(drive: Drive, item: Item) -> Entry:
    resource = item_as_graph(drive, item)
    text = (item.content or b"")[:_CONTENT]
    content = frozenset() if b"\0" in text else words(text.decode("utf-8", "ignore"))
    return Entry(item.id, drive.id, resource["webUrl"], words(item.name), content, resource)
