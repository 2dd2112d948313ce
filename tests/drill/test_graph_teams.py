from collections.abc import AsyncIterator
from typing import Any

import pytest

from agent.drill.graph.consents import Consents
from agent.drill.graph.teams import PROBE_TEAM, SHOWS_AFTER_SECONDS, Teams
from agent.drill.world import Person
from tests.drill.graph import Client, graph_client

LIST, MEMBERS, WRITE = "Team.ReadBasic.All", "TeamMember.Read.All", "TeamMember.ReadWriteNonOwnerRole.All"


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with graph_client() as client:
        yield client


async def probe_team(client: Client) -> str:
    teams = (await client.ask("GET", f"/users/{client.world.people[0].upn}/joinedTeams", LIST)).items
    return str(next(team["id"] for team in teams if team["displayName"] == PROBE_TEAM))


def member(client: Client, person: Person, *roles: str) -> dict[str, Any]:
    address = client.world.url("graph", f"/v1.0/users('{person.id}')")
    return {"@odata.type": "#microsoft.graph.aadUserConversationMember", "roles": list(roles), "user@odata.bind": address}


async def names(client: Client, team: str) -> list[str]:
    return [str(each["displayName"]) for each in (await client.ask("GET", f"/teams/{team}/members", MEMBERS)).items]


@pytest.mark.parametrize(("person", "teams"), [(0, [PROBE_TEAM, "Harbour"]), (2, ["Harbour"]), (3, [])])
async def test_people_are_in_the_teams_they_joined(client: Client, person: int, teams: list[str]) -> None:
    somebody = client.world.people[person]
    reply = await client.ask("GET", f"/users/{somebody.id}/joinedTeams", LIST, query={"$select": "id,displayName"})
    assert [team["displayName"] for team in reply.items] == teams
    own = await client.ask("GET", "/me/joinedTeams", LIST, by=somebody)
    assert [team["displayName"] for team in own.items] == teams


async def test_a_team_has_channels(client: Client) -> None:
    team = await probe_team(client)
    assert (await client.ask("GET", f"/teams/{team}", LIST)).body["displayName"] == PROBE_TEAM
    channels = (await client.ask("GET", f"/teams/{team}/channels", "Channel.ReadBasic.All")).items
    assert [channel["displayName"] for channel in channels] == ["General", "Weather"]
    assert all(channel["id"].endswith("@thread.tacv2") for channel in channels)


async def test_a_new_member_shows_a_moment_later_and_so_does_its_going(client: Client) -> None:
    team, alex = await probe_team(client), client.world.people[3]
    added = await client.ask("POST", f"/teams/{team}/members", WRITE, body=member(client, alex))
    assert added.status == 201
    assert added.body["userId"] == alex.id
    assert alex.name not in await names(client, team)
    client.clock.forward(SHOWS_AFTER_SECONDS)
    assert alex.name in await names(client, team)
    assert (await client.ask("DELETE", f"/teams/{team}/members/{added.body['id']}", WRITE)).status == 204
    assert alex.name in await names(client, team)
    client.clock.forward(SHOWS_AFTER_SECONDS)
    assert alex.name not in await names(client, team)


async def test_adding_somebody_twice_keeps_the_membership(client: Client) -> None:
    team, alex = await probe_team(client), client.world.people[3]
    first, second = [await client.ask("POST", f"/teams/{team}/members", WRITE, body=member(client, alex)) for _ in range(2)]
    assert first.body["id"] == second.body["id"]
    client.clock.forward(SHOWS_AFTER_SECONDS)
    assert (await names(client, team)).count(alex.name) == 1


async def test_a_member_that_was_removed_can_come_back(client: Client) -> None:
    team, alex = await probe_team(client), client.world.people[3]
    for _ in range(2):
        added = await client.ask("POST", f"/teams/{team}/members", WRITE, body=member(client, alex))
        client.clock.forward(SHOWS_AFTER_SECONDS)
        assert alex.name in await names(client, team)
        assert (await client.ask("DELETE", f"/teams/{team}/members/{added.body['id']}", WRITE)).status == 204
        client.clock.forward(SHOWS_AFTER_SECONDS)
    assert (await client.ask("DELETE", f"/teams/{team}/members/{added.body['id']}", WRITE)).status == 404


async def test_a_member_who_is_added_again_while_leaving_stays(client: Client) -> None:
    team, alex = await probe_team(client), client.world.people[3]
    added = await client.ask("POST", f"/teams/{team}/members", WRITE, body=member(client, alex))
    client.clock.forward(SHOWS_AFTER_SECONDS)
    await client.ask("DELETE", f"/teams/{team}/members/{added.body['id']}", WRITE)
    again = await client.ask("POST", f"/teams/{team}/members", WRITE, body=member(client, alex))
    client.clock.forward(2 * SHOWS_AFTER_SECONDS)
    assert (again.body["id"], (await names(client, team)).count(alex.name)) == (added.body["id"], 1)


