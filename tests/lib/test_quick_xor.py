"""QuickXorHash against the algorithm as Microsoft describes it, byte by byte and bit by bit, and against values from the outside."""

import os
from base64 import b64encode

import pytest

from probes.lib.quick_xor import QuickXorHash, quick_xor_hash


def by_the_description(content: bytes) -> str:
    """Do it bit by bit: xor each byte into a ring of 160 bits, 11 bits further each time, then the length into the last 64 bits."""
    ring = [0] * 160
    for index, byte in enumerate(content):
        for bit in range(8):
            ring[(11 * index + bit) % 160] ^= byte >> bit & 1
    packed = bytearray(sum(ring[8 * place + bit] << bit for bit in range(8)) for place in range(20))
    for place, byte in enumerate(len(content).to_bytes(8, "little")):
        packed[12 + place] ^= byte
    return b64encode(packed).decode()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "AAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        (b"\x4a", "SgAAAAAAAAAAAAAAAQAAAAAAAAA="),
        (b"\xb5\xb4", "taAFAAAAAAAAAAAAAgAAAAAAAAA="),
    ],
    ids=["empty", "one byte", "two bytes"],
)
def test_known_values_come_out(content: bytes, expected: str) -> None:
    assert quick_xor_hash(content) == by_the_description(content) == expected


@pytest.mark.parametrize("size", [1, 14, 15, 19, 20, 159, 160, 161, 320, 5119, 5120, 5121, 20_000])
def test_any_length_comes_out_as_described(size: int) -> None:
    content = os.urandom(size)
    assert quick_xor_hash(content) == by_the_description(content)


@pytest.mark.parametrize("step", [1, 7, 160, 4096, 16_384])
def test_pieces_make_no_difference(step: int) -> None:
    content, hashing = os.urandom(10_001), QuickXorHash()
    for start in range(0, len(content), step):
        hashing.update(content[start : start + step])
        hashing.update(b"")
    assert (hashing.base64(), hashing.length) == (quick_xor_hash(content), len(content))


def test_a_single_bit_makes_a_difference() -> None:
    content = os.urandom(1000)
    assert len({quick_xor_hash(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]) for at in range(0, 150, 15)}) == 10
