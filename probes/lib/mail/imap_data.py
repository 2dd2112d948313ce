"""Reads what IMAP servers answer (RFC 3501 9): atoms, quoted strings, literals, NIL and lists of them, names in modified UTF-7, dates.

Nothing here talks to anybody. What is no IMAP is a failure with a name, whatever the bytes.
"""

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone

from probes.core.contract import Failed
from probes.core.reasons import Reason
from probes.core.text import shown
from probes.lib.dialogue import ImapAnswer, ImapResponse

Item = str | bytes | list["Item"] | None
"""An atom, the content of a string, a list, or NIL."""

_DEEPEST = 16
_TOKEN = re.compile(
    r"""\ *(?: (?P<open>\() | (?P<close>\)) | "(?P<quoted>(?:[^"\\]|\\.)*)" | \{(?P<literal>[0-9]{1,10})\+?\}
        | (?P<atom>(?:[^\s()"\[{]|\[[^\]]*\])+) )""",
    re.VERBOSE | re.DOTALL,
)
# What a section names in brackets belongs to its atom: BODY[HEADER.FIELDS (SUBJECT)]<0>.
_CODE = re.compile(r"\[([A-Za-z][A-Za-z0-9-]*)(?: ([^\]]*))?\]")
_FETCH = re.compile(r"([0-9]{1,10}) FETCH (\(.*)", re.IGNORECASE | re.DOTALL)
_COUNT = re.compile(r"([0-9]{1,10}) (EXISTS|EXPUNGE)", re.IGNORECASE)
_DATE = re.compile(r" ?([0-9]{1,2})-([A-Za-z]{3})-([0-9]{4}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) ([+-])([0-9]{2})([0-9]{2})")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_SHIFTED = re.compile(r"&([A-Za-z0-9+,]*)-")
_UNSHIFTED = re.compile(r"[^\x20-\x7e]+|&")


@dataclass(frozen=True, slots=True)
class Fetched:
    """What FETCH told of one message: its number, UID (0 where untold), when it came (Unix seconds) and the section asked for."""

    number: int
    uid: int
    came: float | None
    body: bytes


@dataclass(frozen=True, slots=True)
class Listed:
    """One mailbox of LIST: its attributes in lower case (with their backslash), what divides levels ("" for none), and its name."""

    attributes: frozenset[str]
    divider: str
    name: str


def items(text: str, literals: tuple[bytes, ...] = ()) -> list[Item]:
    """Read all items of a response.

    Raises:
        Failed: PROTOCOL_ERROR.

    """
    left = iter(literals)
    found: list[Item] = []
    levels = [found]
    for token in _tokens(text):
        if token["open"]:
            inner: list[Item] = []
            levels[-1].append(inner)
            levels.append(inner)
        elif token["close"]:
            levels.pop()
        else:
            levels[-1].append(_value(token, left))
        if not 0 < len(levels) <= _DEEPEST:
            raise _unreadable(text)
    if len(levels) != 1:
        raise _unreadable(text)
    return found


def fetched(response: ImapResponse) -> Fetched | None:
    """Read a FETCH response, None where it is another.

    Raises:
        Failed: PROTOCOL_ERROR.

    """
    match = _FETCH.fullmatch(response.text)
    if match is None:
        return None
    told = items(match[2], response.literals)[0]
    pairs = told if isinstance(told, list) else []
    facts = {name.upper(): value for name, value in zip(pairs[::2], pairs[1::2], strict=False) if isinstance(name, str)}
    body = next((_bytes(value) for name, value in facts.items() if name.startswith("BODY[")), b"")
    date = _bytes(facts.get("INTERNALDATE")).decode("ascii", "replace")
    return Fetched(int(match[1]), number(facts.get("UID")), internal_date(date), body)


def listed(response: ImapResponse) -> Listed | None:
    """Read a LIST response, None where it is another.

    Raises:
        Failed: PROTOCOL_ERROR.

    """
    if response.text[:5].upper() != "LIST ":
        return None
    match items(response.text[5:], response.literals):
        case [list(attributes), divider, str() | bytes() as name, *_]:
            words = frozenset(word.lower() for word in attributes if isinstance(word, str))
            return Listed(words, _bytes(divider).decode(errors="replace"), from_utf7(_bytes(name).decode(errors="backslashreplace")))
    raise _unreadable(response.text)


