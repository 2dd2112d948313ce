"""Add a user to a team, see them in it, and take them out again, as owners do when somebody joins.

```yaml
probes:
  - name: teams-membership
    kind: teams_member
    tenant: contoso
    team: 00000000-0000-0000-0000-000000000007
    user: 00000000-0000-0000-0000-000000000004
```

| step | what it does |
|---|---|
| token | gets a token, or uses the one that is still good |
| turn | waits for another probe of this agent that has the same user and team; only where there is one |
| look | sees that the user is not in the team |
| add | adds the user as a member |
| seen | lists members until the user is among them |
| cleanup | takes the user out; a failure is counted and is no run's reason |

Microsoft asks to leave two seconds between changes of a team's members. These waits belong to no step; where a look in `look` or `seen` has
to be repeated, the wait for the next is its phase `wait`. `seen_seconds` says how long the user took to show, to the two seconds or the
quarter of it that lie between two looks.

It needs the application permission TeamMember.ReadWriteNonOwnerRole.All, which cannot make or remove owners and cannot be narrowed, and
TeamMember.Read.Group, which is consented to in `team` alone. `user` is for this alone: a member of the tenant who may use Teams and is in
no need of this team, best one for each agent. What is on the ledger of `state_dir` is taken out after a crash, too; an owner, and whoever
was in the team before, never is.

Special reasons:

- app_config: the user was in the team before, and still was after half a minute: as a member for good, or by another agent's probe, which
  a user of its own would spare. An owner is told at once. Also in `look` and `add`: Graph knows no such team or user, and has not since the
  agent's start, so that a wrong id is the likelier cause.
- not_found in `seen`: the user was added and does not show until shortly before the deadline; elsewhere Graph knows a team or user no more.
- content_mismatch in `add`: the answer is the membership of somebody else, or none.
- throttled in `turn`: other probes of this agent took until the deadline; the run says nothing.

Microsoft's terms of Teams let an app look for changes once a day, and people notice who comes and goes. So it runs every 6 hours, and more
often than every 15 minutes only with `allow_short_interval: true`. It costs 4 calls of Teams, and one for each further look.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from probes.core.context import Context
from probes.core.contract import Failed, Layer, Measurement, Place, Probe, Settings, Workload, always
from probes.core.ledger import Artefact
from probes.core.needs import Cost, Permission, Scope, Service
from probes.core.reasons import Reason
from probes.lib.cleanup import CLEANUP, cleanup, clear_each, complete, creating, is_settled, strike
from probes.lib.graph import MEASUREMENTS, QUEUE, call, pages, segment, sign_in, text_in
from probes.lib.known import named
from probes.lib.teams import UNKNOWN_TEAM, UNKNOWN_USER, member
from probes.lib.tenant import GUID, Guid, Tenant, tenant_of
from probes.lib.tokens import Token

PACE_SECONDS = 2.0
"""What Microsoft asks callers to leave between changes of members (learn.microsoft.com/graph/api/team-post-members)."""

_PATIENCE = 30.0
# Another agent's probe has its user in the team for some seconds.
_RESERVE = 15.0
_RESERVED_SHARE = 0.25
# Seconds before the deadline at which looking ends, so that the user can be taken out within the run; of a short run this share.
_DAY = 86_400.0
# A team that is not found for so long is gone, and with it who was in it. Graph denies teams for a while that are there.
_SLOWER = 0.25
# A look comes when a quarter of the time has gone by again, so that a slow service is not asked every two seconds.


class TeamsMember(Settings):
    """Who is added to which team."""

    team: Guid
    """Id of the team; the link to a team has it, behind `groupId=`."""
    user: Guid
    """Object id of the user who is added and taken out, and is in the team for nothing else."""


@dataclass(frozen=True, slots=True)
class Roster:
    """The members of a team, of whom one user matters."""

    tenant: Tenant
    token: Token
    team: str
    user: str

    @property
    def path(self) -> str:
        """Where Graph has them."""
        return f"/teams/{self.team}/members"


class Turns:
    """Turns of this agent's probes at the same user in the same team: `ctx.shared.part(Turns)`."""

    def __init__(self) -> None:
        self._locks: dict[tuple[str, str, str], asyncio.Lock] = {}

    def of(self, tenant: Tenant, team: str, user: str) -> asyncio.Lock:
        """Return whose turn it is."""
        return self._locks.setdefault((tenant.tenant_id, team, user), asyncio.Lock())


