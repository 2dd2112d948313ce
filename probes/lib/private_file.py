"""A small file for its owner alone, written whole or not at all, in a folder that is made for it.

Root may write it for another: `fogbell login` may run under sudo, and the agent has to read the file and write it again. Whoever owns the
folder above could put a link in the way, so no link is followed below that, and what is given away is what was opened.
"""

import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from secrets import token_hex

_LEFT_OVER = re.compile(r"\..+\.[0-9a-z_]{8,}")
_LEFT_OVER_SECONDS = 60.0
# A file beside the one that is written, which a process that was killed has left: writing takes no such time.
_POSIX = os.name == "posix"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC if _POSIX else 0
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | (os.O_NOFOLLOW | os.O_CLOEXEC if _POSIX else 0)


def read(path: Path, most: int) -> bytes:
    """Return the first bytes of a file, `most` of them at most. A pipe or device is not opened for longer than it takes to see that.

    Raises:
        OSError: with a strerror for people.

    """
    descriptor = os.open(path, os.O_RDONLY | (os.O_NONBLOCK | os.O_CLOEXEC if _POSIX else 0))
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(0, "it is no file")
        return file.read(most)


def write(path: Path, text: str) -> None:
    """Write the file: beside it, synced, then renamed over it, and the folder synced.

    Raises:
        OSError: with a strerror for people.

    """
    with _opened(path.parent) as folder:
        where = path.parent if folder is None else Path()
        _sweep(where, folder)
        beside = where / f".{path.name}.{token_hex(8)}"
        try:
            _write(beside, folder, text)
            os.replace(beside, where / path.name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with suppress(OSError):
                os.unlink(beside, dir_fd=folder)
            raise
        if folder is not None:
            os.fsync(folder)


@contextmanager
def _opened(path: Path) -> Iterator[int | None]:
    """Open the folder, make it where there is none, and give it to the owner of the one above. None where no folder can be opened."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not _POSIX:
        path.mkdir(exist_ok=True)
        yield None
        return
    with ExitStack() as opened:
        above = os.open(path.parent, _FOLDER)
        opened.callback(os.close, above)
        with suppress(FileExistsError):
            os.mkdir(path.name, 0o700, dir_fd=above)
        if stat.S_ISLNK(os.lstat(path.name, dir_fd=above).st_mode):
            raise OSError(0, f"{path} is a link, and has to be a folder")
        folder = os.open(path.name, _FOLDER | os.O_NOFOLLOW, dir_fd=above)
        opened.callback(os.close, folder)
        _hand_over(folder, above)
        yield folder


def _write(path: Path, folder: int | None, text: str) -> None:
    descriptor = os.open(path, _NEW, 0o600, dir_fd=folder)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)
        if folder is not None:
            _hand_over(descriptor, folder)


def _hand_over(descriptor: int, above: int) -> None:
    """Give what root has made to whom the folder belongs that it is in."""
    if os.geteuid() == 0:
        owner = os.fstat(above)
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def _sweep(where: Path, folder: int | None) -> None:
    """Remove what processes that were killed have left; it holds what the file itself does."""
    for name in os.listdir(where if folder is None else folder):  # noqa: PTH208 - no Path can be made of a descriptor
        if _LEFT_OVER.fullmatch(name):
            with suppress(OSError):
                found = os.stat(where / name, dir_fd=folder, follow_symlinks=False)
                if abs(time.time() - found.st_mtime) > _LEFT_OVER_SECONDS:
                    os.unlink(where / name, dir_fd=folder)
