"""Opens TCP connections: one name, one address, one attempt, and the kernel's own view of the connection afterwards."""

import asyncio
import socket
import struct
import sys
from dataclasses import dataclass
from time import perf_counter
from typing import Literal

from probes.core.context import Context
from probes.core.contract import Failed, Measurement
from probes.core.reasons import Reason
from probes.lib.channel import Channel, connected
from probes.lib.oserror import stopped_by
from probes.lib.resolve import is_address
from probes.lib.wire import Wire

Family = Literal["any", "ipv4", "ipv6"]
"""A setting: the kind of address to connect to."""
FAMILIES: dict[Family, int] = {"any": socket.AF_UNSPEC, "ipv4": socket.AF_INET, "ipv6": socket.AF_INET6}

WATCHES_SOCKETS = sys.platform != "win32"
"""Whether the loop can watch a socket of ours: Windows' own cannot, and gives its transport instead."""

_TCP_INFO_BYTES = 104
_RTT = struct.Struct("@I")
_RTT_OFFSET = 68
_RETRANSMISSIONS_OFFSET = 100
# struct tcp_info of linux/tcp.h: tcpi_rtt in µs and tcpi_total_retrans. The kernel only ever appends to it.


@dataclass(frozen=True, slots=True)
class KernelView:
    """What the kernel measured on one connection: smoothed round-trip time in seconds, segments sent again."""

    rtt: float
    retransmissions: int


KERNEL_MEASUREMENTS = (
    Measurement("kernel_rtt_seconds", "Smoothed round-trip time that the kernel measured on the last connection (Linux)."),
    Measurement("kernel_retransmissions", "Segments that the kernel sent again on the last connection (Linux)."),
)
"""What `measure_kernel` measures."""


async def connect(ctx: Context, host: str, port: int, *, family: int = socket.AF_UNSPEC) -> Wire:
    """Open a connection to the first address of `host` (ASCII, or an address literal), timed as the phases resolve and connect.

    Raises:
        Failed: with a `dns_*` reason, CONNECT_REFUSED, CONNECT_TIMEOUT (the kernel gave up), UNREACHABLE.
        Inconclusive: where this machine has no socket, port or memory left.

    """
    address = await first_address(ctx, host, family)
    ctx.evidence("address", address)
    loop = asyncio.get_running_loop()
    try:
        sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    except OSError as error:
        raise stopped_by(error, address) from error
    wire = Wire(sock, (address, port))
    try:
        sock.settimeout(0)
        with ctx.phase("connect"):
            heard = await _join(wire)
        # The phase ended when the loop heard of it, not when it got round to us.
        ctx.add_phase("connect", heard - perf_counter())
        if wire.transport is None:
            await loop.create_connection(lambda: wire, sock=sock)
    except OSError as error:
        wire.close()
        raise stopped_by(error, f"{address} port {port}") from error
    except BaseException:
        wire.close()
        raise
    return wire


async def first_address(ctx: Context, host: str, family: int = socket.AF_UNSPEC) -> str:
    """Return the first address of `host`, timed as the phase resolve. An address is its own, also one with a zone (`fe80::1%eth0`).

    Raises:
        Failed: with a `dns_*` reason; UNREACHABLE where an address is of another kind than `family`.

    """
    if is_address(host.partition("%")[0]):
        if not fits(host, family):
            raise Failed(Reason.UNREACHABLE, f"{host} is not of the kind of address that `family` allows")
        return host
    with ctx.phase("resolve"):
        addresses = await ctx.shared.lookup(host, family)
        if not addresses:
            raise Failed(Reason.DNS_NO_DATA, f"{host}: no address")
    return addresses[0]


def fits(host: str, family: int) -> bool:
    """Say whether `host` can have an address of this family: a name may, an address has its own."""
    if family == socket.AF_UNSPEC or not is_address(host.partition("%")[0]):
        return True
    return family == (socket.AF_INET6 if ":" in host else socket.AF_INET)


def kernel_view(wire: Wire) -> KernelView | None:
    """Read what the kernel knows of an open connection (TCP_INFO); None where it tells nothing: closed already, or not Linux."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        info = wire.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
    except OSError:
        return None
    if len(info) < _TCP_INFO_BYTES:
        return None
    (rtt,) = _RTT.unpack_from(info, _RTT_OFFSET)
    (retransmissions,) = _RTT.unpack_from(info, _RETRANSMISSIONS_OFFSET)
    return KernelView(rtt / 1e6, retransmissions)


def measure_kernel(ctx: Context, view: KernelView | None) -> None:
    """Record what the kernel knows, where it told."""
    if view is not None:
        ctx.measure("kernel_rtt_seconds", view.rtt)
        ctx.measure("kernel_retransmissions", view.retransmissions)


async def _join(wire: Wire) -> float:
    """Connect, and return when (perf_counter) the loop heard that it was done."""
    loop = asyncio.get_running_loop()
    if WATCHES_SOCKETS:
        heard = await connected(loop, wire.sock, wire.peer)
        wire.transport = Channel(loop, wire.sock, wire)
        return heard
    await loop.sock_connect(wire.sock, wire.peer)
    return perf_counter()
