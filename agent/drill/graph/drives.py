"""What lies in sites and drives: folders, files, versions, the recycle bin, locks, room left.

It knows neither Graph's JSON nor HTTP.
"""

import base64
import hashlib
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random

TERABYTE = 2**40

_HASH_BITS = 160
_HASH_SHIFT = 11


def quick_xor_hash(content: bytes) -> str:
    """Give the quickXorHash of a file in base64, by Microsoft's published algorithm.

    Byte i is mixed in at bit 11 * i of a ring of 160 bits, then the length into the last 8 bytes. As 11 * 160 is a multiple of
    160, bytes 160 apart meet at the same place and can be folded first.
    """
    folded = 0
    for start in range(0, len(content), _HASH_BITS):
        folded ^= int.from_bytes(content[start : start + _HASH_BITS], "little")
    ring = 0
    for index, byte in enumerate(folded.to_bytes(_HASH_BITS, "little")):
        ring ^= byte << (_HASH_SHIFT * index % _HASH_BITS)
    ring = (ring & (2**_HASH_BITS - 1)) ^ (ring >> _HASH_BITS)
    ring ^= len(content) << (_HASH_BITS - 64)
    return base64.b64encode(ring.to_bytes(_HASH_BITS // 8, "little")).decode()


@dataclass(slots=True)
class Item:
    """A file (`content` is bytes) or a folder (`content` is None). `locked` answers 423 to every change."""

    id: str
    guid: str
    name: str
    parent: str | None
    created: float
    modified: float
    content: bytes | None
    media_type: str = "application/octet-stream"
    author: str = ""
    revision: int = 1
    content_revision: int = 1
    locked: bool = False

    @property
    def size(self) -> int:
        """Bytes of a file; a folder has none of its own."""
        return len(self.content or b"")

    @property
    def etag(self) -> str:
        """Changes with every change of the item."""
        return f'"{{{self.guid}}},{self.revision}"'

    @property
    def ctag(self) -> str:
        """Changes with the content only."""
        return f'"c:{{{self.guid}}},{self.content_revision}"'

    @property
    def sha256(self) -> str:
        """SHA-256 of the content, in capitals as Graph writes it."""
        return hashlib.sha256(self.content or b"").hexdigest().upper()


@dataclass(frozen=True, slots=True)
class Site:
    """One SharePoint site; `path` is "" for the root site."""

    host: str
    path: str
    name: str
    collection: str
    web: str
    created: float

    @property
    def id(self) -> str:
        """Host, site collection and web, with commas, as Graph names a site."""
        return f"{self.host},{self.collection},{self.web}"

    @property
    def url(self) -> str:
        """Where people open it."""
        return f"https://{self.host}{self.path}"


def new_item_id(random: Random) -> str:
    """Give an item's identifier as SharePoint makes them: 34 characters of base32."""
    return "01" + base64.b32encode(random.randbytes(20)).decode()


def new_guid(random: Random) -> str:
    """Give a GUID from the world's own chance."""
    return str(uuid.UUID(int=random.getrandbits(128), version=4))


@dataclass(slots=True)
class Drive:
    """One document library. `quota` (bytes) can be set at any time; `noted` is told of every change of a file."""

    id: str
    url: str
    kind: str
    owner: str
    created: float
    random: Random
    noted: Callable[["Drive", Item, float], None]
    site: Site | None = None
    quota: int = TERABYTE
    items: dict[str, Item] = field(default_factory=dict)
    recycled: deque[Item] = field(default_factory=lambda: deque(maxlen=1000))
    """The recycle bin, newest last; it forgets the oldest, so that a long run does not grow."""

    def __post_init__(self) -> None:
        self._add("root", None, None, self.created)

    @property
    def root(self) -> Item:
        """The folder all others lie in."""
        return next(each for each in self.items.values() if each.parent is None)

    @property
    def used(self) -> int:
        """Bytes in all files; SharePoint counts the recycle bin too."""
        return sum(each.size for each in self.items.values()) + self.in_bin

    @property
    def in_bin(self) -> int:
        """Bytes in the recycle bin."""
        return sum(each.size for each in self.recycled)

    def children(self, folder: Item) -> Iterator[Item]:
        """Give what lies directly in a folder."""
        return (each for each in self.items.values() if each.parent == folder.id)

    def below(self, folder: Item) -> Iterator[Item]:
        """Every file in a folder, however deep."""
        for each in self.children(folder):
            if each.content is None:
                yield from self.below(each)
            else:
                yield each

    def child(self, folder: Item, name: str) -> Item | None:
        """Give the item of this name in a folder; SharePoint ignores case."""
        return next((each for each in self.children(folder) if each.name.lower() == name.lower()), None)

    def at(self, path: str) -> Item | None:
        """Give the item at a path below the root, "" and "/" being the root itself."""
        item: Item | None = self.root
        for name in filter(None, path.split("/")):
            item = self.child(item, name) if item else None
        return item

    def path_of(self, item: Item) -> str:
        """Path below the root, without a leading slash; "" for the root."""
        if item.parent is None:
            return ""
        return f"{self.path_of(self.items[item.parent])}/{item.name}".lstrip("/")

    def folder_for(self, path: str, now: float) -> Item:
        """Give the folder at a path, made with all above it where it is not there, as an upload does."""
        folder = self.root
        for name in filter(None, path.split("/")):
            folder = self.child(folder, name) or self._add(name, folder, None, now)
        return folder

    def write(self, path: str, content: bytes, now: float, *, media_type: str, author: str) -> tuple[Item, bool]:
        """Put a file at a path, and whether it is new there."""
        above, _, name = path.strip("/").rpartition("/")
        folder = self.folder_for(above, now)
        item = self.child(folder, name)
        if new := item is None:
            item = self._add(name, folder, content, now)
        else:
            item.content, item.modified = content, now
            item.revision += 1
            item.content_revision += 1
        item.media_type, item.author = media_type, author
        self.noted(self, item, now)
        return item, new

    def free_name(self, path: str) -> str:
        """Give the path with a number behind the name, the first that is free: what conflictBehavior rename asks for."""
        stem, dot, ending = path.rpartition(".") if "." in path.rpartition("/")[2] else (path, "", "")
        return next(name for number in range(1, 10_000) if self.at(name := f"{stem} {number}{dot}{ending}") is None)

    def remove(self, item: Item, now: float, *, for_good: bool) -> None:
        """Remove an item and what lies in it, to the recycle bin or for good."""
        for each in list(self.children(item)):
            self.remove(each, now, for_good=for_good)
        del self.items[item.id]
        if not for_good:
            self.recycled.append(item)
        self.noted(self, item, now)

    def _add(self, name: str, folder: Item | None, content: bytes | None, now: float) -> Item:
        guid = new_guid(self.random).upper()
        item = Item(new_item_id(self.random), guid, name, folder.id if folder else None, now, now, content)
        self.items[item.id] = item
        return item
