"""Numbers and settings as people read them."""

import math
from datetime import UTC, datetime
from urllib.parse import urlsplit

from probes.core.contract import Settings
from probes.core.reasons import Blame

BLAME_WORDS = {
    Blame.OURS: "ours: the agent, its configuration, credentials or limits",
    Blame.NETWORK: "the network: resolver, proxy, firewall or provider",
    Blame.SERVICE: "the service itself",
}

_TARGET_FIELDS = (
    *("url", "query", "domain", "host", "target", "server", "address", "mx_of"),
    *("site", "from_", "mailbox", "user", "organiser", "chat", "portal"),
)
_TARGET_PARTS = ("send", "receive", "account", "drive")
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_YEAR_10000 = 253_402_300_800


def duration(seconds: float) -> str:
    """Return a duration with about three digits that matter: `0.42 ms`, `38 ms`, `1.24 s`, `2 min 5 s`."""
    milliseconds = seconds * 1000
    if milliseconds < 1:
        return f"{milliseconds:.2f} ms"
    if milliseconds < 10:  # noqa: PLR2004 - one decimal below ten
        return f"{milliseconds:.1f} ms"
    if seconds < 1:
        return f"{milliseconds:.0f} ms"
    return f"{seconds:.2f} s" if seconds < _MINUTE else span(seconds)


def span(seconds: float) -> str:
    """Return a span of time in its two largest units: `12 s`, `3 min 20 s`, `5 h 2 min`, `4 d 1 h`."""
    whole = max(0, int(seconds))
    for size, unit, smaller, smaller_unit in ((_DAY, "d", _HOUR, "h"), (_HOUR, "h", _MINUTE, "min"), (_MINUTE, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit} {rest} {smaller_unit}" if rest else f"{whole // size} {unit}"
    return f"{whole} s"


def ago(moment: float, now: float) -> str:
    """Return how long ago a moment was, in its largest unit."""
    seconds = int(now - moment)
    for size, unit in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago" if seconds > 0 else "just now"


def timestamp(moment: float) -> str:
    """Return a moment as ISO 8601 in UTC, to the second."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def reading(value: float, name: str) -> str:
    """Return a measured value as its name's unit wants it: a moment, a duration, a version, or a number."""
    if not math.isfinite(value):
        return str(value)
    if name.endswith("_timestamp_seconds"):
        return timestamp(value) if 0 <= value < _YEAR_10000 else f"{value:.0f}"
    if name.endswith("_seconds"):
        return duration(value)
    if name.endswith("version"):
        return f"{value:.0f}"
    return f"{value:,.0f}" if value == int(value) else f"{value:,.6g}"


def plain_name(name: str) -> str:
    """Return a measurement's name without underscores, and without the unit that its value is shown in."""
    return name.removesuffix("_seconds").removesuffix("_timestamp").replace("_", " ")


def target(settings: Settings) -> str:
    """Return what a probe looks at, in a word, from the settings that kinds commonly have; a URL without login and query values."""
    values = (getattr(settings, name, None) for name in _TARGET_FIELDS)
    found = next((value for value in values if isinstance(value, str)), "")
    if "://" in found:
        return _without_secrets(found)
    if not found:
        parts = (getattr(settings, name, None) for name in _TARGET_PARTS)
        return " → ".join(filter(None, (target(part) for part in parts if isinstance(part, Settings))))
    port = getattr(settings, "port", None)
    record = getattr(settings, "record", None)
    return f"{found}{f':{port}' if found and port else ''}{f' {record}' if isinstance(record, str) else ''}".strip()


def _without_secrets(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}{'?…' if parts.query else ''}"
