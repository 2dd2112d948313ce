"""What probes have left behind: cleared away until nothing is left, whatever became of the run, the process or the probe that left it.

A run removes what it made. Where it could not, the kind's `clear` is called right after the run, at the start, after a reload that removed,
renamed or changed the probe, and again after 5 minutes, then 10, up to an hour. What a run in progress is making is left alone: a probe
that is running waits, and `clear` sees only what was there when it began. A probe that is configured no more is cleared with its settings
of then; where that cannot be, the log says once what is left, and where.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Protocol

from agent.config.entries import Registry
from agent.job import Job
from agent.origins import NotClearableError, job_of_then
from agent.runner import Clearing, clear_once
from agent.state import State, StateError
from probes.core.context import Shared
from probes.core.contract import Inconclusive
from probes.core.ledger import Artefact, Ledger, probe_of
from probes.core.text import shown
from probes.lib.tenant import Tenants

log = logging.getLogger("fogbell.litter")

FIRST_SECONDS = 300.0
LONGEST_SECONDS = 3600.0
"""How long something that is left waits for the next attempt: at first, and at most."""

ONCE = "once"
"""Folder in `state_dir` of the ledger of `fogbell once`."""

_AT_ONCE = 4
# Probes that are cleared at the same time: a service that hangs must not keep others waiting, and must not be stormed.
_TOLD = 5
# Artefacts of which the log says where they are.


class Watched(Protocol):
    """The probes at work."""

    jobs: dict[str, Job]

    def is_running(self, name: str) -> bool:
        """Say whether a run of the probe is going."""

    def count_cleanup_failure(self, name: str) -> None:
        """Count an attempt that failed, where the probe is still there."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A ledger as `clear` sees it: only what was there when it began."""

    ledger: Ledger
    ids: frozenset[str]

    async def record(self, probe: str, artefact: Artefact) -> None:
        """Keep it.

        Raises:
            probes.core.contract.Inconclusive: AGENT_RESOURCES, where it cannot be written.

        """
        await self.ledger.record(probe, artefact)

    async def strike(self, probe: str, artefact_id: str) -> None:
        """Take it off."""
        await self.ledger.strike(probe, artefact_id)

    def outstanding(self, probe: str) -> tuple[Artefact, ...]:
        """Return what is left of what was there, the oldest first."""
        return tuple(artefact for artefact in self.ledger.outstanding(probe) if artefact.id in self.ids)


@dataclass(frozen=True, slots=True)
class Sweeper:
    """Clears away after one name at a time. `jobs` are those that are configured now."""

    shared: Shared
    state: State
    registry: Registry
    jobs: Mapping[str, Job]

    async def clear(self, name: str) -> Clearing:
        """Call `clear` of what created the artefacts that are kept under this name.

        Raises:
            NotClearableError: where that is configured no more, and cannot be had from what was remembered.

        """
        ids = frozenset(artefact.id for artefact in self.state.outstanding(name))
        job = self.jobs.get(name)
        is_removed = job is None or job.probe.clear is None
        if job is None or is_removed:
            job = job_of_then(name, self.state.origin(name), self.registry, self.shared.part(Tenants))
        return await clear_once(job, self.shared, Standing(self.state, ids), is_removed=is_removed)

    def facts(self, name: str, why: str) -> dict[str, object]:
        """Return what the log says of something that is left."""
        origin, artefacts = self.state.origin(name), self.state.outstanding(name)
        kind = origin.kind if origin else "unknown"
        return {"probe": name, "kind": kind, "left": _counted(artefacts), "why": why, "where": self._where(name)}

    def _where(self, name: str) -> str:
        """Return where the artefacts are that are kept under a name, as far as it was recorded."""
        origin, artefacts = self.state.origin(name), self.state.outstanding(name)
        tenant = (f"tenant {origin.tenant} ({origin.tenant_id})",) if origin and origin.tenant_id else ()
        told = (" ".join((one.kind, one.id, *(f"{key}={value}" for key, value in one.facts))) for one in artefacts[:_TOLD])
        more = (f"and {len(artefacts) - _TOLD} more",) if len(artefacts) > _TOLD else ()
        return shown("; ".join((*tenant, *told, *more)))


def _counted(artefacts: Sequence[Artefact]) -> str:
    counts = Counter(artefact.kind for artefact in artefacts)
    return ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))


async def clear_now(sweeper: Sweeper) -> None:
    """Clear once after every name, for a command that ends. What fails is logged, and the rest waits for the next time."""
    for name in sweeper.state.names():
        try:
            clearing = await sweeper.clear(name)
        except NotClearableError as error:
            log.warning("what a probe left cannot be removed", extra=sweeper.facts(name, str(error)))
            continue
        if clearing.failure:
            log.warning("what a probe left could not be removed now", extra=sweeper.facts(name, clearing.failure))
            return