def searched(answer: ImapAnswer) -> list[int]:
    """Return what SEARCH found."""
    words = [response.text.split() for response in answer.untagged]
    return [number(word) for first, *rest in filter(None, words) if first.upper() == "SEARCH" for word in rest if number(word)]


def counted(response: ImapResponse) -> tuple[str, int]:
    """Return ("EXISTS" or "EXPUNGE", number) of such a response, ("", 0) of any other."""
    match = _COUNT.fullmatch(response.text.rstrip())
    return (match[2].upper(), int(match[1])) if match else ("", 0)


def codes(answer: ImapAnswer) -> dict[str, str]:
    """Return the response codes of an answer, such as {"UIDVALIDITY": "3", "READ-ONLY": ""} (RFC 3501 7.1, RFC 5530)."""
    statuses = [response.text.partition(" ")[2] for response in answer.untagged if response.text[:3].upper() in {"OK ", "NO "}]
    return {match[1].upper(): match[2] or "" for text in (*statuses, answer.text) if (match := _CODE.match(text))}


def number(item: Item) -> int:
    """Return an atom as a number, 0 where it is none."""
    return int(item) if isinstance(item, str) and item.isascii() and item.isdigit() and len(item) <= 10 else 0  # noqa: PLR2004 - 32 bits


def internal_date(text: str) -> float | None:
    """Return an INTERNALDATE as Unix seconds, None where it is none."""
    match = _DATE.fullmatch(text)
    if match is None or (month := match[2].title()) not in MONTHS:
        return None
    day, year, hour, minute, second, east, south = (int(match[i]) for i in (1, 3, 4, 5, 6, 8, 9))
    offset = timedelta(hours=east, minutes=south) * (1 if match[7] == "+" else -1)
    try:
        # A leap second is told as the one before it.
        return datetime(year, MONTHS.index(month) + 1, day, hour, minute, min(second, 59), tzinfo=timezone(offset)).timestamp()
    except (ValueError, OverflowError):
        return None


def search_date(moment: float) -> str:
    """Return the day of a moment in Unix seconds as SEARCH wants it, "24-Dec-2026", whatever the machine's language."""
    day = datetime.fromtimestamp(moment, UTC)
    return f"{day.day}-{MONTHS[day.month - 1]}-{day.year}"


def quoted(text: str) -> str:
    """Return printable ASCII as a quoted string."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def to_utf7(name: str) -> str:
    """Return the name of a mailbox in modified UTF-7 (RFC 3501 5.1.3)."""
    return _UNSHIFTED.sub(lambda match: "&-" if match[0] == "&" else _shift(match[0]), name)


def from_utf7(name: str) -> str:
    """Return what a name in modified UTF-7 says; as it stands where it says nothing."""
    return _SHIFTED.sub(lambda match: _unshift(match[1]) or match[0], name)


def _tokens(text: str) -> Iterator[re.Match[str]]:
    position, end = 0, len(text.rstrip())
    while position < end:
        match = _TOKEN.match(text, position)
        if match is None:
            raise _unreadable(text)
        yield match
        position = match.end()


def _value(token: re.Match[str], literals: Iterator[bytes]) -> Item:
    if token["literal"] is not None:
        literal = next(literals, None)
        if literal is None:
            raise _unreadable(token[0])
        return literal
    if token["quoted"] is not None:
        return re.sub(r"\\(.)", r"\1", token["quoted"], flags=re.DOTALL).encode()
    return None if token["atom"].upper() == "NIL" else token["atom"]


def _bytes(item: Item) -> bytes:
    return item if isinstance(item, bytes) else item.encode() if isinstance(item, str) else b""


def _shift(text: str) -> str:
    packed = base64.b64encode(text.encode("utf-16-be", "surrogatepass")).decode("ascii")
    return f"&{packed.rstrip('=').replace('/', ',')}-"


def _unshift(packed: str) -> str:
    if not packed:
        return "&"
    try:
        raw = base64.b64decode(packed.replace(",", "/") + "=" * (-len(packed) % 4), validate=True)
        return raw.decode("utf-16-be")
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _unreadable(text: str) -> Failed:
    return Failed(Reason.PROTOCOL_ERROR, f"an IMAP response that cannot be read: {shown(text)[:200]!r}")
