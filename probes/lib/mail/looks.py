"""When to look for a letter that nobody announces: often at first, because most mail takes seconds, then less."""

from collections.abc import Iterator
from itertools import count

_FIRST = (1.0, 2.0, 4.0, 7.0, 11.0, 16.0, 22.0, 30.0, 40.0, 50.0, 60.0)
_INTERVAL = 15


def looks() -> Iterator[float]:
    """Yield the seconds after acceptance at which to look, without end: 1 2 4 7 11 16 22 30 40 50 60, then every 15."""
    yield from _FIRST
    yield from (float(at) for at in count(int(_FIRST[-1]) + _INTERVAL, _INTERVAL))
