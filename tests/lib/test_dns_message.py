"""Reading DNS messages: against dnspython's own reader where the message is good, and never more than `Failed` where it is not."""

import asyncio
import struct
from contextlib import suppress

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdatatype
import dns.rrset
import pytest
from dns.rdatatype import RdataType
from hypothesis import given
from hypothesis import strategies as st

from probes.core.contract import Failed
from probes.core.reasons import Reason
from probes.lib.dns_message import Answer, Question, is_reply, is_truncated, new_query, parse_answer, parse_data, parse_name, shown_name

QUESTION = Question("www.contoso.example", RdataType.A)
NAME = "www.contoso.example."

DATA = {
    "A": "192.0.2.1",
    "AAAA": "2001:db8::1",
    "CAA": '0 issue "ca.example"',
    "CNAME": "edge.contoso.example",
    "HTTPS": '1 . alpn="h2"',
    "MX": "10 mail.contoso.example",
    "NS": "ns1.contoso.example",
    "PTR": "host.contoso.example",
    "SOA": "ns1.contoso.example hostmaster.contoso.example 1 2 3 4 5",
    "SRV": "100 1 443 sip.contoso.example",
    "TLSA": "3 1 1 " + "ab" * 32,
    "TXT": "v=spf1 -all",
    "TYPE65280": r"\# 4 0a000001",
}


def response(*records: dns.rrset.RRset, question: Question = QUESTION) -> dns.message.Message:
    """Return an answer of dnspython's making, names compressed."""
    made = dns.message.make_response(dns.message.from_wire(new_query(question)), recursion_available=True)
    made.answer.extend(records)
    return made


def read(wire: bytes, question: Question = QUESTION) -> Answer:
    """Read a message to the end."""
    return asyncio.run(parse_answer(question, wire))


def test_a_question_is_what_dnspython_would_ask() -> None:
    wire = new_query(Question("www.contoso.example", RdataType.MX, authenticated=True))
    query = dns.message.from_wire(wire)

    assert query.question[0].to_text() == "www.contoso.example. IN MX"
    assert query.flags == dns.flags.RD | dns.flags.AD
    assert query.ednsflags == dns.flags.DO
    assert query.payload == 1232
    assert dns.message.from_wire(new_query(Question("a.example", RdataType.A, recursion=False))).flags == 0


def test_each_question_has_an_id_of_its_own() -> None:
    assert len({new_query(QUESTION)[:2] for _ in range(200)}) > 150


@pytest.mark.parametrize("kind", DATA)
def test_data_of_every_kind_reads_as_people_write_it(kind: str) -> None:
    question = Question("www.contoso.example", dns.rdatatype.from_text(kind))
    written = f'"{DATA[kind]}"' if kind == "TXT" else DATA[kind]
    data = dns.rdata.from_text("IN", kind, written, dns.name.root, relativize=False)
    answer = read(response(dns.rrset.from_rdata(NAME, 300, data), question=question).to_wire(), question)

    assert answer.texts == (DATA[kind],)
    assert answer.texts == (parse_data(question.kind, DATA[kind]),)
    assert answer.ttl == 300


def test_a_chain_is_followed_whatever_the_letter_case_and_the_order() -> None:
    answer = read(
        response(
            dns.rrset.from_text("LAST.contoso.example.", 60, "IN", "A", "192.0.2.1", "192.0.2.2"),
            dns.rrset.from_text("Edge.contoso.example.", 30, "IN", "CNAME", "last.Contoso.example."),
            dns.rrset.from_text("WWW.contoso.example.", 300, "IN", "CNAME", "edge.contoso.example."),
            dns.rrset.from_text("other.example.", 1, "IN", "A", "203.0.113.1"),
        ).to_wire()
    )

    assert answer.chain == ("edge.contoso.example", "last.contoso.example")
    assert sorted(answer.texts) == ["192.0.2.1", "192.0.2.2"]
    assert answer.ttl == 30


def test_records_of_another_class_do_not_answer() -> None:
    assert read(response(dns.rrset.from_text(NAME, 300, "CH", "TXT", '"x"')).to_wire()).records == ()


def test_a_rcode_beyond_four_bits_is_put_together_with_its_upper_half() -> None:
    made = response()
    made.set_rcode(dns.rcode.BADCOOKIE)
    assert read(made.to_wire()).rcode == "BADCOOKIE"


def test_a_malformed_answer_is_a_protocol_error_with_its_size() -> None:
    with pytest.raises(Failed, match=f"malformed answer of {len(GOOD) - 7} bytes") as caught:
        read(GOOD[:-7])
    assert caught.value.reason is Reason.PROTOCOL_ERROR


def test_a_text_that_is_longer_than_its_record_is_malformed() -> None:
    question = Question("www.contoso.example", RdataType.TXT)
    header = GOOD[:4] + struct.pack("!HHHH", 1, 1, 0, 0) + new_query(question)[12:37]
    with pytest.raises(Failed, match="a text ends behind its record"):
        read(header + b"\xc0\x0c" + struct.pack("!HHIH", RdataType.TXT, 1, 300, 3) + b"\x05ab", question)


