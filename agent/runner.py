"""One run of one job, or one round of clearing away what it left: fresh context, deadline, verdict on the exception.

The only place that catches `Exception`.
"""

import asyncio
import errno
import logging
import time
import urllib.request
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from operator import attrgetter
from time import perf_counter
from typing import Any

from agent.job import Job
from probes.core.codes import known
from probes.core.context import Context, Secrets, Shared
from probes.core.contract import Failed, Inconclusive, Outcome, Run, Stopped
from probes.core.ledger import Ledger, MemoryLedger
from probes.core.reasons import Reason
from probes.core.text import shown
from probes.lib.cleanup import CLEANUP
from probes.lib.resolve import SystemResolver
from probes.lib.tenant import Tenant, Tenants

log = logging.getLogger("fogbell.runner")

DEADLINE_REASONS = {
    "resolve": Reason.DNS_TIMEOUT,
    "request": Reason.DNS_TIMEOUT,
    "connect": Reason.CONNECT_TIMEOUT,
    "tls": Reason.TLS_TIMEOUT,
    "proxy": Reason.PROXY_UNREACHABLE,
}
"""Phase that was open at the deadline to reason; any other is `timeout`."""

_QUEUE = "queue"
# Phase in which a run waits for calls of our own: its deadline says nothing about what it would have asked.
_MESSAGE_CHARACTERS = 500
_BEFORE_NEXT_START = 0.020
_OVERDUE_SECONDS = 1.0
# A deadline that comes later, because the agent was stopped or starved, says nothing about what was waited for.


def of_this_machine(secrets: Secrets, tenants: Mapping[str, Tenant], state_dir: str | None, ledger: Ledger | None = None) -> Shared:
    """Return what all runs share: the machine's resolver, the proxies the environment names now, secrets, tenants, the state.

    Without a `ledger`, what probes create is remembered as long as the process lives.
    """
    proxies = tuple(urllib.request.getproxies().items())
    shared = Shared(lookup=SystemResolver(), secret=secrets, environ_proxies=proxies, state_dir=state_dir, ledger=ledger or MemoryLedger())
    shared.part(Tenants).put(tenants)
    return shared


async def run_once(job: Job, shared: Shared, late_since: Callable[[float], bool] = lambda _: False) -> Run:
    """Run the job once, to its end or its deadline, and say how it went.

    `late_since` tells whether the agent itself was late since a moment of perf_counter. Cancelling leaves no run.
    """
    started = time.time()
    context = Context(job.name, shared, job.tenant)
    context.deadline = context.started + _deadline(job)
    stopped = await _attempt(job, job.probe.run, context, late_since)
    seconds = perf_counter() - context.started
    outcome = _outcome(stopped)
    if stopped is not None:
        context.explain(stopped.reason)
    return Run(
        probe=job.name,
        started=started,
        seconds=seconds,
        outcome=outcome,
        reason=stopped.reason if stopped else None,
        failed_step=_failed_step(stopped, context),
        message=_message(stopped, context),
        code=known(stopped.code) if stopped else "",
        steps=tuple(sorted(context.steps, key=attrgetter("started"))) if len(context.steps) > 1 else tuple(context.steps),
        measured=tuple(context.measured),
        evidence=_evidence(context),
        tainted=context.tainted or late_since(context.started),
        retry_after=stopped.retry_after if stopped else context.cleanup_retry_after,
        cleanup_failed=context.cleanup_failed,
    )


@dataclass(frozen=True, slots=True)
class Clearing:
    """How clearing away went: why something could not be removed, "" where nothing failed, and for how long (seconds) to stay away."""

    failure: str = ""
    retry_after: float = 0.0


async def clear_once(job: Job, shared: Shared, ledger: Ledger, *, is_removed: bool = False) -> Clearing:
    """Let the job's kind remove what this ledger says is left, to its end or the deadline.

    `is_removed` says that the job is no longer configured. Cancelling leaves on the ledger what is not removed yet.
    """
    context = Context(job.name, replace(shared, ledger=ledger), job.tenant, is_removed=is_removed)
    context.deadline = context.started + _deadline(job)
    stopped = await _attempt(job, job.probe.clear or _nothing, context, lambda _: False)
    if stopped is not None:
        return Clearing(_message(stopped, context) or str(stopped.reason), stopped.retry_after)
    if not context.cleanup_failed:
        return Clearing()
    return Clearing(dict(_evidence(context)).get(CLEANUP, "something could not be removed"), context.cleanup_retry_after)


async def _nothing(_: Context, __: Any) -> None:
    """Stand for a kind that creates nothing."""


async def _attempt(
    job: Job, work: Callable[[Context, Any], Awaitable[None]], context: Context, late_since: Callable[[float], bool]
) -> Stopped | None:
    try:
        async with asyncio.timeout(_deadline(job)) as deadline:
            await work(context, job.settings)
    except Stopped as stopped:
        return stopped
    except TimeoutError as error:
        return _at_deadline(job, context, late_since) if deadline.expired() else _bug(job, error)
    except Exception as error:  # noqa: BLE001 - a probe's bug must not end the agent; it gets a name instead
        return _bug(job, error)
    return _at_deadline(job, context, late_since) if deadline.expired() else None


def _deadline(job: Job) -> float:
    """Return the seconds a run may take: one that may fill its interval ends a little earlier, so that the next start finds its place."""
    return min(job.timeout, max(job.interval - _BEFORE_NEXT_START, 0.5 * job.interval))


def _at_deadline(job: Job, context: Context, late_since: Callable[[float], bool]) -> Stopped:
    overdue = perf_counter() - context.started - job.timeout
    if overdue > _OVERDUE_SECONDS and late_since(context.started):
        message = f"the agent stood still, so that the deadline of {job.timeout:g} s came {overdue:.1f} s late"
        return Inconclusive(Reason.AGENT_RESOURCES, message)
    phase = context.blamed.open_phases[-1] if context.blamed and context.blamed.open_phases else ""
    if phase == _QUEUE:
        return Inconclusive(Reason.THROTTLED, f"waited for other calls of our own until the deadline of {job.timeout:g} s")
    where = f" in phase {phase}" if phase else ""
    return Failed(DEADLINE_REASONS.get(phase, Reason.TIMEOUT), f"no result within {job.timeout:g} s{where}")


def _bug(job: Job, error: Exception) -> Stopped:
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in {errno.EMFILE, errno.ENFILE, errno.ENOMEM}):
        return Inconclusive(Reason.AGENT_RESOURCES, f"the agent's machine is out of resources: {error}")
    log.error("bug in a probe", extra={"probe": job.name}, exc_info=error)
    return Failed(Reason.BUG, f"unexpected {type(error).__name__}; the agent's log has the details")


def _evidence(context: Context) -> tuple[tuple[str, str], ...]:
    found = context.evidence_found.items()
    return tuple((name, context.masked(value)) for name, value in found) if context.secrets else tuple(found)


def _message(stopped: Stopped | None, context: Context) -> str:
    return shown(context.masked(stopped.message[:_MESSAGE_CHARACTERS])) if stopped else ""


def _outcome(stopped: Stopped | None) -> Outcome:
    if stopped is None:
        return Outcome.OK
    return Outcome.INCONCLUSIVE if isinstance(stopped, Inconclusive) else Outcome.FAILED


def _failed_step(stopped: Stopped | None, context: Context) -> str:
    if stopped is None:
        return ""
    return stopped.step or (context.blamed.name if context.blamed else "")
