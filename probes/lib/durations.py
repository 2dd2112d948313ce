"""Durations as people write them, in settings of kinds and for every probe."""

import re
from typing import Annotated

from pydantic import BeforeValidator, Field

_UNITS = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|d|h|m|s)")
_WHOLE = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?d)?(?:[0-9]+(?:\.[0-9]+)?h)?(?:[0-9]+(?:\.[0-9]+)?m)?(?:[0-9]+(?:\.[0-9]+)?s)?(?:[0-9]+ms)?")
_LONGEST_TEXT = 40
_LONGEST_SECONDS = 7 * 86_400.0
_SHORTEST_SECONDS = 0.001


def seconds(text: str) -> float:
    """Return the seconds of a duration such as `500ms`, `60s`, `1h30m`, or `60` for seconds.

    Raises:
        ValueError: in plain words, where it is none.

    """
    word = text.strip()
    if len(word) <= _LONGEST_TEXT and word:
        if re.fullmatch(r"[0-9]+(\.[0-9]+)?", word):
            return _bounded(float(word))
        if _WHOLE.fullmatch(word):
            return _bounded(sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(word)))
    raise ValueError("must be a duration, such as 500ms, 60s, 5m or 1h30m")


def _bounded(value: float) -> float:
    if not _SHORTEST_SECONDS <= value <= _LONGEST_SECONDS:
        raise ValueError("must be a duration from 1ms to 7d")
    return value


def _duration(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("must be a duration, such as 500ms, 60s, 5m or 1h30m")  # noqa: TRY004 - pydantic collects ValueError
    return seconds(value) if isinstance(value, str) else _bounded(float(value))


TEXT_PATTERN = _WHOLE.pattern.join("^$")
"""Regular expression of a duration that is no bare number, for editors."""

Duration = Annotated[float, Field(gt=0), BeforeValidator(_duration)]
"""Seconds, written as a duration."""
