"""What survives a restart: each probe's last conclusive run, since when it fails, and what it has created and not removed yet.

SQLite in `state_dir`, one writer thread. Runs are gathered on the loop, the latest per probe, and written together every few seconds: a
crash loses at most those seconds. An artefact is written at once, before it is created, and with the first of a probe its origin: kind,
tenant and settings, by which the agent can clear away what was created under a name that nobody has any more. What a probe created before
its settings changed goes on under a name of its own, `name~time`, with the origin of then. A full disk loses nothing in memory: what could
not be written stays gathered and is tried again.

A torn file is put aside and named in the log. Artefacts and origins that can still be read from it are taken over: they are ours by our own
ledger. More is not safe. Whatever else a service holds may belong to another agent that shares the mailbox or the site and is just using
it, and nothing tells whose it is; so what stood on the unreadable pages stays until a sweep by tag and age finds it, which the kinds that
have one (mail_roundtrip, mailbox) make at their first run and daily, of things older than a day.
"""

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar, TypeVarTuple, Unpack

from agent.rows import (
    READ,
    READ_IDENTITY,
    READ_ORIGINS,
    READ_RUNS,
    RECORD,
    RECORD_ORIGIN,
    TABLES,
    Origin,
    Remembered,
    Row,
    Unwritten,
    artefact_of,
    is_whole,
    origin_row,
    readable,
    row_of,
    write,
)
from probes.core.contract import Inconclusive
from probes.core.ledger import ASIDE, Artefact
from probes.core.reasons import Reason

_Given = TypeVarTuple("_Given")
_Result = TypeVar("_Result")

log = logging.getLogger("fogbell.state")

_OPENING = ("PRAGMA locking_mode=EXCLUSIVE", "PRAGMA journal_mode=WAL", "PRAGMA synchronous=NORMAL", *TABLES)
_NO_TEXT = "Could not decode"
# What Python says of a text that is none; it has no error of its own for it.


class StateError(Exception):
    """The state directory cannot be used; the message says why and what to do."""


