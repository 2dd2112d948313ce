"""Durations in words, as `probes.lib.durations` reads them."""

_HOUR, _MINUTE = 3_600, 60


def in_words(value: float) -> str:
    """Return a duration as it would be written."""
    if value < 1:
        return f"{value * 1000:g}ms"
    for unit, seconds in (("h", _HOUR), ("m", _MINUTE)):
        if value % seconds == 0:
            return f"{value / seconds:g}{unit}"
    return f"{value:g}s"
