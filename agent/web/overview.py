"""All probes at a glance: the state of each, the tallies, the order of the page, and what a filter lets through."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from heapq import merge
from itertools import chain

from agent.history import History, Past
from agent.job import Job
from agent.web.areas import Area, area_of
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


_ORDER = {area: number for number, area in enumerate(Area)}
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
    """What of all probes somebody wants to see: words that must occur, a state, an area; None stands for all."""

    words: tuple[str, ...] = ()
    state: State | None = None
    area: Area | None = None

    def admits(self, job: Job, its_state: State) -> bool:
        """Tell whether the probe is wanted."""
        if (self.state is not None and its_state is not self.state) or (self.area is not None and area_of(job) is not self.area):
            return False
        if not self.words:
            return True
        text = " ".join((job.name, job.kind, job.tenant, job.place.workload, job.role, target(job.settings))).casefold()
        return all(word in text for word in self.words)


@dataclass(frozen=True, slots=True)
class Overview:
    """The tally of each area, and the probes that a filter admits, in order of area and state."""

    tallies: Mapping[Area, Counter[State]]
    found: Mapping[tuple[Area, int], list[tuple[Job, State]]]
    """By area and rank; a rank is 0 where something fails, 1 where it is uncertain, 2 else."""

    @property
    def tally(self) -> Counter[State]:
        """The tally of all."""
        return sum(self.tallies.values(), Counter[State]())

    def __len__(self) -> int:
        return sum(map(len, self.found.values()))

    def by_area(self) -> list[tuple[Job, State]]:
        """Return the probes area by area: those with failures first, and what fails first in each."""
        worst = {area: min(rank for its, rank in self.found if its is area) for area, _ in self.found}
        return self._joined(sorted(self.found, key=lambda part: (min(worst[part[0]], 1), _ORDER[part[0]], part[1])))

    def by_rank(self) -> list[tuple[Job, State]]:
        """Return all that fail first, then what is uncertain, then the rest, each by area."""
        return self._joined(sorted(self.found, key=lambda part: (part[1], _ORDER[part[0]])))

    def _joined(self, parts: list[tuple[Area, int]]) -> list[tuple[Job, State]]:
        return list(chain.from_iterable(self.found[part] for part in parts))


class Directory:
    """The probes in the order of the page, sorted anew only when they change."""

    def __init__(self, jobs: Callable[[], tuple[Job, ...]]) -> None:
        self._jobs = jobs
        self._seen: tuple[Job, ...] = ()
        self._sorted: tuple[Job, ...] = ()

    async def ordered(self) -> tuple[Job, ...]:
        """Return the probes by area, tenant, kind and name."""
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


def group_order(job: Job) -> tuple[int, str, str, str]:
    """Return what a page sorts by, states apart."""
    return _ORDER[area_of(job)], job.tenant, job.kind, job.name


def moment_of(site: Site) -> Moment:
    """Return the present moment of a site."""
    reload = site.last_reload()
    return Moment(site.clock(), max(site.started, reload.when) if reload.ok else site.started)


async def survey(jobs: tuple[Job, ...], history: History, moment: Moment, wanted: Filter) -> Overview:
    """Look at every probe once."""
    tallies: defaultdict[Area, Counter[State]] = defaultdict(Counter)
    found: defaultdict[tuple[Area, int], list[tuple[Job, State]]] = defaultdict(list)
    async for job in sliced(jobs):
        its_state, area = state(job, history.of(job.name), moment), area_of(job)
        tallies[area][its_state] += 1
        if wanted.admits(job, its_state):
            found[area, _RANK[its_state]].append((job, its_state))
    return Overview(tallies, found)