def test_control_characters_of_a_text_cannot_reach_a_terminal() -> None:
    question = Question("www.contoso.example", RdataType.TXT)
    answer = read(response(dns.rrset.from_text(NAME, 300, "IN", "TXT", r'"\027[31mred\255"'), question=question).to_wire(), question)
    assert answer.texts == (r"\x1b[31mred\xff",)


@given(st.data())
def test_what_dnspython_writes_is_read_alike(data: st.DataObject) -> None:
    labels = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_", min_size=1, max_size=20)
    names = st.lists(labels, min_size=1, max_size=6).map(lambda parts: ".".join(parts) + ".")
    hosts = data.draw(st.lists(st.tuples(st.integers(0, 65535), names), min_size=1, max_size=8, unique=True))
    question = Question(shown_name(parse_name(data.draw(names))), RdataType.MX)
    rrset = dns.rrset.from_text(question.name + ".", 60, "IN", "MX", *(f"{preference} {host}" for preference, host in hosts))
    wire = response(rrset, question=question).to_wire()

    assert frozenset(read(wire, question).texts) == {f"{preference} {host[:-1]}" for preference, host in hosts}


GOOD = response(
    dns.rrset.from_text(NAME, 300, "IN", "CNAME", "edge.contoso.example."),
    dns.rrset.from_text("edge.contoso.example.", 300, "IN", "A", "192.0.2.1"),
    dns.rrset.from_text("edge.contoso.example.", 300, "IN", "MX", "1 edge.contoso.example."),
    dns.rrset.from_text("edge.contoso.example.", 300, "IN", "NAPTR", '1 1 "a" "b" "c" edge.contoso.example.'),
).to_wire()
QUERY = new_query(QUESTION)


def survives(wire: bytes) -> None:
    """Read anything: an answer, or Failed with its reason."""
    is_reply(QUERY, wire)
    with suppress(Failed):
        read(wire)


@given(st.binary(max_size=600))
def test_arbitrary_bytes_raise_nothing_but_failed(noise: bytes) -> None:
    survives(noise)


@given(st.binary(max_size=300), st.integers(0, 8), st.integers(0, 8), st.integers(0, 8))
def test_arbitrary_bytes_behind_a_header_raise_nothing_but_failed(noise: bytes, answers: int, authorities: int, additional: int) -> None:
    survives(GOOD[:4] + struct.pack("!HHHH", 1, answers, authorities, additional) + QUERY[12:37] + noise)


@given(st.sampled_from([int(kind) for kind in RdataType]), st.binary(max_size=80))
def test_arbitrary_data_of_every_type_raises_nothing_but_failed(kind: int, noise: bytes) -> None:
    header = GOOD[:4] + struct.pack("!HHHH", 1, 1, 0, 0) + QUERY[12:37]
    survives(header + b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 300, len(noise)) + noise)


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255), st.integers(0, len(GOOD)))
def test_a_flipped_byte_or_a_lost_end_raises_nothing_but_failed(position: int, value: int, length: int) -> None:
    survives(GOOD[:position] + bytes([value]) + GOOD[position + 1 :])
    survives(GOOD[:length])


def test_a_reply_is_told_by_id_direction_and_question() -> None:
    reply = dns.message.make_response(dns.message.from_wire(QUERY)).to_wire()

    assert is_reply(QUERY, reply)
    assert is_reply(QUERY, reply[:12] + reply[12:].replace(b"contoso", b"CoNtOsO"))
    assert not is_reply(QUERY, bytes([reply[0] ^ 1]) + reply[1:])
    assert not is_reply(QUERY, QUERY)
    assert not is_reply(QUERY, reply.replace(b"contoso", b"fabrika"))
    assert not is_reply(QUERY, reply[:33] + b"\0\x1c" + reply[35:])
    assert not is_reply(QUERY, reply[:11])
    assert not is_reply(QUERY, b"")


def test_only_an_error_may_leave_the_question_out() -> None:
    bare = QUERY[:2] + struct.pack("!HHHHH", dns.flags.QR, 0, 0, 0, 0)

    assert not is_reply(QUERY, bare)
    assert is_reply(QUERY, bare[:3] + bytes([dns.rcode.SERVFAIL]) + bare[4:])
    assert not is_reply(QUERY, bare[:3] + bytes([dns.rcode.NXDOMAIN]) + bare[4:])


def test_truncation_is_read_from_the_header() -> None:
    assert not is_truncated(GOOD)
    assert is_truncated(GOOD[:2] + bytes([GOOD[2] | 2]) + GOOD[3:])


async def test_a_long_answer_gives_way_to_others_while_it_is_read() -> None:
    count = 4000
    record = b"\xc0\x0c" + struct.pack("!HHIH", RdataType.MX, 1, 300, 5) + b"\0\1\1a\0"
    question = Question("www.contoso.example", RdataType.MX)
    wire = new_query(question)[:2] + struct.pack("!HHHHH", 0x8180, 1, count, 0, 0) + new_query(question)[12:37] + record * count
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(other())
    answer = await parse_answer(question, wire)
    beside.cancel()

    assert len(answer.records) == count
    assert turns > 5
