"""Letters of ours that may still lie somewhere: what the ledger knows of them, and how they are looked for and cleared away.

A letter is on the ledger from before it is handed over until nothing of it is left: the recipient's copy, the sender's, the report of its
delivery. One that a run found late, or whose submission is uncertain, or whose run was killed, is looked for by later runs, for a day.

A late letter that is awaited is no litter while its probe is there: the run that finds it tells how late it was. Of a probe that was
removed, renamed or changed nobody awaits one, and it is cleared away when it comes, for a day.
"""

import asyncio
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from time import perf_counter

from probes.core.context import Context
from probes.core.contract import Inconclusive, Stopped
from probes.core.ledger import Artefact
from probes.lib.cleanup import CLEANUP, tell_failure
from probes.lib.mail.ends import Folder, Found, Mailbox
from probes.lib.mail.letter import Letter, is_marked

DAY = 86_400.0
"""Seconds after which a letter that was accepted counts as lost, and after which whatever carries a tag of ours is litter."""

AT_ONCE = 20
"""Letters of earlier runs that one run looks for; the next run looks for the next ones."""

_RECEIVED = (Folder.INBOX, Folder.JUNK, Folder.DELETED, Folder.RECOVERABLE)
_SENT = (Folder.SENT, Folder.INBOX, Folder.DELETED, Folder.RECOVERABLE)
_COPY_SECONDS = 60.0
# A server that keeps copies has written one by then.
_LONGEST = 60.0
_MOST_RESERVE = 10.0
_RESERVED_SHARE = 0.2
_MARGIN_SHARE = 0.05
# Of the reserve: clearing away ends before the deadline, so that it never makes a run that was over a timeout.


class State(StrEnum):
    """What is known of a letter on the ledger."""

    SENDING = "sending"
    """It may have been accepted, or not: its run has not come further, or was killed."""
    UNCERTAIN = "uncertain"
    """The connection was lost after it was handed over and before the server said yes or no."""
    ACCEPTED = "accepted"
    """It was accepted, and its run has not ended, or ended for a reason that is not the letter's, or was killed."""
    LATE = "late"
    """It was accepted and had not arrived when its run ended."""
    RETURNED = "returned"
    """It came back, and its run said so."""
    ARRIVED = "arrived"
    """Its run has seen it; where that run was killed while clearing away, there may be nothing of it left to find."""
    COPY = "copy"
    """It has arrived and is cleared away; the sender's copy has not been seen yet."""


_ACCEPTED = {str(State.ACCEPTED), str(State.LATE)}
_SEEN = {str(State.ARRIVED), str(State.COPY)}


@dataclass(slots=True)
class Own:
    """The sender's own mailbox, where copies and delivery reports are; opened when it is first looked into.

    `keeps_copies` says that what is submitted leaves a copy there.
    """

    mailbox: Mailbox
    keeps_copies: bool
    is_open: bool = False

    async def opened(self, ctx: Context) -> Mailbox:
        """Return the mailbox, signed in."""
        if not self.is_open:
            await self.mailbox.open(ctx)
            self.is_open = True
        return self.mailbox


@dataclass(frozen=True, slots=True)
class Boxes:
    """Where letters of ours can lie: the mailbox that receives, and the sender's where it can be looked into."""

    receiving: Mailbox
    own: Own | None = None

    async def close(self) -> None:
        """Let go of connections at once. Never raises."""
        await self.receiving.close()
        if self.own is not None:
            await self.own.mailbox.close()


@dataclass(slots=True)
class Rounds:
    """What a process remembers of each probe.

    `next` is where the next look at earlier letters begins, `arrived` the tag of the last letter that was cleared away whole, which may
    come again, and `swept` when its mailboxes were last swept (perf_counter).
    """

    next: dict[str, int] = field(default_factory=dict)
    arrived: dict[str, str] = field(default_factory=dict)
    swept: dict[str, float] = field(default_factory=dict)


def reserve(ctx: Context) -> float:
    """Return the seconds before the deadline at which waiting ends: for junk, delivery reports and clearing away."""
    return min(_MOST_RESERVE, (ctx.deadline - ctx.started) * _RESERVED_SHARE)


