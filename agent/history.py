"""What the agent remembers of each probe's runs: a compact ring of the last hundred, a few whole runs, and since when it fails.

Knows nothing of pages or metrics. Whole runs are kept as the bytes of `agent.record`, and the ring as packed bytes: neither is an object
that a garbage collection has to visit, and a collection is a pause in every measurement. A full ring and its bookkeeping take about
1.6 kB, a whole run about half of that; runs that are the same share their bytes.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from agent.record import encode
from probes.core.contract import Outcome, Run
from probes.core.reasons import Reason

RING_RUNS = 100
"""Runs in a probe's ring."""

KEPT_FAILURES = 3
"""Failed runs that are kept whole, however many good ones came after."""

_ENTRY = struct.Struct("<dfB")  # started, Unix seconds; duration, seconds; outcome and flags
_OUTCOMES = tuple(Outcome)
_OUTCOME_MASK = 0x0F
_TAINTED = 0x10


class Beat(NamedTuple):
    """One run as the ring has it. `started` is Unix time; `seconds` has the precision of a 32-bit float."""

    started: float
    seconds: float
    outcome: Outcome
    tainted: bool


class Ring:
    """The last hundred runs of one probe, oldest first, in one block of bytes."""

    __slots__ = ("_count", "_entries")

    def __init__(self) -> None:
        self._entries = bytearray(_ENTRY.size * RING_RUNS)
        self._count = 0

    def append(self, run: Run) -> None:
        """Take a run in; the oldest makes room."""
        flags = _OUTCOMES.index(run.outcome) | (_TAINTED if run.tainted else 0)
        _ENTRY.pack_into(self._entries, self._count % RING_RUNS * _ENTRY.size, run.started, run.seconds, flags)
        self._count += 1

    def newest(self) -> Beat | None:
        """Return the latest run, or None before the first."""
        return self._at(self._count - 1) if self._count else None

    def __len__(self) -> int:
        return min(self._count, RING_RUNS)

    def __iter__(self) -> Iterator[Beat]:
        return (self._at(index) for index in range(self._count - len(self), self._count))

    def _at(self, index: int) -> Beat:
        started, seconds, flags = _ENTRY.unpack_from(self._entries, index % RING_RUNS * _ENTRY.size)
        return Beat(started, seconds, _OUTCOMES[flags & _OUTCOME_MASK], bool(flags & _TAINTED))


@dataclass(slots=True)
class Past:
    """What is remembered of one probe. Runs are records (`agent.record.decode` makes them runs again); times are Unix seconds."""

    ring: Ring = field(default_factory=Ring)
    last: bytes | None = None
    last_good: bytes | None = None
    failures: tuple[bytes, ...] = ()
    """The last three failed runs, newest first."""
    reason: Reason | None = None
    """Why the last conclusive run failed; None while it was ok."""
    failing_since: float | None = None
    """Start of the first failed run of the present failure."""
    last_success: float | None = None
    last_conclusive: float | None = None
    inconclusive_in_row: int = 0
    """Runs since the last conclusive one."""

    @property
    def last_conclusive_record(self) -> bytes | None:
        """The last run that was ok or failed: what the state keeps."""
        if self.failing_since is not None:
            return self.failures[0]
        return self.last_good


class ChangeKind(StrEnum):
    """How a probe's state changed with a run."""

    FAILING = "failing"
    RECOVERED = "recovered"
    REASON = "reason"
    """It still fails, for another reason."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change of state, for the log. `since` is when the failure began that started, goes on or is over with this run."""

    kind: ChangeKind
    run: Run
    since: float
    previous: Reason | None


class History:
    """The past of every probe."""

    def __init__(self) -> None:
        self._pasts: dict[str, Past] = {}

    def of(self, name: str) -> Past:
        """Return the probe's past; an empty one for a probe that has not run."""
        past = self._pasts.get(name)
        return Past() if past is None else past

    def record(self, run: Run) -> Change | None:
        """Take a finished run, and say whether it changed the probe's state."""
        past = self._pasts.get(run.probe)
        if past is None:
            past = self._pasts[run.probe] = Past()
        past.ring.append(run)
        past.last = encode(run)
        if run.outcome is Outcome.INCONCLUSIVE:
            past.inconclusive_in_row += 1
            return None
        past.inconclusive_in_row = 0
        past.last_conclusive = run.started
        return _succeed(past, run, past.last) if run.outcome is Outcome.OK else _fail(past, run, past.last)

    def restore(self, run: Run, failing_since: float | None, last_success: float | None) -> None:
        """Take the last conclusive run from before a restart, so that an outage goes on instead of starting anew.

        Replaces what is known of the probe; call it before the probe's first run.
        """
        past = Past(last_success=last_success, last_conclusive=run.started)
        past.ring.append(run)
        past.last = encode(run)
        if run.outcome is Outcome.FAILED:
            past.failures = (past.last,)
            past.reason = run.reason
            past.failing_since = run.started if failing_since is None else failing_since
        else:
            past.last_good = past.last
        self._pasts[run.probe] = past

    def forget(self, name: str) -> None:
        """Let a removed probe's past go."""
        self._pasts.pop(name, None)


def _succeed(past: Past, run: Run, record: bytes) -> Change | None:
    since, previous = past.failing_since, past.reason
    past.last_good = record
    past.last_success = run.started
    past.failing_since = past.reason = None
    return None if since is None else Change(ChangeKind.RECOVERED, run, since, previous)


def _fail(past: Past, run: Run, record: bytes) -> Change | None:
    since, previous = past.failing_since, past.reason
    past.failures = (record, *past.failures)[:KEPT_FAILURES]
    past.reason = run.reason
    if since is None:
        past.failing_since = run.started
        return Change(ChangeKind.FAILING, run, run.started, previous)
    return None if run.reason is previous else Change(ChangeKind.REASON, run, since, previous)
