"""The jobs being watched, and what becomes of each finished run: history, metrics, state, log, listeners."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Protocol

from pydantic import ValidationError

from agent import machine
from agent.exporter import Exporter
from agent.exporter.own import Own
from agent.history import Change, ChangeKind, History
from agent.job import Job
from agent.lag import Lag
from agent.record import decode
from agent.rows import Remembered
from agent.runner import run_once
from agent.scheduler import Scheduler
from probes.core.context import Shared
from probes.core.contract import Outcome, Run
from probes.core.reasons import Reason

log = logging.getLogger("fogbell.probe")

INCONCLUSIVE_IN_A_ROW = 3
"""After so many inconclusive runs one that is throttled fails: a probe that asks too often to be answered must not look healthy.

A run for which our machine lacked something stays inconclusive, however many there are: it says nothing about the service, whose
availability would suffer from our full disk. That the probe has gone silent is told by the age of its last conclusive run.
"""


class Memory(Protocol):
    """Where the last conclusive run of each probe is kept."""

    def remember(self, remembered: Remembered) -> None:
        """Keep it."""

    def forget(self, name: str) -> None:
        """Drop a removed probe."""


class Listeners(Protocol):
    """Those who follow every run."""

    def __len__(self) -> int:
        """Return how many there are."""

    def publish(self, record: bytes) -> None:
        """Hand them a finished run (see agent.record)."""


def _nobody(_name: str, _seconds: float) -> None:
    """Stand for nobody who wants to know."""


class Watch:
    """All jobs at work. `ended(name, seconds)` hears of every end of a run, and for how long the service wants to be left alone."""

    def __init__(
        self,
        shared: Shared,
        own: Own,
        memory: Memory | None,
        listeners: Listeners,
        *,
        histograms: bool = True,
        ended: Callable[[str, float], None] = _nobody,
    ) -> None:
        self.history = History()
        self.exporter = Exporter(histograms=histograms)
        self.jobs: dict[str, Job] = {}
        self._shared = shared
        self._memory = memory
        self._listeners = listeners
        self._most = machine.runs_at_once()
        self._going = 0
        self._running: Counter[str] = Counter()
        self._ended = ended
        self._told_crowded = False
        self._lag = Lag(own.loop_lag.observe)
        self._scheduler = Scheduler(self._run, self.exporter.skip, own.schedule_drift.observe)

    def describe(self, jobs: Iterable[Job], remembered: Iterable[Remembered] = ()) -> None:
        """Let jobs appear in the metrics, with what is remembered of them, before any of them runs."""
        memories = {r.name: r for r in remembered}
        for job in jobs:
            self.jobs[job.name] = job
            self.exporter.describe(job)
            memory = memories.pop(job.name, None)
            if memory is not None:
                self._restore(job, memory)
        if self._memory is not None:
            for name in memories:
                self._memory.forget(name)

    def start(self, agent: str = "") -> None:
        """Begin the rhythm of all described jobs, which is that of the agent of this identity."""
        self._scheduler.agent = agent
        self._lag.start()
        for job in self.jobs.values():
            self._scheduler.add(job)

    async def stop(self) -> None:
        """End all runs; those that were going leave nothing."""
        self._lag.stop()
        await self._scheduler.stop()

    def add(self, job: Job) -> None:
        """Take in a job of a new configuration."""
        self.jobs[job.name] = job
        self.exporter.describe(job)
        self._scheduler.add(job)

    def change(self, job: Job) -> None:
        """Put a changed job in place of the one of its name; its counters and history go on unless it is of another kind."""
        if self.jobs[job.name].kind != job.kind:
            self.history.forget(job.name)
        self.jobs[job.name] = job
        self.exporter.describe(job)
        self._scheduler.replace(job)

    def remove(self, name: str) -> None:
        """Let a job go, with all that is known of it."""
        del self.jobs[name]
        self._scheduler.remove(name)
        self.exporter.forget(name)
        self.history.forget(name)
        if self._memory is not None:
            self._memory.forget(name)

    def is_running(self, name: str) -> bool:
        """Say whether a run of the probe is going, or of one of its name that is just being given up."""
        return self._running[name] > 0

    def count_cleanup_failure(self, name: str) -> None:
        """Count that something could not be removed that a probe has left, where the probe is still there."""
        if name in self.jobs:
            self.exporter.count_cleanup_failure(name)

    async def _run(self, job: Job) -> float:
        """Run the job once, and return for how many seconds the service wants it held back."""
        seconds = 0.0
        try:
            seconds = await self._run_and_finish(job)
        finally:
            self._ended(job.name, seconds)
        return seconds

    async def _run_and_finish(self, job: Job) -> float:
        run = await self._attempt(job)
        if _was_throttled(run) and self.history.of(job.name).inconclusive_in_row >= INCONCLUSIVE_IN_A_ROW:
            run = replace(run, outcome=Outcome.FAILED)
        self._finish(job, run)
        # Any other failure is looked at again at once: an outage that asks for patience is an outage all the same.
        return run.retry_after if run.reason in {Reason.THROTTLED, None} else 0.0

    async def _attempt(self, job: Job) -> Run:
        if self._going >= self._most:
            return self._crowded_out(job)
        self._going += 1
        self._running[job.name] += 1
        try:
            return await run_once(job, self._shared, self._lag.late_since)
        finally:
            self._going -= 1
            self._running[job.name] -= 1
            if not self._running[job.name]:
                del self._running[job.name]

    def _crowded_out(self, job: Job) -> Run:
        why = f"{self._going} runs are going, as many as the machine's limit of open files allows; raise it (ulimit -n, LimitNOFILE)"
        if not self._told_crowded:
            log.error("a probe was not run: %s", why, extra={"probe": job.name})
        self._told_crowded = True
        return Run(job.name, time.time(), 0.0, Outcome.INCONCLUSIVE, Reason.AGENT_RESOURCES, message=why)

    def _finish(self, job: Job, run: Run) -> None:
        change = self.history.record(run)
        past = self.history.of(job.name)
        self.exporter.publish(run, past.failing_since)
        if past.last is not None and len(self._listeners):
            self._listeners.publish(past.last)
        record = past.last_conclusive_record
        if self._memory is not None and run.outcome is not Outcome.INCONCLUSIVE and record is not None:
            self._memory.remember(Remembered(job.name, job.kind, record, past.failing_since, past.last_success))
        if change is not None:
            _log_change(change)
        if log.isEnabledFor(logging.DEBUG):
            log.debug("run ended", extra=_facts(run))

    def _restore(self, job: Job, memory: Remembered) -> None:
        if memory.kind != job.kind:
            return
        try:
            run = decode(memory.record)
        except ValidationError:
            log.warning("what was remembered of the probe cannot be read and is dropped", extra={"probe": job.name})
            return
        labels = {measurement.name: len(measurement.labels) for measurement in job.probe.measurements if not measurement.fleeting}
        run = replace(run, measured=tuple(m for m in run.measured if labels.get(m.name) == len(m.labels)))
        self.history.restore(run, memory.failing_since, memory.last_success)
        self.exporter.show(run, memory.failing_since, memory.last_success)
        self.exporter.show_last_run(run)


def _was_throttled(run: Run) -> bool:
    return run.outcome is Outcome.INCONCLUSIVE and run.reason is Reason.THROTTLED


def _facts(run: Run) -> dict[str, object]:
    facts: dict[str, object] = {"probe": run.probe, "outcome": str(run.outcome), "seconds": round(run.seconds, 6)}
    if run.reason is not None:
        facts |= {"step": run.failed_step, "reason": str(run.reason), "blame": str(run.blame), "code": run.code, "why": run.message}
    return facts


def _log_change(change: Change) -> None:
    facts = _facts(change.run)
    if change.kind is ChangeKind.FAILING:
        log.warning("probe started failing", extra=facts)
    elif change.kind is ChangeKind.RECOVERED:
        log.warning("probe recovered", extra=facts | {"failed_for_seconds": round(change.run.started - change.since, 1)})
    else:
        log.info("probe fails for another reason", extra=facts | {"before": str(change.previous)})
