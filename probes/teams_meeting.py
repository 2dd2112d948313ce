"""Make an online meeting of Teams, read it back, see that its join link answers, and remove it.

```yaml
probes:
  - name: teams-meeting
    kind: teams_meeting
    tenant: contoso
    organiser: 7f3c8f5e-2b6a-4c0e-9a43-5d1d5f1a9b10
```

An application acts for an organiser whom the settings name by object id (in Entra's page of the user, or `Get-MgUser -UserId
probe1@contoso.com`): Graph takes no address here. Beside the permission it needs an application access policy of Teams that lets it act for
this user; `fogbell permissions` writes the commands. A person needs no policy: `me` is the user who signed in with `fogbell login contoso`:

```yaml
probes:
  - name: teams-meeting-of-a-person
    kind: teams_meeting
    tenant: contoso
    organiser: me
```

| step | what it does |
|---|---|
| token | gets a token |
| create | makes a meeting that begins now, for 15 minutes; it is in no calendar and nobody is invited |
| read | reads it by its id; subject and join link have to be those that were made |
| join | opens the join link as a browser without a login would, on a new connection and without our token, and follows redirects within \
Teams: it has to end in a page, or where people sign in |
| cleanup | removes it; a meeting that somebody else has removed is gone, too |

The link answering says that people get as far as being asked how they want to join; it does not say that media flow (see the kind
`teams_media`). The hosts of a join link are known for Microsoft's clouds; `join_hosts` names others.

The subject says what the meeting is and carries a tag. The meeting is on the ledger of `state_dir` before it is made, and struck off when
it is removed; the agent removes what a run left, by its id, and only what carries our tag. Graph lists no meetings, so they are made under
a name of our own (`createOrGet`, with the tag as external id): asking once more gives the same meeting, also where the answer never came.
Where there was none after all, the asking makes one, which is removed at once.

Microsoft allows an organiser 2,000 meetings a month. Every 4 hours uses less than a tenth of that. Every hour uses a third;
that works, but `fogbell check` warns, because a service that turns us away (503) may then do so for our own calls, and such a run is
inconclusive. The floor is 15 minutes; below it takes `allow_short_interval: true`, and the month's meetings do not last the month.

| what is wrong | step | reason |
|---|---|---|
| the permission is missing, also where it was removed since | create, read | permission |
| the permission is there, and no application access policy; a new one takes up to 30 minutes | create, read | permission, code \
access_policy |
| the same as `me`: Teams does not let this user make meetings | create, read | permission, code not_entitled |
| the organiser has no Teams licence | create | licence_missing |
| there is no such organiser, and no meeting was made for one since the agent's start | create | app_config |
| the organiser, who was there before, or the meeting is gone | create, read | not_found |
| the meeting that is read back is another, or has no join link of Teams | read | content_mismatch |
| the join link leads elsewhere, in circles, or to a connection without TLS | join | http_redirect |
| the join link answers with another status than 200 | join | http_4xx, http_5xx |
| as `me`: nobody signed in, or the sign-in is over: run `fogbell login` | token | grant_dead, interaction_required |
| Microsoft limits our own calls | create, read, join | throttled (inconclusive) |

It needs the application permission OnlineMeetings.ReadWrite.All with an application access policy, or as `me` the delegated permission
OnlineMeetings.ReadWrite, and makes three calls a run and opens the link.
"""

import time
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated, Any

from pydantic import AfterValidator

from probes.core.context import Context
from probes.core.contract import Failed, Layer, Place, Probe, Settings, Workload, always
from probes.core.graph_codes import ACCESS_POLICY, NOT_ENTITLED
from probes.core.ledger import Artefact
from probes.core.needs import Cost, Grant, Permission, Scope, Service
from probes.core.reasons import Reason
from probes.lib.cleanup import CLEANUP, cleanup, clear_each, complete, creating, strike
from probes.lib.entitled import entitled
from probes.lib.graph import MEASUREMENTS, call, segment, sign_in, text_in, written
from probes.lib.join import follow, link_of
from probes.lib.known import named
from probes.lib.sign_in import SignInHost
from probes.lib.tenant import GUID, Tenant, tenant_of
from probes.lib.tokens import Token, token_for

ME = "me"
"""The organiser who is the user of `fogbell login`."""

_ALL, _OWN = "OnlineMeetings.ReadWrite.All", "OnlineMeetings.ReadWrite"
_WHY = "make, read and remove a test meeting"
_MINUTES = 15
# Long enough for a run, short enough that one that is left is soon over.
_NO_POLICY = (
    "no application access policy of Teams lets the application act for this organiser: New-CsApplicationAccessPolicy and"
    " Grant-CsApplicationAccessPolicy make one, as `fogbell permissions` shows, and it takes up to 30 minutes"
)
_UNKNOWN = "`organiser` must be the object id of a user of this tenant"
_NOT_ALLOWED = "Teams does not let this user make meetings"


def _organiser(text: str) -> str:
    if text != ME and not GUID.fullmatch(text):
        raise ValueError(
            "must be the organiser's object id, such as 7f3c8f5e-2b6a-4c0e-9a43-5d1d5f1a9b10 (Graph takes no address or name here), or me"
        )
    return text.lower()


class TeamsMeeting(Settings):
    """Whose meeting it is."""

    organiser: Annotated[str, AfterValidator(_organiser)]
    """Object id of the user for whom the application makes the meeting; or `me`, the user of `fogbell login`."""
    join_hosts: tuple[SignInHost, ...] = ()
    """Hosts at which meetings are joined, such as `*.example.org`, besides those known for the tenant's cloud."""


