"""One letter's round trip, whatever its two ends are: sign in, submit, wait, look at what came, read its way, clear away."""

from dataclasses import dataclass, field
from time import perf_counter, time

from probes.core.context import Context
from probes.core.contract import Failed, Stopped
from probes.core.reasons import Reason
from probes.lib.cleanup import CLEANUP
from probes.lib.mail.ends import Accepted, Folder, Found, Outbox, SubmissionUncertain
from probes.lib.mail.letter import Letter
from probes.lib.mail.outstanding import Boxes, State, keep, note, reserve, tidy
from probes.lib.mail.transit import Handed, measure, returned, wait


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is good enough: whether junk will do, and the longest time from acceptance to sight in seconds, None for any."""

    tolerates_junk: bool = False
    within: float | None = None


@dataclass(frozen=True, slots=True)
class Trip:
    """One letter, its two ends, and what is good enough. `seen` gathers what was seen of the letter."""

    letter: Letter
    outbox: Outbox
    boxes: Boxes
    judgement: Judgement = Judgement()
    seen: list[Found] = field(default_factory=list)


async def round_trip(ctx: Context, trip: Trip) -> None:
    """Send the letter and wait for it. Whatever comes of it, what is left of it and of earlier ones is cleared away.

    Closes the mailboxes, also when it is cancelled.

    Raises:
        Failed, Inconclusive: with what became of the letter.

    """
    try:
        with ctx.step("sign_in"):
            await trip.outbox.open(ctx)
            await trip.boxes.receiving.open(ctx)
        await _trip_and_tidy(ctx, trip)
    finally:
        await trip.boxes.receiving.close()
        if trip.boxes.own is not None:
            await trip.boxes.own.mailbox.close()


async def _trip_and_tidy(ctx: Context, trip: Trip) -> None:
    try:
        await _send_and_find(ctx, trip)
    except Stopped as stopped:
        # Clearing away has a step of its own, which must not hide the one to blame.
        stopped.step = stopped.step or (ctx.blamed.name if ctx.blamed else "")
        if stopped.reason is not Reason.THROTTLED:
            await _clear_away(ctx, trip)
        # Who is asked to stay away does; the ledger knows what is left.
        raise
    await _clear_away(ctx, trip)


async def _clear_away(ctx: Context, trip: Trip) -> None:
    """Clear away. Evidence of the trip, such as the last request's id, stays: people paste it into tickets."""
    found = dict(ctx.evidence_found)
    with ctx.step(CLEANUP):
        await tidy(ctx, trip.boxes, trip.letter.tag, trip.seen)
    ctx.evidence_found.update(found)


async def _send_and_find(ctx: Context, trip: Trip) -> None:
    ctx.evidence("message_id", trip.letter.message_id)
    await keep(ctx, trip.letter, State.SENDING)
    with ctx.step("submit"):
        accepted = await _submit(ctx, trip)
    handed = Handed(trip.letter, perf_counter(), accepted)
    await note(ctx, trip.letter, State.ACCEPTED, accepted.at or time())
    if handed.at > ctx.deadline - reserve(ctx):
        raise Failed(Reason.TIMEOUT, "the letter was accepted so slowly that no time was left to wait for it", step="submit")
    with ctx.step("transit"):
        found = await _arrived(ctx, trip.boxes, handed)
        if found.report is not None:
            await note(ctx, trip.letter, State.RETURNED)
            raise returned(found.report)
    trip.seen.append(found)
    await note(ctx, trip.letter, State.ARRIVED)
    with ctx.step("seen"):
        await _look_at_all(ctx, trip, found)
    with ctx.step("headers"):
        measure(ctx, handed, found)
    _judge(handed, found, trip.judgement)


async def _submit(ctx: Context, trip: Trip) -> Accepted:
    """Hand the letter over. What was refused is nowhere; where nobody knows, it stays on the ledger."""
    try:
        accepted = await trip.outbox.submit(ctx, trip.letter)
    except SubmissionUncertain:
        ctx.evidence("submission", "uncertain")
        await note(ctx, trip.letter, State.UNCERTAIN)
        raise
    except Stopped:
        await ctx.shared.ledger.strike(ctx.probe, trip.letter.tag)
        raise
    ctx.evidence("reply", accepted.code)
    if accepted.queue_id:
        ctx.evidence("queue_id", accepted.queue_id)
    return accepted


async def _arrived(ctx: Context, boxes: Boxes, handed: Handed) -> Found:
    found = await wait(ctx, boxes, handed.letter)
    if found is None:
        waited = perf_counter() - handed.at
        await note(ctx, handed.letter, State.LATE, handed.accepted.at or time() - waited)
        words = f"the letter was accepted ({handed.accepted.code}) and has not arrived within {waited:.0f} s; later runs look for it"
        raise Failed(Reason.MAIL_LATE, words)
    return found


async def _look_at_all(ctx: Context, trip: Trip, found: Found) -> None:
    """Look at everything of the letter in inbox and junk: it must be there once."""
    there = await trip.boxes.receiving.find(ctx, {found.tag}, {Folder.INBOX, Folder.JUNK})
    trip.seen.extend(one for one in there if (one.folder, one.key) != (found.folder, found.key))
    letters = [one for one in trip.seen if one.report is None]
    ctx.evidence("folder", found.folder)
    if len(letters) > 1:
        ctx.measure("duplicates_total", len(letters) - 1)
        ctx.evidence("duplicate", f"the letter arrived {len(letters)} times, in {', '.join(one.folder for one in letters)}")


def _judge(handed: Handed, found: Found, judgement: Judgement) -> None:
    if found.folder is Folder.JUNK and not judgement.tolerates_junk:
        raise Failed(Reason.MAIL_JUNKED, "the letter arrived in the junk folder", step="seen")
    seconds = (found.seen or perf_counter()) - handed.at
    if judgement.within is not None and seconds > judgement.within:
        words = f"the letter was seen {seconds:.1f} s after it was accepted, more than {judgement.within:g} s"
        raise Failed(Reason.TOO_SLOW, words, step="transit")
