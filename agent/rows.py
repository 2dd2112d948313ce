"""Artefacts as rows of the state's ledger, also of a file that is torn."""

import json
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from probes.core.ledger import Artefact

Row = tuple[object, ...]

READ = "SELECT probe, id, kind, created, facts FROM artefact"
"""Gives rows for `artefact_of`."""
RECORD = "INSERT OR REPLACE INTO artefact VALUES (?, ?, ?, ?, ?)"
"""Takes what `row_of` makes."""


def row_of(probe: str, artefact: Artefact) -> Row:
    """Return an artefact as it is written."""
    return (probe, artefact.id, artefact.kind, artefact.created, json.dumps(artefact.facts))


def artefact_of(row: tuple[str, str, str, float, str]) -> tuple[str, Artefact]:
    """Return an artefact as it was written, with its probe.

    Raises:
        sqlite3.DatabaseError: where it cannot be read.

    """
    probe, name, kind, created, facts = row
    try:
        return probe, Artefact(name, kind, float(created), tuple((str(key), str(value)) for key, value in json.loads(facts)))
    except (TypeError, ValueError) as error:
        raise sqlite3.DatabaseError("an entry of the ledger is no entry") from error


def readable(path: Path, query: str) -> list[Any]:
    """Return the rows of a torn file up to the first that cannot be read."""
    rows: list[Any] = []
    with suppress(sqlite3.Error), closing(sqlite3.connect(path)) as torn:
        rows.extend(torn.execute(query))
    return rows


def is_whole(row: Any) -> bool:
    """Say whether a row is an artefact."""
    try:
        artefact_of(row)
    except sqlite3.DatabaseError:
        return False
    return True
