"""Read in Teams what people see when they open it: the teams somebody is in, the channels of one, and whether somebody is there.

Nothing is written, and nobody notices.

```yaml
probes:
  - name: teams
    kind: teams_read
    tenant: contoso
    user: 00000000-0000-0000-0000-000000000003
    team: 00000000-0000-0000-0000-000000000007
```

| part | step | what it does |
|---|---|---|
| | token | gets a token, or uses the one that is still good |
| teams | teams | lists the teams that `user` is in |
| channels | channels | lists the channels of `team`, without it of the first team in the list |
| presence | presence | asks whether `user` is there |

The parts need the application permissions Team.ReadBasic.All, Presence.Read.All, and for channels ChannelSettings.Read.Group, which is
consented to in `team` alone; without a `team` it is Channel.ReadBasic.All.

`parts` leaves some of it out; channels without teams need a `team`:

```yaml
probes:
  - name: presence
    kind: teams_read
    tenant: contoso
    user: 00000000-0000-0000-0000-000000000003
    parts: [presence]
```

Special reasons:

- app_config: the user is in no team, or not in `team`, or Graph knows no such user or team; and none of it was otherwise since the agent's
  start, so that a wrong id is the likelier cause.
- not_found: the same, of what was there before.
- content_mismatch: a team without a channel, which there is none of, or the presence of somebody else.

What presence says is evidence and no reason: a probe user whom nobody signs in as is Offline or PresenceUnknown all day.

Microsoft's terms of Teams let an app look for changes once a day. This looks whether Teams answers, and keeps nothing of what it reads; out
of respect for the terms it runs every 15 minutes, and more often than every 5 only with `allow_short_interval: true`. It costs 2 calls of
Teams and 1 of presence.
"""

from contextlib import nullcontext
from typing import Any, Literal, Self

from pydantic import model_validator

from probes.core.context import Context
from probes.core.contract import Failed, Layer, Measurement, Place, Probe, Settings, Workload, always
from probes.core.needs import Cost, Permission, Scope, Service
from probes.core.reasons import Reason
from probes.lib.graph import MEASUREMENTS, call, pages, segment, sign_in, text_in
from probes.lib.known import named, remember
from probes.lib.teams import UNKNOWN_TEAM, UNKNOWN_USER
from probes.lib.tenant import Guid, Tenant, tenant_of
from probes.lib.tokens import Token

Part = Literal["teams", "channels", "presence"]


class TeamsRead(Settings):
    """Whose Teams to look into."""

    user: Guid
    """Object id of the user whose teams and presence are read."""
    team: Guid | None = None
    """Id of the team that has to be among them, and whose channels are listed; without it the first one will do. The link to a
    team has it, behind `groupId=`."""
    parts: tuple[Part, ...] = ("teams", "channels", "presence")
    """What to read."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if not self.parts:
            raise ValueError("parts must name something to read")
        if "channels" in self.parts and "teams" not in self.parts and self.team is None:
            raise ValueError("channels without teams need a team")
        return self


async def run(ctx: Context, settings: TeamsRead) -> None:
    """Get a token, and read one thing after the other."""
    tenant, team = tenant_of(ctx), settings.team or ""
    with ctx.step("token"):
        token = await sign_in(ctx, tenant, _permissions(settings))
    if "teams" in settings.parts:
        with ctx.step("teams"):
            team = await _teams(ctx, tenant, token, settings)
    if "channels" in settings.parts:
        asked = nullcontext() if settings.team is None else named(ctx, "team", team, hint=UNKNOWN_TEAM)
        with asked, ctx.step("channels"):
            await _channels(ctx, tenant, token, team)
    if "presence" in settings.parts:
        with ctx.step("presence"):
            await _presence(ctx, tenant, token, settings.user)


async def _teams(ctx: Context, tenant: Tenant, token: Token, settings: TeamsRead) -> str:
    """List the teams, and return the one to go on with."""
    with named(ctx, "user", settings.user, hint=UNKNOWN_USER):
        joined = await pages(ctx, tenant, token, Service.TEAMS, f"/users/{settings.user}/joinedTeams")
    ids = [_id(team) for team in joined]
    ctx.measure("teams", len(ids))
    with named(ctx, "user" if settings.team is None else "team", settings.user, settings.team or "any"):
        if not ids:
            raise Failed(Reason.NOT_FOUND, "the user is in no team; `user` must be in one at least")
        if settings.team is not None and settings.team not in ids:
            raise Failed(Reason.NOT_FOUND, f"the user is in {len(ids)} teams, and {settings.team} is none of them")
    if settings.team is not None:
        remember(ctx, ctx.tenant, "team", settings.team)
    return settings.team or ids[0]


async def _channels(ctx: Context, tenant: Tenant, token: Token, team: str) -> None:
    ctx.evidence("team", team)
    # With everything else of a channel Graph would look up its mail address, which takes long.
    query = (("$select", "id,displayName"),)
    channels = await pages(ctx, tenant, token, Service.TEAMS, f"/teams/{segment(team)}/channels", query=query)
    ctx.measure("channels", len([_id(channel) for channel in channels]))
    if not channels:
        raise Failed(Reason.CONTENT_MISMATCH, "the team has no channel, and every team has one")


async def _presence(ctx: Context, tenant: Tenant, token: Token, user: str) -> None:
    with named(ctx, "user", user, hint=UNKNOWN_USER):
        answer = await call(ctx, tenant, token, Service.PRESENCE, "GET", f"/users/{user}/presence")
    found = answer.data if isinstance(answer.data, dict) else {}
    if str(found.get("id")).lower() != user or not isinstance(found.get("availability"), str):
        raise Failed(Reason.CONTENT_MISMATCH, "the answer is not the presence of this user")
    ctx.evidence("presence", found["availability"])


def _id(found: dict[str, Any]) -> str:
    return text_in(found, "id", "something in the list has no id").lower()


def _permissions(settings: TeamsRead) -> tuple[Permission, ...]:
    needs = []
    if "teams" in settings.parts:
        needs.append(Permission("Team.ReadBasic.All", "lists the teams of a user"))
    if "channels" in settings.parts and settings.team is not None:
        needs.append(Permission("ChannelSettings.Read.Group", "lists the channels of the team", scope=Scope.TEAM, targets=(settings.team,)))
    elif "channels" in settings.parts:
        needs.append(Permission("Channel.ReadBasic.All", "lists the channels of a team"))
    if "presence" in settings.parts:
        needs.append(Permission("Presence.Read.All", "reads whether a user is there"))
    return tuple(needs)


def _costs(settings: TeamsRead) -> tuple[Cost, ...]:
    lists = len({"teams", "channels"} & set(settings.parts))
    of_teams = (Cost(Service.TEAMS, calls=lists),) if lists else ()
    return (*of_teams, Cost(Service.PRESENCE, calls=1)) if "presence" in settings.parts else of_teams


PROBE = Probe(
    run,
    TeamsRead,
    place=lambda _: Place(Layer.WORKLOAD, Workload.TEAMS),
    steps=("token", "teams", "channels", "presence"),
    measurements=(
        Measurement("teams", "Teams that the user is in."),
        Measurement("channels", "Channels of the team."),
        *MEASUREMENTS,
    ),
    interval=900.0,
    floor=300.0,
    timeout=30.0,
    tenant=always,
    permissions=_permissions,
    costs=_costs,
)
