from collections.abc import AsyncIterator

import pytest

from agent.drill.graph.presence import Presences
from tests.drill.graph import Client, graph_client


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with graph_client() as client:
        yield client


async def test_people_are_available_until_they_are_not(client: Client) -> None:
    first = client.world.people[0]
    before = await client.ask("GET", f"/users/{first.id}/presence", "Presence.Read.All")
    assert (before.body["availability"], before.body["activity"]) == ("Available", "Available")
    client.world.of(Presences).change(first, "DoNotDisturb", "Presenting")
    after = await client.ask("GET", f"/users/{first.upn}/presence", "Presence.Read.All")
    assert (after.body["availability"], after.body["activity"]) == ("DoNotDisturb", "Presenting")
    assert int(after.body["sequenceNumber"]) > int(before.body["sequenceNumber"])


async def test_a_person_sees_their_own_presence(client: Client) -> None:
    second = client.world.people[1]
    assert (await client.ask("GET", "/me/presence", "Presence.Read", by=second)).body["id"] == second.id


@pytest.mark.parametrize(
    ("path", "permission", "status"),
    [
        ("/users/nobody@contoso.example/presence", "Presence.Read.All", 404),
        ("/users/probe1@contoso.example/presence", "User.Read.All", 403),
        ("/me/presence", "Presence.Read.All", 400),
    ],
    ids=["nobody", "without permission", "an app is not me"],
)
async def test_presence_is_refused(client: Client, path: str, permission: str, status: int) -> None:
    assert (await client.ask("GET", path, permission)).status == status