async def keep(ctx: Context, letter: Letter, state: State, accepted: float | None = None) -> None:
    """Put a letter on the ledger, or say what has become of it. `accepted` is Unix seconds by the server's clock, else ours.

    Raises:
        Inconclusive: AGENT_RESOURCES, where it cannot be written.

    """
    facts = (("state", str(state)), ("accepted", repr(accepted or letter.created)), ("from", letter.sender), ("to", letter.recipient))
    await ctx.shared.ledger.record(ctx.probe, Artefact(letter.tag, "message", letter.created, facts))


async def note(ctx: Context, letter: Letter, state: State, accepted: float | None = None) -> None:
    """Say what has become of a letter that is on the ledger; where that cannot be written, what stood there has to do."""
    with suppress(Inconclusive):
        await keep(ctx, letter, state, accepted)


async def tidy(ctx: Context, boxes: Boxes, tag: str, seen: Sequence[Found] = ()) -> None:
    """Clear away what is left of this letter, and look for those of earlier runs; then, once a day, for what no ledger knows.

    `seen` is what the run itself saw of the letter. Ends before the deadline, and never fails: what could not be cleared away stays on the
    ledger and is counted.
    """
    last = ctx.shared.part(Rounds).arrived
    letters, before = _batch(ctx, ctx.shared.ledger.outstanding(ctx.probe), tag), last.get(ctx.probe, tag)
    if letters or before != tag:
        received = await _look_for(ctx, boxes, letters, {before, *(letter.id for letter in letters)}, seen)
        known = {(one.folder, one.key) for one in seen}
        again = {before, tag} if seen else {before} - {tag}
        _count_again(ctx, [one for one in received if one.tag in again and (one.folder, one.key) not in known])
    if seen and all(kept.id != tag for kept in ctx.shared.ledger.outstanding(ctx.probe)):
        last[ctx.probe] = tag
    await _sweep(ctx, boxes)


async def clear(ctx: Context, boxes: Boxes) -> None:
    """Clear away, outside of a run, letters that no run of the probe has to tell of any more. Closes the mailboxes in any case.

    Raises:
        Failed, Inconclusive: where the receiving mailbox cannot be opened.

    """
    outstanding = ctx.shared.ledger.outstanding(ctx.probe)
    letters = _batch(ctx, [letter for letter in outstanding if ctx.is_removed or not _is_awaited(letter)])
    if not letters:
        return
    try:
        with ctx.step("sign_in"):
            await boxes.receiving.open(ctx)
        with ctx.step(CLEANUP):
            await _look_for(ctx, boxes, letters, {letter.id for letter in letters}, ())
    finally:
        await boxes.close()


def _is_awaited(letter: Artefact) -> bool:
    state, age = letter.fact("state"), time.time() - letter.created
    is_late, is_lost = state == State.LATE, state in _ACCEPTED and age > DAY
    return is_late or is_lost or (state == State.COPY and age < _COPY_SECONDS)


async def _look_for(
    ctx: Context, boxes: Boxes, letters: Sequence[Artefact], tags: Collection[str], seen: Sequence[Found]
) -> Sequence[Found]:
    """Clear away what there is of these tags, say what that means for the letters on the ledger, and return what was received."""
    received = await _cleared(ctx, boxes.receiving, tags, _RECEIVED, seen)
    sent = await _cleared(ctx, boxes.own, tags, _SENT) if boxes.own else []
    waits = _waits(boxes.own, [letter.id for letter in letters if not letter.fact("copy")], sent)
    for letter in letters:
        if received is not None:
            found = [one for one in (*received, *(sent or ())) if one.tag == letter.id]
            await _settle(ctx, letter, found, waits.get(letter.id, 0.0))
    return received or ()


def _count_again(ctx: Context, found: Sequence[Found]) -> None:
    """Count what came after a letter had been seen already: once more."""
    again = [one for one in found if one.report is None and one.folder in {Folder.INBOX, Folder.JUNK}]
    if again:
        ctx.measure("duplicates_total", len(again))
        ctx.evidence("duplicate", f"came again: {', '.join(one.tag for one in again)}")


def _waits(own: Own | None, tags: Collection[str], sent: Sequence[Found] | None) -> dict[str, float]:
    """Return how old letters have to be before it no longer matters that the sender's copy was not seen."""
    if sent is None:
        return dict.fromkeys(tags, DAY)
    copies = {found.tag for found in sent if found.folder is Folder.SENT}
    return {tag: _COPY_SECONDS for tag in tags if own and own.keeps_copies and tag not in copies}