async def run(ctx: Context, settings: TeamsMember) -> None:
    """Add, see, remove."""
    tenant = tenant_of(ctx)
    with ctx.step("token"):
        token = await sign_in(ctx, tenant, _permissions(settings))
    roster = Roster(tenant, token, settings.team, settings.user)
    async with _turn(ctx, tenant, settings):
        with ctx.step("look"):
            await _absent(ctx, roster)
        with ctx.step("add"):
            async with creating(ctx, "membership", team=roster.team, user=roster.user) as artefact:
                membership = await _add(ctx, roster)
            artefact = await complete(ctx, artefact, membership=membership)
        added = perf_counter()
        await _buffer(ctx)
        with ctx.step("seen"):
            await _seen(ctx, roster)
            ctx.measure("seen_seconds", perf_counter() - added)
        await _buffer(ctx)
        async with cleanup(ctx):
            if await _remove(ctx, roster, membership) or await _find(ctx, roster) is None:
                await strike(ctx, artefact)


@asynccontextmanager
async def _turn(ctx: Context, tenant: Tenant, settings: TeamsMember) -> AsyncIterator[None]:
    """Keep this agent's other probes from the membership while the block runs."""
    lock = ctx.shared.part(Turns).of(tenant, settings.team, settings.user)
    if lock.locked():
        ctx.tainted = True
        with ctx.step("turn"), ctx.phase(QUEUE):
            await lock.acquire()
    else:
        await lock.acquire()
    try:
        yield
    finally:
        lock.release()


async def _buffer(ctx: Context) -> None:
    """Wait as Microsoft asks. Nothing announces the end of this wait; where the deadline is near, it is shorter."""
    await asyncio.sleep(max(0.0, min(PACE_SECONDS, ctx.deadline - 0.5 * _reserve(ctx) - perf_counter())))


def _reserve(ctx: Context) -> float:
    return min(_RESERVE, _RESERVED_SHARE * (ctx.deadline - ctx.started))


async def _absent(ctx: Context, roster: Roster) -> None:
    """See that the user is not in the team. One whom an earlier run of this probe left is taken out; for another's a moment is waited."""
    began = perf_counter()
    until = began + min(_PATIENCE, (ctx.deadline - began) / 3)
    while (found := await _look(ctx, roster)) is not None:
        if _is_owner(found):
            raise Failed(Reason.APP_CONFIG, "the user is an owner of the team; the probe needs a user who is not in the team")
        left = _left_over(ctx, roster)
        if left and await _remove(ctx, roster, str(found["id"])):
            for artefact in left:
                await strike(ctx, artefact)
        if perf_counter() >= until:
            raise Failed(
                Reason.APP_CONFIG,
                "the user is in the team already, as a member for good, or because another agent adds and removes the same user;"
                " the probe needs a user of its own who is not in the team",
            )
        ctx.tainted = True
        await _pause(ctx, PACE_SECONDS)


def _left_over(ctx: Context, roster: Roster) -> list[Artefact]:
    """Return what is on the ledger of an earlier run's membership."""
    wanted = (roster.team, roster.user)
    return [one for one in ctx.shared.ledger.outstanding(ctx.probe) if (one.fact("team"), one.fact("user")) == wanted]


async def _pause(ctx: Context, seconds: float) -> None:
    """Wait until the next look, in a phase of the open step: nobody announces a change of members."""
    with ctx.phase("wait"):
        await asyncio.sleep(seconds)


async def _add(ctx: Context, roster: Roster) -> str:
    """Add the user, and return what Graph calls the membership. It answers the same for somebody who is in the team already."""
    body = member(roster.tenant, roster.user)
    with named(ctx, "user", roster.user, hint=UNKNOWN_USER):
        answer = await call(ctx, roster.tenant, roster.token, Service.TEAMS, "POST", roster.path, body=body, accept=(200, 201))
    wrong = "the answer is not the membership of this user"
    if text_in(answer.data, "userId", wrong).lower() != roster.user:
        raise Failed(Reason.CONTENT_MISMATCH, wrong)
    return text_in(answer.data, "id", wrong)


