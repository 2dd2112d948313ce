"""What an answer has to be: the settings block `expect`, and the judge. A judge of content alone: rcodes are judged where they arrive."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Self

import dns.exception
import dns.rcode
from pydantic import AfterValidator, Field, model_validator

from probes.core.contract import Failed, Settings
from probes.core.reasons import Reason
from probes.lib import regex
from probes.lib.dns_message import Answer, Question, parse_data, parse_name, shown_name

NOT_VOUCHED = "the resolver does not vouch for the answer (no AD flag)"
"""What is wrong with an answer that should have been validated."""

_MANY_RECORDS = 200
_LISTED = 5


def _rcode(text: str) -> str:
    try:
        return dns.rcode.to_text(dns.rcode.from_text(text.upper()))
    except (dns.exception.DNSException, ValueError) as error:
        raise ValueError(f"{text!r} is no DNS response code") from error


class Range(Settings):
    """Bounds, each of which may be left out."""

    min: Annotated[int, Field(ge=0)] | None = None
    """Lowest value allowed."""
    max: Annotated[int, Field(ge=0)] | None = None
    """Highest value allowed."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError("min is greater than max")
        return self

    def holds(self, value: int) -> bool:
        """Say whether the value is within the bounds."""
        return (self.min is None or self.min <= value) and (self.max is None or value <= self.max)

    def __str__(self) -> str:
        return f"from {self.min or 0}" + (f" to {self.max}" if self.max is not None else "")


class Expected(Settings):
    """What the answer has to be. Data is written as in a zone file, `10 mail.contoso.com`; names need no last dot; TXT is plain text."""

    rcode: Annotated[str, AfterValidator(_rcode)] = "NOERROR"
    """Response code by name. With another one than NOERROR, such as NXDOMAIN, nothing else can be expected."""
    equals: tuple[str, ...] | None = None
    """Exactly these records, in any order."""
    contains: tuple[str, ...] = ()
    """At least these records."""
    matches: tuple[regex.Pattern, ...] = ()
    """Regular expressions (RE2), each of which must be found in at least one record."""
    count: Range | None = None
    """How many records. Without it at least one is needed."""
    ttl: Range | None = None
    """Bounds of the lowest time to live, in seconds. A resolver counts it down."""
    cname_chain: tuple[str, ...] | None = None
    """Exactly these names, one after the other, that CNAME records lead through from the name asked for."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.rcode != "NOERROR" and self.model_fields_set - {"rcode"}:
            raise ValueError(f"an answer with rcode {self.rcode} has no records to expect")
        return self

    @property
    def may_be_empty(self) -> bool:
        """Whether an answer without records can be right."""
        return self.rcode != "NOERROR" or self.equals == () or (self.count is not None and 0 in {self.count.min, self.count.max})


@dataclass(frozen=True)
class Wanted:
    """Settings of `expect` with the records and names as answers show them."""

    expect: Expected
    authenticated: bool
    equals: frozenset[str] | None
    contains: frozenset[str]
    chain: tuple[str, ...] | None

    @cached_property
    def checks(self) -> "tuple[Check, ...]":
        """What has to be looked at."""
        expect = self.expect
        needed = {
            _check_authenticated: self.authenticated,
            _check_records: self.equals is not None or bool(self.contains),
            _check_matches: bool(expect.matches),
            _check_count: expect.count is not None,
            _check_ttl: expect.ttl is not None,
            _check_chain: self.chain is not None,
        }
        return tuple(check for check, is_needed in needed.items() if is_needed)


Check = Callable[[Wanted, Answer], str]
"""Says what is wrong with an answer, or nothing."""


def read(expect: Expected, question: Question) -> Wanted:
    """Read what people wrote.

    Raises:
        ValueError: where it cannot be data of a record of that type.

    """
    return Wanted(
        expect,
        question.authenticated,
        None if expect.equals is None else frozenset(parse_data(question.kind, text) for text in expect.equals),
        frozenset(parse_data(question.kind, text) for text in expect.contains),
        None if expect.cname_chain is None else tuple(shown_name(parse_name(name)) for name in expect.cname_chain),
    )


async def judged(wanted: Wanted, question: Question, answer: Answer, spec: str) -> Failed | None:
    """Return what is wrong with an answer, or None. Gives way to other probes between checks of a long one."""
    if not answer.records and not wanted.expect.may_be_empty:
        return Failed(Reason.DNS_NO_DATA, f"{spec}: {question}: there is no such record")
    for check in wanted.checks:
        if len(answer.records) > _MANY_RECORDS:
            await asyncio.sleep(0)
        problem = check(wanted, answer)
        if problem:
            return Failed(Reason.DNS_MISMATCH, f"{spec}: {question}: {problem}")
    return None


def drift(said: Mapping[str, frozenset[str]]) -> str:
    """Return how the first two resolvers that differ do so, or an empty text."""
    first, reference = next(iter(said.items()), ("", frozenset[str]()))
    for spec, records in said.items():
        if records != reference:
            only = ((first, reference - records), (spec, records - reference))
            return f"{first} and {spec} differ: " + "; ".join(f"only {who} has {_listed(what)}" for who, what in only if what)
    return ""


def _check_authenticated(_wanted: Wanted, answer: Answer) -> str:
    return "" if answer.authenticated else NOT_VOUCHED


def _check_records(wanted: Wanted, answer: Answer) -> str:
    found = frozenset(answer.texts)
    missing = ((wanted.equals or frozenset()) | wanted.contains) - found
    unexpected = frozenset() if wanted.equals is None else found - wanted.equals
    problems = (("missing", missing), ("unexpected", unexpected))
    return "; ".join(f"{what}: {_listed(records)}" for what, records in problems if records)


def _check_matches(wanted: Wanted, answer: Answer) -> str:
    for pattern in wanted.expect.matches:
        if not any(regex.search(pattern, text.encode()) for text in answer.texts):
            return f"no record matches {pattern!r}"
    return ""


def _check_count(wanted: Wanted, answer: Answer) -> str:
    count = wanted.expect.count
    return "" if count is None or count.holds(len(answer.records)) else f"{len(answer.records)} records, expected {count}"


def _check_ttl(wanted: Wanted, answer: Answer) -> str:
    ttl = wanted.expect.ttl
    return "" if ttl is None or answer.ttl is None or ttl.holds(answer.ttl) else f"time to live {answer.ttl} s, expected {ttl} s"


def _check_chain(wanted: Wanted, answer: Answer) -> str:
    if wanted.chain == answer.chain:
        return ""
    return f"the CNAME chain is {' > '.join(answer.chain) or 'empty'}, expected {' > '.join(wanted.chain or ()) or 'an empty one'}"


def _listed(texts: Iterable[str]) -> str:
    """Return some texts in a stable order."""
    ordered = sorted(texts)
    return ", ".join(ordered[:_LISTED]) + (f" and {len(ordered) - _LISTED} more" if len(ordered) > _LISTED else "")
