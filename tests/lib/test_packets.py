"""A stream of packets: true moments, one answer to each question, and an end whatever comes."""

import asyncio
import socket
import sys
import time
from collections.abc import Callable
from time import perf_counter

import pytest

from probes.lib.packets import Stream, arrival
from tests.fakes.relay import Behave, relay
from tests.lib.runs import on_both_loops, open_sockets

PACE = 0.002


class Numbers:
    """Asks with numbers, and takes an echo for an answer."""

    def __init__(self) -> None:
        self._asked = 0

    def write(self) -> tuple[bytes, bytes]:
        self._asked += 1
        return b"%d" % self._asked, b"%d" % self._asked

    def read(self, data: bytes) -> bytes | None:
        return data if data.isdigit() else None


def stream(port: int, count: int = 5, flood: int = 100) -> Stream:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(0)
    sock.connect(("127.0.0.1", port))
    return Stream(sock, Numbers(), pace=PACE, count=count, flood=flood)


async def played(behave: Behave, **shape: int) -> Stream:
    """Play a whole stream, and give up on answers a tenth of a second after the last question."""
    async with relay(behave) as port:
        with stream(port, **shape) as playing:
            await playing.first(playing.ends + 0.1)
            await playing.rest(playing.ends + 0.1)
    return playing


@on_both_loops
async def test_each_question_has_its_answer_and_its_moments() -> None:
    whole = await played(lambda data: [data])
    assert [len(whole.sent), len(whole.order), whole.ignored] == [5, 5, 0]
    assert all(sent.came is not None and sent.came > sent.left for sent in whole.order)
    lefts = [sent.left for sent in whole.sent.values()]
    assert lefts[-1] - lefts[0] > 2 * PACE


async def test_nothing_is_left_open() -> None:
    async with relay(lambda data: [data]) as port:
        before = open_sockets()
        with stream(port) as playing:
            await playing.rest(playing.ends + 0.1)
        assert open_sockets() == before


@pytest.mark.parametrize(
    ("behave", "answered", "ignored"),
    [
        (lambda data: [data, data] if data == b"1" else [data], 5, 1),
        (lambda data: [b"9" + data], 0, 5),
        (lambda _: [b"-", b"no number"], 0, 10),
        (lambda data: [data] if data != b"3" else [], 4, 0),
        (lambda data: {b"4": [], b"5": [b"5", b"4"]}.get(data, [data]), 5, 0),
    ],
    ids=["twice", "to what was not asked", "nonsense", "one lost", "out of order"],
)
async def test_what_comes_is_counted(behave: Callable[[bytes], list[bytes]], answered: int, ignored: int) -> None:
    whole = await played(behave)
    assert (len(whole.order), whole.ignored) == (answered, ignored)


async def test_answers_are_kept_in_the_order_in_which_they_came() -> None:
    whole = await played(lambda data: {b"4": [], b"5": [b"5", b"4"]}.get(data, [data]))
    assert [list(whole.sent.values()).index(sent) for sent in whole.order] == [0, 1, 2, 4, 3]


async def test_a_flood_ends_it() -> None:
    whole = await played(lambda data: [data, *[b"more"] * 60], count=1000)
    assert whole.flooded
    assert len(whole.sent) < 10


async def test_a_port_where_nothing_listens_is_heard_of() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
        deaf.bind(("127.0.0.1", 0))
        port = deaf.getsockname()[1]
    with stream(port) as refused, pytest.raises(ConnectionRefusedError):
        await refused.first(perf_counter() + 2)


async def test_a_question_that_cannot_leave_ends_it() -> None:
    class Huge(Numbers):
        def write(self) -> tuple[bytes, bytes]:
            return b"1", bytes(70_000)

    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect(("127.0.0.1", 9))
    with Stream(sock, Huge(), pace=PACE, count=5) as stuck, pytest.raises(OSError, match="too long"):
        await stuck.rest(perf_counter() + 2)
    assert not stuck.sent


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux stamps datagrams for us")
async def test_a_busy_loop_lengthens_no_round_trip_and_is_told() -> None:
    answered = asyncio.Event()

    def behave(data: bytes) -> list[bytes]:
        if data == b"2":
            answered.set()
        return [data]

    async with relay(behave) as port:
        with stream(port, count=3) as playing:
            await answered.wait()
            # The second answer is in our socket by now, and nobody looks at it for a while.
            time.sleep(0.2)  # noqa: ASYNC251 - to be busy is the point
            await playing.rest(playing.ends + 1)
    second = list(playing.sent.values())[1]
    assert second.came is not None
    assert second.came - second.left < 0.2
    assert playing.late


@pytest.mark.parametrize(
    ("age", "came"),
    [(0.25, 9.75), (0.0, 10.0), (-3600.0, 10.0), (3600.0, 10.0)],
    ids=["waited", "at once", "clock set back", "clock set on"],
)
def test_a_clock_that_was_set_makes_no_time(age: float, came: float) -> None:
    assert arrival(9.5, 10.0, age) == came
