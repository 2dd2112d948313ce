"""Artefacts as rows of the state's ledger, also of a file that is torn."""

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from probes.core.ledger import Artefact

Row = tuple[object, ...]

READ = "SELECT probe, id, kind, created, facts FROM artefact"
"""Gives rows for `artefact_of`."""
RECORD = "INSERT OR REPLACE INTO artefact VALUES (?, ?, ?, ?, ?)"
"""Takes what `row_of` makes."""

_END_OF_TIME = 253_402_300_800.0
# The year 10000: no later moment can be written as a date.
_UNREADABLE = "\ufffd"


def row_of(probe: str, artefact: Artefact) -> Row:
    """Return an artefact as it is written."""
    return (probe, artefact.id, artefact.kind, artefact.created, json.dumps(artefact.facts))


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