@dataclass(slots=True)
class _Case:
    """A name under which something is left.

    `due` is when it is cleared next (by the monotonic clock), `wait` how long it was put off last, `seen` what was left after the last
    attempt, `told` what the log last said is left.
    """

    due: float = 0.0
    wait: float = 0.0
    seen: frozenset[str] = frozenset()
    told: str = ""


class Litter:
    """The agent's chore of clearing away."""

    def __init__(
        self, shared: Shared, state: State, registry: Registry, watched: Watched, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._sweeper = Sweeper(shared, state, registry, watched.jobs)
        self._state = state
        self._watched = watched
        self._clock = clock
        self._cases: dict[str, _Case] = {}
        self._clearing: dict[str, asyncio.Task[None]] = {}
        self._awaited: set[str] = set()
        self._wake = asyncio.Event()

    async def work(self) -> None:
        """Clear away whatever is due, for ever. Cancelling gives up what is under way; the ledger knows what is left."""
        try:
            while True:
                self._wake.clear()
                self._begin()
                await self._wait()
        finally:
            for task in self._clearing.values():
                task.cancel()
            await asyncio.gather(*self._clearing.values(), return_exceptions=True)

    def look(self) -> None:
        """Look at everything at once: another configuration may know how to remove what is left."""
        for case in self._cases.values():
            case.due, case.wait = 0.0, 0.0
        self._wake.set()

    def ended(self, name: str, seconds: float) -> None:
        """Hear that a run has ended: what it left that was not there before is cleared at once, or when the service may be asked again."""
        left = self._state.outstanding(name)
        case = self._cases.setdefault(name, _Case()) if left else self._cases.get(name)
        if case is not None and not case.seen.issuperset(artefact.id for artefact in left):
            case.due, case.wait = self._clock() + seconds, 0.0
        if case is not None or name in self._awaited:
            self._wake.set()

    async def take_over(self, folder: Path) -> None:
        """Take over what is left on the ledger of `fogbell once`, if there is one that nobody is using: of runs that were killed."""
        once = State(folder)
        try:
            await once.open()
            await self._state.take_over(once)
        except (StateError, Inconclusive) as error:
            log.debug("the ledger of fogbell once stays as it is: %s", error)
        finally:
            await once.close()
        self._wake.set()

    def _begin(self) -> None:
        """Start clearing what is due, the longest due first, but for probes that are running."""
        names, now = self._state.names(), self._clock()
        for name in self._cases.keys() - set(names) - self._clearing.keys():
            # Of a probe that is there, and after which all went well, nobody has to hear.
            if self._cases.pop(name).told or name not in self._watched.jobs:
                log.info("what a probe left is gone", extra={"probe": name})
        cases = {name: self._cases.setdefault(name, _Case()) for name in names if name not in self._clearing}
        due = sorted((name for name, case in cases.items() if case.due <= now), key=lambda name: cases[name].due)
        self._awaited = {probe_of(name) for name in due if self._watched.is_running(probe_of(name))}
        for name in [name for name in due if probe_of(name) not in self._awaited][: _AT_ONCE - len(self._clearing)]:
            task = self._clearing[name] = asyncio.get_running_loop().create_task(self._clear(name, cases[name]), name=name)
            task.add_done_callback(self._done)

    async def _wait(self) -> None:
        """Wait until something is due, a run has ended, a clearing has, or somebody says look."""
        later = [case.due for name, case in self._cases.items() if name not in self._clearing and case.due > self._clock()]
        seconds = min(later, default=inf) - self._clock()
        try:
            async with asyncio.timeout(seconds if seconds < inf else None):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _clear(self, name: str, case: _Case) -> None:
        before = {artefact.id for artefact in self._state.outstanding(name)}
        # Put off before it is tried: whatever becomes of it, it is not tried again at once.
        case.wait = min(max(2 * case.wait, FIRST_SECONDS), LONGEST_SECONDS)
        case.due = self._clock() + case.wait
        try:
            clearing = await self._sweeper.clear(name)
        except NotClearableError as error:
            case.due = inf
            self._tell(name, case, "what a probe left cannot be removed", str(error))
            return
        left = {artefact.id for artefact in self._state.outstanding(name)}
        case.seen = frozenset(before & left)
        if before - left:
            case.wait = FIRST_SECONDS
        # What has come meanwhile is another matter.
        case.due = self._clock() + max(0.0 if left - before else case.wait, clearing.retry_after)
        if clearing.failure:
            self._watched.count_cleanup_failure(name)
            self._tell(name, case, "what a probe left could not be removed; it is tried again", clearing.failure)

    def _tell(self, name: str, case: _Case, what: str, why: str) -> None:
        """Log what is left, where that is news: its kinds, or that it cannot be removed."""
        news = f"{what}: {', '.join(sorted({artefact.kind for artefact in self._state.outstanding(name)}))}"
        if news != case.told:
            log.warning(what, extra=self._sweeper.facts(name, why))
        case.told = news

    def _done(self, task: asyncio.Task[None]) -> None:
        del self._clearing[task.get_name()]
        self._wake.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("clearing away failed in a way that nobody foresaw", extra={"probe": task.get_name()}, exc_info=error)
