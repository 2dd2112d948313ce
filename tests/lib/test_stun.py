"""STUN: the RFC's own examples, what the simulated relay writes, and anything at all."""

from ipaddress import ip_address
from zlib import crc32

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.drill.relay import answer as relayed
from probes.lib.stun import LARGEST, Answer, Malformed, Method, new_transaction, parse, request

# RFC 5769 2.2 and 2.3.
IPV4 = bytes.fromhex(
    "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000080001a147e112a643"
    "000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96"
)
IPV6 = bytes.fromhex(
    "010100482112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9"
    "00080014a382954e4be67bf11784c97c8292c275bfe3ed4180280004c8fb0b4c"
)
ID = bytes.fromhex("b7e7a701bc34d686fa87dfae")
transactions = st.binary(min_size=12, max_size=12)
addresses = st.ip_addresses().map(str)


def message(kind: int, *attributes: bytes) -> bytes:
    body = b"".join(attributes)
    return kind.to_bytes(2) + len(body).to_bytes(2) + bytes.fromhex("2112a442") + ID + body


def attribute(kind: int, value: bytes, length: int | None = None) -> bytes:
    return kind.to_bytes(2) + (len(value) if length is None else length).to_bytes(2) + value + bytes(-len(value) % 4)


MAPPED = attribute(0x0020, bytes.fromhex("0001a147e112a643"))


@pytest.mark.parametrize(("data", "address"), [(IPV4, "192.0.2.1"), (IPV6, "2001:db8:1234:5678:11:2233:4455:6677")], ids=["IPv4", "IPv6"])
def test_the_examples_of_the_rfc_are_read(data: bytes, address: str) -> None:
    assert parse(Method.BINDING, data) == Answer(ID, address=address, port=32853, software="test vector")


def test_an_error_has_code_and_words() -> None:
    refused = message(0x0113, attribute(0x0009, b"\0\0\x04\x01Unauthorized"), attribute(0x0014, b"realm"))
    assert parse(Method.ALLOCATE, refused) == Answer(ID, 401, "Unauthorized")


def test_the_address_under_its_number_of_the_drafts_is_read_as_well() -> None:
    assert parse(Method.BINDING, message(0x0101, b"\x80\x20" + MAPPED[2:])).address == "192.0.2.1"


def test_of_an_attribute_that_comes_twice_the_first_counts() -> None:
    other = attribute(0x0020, bytes.fromhex("0001a147e112a644"))
    assert parse(Method.BINDING, message(0x0101, MAPPED, other)).address == "192.0.2.1"


def test_what_nobody_knows_is_passed_over() -> None:
    assert parse(Method.BINDING, message(0x0101, attribute(0x7FFF, b"new"), MAPPED)).address == "192.0.2.1"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "0 bytes, less than a header"),
        (IPV4[:19], "19 bytes, less than a header"),
        (IPV4[:4] + b"\x21\x12\xa4\x43" + IPV4[8:], "no magic cookie"),
        (IPV4[:-4], "announces 60 bytes and has 56"),
        (IPV4 + bytes(4), "announces 60 bytes and has 64"),
        (message(0x0101, MAPPED, b"\0\0"), "announces 14 bytes and has 14"),
        (message(0x0001, MAPPED), "a message of type 0x0001 does not answer binding"),
        (message(0x0103, MAPPED), "a message of type 0x0103 does not answer binding"),
        (message(0x0101), "an answer without XOR-MAPPED-ADDRESS"),
        (message(0x0101, attribute(0x0001, bytes.fromhex("00010050c0000201"))), "an answer without XOR-MAPPED-ADDRESS"),
        (message(0x0101, attribute(0x0020, b"")), "an address of no known kind, 0 bytes long"),
        (message(0x0101, attribute(0x0020, b"\0\x02" + bytes(6))), "an address of no known kind, 8 bytes long"),
        (message(0x0101, attribute(0x0020, b"\0\x07" + bytes(6))), "an address of no known kind, 8 bytes long"),
        (message(0x0101, attribute(0x0020, b"\0\x01" + bytes(6), 9)), "attribute 0x0020 is longer than the message"),
        (message(0x0111), "an error without a code"),
        (message(0x0111, attribute(0x0009, b"\0\0\x07\x01")), "an error without a code"),
        (message(0x0111, attribute(0x0009, b"\0\0\x04\x64")), "an error without a code"),
        (IPV4[:-1] + b"\x97", "the fingerprint is wrong"),
        (message(0x0101, attribute(0x7FFF, bytes(LARGEST))), f"{LARGEST + 24} bytes, more than {LARGEST}"),
    ],
    ids=[
        "nothing",
        "half a header",
        "another cookie",
        "cut off",
        "longer than announced",
        "no multiple of four",
        "our own question",
        "answer to another method",
        "no address",
        "address in the clear alone",
        "empty address",
        "length of the other family",
        "family of nobody",
        "attribute beyond the end",
        "error without code",
        "error of no class",
        "error beyond its class",
        "wrong fingerprint",
        "more than a packet",
    ],
)
def test_what_is_no_answer_is_said(data: bytes, says: str) -> None:
    with pytest.raises(Malformed, match=f"^{says}$"):
        parse(Method.BINDING, data)


def test_what_comes_behind_the_fingerprint_does_not_count() -> None:
    longer = IPV4[:2] + (len(IPV4) - 16).to_bytes(2) + IPV4[4:-8]
    marked = longer + attribute(0x8028, (crc32(longer) ^ 0x5354554E).to_bytes(4)) + attribute(0x8028, bytes(4))[:4]
    assert parse(Method.BINDING, marked) == parse(Method.BINDING, IPV4)


@given(transaction=transactions, address=addresses, port=st.integers(1, 65535))
def test_a_relay_is_understood_from_wherever_it_sees_us(transaction: bytes, address: str, port: int) -> None:
    said = relayed(request(Method.BINDING, transaction), (address, port))
    assert said is not None
    assert parse(Method.BINDING, said) == Answer(transaction, address=str(ip_address(address)), port=port, software="Fogbell drill")


@given(data=st.one_of(st.binary(max_size=200), st.binary(max_size=80).map(lambda body: message(0x0101, body[: len(body) & ~3]))))
@example(data=message(0x0101, attribute(0x0020, b"\0")))
@example(data=message(0x0111, attribute(0x0009, b"\xff\xff\xff\xff\xff")))
def test_whatever_comes_is_an_answer_or_malformed(data: bytes) -> None:
    for method in Method:
        try:
            assert 0 <= parse(method, data).port <= 65535
        except Malformed:
            continue


@pytest.mark.parametrize("at", range(len(IPV4) - 8))
def test_no_bent_byte_goes_unseen_under_a_fingerprint(at: int) -> None:
    for flipped in range(1, 256):
        with pytest.raises(Malformed):
            parse(Method.BINDING, IPV4[:at] + bytes((IPV4[at] ^ flipped,)) + IPV4[at + 1 :])


def test_no_two_questions_are_the_same() -> None:
    assert new_transaction() != new_transaction()
    assert len(request(Method.BINDING, new_transaction())) == 20
