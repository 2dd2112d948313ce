"""Moments as Graph writes them."""

from datetime import UTC, datetime


def moment(seconds: float) -> str:
    """Write Unix seconds as Graph does: RFC 3339 in UTC, with milliseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def seconds_of(text: str) -> float:
    """Read an RFC 3339 moment as Unix seconds; without an offset it counts as UTC.

    Raises:
        ValueError: where it is none.

    """
    read = datetime.fromisoformat(text)
    return (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()
