"""What a probe creates and removes again: on the ledger before it is made, off it when it is gone.

A run removes what it made in the step `cleanup`. What it could not remove, because it failed, was ended or died, stays on the ledger; the
agent then calls the kind's `clear`, after the run, at its next start, and from time to time until nothing is left.

An artefact whose making was cut off may still come into being a moment after it was looked for in vain: `is_settled` says from when on "not
there" means that it never was.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from secrets import token_hex
from time import perf_counter

from probes.core.context import Context
from probes.core.contract import Inconclusive, Stopped
from probes.core.ledger import Artefact
from probes.core.reasons import Reason

CLEANUP = "cleanup"
"""The step in which a run removes what it made."""

_MARGIN = 0.5
# Seconds before the deadline at which clearing away ends, so that it never makes a run that was over a timeout.
_SETTLED = 300.0
# A request that has not made its artefact by now never will.
_UNCERTAIN = frozenset(
    {
        Reason.TIMEOUT,
        Reason.CONNECTION_RESET,
        Reason.TRUNCATED,
        Reason.HTTP_5XX,
        Reason.PROTOCOL_ERROR,
        Reason.CONTENT_MISMATCH,
    }
)
# After these nobody knows whether the request has made something; after any other reason it has not.
_BROKEN = frozenset({Reason.CONNECT_TIMEOUT, Reason.UNREACHABLE, Reason.TLS_HANDSHAKE})
# Nor after these, where the request was on its way already: a network that goes down says the same as one that was never there.
_SENT = "processing"
# Phase that begins when a request is sent.


@dataclass(slots=True)
class _Tried:
    """When the artefact was made, and its id, that this process tried to remove last, for each probe."""

    last: dict[str, tuple[float, str]] = field(default_factory=dict)


@asynccontextmanager
async def creating(ctx: Context, kind: str, tag: str = "", **facts: str) -> AsyncIterator[Artefact]:
    """Put an artefact on the ledger while the block makes it; where it was certainly not made, it is off again.

    `kind` is one of a closed list of the probe's kind, `tag` what marks it as ours (made up where empty), `facts` what it takes to find and
    remove it; what the service adds, such as its id, is added with `complete`.

    Raises:
        Inconclusive: AGENT_RESOURCES, where the ledger cannot be written; then the block is not entered.

    """
    artefact = Artefact(tag or token_hex(16), kind, time.time(), tuple(facts.items()))
    await ctx.shared.ledger.record(ctx.probe, artefact)
    try:
        yield artefact
    except Stopped as stopped:
        if stopped.reason not in _UNCERTAIN and not (stopped.reason in _BROKEN and _is_sent(ctx)):
            await strike(ctx, artefact)
        raise


def _is_sent(ctx: Context) -> bool:
    return bool(ctx.open_steps) and _SENT in ctx.open_steps[-1].phases


async def complete(ctx: Context, artefact: Artefact, **facts: str) -> Artefact:
    """Add facts to an artefact on the ledger. Where that cannot be written, what stood there has to do."""
    whole = replace(artefact, facts=tuple((dict(artefact.facts) | facts).items()))
    with suppress(Inconclusive):
        await ctx.shared.ledger.record(ctx.probe, whole)
    return whole


async def strike(ctx: Context, artefact: Artefact) -> None:
    """Take an artefact off the ledger: it is gone."""
    await ctx.shared.ledger.strike(ctx.probe, artefact.id)


@asynccontextmanager
async def cleanup(ctx: Context) -> AsyncIterator[None]:
    """Open the step `cleanup`. What fails in it, or takes until the deadline, is counted and kept as evidence; it is no run's reason."""
    with ctx.step(CLEANUP):
        try:
            async with asyncio.timeout(max(0.0, ctx.deadline - _MARGIN - perf_counter())):
                yield
        except (Stopped, TimeoutError) as error:
            tell_failure(ctx, error)


def is_settled(artefact: Artefact) -> bool:
    """Say whether a request to make the artefact must have ended, so that what is not there will not be.

    One that was made in the future was made by a clock that has been set back since; nobody waits for that day.
    """
    return abs(time.time() - artefact.created) > _SETTLED


async def clear_each(ctx: Context, remove: Callable[[Artefact], Awaitable[bool]]) -> None:
    """Remove what is left of a probe, in the step `cleanup`, and strike off what is gone.

    `remove` says whether the artefact is gone, or never was; where it says no, the artefact stays on the ledger. One that cannot be removed
    does not keep the next from it: each call begins behind the one that the call before tried last. Who is throttled leaves the rest.
    """
    last = ctx.shared.part(_Tried).last
    async with cleanup(ctx):
        for artefact in _in_turn(ctx.shared.ledger.outstanding(ctx.probe), last.get(ctx.probe)):
            last[ctx.probe] = _place(artefact)
            try:
                if await remove(artefact):
                    await strike(ctx, artefact)
            except Stopped as stopped:
                tell_failure(ctx, stopped)
                if stopped.reason is Reason.THROTTLED:
                    return


def _in_turn(artefacts: Sequence[Artefact], last: tuple[float, str] | None) -> list[Artefact]:
    """Return them the oldest first, beginning behind the one that was tried last."""
    oldest_first = sorted(artefacts, key=_place)
    return oldest_first if last is None else sorted(oldest_first, key=lambda artefact: _place(artefact) <= last)


def _place(artefact: Artefact) -> tuple[float, str]:
    return artefact.created, artefact.id


def tell_failure(ctx: Context, error: Stopped | TimeoutError) -> None:
    """Count within an open step that something could not be removed, and keep as evidence why."""
    ctx.cleanup_failed = True
    ctx.evidence(CLEANUP, error.message if isinstance(error, Stopped) else "was not done before the deadline")
    if isinstance(error, Stopped):
        ctx.explain(error.reason)
    if isinstance(error, Stopped) and error.reason is Reason.THROTTLED:
        ctx.cleanup_retry_after = max(ctx.cleanup_retry_after, error.retry_after)
    ctx.open_steps[-1].open_phases.clear()
