"""DNS messages: questions built once, answers read by us.

dnspython reads each record's data; the walk over the message is ours, because a hostile 64 kB answer of thousands of records must not hold
up other probes: it gives way to the loop every millisecond. An answer of usual size costs a third of `dns.message.from_wire`.
"""

import asyncio
import os
import struct
from dataclasses import dataclass, field
from functools import lru_cache
from time import perf_counter

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
from dns.rdatatype import RdataType
from dns.rdtypes.ANY.TXT import TXT

from probes.core.contract import Failed
from probes.core.reasons import Reason

EDNS_PAYLOAD = 1232
"""Largest datagram we ask for: what crosses the internet without fragments (DNS flag day 2020)."""

_HEADER = struct.Struct("!HHHHHH")
_RECORD = struct.Struct("!HHIH")
_EDE_NUMBER = 2
_LONGEST_CHAIN = 16
_POINTER = 0xC0
_SLICE_SECONDS = 0.001
_WITHOUT_QUESTION = {dns.rcode.FORMERR, dns.rcode.SERVFAIL, dns.rcode.NOTIMP, dns.rcode.REFUSED}
# Errors that servers may send with an empty question section.


@dataclass(frozen=True, slots=True)
class Question:
    """What to ask. `name` is a name in ASCII without the last dot ("" is the root). `authenticated` asks the resolver to validate."""

    name: str
    kind: RdataType
    recursion: bool = True
    authenticated: bool = False

    def __str__(self) -> str:
        return f"{self.name or '.'} {dns.rdatatype.to_text(self.kind)}"


