"""What moves bytes between a socket and its taker, where the kernel takes nothing, has nothing, or has lost the other side."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest

from probes.lib.channel import Channel, connected
from tests.lib.runs import on_both_loops

Ends = tuple[socket.socket, socket.socket]


class Taker:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.got = b""
        self.ended = asyncio.Event()

    def data_received(self, data: bytes, /) -> None:
        self.got += data

    def eof_received(self) -> None:
        self.ended.set()

    def connection_lost(self, exc: Exception | None, /) -> None:
        raise AssertionError(exc)


@pytest.fixture
def ends() -> Iterator[Ends]:
    ours, theirs = socket.socketpair()
    ours.settimeout(0)
    with ours, theirs:
        yield ours, theirs


def read_all(theirs: socket.socket) -> bytes:
    """Return what has arrived so far."""
    theirs.settimeout(0)
    found = b""
    with suppress(BlockingIOError):
        while piece := theirs.recv(1 << 20):
            found += piece
    return found


@on_both_loops
async def test_what_the_kernel_does_not_take_now_goes_when_it_can(ends: Ends) -> None:
    ours, theirs = ends
    with suppress(BlockingIOError):
        while True:
            ours.send(b"-" * 65536)
    channel = Channel(asyncio.get_running_loop(), ours, Taker())
    channel.write(b"one ")
    channel.write(b"two")
    found = b""
    async with asyncio.timeout(5):
        while not found.endswith(b"two"):
            found += read_all(theirs)
            await asyncio.sleep(0)
    assert found.endswith(b"-one two")
    channel.abort()


@on_both_loops
async def test_a_false_alarm_is_neither_data_nor_an_end(ends: Ends) -> None:
    taker = Taker()
    channel = Channel(asyncio.get_running_loop(), ends[0], taker)
    channel._readable()
    ends[1].sendall(b"data")
    ends[1].close()
    await asyncio.wait_for(taker.ended.wait(), 5)
    assert taker.got == b"data"
    channel.abort()


@on_both_loops
async def test_writing_to_a_broken_connection_shows_when_reading(ends: Ends) -> None:
    taker = Taker()
    channel = Channel(asyncio.get_running_loop(), ends[0], taker)
    ends[1].close()
    channel.write(b"nobody hears this")
    await asyncio.wait_for(taker.ended.wait(), 5)
    channel.abort()


@on_both_loops
async def test_a_closed_channel_does_nothing_more(ends: Ends) -> None:
    taker = Taker()
    channel = Channel(asyncio.get_running_loop(), ends[0], taker)
    channel.abort()
    channel.abort()
    channel.write(b"late")
    channel.pause_reading()
    channel.resume_reading()
    assert ends[0].fileno() == -1
    assert read_all(ends[1]) == b""


@on_both_loops
async def test_a_socket_that_connects_at_once_is_not_waited_for() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours:
        listening.bind(("127.0.0.1", 0))
        ours.settimeout(0)
        await connected(asyncio.get_running_loop(), ours, listening.getsockname())
        assert ours.getpeername() == listening.getsockname()