def _batch(ctx: Context, outstanding: Sequence[Artefact], tag: str = "") -> list[Artefact]:
    """Return this letter, where it is among those on the ledger, and some of the earlier ones: each gets its turn."""
    earlier = [letter for letter in outstanding if letter.id != tag]
    rounds = ctx.shared.part(Rounds)
    begin = rounds.next.get(ctx.probe, 0) % max(len(earlier), 1)
    rounds.next[ctx.probe] = begin + AT_ONCE
    return [letter for letter in outstanding if letter.id == tag] + (earlier[begin:] + earlier[:begin])[:AT_ONCE]


async def _cleared(
    ctx: Context, where: Mailbox | Own, tags: Collection[str], folders: Collection[Folder], seen: Sequence[Found] = ()
) -> list[Found] | None:
    """Remove what is found there, and what was seen there, and return it; None where that did not work, or not in time."""
    try:
        async with asyncio.timeout(min((ctx.deadline - reserve(ctx) * _MARGIN_SHARE - perf_counter()) / 2, _LONGEST)):
            mailbox = await where.opened(ctx) if isinstance(where, Own) else where
            found = await mailbox.find(ctx, tags, folders)
            if not tags:
                found = [one for one in found if one.report is not None or is_marked(one.headers)]
            there = {(one.folder, one.key) for one in found}
            found += [one for one in seen if (one.folder, one.key) not in there]
            await mailbox.remove(ctx, found)
    except (Stopped, TimeoutError) as error:
        tell_failure(ctx, error)
        return None
    return found


async def _settle(ctx: Context, letter: Artefact, found: Sequence[Found], wait: float) -> None:
    """Strike a letter off, or leave it, by what was found of it; one that is over stays until it is `wait` seconds old."""
    state, age = letter.fact("state"), time.time() - letter.created
    arrived = [one for one in found if one.report is None and one.folder is not Folder.SENT]
    returned = any(one.report is not None and one.report.action == "failed" for one in found)
    if arrived and state == State.LATE:
        _measure_late(ctx, letter, arrived)
    elif not arrived and state in _ACCEPTED and (returned or age > DAY):
        ctx.measure("lost_total", 1)
        ctx.evidence("lost", f"{letter.id}: {'came back' if returned else 'has not arrived within a day'}")
    elif arrived and state == State.UNCERTAIN:
        ctx.evidence("arrived_all_the_same", letter.id)
    is_over = bool(arrived) or returned or age > DAY or state in _SEEN
    if is_over and age >= wait:
        await ctx.shared.ledger.strike(ctx.probe, letter.id)
    elif is_over:
        await _note_fact(ctx, letter, "state", State.COPY)
    elif any(one.folder is Folder.SENT for one in found):
        await _note_fact(ctx, letter, "copy", "cleared away")


async def _note_fact(ctx: Context, letter: Artefact, name: str, value: str) -> None:
    facts = tuple((dict(letter.facts) | {name: str(value)}).items())
    with suppress(Inconclusive):
        await ctx.shared.ledger.record(ctx.probe, Artefact(letter.id, letter.kind, letter.created, facts))


def _measure_late(ctx: Context, letter: Artefact, arrived: Sequence[Found]) -> None:
    """Tell how late it came; where the server tells no time, it was now at the latest."""
    delivered = min((one.delivered for one in arrived if one.delivered is not None), default=time.time())
    seconds = max(0.0, delivered - float(letter.fact("accepted")))
    known = next((sample for sample in ctx.measured if sample.name == "late_seconds"), None)
    if known is None or seconds > known.value:
        ctx.measured[:] = [sample for sample in ctx.measured if sample is not known]
        ctx.measure("late_seconds", seconds)
    ctx.evidence("late", f"{letter.id}: arrived {seconds:.0f} s after it was accepted, in {arrived[0].folder}")


async def _sweep(ctx: Context, boxes: Boxes) -> None:
    """Clear away what carries a tag of ours and is older than a day: at the first run of a process, and once a day."""
    swept = ctx.shared.part(Rounds).swept
    if perf_counter() - swept.get(ctx.probe, -DAY) < DAY:
        return
    litter = [await _cleared(ctx, boxes.receiving, (), _RECEIVED)]
    if boxes.own is not None:
        litter.append(await _cleared(ctx, boxes.own, (), _SENT))
    if None not in litter:
        swept[ctx.probe] = perf_counter()
    if number := sum(len(found) for found in litter if found):
        ctx.evidence("swept", f"{number} messages of ours that no ledger knew")
