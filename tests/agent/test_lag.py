"""The loop's lag: a block is seen by the run that was open during it."""

import asyncio
from time import perf_counter, sleep

import pytest

from agent.lag import LATE, Lag


class Gaps:
    """What a lag observed, and a bell for the first gap of at least `wanted` seconds."""

    def __init__(self, wanted: float) -> None:
        self.wanted = wanted
        self.rung = asyncio.Event()

    def __call__(self, gap: float) -> None:
        if gap >= self.wanted:
            self.rung.set()


async def test_a_block_taints_what_was_open_and_not_what_comes_after() -> None:
    gaps = Gaps(LATE / 2)
    lag = Lag(gaps)
    lag.start()
    before = perf_counter()
    sleep(2 * LATE)  # noqa: ASYNC251 - the block that must be seen
    assert lag.late_since(before)
    await gaps.rung.wait()
    assert lag.late_since(before)
    after = perf_counter()
    lag._last = after  # what the ticks see next, without waiting for one
    assert not lag.late_since(after)
    lag.stop()


async def test_an_agent_that_stood_still_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    gaps = Gaps(9.0)
    lag = Lag(gaps)
    lag.start()
    lag._last -= 10
    await gaps.rung.wait()
    gaps.wanted = 0.0
    gaps.rung.clear()
    await gaps.rung.wait()
    lag.stop()
    assert [record.getMessage()[:31] for record in caplog.records] == ["the agent stood still for 10.0 "]


async def test_a_lag_that_never_started_can_be_stopped() -> None:
    gaps = Gaps(0.0)
    lag = Lag(gaps)
    lag.stop()
    lag.start()
    await gaps.rung.wait()
    lag.stop()
    gaps.rung.clear()
    assert not lag.late_since(perf_counter())
