"""Bytes of one YAML file to a tree, in one pass over libyaml's events.

Events do not recurse; PyYAML's own composer does, in C, and dies of a segmentation fault on a million brackets. So nothing here composes:
depth, size, aliases, tags and duplicate keys are judged as the events come.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml

from agent.config.mistakes import START, Page, Positioned, Spot, shown
from agent.config.nodes import Mapping, Node, Scalar, Sequence
from agent.config.scalars import typed
from agent.config.text import Unreadable, decoded, in_words, within

DEPTH = 64
"""Deepest nesting read."""
NODES = 1_000_000
"""Most nodes of one file, aliases counted as if written out."""

_TOO_DEEP = f"nested deeper than {DEPTH} levels"
_STANDARD = "tag:yaml.org,2002:"
_SCALAR_TAGS = {"str": str, "int": int, "float": float, "bool": bool, "null": type(None)}


@dataclass(slots=True)
class _Open:
    """A list or mapping whose end has not come yet."""

    at: Spot
    is_mapping: bool
    anchor: str | None
    items: list[Node] = field(default_factory=list)
    values: dict[str, Node] = field(default_factory=dict)
    keys: dict[str, Scalar] = field(default_factory=dict)
    merged: list[Mapping] = field(default_factory=list)
    key: Scalar | None = None
    key_is_wrong: bool = False
    size: int = 1
    height: int = 0

    def grow(self, node: Node, at: Positioned) -> None:
        """Count a node in."""
        self.height = max(self.height, node.height)
        self.size += node.size
        if self.size > NODES:
            raise Unreadable(at, f"more than {NODES:,} values, counting what aliases repeat")


@dataclass(slots=True)
class _Builder:
    """What is known of a file while its events come."""

    page: Page
    open: list[_Open] = field(default_factory=list)
    anchors: dict[str, Node | None] = field(default_factory=dict)
    root: Node | None = None

    def start(self, event: yaml.CollectionStartEvent) -> None:
        at, is_mapping = _spot(event), isinstance(event, yaml.MappingStartEvent)
        if len(self.open) >= DEPTH:
            raise Unreadable(at, _TOO_DEEP)
        self._check_tag(event.tag, at, {"map"} if is_mapping else {"seq"})
        if event.anchor:
            self.anchors[event.anchor] = None
        self.open.append(_Open(at, is_mapping, event.anchor))

    def end(self) -> None:
        ended = self.open.pop()
        node = (
            _mapping(ended)
            if ended.is_mapping
            else Sequence(ended.at.line, ended.at.column, tuple(ended.items), ended.size, ended.height + 1)
        )
        self._finish(node, ended.anchor)

    def scalar(self, event: yaml.ScalarEvent) -> None:
        at, quoted = _spot(event), not event.implicit[0]
        value, trap = (event.value, "") if quoted else typed(event.value)
        node = Scalar(at.line, at.column, value, event.value, quoted, trap)
        if event.tag:
            node = self._tagged(node, event.tag)
        self._finish(node, event.anchor)

    def alias(self, event: yaml.AliasEvent) -> None:
        at = _spot(event)
        if event.anchor not in self.anchors:
            raise Unreadable(at, "refers to an anchor that is not defined above; a text that begins with * needs quotes")
        node = self.anchors[event.anchor]
        if node is None:
            raise Unreadable(at, "an alias inside of what it refers to")
        self._place(node, at)

    def _finish(self, node: Node, anchor: str | None) -> None:
        if anchor:
            self.anchors[anchor] = node
        self._place(node, node)

    def _place(self, node: Node, at: Positioned) -> None:
        if len(self.open) + node.height > DEPTH:
            raise Unreadable(at, _TOO_DEEP)
        if not self.open:
            self.root = node
            return
        parent = self.open[-1]
        if not parent.is_mapping:
            parent.items.append(node)
        elif parent.key is None and not parent.key_is_wrong:
            self._key(parent, node, at)
            return
        else:
            self._value(parent, node, at)
        parent.grow(node, at)

    def _key(self, parent: _Open, node: Node, at: Positioned) -> None:
        if isinstance(node, Scalar) and isinstance(node.value, str) and not node.trap:
            parent.key = Scalar(at.line, at.column, node.value, node.text, node.quoted)
            return
        parent.key_is_wrong = True
        self.page.mistake(at, "YAML", _wrong_key(node))

    def _value(self, parent: _Open, node: Node, at: Positioned) -> None:
        key, parent.key, parent.key_is_wrong = parent.key, None, False
        if key is None:
            return
        if key.text == "<<" and not key.quoted:
            self._merge(parent, node, at)
        elif key.text in parent.values:
            first = parent.keys[key.text]
            self.page.mistake(key, "YAML", f"the key {shown(key.text)} stands here a second time; the first is in line {first.line}")
        else:
            parent.values[key.text], parent.keys[key.text] = node, key

    def _merge(self, parent: _Open, node: Node, at: Positioned) -> None:
        for part in node.items if isinstance(node, Sequence) else (node,):
            if isinstance(part, Mapping):
                parent.grow(part, at)
                parent.merged.append(part)
            else:
                self.page.mistake(at, "YAML", "`<<` takes in a block of keys, or a list of them, such as `<<: *name`")

    def _tagged(self, node: Scalar, tag: str) -> Scalar:
        self._check_tag(tag, node, set(_SCALAR_TAGS))
        short = tag.removeprefix(_STANDARD)
        if short not in _SCALAR_TAGS or short == "str":
            return Scalar(node.line, node.column, node.text, node.text, quoted=True)
        value, trap = typed(node.text)
        if type(value) is not _SCALAR_TAGS[short]:
            self.page.spoilt(node, "YAML", f"marked as {short}, and is not")
        return Scalar(node.line, node.column, value, node.text, quoted=False, trap=trap)

    def _check_tag(self, tag: str | None, at: Positioned, known: set[str]) -> None:
        if tag is None or tag == "!" or (tag.startswith(_STANDARD) and tag.removeprefix(_STANDARD) in known):
            return
        self.page.spoilt(
            at,
            "YAML",
            "tags are not used here; a secret is written {env: NAME} or {file: PATH}, and a text that begins with ! in quotes",
        )


def parse(data: bytes, page: Page) -> Mapping | None:
    """Return the tree of a file, or None where it cannot be understood at all; what is wrong is noted on the page."""
    try:
        text = decoded(data)
        return _root(_build(text, page))
    except Unreadable as error:
        page.mistake(error.at, "YAML", error.what)
    except yaml.MarkedYAMLError as error:
        what, mark = in_words(error)
        page.mistake(within(text, mark), "YAML", what)
    return None


def _build(text: str, page: Page) -> _Builder:
    builder, documents = _Builder(page), 0
    for event in _events(text):
        if isinstance(event, yaml.ScalarEvent):
            builder.scalar(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            builder.end()
        elif isinstance(event, yaml.CollectionStartEvent):
            builder.start(event)
        elif isinstance(event, yaml.AliasEvent):
            builder.alias(event)
        elif isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise Unreadable(_spot(event), "a second document begins here; one file holds one, so remove the `---` or split the file")
    return builder


def _events(text: str) -> Iterator[yaml.Event]:
    return yaml.parse(text, Loader=yaml.CSafeLoader)


def _root(builder: _Builder) -> Mapping:
    root = builder.root
    if root is None or (isinstance(root, Scalar) and root.value is None):
        raise Unreadable(START, "the file is empty; a configuration has at least the key `probes`")
    if not isinstance(root, Mapping):
        raise Unreadable(root, "a configuration is a block of keys: state_dir, defaults, tenants, probes")
    return root


def _mapping(ended: _Open) -> Mapping:
    for part in ended.merged:
        for key, value in part.values.items():
            if key not in ended.values:
                ended.values[key], ended.keys[key] = value, part.keys[key]
    return Mapping(ended.at.line, ended.at.column, ended.values, ended.keys, ended.size, ended.height + 1)


def _wrong_key(node: Node) -> str:
    if isinstance(node, Scalar) and isinstance(node.value, bool):
        return f'{shown(node.text)} is the boolean {str(node.value).lower()} in YAML, and a key is text: write "{node.text}" in quotes'
    if isinstance(node, Scalar):
        return "a key is text; write a number or an empty word in quotes"
    return "a key is text, not a list or a block; a text that begins with { or [ needs quotes"


def _spot(event: yaml.Event) -> Spot:
    mark = event.start_mark
    return START if mark is None else Spot(mark.line + 1, mark.column + 1)