async def test_a_change_may_never_show_and_can_be_taken_back_all_the_same(client: Client) -> None:
    team, alex = await probe_team(client), client.world.people[3]
    client.world.of(Teams).shows_after = float("inf")
    added = await client.ask("POST", f"/teams/{team}/members", WRITE, body=member(client, alex))
    client.clock.forward(86_400)
    assert alex.name not in await names(client, team)
    for status in (204, 404):
        assert (await client.ask("DELETE", f"/teams/{team}/members/{added.body['id']}", WRITE)).status == status


async def test_one_member_can_be_asked_for(client: Client) -> None:
    team, second = await probe_team(client), client.world.people[1]
    only = {"$filter": f"(microsoft.graph.aadUserConversationMember/userId eq '{second.id}')"}
    assert [each["userId"] for each in (await client.ask("GET", f"/teams/{team}/members", MEMBERS, query=only)).items] == [second.id]


async def test_consent_for_one_team_opens_that_one_to_the_app_alone(client: Client) -> None:
    team, harbour = await probe_team(client), next(each.id for each in client.world.of(Teams).teams.values() if each.name == "Harbour")
    client.world.of(Consents).give(client.world.app_id, team, ["TeamMember.Read.Group"])
    asks: list[tuple[str, dict[str, Any]]] = [
        (team, {}),
        (harbour, {}),
        (team, {"by": client.world.people[0]}),
        (team, {"app_id": "another"}),
    ]
    replies = [await client.ask("GET", f"/teams/{where}/members", "User.Read.All", **who) for where, who in asks]
    assert [reply.status for reply in replies] == [200, 403, 403, 403]
    assert (await client.ask("POST", f"/teams/{team}/members", "User.Read.All", body={})).status == 403


async def test_a_refusal_says_what_would_do_and_a_team_that_is_not_there_whose_it_is(client: Client) -> None:
    refused = await client.ask("GET", f"/teams/{await probe_team(client)}/members", "User.Read.All", "Chat.Create")
    assert "API requires one of 'Group.Read.All, " in refused.body["error"]["message"]
    assert refused.body["error"]["message"].endswith("Roles on the request 'Chat.Create, User.Read.All'.")
    gone = await client.ask("GET", "/teams/00000000-0000-0000-0000-000000000000", LIST)
    assert (gone.code, gone.body["error"]["innerError"]["code"]) == ("NotFound", "ItemNotFound")


async def test_the_least_permission_makes_no_owners(client: Client) -> None:
    team, alex = await probe_team(client), client.world.people[3]
    refused = await client.ask("POST", f"/teams/{team}/members", WRITE, body=member(client, alex, "owner"))
    assert (refused.status, refused.code) == (403, "Forbidden")
    assert (
        await client.ask("POST", f"/teams/{team}/members", "TeamMember.ReadWrite.All", body=member(client, alex, "owner"))
    ).status == 201


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"@odata.type": "#microsoft.graph.user"}, 400),
        ({"roles": ["captain"]}, 400),
        ({"user@odata.bind": "https://graph.microsoft.us/v1.0/users('adele@contoso.example')"}, 400),
        ({"user@odata.bind": "adele@contoso.example"}, 400),
        ({"user@odata.bind": "https://graph.microsoft.com/v1.0/users('nobody@contoso.example')"}, 404),
        ({"user@odata.bind": "https://graph.microsoft.com/v1.0/users/adele@contoso.example"}, 201),
    ],
    ids=["no member", "unknown role", "another cloud", "no address", "nobody", "by its name in the public cloud"],
)
async def test_a_member_must_be_bound_as_graph_wants_it(client: Client, change: dict[str, Any], status: int) -> None:
    team = await probe_team(client)
    body = member(client, client.world.people[3]) | change
    assert (await client.ask("POST", f"/teams/{team}/members", WRITE, body=body)).status == status


async def test_an_app_may_call_four_times_a_second_on_one_team(client: Client) -> None:
    team = await probe_team(client)
    client.clock.forward(1)
    replies = [await client.ask("GET", f"/teams/{team}", LIST) for _ in range(5)]
    assert [reply.status for reply in replies] == [200, 200, 200, 200, 429]
    assert replies[-1].headers["Retry-After"] == "1"
    client.clock.forward(1)
    assert (await client.ask("GET", f"/teams/{team}", LIST)).status == 200


async def test_a_team_is_closed_to_people_outside_and_to_apps_without_permission(client: Client) -> None:
    team, alex = await probe_team(client), client.world.people[3]
    assert (await client.ask("GET", f"/teams/{team}", LIST, by=alex)).status == 403
    assert (await client.ask("GET", f"/teams/{team}", "User.Read.All")).status == 403
    assert (await client.ask("GET", "/teams/00000000-0000-0000-0000-000000000000", LIST)).status == 404
