"""A stream of questions at a fixed pace over one UDP socket, each with the moment it left and the moment its answer came.

The moments are as near to the wire as this machine lets us: a question's is taken right before it goes to the kernel, an answer's is the
kernel's own (SO_TIMESTAMPNS, Linux), so that a busy loop lengthens no round trip. Elsewhere it is the one at which the loop gave it to us.
"""

import asyncio
import socket
import struct
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from time import perf_counter
from types import TracebackType
from typing import Protocol, Self

from probes.lib.url import endpoint

LATE_SECONDS = 0.020
"""A question that leaves so much later than it should shows that this machine was busy."""
FLOOD = 10_000
"""Datagrams that answer nothing, after which nobody listens any more."""

_KERNEL_STAMPS = sys.platform == "linux"
_SO_TIMESTAMPNS = 35
# Of Linux; Python has no name for it.
_TIMESPEC = struct.Struct("@qq")
_ANCILLARY_BYTES = 64
_LARGEST = 65_535
_AT_ONCE = 64
# Datagrams taken in one go, so that a flood leaves the loop to others.


class Talk(Protocol):
    """What is asked and understood. A key tells one question from another."""

    def write(self) -> tuple[bytes, bytes]:
        """Return the key and the datagram of the next question."""

    def read(self, data: bytes, /) -> bytes | None:
        """Return the key of the question that a datagram answers, None for what is no answer."""


@dataclass(slots=True)
class Sent:
    """One question: when (perf_counter) it left, and when its answer came, None while none has."""

    left: float
    came: float | None = None


class Stream:
    """Questions on their way through a connected socket, which the stream owns. Entering begins it, leaving ends it."""

    def __init__(self, sock: socket.socket, talk: Talk, *, pace: float, count: int, flood: int = FLOOD) -> None:
        """Ask `count` questions, one every `pace` seconds; `flood` datagrams that answer none of them end it."""
        self.sent: dict[bytes, Sent] = {}
        """Questions by key, in the order they left."""
        self.order: list[Sent] = []
        """Answered ones, in the order their answers came."""
        self.ignored = 0
        """Datagrams that answer no open question."""
        self.late = False
        """Whether this machine was too busy to keep the pace."""
        self._sock, self._talk, self._pace, self._count, self._flood = sock, talk, pace, count, flood
        self._loop = asyncio.get_running_loop()
        self._heard, self._over = asyncio.Event(), asyncio.Event()
        self._error: OSError | None = None
        self._begun, self._ticks = perf_counter(), 0
        self._timer: asyncio.TimerHandle | None = None
        self._puller: asyncio.Task[None] | None = None

    def __enter__(self) -> Self:
        if _KERNEL_STAMPS:
            with suppress(OSError):  # a sandbox may play Linux without it; answers then come without a stamp
                self._sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        if sys.platform == "win32":  # whose loop cannot watch sockets
            self._puller = self._loop.create_task(self._pull())
        else:
            self._loop.add_reader(self._sock.fileno(), self._readable)
        self._begun = perf_counter()
        self._ask()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._puller is not None:
            self._puller.cancel()
        self._deafen()
        self._sock.close()

    @property
    def sent_from(self) -> str:
        """Our own address and port, as this machine has them; "" after the end."""
        if self._sock.fileno() < 0:
            return ""
        host, port, *_ = self._sock.getsockname()
        return endpoint(host, port)

    @property
    def flooded(self) -> bool:
        """Whether so much came that was not asked for that nobody listens any more."""
        return self.ignored > self._flood

    @property
    def ends(self) -> float:
        """When (perf_counter) the last question leaves."""
        return self._begun + self._pace * (self._count - 1)

    async def first(self, until: float) -> bool:
        """Wait for the first answer, at most until this moment of perf_counter, and say whether it came.

        Raises:
            OSError: what the socket said, such as that nothing listens there.

        """
        await self._wait(self._heard, until)
        return bool(self.order)

    async def rest(self, until: float) -> None:
        """Wait until every question has its answer, at most until this moment.

        Raises:
            OSError: as `first`.

        """
        await self._wait(self._over, until)

    async def _wait(self, event: asyncio.Event, until: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, until - perf_counter())):
                await event.wait()
        if self._error is not None:
            raise self._error

    def _ask(self) -> None:
        """Send a question, and plan the next one by the clock of the whole stream, so that lateness does not add up."""
        now = perf_counter()
        self.late = self.late or now - self._begun - self._pace * self._ticks > LATE_SECONDS
        key, data = self._talk.write()
        self._ticks += 1
        try:
            left = perf_counter()
            self._sock.send(data)
        except (BlockingIOError, InterruptedError):
            self.late = True  # it never left: this machine's buffers are full
        except OSError as error:
            self._end(error)
            return
        else:
            self.sent[key] = Sent(left)
        if self._ticks < self._count:
            self._timer = self._loop.call_later(max(0.0, self._begun + self._pace * self._ticks - perf_counter()), self._ask)

    def _readable(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                data, now, age = _receive(self._sock)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._end(error)
                return
            self._take(data, now, age)

    async def _pull(self) -> None:
        try:
            while True:
                data = await self._loop.sock_recv(self._sock, _LARGEST)
                self._take(data, perf_counter(), 0.0)
        except OSError as error:
            self._end(error)

    def _take(self, data: bytes, now: float, age: float) -> None:
        key = self._talk.read(data)
        asked = self.sent.get(key) if key is not None else None
        if asked is None or asked.came is not None:
            self.ignored += 1
            if self.flooded:
                self._end(None)
            return
        asked.came = arrival(asked.left, now, age)
        self.order.append(asked)
        self._heard.set()
        if len(self.order) == self._count:
            self._over.set()

    def _end(self, error: OSError | None) -> None:
        self._error = self._error or error
        self._count = self._ticks
        if self._timer is not None:
            self._timer.cancel()
        self._deafen()
        self._heard.set()
        self._over.set()

    def _deafen(self) -> None:
        if sys.platform != "win32" and self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock.fileno())


def arrival(left: float, now: float, age: float) -> float:
    """Return when an answer came that we got `now`, and the kernel `age` seconds before, by the wall clock.

    An age that reaches back before the question left, or ahead, is a wall clock that was set meanwhile.
    """
    return now - age if 0 <= age <= now - left else now


def _receive(sock: socket.socket) -> tuple[bytes, float, float]:
    """Return a datagram, the moment (perf_counter) we got it, and for how many seconds the kernel had it by then."""
    if not _KERNEL_STAMPS:
        return sock.recv(_LARGEST), perf_counter(), 0.0
    data, ancillary, _, _ = sock.recvmsg(_LARGEST, _ANCILLARY_BYTES)
    now, wall = perf_counter(), time.time_ns()
    for level, kind, value in ancillary:
        if (level, kind, len(value)) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS, _TIMESPEC.size):
            seconds, nanoseconds = _TIMESPEC.unpack(value)
            return data, now, (wall - seconds * 1_000_000_000 - nanoseconds) / 1e9
    return data, now, 0.0