@dataclass(frozen=True, slots=True)
class Record:
    """One record of an answer. `text` is its data as people write it: names in lower case without the last dot, TXT as one text."""

    owner: str
    kind: RdataType
    ttl: int
    data: dns.rdata.Rdata
    text: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a name server said.

    `records` are those that answer the question, at the end of `chain`, the CNAME targets in order; `ttl` is the lowest in both, None where
    both are empty. `errors` are extended DNS errors (RFC 8914).
    """

    rcode: str
    flags: int
    records: tuple[Record, ...] = ()
    chain: tuple[str, ...] = ()
    ttl: int | None = None
    errors: tuple[str, ...] = ()

    @property
    def authenticated(self) -> bool:
        """Whether the resolver vouches for it (AD)."""
        return bool(self.flags & dns.flags.AD)

    @property
    def texts(self) -> tuple[str, ...]:
        """The records as text."""
        return tuple(record.text for record in self.records)


@lru_cache(maxsize=16384)
def parse_name(text: str) -> dns.name.Name:
    """Read an absolute name; the last dot may be missing, letters beyond ASCII become A-labels (IDNA 2008).

    Raises:
        ValueError: where it is none.

    """
    try:
        return dns.name.from_text(text, idna_codec=dns.name.IDNA_2008_Practical)
    except (dns.exception.DNSException, UnicodeError) as error:
        raise ValueError(f"{text!r} is no domain name: {error}") from error


def shown_name(name: dns.name.Name) -> str:
    """Return a name in lower case without the last dot."""
    return name.to_text(omit_final_dot=True).lower() if name.labels != (b"",) else ""


@lru_cache(maxsize=16384)
def _query(question: Question) -> bytes:
    flags = dns.flags.RD if question.recursion else 0
    message = dns.message.make_query(
        parse_name(question.name),
        question.kind,
        use_edns=0,
        payload=EDNS_PAYLOAD,
        want_dnssec=question.authenticated,
        flags=flags | (dns.flags.AD if question.authenticated else 0),
        id=0,
    )
    return message.to_wire()


def new_query(question: Question) -> bytes:
    """Return a message that asks the question, with a fresh random id."""
    return os.urandom(2) + _query(question)[2:]


def is_reply(query: bytes, wire: bytes) -> bool:
    """Say whether `wire` claims to answer `query`: id, direction and question (RFC 5452 section 9.1)."""
    if len(wire) < _HEADER.size or wire[:2] != query[:2]:
        return False
    _, flags, questions, *_ = _HEADER.unpack_from(wire)
    if not flags & dns.flags.QR or dns.opcode.from_flags(flags) != dns.opcode.QUERY:
        return False
    if questions == 0:
        return flags & 0xF in _WITHOUT_QUESTION
    end = _question_end(query)
    return questions == 1 and wire[12 : end - 4].lower() == query[12 : end - 4].lower() and wire[end - 4 : end] == query[end - 4 : end]


def is_truncated(wire: bytes) -> bool:
    """Say whether the server had to leave something out (TC)."""
    return bool(wire[2] & (dns.flags.TC >> 8))


def _question_end(query: bytes) -> int:
    """Return where the question of our own message ends."""
    position = 12
    while query[position]:
        position += query[position] + 1
    return position + 5


async def parse_answer(question: Question, wire: bytes) -> Answer:
    """Read a message that `is_reply` let through.

    Raises:
        Failed: PROTOCOL_ERROR where it is malformed.

    """
    try:
        return await _Reading(wire, question).answer()
    except (dns.exception.DNSException, struct.error, IndexError, ValueError) as error:
        raise Failed(Reason.PROTOCOL_ERROR, f"{question}: malformed answer of {len(wire)} bytes: {error}") from error


@dataclass(slots=True)
class _Reading:
    """One message while it is read."""

    wire: bytes
    question: Question
    records: dict[tuple[str, int], list[Record]] = field(default_factory=dict)
    owners: dict[int, str] = field(default_factory=dict)
    extended_rcode: int = 0
    errors: list[str] = field(default_factory=list)

    async def answer(self) -> Answer:
        _, flags, questions, answers, authorities, additional = _HEADER.unpack_from(self.wire)
        position = _HEADER.size
        for _ in range(questions):
            position = self._skip_name(position) + 4
            self.owners[_HEADER.size] = self.question.name
        due = perf_counter() + _SLICE_SECONDS
        for index in range(answers + authorities + additional):
            position = self._read_record(position, in_answer=index < answers)
            if perf_counter() > due:
                await asyncio.sleep(0)
                due = perf_counter() + _SLICE_SECONDS
        return self._found(flags)

    def _read_record(self, position: int, *, in_answer: bool) -> int:
        """Read one record and return where it ends. Beyond the answer section only the OPT record matters."""
        owner, position = self._owner(position) if in_answer else ("", self._skip_name(position))
        kind, kind_class, ttl, length = _RECORD.unpack_from(self.wire, position)
        position += _RECORD.size
        end: int = position + length
        if end > len(self.wire):
            raise ValueError(f"a record ends {end - len(self.wire)} bytes behind the message")
        if in_answer and kind_class == dns.rdataclass.IN:
            self._add(owner, RdataType.make(kind), min(ttl, 0x7FFFFFFF), position, length)
        elif kind == RdataType.OPT:
            self.extended_rcode = ttl >> 24
            self._read_options(position, end)
        return end

    def _add(self, owner: str, kind: RdataType, ttl: int, position: int, length: int) -> None:
        data = dns.rdata.from_wire(dns.rdataclass.IN, kind, self.wire, position, length)
        self.records.setdefault((owner, kind), []).append(Record(owner, kind, ttl, data, shown_data(data)))

    def _owner(self, position: int) -> tuple[str, int]:
        """Return a record's name in lower case, and where it ends. Nearly always it is a pointer to one that was read before."""
        first = self.wire[position]
        if first < _POINTER:
            return self._read_name(position), self._skip_name(position)
        target = (first & 0x3F) << 8 | self.wire[position + 1]
        if target not in self.owners:
            self.owners[target] = self._read_name(position)
        return self.owners[target], position + 2

    def _read_name(self, position: int) -> str:
        return shown_name(dns.name.from_wire(self.wire, position)[0])

    def _skip_name(self, position: int) -> int:
        while length := self.wire[position]:
            if length >= _POINTER:
                return position + 2
            position += length + 1
        return position + 1

    def _read_options(self, position: int, end: int) -> None:
        while position + 4 <= end:
            code, length = struct.unpack_from("!HH", self.wire, position)
            if code == dns.edns.OptionType.EDE and length >= _EDE_NUMBER:
                number = int.from_bytes(self.wire[position + 4 : position + 6])
                text = self.wire[position + 6 : min(position + 4 + length, end)].decode(errors="backslashreplace")
                self.errors.append(f"{_extended_error(number)} {text}".rstrip())
            position += 4 + length

    def _found(self, flags: int) -> Answer:
        """Walk the CNAME chain from the question to the records that answer it."""
        owner, chain, ttls = self.question.name, list[str](), list[int]()
        rcode = dns.rcode.to_text(dns.rcode.Rcode.make(flags & 0xF | self.extended_rcode << 4))
        while (owner, self.question.kind) not in self.records and len(chain) < _LONGEST_CHAIN:
            alias = self.records.get((owner, RdataType.CNAME))
            if alias is None:
                break
            owner = alias[0].text
            chain.append(owner)
            ttls.append(alias[0].ttl)
        records = tuple(self.records.get((owner, self.question.kind), ()))
        ttls += [record.ttl for record in records]
        return Answer(rcode, flags, records, tuple(chain), min(ttls, default=None), tuple(self.errors))


def _extended_error(number: int) -> str:
    try:
        return dns.edns.EDECode(number).name.lower().replace("_", " ")
    except ValueError:
        return f"extended error {number}"


_NAMED = {
    RdataType.CNAME,
    RdataType.DNAME,
    RdataType.MX,
    RdataType.NS,
    RdataType.PTR,
    RdataType.SOA,
    RdataType.SRV,
}


def shown_data(data: dns.rdata.Rdata) -> str:
    """Return a record's data as people write it: names in lower case without the last dot, the strings of a TXT as one text."""
    if isinstance(data, TXT):
        return _printable(b"".join(data.strings).decode(errors="backslashreplace"))
    text = data.to_text()
    if data.rdtype in _NAMED:
        return " ".join(word.removesuffix(".") or "." for word in text.lower().split(" "))
    return text


def _printable(text: str) -> str:
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def parse_data(kind: RdataType, text: str) -> str:
    """Read a record's data as a person wrote it, and return it as `shown_data` would show it.

    Raises:
        ValueError: where it cannot be data of that kind.

    """
    if kind == RdataType.TXT:
        return text
    try:
        codec = dns.name.IDNA_2008_Practical
        return shown_data(dns.rdata.from_text(dns.rdataclass.IN, kind, text, dns.name.root, relativize=False, idna_codec=codec))
    except (dns.exception.DNSException, ValueError) as error:
        raise ValueError(f"{text!r} is no data of a record of type {dns.rdatatype.to_text(kind)}: {error}") from error
