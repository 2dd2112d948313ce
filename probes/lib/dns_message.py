"""DNS messages: questions built once, answers read by us.

The walk over a message is ours, because a hostile 64 kB answer of thousands of records must not hold up other probes: it gives way to
the loop again and again. It also costs a tenth of `dns.message.from_wire`. dnspython writes questions, and reads the data of all but the
commonest types.
"""

import asyncio
import os
import socket
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import dns.edns
import dns.exception
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
_OPTION = struct.Struct("!HH")
_KIND_AND_CLASS = struct.Struct("!HH")
_EDE_NUMBER = 2
_A, _CNAME, _OPT, _IN = int(RdataType.A), int(RdataType.CNAME), int(RdataType.OPT), int(dns.rdataclass.IN)
_QR, _QR_AND_OPCODE, _TC_IN_THIRD_BYTE, _RD, _AD, _DO = 0x8000, 0xF800, 0x02, 0x0100, 0x0020, 0x8000
# Plain numbers, because dnspython's flags cost a microsecond each time.
_LONGEST_TTL = 0x7FFFFFFF
_OUR_OPT = 11
# Bytes of the OPT record that ends each of our questions.
_LONGEST_CHAIN = 16
_POINTER = 0xC0
_BATCH = 64
# Records read before other probes have their turn; half a millisecond where dnspython reads them.
_WITHOUT_QUESTION = {dns.rcode.FORMERR, dns.rcode.SERVFAIL, dns.rcode.NOTIMP, dns.rcode.REFUSED}
# Errors that servers may send with an empty question section.


@dataclass(frozen=True)
class Question:
    """What to ask. `name` is a name in ASCII without the last dot ("" is the root). `authenticated` asks the resolver to validate."""

    name: str
    kind: RdataType
    recursion: bool = True
    authenticated: bool = False

    @cached_property
    def tail(self) -> bytes:
        """The message that asks it, without the id."""
        flags = (_RD if self.recursion else 0) | (_AD if self.authenticated else 0)
        counts = b"\0\1\0\0\0\0\0\1"
        asked = _written(parse_name(self.name)) + _KIND_AND_CLASS.pack(self.kind, _IN)
        edns = b"\0" + _RECORD.pack(_OPT, EDNS_PAYLOAD, _DO if self.authenticated else 0, 0)
        return flags.to_bytes(2) + counts + asked + edns

    def __str__(self) -> str:
        return f"{self.name or '.'} {dns.rdatatype.to_text(self.kind)}"


class Record(NamedTuple):
    """One record of an answer. `text` is its data as people write it: names in lower case without the last dot, TXT as one text."""

    text: str
    ttl: int


class Answer(NamedTuple):
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
        return bool(self.flags & _AD)

    @property
    def texts(self) -> tuple[str, ...]:
        """The records as text."""
        return tuple([record.text for record in self.records])


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


def _written(name: dns.name.Name) -> bytes:
    return b"".join([bytes((len(label),)) + label for label in name.labels])


def shown_name(name: dns.name.Name) -> str:
    """Return a name in lower case without the last dot."""
    return name.to_text(omit_final_dot=True).lower() if name.labels != (b"",) else ""


def new_query(question: Question) -> bytes:
    """Return a message that asks the question, with a fresh random id."""
    return os.urandom(2) + question.tail


def is_reply(query: bytes, wire: bytes) -> bool:
    """Say whether `wire` claims to answer `query`: id, direction and question (RFC 5452 section 9.1)."""
    if len(wire) < _HEADER.size or wire[:2] != query[:2]:
        return False
    _, flags, questions, *_ = _HEADER.unpack_from(wire)
    if flags & _QR_AND_OPCODE != _QR:
        return False
    if questions == 0:
        return flags & 0xF in _WITHOUT_QUESTION
    end = len(query) - _OUR_OPT
    if questions == 1 and wire[12:end] == query[12:end]:
        return True
    return questions == 1 and wire[12 : end - 4].lower() == query[12 : end - 4].lower() and wire[end - 4 : end] == query[end - 4 : end]


def is_truncated(wire: bytes) -> bool:
    """Say whether the server had to leave something out (TC)."""
    return bool(wire[2] & _TC_IN_THIRD_BYTE)


async def parse_answer(question: Question, wire: bytes) -> Answer:
    """Read a message that `is_reply` let through.

    Raises:
        Failed: PROTOCOL_ERROR where it is malformed.

    """
    try:
        reading = _Reading(wire, question)
        while reading.next_batch():  # noqa: ASYNC110 - waits for nothing, gives way
            await asyncio.sleep(0)
        return reading.found()
    except (dns.exception.DNSException, struct.error, IndexError, ValueError) as error:
        raise Failed(Reason.PROTOCOL_ERROR, f"{question}: malformed answer of {len(wire)} bytes: {error}") from error


