"""What survives a restart: each probe's last conclusive run and since when it fails. SQLite in `state_dir`, one writer thread.

Rows are gathered on the loop, the latest per probe, and written together every few seconds: a crash loses at most those seconds. A full
disk loses nothing in memory: the rows stay gathered and are tried again. A torn file is put aside and named in the log.
"""

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger("fogbell.state")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS probe (
  name TEXT PRIMARY KEY, kind TEXT NOT NULL, record BLOB NOT NULL, failing_since REAL, last_success REAL
) WITHOUT ROWID
"""
_UPSERT = "INSERT OR REPLACE INTO probe VALUES (?, ?, ?, ?, ?)"


class StateError(Exception):
    """The state directory cannot be used; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """One probe as the state has it: `record` is its last conclusive run (see agent.record), times are Unix seconds."""

    name: str
    kind: str
    record: bytes
    failing_since: float | None
    last_success: float | None


class State:
    """The open state of one agent. All work on the file is done in one thread of its own."""

    def __init__(self, directory: Path, write_failed: Callable[[], None] = lambda: None) -> None:
        self._path = directory / "fogbell.sqlite"
        self._write_failed = write_failed
        self._gathered: dict[str, Remembered | None] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="state")
        self._database: sqlite3.Connection | None = None
        self._failing = False

    async def open(self) -> tuple[Remembered, ...]:
        """Open the file and return what it remembers.

        Raises:
            StateError: where the directory cannot be made or written, or another agent uses it.

        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._open)

    def remember(self, remembered: Remembered) -> None:
        """Gather a probe's latest; written with the next flush."""
        self._gathered[remembered.name] = remembered

    def forget(self, name: str) -> None:
        """Drop a removed probe with the next flush."""
        self._gathered[name] = None

    async def flush(self) -> None:
        """Write what was gathered. A failure is logged once, counted, and tried again with the next flush."""
        if not self._gathered:
            return
        gathered, self._gathered = self._gathered, {}
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._write, gathered)
        except sqlite3.Error as error:
            self._gathered = gathered | self._gathered
            self._note_failure(error)
        else:
            self._note_success()

    async def close(self) -> None:
        """Flush, and close the file."""
        await self.flush()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown()

    def _open(self) -> tuple[Remembered, ...]:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            return self._connect()
        except sqlite3.OperationalError as error:
            raise StateError(_advice(self._path, error)) from error
        except sqlite3.DatabaseError as error:
            return self._start_anew(error)
        except OSError as error:
            raise StateError(f"state_dir {self._path.parent}: {error.strerror}") from error

    def _connect(self) -> tuple[Remembered, ...]:
        # Exclusive, so that a second agent on the same directory is refused instead of both writing.
        self._database = sqlite3.connect(self._path, timeout=1, isolation_level=None, check_same_thread=False)
        for statement in ("PRAGMA locking_mode=EXCLUSIVE", "PRAGMA journal_mode=WAL", "PRAGMA synchronous=NORMAL", _SCHEMA):
            self._database.execute(statement)
        rows = self._database.execute("SELECT name, kind, record, failing_since, last_success FROM probe").fetchall()
        return tuple(Remembered(*row) for row in rows)

    def _start_anew(self, error: sqlite3.DatabaseError) -> tuple[Remembered, ...]:
        self._close()
        aside = self._path.with_suffix(f".torn-{int(time.time())}")
        self._path.rename(aside)
        for tail in ("-wal", "-shm"):
            Path(f"{self._path}{tail}").unlink(missing_ok=True)
        log.error("the state could not be read (%s); it is kept as %s and a new one begins", error, aside.name)
        return self._connect()

    def _write(self, gathered: dict[str, Remembered | None]) -> None:
        database = self._database
        if database is None:
            return
        rows = [(r.name, r.kind, r.record, r.failing_since, r.last_success) for r in gathered.values() if r is not None]
        gone = [(name,) for name, r in gathered.items() if r is None]
        database.execute("BEGIN")
        try:
            database.executemany(_UPSERT, rows)
            database.executemany("DELETE FROM probe WHERE name = ?", gone)
            database.execute("COMMIT")
        except sqlite3.Error:
            if database.in_transaction:
                database.execute("ROLLBACK")
            raise

    def _close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    def _note_failure(self, error: sqlite3.Error) -> None:
        self._write_failed()
        if not self._failing:
            log.error("the state cannot be written: %s; the agent goes on and tries again", error)
        self._failing = True

    def _note_success(self) -> None:
        if self._failing:
            log.info("the state can be written again")
        self._failing = False


def _advice(path: Path, error: sqlite3.OperationalError) -> str:
    if "locked" in str(error):
        return f"state_dir {path.parent} is in use by another fogbell; give each agent its own"
    return f"state_dir {path.parent} cannot be used ({error}); is it writable, and is the disk full?"
