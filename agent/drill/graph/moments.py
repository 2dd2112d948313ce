"""Moments as Graph writes them."""

from datetime import MAXYEAR, UTC, datetime

_FIRST_YEAR = 1600
"""Before it, clocks of Windows do not begin."""


def moment(seconds: float) -> str:
    """Write Unix seconds as Graph does: RFC 3339 in UTC, with milliseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def seconds_of(text: str) -> float:
    """Read an RFC 3339 moment as Unix seconds; without an offset it counts as UTC.

    Raises:
        ValueError: where it is none, or so early or late that a clock could not show it everywhere.

    """
    read = datetime.fromisoformat(text)
    if not _FIRST_YEAR < read.year < MAXYEAR:
        raise ValueError(f"not a moment of our time: {text}")
    return (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()