async def run(ctx: Context, settings: TeamsMeeting) -> None:
    """Make a meeting, read it, try its link, remove it."""
    tenant = tenant_of(ctx)
    with ctx.step("token"):
        token = await sign_in(ctx, tenant, _needs(settings), delegated=settings.organiser == ME)
    with _there(ctx, settings.organiser), _allowed(token, settings.organiser), ctx.step("create"):
        async with creating(ctx, "meeting", organiser=settings.organiser) as artefact:
            made = await _create(ctx, tenant, token, artefact)
        artefact = await complete(ctx, artefact, meeting=str(made["id"]))
    with _allowed(token, settings.organiser), ctx.step("read"):
        answer = await call(ctx, tenant, token, Service.MEETINGS, "GET", _path(artefact), units=0.0)
        link = _judged(answer.data, made, subject_of(ctx.probe, artefact.id))
        url = link_of(link, tenant, settings.join_hosts)
    with ctx.step("join"):
        await follow(ctx, tenant, url, settings.join_hosts)
    async with cleanup(ctx):
        await _remove(ctx, tenant, token, artefact)
        await strike(ctx, artefact)


def subject_of(probe: str, tag: str) -> str:
    """Return the subject of a meeting: for people what it is, and our tag."""
    return f"Test meeting of Fogbell [{tag}], which checks that Teams works (probe {probe}); it is removed by itself"


def _there(ctx: Context, organiser: str) -> AbstractContextManager[None]:
    """Tell an organiser who was named wrongly from one who is gone; a person who has signed in is there."""
    return nullcontext() if organiser == ME else named(ctx, "organiser", organiser, hint=_UNKNOWN)


def _allowed(token: Token, organiser: str) -> AbstractContextManager[None]:
    """Tell a missing right that is no permission from a missing permission."""
    return entitled(token, _OWN, NOT_ENTITLED, _NOT_ALLOWED) if organiser == ME else entitled(token, _ALL, ACCESS_POLICY, _NO_POLICY)


async def _create(ctx: Context, tenant: Tenant, token: Token, artefact: Artefact) -> dict[str, Any]:
    """Make the meeting, or get the one that this artefact has become, and return it."""
    begins = time.time()
    body = {
        "externalId": artefact.id,
        "startDateTime": written(begins),
        "endDateTime": written(begins + _MINUTES * 60),
        "subject": subject_of(ctx.probe, artefact.id),
    }
    path = f"{_meetings(artefact)}/createOrGet"
    answer = await call(ctx, tenant, token, Service.MEETINGS, "POST", path, body=body, accept=(200, 201))
    text_in(answer.data, "id", "the answer is no meeting with an id")
    made: dict[str, Any] = answer.data
    return made


def _judged(read: object, made: dict[str, Any], subject: str) -> object:
    """See that a meeting is the one that was made, and return its join link."""
    if not isinstance(read, dict) or (read.get("id"), read.get("subject")) != (made["id"], subject):
        raise Failed(Reason.CONTENT_MISMATCH, "the meeting that is read back is not the one that was made")
    if read.get("joinWebUrl") != made.get("joinWebUrl"):
        raise Failed(Reason.CONTENT_MISMATCH, "the meeting that is read back has another join link than the one that was made")
    return read.get("joinWebUrl")


def _meetings(artefact: Artefact) -> str:
    organiser = artefact.fact("organiser")
    return "/me/onlineMeetings" if organiser == ME else f"/users/{segment(organiser)}/onlineMeetings"


def _path(artefact: Artefact) -> str:
    return f"{_meetings(artefact)}/{segment(artefact.fact('meeting'))}"


async def _remove(ctx: Context, tenant: Tenant, token: Token, artefact: Artefact) -> None:
    """Remove a meeting; one that is not there is gone already."""
    await call(ctx, tenant, token, Service.MEETINGS, "DELETE", _path(artefact), accept=(204, 404), units=0.0)


async def clear(ctx: Context, _: TeamsMeeting) -> None:
    """Remove the meetings that earlier runs have left."""

    async def remove(artefact: Artefact) -> bool:
        tenant = tenant_of(ctx)
        token = await token_for(ctx, tenant, delegated=artefact.fact("organiser") == ME)
        if not artefact.fact("meeting"):
            try:
                made = await _create(ctx, tenant, token, artefact)
            except Failed as failed:
                if failed.reason is Reason.NOT_FOUND:
                    return True  # with the organiser the meeting has gone
                raise
            artefact = await complete(ctx, artefact, meeting=str(made["id"]))
        answer = await call(ctx, tenant, token, Service.MEETINGS, "GET", _path(artefact), accept=(200, 404), units=0.0)
        if answer.status == 404:  # noqa: PLR2004 - gone
            return True
        text_in(answer.data, "id", "the answer is no meeting with an id")
        if f"[{artefact.id}]" in str(answer.data.get("subject")):
            await _remove(ctx, tenant, token, artefact)
        return True

    await clear_each(ctx, remove)


def _needs(settings: TeamsMeeting) -> tuple[Permission, ...]:
    if settings.organiser == ME:
        return (Permission(_OWN, _WHY, Grant.DELEGATED),)
    return (Permission(_ALL, _WHY, scope=Scope.MEETINGS, targets=(settings.organiser,)),)


PROBE = Probe(
    run,
    TeamsMeeting,
    place=lambda _: Place(Layer.FEATURE, Workload.TEAMS),
    steps=("token", "create", "read", "join", CLEANUP),
    measurements=MEASUREMENTS,
    interval=14_400.0,
    timeout=60.0,
    floor=900.0,
    tenant=always,
    remembers=always,
    permissions=_needs,
    costs=lambda _: (Cost(Service.MEETINGS, calls=3, units=1),),
    clear=clear,
)
