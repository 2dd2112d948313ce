"""STUN messages (RFC 8489): what asks a media relay from where it sees us, and what it says.

Only what a client without credentials needs: Binding, and Allocate (RFC 8656), to which a relay that knows nobody answers 401. Nothing here
does I/O. Attributes that nobody knows are passed over, also those that must be understood: what counts here is that an answer came.
"""

import secrets
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address

HEADER_BYTES = 20
LARGEST = 2048
"""Bytes of the largest answer that is read: more than one packet holds is none, and reading it would hold up others."""
UNAUTHENTICATED = 401
"""Code of the answer to whoever shows no credentials (RFC 8489 14.8)."""

_COOKIE = 0x2112A442
_HEADER = struct.Struct("!HHI12s")
_ATTRIBUTE = struct.Struct("!HH")
_TRANSACTION_BYTES = 12
_SUCCESS, _ERROR, _CLASS = 0x0100, 0x0110, 0x0110
_ERROR_CODE, _XOR_MAPPED, _OLD_XOR_MAPPED, _REQUESTED_TRANSPORT, _SOFTWARE, _FINGERPRINT = 0x0009, 0x0020, 0x8020, 0x0019, 0x8022, 0x8028
# The old one is what drafts before RFC 5389 used, and Microsoft's own dialect ([MS-TURN] 2.2.2) with them.
_INTEGRITY, _INTEGRITY_BYTES = 0x0008, 20
# MESSAGE-INTEGRITY, an HMAC-SHA1 (RFC 8489 14.5). Its value says nothing to us, who share no secret with the relay.
_FINGERPRINT_MASK = 0x5354554E
_UDP = b"\x11\0\0\0"
_FAMILIES = {(1, 8): IPv4Address, (2, 20): IPv6Address}
"""Family and length of an address attribute to its class (RFC 8489 14.1)."""
_ERROR_BYTES = 4
_HUNDREDS = range(3, 7)
_UNITS = 100


class Method(IntEnum):
    """What is asked of the relay."""

    BINDING = 0x0001
    ALLOCATE = 0x0003


class Malformed(Exception):  # noqa: N818 - reads as what it is
    """What came is no answer by the rules of STUN; the message says why."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a relay said. `error` is 0 for success; `address` and `port` are where the relay saw the question come from, "" and 0 untold."""

    transaction: bytes
    error: int = 0
    phrase: str = ""
    address: str = ""
    port: int = 0
    software: str = ""


def new_transaction() -> bytes:
    """Return an id that nobody can guess, so that nobody off the path can answer in the relay's place."""
    return secrets.token_bytes(_TRANSACTION_BYTES)


def request(method: Method, transaction: bytes) -> bytes:
    """Write a request: nothing but what the method demands."""
    attributes = _ATTRIBUTE.pack(_REQUESTED_TRANSPORT, len(_UDP)) + _UDP if method is Method.ALLOCATE else b""
    return _HEADER.pack(method, len(attributes), _COOKIE, transaction) + attributes


def transaction_of(data: bytes) -> bytes:
    """Return which question a message belongs to, without reading what it says.

    Raises:
        Malformed: where its frame is wrong.

    """
    return _opened(data)[1]


def parse(method: Method, data: bytes) -> Answer:
    """Read an answer to a request of `method`.

    Raises:
        Malformed: where it is none: too short, too long, other length than announced, no magic cookie, not of this method, broken
            attributes, wrong fingerprint, an address of no known kind, a success of Binding without address, an error without code.

    """
    kind, transaction = _opened(data)
    if kind not in {method | _SUCCESS, method | _ERROR}:
        raise Malformed(f"a message of type 0x{kind:04x} does not answer {method.name.lower()}")
    # Of an attribute that comes twice only the first counts (RFC 8489 14).
    found = dict(reversed(list(_attributes(data))))
    software = found.get(_SOFTWARE, b"").decode("utf-8", "replace")
    if kind & _CLASS == _ERROR:
        error, phrase = _error(found.get(_ERROR_CODE, b""))
        return Answer(transaction, error, phrase, software=software)
    mapped = found.get(_XOR_MAPPED, found.get(_OLD_XOR_MAPPED))
    if mapped is None and method is Method.BINDING:
        raise Malformed("an answer without XOR-MAPPED-ADDRESS")
    address, port = _mapped(mapped, transaction) if mapped is not None else ("", 0)
    return Answer(transaction, address=address, port=port, software=software)


def _opened(data: bytes) -> tuple[int, bytes]:
    """Return type and transaction of a message whose frame is right."""
    if len(data) < HEADER_BYTES:
        raise Malformed(f"{len(data)} bytes, less than a header")
    kind, length, cookie, transaction = _HEADER.unpack_from(data)
    if cookie != _COOKIE:
        raise Malformed("no magic cookie")
    if len(data) > LARGEST:
        raise Malformed(f"{len(data)} bytes, more than {LARGEST}")
    if length != len(data) - HEADER_BYTES or length % 4:
        raise Malformed(f"announces {length} bytes and has {len(data) - HEADER_BYTES}")
    return kind, transaction


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = HEADER_BYTES
    while at < len(data):
        kind, length = _ATTRIBUTE.unpack_from(data, at)  # a whole number of four bytes is left: there is room for a head
        value = data[at + _ATTRIBUTE.size : at + _ATTRIBUTE.size + length]
        if len(value) < length:
            raise Malformed(f"attribute 0x{kind:04x} is longer than the message")
        if kind == _INTEGRITY and length != _INTEGRITY_BYTES:
            raise Malformed(f"an integrity of {length} bytes")  # a longer one would hide the fingerprint behind it
        if kind == _FINGERPRINT and value != (zlib.crc32(data[:at]) ^ _FINGERPRINT_MASK).to_bytes(4):
            raise Malformed("the fingerprint is wrong")
        yield kind, value
        if kind == _FINGERPRINT:
            return  # what comes behind it does not count (RFC 8489 14.7), and fingerprints of fingerprints take long
        at += _ATTRIBUTE.size + length + -length % 4


def _error(value: bytes) -> tuple[int, str]:
    """Read code and words of an error (RFC 8489 14.8)."""
    if len(value) < _ERROR_BYTES or value[2] & 7 not in _HUNDREDS or value[3] >= _UNITS:
        raise Malformed("an error without a code")
    return (value[2] & 7) * _UNITS + value[3], value[_ERROR_BYTES:].decode("utf-8", "replace")


def _mapped(value: bytes, transaction: bytes) -> tuple[str, int]:
    """Read an address that is written so that no address translation on the way mistakes it for one (RFC 8489 14.2)."""
    of = _FAMILIES.get((value[1] if len(value) > 1 else 0, len(value)))
    if of is None:
        raise Malformed(f"an address of no known kind, {len(value)} bytes long")
    mask = int.from_bytes((_COOKIE.to_bytes(4) + transaction)[: len(value) - 4])
    address = of(int.from_bytes(value[4:]) ^ mask)
    return str(address), int.from_bytes(value[2:4]) ^ _COOKIE >> 16
