"""For how long a server asks us to stay away."""

import time
from email.utils import parsedate_to_datetime

MOST_SECONDS = 86_400.0
"""What asks for longer is taken for a day."""


def retry_after(field: str | None, date: str | None = None) -> float:
    """Return the seconds of a Retry-After field, which holds a number of seconds or a date (RFC 9110 10.2.3); 0 where it says nothing.

    `date` is the answer's own Date: where it is given, the server's clock counts and not ours, which may be minutes off.
    """
    text = (field or "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:12]), MOST_SECONDS)
    when = moment(text)
    return 0.0 if when is None else min(max(when - (moment(date) or time.time()), 0.0), MOST_SECONDS)


def moment(date: str | None) -> float | None:
    """Return the Unix time of a Date field, None where it holds none."""
    try:
        return parsedate_to_datetime(date or "").timestamp()
    except (ValueError, OverflowError):
        return None
