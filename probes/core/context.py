"""What a probe is given: a stopwatch for its steps and phases, a place for findings, and the agent's shared services."""

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from math import inf
from time import perf_counter
from types import TracebackType
from typing import Any, Protocol, TypeVar

from probes.core.contract import Sample, Secret, Step
from probes.core.ledger import Ledger, MemoryLedger
from probes.core.masking import masked
from probes.core.reasons import Reason
from probes.core.text import shown

EVIDENCE_CHARACTERS = 500
"""Longest evidence value kept; a hostile answer must not fill memory."""
_REFUSALS = frozenset({Reason.PERMISSION, Reason.TOKEN_REJECTED})
# Some services answer 401 to an application that lacks a permission.


T = TypeVar("T")


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
    state_dir: str | None = None
    """Folder for what must survive a restart; None where there is none."""
    parts: dict[type[Any], Any] = field(default_factory=dict, repr=False)
    """What protocol code keeps between runs, such as tokens: one of each type."""
    ledger: Ledger = field(default_factory=MemoryLedger)
    """What probes have created and not removed yet."""

    def part(self, kind: type[T]) -> T:
        """Return the agent's one value of this type, made without arguments when it is first asked for."""
        if kind not in self.parts:
            self.parts[kind] = kind()
        found: T = self.parts[kind]
        return found


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
    tenant: str = ""
    """Name of the tenant the probe belongs to, or ""."""
    started: float = field(default_factory=perf_counter)
    deadline: float = inf
    """When the run will be ended (perf_counter)."""
    steps: list[Step] = field(default_factory=list)
    measured: list[Sample] = field(default_factory=list)
    evidence_found: dict[str, str] = field(default_factory=dict)
    open_steps: list[OpenStep] = field(default_factory=list)
    blamed: OpenStep | None = None
    """The innermost step that an exception left."""
    tainted: bool = False
    """Whether the run waited for something of our own, so that its times are upper bounds."""
    secrets: set[str] = field(default_factory=set, repr=False)
    """What the run was given in confidence: no message and no evidence shows it, in whatever spelling a server says it back."""
    cleanup_failed: bool = False
    """Whether something that the probe created could not be removed: counted, and never a run's reason."""
    cleanup_retry_after: float = 0.0
    """For how many seconds a service that was asked to remove something wants to be left alone."""
    lacking: str = ""
    """Which of the least permissions the run's token lacks: a wider one may do as well, so that only a refusal makes it evidence."""
    is_removed: bool = False
    """Whether the probe is no longer configured, or no longer so: what is left of it is cleared away and awaited by nobody."""

    def step(self, name: str) -> AbstractContextManager[None]:
        """Time a step. Steps may nest; the innermost one that an exception leaves is to blame."""
        return _StepTimer(self, name)

    def phase(self, name: str) -> AbstractContextManager[None]:
        """Time a phase of the innermost open step; one left by an exception counts, and stays known as the open phase."""
        return _PhaseTimer(self.open_steps[-1], name)

    def add_phase(self, name: str, seconds: float) -> None:
        """Add a phase that was timed elsewhere to the innermost open step."""
        _add(self.open_steps[-1], name, seconds)

    def measure(self, name: str, value: float, *labels: str) -> None:
        """Record a declared measurement."""
        self.measured.append(Sample(name, value, labels))

    def evidence(self, name: str, value: object) -> None:
        """Keep a fact an administrator can paste into a ticket. At the end of the run the run's secrets are taken out."""
        text = str(value)
        self.evidence_found[name] = shown(text if len(text) <= EVIDENCE_CHARACTERS else text[:EVIDENCE_CHARACTERS] + "…")

    def explain(self, reason: Reason) -> None:
        """Keep as evidence which permissions the token lacks, where this reason is a refusal that it may be due to."""
        if self.lacking and reason in _REFUSALS:
            self.evidence("missing_permissions", self.lacking)

    def secret(self, secret: Secret) -> str:
        """Return the current value of a secret, and hide it from now on."""
        value = self.shared.secret(secret)
        self.secrets.add(value)
        return value

    def hide(self, secret: str) -> None:
        """Let a secret that came some other way, such as a token, appear nowhere."""
        self.secrets.add(secret)

    def masked(self, text: str) -> str:
        """Return a text of a stranger without the run's secrets."""
        return masked(text, self.secrets) if self.secrets else text


# Classes, not generators: a generator behind every step and phase is a tenth of what a run costs.


class _StepTimer:
    """The time between entering and leaving a step."""

    __slots__ = ("_context", "_opened")

    def __init__(self, context: Context, name: str) -> None:
        self._context = context
        self._opened = OpenStep(name, 0.0)

    def __enter__(self) -> None:
        self._context.open_steps.append(self._opened)
        self._opened.started = perf_counter()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        context, opened = self._context, self._opened
        ended = perf_counter()
        context.open_steps.remove(opened)
        context.steps.append(Step(opened.name, opened.started - context.started, ended - opened.started, tuple(opened.phases.items())))
        if kind is None:
            context.blamed = None
        elif context.blamed is None:
            context.blamed = opened


class _PhaseTimer:
    """The time between entering and leaving a phase."""

    __slots__ = ("_name", "_started", "_step")

    def __init__(self, step: OpenStep, name: str) -> None:
        self._step = step
        self._name = name

    def __enter__(self) -> None:
        self._step.open_phases.append(self._name)
        self._started = perf_counter()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        _add(self._step, self._name, perf_counter() - self._started)
        if kind is None:
            self._step.open_phases.remove(self._name)


def _add(step: OpenStep, name: str, seconds: float) -> None:
    step.phases[name] = step.phases.get(name, 0.0) + seconds
