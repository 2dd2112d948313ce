"""All probes at a glance: the state of each, the tally, the order of the page, and what a filter lets through."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from heapq import merge

from agent.history import History, Past
from agent.job import Job
from agent.web.site import Site
from agent.web.slices import sliced
from agent.words import target
from probes.core.contract import Outcome

STALE_INTERVALS = 3
"""A probe without a conclusive run for this many of its own intervals is stale; the shipped alert says the same."""

_SORTED_AT_ONCE = 500


class State(StrEnum):
    """How a probe stands, as one word. The first that fits holds."""

    FAILING = "failing"
    """Its last conclusive run failed."""
    STALE = "stale"
    """No conclusive run for three of its own intervals, or never one."""
    INCONCLUSIVE = "inconclusive"
    """Its last run says nothing about the target; before that it did not fail."""
    WAITING = "waiting"
    """Not yet run, and not overdue."""
    OK = "ok"


_RANK = {State.FAILING: 0, State.STALE: 1, State.INCONCLUSIVE: 1, State.WAITING: 2, State.OK: 2}


@dataclass(frozen=True, slots=True)
class Moment:
    """When somebody looks, and when a probe that has not run can have been configured at the latest. Unix seconds."""

    now: float
    configured: float


def state(job: Job, past: Past, moment: Moment) -> State:
    """Return the state of a probe."""
    if past.failing_since is not None:
        return State.FAILING
    if moment.now - (past.last_conclusive or moment.configured) > STALE_INTERVALS * job.interval:
        return State.STALE
    newest = past.ring.newest()
    if newest is None:
        return State.WAITING
    return State.INCONCLUSIVE if newest.outcome is Outcome.INCONCLUSIVE else State.OK


@dataclass(frozen=True, slots=True)
class Filter:
    """What of all probes somebody wants to see: words that must occur, and a state or None for all."""

    words: tuple[str, ...] = ()
    state: State | None = None

    def admits(self, job: Job, its_state: State) -> bool:
        """Tell whether the probe is wanted."""
        if self.state is not None and its_state is not self.state:
            return False
        if not self.words:
            return True
        text = " ".join((job.name, job.kind, job.tenant, job.place.workload, job.role, target(job.settings))).casefold()
        return all(word in text for word in self.words)


@dataclass(frozen=True, slots=True)
class Overview:
    """The tally of all probes, and those a filter admits: failing first, then what is uncertain, then the rest, each by group."""

    tally: Counter[State]
    found: tuple[tuple[Job, State], ...]


class Directory:
    """The probes in the order of the page, sorted anew only when they change."""

    def __init__(self, jobs: Callable[[], tuple[Job, ...]]) -> None:
        self._jobs = jobs
        self._seen: tuple[Job, ...] = ()
        self._sorted: tuple[Job, ...] = ()

    async def ordered(self) -> tuple[Job, ...]:
        """Return the probes by tenant, workload, kind and name."""
        jobs = self._jobs()
        if jobs is not self._seen:
            starts = range(0, len(jobs), _SORTED_AT_ONCE)
            runs = [sorted(jobs[start : start + _SORTED_AT_ONCE], key=group_order) async for start in sliced(starts)]
            self._sorted = tuple([job async for job in sliced(merge(*runs, key=group_order))])
            self._seen = jobs
        return self._sorted

    def find(self, name: str) -> Job | None:
        """Return the probe of this name."""
        return next((job for job in self._jobs() if job.name == name), None)


def group_order(job: Job) -> tuple[str, ...]:
    """Return what a page sorts by."""
    return job.tenant, job.place.workload, job.kind, job.name


def moment_of(site: Site) -> Moment:
    """Return the present moment of a site."""
    reload = site.last_reload()
    return Moment(site.clock(), max(site.started, reload.when) if reload.ok else site.started)


async def survey(jobs: tuple[Job, ...], history: History, moment: Moment, wanted: Filter) -> Overview:
    """Look at every probe once."""
    tally: Counter[State] = Counter()
    ranks: tuple[list[tuple[Job, State]], ...] = ([], [], [])
    async for job in sliced(jobs):
        its_state = state(job, history.of(job.name), moment)
        tally[its_state] += 1
        if wanted.admits(job, its_state):
            ranks[_RANK[its_state]].append((job, its_state))
    return Overview(tally, (*ranks[0], *ranks[1], *ranks[2]))
