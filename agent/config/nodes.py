"""The tree of one YAML file: small frozen nodes that know their place. Aliases share nodes, so a tree is never larger than its file."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from agent.config.scalars import Value

Path: TypeAlias = tuple[str | int, ...]
"""Keys and indices that lead from a node to one beneath it."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """One word. `trap` says why it must not be used as it is written, or is empty; `quoted` words are always text."""

    line: int
    column: int
    value: Value
    text: str
    quoted: bool = False
    trap: str = ""

    @property
    def size(self) -> int:
        """Nodes, counted as if aliases were written out."""
        return 1

    @property
    def height(self) -> int:
        """Levels of lists and blocks."""
        return 0


@dataclass(frozen=True, slots=True)
class Sequence:
    """A list."""

    line: int
    column: int
    items: "tuple[Node, ...]"
    size: int
    height: int


@dataclass(frozen=True, slots=True)
class Mapping:
    """Keys and values in the order of the file; `keys` has the place of each key."""

    line: int
    column: int
    values: "dict[str, Node]"
    keys: dict[str, Scalar]
    size: int
    height: int


Node: TypeAlias = Scalar | Sequence | Mapping


def plain(node: Node) -> Any:
    """Return dicts, lists and values, aliases written out."""
    if isinstance(node, Scalar):
        return node.value
    if isinstance(node, Sequence):
        return [plain(item) for item in node.items]
    return {key: plain(value) for key, value in node.values.items()}


def scalars(node: Node, path: Path = ()) -> Iterator[tuple[Path, Scalar]]:
    """Find the words beneath a node."""
    if isinstance(node, Scalar):
        yield path, node
    elif isinstance(node, Sequence):
        for index, item in enumerate(node.items):
            yield from scalars(item, (*path, index))
    else:
        for key, value in node.values.items():
            yield from scalars(value, (*path, key))


def traps(node: Node) -> Iterator[tuple[Path, Scalar]]:
    """Find the words beneath a node that must not be used as they are written."""
    return ((path, word) for path, word in scalars(node) if word.trap)


def child(node: Node, step: str | int) -> Node | None:
    """Return the node one step beneath, or None."""
    if isinstance(node, Mapping) and isinstance(step, str):
        return node.values.get(step)
    if isinstance(node, Sequence) and isinstance(step, int) and 0 <= step < len(node.items):
        return node.items[step]
    return None


def written(path: Path) -> str:
    """Return a path as people write it: `dialogue[2].send`."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".")
