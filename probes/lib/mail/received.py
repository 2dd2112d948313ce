"""Reads the way a message took from its Received headers (RFC 5321 4.4), which every server writes as it likes.

Whatever the text, there is an answer: nothing here raises, and time is linear in the text.
"""

import re
from calendar import timegm
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Literal

from probes.lib.mail.letter import unfolded

Role = Literal["submission", "transport", "delivery"]
"""What a hop did: took the message from a client, passed it on, put it into the mailbox. A label, so the list is closed."""
ROLES: tuple[Role, ...] = ("submission", "transport", "delivery")

MOST_HOPS = 100
"""Hops beyond these, the newest, are not looked at; RFC 5321 6.3 wants loops to end there."""

_WORDS = frozenset({"from", "by", "with", "via", "id", "for"})
_MONTHS = {
    month: number + 1 for number, month in enumerate(("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"))
}
_ZONES = {"est": -5, "edt": -4, "cst": -6, "cdt": -5, "mst": -7, "mdt": -6, "pst": -8, "pdt": -7}
# RFC 5322 4.3: these of the old zones mean something, all others are taken for UTC.
_DATE = re.compile(
    r"(?<!\d)(\d{1,2})[ -]([a-z]{3})[ -](\d{4}|\d\d) (\d\d?):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?(?: ([+-]\d{4}|[a-z]{1,5}))?(?![\d:])",
    re.ASCII | re.IGNORECASE,
)
# Every part has a bound, so a search is linear in the text.


@dataclass(frozen=True, slots=True)
class Hop:
    """One server that took the message: its name, whom it took it from, how, and when (Unix seconds, by its own clock).

    `seconds` are those since the hop before, never below 0; None where one of the two tells no time.
    """

    by: str
    sender: str
    protocol: str
    when: float | None
    role: Role
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Trail:
    """All hops, the oldest first. `skew` is the largest step backwards between two of them in seconds: how far their clocks disagree."""

    hops: tuple[Hop, ...]
    skew: float


def trail(header_text: str) -> Trail:
    """Read the hops of a message's header."""
    lines = [value for name, value in unfolded(header_text) if name == "received"][:MOST_HOPS]
    parts = [(_parts(line), _when(line)) for line in reversed(lines)]
    times = [when for _, when in parts if when is not None]
    hops: list[Hop] = []
    before: float | None = None
    for index, (words, when) in enumerate(parts):
        seconds = None if when is None or before is None else max(0.0, when - before)
        role = _role(words, oldest=index == 0, newest=index == len(parts) - 1)
        hops.append(Hop(words.get("by", ""), words.get("from", ""), _protocol(words), when, role, seconds))
        before = before if when is None else when
    return Trail(tuple(hops), max((earlier - later for earlier, later in pairwise(times) if earlier > later), default=0.0))


def _parts(line: str) -> dict[str, str]:
    """Split at the words of RFC 5321 4.4 that stand outside of comments. Of a word that comes twice the first counts."""
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for word in _without_comments(line.rpartition(";")[0] or line).split():
        name = word.lower()
        if name in _WORDS:
            current = []
            found.setdefault(name, current)
        else:
            current.append(word)
    return {name: " ".join(words) for name, words in found.items()}


def _without_comments(text: str) -> str:
    kept: list[str] = []
    depth = 0
    for character in text:
        if character == "(":
            depth += 1
            kept.append(" ")
        elif character == ")":
            depth = max(0, depth - 1)
        elif depth == 0:
            kept.append(character)
    return "".join(kept)


def _protocol(words: dict[str, str]) -> str:
    via = words.get("via", "")
    return f"{words.get('with', '')} via {via}".strip() if via else words.get("with", "")


def _role(words: dict[str, str], *, oldest: bool, newest: bool) -> Role:
    """Tell what a hop did.

    Exchange delivers "via Mailbox Transport", and Exchange Online's newest hop, into the mailbox, is "with HTTPS"; LMTP (RFC 2033) only
    ever delivers. The oldest hop took the message from a client, whatever it spoke; MAPI is spoken by clients only.
    """
    spoken = words.get("with", "").lower()
    if words.get("via", "").lower() == "mailbox transport" or spoken.startswith("lmtp"):
        return "delivery"
    if oldest or spoken.startswith("mapi"):
        return "submission"
    return "delivery" if newest and spoken.startswith("https") else "transport"


def _when(line: str) -> float | None:
    """Return the last date, whether or not the semicolon that belongs before it is there."""
    dates = _DATE.findall(" ".join(line.split()))
    return _timestamp(dates[-1]) if dates else None


def _timestamp(date: tuple[str, ...]) -> float | None:
    day, month, year, hour, minute, second, fraction, zone = date
    try:
        # A leap second, 60, is no time for datetime.
        at = datetime(_year(year), _MONTHS[month.lower()], int(day), int(hour), int(minute), min(int(second or 0), 59), tzinfo=UTC)
    except (KeyError, ValueError):
        return None
    return timegm(at.utctimetuple()) + float(f"0.{fraction or 0}") - _offset(zone)


def _year(text: str) -> int:
    """Return the year; of two digits as RFC 5322 4.3 has it."""
    year = int(text)
    return year if len(text) > len("99") else year + (2000 if year < 50 else 1900)  # noqa: PLR2004 - the RFC's


def _offset(zone: str) -> float:
    """Seconds east of UTC."""
    if zone[:1] in {"+", "-"}:
        seconds = int(zone[1:3]) * 3600 + int(zone[3:5]) * 60
        return float(-seconds if zone[0] == "-" else seconds)
    return _ZONES.get(zone.lower(), 0) * 3600.0
