"""Finds addresses of a host as the machine itself would, without blocking the loop and without remembering anything.

Every lookup has a c-ares channel of its own, which costs some 80 µs. That buys four things at once: c-ares keeps a query cache in the
channel (since 1.31, on by default, with no option for it in pycares), so a fresh one always asks; the hosts file, resolv.conf and
nsswitch.conf are read anew, so a change counts from the next lookup on; a lookup of a dead name shares nothing that could hold up another;
and ending a lookup ends all of it. Times and attempts are those of resolv.conf, else c-ares' own.
"""

import asyncio
import re
import socket
import sys
from dataclasses import dataclass
from functools import lru_cache

import idna
import pycares

from probes.core.contract import Failed, Inconclusive, Stopped
from probes.core.reasons import Reason
from probes.lib.oserror import stopped_by

REASONS = {
    pycares.errno.ARES_ENOTFOUND: Reason.DNS_NXDOMAIN,
    pycares.errno.ARES_EBADNAME: Reason.DNS_NXDOMAIN,
    pycares.errno.ARES_ENODATA: Reason.DNS_NO_DATA,
    pycares.errno.ARES_ETIMEOUT: Reason.DNS_TIMEOUT,
    pycares.errno.ARES_EREFUSED: Reason.DNS_REFUSED,
    pycares.errno.ARES_ECONNREFUSED: Reason.DNS_REFUSED,
    pycares.errno.ARES_ENOMEM: Reason.AGENT_RESOURCES,
}
"""c-ares status to reason; any other is the resolver's failure, DNS_SERVFAIL."""

_NO_SOCKET = pycares.ARES_SOCKET_BAD
_SHORTEST_TICK = 0.005


_NAME = re.compile(r"(?=.{1,253}\Z)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\Z")
# Underscores are no hostname by the letter, and found in them all the same.


@lru_cache(maxsize=4096)
def ascii_host(host: str) -> str:
    """Return `host` as DNS, TLS and HTTP write it: an address as it is, a name in lower case, as A-labels (UTS 46), with no dot last.

    Raises:
        ValueError: where `host` can be neither a name nor an address.

    """
    if is_address(host):
        return host
    try:
        name = (host if host.isascii() else idna.encode(host, uts46=True).decode()).lower().removesuffix(".")
    except idna.IDNAError as error:
        raise ValueError(f"{host!r} is no host name: {error}") from error
    if not _NAME.match(name):
        raise ValueError(f"{host!r} is no host name")
    return name


def is_address(host: str) -> bool:
    """Say whether `host` is an IPv4 or IPv6 address rather than a name."""
    return _parses(socket.AF_INET, host) or (":" in host and _parses(socket.AF_INET6, host))


def _parses(family: int, host: str) -> bool:
    try:
        socket.inet_pton(family, host)
    except (OSError, ValueError):
        return False
    return True


@dataclass(frozen=True, slots=True)
class SystemResolver:
    """The machine's resolver: a `probes.core.context.Lookup`. `servers` (address:port) replace those of resolv.conf, and only those."""

    servers: tuple[str, ...] = ()

    async def __call__(self, host: str, family: int = socket.AF_UNSPEC) -> tuple[str, ...]:
        """Return textual addresses of `host`, best first (RFC 6724).

        Raises:
            Failed: with a `dns_*` reason.
            Inconclusive: where this machine has no socket left.

        """
        question = _Question(self.servers)
        try:
            return await question.ask(host, family)
        finally:
            question.close()


class _Question:
    """One lookup on one channel. Lives in the loop; `close` leaves nothing behind and nothing that could raise later."""

    __slots__ = ("_answer", "_channel", "_loop", "_tick", "_watched")

    def __init__(self, servers: tuple[str, ...]) -> None:
        self._loop = asyncio.get_running_loop()
        self._answer: asyncio.Future[tuple[str, ...] | Stopped] = self._loop.create_future()
        self._watched: set[int] = set()
        self._tick: asyncio.TimerHandle | None = None
        # Windows' loop cannot watch foreign sockets, so there c-ares watches them in a thread.
        watch = None if sys.platform == "win32" else self._watch
        try:
            # An empty list means those of resolv.conf. Its `resolvconf_path` would be freed before c-ares reads it (pycares 5.2).
            self._channel = pycares.Channel(sock_state_cb=watch, servers=servers)
        except pycares.AresError as error:
            raise Inconclusive(Reason.AGENT_RESOURCES, f"cannot start the resolver: {error}") from error

    async def ask(self, host: str, family: int) -> tuple[str, ...]:
        def answered(result: pycares.AddrInfoResult | None, status: int | None) -> None:
            self._loop.call_soon_threadsafe(self._answered, host, result, status)

        self._channel.getaddrinfo(host, None, family=socket.AddressFamily(family), type=socket.SOCK_STREAM, callback=answered)
        self._wind()
        answer = await self._answer
        if isinstance(answer, Stopped):
            raise answer
        return answer

    def close(self) -> None:
        """End the lookup here and now: pycares destroys the channel in a thread, which must find nothing left to call us for."""
        self._answer.cancel()
        self._channel.cancel()
        if self._tick is not None:
            self._tick.cancel()
        for fd in self._watched:
            self._loop.remove_reader(fd)
            self._loop.remove_writer(fd)
        self._channel.close()
        # The channel holds our bound method: without this only the garbage collector would find the two.
        del self._channel

    def _answered(self, host: str, result: pycares.AddrInfoResult | None, status: int | None) -> None:
        if self._answer.done():
            return
        if result is None:
            # As a result, not an exception: nobody would retrieve that of a lookup cancelled at the same moment.
            self._answer.set_result(_stopped(host, status or pycares.errno.ARES_ENODATA))
        else:
            self._answer.set_result(tuple(dict.fromkeys(node.addr[0].decode() for node in result.nodes)))

    def _watch(self, fd: int, readable: bool, writable: bool) -> None:  # noqa: FBT001 - the shape c-ares calls
        if readable:
            self._loop.add_reader(fd, self._channel.process_read_fd, fd)
        else:
            self._loop.remove_reader(fd)
        if writable:
            self._loop.add_writer(fd, self._channel.process_write_fd, fd)
        else:
            self._loop.remove_writer(fd)
        (self._watched.add if readable or writable else self._watched.discard)(fd)

    def _wind(self) -> None:
        """Let c-ares look at its clock when its next attempt is due."""
        if not self._answer.done():
            due: float = self._channel.timeout()  # type: ignore[no-untyped-call] # pycares leaves it out
            self._tick = self._loop.call_later(max(due, _SHORTEST_TICK), self._ticked)

    def _ticked(self) -> None:
        self._channel.process_fd(_NO_SOCKET, _NO_SOCKET)
        self._wind()


def _stopped(host: str, status: int) -> Stopped:
    """Name a failed lookup. c-ares hides EMFILE and its like behind other errors, so ask the machine first."""
    try:
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()
    except OSError as error:
        return stopped_by(error, f"resolver of this machine for {host}")
    reason = REASONS.get(status, Reason.DNS_SERVFAIL)
    message = f"{host}: {pycares.errno.strerror(status)!s}"
    return Inconclusive(reason, message) if reason is Reason.AGENT_RESOURCES else Failed(reason, message)
