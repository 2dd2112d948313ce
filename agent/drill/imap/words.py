"""The words of IMAP (RFC 3501): arguments of a command, sets of numbers, what SEARCH looks for, and what FETCH shows of a message."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from email import message_from_bytes
from email.message import Message as Mime
from functools import partial
from typing import TypeAlias

from agent.drill.graph.mailbox import Message
from agent.drill.graph.mime import mime_of

SEEN, DELETED = "\\Seen", "\\Deleted"

Word: TypeAlias = "str | list[Word]"

_TOKEN = re.compile(r'\s*(?:"((?:[^"\\]|\\.)*)"|([()])|((?:[^\s()"\[]|\[[^\]]*\])+))', re.DOTALL)
_DEEPEST = 20
_RANGE = re.compile(r"(\d{1,10}|\*)(?::(\d{1,10}|\*))?")
_SECTION = re.compile(r"BODY(\.PEEK)?\[([^\]]*)\](?:<(\d{1,10})\.(\d{1,10})>)?", re.IGNORECASE)


def words_of(text: str) -> list[Word]:
    """Split arguments into words; what is in parentheses is a list.

    Raises:
        ValueError: where they are none.

    """
    open_lists: list[list[Word]] = [[]]
    place = 0
    while place < len(text.rstrip()):
        found = _TOKEN.match(text, place)
        if found is None:
            raise ValueError(text)
        place = found.end()
        _take(open_lists, found)
    if len(open_lists) != 1:
        raise ValueError(text)
    return open_lists[0]


def _take(open_lists: list[list[Word]], found: re.Match[str]) -> None:
    """Put one token where it belongs."""
    string, parenthesis, atom = found.groups()
    if parenthesis == "(" and len(open_lists) <= _DEEPEST:
        inner: list[Word] = []
        open_lists[-1].append(inner)
        open_lists.append(inner)
    elif parenthesis:
        if parenthesis == "(" or len(open_lists) == 1:
            raise ValueError(found.string)
        open_lists.pop()
    else:
        open_lists[-1].append(atom if string is None else re.sub(r"\\(.)", r"\1", string, flags=re.DOTALL))


def quoted(text: str) -> str:
    """Write a string."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def in_set(text: str, number: int, highest: int) -> bool:
    """Say whether a set such as `1:3,7,9:*` has this number.

    Raises:
        ValueError: where it is no set.

    """
    return any(low <= number <= high for low, high in _ranges(text, highest))


def _ranges(text: str, highest: int) -> Iterator[tuple[int, int]]:
    for part in text.split(","):
        found = _RANGE.fullmatch(part)
        if found is None:
            raise ValueError(part)
        first, last = (highest if end == "*" else int(end) for end in (found[1], found[2] or found[1]))
        yield min(first, last), max(first, last)


@dataclass(frozen=True, slots=True)
class Row:
    """One message as a client knows it: its place in the folder, the folder's size and highest UID at that moment."""

    place: int
    message: Message
    places: int
    highest: int


def flags_of(message: Message) -> str:
    """Give the flags of a message."""
    return " ".join(sorted({*message.flags, *([SEEN] if message.is_read else [])}))


