"""What survives a restart: each probe's last conclusive run, since when it fails, and what it has created and not removed yet.

SQLite in `state_dir`, one writer thread. Runs are gathered on the loop, the latest per probe, and written together every few seconds: a
crash loses at most those seconds. An artefact is written at once, before it is created. A full disk loses nothing in memory: what could not
be written stays gathered and is tried again. A torn file is put aside and named in the log.
"""

import asyncio
import json
import logging
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from probes.core.contract import Inconclusive
from probes.core.ledger import Artefact
from probes.core.reasons import Reason

log = logging.getLogger("fogbell.state")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS probe (
  name TEXT PRIMARY KEY, kind TEXT NOT NULL, record BLOB NOT NULL, failing_since REAL, last_success REAL
) WITHOUT ROWID
"""
_ARTEFACTS = """
CREATE TABLE IF NOT EXISTS artefact (
  probe TEXT NOT NULL, id TEXT NOT NULL, kind TEXT NOT NULL, created REAL NOT NULL, facts TEXT NOT NULL, PRIMARY KEY (probe, id)
) WITHOUT ROWID
"""
_RECORD = "INSERT OR REPLACE INTO artefact VALUES (?, ?, ?, ?, ?)"
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
        self._artefacts: dict[str, dict[str, Artefact]] = {}
        self._removed: dict[tuple[str, str], None] = {}
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

    async def record(self, probe: str, artefact: Artefact) -> None:
        """Write an artefact of a probe at once.

        Raises:
            Inconclusive: AGENT_RESOURCES, where that is not possible.

        """
        row = (probe, artefact.id, artefact.kind, artefact.created, json.dumps(artefact.facts))
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._execute, _RECORD, row)
        except sqlite3.Error as error:
            self._note_failure(error)
            raise Inconclusive(Reason.AGENT_RESOURCES, f"the state cannot be written ({error}), so nothing was created") from error
        self._artefacts.setdefault(probe, {})[artefact.id] = artefact
        self._removed.pop((probe, artefact.id), None)

    async def strike(self, probe: str, artefact_id: str) -> None:
        """Take an artefact that is gone off the ledger; written with the next flush."""
        self._artefacts.get(probe, {}).pop(artefact_id, None)
        self._removed[probe, artefact_id] = None

    def outstanding(self, probe: str) -> tuple[Artefact, ...]:
        """Return what a probe has created and not removed yet, the oldest first."""
        return tuple(sorted(self._artefacts.get(probe, {}).values(), key=lambda artefact: artefact.created))

    def artefacts(self) -> Iterator[tuple[str, Artefact]]:
        """Yield every artefact that is left, with the name of its probe."""
        return ((probe, artefact) for probe, kept in self._artefacts.items() for artefact in kept.values())

    async def flush(self) -> None:
        """Write what was gathered. A failure is logged once, counted, and tried again with the next flush."""
        if not self._gathered and not self._removed:
            return
        gathered, self._gathered = self._gathered, {}
        removed, self._removed = self._removed, {}
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._write, gathered, tuple(removed))
        except sqlite3.Error as error:
            self._gathered = gathered | self._gathered
            self._removed = removed | self._removed
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
        for statement in ("PRAGMA locking_mode=EXCLUSIVE", "PRAGMA journal_mode=WAL", "PRAGMA synchronous=NORMAL", _SCHEMA, _ARTEFACTS):
            self._database.execute(statement)
        self._artefacts = {}
        for probe, name, kind, created, facts in self._database.execute("SELECT probe, id, kind, created, facts FROM artefact"):
            self._artefacts.setdefault(probe, {})[name] = Artefact(name, kind, created, tuple(map(tuple, json.loads(facts))))
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

    def _execute(self, statement: str, row: tuple[object, ...]) -> None:
        if self._database is None:
            raise sqlite3.OperationalError("the state is closed")
        self._database.execute(statement, row)

    def _write(self, gathered: dict[str, Remembered | None], removed: tuple[tuple[str, str], ...]) -> None:
        database = self._database
        if database is None:
            return
        rows = [(r.name, r.kind, r.record, r.failing_since, r.last_success) for r in gathered.values() if r is not None]
        gone = [(name,) for name, r in gathered.items() if r is None]
        database.execute("BEGIN")
        try:
            database.executemany(_UPSERT, rows)
            database.executemany("DELETE FROM probe WHERE name = ?", gone)
            database.executemany("DELETE FROM artefact WHERE probe = ? AND id = ?", removed)
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
