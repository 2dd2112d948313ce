"""What a probe is given: a stopwatch for its steps and phases, a place for findings, and the agent's shared services."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Protocol

from probes.core.contract import Sample, Secret, Step

EVIDENCE_CHARACTERS = 500
"""Longest evidence value kept; a hostile answer must not fill memory."""


class Lookup(Protocol):
    """Finds addresses of a host as the machine itself would."""

    async def __call__(self, host: str, family: int) -> tuple[str, ...]:
        """Return textual addresses of `host` (socket.AF_UNSPEC, AF_INET or AF_INET6), best first.

        Raises:
            probes.core.contract.Failed: with a `dns_*` reason.

        """


class Secrets(Protocol):
    """Reads the current value of a secret."""

    def __call__(self, secret: Secret) -> str:
        """Return the value.

        Raises:
            probes.core.contract.Inconclusive: where it can no longer be read.

        """


@dataclass(frozen=True, slots=True)
class Shared:
    """What all runs of an agent share."""

    lookup: Lookup
    secret: Secrets
    environ_proxies: tuple[tuple[str, str], ...] = ()
    """(scheme, URL) and ("no", hosts) as the environment gave them when the agent started."""


@dataclass(slots=True)
class OpenStep:
    """A step that is running: its name, start (perf_counter), finished phases, and open phases, innermost last."""

    name: str
    started: float
    phases: dict[str, float] = field(default_factory=dict)
    open_phases: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Context:
    """One run as the probe sees it. Not shared between runs."""

    probe: str
    shared: Shared
    started: float = field(default_factory=perf_counter)
    steps: list[Step] = field(default_factory=list)
    measured: list[Sample] = field(default_factory=list)
    evidence_found: dict[str, str] = field(default_factory=dict)
    open_steps: list[OpenStep] = field(default_factory=list)
    blamed: OpenStep | None = None
    """The innermost step that an exception left."""

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time a step. Steps may nest; the innermost one that an exception leaves is to blame."""
        opened = OpenStep(name, perf_counter())
        self.open_steps.append(opened)
        try:
            yield
        except BaseException:
            if self.blamed is None:
                self.blamed = opened
            raise
        else:
            self.blamed = None
        finally:
            self.open_steps.remove(opened)
            ended = perf_counter()
            phases = tuple(opened.phases.items())
            self.steps.append(Step(name, opened.started - self.started, ended - opened.started, phases))

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time a phase of the innermost open step; one left by an exception counts, and stays known as the open phase."""
        step = self.open_steps[-1]
        step.open_phases.append(name)
        started = perf_counter()
        try:
            yield
        finally:
            self._add(step, name, perf_counter() - started)
        step.open_phases.remove(name)

    def add_phase(self, name: str, seconds: float) -> None:
        """Add a phase that was timed elsewhere to the innermost open step."""
        self._add(self.open_steps[-1], name, seconds)

    def measure(self, name: str, value: float, *labels: str) -> None:
        """Record a declared measurement."""
        self.measured.append(Sample(name, value, labels))

    def evidence(self, name: str, value: object) -> None:
        """Keep a fact an administrator can paste into a ticket. Never give it a secret."""
        text = str(value)
        self.evidence_found[name] = text if len(text) <= EVIDENCE_CHARACTERS else text[:EVIDENCE_CHARACTERS] + "…"

    def secret(self, secret: Secret) -> str:
        """Return the current value of a secret."""
        return self.shared.secret(secret)

    @staticmethod
    def _add(step: OpenStep, name: str, seconds: float) -> None:
        step.phases[name] = step.phases.get(name, 0.0) + seconds
