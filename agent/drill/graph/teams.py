"""Teams, their channels and their members.

https://learn.microsoft.com/en-us/graph/api/resources/teams-api-overview
"""

import math
from dataclasses import dataclass, field
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from agent.drill.graph.frame import Answer, Call, GraphError, Operation
from agent.drill.graph.members import Member, asked_for, bound, membership_id, of_person, shown
from agent.drill.graph.moments import moment
from agent.drill.graph.odata import context, entity, page
from agent.drill.world import Person, World

SHOWS_AFTER_SECONDS = 2.0
"""How long a change of members takes to be seen. Microsoft asks callers to leave two seconds between such calls."""
PROBE_TEAM = "Fogbell probes"
_AGE_SECONDS = 200 * 86400.0


@dataclass(slots=True)
class Channel:
    """A channel of a team."""

    id: str
    name: str
    kind: str = "standard"


@dataclass(slots=True)
class Team:
    """A team, its channels and who is in it."""

    id: str
    name: str
    created: float
    channels: tuple[Channel, ...]
    members: list[Member] = field(default_factory=list)


class Teams:
    """All teams of a world. The probe team has the first two people in it; the fourth is in no team."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.shows_after = SHOWS_AFTER_SECONDS
        """How long a change of members takes to be seen from now on; infinite: it never is."""
        self.teams = {team.id: team for team in (self._made(PROBE_TEAM, 2, "General", "Weather"), self._made("Harbour", 3, "General"))}

    def _made(self, name: str, people: int, *channels: str) -> Team:
        made = self._world.now() - _AGE_SECONDS
        team = Team(
            _guid(name), name, made, tuple(Channel(f"19:{_guid(name, each).replace('-', '')}@thread.tacv2", each) for each in channels)
        )
        for number, person in enumerate(self._world.people[:people]):
            team.members.append(_member(team, person, () if number else ("owner",), made))
        return team

    def called(self, call: Call) -> Team:
        """Give the team that a call is about.

        Raises:
            GraphError: 404 where there is none; 403 to a person outside it.

        """
        team = self.teams.get(call.path["team-id"].lower())
        if team is None:
            raise GraphError(404, "NotFound", f"No team found with Group Id {call.path['team-id']}", "ItemNotFound")
        now = self._world.now()
        if call.caller.user_id and not any(member.person.id == call.caller.user_id and member.shows(now) for member in team.members):
            raise GraphError(403, "Forbidden", "User is not a member of the team.")
        return team


def _guid(*names: str) -> str:
    return str(uuid5(NAMESPACE_URL, "/".join(names)))


def _member(team: Team, person: Person, roles: tuple[str, ...], since: float) -> Member:
    return Member(membership_id(team.id, person.id), person, roles, since)


def _shown_team(world: World, team: Team) -> dict[str, Any]:
    return {
        "id": team.id,
        "createdDateTime": moment(team.created),
        "displayName": team.name,
        "description": f"{team.name} of Contoso",
        "isArchived": False,
        "specialization": "none",
        "tenantId": world.tenant_id,
        "visibility": "private",
        "webUrl": f"https://teams.microsoft.com/l/team/{team.channels[0].id}/conversations?groupId={team.id}&tenantId={world.tenant_id}",
    }


def _shown_channel(world: World, team: Team, channel: Channel) -> dict[str, Any]:
    return {
        "id": channel.id,
        "createdDateTime": moment(team.created),
        "displayName": channel.name,
        "description": None,
        "email": "",
        "isArchived": False,
        "membershipType": channel.kind,
        "tenantId": world.tenant_id,
        "webUrl": f"https://teams.microsoft.com/l/channel/{channel.id}/{channel.name}?groupId={team.id}&tenantId={world.tenant_id}",
    }


def list_joined(world: World, call: Call) -> Answer:
    """Answer with the teams somebody is in."""
    person, now = asked_for(world, call), world.now()
    teams = world.of(Teams).teams.values()
    joined = [team for team in teams if any(member.person == person and member.shows(now) for member in team.members)]
    return page(call, [_shown_team(world, team) for team in joined])


def get_team(world: World, call: Call) -> Answer:
    """Answer with one team."""
    return entity(call, _shown_team(world, world.of(Teams).called(call)))


def list_channels(world: World, call: Call) -> Answer:
    """Answer with the channels of a team."""
    team = world.of(Teams).called(call)
    return page(call, [_shown_channel(world, team, channel) for channel in team.channels])


def list_members(world: World, call: Call) -> Answer:
    """Answer with the members of a team that show by now."""
    team, now = world.of(Teams).called(call), world.now()
    return page(call, [shown(world, member) for member in team.members if member.shows(now)])


def add_member(world: World, call: Call) -> Answer:
    """Take somebody into a team; who is in already keeps the membership and gets the roles, and the answer is the same (201)."""
    teams, now = world.of(Teams), world.now()
    team = teams.called(call)
    person, roles = bound(world, call.body)
    _refuse_owners(call, roles)
    member = of_person(team.members, person, now)
    if member is None:
        member = _member(team, person, roles, now + teams.shows_after)
        team.members.append(member)
    member.roles, member.until = roles, math.inf
    return Answer({"@odata.context": context(call, single=True), **shown(world, member)}, 201)


def _refuse_owners(call: Call, roles: tuple[str, ...]) -> None:
    """Refuse to make an owner with the permission that is for all but owners."""
    if "owner" in roles and "TeamMember.ReadWrite.All" not in call.caller.granted:
        raise GraphError(403, "Forbidden", "Missing role permissions on the request. API requires one of 'TeamMember.ReadWrite.All'.")


def remove_member(world: World, call: Call) -> Answer:
    """Put somebody out of a team; the list shows it a little later."""
    teams, now = world.of(Teams), world.now()
    team = teams.called(call)
    member = next((each for each in team.members if each.id == call.path["conversationMember-id"] and each.until == math.inf), None)
    if member is None:
        raise GraphError(404, "NotFound", "No team member found with the given membership id.")
    _refuse_owners(call, member.roles)
    member.until = max(now, member.since) + teams.shows_after if member.since < math.inf else now
    return Answer(status=204)


_LIST = frozenset(
    {
        "Team.ReadBasic.All",
        "TeamSettings.Read.All",
        "TeamSettings.ReadWrite.All",
        "Group.Read.All",
        "Group.ReadWrite.All",
        "Directory.Read.All",
    }
)
_READ = _LIST | {"TeamSettings.Read.Group", "TeamSettings.ReadWrite.Group"}
_CHANNELS = frozenset(
    {
        "Channel.ReadBasic.All",
        "ChannelSettings.Read.Group",
        "ChannelSettings.Read.All",
        "ChannelSettings.ReadWrite.Group",
        "ChannelSettings.ReadWrite.All",
        "Group.Read.All",
        "Group.ReadWrite.All",
        "Directory.Read.All",
    }
)
_WRITE_MEMBERS = frozenset({"TeamMember.ReadWriteNonOwnerRole.All", "TeamMember.ReadWrite.All"})
_READ_MEMBERS = frozenset(
    {"TeamMember.Read.All", "TeamMember.Read.Group", "TeamMember.ReadWrite.All", "Group.Read.All", "Group.ReadWrite.All"}
)

OPERATIONS = (
    Operation("GET", "/users/{user-id}/joinedTeams", list_joined, "teams", "team_list", _LIST, _LIST),
    Operation("GET", "/me/joinedTeams", list_joined, "teams", "team_list", _LIST, _LIST),
    Operation("GET", "/teams/{team-id}", get_team, "teams", "team_get", _READ, _READ),
    Operation("GET", "/teams/{team-id}/channels", list_channels, "teams", "channel_list", _CHANNELS, _CHANNELS),
    Operation("GET", "/teams/{team-id}/members", list_members, "teams", "member_list", _READ_MEMBERS, _READ_MEMBERS),
    Operation("POST", "/teams/{team-id}/members", add_member, "teams", "member_add", _WRITE_MEMBERS, _WRITE_MEMBERS),
    Operation(
        "DELETE",
        "/teams/{team-id}/members/{conversationMember-id}",
        remove_member,
        "teams",
        "member_remove",
        _WRITE_MEMBERS,
        _WRITE_MEMBERS,
    ),
)
"""What this area answers."""
