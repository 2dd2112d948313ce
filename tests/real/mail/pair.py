"""Postfix in front of Dovecot, in a folder that their unprivileged processes can enter."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.real.mail.dovecot import Dovecot, dovecot
from tests.real.mail.postfix import Postfix, postfix


@dataclass(frozen=True, slots=True)
class Pair:
    """A whole mail system."""

    postfix: Postfix
    dovecot: Dovecot

    def messages(self) -> dict[Path, bytes]:
        """Return the files of all messages, in mailboxes and queues, with what is in them."""
        return {path: _content(path) for path in [*self.dovecot.letters(), *self.postfix.queued()]}

    def holding(self, text: bytes) -> list[Path]:
        """Return the files of all messages that hold the text."""
        return [path for path, content in self.messages().items() if text in content]


@contextmanager
def pair(token_judge: str = "") -> Iterator[Pair]:
    """Run both while the block runs. Their folder is not pytest's, which only root may enter."""
    folder = Path(tempfile.mkdtemp(prefix="fogbell-mail-"))
    folder.chmod(0o755)
    try:
        with dovecot(folder / "d", token_judge) as behind, postfix(folder / "p", behind) as front:
            yield Pair(front, behind)
    finally:
        shutil.rmtree(folder)


def _content(path: Path) -> bytes:
    """Return what is in a file; nothing where it moved on meanwhile."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
