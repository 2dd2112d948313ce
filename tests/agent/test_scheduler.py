"""The rhythm, in time that jumps: minutes of it take none."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.job import Job
from agent.scheduler import Scheduler, phase, seconds_to_next_start
from probes.core.context import Context
from tests.agent.jobs import NoSettings, job

pytestmark = pytest.mark.looptime


async def _nothing(_ctx: Context, _: NoSettings) -> None:
    return


class Rhythm:
    """A scheduler on the loop's own clock, and what it did."""

    def __init__(self, run: Callable[[Job], Awaitable[None]] | None = None, wall: float = 0.0) -> None:
        self.loop = asyncio.get_running_loop()
        self.starts: list[tuple[str, float]] = []
        self.skipped: Counter[str] = Counter()
        self.drifts: list[float] = []
        self.wall = wall
        self.hold = 0.0
        self._run = run
        self.scheduler = Scheduler(self._start, self._skip, self.drifts.append, self.loop.time, lambda: self.wall + self.loop.time())

    async def _start(self, job: Job) -> float:
        self.starts.append((job.name, self.loop.time()))
        if self._run is not None:
            await self._run(job)
        return self.hold

    def _skip(self, name: str, count: int) -> None:
        self.skipped[name] += count


def test_the_phase_comes_from_the_name_and_spreads_over_the_interval() -> None:
    phases = [phase(f"probe-{n}", 60.0) for n in range(1000)]
    assert phase("probe-1", 60.0) == phases[1]
    assert {int(p // 6) for p in phases} == set(range(10))


def test_two_agents_with_one_configuration_start_the_same_probe_at_moments_of_their_own() -> None:
    apart = [abs(phase(f"probe-{n}", 60.0, "one") - phase(f"probe-{n}", 60.0, "other")) for n in range(1000)]
    assert sum(seconds < 1 for seconds in apart) < 60


@given(st.text(min_size=1), st.floats(0.5, 86400), st.floats(0, 4e9))
def test_the_next_start_lies_on_the_phase_counted_from_the_epoch(name: str, interval: float, now: float) -> None:
    wait = seconds_to_next_start(name, interval, now)
    assert 0 <= wait <= interval
    off = (now + wait - phase(name, interval)) % interval
    assert min(off, interval - off) < 1e-4 * interval + 1e-5


async def test_starts_keep_their_distance_whatever_a_run_takes() -> None:
    async def run(_: Job) -> None:
        await asyncio.sleep(3)

    rhythm = Rhythm(run)
    rhythm.scheduler.add(job(_nothing, interval=10))
    await asyncio.sleep(61)
    times = [at for _, at in rhythm.starts]
    assert len(times) == 6
    assert [round(b - a, 3) for a, b in pairwise(times)] == [10.0] * 5
    await rhythm.scheduler.stop()


async def test_a_restart_moves_no_start() -> None:
    first, second = Rhythm(), Rhythm(wall=0.0)
    first.scheduler.add(job(_nothing, interval=10))
    await asyncio.sleep(25)
    await first.scheduler.stop()
    second.scheduler.add(job(_nothing, interval=10))
    await asyncio.sleep(20)
    await second.scheduler.stop()
    phases = {round(at % 10, 2) for _, at in first.starts + second.starts}
    assert len(phases) == 1
    assert len(first.starts) + len(second.starts) in {4, 5}


async def test_a_slow_run_skips_starts_and_never_overlaps() -> None:
    going = 0

    async def run(_: Job) -> None:
        nonlocal going
        going += 1
        assert going == 1
        await asyncio.sleep(25)
        going -= 1

    rhythm = Rhythm(run)
    rhythm.scheduler.add(job(_nothing, interval=10))
    await asyncio.sleep(100)
    assert len(rhythm.starts) + rhythm.skipped["page"] == 10
    assert len(rhythm.starts) == 4
    await rhythm.scheduler.stop()


async def test_one_slow_job_does_not_hold_back_a_thousand_others() -> None:
    async def run(job: Job) -> None:
        if job.name == "stuck":
            await asyncio.Event().wait()

    rhythm = Rhythm(run)
    for name in ("stuck", *(f"p{n}" for n in range(1000))):
        rhythm.scheduler.add(job(_nothing, name, interval=10))
    await asyncio.sleep(20.001)
    starts = Counter(name for name, _ in rhythm.starts)
    assert starts.pop("stuck") == 1
    assert set(starts.values()) == {2}
    assert rhythm.scheduler.running() == 1
    await rhythm.scheduler.stop()


async def test_a_wall_clock_that_is_set_moves_nothing() -> None:
    rhythm = Rhythm()
    rhythm.scheduler.add(job(_nothing, interval=10))
    await asyncio.sleep(20)
    rhythm.wall += 86400.5
    await asyncio.sleep(20)
    assert len(rhythm.starts) == 4
    assert not rhythm.skipped
    await rhythm.scheduler.stop()


async def test_starts_missed_while_the_loop_stood_still_are_counted_and_not_made_up_for() -> None:
    rhythm = Rhythm()
    stood_still = 0.0
    rhythm.scheduler._clock = lambda: rhythm.loop.time() + stood_still
    rhythm.scheduler.add(job(_nothing, interval=10))
    await asyncio.sleep(20)
    stood_still = 35.0
    await asyncio.sleep(25)
    assert len(rhythm.starts) + rhythm.skipped["page"] == 8
    assert rhythm.skipped["page"] == 4
    assert max(rhythm.drifts) < 0.1
    await rhythm.scheduler.stop()


async def test_stop_ends_running_runs_at_once() -> None:
    ended: list[str] = []

    async def run(job: Job) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(job.name)

    rhythm = Rhythm(run)
    rhythm.scheduler.add(job(_nothing, interval=10))
    await asyncio.sleep(11)
    assert rhythm.scheduler.running() == 1
    await rhythm.scheduler.stop()
    assert ended == ["page"]
    await asyncio.sleep(100)
    assert len(rhythm.starts) == 1


async def test_a_replaced_job_runs_in_its_new_rhythm_and_a_removed_one_no_more() -> None:
    rhythm = Rhythm()
    rhythm.scheduler.add(job(_nothing, "a", interval=10))
    rhythm.scheduler.add(job(_nothing, "b", interval=10))
    await asyncio.sleep(10)
    rhythm.scheduler.replace(job(_nothing, "a", interval=5))
    rhythm.scheduler.remove("b")
    await asyncio.sleep(20)
    starts = Counter(name for name, _ in rhythm.starts)
    assert starts["b"] == 1
    assert starts["a"] == 5
    await rhythm.scheduler.stop()


async def test_an_error_around_a_run_is_told_and_does_not_stop_the_rhythm(caplog: pytest.LogCaptureFixture) -> None:
    async def run(_: Job) -> None:
        raise RuntimeError("exporter broke")

    rhythm = Rhythm(run)
    rhythm.scheduler.add(job(_nothing, interval=10))
    await asyncio.sleep(30)
    assert len(rhythm.starts) == 3
    assert "could not handle a finished run" in caplog.text
    await rhythm.scheduler.stop()


async def test_a_timer_that_is_early_waits_for_the_rest() -> None:
    loop, starts = asyncio.get_running_loop(), list[float]()

    def slow_clock() -> float:
        return loop.time() * 0.9

    async def run(_: Job) -> float:
        starts.append(slow_clock())
        return 0.0

    scheduler = Scheduler(run, lambda *_: None, lambda _: None, slow_clock, slow_clock)
    scheduler.add(job(_nothing, interval=10))
    await asyncio.sleep(50)
    await scheduler.stop()
    assert len(starts) >= 3
    assert [round(b - a, 2) for a, b in pairwise(starts)] == [10.0] * (len(starts) - 1)


@pytest.mark.parametrize(
    ("hold", "starts"),
    [(0.0, [0, 10, 20, 30, 40, 50]), (5.0, [0, 10, 20, 30, 40, 50]), (10.5, [0, 20, 40]), (20.0, [0, 20, 40]), (3600.0, [0, 30])],
    ids=["not held", "held for less than an interval", "held over one start", "held until a start", "held for at most two starts"],
)
async def test_a_job_is_held_back_by_two_starts_at_most_and_each_counts_as_skipped(hold: float, starts: list[int]) -> None:
    rhythm = Rhythm()
    rhythm.hold = hold
    rhythm.scheduler.add(job(_nothing, interval=10))
    await asyncio.sleep(59.9)
    await rhythm.scheduler.stop()
    first = rhythm.starts[0][1]
    assert [round(at - first) for _, at in rhythm.starts] == starts
    assert sum(rhythm.skipped.values()) == 6 - len(starts)
