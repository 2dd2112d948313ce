"""The tables of the state and what a row of each is: last runs, artefacts, and the origins of these; also of a file that is torn."""

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from probes.core.ledger import Artefact

Row = tuple[object, ...]

_RUNS = """
CREATE TABLE IF NOT EXISTS probe (
  name TEXT PRIMARY KEY, kind TEXT NOT NULL, record BLOB NOT NULL, failing_since REAL, last_success REAL
) WITHOUT ROWID
"""
_ARTEFACTS = """
CREATE TABLE IF NOT EXISTS artefact (
  probe TEXT NOT NULL, id TEXT NOT NULL, kind TEXT NOT NULL, created REAL NOT NULL, facts TEXT NOT NULL, PRIMARY KEY (probe, id)
) WITHOUT ROWID
"""
_ORIGINS = """
CREATE TABLE IF NOT EXISTS origin (
  probe TEXT PRIMARY KEY, kind TEXT NOT NULL, tenant TEXT NOT NULL, tenant_id TEXT NOT NULL, settings TEXT NOT NULL, outline TEXT NOT NULL
) WITHOUT ROWID
"""
_AGENT = "CREATE TABLE IF NOT EXISTS agent (identity TEXT NOT NULL)"
_IDENTIFY = "INSERT INTO agent SELECT lower(hex(randomblob(8))) WHERE NOT EXISTS (SELECT 1 FROM agent)"
TABLES = (_RUNS, _ARTEFACTS, _ORIGINS, _AGENT, _IDENTIFY)
"""Make what is not there yet, and give the agent its identity."""

READ_IDENTITY = "SELECT identity FROM agent"
"""Gives one row: what tells this agent from all others, for as long as it has its state."""

READ = "SELECT probe, id, kind, created, facts FROM artefact"
"""Gives rows for `artefact_of`."""
RECORD = "INSERT OR REPLACE INTO artefact VALUES (?, ?, ?, ?, ?)"
"""Takes what `row_of` makes."""
READ_ORIGINS = "SELECT probe, kind, tenant, tenant_id, settings, outline FROM origin"
"""Gives rows of a probe and the values of `Origin`."""
RECORD_ORIGIN = "INSERT OR REPLACE INTO origin VALUES (?, ?, ?, ?, ?, ?)"
"""Takes what `origin_row` makes."""
READ_RUNS = "SELECT name, kind, record, failing_since, last_success FROM probe"
"""Gives rows of the values of `Remembered`."""
_RECORD_RUN = "INSERT OR REPLACE INTO probe VALUES (?, ?, ?, ?, ?)"

_END_OF_TIME = 253_402_300_800.0
# The year 10000: no later moment can be written as a date.
_UNREADABLE = "\ufffd"


@dataclass(frozen=True, slots=True)
class Remembered:
    """One probe as the state has it: `record` is its last conclusive run (see agent.record), times are Unix seconds."""

    name: str
    kind: str
    record: bytes
    failing_since: float | None
    last_success: float | None


@dataclass(frozen=True, slots=True)
class Origin:
    """What a probe was when it created something.

    `settings` are JSON as the kind reads it, with references to secrets and never a value; "" where that is not possible, because a secret
    was written in place. `outline` are the same without any secret. `tenant_id` is "" where the probe has no tenant.
    """

    kind: str
    tenant: str
    tenant_id: str
    settings: str
    outline: str

    def is_like(self, other: "Origin") -> bool:
        """Say whether both create in the same place: the names of tenant and secrets do not matter."""
        return (self.kind, self.tenant_id, self.outline) == (other.kind, other.tenant_id, other.outline)


@dataclass(slots=True)
class Unwritten:
    """What waits for the next flush. None stands for what is to be deleted."""

    runs: dict[str, Remembered | None] = field(default_factory=dict)
    artefacts: dict[tuple[str, str], Artefact | None] = field(default_factory=dict)
    origins: dict[str, Origin | None] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Say whether there is anything."""
        return bool(self.runs or self.artefacts or self.origins)

    def after(self, older: "Unwritten") -> "Unwritten":
        """Return both; what is newer counts."""
        return Unwritten(older.runs | self.runs, older.artefacts | self.artefacts, older.origins | self.origins)


def row_of(probe: str, artefact: Artefact) -> Row:
    """Return an artefact as it is written."""
    return (probe, artefact.id, artefact.kind, artefact.created, json.dumps(artefact.facts))


def origin_row(probe: str, origin: Origin) -> Row:
    """Return an origin as it is written."""
    return (probe, origin.kind, origin.tenant, origin.tenant_id, origin.settings, origin.outline)


def artefact_of(row: Any) -> tuple[str, Artefact]:
    """Return an artefact as it was written, with its probe.

    Raises:
        sqlite3.DatabaseError: where it cannot be read.

    """
    probe, name, kind, created, facts = row
    try:
        artefact = Artefact(name, kind, float(created), tuple((str(key), str(value)) for key, value in json.loads(facts)))
    except (TypeError, ValueError, RecursionError) as error:
        raise sqlite3.DatabaseError("an entry of the ledger is no entry") from error
    # SQLite keeps anything in any column.
    if not all(isinstance(text, str) and text for text in (probe, name, kind)) or not 0 <= artefact.created < _END_OF_TIME:
        raise sqlite3.DatabaseError("an entry of the ledger is no entry")
    return probe, artefact


def write(database: sqlite3.Connection, unwritten: Unwritten) -> None:
    """Write, and delete, what was gathered."""
    _write_runs(database, unwritten.runs)
    _write_ledger(database, unwritten)


def _write_runs(database: sqlite3.Connection, runs: dict[str, Remembered | None]) -> None:
    rows = [(r.name, r.kind, r.record, r.failing_since, r.last_success) for r in runs.values() if r is not None]
    database.executemany(_RECORD_RUN, rows)
    database.executemany("DELETE FROM probe WHERE name = ?", [(name,) for name, r in runs.items() if r is None])


def _write_ledger(database: sqlite3.Connection, unwritten: Unwritten) -> None:
    artefacts, origins = unwritten.artefacts.items(), unwritten.origins.items()
    database.executemany(RECORD_ORIGIN, [origin_row(probe, origin) for probe, origin in origins if origin is not None])
    database.executemany(RECORD, [row_of(probe, artefact) for (probe, _), artefact in artefacts if artefact is not None])
    database.executemany("DELETE FROM artefact WHERE probe = ? AND id = ?", [place for place, artefact in artefacts if artefact is None])
    database.executemany("DELETE FROM origin WHERE probe = ?", [(probe,) for probe, origin in origins if origin is None])


def readable(path: Path, query: str) -> list[Any]:
    """Return the rows of a torn file up to the first that cannot be read; one whose text is none is left out."""
    rows: list[Any] = []
    with suppress(sqlite3.Error), closing(sqlite3.connect(path)) as torn:
        torn.text_factory = lambda text: text.decode("utf-8", "replace")
        rows.extend(torn.execute(query))
    return [row for row in rows if _is_text(row)]


def _is_text(row: Sequence[object]) -> bool:
    return not any(isinstance(value, bytes) or (isinstance(value, str) and _UNREADABLE in value) for value in row)


def is_whole(row: Any) -> bool:
    """Say whether a row is an artefact."""
    try:
        artefact_of(row)
    except sqlite3.DatabaseError:
        return False
    return True
