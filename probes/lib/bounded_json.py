"""JSON of strangers, read on the loop: what would hold it up for long is not read at all.

Python's reader holds the interpreter from beginning to end, in a thread as well. What it costs is not bytes but values: text takes 1 to 2
ns a byte, an object up to 500 ns. 16 MB of small objects took 1.5 s; now nothing takes more than some 50 ms. 100 open issues as Microsoft
writes them, with 15 long posts each, are 5 MB, 21,000 values and 9 to 20 ms.
"""

import json
from typing import Any

MOST_VALUES = 50_000
"""Objects, lists and texts that an answer may hold."""
MOST_COMMAS = 1_000_000
"""Commas that it may hold: a list of numbers has nothing else."""
MOST_DIGITS = 1 << 20
"""Digits that it may hold: a number of thousands of them costs 30 ns for each."""


class TooManyError(ValueError):
    """JSON with so many values that reading it would hold up the agent."""


def loads(data: bytes) -> Any:
    """Return what JSON says.

    Raises:
        TooManyError: where it holds too much.
        ValueError: where it is no JSON.
        RecursionError: where it is too deep.

    """
    if _values(data) > MOST_VALUES:
        raise TooManyError(f"more than {MOST_VALUES:,} values")
    if len(data) > MOST_DIGITS and (data.count(b",") > MOST_COMMAS or _digits(data) > MOST_DIGITS):
        raise TooManyError("more numbers than could be read in passing")
    return json.loads(data)


def _digits(data: bytes) -> int:
    return len(data) - len(data.translate(None, b"0123456789"))


def _values(data: bytes) -> int:
    """Count objects, lists and texts, or more where a text holds such signs. A quote inside a text is escaped."""
    texts = (data.count(b'"') - data.count(b'\\"')) // 2
    return data.count(b"{") + data.count(b"[") + max(texts, 0)
