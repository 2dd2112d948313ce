"""Files to a configuration: everything in them is read and judged before the first mistake is told."""

import gc
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from agent.config.configuration import Built, Configuration
from agent.config.document import parse
from agent.config.entries import Registry, Rules, read_entry
from agent.config.files import Source, digest, read_all
from agent.config.keys import Defaults, named
from agent.config.masked import shown as shown_without_secrets
from agent.config.mistakes import MISTAKES_SHOWN, START, Notes, Page, Positioned, in_order, meant, shown
from agent.config.models import Reading, note_traps, read_model
from agent.config.nodes import Mapping, Node, Scalar, Sequence
from probes import REGISTRY
from probes.core.contract import FilePath, Secret
from probes.lib.tenant import Tenant

TOP = ("state_dir", "defaults", "tenants", "probes")
_NO_PROBE = "no probe is configured; `probes:` needs at least one entry"


@dataclass(frozen=True, slots=True)
class _File:
    """One file that could be understood."""

    root: Mapping
    reading: Reading


@dataclass(slots=True)
class _Draft:
    """What has been found in the files so far.

    `known` is why each secret or file that was met cannot be read, or ""; `first` says where each name and top-level key was met first.
    """

    files: tuple[_File, ...]
    complete: bool
    notes: Notes
    known: dict[Secret | FilePath, str]
    first: dict[tuple[str, str], str] = field(default_factory=dict)
    secrets: dict[Secret, None] = field(default_factory=dict)

    def is_first(self, sort: str, name: str, file: _File, at: Positioned) -> str:
        """Return "" where a name is met for the first time, else where it was met before."""
        here = f"{file.reading.page.file}:{at.line}"
        before = self.first.setdefault((sort, name), here)
        return "" if before == here else before


def load(path: Path | str, *, registry: Registry = REGISTRY, secrets: bool = True) -> Configuration:
    """Read a file, or all `*.yml` files of a folder.

    Where `secrets` is false, the secrets and files that the configuration names are not looked for.

    Raises:
        ConfigurationError: with every mistake in it.

    """
    with _no_collection():
        return _loaded(Path(path), registry, secrets=secrets)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keep the collector off: a tree has no cycles, and looking for them takes longer than reading it."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _loaded(path: Path, registry: Registry, *, secrets: bool) -> Configuration:
    notes = Notes()
    sources = read_all(path, notes)
    draft = _drafted(sources, notes, secrets=secrets)
    state_dir = _state_dir(draft)
    defaults = _defaults(draft)
    tenants = _tenants(draft)
    built = _probes(
        draft, Rules(registry, defaults, tenants.keys() if draft.complete else None, state_dir is not None or not draft.complete)
    )
    notes.raise_if_any(tuple(_followed(named) for named in draft.known))
    right = {name: tenant for name, tenant in tenants.items() if tenant is not None}
    secrets_named = tuple(draft.secrets)
    return Configuration(
        built,
        tuple(one.job for one in built),
        right,
        state_dir,
        in_order(notes.warnings)[:MISTAKES_SHOWN],
        tuple(source.path for source in sources),
        secrets_named,
        digest(sources, secrets_named if secrets else ()),
        shown_without_secrets(state_dir, right, built),
    )


def _drafted(sources: Iterable[Source], notes: Notes, *, secrets: bool) -> _Draft:
    files, complete = [], True
    known: dict[Secret | FilePath, str] = {}
    for source in sources:
        page = Page(str(source.path), notes)
        root = None if source.data is None else parse(source.data, page)
        complete = complete and root is not None
        if root is not None:
            files.append(_File(root, Reading(page, source.path.absolute().parent, secrets, known)))
    draft = _Draft(tuple(files), complete, notes, known)
    for file in draft.files:
        _look_at_top(file, draft)
    return draft


def _look_at_top(file: _File, draft: _Draft) -> None:
    page = file.reading.page
    for name, key in file.root.keys.items():
        if name not in TOP and not name.startswith("x-"):
            hint = meant(name, TOP) or f"; known are {', '.join(TOP)}, and keys of your own that begin with x-"
            page.mistake(key, name, f"unknown key{hint}")
        if name in {"state_dir", "defaults"} and (before := draft.is_first("key", name, file, key)):
            page.mistake(key, name, f"given twice, first in {before}")


