"""The files of a configuration: which they are, their bytes, and a digest by which a change of content is seen."""

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from agent.config.mistakes import START, Notes, Page
from agent.config.secrets import SecretError, read
from probes.core.contract import Secret

LARGEST_BYTES = 10_000_000
"""Largest file read; ten thousand probes take a sixth of it."""
LARGEST_FOLDER_BYTES = 50_000_000
MOST_FILES = 1_000
WHERE = "file"


@dataclass(frozen=True, slots=True)
class Source:
    """One file. `data` is None where it could not be read; the mistake is noted then."""

    path: Path
    data: bytes | None


def read_all(path: Path, notes: Notes) -> tuple[Source, ...]:
    """Read a file, or the `*.yml` files of a folder in the order of their names."""
    # Unlike this one, `Path.is_dir` raises where a folder above cannot be searched, or a network's file handle is stale.
    if not os.path.isdir(path):  # noqa: PTH112
        return (_read(path, notes),)
    sources, size = [], 0
    for file in _listed(path, notes):
        sources.append(_read(file, notes))
        size += len(sources[-1].data or b"")
        if size > LARGEST_FOLDER_BYTES:
            what = f"its *.yml files together are larger than a configuration can be ({LARGEST_FOLDER_BYTES // 1_000_000} MB)"
            Page(str(path), notes).mistake(START, WHERE, what)
            break
    return tuple(sources)


def digest(sources: Iterable[Source], secrets: Iterable[Secret]) -> str:
    """Return what differs when the content of a file or secret differs. It is no more secret than the secrets; show it to nobody."""
    content = hashlib.sha256()
    for source in sources:
        data = source.data if source.data is not None else b"unreadable"
        _add(content, str(source.path).encode("utf-8", "surrogateescape"), data)
    for secret in dict.fromkeys(secrets):
        _add(content, repr((secret.env, secret.file)).encode("utf-8", "backslashreplace"), _value(secret))
    return content.hexdigest()


def _add(content: "hashlib._Hash", *parts: bytes) -> None:
    for part in parts:
        content.update(b"%d:" % len(part))
        content.update(part)


def _value(secret: Secret) -> bytes:
    try:
        return read(secret).encode("utf-8", "backslashreplace")
    except SecretError as error:
        return f"cannot be read: {error}".encode()


def _listed(folder: Path, notes: Notes) -> Iterator[Path]:
    page = Page(str(folder), notes)
    try:
        names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        page.mistake(START, WHERE, f"this folder cannot be read: {error.strerror or 'no reason given'}")
        return
    for name in names:
        if name.endswith(".yaml"):
            Page(str(folder / name), notes).mistake(
                START, WHERE, "of a folder only *.yml files are read; rename this one to .yml, or move it away"
            )
    files = [folder / name for name in names if name.endswith(".yml")]
    if not files:
        page.mistake(START, WHERE, "no *.yml file in this folder")
    if len(files) > MOST_FILES:
        page.mistake(START, WHERE, f"more than {MOST_FILES:,} *.yml files in this folder")
        return
    yield from files


def _read(path: Path, notes: Notes) -> Source:
    page = Page(str(path), notes)
    try:
        return Source(path, _content(path, page))
    except FileNotFoundError:
        page.mistake(START, WHERE, "a link to a file that does not exist" if path.is_symlink() else "there is no such file or folder")
    except OSError as error:
        page.mistake(START, WHERE, f"cannot be read: {error.strerror or 'no reason given'}")
    except ValueError:
        page.mistake(START, WHERE, "not the path of a file")
    return Source(path, None)


def _content(path: Path, page: Page) -> bytes | None:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        page.mistake(START, WHERE, "a folder, where a file has to be" if stat.S_ISDIR(status.st_mode) else "a device or pipe, not a file")
        return None
    with path.open("rb") as file:
        data = file.read(LARGEST_BYTES + 1) if status.st_size <= LARGEST_BYTES else b""
    if status.st_size > LARGEST_BYTES or len(data) > LARGEST_BYTES:
        page.mistake(START, WHERE, f"larger than a configuration can be ({LARGEST_BYTES // 1_000_000} MB)")
        return None
    return data
