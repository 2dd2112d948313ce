"""A run as JSON bytes: how runs are kept in memory, written to the state, and shown by the API.

Bytes, because objects that live long make every garbage collection longer, and a collection is a pause in which every probe's clock runs
on.
"""

from pydantic import TypeAdapter
from pydantic_core import to_json

from probes.core.contract import Run

_RUN = TypeAdapter(Run)


def encode(run: Run) -> bytes:
    """Return the run as one line of JSON (about 500 bytes)."""
    return to_json(run)


def decode(record: bytes) -> Run:
    """Return the run.

    Raises:
        pydantic.ValidationError: where the bytes are not a record.

    """
    return _RUN.validate_json(record)