def _state_dir(draft: _Draft) -> str | None:
    for file in draft.files:
        node = file.root.values.get("state_dir")
        if isinstance(node, Scalar) and isinstance(node.value, str) and node.value and "\0" not in node.value:
            return str(file.reading.folder / node.value)
        if node is not None:
            file.reading.page.mistake(node, "state_dir", "must be the path of a folder")
    return None


def _defaults(draft: _Draft) -> Defaults:
    for file in draft.files:
        node = file.root.values.get("defaults")
        if node is None or _is_nothing(node):
            continue
        if not isinstance(node, Mapping):
            file.reading.page.mistake(node, "defaults", "must be a block of keys, such as {interval: 60s}")
        elif not note_traps(node, file.reading, "defaults"):
            read = read_model(Defaults, node, file.reading, "defaults")
            return Defaults() if read is None else read.value
    return Defaults()


def _tenants(draft: _Draft) -> dict[str, Tenant | None]:
    """Return the tenants by name; None for one with a mistake, so that a probe that names it is not wrong as well."""
    tenants: dict[str, Tenant | None] = {}
    for file in draft.files:
        node = file.root.values.get("tenants")
        if node is None or _is_nothing(node):
            continue
        if not isinstance(node, Mapping):
            file.reading.page.mistake(node, "tenants", "must be a block with a key for each tenant")
            continue
        for name, value in node.values.items():
            if _may_be_called(name, node.keys[name], file, draft):
                tenants[name] = _tenant(name, value, file, draft)
    return tenants


def _may_be_called(name: str, key: Scalar, file: _File, draft: _Draft) -> bool:
    before = draft.is_first("tenant", name, file, key)
    if before:
        file.reading.page.mistake(key, f"tenants.{name}", f"a second tenant of this name; the first is in {before}")
        return False
    try:
        named(name)
    except ValueError as error:
        file.reading.page.mistake(key, f"tenants.{name}", f"the name {error}")
    return True


def _tenant(name: str, node: Node, file: _File, draft: _Draft) -> Tenant | None:
    where = f"tenants.{name}"
    if not isinstance(node, Mapping):
        file.reading.page.mistake(node, where, "must be a block of keys: tenant_id, client_id, credential")
        return None
    if note_traps(node, file.reading, where):
        return None
    read = read_model(Tenant, node, file.reading, where)
    if read is None:
        return None
    draft.secrets.update(dict.fromkeys(read.secrets))
    return read.value


def _probes(draft: _Draft, rules: Rules) -> tuple[Built, ...]:
    built: list[Built] = []
    seen = False
    for file in draft.files:
        node = file.root.values.get("probes")
        if node is None or _is_nothing(node):
            continue
        if not isinstance(node, Sequence):
            seen = True
            file.reading.page.mistake(node, "probes", "must be a list: each entry begins with `- name:`")
            continue
        for index, entry in enumerate(node.items):
            seen = True
            one = _probe(entry, index, file, draft, rules)
            if one is not None:
                built.append(one)
                draft.secrets.update(dict.fromkeys(one.secrets))
    if not seen and draft.complete and draft.files:
        draft.files[0].reading.page.mistake(START, "probes", _NO_PROBE)
    return tuple(built)


def _probe(entry: Node, index: int, file: _File, draft: _Draft, rules: Rules) -> Built | None:
    name = entry.values.get("name") if isinstance(entry, Mapping) else None
    if not isinstance(name, Scalar) or not isinstance(name.value, str):
        return read_entry(entry, f"probes[{index}]", file.reading, rules)
    where = f"probes[{shown(name.value)[1:-1]}]"
    if before := draft.is_first("probe", name.value, file, name):
        file.reading.page.mistake(name, f"{where}.name", f"a second probe of this name; the first is in {before}")
    return read_entry(entry, where, file.reading, rules)


def _followed(named: Secret | FilePath) -> Secret:
    """Return what a reload looks out for; a file that has to appear is followed as a secret would be."""
    return Secret(file=named) if isinstance(named, FilePath) else named


def _is_nothing(node: Node) -> bool:
    return isinstance(node, Scalar) and node.value is None