def internal_date(seconds: float) -> str:
    """Write a moment (Unix seconds) as INTERNALDATE has it."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%d-%b-%Y %H:%M:%S +0000")


def shown(row: Row, item: str) -> bytes:
    """Give one item of FETCH, name and value.

    Raises:
        ValueError: for an item that nobody plays here.

    """
    message = row.message
    simple: Mapping[str, Callable[[], str]] = {
        "FLAGS": lambda: f"({flags_of(message)})",
        "UID": lambda: str(message.number),
        "INTERNALDATE": lambda: f'"{internal_date(message.received)}"',
        "RFC822.SIZE": lambda: str(len(mime_of(message.letter))),
    }
    if item.upper() in simple:
        return f"{item.upper()} {simple[item.upper()]()}".encode()
    section = _SECTION.fullmatch(_OLD_NAMES.get(item.upper(), item))
    if section is None:
        raise ValueError(item)
    return _literal(item, section, mime_of(message.letter))


_OLD_NAMES = {"RFC822": "BODY[]", "RFC822.HEADER": "BODY.PEEK[HEADER]", "RFC822.TEXT": "BODY[TEXT]"}


def reads(item: str) -> bool:
    """Say whether showing this item makes the message a read one."""
    section = _SECTION.fullmatch(_OLD_NAMES.get(item.upper(), item))
    return section is not None and not section[1]


def _literal(item: str, section: re.Match[str], raw: bytes) -> bytes:
    content, name = _part(section[2], raw), item.upper() if item.upper() in _OLD_NAMES else f"BODY[{section[2]}]"
    if section[3]:
        content, name = content[int(section[3]) :][: int(section[4])], f"{name}<{section[3]}>"
    return f"{name} {{{len(content)}}}\r\n".encode() + content


def _part(section: str, raw: bytes) -> bytes:
    header, _, text = raw.partition(b"\r\n\r\n")
    match section.upper():
        case "":
            return raw
        case "HEADER":
            return header + b"\r\n\r\n"
        case "TEXT":
            return text
    what, _, names = section.upper().partition(" ")
    if what not in ("HEADER.FIELDS", "HEADER.FIELDS.NOT") or not names:
        raise ValueError(section)
    wanted = {name.strip('"') for name in names.strip("()").split()}
    lines = [line for line in header.split(b"\r\n") if (line.partition(b":")[0].decode().upper() in wanted) == (what == "HEADER.FIELDS")]
    return b"".join(line + b"\r\n" for line in lines) + b"\r\n"


Fits = Callable[[Row], bool]


def criteria(words: Sequence[Word]) -> Fits:
    """Read what SEARCH looks for.

    Raises:
        ValueError: for what Exchange does not search by, such as KEYWORD and RETURN, and for what nobody does.

    """
    rest = iter(words[2:] if words and str(words[0]).upper() == "CHARSET" else words)
    fits = [_criterion(word, rest) for word in rest]
    if not fits:
        raise ValueError("SEARCH")
    return lambda row: all(each(row) for each in fits)


def _criterion(word: Word, rest: Iterator[Word]) -> Fits:
    if isinstance(word, list):
        return criteria(word)
    name = word.upper()
    if name in _STATES:
        return _STATES[name]
    if name in _WITH_VALUE:
        return _WITH_VALUE[name](_text(rest))
    if name in ("NOT", "OR"):
        return _combined(name, rest)
    if name == "HEADER":
        return _header(_text(rest), _text(rest))
    in_set(word, 0, 0)
    return lambda row: in_set(word, row.place, row.places)


def _combined(name: str, rest: Iterator[Word]) -> Fits:
    first = _next(rest)
    if name == "NOT":
        return lambda row: not first(row)
    second = _next(rest)
    return lambda row: first(row) or second(row)


def _next(rest: Iterator[Word]) -> Fits:
    word = next(rest, None)
    if word is None:
        raise ValueError("SEARCH")
    return _criterion(word, rest)


def _text(rest: Iterator[Word]) -> str:
    word = next(rest, None)
    if not isinstance(word, str):
        raise ValueError("SEARCH")  # noqa: TRY004 - a mistake of the other side, not a wrong type of ours
    return word


def _flagged(flag: str, *, wanted: bool = True) -> Fits:
    return lambda row: (flag in flags_of(row.message).split()) is wanted


_STATES: Mapping[str, Fits] = {
    "ALL": lambda _row: True,
    "OLD": lambda _row: True,
    "NEW": lambda _row: False,
    "RECENT": lambda _row: False,
    **{flag.upper(): _flagged(f"\\{flag}") for flag in ("Seen", "Answered", "Flagged", "Deleted", "Draft")},
    **{f"UN{flag.upper()}": _flagged(f"\\{flag}", wanted=False) for flag in ("Seen", "Answered", "Flagged", "Deleted", "Draft")},
}


def _mime(row: Row) -> Mime:
    return message_from_bytes(mime_of(row.message.letter))


def _header(name: str, value: str) -> Fits:
    return lambda row: any(value.lower() in str(each).lower() for each in _mime(row).get_all(name, []))


def _day(text: str) -> date:
    return datetime.strptime(text, "%d-%b-%Y").replace(tzinfo=UTC).date()


def _received(row: Row) -> date:
    return datetime.fromtimestamp(row.message.received, UTC).date()


def _sent(row: Row) -> date:
    return datetime.fromtimestamp(row.message.letter.sent, UTC).date()


def _by_day(day_of: Callable[[Row], date], compare: Callable[[date, date], bool]) -> Callable[[str], Fits]:
    def read(text: str) -> Fits:
        day = _day(text)
        return lambda row: compare(day_of(row), day)

    return read


def _by_number(text: str) -> Fits:
    in_set(text, 0, 0)
    return lambda row: in_set(text, row.message.number, row.highest)


_WITH_VALUE: Mapping[str, Callable[[str], Fits]] = {
    **{name: partial(_header, name) for name in ("SUBJECT", "FROM", "TO", "CC", "BCC")},
    "BODY": lambda value: lambda row: value.lower() in row.message.letter.body.lower(),
    "TEXT": lambda value: lambda row: value.lower() in mime_of(row.message.letter).decode(errors="replace").lower(),
    "UID": _by_number,
    "SINCE": _by_day(_received, lambda day, wanted: day >= wanted),
    "BEFORE": _by_day(_received, lambda day, wanted: day < wanted),
    "ON": _by_day(_received, lambda day, wanted: day == wanted),
    "SENTSINCE": _by_day(_sent, lambda day, wanted: day >= wanted),
    "SENTBEFORE": _by_day(_sent, lambda day, wanted: day < wanted),
}
