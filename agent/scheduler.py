"""The rhythm of all jobs: when each starts, never two runs of one job at once. Knows nothing of what a run is.

A job's starts lie at phase + k * interval since the Unix epoch. The phase comes from its name and the agent's identity, so that a restart
moves no start, jobs spread by themselves, and two agents with one configuration do not ask a service for the same at the same moment. The
wall clock is read once, when a job joins; from then on only the monotonic clock counts, so that a clock that is set, or a machine that
slept, moves nothing.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import blake2b

from agent.job import Job

log = logging.getLogger("fogbell.scheduler")


_EARLY = 0.002
"""A start so many seconds early is on time: the loop's timers count in milliseconds."""
_HELD_INTERVALS = 2
"""A service may hold back a start by so many intervals: what stays away longer is blind."""
_TOO_LATE = 1.0
"""A start so many seconds late is a missed one: after a pause all jobs would start at once, and measure each other."""


def phase(name: str, interval: float, agent: str = "") -> float:
    """Return where in its interval the named job of an agent starts, in seconds. An agent without a state has no identity: ""."""
    digest = blake2b(f"{agent}{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64 * interval


def seconds_to_next_start(name: str, interval: float, unix_time: float, agent: str = "") -> float:
    """Return how long from `unix_time` until the next start of the job, in [0, interval)."""
    return (phase(name, interval, agent) - unix_time) % interval


@dataclass(slots=True)
class _Beat:
    """One job's place in time: when it is due, and the run that is still going."""

    job: Job
    due: float
    held_until: float = 0.0
    timer: asyncio.TimerHandle | None = None
    task: asyncio.Task[None] | None = None


class Scheduler:
    """Starts `run(job)` in each job's rhythm.

    `run` returns for how many seconds the job is to be held back. `skipped(name, count)` is told of starts that did not happen because a
    run was still going, the job was held back or the loop stood still; `drifted(seconds)` of how late each start was.
    """

    def __init__(
        self,
        run: Callable[[Job], Awaitable[float]],
        skipped: Callable[[str, int], None],
        drifted: Callable[[float], None],
        clock: Callable[[], float] = time.perf_counter,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._run = run
        self._skipped = skipped
        self._drifted = drifted
        self._clock = clock
        self._wall_clock = wall_clock
        self._beats: dict[str, _Beat] = {}
        self.agent = ""
        """Identity of the agent, which is known before jobs join."""

    def add(self, job: Job) -> None:
        """Let the job join, at its own phase."""
        wait = seconds_to_next_start(job.name, job.interval, self._wall_clock(), self.agent)
        beat = _Beat(job, self._clock() + wait)
        self._beats[job.name] = beat
        self._arm(beat)

    def replace(self, job: Job) -> None:
        """Put a changed job in the place of the one of its name; a run that is going is given up and counts as skipped."""
        if self._beats[job.name].task is not None:
            self._skipped(job.name, 1)
        self.remove(job.name)
        self.add(job)

    def remove(self, name: str) -> None:
        """Let the job leave; a run that is going is given up and leaves nothing."""
        beat = self._beats.pop(name)
        self._halt(beat)

    async def stop(self) -> None:
        """End all jobs and wait until their runs are gone."""
        for beat in self._beats.values():
            self._halt(beat)
        tasks = [beat.task for beat in self._beats.values() if beat.task is not None]
        self._beats.clear()
        await asyncio.gather(*tasks, return_exceptions=True)

    def running(self) -> int:
        """Return how many runs are going."""
        return sum(beat.task is not None for beat in self._beats.values())

    def _arm(self, beat: _Beat) -> None:
        loop = asyncio.get_running_loop()
        beat.timer = loop.call_later(max(0.0, beat.due - self._clock()), self._strike, beat)

    def _strike(self, beat: _Beat) -> None:
        now = self._clock()
        if beat.due - now > _EARLY:
            self._arm(beat)
            return
        if beat.task is None and beat.due + _EARLY >= beat.held_until and now - beat.due < _TOO_LATE:
            self._drifted(max(0.0, now - beat.due))
            beat.task = asyncio.get_running_loop().create_task(self._play(beat), name=beat.job.name)
            beat.task.add_done_callback(_guard)
        else:
            self._skipped(beat.job.name, 1)
        self._advance(beat, now)
        self._arm(beat)

    def _advance(self, beat: _Beat, now: float) -> None:
        missed = max(0, int((now - beat.due) // beat.job.interval))
        beat.due += (missed + 1) * beat.job.interval
        if missed:
            self._skipped(beat.job.name, missed)

    async def _play(self, beat: _Beat) -> None:
        try:
            seconds = await self._run(beat.job)
            if seconds > 0:
                beat.held_until = min(self._clock() + seconds, beat.due + _HELD_INTERVALS * beat.job.interval)
        finally:
            beat.task = None

    @staticmethod
    def _halt(beat: _Beat) -> None:
        if beat.timer is not None:
            beat.timer.cancel()
        if beat.task is not None:
            beat.task.cancel()


def _guard(task: asyncio.Task[None]) -> None:
    """Say so at once when what surrounds a run dies; its rhythm goes on."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("the agent could not handle a finished run", extra={"probe": task.get_name()}, exc_info=error)
