"""Use a mailbox as people do all day: open it, list what is new, ask who is free, put something into the calendar and take it out.

Nothing is sent. What people call "Outlook is down" shows here, part by part, before and apart from mail that does not arrive.

```yaml
probes:
  - name: mailbox
    kind: mailbox
    tenant: contoso
    account: {via: graph, mailbox: probe1@contoso.com}
```

| part | step | what it does |
|---|---|---|
| autodiscover | autodiscover | via EWS, where it is wanted: asks whether autodiscover names the same address as `url`; without a login |
| | sign_in, open | signs in and opens the inbox; always |
| list | list | lists the newest messages |
| free_busy | free_busy | asks when the owner is free or busy in the next day |
| event | event, cancel | makes an event for tomorrow, reads it back, and removes it |

The event says what it is, invites nobody, reminds nobody and shows the time as free. It is on the ledger of `state_dir` before it is made,
and struck off when it is gone: after a crash the agent removes it when it starts, or the next run in its step `cleanup`, and so does that
step once a day with whatever carries our mark and is older than a day. A cleanup that fails is counted and is no run's reason. Where the
ledger cannot be written no event is made, and the run is inconclusive (agent_resources).

An Exchange Server of your own, or a mailbox of Exchange Online where EWS is still allowed:

```yaml
probes:
  - name: mailbox-on-premises
    kind: mailbox
    account: {via: ews, url: https://mail.example.com/EWS/Exchange.asmx, mailbox: probe1@example.com, username: probe1@example.com,
              password: {file: /run/secrets/probe1}, access: delegate}
```

Via Graph it needs the application permissions Mail.ReadBasic.All and, for the calendar, Calendars.ReadWrite (Calendars.Read is enough
without the event), narrowed to the mailbox; via EWS full_access_as_app of Office 365 Exchange Online, or a password and no permission.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from secrets import token_hex
from time import perf_counter
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from probes.core.context import Context
from probes.core.contract import Failed, Layer, Measurement, Place, Probe, Settings, Stopped, Workload
from probes.core.ledger import Artefact
from probes.core.needs import Cost, Permission, Scope, Service
from probes.core.reasons import Reason
from probes.lib.cleanup import CLEANUP, cleanup, is_settled, strike
from probes.lib.mail.desk import Desk, Event, GraphDesk
from probes.lib.mail.ends import SubmissionUncertain
from probes.lib.mail.ews.autodiscover import discover
from probes.lib.mail.ews.desk import EwsDesk
from probes.lib.mail.ews.settings import EwsReceive
from probes.lib.mail.graph import GraphReceive
from probes.lib.mail.ways import needs_of, signs_in
from probes.lib.tls import EXPIRY

Part = Literal["autodiscover", "list", "free_busy", "event"]

_DAY, _HOUR = 86_400.0, 3_600.0


class Mailbox(Settings):
    """Whose mailbox, and what to do there."""

    account: Annotated[GraphReceive | EwsReceive, Field(discriminator="via")]
    """The mailbox, and the way to it."""
    parts: tuple[Part, ...] = ("list", "free_busy", "event")
    """What to do besides opening it; `autodiscover` is for EWS."""

    @model_validator(mode="after")
    def _discovered_by_ews(self) -> Self:
        if "autodiscover" in self.parts and not isinstance(self.account, EwsReceive):
            raise ValueError("autodiscover is a part of mailboxes via ews")
        return self


@dataclass(slots=True)
class Swept:
    """When (perf_counter) a probe of this process last looked for events that no ledger knows."""

    at: dict[str, float] = field(default_factory=dict)


async def run(ctx: Context, settings: Mailbox) -> None:
    """Sign in, and do one thing after the other."""
    desk, now = _desk(settings), time.time()
    if "autodiscover" in settings.parts and isinstance(settings.account, EwsReceive):
        with ctx.step("autodiscover"):
            await discover(ctx, settings.account, settings.account.mailbox)
    with ctx.step("sign_in"):
        await desk.sign_in(ctx, _permissions(settings))
    with ctx.step("open"):
        ctx.measure("inbox_messages", await desk.open(ctx))
    if "list" in settings.parts:
        with ctx.step("list"):
            ctx.evidence("listed", await desk.newest(ctx))
    if "free_busy" in settings.parts:
        with ctx.step("free_busy"):
            ctx.evidence("availability", await desk.free_busy(ctx, now, now + _DAY))
    if "event" in settings.parts:
        await _event_and_cleanup(ctx, desk)
    elif ctx.shared.ledger.outstanding(ctx.probe):
        # Left from when this part was still wanted.
        await _clear_away(ctx, desk)


async def clear(ctx: Context, settings: Mailbox) -> None:
    """Remove events of runs that could not, whatever else of the mailbox works."""
    desk = _desk(settings)
    with ctx.step("sign_in"):
        await desk.sign_in(ctx, _permissions(settings))
    await _clear_away(ctx, desk)


def _desk(settings: Mailbox) -> Desk:
    match settings.account:
        case GraphReceive(mailbox=owner):
            return GraphDesk(owner)
        case EwsReceive() as account:
            return EwsDesk(account)


async def _event_and_cleanup(ctx: Context, desk: Desk) -> None:
    """Make and cancel an event; whatever comes of it, clear away what is left of it and of earlier ones."""
    try:
        await _event(ctx, desk)
    except Stopped as stopped:
        # Clearing away has a step of its own, which must not hide the one to blame.
        stopped.step = stopped.step or (ctx.blamed.name if ctx.blamed else "")
        await _clear_away(ctx, desk)
        raise
    await _clear_away(ctx, desk)


async def _event(ctx: Context, desk: Desk) -> None:
    artefact = Artefact(token_hex(16), "event", time.time())
    with ctx.step("event"):
        await ctx.shared.ledger.record(ctx.probe, artefact)
        key = await _made(ctx, desk, artefact)
        if await desk.tag_of_event(ctx, key) != artefact.id:
            raise Failed(Reason.CONTENT_MISMATCH, "the event that was made is not the one that is read back")
    with ctx.step("cancel"):
        await desk.remove_event(ctx, key)
        await strike(ctx, artefact)


async def _made(ctx: Context, desk: Desk, artefact: Artefact) -> str:
    """Make the event and return its key; one that was certainly not made is off the ledger again.

    Exchange's own word that it was not is enough here, for a desk tells a submission whose end is uncertain from it.
    """
    try:
        return await desk.create_event(ctx, artefact.id, (artefact.created + _DAY) // _HOUR * _HOUR)
    except SubmissionUncertain:
        raise
    except Stopped as stopped:
        # An answer without a key comes of an event that was made.
        if stopped.reason is not Reason.CONTENT_MISMATCH:
            await strike(ctx, artefact)
        raise


async def _clear_away(ctx: Context, desk: Desk) -> None:
    """Remove events of ours that are left. Ends before the deadline, and never fails: what is left stays on the ledger, and is counted."""
    outstanding = ctx.shared.ledger.outstanding(ctx.probe)
    swept = ctx.shared.part(Swept).at
    is_due = perf_counter() - swept.get(ctx.probe, -_DAY) >= _DAY
    if not outstanding and not is_due:
        return
    async with cleanup(ctx):
        await _settle(ctx, desk, outstanding)
        swept[ctx.probe] = perf_counter()


async def _settle(ctx: Context, desk: Desk, outstanding: Sequence[Artefact]) -> None:
    """Remove what the ledger knows, and what it does not know and is older than a day; strike off what is gone."""
    ours, now = {one.id for one in outstanding}, time.time()
    there = [event for event in await desk.events(ctx) if event.tag in ours or _is_litter(event, now)]
    for event in there:
        await desk.remove_event(ctx, event.key)
    removed = {event.tag for event in there}
    for artefact in outstanding:
        if artefact.id in removed or is_settled(artefact):
            await strike(ctx, artefact)
    if there:
        ctx.evidence("cleared", f"{len(there)} events of earlier runs")


def _is_litter(event: Event, now: float) -> bool:
    return event.created is not None and now - event.created > _DAY


def _permissions(settings: Mailbox) -> tuple[Permission, ...]:
    if isinstance(settings.account, EwsReceive):
        return needs_of(settings.account)
    needs = [("Mail.ReadBasic.All", "opens the inbox and lists messages")]
    if "event" in settings.parts:
        needs.append(("Calendars.ReadWrite", "makes and removes an event, asks for free and busy times"))
    elif "free_busy" in settings.parts:
        needs.append(("Calendars.Read", "asks for free and busy times"))
    return tuple(Permission(name, why, scope=Scope.MAILBOXES, targets=(settings.account.mailbox,)) for name, why in needs)


def _costs(settings: Mailbox) -> tuple[Cost, ...]:
    if isinstance(settings.account, EwsReceive):
        return ()
    return (Cost(Service.OUTLOOK, calls=1 + sum({"list": 1, "free_busy": 1, "event": 3}[part] for part in set(settings.parts))),)


PROBE = Probe(
    run,
    Mailbox,
    place=lambda _: Place(Layer.WORKLOAD, Workload.EXCHANGE),
    steps=("autodiscover", "sign_in", "open", "list", "free_busy", "event", "cancel", CLEANUP),
    measurements=(
        Measurement("inbox_messages", "Messages in the inbox."),
        Measurement(EXPIRY, "When the server's certificate expires, in Unix time; of several met in one run, the first to."),
    ),
    interval=300.0,
    timeout=60.0,
    floor=60.0,
    tenant=lambda settings: signs_in(settings.account),
    remembers=lambda settings: "event" in settings.parts,
    permissions=_permissions,
    costs=_costs,
    clear=clear,
)
