"""The media relay: a UDP server that answers STUN (RFC 8489) as Microsoft's transport relays do for a client that has not signed in.

Binding is answered with the address from which it came, Allocate with 401. A path that is broken for connections is broken for packets: a
fault that lets connections time out, or keeps them in silence, loses packets here, and latency delays them. Each packet draws its luck.
"""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import cast

from agent.drill.faults import Latency, Packets, Tcp
from agent.drill.world import World

HOST = "relay"
"""What faults call it."""

_COOKIE = b"\x21\x12\xa4\x42"
_HEADER = struct.Struct("!HH4s12s")
_BINDING, _BINDING_SUCCESS, _ALLOCATE, _ALLOCATE_ERROR = 0x0001, 0x0101, 0x0003, 0x0113
_XOR_MAPPED_ADDRESS, _ERROR_CODE, _REALM, _NONCE, _SOFTWARE = 0x0020, 0x0009, 0x0014, 0x0015, 0x8022


def answer(data: bytes, source: tuple[str, int]) -> bytes | None:
    """Answer one datagram, or return None for what is no request of these two."""
    if len(data) < _HEADER.size:
        return None
    kind, length, cookie, transaction = _HEADER.unpack_from(data)
    if cookie != _COOKIE or length != len(data) - _HEADER.size:
        return None
    if kind == _BINDING:
        return _message(_BINDING_SUCCESS, transaction, (_XOR_MAPPED_ADDRESS, _mapped(source, transaction)), (_SOFTWARE, b"Fogbell drill"))
    if kind == _ALLOCATE:
        refusal = (_ERROR_CODE, b"\0\0\x04\x01Unauthorized")
        return _message(_ALLOCATE_ERROR, transaction, refusal, (_REALM, b"rtcmedia"), (_NONCE, transaction.hex().encode()))
    return None


def _message(kind: int, transaction: bytes, *attributes: tuple[int, bytes]) -> bytes:
    body = b"".join(struct.pack("!HH", name, len(value)) + value + bytes(-len(value) % 4) for name, value in attributes)
    return _HEADER.pack(kind, len(body), _COOKIE, transaction) + body


def _mapped(source: tuple[str, int], transaction: bytes) -> bytes:
    """Write an address under the mask of RFC 8489 14.2."""
    address = ip_address(source[0])
    mask = (_COOKIE + transaction)[: len(address.packed)]
    masked = bytes(byte ^ key for byte, key in zip(address.packed, mask, strict=True))
    return struct.pack("!BBH", 0, 1 if address.version == 4 else 2, source[1] ^ 0x2112) + masked  # noqa: PLR2004 - IPv4


class _Relay(asyncio.DatagramProtocol):
    """The relay at work."""

    def __init__(self, world: World) -> None:
        self._world = world

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        self._transport = cast("asyncio.DatagramTransport", transport)  # not its class in CPython 3.11, though it has the methods

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer as the faults of this moment allow."""
        said = answer(data, addr)
        delay = self._delay(addr[0])
        if said is None or delay is None:
            return
        if delay:
            asyncio.get_running_loop().call_later(delay, self._send, said, addr)
        else:
            self._send(said, addr)

    def _send(self, said: bytes, addr: tuple[str, int]) -> None:
        if not self._transport.is_closing():
            self._transport.sendto(said, addr)

    def _delay(self, source: str) -> float | None:
        """Return by how many seconds the answer to a packet is late; None where it is lost."""
        delay = 0.0
        for fault in self._world.faults.hits(HOST, Packets, Latency, Tcp, source=source, region=self._world.region):
            match fault.effect:
                case Packets(how="lost") | Tcp(how="timeout" | "silent"):
                    return None
                case Packets(how="late", seconds=most):
                    delay += self._world.random.uniform(0, most)
                case Latency(seconds=seconds):
                    delay += seconds
        return delay


@asynccontextmanager
async def serve_relay(world: World, host: str = "127.0.0.1") -> AsyncIterator[int]:
    """Run the relay while the block runs, and give its UDP port."""
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((host, 0))
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: _Relay(world), sock=sock)
    try:
        yield transport.get_extra_info("sockname")[1]
    finally:
        transport.close()
