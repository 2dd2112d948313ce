"""Waiting for a letter that was accepted, and the figures of its way once it is there."""

import asyncio
import re
from dataclasses import dataclass, replace
from time import perf_counter

from probes.core.context import Context
from probes.core.contract import Failed, Stopped
from probes.core.reasons import Reason
from probes.lib.mail.ends import Accepted, Folder, Found
from probes.lib.mail.letter import HEADER, Letter, unfolded
from probes.lib.mail.outstanding import Boxes, reserve
from probes.lib.mail.received import Hop, Trail, trail
from probes.lib.mail.report import Report

_LOOK_SHARE = 0.4
# Of what is left: looking into junk and for a report must leave time to clear away.
_REPLY = re.compile(r"(?<![\d.])[45]\d\d(?![\d.])", re.ASCII)


@dataclass(frozen=True, slots=True)
class Handed:
    """A letter that was handed over: when by perf_counter, and what the server said."""

    letter: Letter
    at: float
    accepted: Accepted


async def wait(ctx: Context, boxes: Boxes, letter: Letter) -> Found | None:
    """Wait for the letter in the inbox; half-way and in the end look into junk and for the report that it came back. None where it is late.

    Raises:
        Failed, Inconclusive: whatever the mailbox raises.

    """
    end, looked = ctx.deadline - reserve(ctx), perf_counter()
    for until in ((looked + end) / 2, end):
        if found := await boxes.receiving.arrival(ctx, letter, until):
            return found
        if found := await _elsewhere(ctx, boxes, letter):
            return replace(found, granularity=perf_counter() - looked)
        looked = perf_counter()
    return None


async def _elsewhere(ctx: Context, boxes: Boxes, letter: Letter) -> Found | None:
    """Find the letter in junk, or the report that it came back; where neither can be looked into, that is evidence."""
    reported: list[Found] = []
    try:
        async with asyncio.timeout((ctx.deadline - perf_counter()) * _LOOK_SHARE):
            found = await boxes.receiving.find(ctx, {letter.tag}, {Folder.INBOX, Folder.JUNK})
            if boxes.own is not None:
                reported = await (await boxes.own.opened(ctx)).find(ctx, {letter.tag}, {Folder.INBOX})
    except (Stopped, TimeoutError) as error:
        ctx.evidence("elsewhere", error.message if isinstance(error, Stopped) else "no answer in time")
        ctx.open_steps[-1].open_phases.clear()
        return None
    for one in (*found, *reported):
        if one.report is not None:
            # One that says that the letter is held up is evidence alone.
            ctx.evidence("report", f"{one.report.action} {one.report.status} {one.report.diagnostic}")
    arrived = next((one for one in found if one.report is None), None)
    return arrived or next((one for one in (*found, *reported) if one.report and one.report.action == "failed"), None)


def returned(report: Report) -> Failed:
    """Return what a report that the letter came back makes of a run."""
    is_full = report.status.endswith(".2.2") or "QuotaExceeded" in report.diagnostic
    words = f"the letter was accepted and came back: {report.status} {report.diagnostic}"
    return Failed(Reason.MAILBOX_FULL if is_full else Reason.MAIL_BOUNCED, words, code=_label(report))


def _label(report: Report) -> str:
    """Return reply and status, such as "550 5.1.1": the reply as the refusing server gave it, else the general one of its class."""
    if not report.status:
        return ""
    given = _REPLY.search(report.diagnostic)
    return f"{given[0] if given else report.status[0] + '50'} {report.status}"


def measure(ctx: Context, handed: Handed, found: Found) -> None:
    """Record where the time went, by the servers' own clocks; what they do not tell has no figure."""
    way = trail(found.headers)
    began = _began(handed, found, way)
    delivered = found.delivered if found.delivered is not None else (way.hops[-1].when if way.hops else None)
    seen = found.seen or perf_counter()
    skew = way.skew
    if began is not None and delivered is not None:
        skew = max(skew, began - delivered)
        ctx.measure("accepted_to_delivered_seconds", max(0.0, delivered - began))
        # Both ends of this are read from one clock, ours, and both of that from the servers': nowhere is one set against the other.
        ctx.measure("delivered_to_visible_seconds", max(0.0, seen - handed.at - max(0.0, delivered - began)))
    if delivered is not None or way.hops:
        ctx.measure("clock_skew_seconds", skew)
    ctx.measure("look_granularity_seconds", found.granularity)
    _measure_hops(ctx, way)


def _began(handed: Handed, found: Found, way: Trail) -> float | None:
    """Return when the server accepted the letter by its own clock: as it said, else as the first hop of the letter itself tells.

    A reply from elsewhere has hops of its own, which begin where it began.
    """
    if handed.accepted.at is not None:
        return handed.accepted.at
    is_itself = (HEADER.lower(), handed.letter.tag) in unfolded(found.headers)
    return way.hops[0].when if way.hops and is_itself else None


def _measure_hops(ctx: Context, way: Trail) -> None:
    sums: dict[str, float] = {}
    for hop in way.hops:
        if hop.seconds is not None:
            sums[hop.role] = sums.get(hop.role, 0.0) + hop.seconds
    for role, seconds in sums.items():
        ctx.measure("hop_seconds", seconds, role)
    if way.hops:
        ctx.evidence("hops", " > ".join(map(_in_words, way.hops)))


def _in_words(hop: Hop) -> str:
    took = "" if hop.seconds is None else f" {hop.seconds:g} s"
    return f"{hop.role} {hop.by or '?'}{took}"
