"""One block of a file to one settings model: read strictly, secrets and paths put in order, everything wrong noted at its place."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path as Folder
from typing import Any, Generic, TypeVar, get_origin

from pydantic import BaseModel, ValidationError

from agent.config.mistakes import Page
from agent.config.nodes import Mapping, Node, Path, Scalar, child, plain, scalars, traps
from agent.config.secrets import SecretError, beginning, has_password, is_sensitive, read
from agent.config.wording import SECRET, findings, keys_of, models_in, place
from probes.core.contract import FilePath, Secret

_M = TypeVar("_M", bound=BaseModel)
_INLINE = "a secret written in place; name where it is found instead: {env: NAME} or {file: PATH}"


@dataclass(frozen=True, slots=True)
class Reading:
    """How the blocks of one file are read.

    `folder` is where relative paths begin; `secrets` says whether files and secrets are looked for; `known` is why each one met so far
    cannot be read, or "".
    """

    page: Page
    folder: Folder
    secrets: bool
    known: dict[Secret | FilePath, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Read(Generic[_M]):
    """A model, the canonical JSON it was read from, and the secrets it names."""

    value: _M
    text: str
    secrets: tuple[Secret, ...]


def read_model(
    model: type[_M], node: Mapping, reading: Reading, where: str, *, also: Iterable[str] = (), data: Any = None
) -> Read[_M] | None:
    """Read a block, or note everything that is wrong with it and return None.

    `data` is the plain form of the node, or of a part of its keys; `also` are the keys of the other part.
    """
    given = plain(node) if data is None else data
    try:
        value = _accepted(model, given, node)
    except ValidationError as error:
        for finding in findings(error, node, model, also):
            reading.page.mistake(finding.at, place(where, finding.path), finding.what)
        return None
    _warn_of_texts(model, node, reading, where)
    found = tuple(_outside(value))
    right = [_is_right(named, path, node, reading, where) for path, named in found]
    if not all(right):
        return None
    if _made_absolute(found, given, reading.folder):
        value = model.model_validate_json(canonical(given), strict=True)
    return Read(value, canonical(given), tuple(secret for _, secret in secrets_in(value)))


def canonical(data: Any) -> str:
    """Return JSON that is equal for equal data."""
    return json.dumps(data, separators=(",", ":"), sort_keys=True)


def note_traps(node: Node, reading: Reading, where: str) -> bool:
    """Note the words that must not be used as they are written, and say whether there are any."""
    found = False
    for path, word in traps(node):
        reading.page.spoilt(word, place(where, path), word.trap)
        found = True
    return found


def secrets_in(value: object) -> Iterator[tuple[Path, Secret]]:
    """Find the secrets that were written in a settings value, each with its path in the file; defaults hold none."""
    return ((path, named) for path, named in _outside(value) if isinstance(named, Secret))


def _outside(value: object, path: Path = ()) -> Iterator[tuple[Path, Secret | FilePath]]:
    """Find what was written in a settings value and lies outside of it: secrets and files."""
    if isinstance(value, Secret | FilePath):
        yield path, value
        return
    for step, item in _below(value):
        if isinstance(item, BaseModel | FilePath | tuple | list | dict):
            yield from _outside(item, (*path, step))


def _below(value: object) -> Iterable[tuple[str | int, object]]:
    if isinstance(value, BaseModel):
        written = value.model_fields_set
        return [(info.alias or name, getattr(value, name)) for name, info in type(value).model_fields.items() if name in written]
    if isinstance(value, dict):
        return value.items()
    return enumerate(value) if isinstance(value, tuple | list) else ()


def _accepted(model: type[_M], given: Any, node: Mapping) -> _M:
    try:
        return model.model_validate_json(canonical(given), strict=True)
    except ValidationError as error:
        if not _put_inline(error, given, node):
            raise
    return _accepted(model, given, node)


def _warn_of_texts(model: type[BaseModel], node: Mapping, reading: Reading, where: str) -> None:
    """Warn of secrets in texts: a password in a URL; a text beside secrets whose key says that it is one, such as Authorization."""
    own = {key for key, _ in keys_of(model)}
    for path, found in scalars(node):
        if path[0] in own and isinstance(found.value, str) and has_password(found.value):
            reading.page.warning(found, place(where, path), _INLINE)
    for key in _keys_with_secrets(model):
        block = node.values.get(key)
        if not isinstance(block, Mapping):
            continue
        for name, word in block.values.items():
            if isinstance(word, Scalar) and is_sensitive(name):
                reading.page.warning(word, place(where, (key, name)), _INLINE)


@cache
def _keys_with_secrets(model: type[BaseModel]) -> tuple[str, ...]:
    return tuple(key for key, annotation in keys_of(model) if get_origin(annotation) is dict and Secret in models_in(annotation))


def _put_inline(error: ValidationError, given: Any, node: Mapping) -> bool:
    """Turn texts where a secret is wanted into secrets written in place; say whether there was one."""
    done = False
    for found in error.errors(include_url=False, include_input=False):
        if found.get("ctx", {}).get("class_name") == Secret.__name__:
            done |= _put(given, node, found["loc"])
    return done


def _put(given: Any, node: Node, path: Path) -> bool:
    for step in path[:-1]:
        below = child(node, step)
        if below is None:
            return False
        node, given = below, given[step]
    word = child(node, path[-1])
    if not isinstance(word, Scalar) or not isinstance(given[path[-1]], str):
        return False
    given[path[-1]] = {"inline": word.value}
    return True


def _is_right(named: Secret | FilePath, path: Path, node: Node, reading: Reading, where: str) -> bool:
    if isinstance(named, Secret):
        return _is_right_secret(named, path, node, reading, where)
    return _is_there(_absolute(named, reading.folder), _at(node, path), place(where, path), reading)


def _is_right_secret(secret: Secret, path: Path, node: Node, reading: Reading, where: str) -> bool:
    at = _at(node, path)
    given = [way for way in (secret.env, secret.file, secret.inline) if way is not None]
    if len(given) != 1:
        reading.page.mistake(at, place(where, path), f"must be {SECRET}" + (", not both" if given else ""))
        return False
    if secret.inline is not None:
        reading.page.warning(at, place(where, path), _INLINE)
        return True
    at = _at(node, (*path, "env" if secret.env is not None else "file"))
    return _is_there(_absolute(secret, reading.folder), at, place(where, path), reading)


def _is_there(named: Secret | FilePath, at: Node, where: str, reading: Reading) -> bool:
    """Tell whether a secret or file can be read, and note why not. An agent that is only asked about its settings does not look."""
    problem = _problem(named, reading.known) if reading.secrets else ""
    if problem:
        reading.page.mistake(at, where, problem)
    return not problem


def _problem(named: Secret | FilePath, known: dict[Secret | FilePath, str]) -> str:
    """Return why a secret or file cannot be read, or ""."""
    if named not in known:
        try:
            if isinstance(named, Secret):
                read(named)
            else:
                beginning(named, 1)
            known[named] = ""
        except SecretError as error:
            known[named] = str(error)
    return known[named]


def _absolute(named: Secret | FilePath, folder: Folder) -> Secret | FilePath:
    if isinstance(named, FilePath):
        return FilePath(folder / named)
    return named if named.file is None else Secret(file=str(folder / named.file))


def _made_absolute(found: Iterable[tuple[Path, Secret | FilePath]], given: Any, folder: Folder) -> bool:
    """Write paths in full into the plain data; say whether any changed."""
    changed = False
    for path, named in found:
        full = _absolute(named, folder)
        if full != named:
            *above, last = (*path, "file") if isinstance(named, Secret) else path
            block = given
            for step in above:
                block = block[step]
            block[last], changed = (full.file if isinstance(full, Secret) else str(full)), True
    return changed


def _at(node: Node, path: Path) -> Node:
    for step in path:
        below = child(node, step)
        if below is None:
            break
        node = below
    return node