class State:
    """The open state of one agent. All work on the file is done in one thread of its own."""

    def __init__(self, directory: Path, write_failed: Callable[[], None] = lambda: None) -> None:
        self.identity = ""
        """What tells this agent from all others, for as long as it has its state; "" until it is open."""
        self._path = directory / "fogbell.sqlite"
        self._write_failed = write_failed
        self._unwritten = Unwritten()
        self._artefacts: dict[str, dict[str, Artefact]] = {}
        self._serving: dict[str, Origin] = {}
        self._origins: dict[str, Origin] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="state")
        self._database: sqlite3.Connection | None = None
        self._failing = False

    async def open(self) -> tuple[Remembered, ...]:
        """Open the file and return what it remembers.

        Raises:
            StateError: where the directory cannot be made or written, or another agent uses it.

        """
        return await self._in_thread(self._open)

    def remember(self, remembered: Remembered) -> None:
        """Gather a probe's latest; written with the next flush."""
        self._unwritten.runs[remembered.name] = remembered

    def forget(self, name: str) -> None:
        """Drop a removed probe with the next flush; what it has created stays."""
        self._unwritten.runs[name] = None

    def serve(self, probe: str, origin: Origin | None) -> None:
        """Say who creates under this name from now on, None for nobody. What another created under it goes on under a name of its own."""
        before = self._origins.get(probe)
        if origin is not None and before is not None and not origin.is_like(before):
            self._set_aside(probe, before)
        if origin is None:
            self._serving.pop(probe, None)
            self._drop_idle_origin(probe)
            return
        self._serving[probe] = origin
        if probe in self._artefacts and before != origin:
            self._keep_origin(probe, origin)

    async def record(self, probe: str, artefact: Artefact) -> None:
        """Write an artefact of a probe at once.

        Raises:
            Inconclusive: AGENT_RESOURCES, where that is not possible.

        """
        origin = self._new_origin(probe)
        if origin is not None:
            # What is set aside must not be found under an origin that is not its own.
            await self.flush()
        rows = [] if origin is None else [(RECORD_ORIGIN, origin_row(probe, origin))]
        self._unwritten.artefacts.pop((probe, artefact.id), None)
        try:
            await self._in_thread(self._execute, [*rows, (RECORD, row_of(probe, artefact))])
        except sqlite3.Error as error:
            self._unwritten.artefacts[probe, artefact.id] = self._artefacts.get(probe, {}).get(artefact.id)
            self._note_failure(error)
            raise Inconclusive(Reason.AGENT_RESOURCES, f"the state cannot be written ({error}), so nothing was created") from error
        if origin is not None:
            self._origins[probe] = origin
            self._unwritten.origins.pop(probe, None)
        # Also a strike of before, whose flush failed while this was written.
        self._unwritten.artefacts.pop((probe, artefact.id), None)
        self._artefacts.setdefault(probe, {})[artefact.id] = artefact

    async def strike(self, probe: str, artefact_id: str) -> None:
        """Take an artefact that is gone off the ledger; written with the next flush. With the last of a removed probe its origin goes."""
        kept = self._artefacts.get(probe, {})
        kept.pop(artefact_id, None)
        self._unwritten.artefacts[probe, artefact_id] = None
        if not kept:
            self._artefacts.pop(probe, None)
        if probe not in self._serving:
            self._drop_idle_origin(probe)

    def outstanding(self, probe: str) -> tuple[Artefact, ...]:
        """Return what a probe has created and not removed yet, the oldest first."""
        return tuple(sorted(self._artefacts.get(probe, {}).values(), key=lambda artefact: artefact.created))

    def artefacts(self) -> Iterator[tuple[str, Artefact]]:
        """Yield every artefact that is left, with the name it is kept under."""
        return ((probe, artefact) for probe, kept in self._artefacts.items() for artefact in kept.values())

    def names(self) -> tuple[str, ...]:
        """Return the names under which there are artefacts."""
        return tuple(self._artefacts)

    async def take_over(self, other: "State") -> None:
        """Take what is left on another ledger as left by probes that are gone, each under a name of its own, where its settings are known.

        Raises:
            Inconclusive: AGENT_RESOURCES, where it cannot be written; then the other keeps it.

        """
        known = [(name, origin) for name in other.names() if (origin := other.origin(name)) is not None and origin.settings]
        for name, origin in known:
            aside = self._name_aside(name)
            self._keep_origin(aside, origin)
            await self.flush()
            for artefact in other.outstanding(name):
                await self.record(aside, artefact)
                await other.strike(name, artefact.id)

    def origin(self, probe: str) -> Origin | None:
        """Return what created the artefacts that are kept under this name; None where an older version recorded them."""
        return self._origins.get(probe)

    async def flush(self) -> None:
        """Write what was gathered. A failure is logged once, counted, and tried again with the next flush."""
        if not self._unwritten:
            return
        writing, self._unwritten = self._unwritten, Unwritten()
        try:
            await self._in_thread(self._write, writing)
        except sqlite3.Error as error:
            self._unwritten = self._unwritten.after(writing)
            self._note_failure(error)
        else:
            self._note_success()

    async def close(self) -> None:
        """Flush, and close the file."""
        await self.flush()
        await self._in_thread(self._close)
        self._thread.shutdown()

    async def _in_thread(self, work: Callable[[Unpack[_Given]], _Result], *arguments: *_Given) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    def _new_origin(self, probe: str) -> Origin | None:
        """Return what creates under this name, where that is not written yet."""
        origin = self._serving.get(probe)
        is_written = origin == self._origins.get(probe) and probe not in self._unwritten.origins
        return None if is_written else origin

    def _set_aside(self, probe: str, origin: Origin) -> None:
        """Let artefacts go on under a name of their own."""
        kept = self._artefacts.pop(probe, {})
        self._origins.pop(probe)
        self._unwritten.origins[probe] = None
        if not kept:
            return
        aside = self._name_aside(probe)
        self._artefacts[aside] = kept
        self._unwritten.artefacts |= {(probe, each): None for each in kept} | {(aside, each.id): each for each in kept.values()}
        self._keep_origin(aside, origin)

    def _name_aside(self, probe: str) -> str:
        now = int(time.time())
        while f"{probe}{ASIDE}{now}" in self._artefacts:
            now += 1
        return f"{probe}{ASIDE}{now}"

    def _keep_origin(self, probe: str, origin: Origin) -> None:
        self._origins[probe] = self._unwritten.origins[probe] = origin

    def _drop_idle_origin(self, probe: str) -> None:
        if probe in self._origins and probe not in self._artefacts:
            del self._origins[probe]
            self._unwritten.origins[probe] = None

    def _open(self) -> tuple[Remembered, ...]:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            return self._connect()
        except sqlite3.OperationalError as error:
            if _NO_TEXT in str(error):
                return self._start_anew(error)
            raise StateError(_advice(self._path, error)) from error
        except sqlite3.DatabaseError as error:
            return self._start_anew(error)
        except OSError as error:
            raise StateError(f"state_dir {self._path.parent}: {error.strerror}") from error

    def _connect(self) -> tuple[Remembered, ...]:
        # Exclusive, so that a second agent on the same directory is refused instead of both writing.
        database = self._database = sqlite3.connect(self._path, timeout=1, isolation_level=None, check_same_thread=False)
        for statement in _OPENING:
            database.execute(statement)
        self._artefacts = {}
        for probe, artefact in map(artefact_of, database.execute(READ).fetchall()):
            self._artefacts.setdefault(probe, {})[artefact.id] = artefact
        database.execute("DELETE FROM origin WHERE probe NOT IN (SELECT probe FROM artefact)")
        self._origins = {probe: Origin(*facts) for probe, *facts in database.execute(READ_ORIGINS).fetchall()}
        (self.identity,) = database.execute(READ_IDENTITY).fetchone()
        rows = database.execute(READ_RUNS).fetchall()
        return tuple(Remembered(*row) for row in rows)

    def _start_anew(self, error: sqlite3.DatabaseError) -> tuple[Remembered, ...]:
        """Put a torn file aside, with its log of what was written last, and take over what can be read of the ledger."""
        self._close()
        aside = self._path.with_suffix(f".torn-{int(time.time())}")
        for tail in ("", "-wal"):
            with suppress(FileNotFoundError):
                Path(f"{self._path}{tail}").rename(f"{aside}{tail}")
        Path(f"{self._path}-shm").unlink(missing_ok=True)
        artefacts, origins = readable(aside, READ), readable(aside, READ_ORIGINS)
        self._connect()
        self._execute([*((RECORD_ORIGIN, row) for row in origins), *((RECORD, row) for row in artefacts if is_whole(row))])
        self._close()
        remembered = self._connect()
        saved = sum(map(len, self._artefacts.values()))
        words = "the state could not be read (%s); it is kept as %s and a new one begins, with %d things of it that probes have left"
        log.error(words, error, aside.name, saved)
        return remembered

    def _execute(self, statements: Iterable[tuple[str, Row]]) -> None:
        if self._database is None:
            raise sqlite3.OperationalError("the state is closed")
        for statement, row in statements:
            self._database.execute(statement, row)

    def _write(self, unwritten: Unwritten) -> None:
        database = self._database
        if database is None:
            return
        database.execute("BEGIN")
        try:
            write(database, unwritten)
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
