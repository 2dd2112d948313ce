from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from agent.drill.graph.meetings import EVERYBODY, Meetings
from agent.drill.graph.members import Licences
from agent.drill.graph.throttle import LIMITS, Limit, Throttle
from agent.drill.hosting import serve_sites
from agent.drill.join import join_site
from tests.drill.graph import Client, graph_client

WRITE, WRITE_AS = "OnlineMeetings.ReadWrite.All", "OnlineMeetings.ReadWrite"
BODY = {"startDateTime": "2026-11-23T13:00:00Z", "endDateTime": "2026-11-23T13:30:00Z", "subject": "Fog"}


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with graph_client() as client:
        yield client


def meetings(client: Client, person: int = 0) -> str:
    return f"/users/{client.world.people[person].id}/onlineMeetings"


async def test_an_app_with_a_policy_calls_a_meeting_and_calls_it_off(client: Client) -> None:
    made = await client.ask("POST", meetings(client), WRITE, body=BODY)
    assert made.status == 201
    assert made.body["startDateTime"] == "2026-11-23T13:00:00.000Z"
    assert urlsplit(made.body["joinWebUrl"]).path.startswith("/l/meetup-join/19%3Ameeting_")
    assert made.body["chatInfo"]["threadId"].endswith("@thread.v2")
    path = f"{meetings(client)}/{made.body['id']}"
    read = await client.ask("GET", path, WRITE)
    assert {key: value for key, value in read.body.items() if made.body[key] != value}.keys() == {"@odata.context"}
    assert (await client.ask("DELETE", path, WRITE)).status == 204
    assert (await client.ask("GET", path, WRITE)).status == 404


async def test_a_person_has_meetings_of_their_own(client: Client) -> None:
    first, second, *_ = client.world.people
    made = await client.ask("POST", "/me/onlineMeetings", WRITE_AS, by=first, body={})
    assert made.status == 201
    assert (await client.ask("GET", f"/me/onlineMeetings/{made.body['id']}", WRITE_AS, by=first)).status == 200
    assert (await client.ask("GET", f"/me/onlineMeetings/{made.body['id']}", WRITE_AS, by=second)).status == 404
    assert (await client.ask("POST", meetings(client), WRITE_AS, by=second, body=BODY)).status == 403
    assert (await client.ask("DELETE", f"/me/onlineMeetings/{made.body['id']}", WRITE_AS, by=first)).status == 204


@pytest.mark.parametrize(("people", "status"), [((), 403), ((0,), 201), ((1,), 403)], ids=["nobody", "this organiser", "another organiser"])
async def test_an_app_needs_an_access_policy_for_the_organiser(client: Client, people: tuple[int, ...], status: int) -> None:
    state = client.world.of(Meetings)
    assert state.policies == {(client.world.app_id, EVERYBODY)}
    state.policies = {(client.world.app_id, client.world.people[n].id) for n in people}
    reply = await client.ask("POST", meetings(client), WRITE, body=BODY)
    assert reply.status == status
    assert status == 201 or reply.code == "Forbidden"


async def test_an_app_names_the_organiser_by_object_id(client: Client) -> None:
    assert (await client.ask("POST", f"/users/{client.world.people[0].upn}/onlineMeetings", WRITE, body=BODY)).status == 404


@pytest.mark.parametrize(
    "times",
    [
        {"startDateTime": "soon"},
        {"startDateTime": 5},
        {"startDateTime": "2026-11-23T13:00:00Z", "endDateTime": "2026-11-23T13:00:00Z"},
        {"endDateTime": "2026-11-22T13:00:00Z"},
    ],
    ids=["no moment", "a number", "no time at all", "over before now"],
)
async def test_a_meeting_needs_time(client: Client, times: dict[str, Any]) -> None:
    assert (await client.ask("POST", meetings(client), WRITE, body=times)).status == 400


async def test_a_user_has_so_many_meetings_a_month_and_reading_costs_none(client: Client) -> None:
    assert LIMITS["meetings"].spans[0].units == 2000
    tight = LIMITS["meetings"].spans[0]
    client.world.of(Throttle).limits["meetings"] = Limit((type(tight)(2, tight.seconds, tight.by),))
    made = await client.ask("POST", meetings(client), WRITE, body=BODY)
    for _ in range(3):
        assert (await client.ask("GET", f"{meetings(client)}/{made.body['id']}", WRITE)).status == 200
    assert (await client.ask("POST", meetings(client), WRITE, body=BODY)).status == 201
    assert (await client.ask("POST", meetings(client), WRITE, body=BODY)).status == 429
    assert (await client.ask("POST", meetings(client, 1), WRITE, body=BODY)).status == 201


async def test_a_meeting_is_joined_at_the_teams_of_the_world(client: Client) -> None:
    async with serve_sites(client.world, join_site()) as authority:
        authority.configure_trust(client.tls)
        link = (await client.ask("POST", meetings(client), WRITE, body=BODY)).body["joinWebUrl"]
        assert link.startswith(client.world.url("teams", "/l/meetup-join/"))
        async with client.session.get(link, allow_redirects=False, ssl=client.tls) as answer:
            assert answer.status == 302
            assert answer.headers["Location"].startswith("/dl/launcher/launcher.html?url=%2Fl%2Fmeetup-join%2F")
        async with client.session.get(link, ssl=client.tls) as answer:
            assert (answer.status, "join your meeting" in await answer.text()) == (200, True)


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/", 404), ("POST", "/l/meetup-join/19%3Ameeting/0", 405)])
async def test_what_is_no_join_link_is_not_answered(client: Client, method: str, path: str, status: int) -> None:
    async with serve_sites(client.world, join_site()) as authority:
        authority.configure_trust(client.tls)
        async with client.session.request(method, client.world.url("teams", path), ssl=client.tls) as answer:
            assert answer.status == status


async def test_somebody_without_a_licence_has_no_meetings(client: Client) -> None:
    first, second, *_ = client.world.people
    client.world.of(Licences).missing.add(first.id)
    refused = await client.ask("POST", meetings(client), WRITE, body=BODY)
    assert (refused.status, refused.code) == (403, "Forbidden")
    assert (await client.ask("POST", "/me/onlineMeetings", WRITE_AS, by=first, body={})).status == 403
    assert (await client.ask("POST", "/me/onlineMeetings", WRITE_AS, by=second, body={})).status == 201


async def test_a_meeting_of_a_name_is_made_once_for_each_organiser(client: Client) -> None:
    made = [await client.ask("POST", f"{meetings(client, n)}/createOrGet", WRITE, body=BODY | {"externalId": "fog"}) for n in (0, 0, 1)]
    assert [reply.status for reply in made] == [201, 200, 201]
    assert made[0].body["id"] == made[1].body["id"] != made[2].body["id"]
    assert made[0].body["externalId"] == "fog"
    own = await client.ask("POST", "/me/onlineMeetings/createOrGet", WRITE_AS, by=client.world.people[0], body={"externalId": "fog"})
    assert (own.status, own.body["id"]) == (200, made[0].body["id"])


@pytest.mark.parametrize(("path", "name"), [("/createOrGet", {}), ("/createOrGet", {"externalId": 7}), ("", {"externalId": "fog"})])
async def test_a_name_belongs_to_create_or_get(client: Client, path: str, name: dict[str, Any]) -> None:
    assert (await client.ask("POST", f"{meetings(client)}{path}", WRITE, body=BODY | name)).status == 400
