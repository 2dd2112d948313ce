"""SPF records (RFC 7208): reading one, and walking through all that it includes to count what a receiver would have to look up."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from ipaddress import ip_network

from dns.rdatatype import RdataType

from probes.lib.dns_message import parse_name, shown_name

MOST_LOOKUPS = 10
"""Receivers give up beyond (section 4.6.4)."""
MOST_VOIDS = 2
"""Lookups without a result that receivers put up with (section 4.6.4)."""
_WALK_ENDS = 40
# Lookups after which a record is beyond hope, so that a hostile one does not keep us.

Ask = Callable[[str, RdataType], Awaitable[tuple[str, ...]]]
"""Gives the records of a name as text, none where there are none; raises `Failed` where that cannot be found out."""

_ASKED = {"include": RdataType.TXT, "redirect": RdataType.TXT, "a": RdataType.A, "mx": RdataType.MX, "exists": RdataType.A}
_LOOKUPS = {*_ASKED, "ptr"}
_MECHANISMS = {*_LOOKUPS, "all"} - {"redirect"}
_WITH_PREFIX = {"a", "mx"}
_NEEDS_TARGET = {"include", "redirect", "exists"}
_TERM = re.compile(r"[+?~-]?(?P<name>[a-z][a-z0-9._-]*)(?:(?P<separator>[:=])(?P<target>[^/]*))?(?P<prefix>(?:/.*)?)", re.IGNORECASE)
_PREFIX = re.compile(r"(/\d{1,2})?(//\d{1,3})?")


@dataclass(frozen=True, slots=True)
class Term:
    """A mechanism or modifier: its name in lower case and what it is about ("" for the domain itself)."""

    name: str
    target: str


@dataclass(frozen=True, slots=True)
class Walk:
    """What evaluating a record would take, at worst.

    `included` are the names of all records that were drawn in, in the order found; `problems` are mistakes for which receivers ignore the
    whole record (permerror).
    """

    lookups: int
    voids: int
    included: tuple[str, ...]
    problems: tuple[str, ...]


def is_spf(text: str) -> bool:
    """Say whether a TXT record claims to be SPF."""
    return text.lower().split(" ", 1)[0] == "v=spf1"


def parse_spf(text: str) -> tuple[Term, ...]:
    """Read a record.

    Raises:
        ValueError: where it breaks the grammar.

    """
    return tuple(_parse_term(word) for word in text.split()[1:])


def _parse_term(word: str) -> Term:
    match = _TERM.fullmatch(word)
    if match is None:
        raise ValueError(f"{word!r} is no SPF term")
    name, target, prefix = match["name"].lower(), match["target"] or "", match["prefix"]
    if name not in _WITH_PREFIX:
        target += prefix
    elif not _PREFIX.fullmatch(prefix):
        raise ValueError(f"{word!r} has a malformed prefix length")
    if name in {"ip4", "ip6"}:
        _check_network(word, name, target)
    elif match["separator"] != "=" and name not in _MECHANISMS:
        raise ValueError(f"{word!r} is no SPF mechanism")
    if name in _NEEDS_TARGET and not target:
        raise ValueError(f"{word!r} names no domain")
    if name == "all" and target:
        raise ValueError(f"{word!r}: all is about no domain")
    return Term(name, target)


def _check_network(word: str, name: str, text: str) -> None:
    try:
        version = ip_network(text, strict=False).version
    except ValueError as error:
        raise ValueError(f"{word!r} is no network") from error
    if f"ip{version}" != name:
        raise ValueError(f"{word!r} is a network of IPv{version}")


async def walk_spf(ask: Ask, domain: str, record: str) -> Walk:
    """Follow a record through includes and redirects, level by level, those of one level at once."""
    state = _State(ask)
    level = state.terms(domain, record)
    while level:
        level = await state.next_level(level)
    return Walk(state.lookups, state.voids, tuple(state.included), tuple(dict.fromkeys(state.problems)))


_Step = tuple[str, Term]


@dataclass(slots=True)
class _State:
    """A walk under way."""

    ask: Ask
    lookups: int = 0
    voids: int = 0
    included: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def terms(self, domain: str, record: str) -> list[_Step]:
        """Count the lookups of a record, and return those to follow with the domain that they stand in."""
        try:
            terms = parse_spf(record)
        except ValueError as error:
            self.problems.append(f"SPF of {domain}: {error}")
            return []
        if not {"all", "+all"}.isdisjoint(record.lower().split()):
            self.problems.append(f"SPF of {domain} lets everybody send (+all)")
        ends = any(term.name == "all" for term in terms)
        counted = [term for term in terms if term.name in _LOOKUPS and not (term.name == "redirect" and ends)]
        room = max(_WALK_ENDS - self.lookups, 0)
        self.lookups += len(counted)
        return [(domain, term) for term in counted[:room] if term.name in _ASKED and "%" not in term.target]

    async def next_level(self, level: list[_Step]) -> list[_Step]:
        """Follow steps at once and wait for all of them, also where one fails."""
        followed = await asyncio.gather(*(self.follow(*step) for step in level), return_exceptions=True)
        found: list[_Step] = []
        for steps in followed:
            if isinstance(steps, BaseException):
                raise steps
            found += steps
        return found

    async def follow(self, domain: str, term: Term) -> list[_Step]:
        """Look up what a term names, and return what is to follow from there."""
        try:
            name = shown_name(parse_name(term.target or domain))
        except ValueError as error:
            self.problems.append(f"SPF of {domain}: {error}")
            return []
        kind = _ASKED[term.name]
        found = await self.ask(name, kind)
        if not found and term.name == "a":
            found = await self.ask(name, RdataType.AAAA)
        self.voids += not found
        return self.draw_in(name, found) if kind is RdataType.TXT else []

    def draw_in(self, name: str, texts: tuple[str, ...]) -> list[_Step]:
        """Go on with the one SPF record of a name that was included."""
        records = [text for text in texts if is_spf(text)]
        self.included.append(name)
        if len(records) != 1:
            self.problems.append(f"{name} is included and has {len(records)} SPF records")
            return []
        return self.terms(name, records[0])
