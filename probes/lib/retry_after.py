"""For how long a server asks us to stay away."""

import time
from email.utils import parsedate_to_datetime

MOST_SECONDS = 86_400.0
"""What asks for longer is taken for a day."""


def retry_after(field: str | None) -> float:
    """Return the seconds of a Retry-After field, which holds a number of seconds or a date (RFC 9110 10.2.3); 0 where it says nothing."""
    text = (field or "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:12]), MOST_SECONDS)
    try:
        when = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    return min(max(when.timestamp() - time.time(), 0.0), MOST_SECONDS)