class _Reading:
    """One message while it is read. Written to be quick where the answer is the usual one: a record or two."""

    __slots__ = ("answers", "errors", "extended_rcode", "flags", "names", "others", "position", "question", "records", "wire")

    def __init__(self, wire: bytes, question: Question) -> None:
        """Read the header and pass over the question."""
        _, self.flags, questions, self.answers, authorities, additional = _HEADER.unpack_from(wire)
        self.wire = wire
        self.question = question
        self.others = authorities + additional
        self.records: dict[tuple[str, int], list[Record]] = {}
        self.names = {_HEADER.size: question.name}
        self.extended_rcode = 0
        self.errors: tuple[str, ...] = ()
        self.position = _HEADER.size
        for _ in range(questions):
            self.position = self._skip_name(self.position) + _KIND_AND_CLASS.size

    def next_batch(self) -> bool:
        """Read some records, and say whether there are more."""
        count = min(self.answers, _BATCH)
        self.position = self._read_answers(self.position, count)
        self.answers -= count
        if not self.answers:
            count = min(self.others, _BATCH)
            self.position = self._read_rest(self.position, count)
            self.others -= count
        return bool(self.answers or self.others)

    def _read_answers(self, position: int, count: int) -> int:
        """Keep the next records, and return where they end."""
        wire, records = self.wire, self.records
        for _ in range(count):
            owner = self._name(position)
            position = self._skip_name(position)
            kind, kind_class, ttl, length = _RECORD.unpack_from(wire, position)
            position += _RECORD.size
            if position + length > len(wire):
                raise ValueError("a record ends behind the message")
            if kind_class == _IN:
                text = _TEXTS.get(kind, _any_text)(self, kind, position, length)
                records.setdefault((owner, kind), []).append(Record(text, min(ttl, _LONGEST_TTL)))
            position += length
        return position

    def _read_rest(self, position: int, count: int) -> int:
        """Look for the OPT record among the next ones, and return where they end."""
        for _ in range(count):
            position = self._skip_name(position)
            kind, _, ttl, length = _RECORD.unpack_from(self.wire, position)
            position += _RECORD.size
            if position + length > len(self.wire):
                raise ValueError("a record ends behind the message")
            if kind == _OPT:
                self.extended_rcode = ttl >> 24
                self._read_options(position, position + length)
            position += length
        return position

    def _name(self, position: int) -> str:
        """Return a name in lower case. Nearly always it is a pointer to one that was read before."""
        wire = self.wire
        first = wire[position]
        target = (first & 0x3F) << 8 | wire[position + 1] if first >= _POINTER else position
        name = self.names.get(target)
        if name is None:
            name = self.names[target] = shown_name(dns.name.from_wire(wire, position)[0])
        return name

    def _skip_name(self, position: int) -> int:
        wire = self.wire
        while length := wire[position]:
            if length >= _POINTER:
                return position + 2
            position += length + 1
        return position + 1

    def _read_options(self, position: int, end: int) -> None:
        """Keep extended errors (RFC 8914)."""
        while position + 4 <= end:
            code, length = _OPTION.unpack_from(self.wire, position)
            position += 4
            if code == dns.edns.OptionType.EDE and length >= _EDE_NUMBER:
                number = int.from_bytes(self.wire[position : position + _EDE_NUMBER])
                text = _printable(self.wire[position + _EDE_NUMBER : min(position + length, end)].decode(errors="backslashreplace"))
                self.errors += (f"{_EXTENDED.get(number, f'extended error {number}')} {text}".rstrip(),)
            position += length

    def found(self) -> Answer:
        """Walk the CNAME chain from the question to the records that answer it."""
        owner, kind, chain = self.question.name, int(self.question.kind), list[Record]()
        records = self.records.get((owner, kind))
        while records is None and len(chain) < _LONGEST_CHAIN and (owner, _CNAME) in self.records:
            chain.append(self.records[owner, _CNAME][0])
            owner = chain[-1].text
            records = self.records.get((owner, kind))
        found = records or []
        ttl = min([record.ttl for record in found + chain], default=None)
        rcode = _rcode(self.flags & 0xF | self.extended_rcode << 4)
        return Answer(rcode, self.flags, tuple(found), tuple([alias.text for alias in chain]), ttl, self.errors)


@lru_cache(maxsize=4096)
def _rcode(number: int) -> str:
    return dns.rcode.to_text(dns.rcode.Rcode.make(number))


def _address_text(reading: _Reading, kind: int, position: int, length: int) -> str:
    return socket.inet_ntop(socket.AF_INET if kind == _A else socket.AF_INET6, reading.wire[position : position + length])


def _txt_text(reading: _Reading, _kind: int, position: int, length: int) -> str:
    wire, end, parts = reading.wire, position + length, list[bytes]()
    while position < end:
        size = wire[position]
        if position + 1 + size > end:
            raise ValueError("a text ends behind its record")
        parts.append(wire[position + 1 : position + 1 + size])
        position += 1 + size
    return _joined(parts)


def _any_text(reading: _Reading, kind: int, position: int, length: int) -> str:
    return shown_data(dns.rdata.from_wire(dns.rdataclass.IN, RdataType.make(kind), reading.wire, position, length))


_TEXTS: dict[int, Callable[[_Reading, int, int, int], str]] = {
    _A: _address_text,
    int(RdataType.AAAA): _address_text,
    int(RdataType.TXT): _txt_text,
}
# Nine tenths of all records; dnspython reads the others.


_EXTENDED = {int(code): code.name.lower().replace("_", " ") for code in dns.edns.EDECode}


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
        return _joined(data.strings)
    text = data.to_text()
    if data.rdtype in _NAMED:
        return " ".join(word.removesuffix(".") or "." for word in text.lower().split(" "))
    return text


def _joined(strings: Iterable[bytes]) -> str:
    return _printable(b"".join(strings).decode(errors="backslashreplace"))


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