async def _seen(ctx: Context, roster: Roster) -> None:
    """Look until the user is among the members."""
    began, looks = perf_counter(), 1
    while await _look(ctx, roster) is None:
        now = perf_counter()
        pause = max(PACE_SECONDS, _SLOWER * (now - began))
        if now + pause > ctx.deadline - _reserve(ctx):
            raise Failed(Reason.NOT_FOUND, f"the user was added and is not among the members in {looks} looks over {now - began:.0f} s")
        await _pause(ctx, pause)
        looks += 1
    ctx.evidence("looks", looks)


async def _look(ctx: Context, roster: Roster) -> Mapping[str, Any] | None:
    """Look for the user in the team of the settings; what is on the ledger may be of another."""
    with named(ctx, "team", roster.team, hint=UNKNOWN_TEAM):
        return await _find(ctx, roster)


async def _find(ctx: Context, roster: Roster) -> Mapping[str, Any] | None:
    """Return the user's membership, or None where the user is not in the team."""
    query = (("$filter", f"(microsoft.graph.aadUserConversationMember/userId eq '{roster.user}')"),)
    found = await pages(ctx, roster.tenant, roster.token, Service.TEAMS, roster.path, query=query)
    theirs = next((one for one in found if str(one.get("userId")).lower() == roster.user), None)
    if theirs is not None:
        text_in(theirs, "id", "the user's membership has no id")
    return theirs


def _is_owner(member: Mapping[str, Any]) -> bool:
    """Say whether a member is an owner; of one whose roles cannot be read nobody knows."""
    roles = member.get("roles")
    if not isinstance(roles, list | None):
        raise Failed(Reason.CONTENT_MISMATCH, "the roles of the user's membership are no list")
    return "owner" in (roles or ())


async def _remove(ctx: Context, roster: Roster, membership: str) -> bool:
    """Take a member out; say whether there was one."""
    path = f"{roster.path}/{segment(membership)}"
    answer = await call(ctx, roster.tenant, roster.token, Service.TEAMS, "DELETE", path, accept=(204, 404))
    return answer.status != 404  # noqa: PLR2004 - not found


async def clear(ctx: Context, settings: TeamsMember) -> None:
    """Take out whom earlier runs have left in their teams."""
    tenant, is_out = tenant_of(ctx), dict[tuple[str, str], bool]()

    async def remove(artefact: Artefact) -> bool:
        team, user = artefact.fact("team"), artefact.fact("user")
        if not GUID.fullmatch(team) or not GUID.fullmatch(user):
            return True  # nothing of ours: these stand in paths
        # Runs that failed one after the other leave an artefact each, and Teams is asked once for all of them.
        if (team, user) not in is_out:
            async with ctx.shared.part(Turns).of(tenant, team, user):
                token = await sign_in(ctx, tenant, _permissions(settings))
                is_out[team, user] = await _take_out(ctx, Roster(tenant, token, team, user), artefact)
        return is_out[team, user] or is_settled(artefact)

    await clear_each(ctx, remove)


async def _take_out(ctx: Context, roster: Roster, artefact: Artefact) -> bool:
    """Take out whom a run has added, and say whether that is done; where the user is not in the team, they may not be yet."""
    try:
        found = await _find(ctx, roster)
    except Failed as failed:
        if failed.reason is Reason.NOT_FOUND and time.time() - artefact.created > _DAY:
            return True
        raise
    if found is not None and _is_owner(found):
        ctx.evidence(CLEANUP, "the user is an owner of the team by now, and is left in it")
        return True
    membership = artefact.fact("membership") if found is None else str(found["id"])
    return bool(membership) and await _remove(ctx, roster, membership)


def _permissions(settings: TeamsMember) -> tuple[Permission, ...]:
    return (
        Permission("TeamMember.ReadWriteNonOwnerRole.All", "adds a user to a team, and removes them"),
        Permission("TeamMember.Read.Group", "sees who is in the team", scope=Scope.TEAM, targets=(settings.team,)),
    )


PROBE = Probe(
    run,
    TeamsMember,
    place=lambda _: Place(Layer.FEATURE, Workload.TEAMS),
    steps=("token", "turn", "look", "add", "seen", CLEANUP),
    measurements=(Measurement("seen_seconds", "From the answer to the addition until a look showed the user in the team."), *MEASUREMENTS),
    interval=21_600.0,
    timeout=120.0,
    floor=900.0,
    tenant=always,
    remembers=always,
    permissions=_permissions,
    costs=lambda _: (Cost(Service.TEAMS, calls=4),),
    clear=clear,
)
