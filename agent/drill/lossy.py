"""Connections that time out: the kernel drops the SYN of some, so that a client's connect gets no answer, as on a broken path.

A filter on the listening socket (classic BPF, Linux only; no privilege is needed) looks at nothing but SYNs. Whom it hits depends on the
source port and the seed, so that a repeated SYN meets the same fate as the first. Elsewhere connections are taken and never served.
"""

import asyncio
import ctypes
import socket
import struct
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, ip_address

from agent.drill.faults import Faults, Tcp

DROPS = sys.platform == "linux"
"""Whether this machine can drop SYNs."""
_ATTACH, _DETACH = 26, 27
"""SO_ATTACH_FILTER and SO_DETACH_FILTER of Linux."""
_EVERY_SECONDS = 0.2
_WHOLE = 1 << 16
_KNUTH = 2_654_435_761
"""Multiplier that spreads neighbouring ports (Knuth, The Art of Computer Programming 6.4)."""
_LOAD_BYTE, _LOAD_HALF, _LOAD_WORD, _AND, _EQUAL, _TIMES, _PLUS, _SHIFT, _AT_LEAST, _RETURN = (
    *(0x30, 0x28, 0x20, 0x54, 0x15, 0x24, 0x04, 0x74, 0x35, 0x06),
)
_FLAGS, _SYN_ACK, _SYN = 13, 0x12, 0x02
_SOURCE_ADDRESS = -0x100000 + 12
"""Of the IPv4 header: SKF_NET_OFF of Linux plus its place there."""
_KEEP = 0xFFFFFFFF


def _step(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("HBBI", code, yes, no, value & 0xFFFFFFFF)


def _program(share: float, seed: int, sources: Iterable[IPv4Address]) -> bytes:
    """Write the filter: keep what is no SYN, what comes from elsewhere, and all but a share of the rest."""
    wanted = tuple(sources)
    origin = [_step(_LOAD_WORD, _SOURCE_ADDRESS)] if wanted else []
    for number, address in enumerate(wanted):
        origin.append(_step(_EQUAL, int(address), yes=len(wanted) - number))
    origin += [_step(_RETURN, _KEEP)] if wanted else []
    return b"".join(
        (
            *(_step(_LOAD_BYTE, _FLAGS), _step(_AND, _SYN_ACK), _step(_EQUAL, _SYN, yes=1), _step(_RETURN, _KEEP)),
            *origin,
            *(_step(_LOAD_HALF, 0), _step(_TIMES, _KNUTH), _step(_PLUS, seed), _step(_SHIFT, 16)),
            *(_step(_AT_LEAST, round(share * _WHOLE), yes=1), _step(_RETURN, 0), _step(_RETURN, _KEEP)),
        )
    )


def _set(listening: socket.socket, program: bytes) -> None:
    """Put a filter in place of the one that is there, or take it away."""
    if not program:
        listening.setsockopt(socket.SOL_SOCKET, _DETACH, 0)
        return
    kept = ctypes.create_string_buffer(program)
    listening.setsockopt(socket.SOL_SOCKET, _ATTACH, struct.pack("HL", len(program) // 8, ctypes.addressof(kept)))


def _wanted(faults: Faults, host: str, region: str, listening: socket.socket) -> bytes:
    """Give the filter that the faults of this moment want on this socket; empty where they want none."""
    here = [(share, fault) for fault, share in faults.holding(host, Tcp, region=region) if fault.effect == Tcp("timeout")]
    if not here:
        return b""
    share, fault = max(here, key=lambda pair: pair[0])
    sources = [ip_address(source) for source in fault.where.sources]
    if listening.family is socket.AF_INET:
        fours = [source for source in sources if isinstance(source, IPv4Address)]
        return _program(share, faults.seed, fours) if fours or not sources else b""
    return _program(share, faults.seed, ()) if not sources or ip_address("::1") in sources else b""


@asynccontextmanager
async def losing(faults: Faults, host: str, region: Callable[[], str], listening: Iterable[socket.socket]) -> AsyncIterator[None]:
    """Drop the SYNs that the faults want dropped while the block runs."""
    sockets = tuple(listening)
    there = dict.fromkeys(sockets, b"")

    def look() -> None:
        for one in sockets:
            program = _wanted(faults, host, region(), one)
            if program != there[one]:
                _set(one, program)
                there[one] = program

    async def keep_looking() -> None:
        while True:
            look()
            await asyncio.sleep(_EVERY_SECONDS)  # the world's clock may be any, so nothing tells when a fault begins

    looking = asyncio.create_task(keep_looking()) if DROPS else None
    if DROPS:
        faults.watchers.append(look)
    try:
        yield
    finally:
        if looking is not None:
            faults.watchers.remove(look)
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
