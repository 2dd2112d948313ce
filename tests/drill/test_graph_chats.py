from collections.abc import AsyncIterator
from typing import Any

import pytest

from agent.drill.graph.members import Licences
from agent.drill.graph.moments import moment
from agent.drill.world import Person
from tests.drill.graph import Client, Reply, graph_client

CREATE, READ, SEND, MEMBERS = "Chat.Create", "Chat.ReadWrite", "ChatMessage.Send", "ChatMember.ReadWrite"


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with graph_client() as client:
        yield client


def member(client: Client, person: Person, *roles: str) -> dict[str, Any]:
    address = client.world.url("graph", f"/v1.0/users('{person.id}')")
    return {"@odata.type": "#microsoft.graph.aadUserConversationMember", "roles": list(roles), "user@odata.bind": address}


def chat(client: Client, *people: int, kind: str = "oneOnOne", **more: object) -> dict[str, Any]:
    return {"chatType": kind, "members": [member(client, client.world.people[n], "owner") for n in people], **more}


async def two(client: Client) -> str:
    return str((await client.ask("POST", "/chats", CREATE, body=chat(client, 0, 1))).body["id"])


async def send(client: Client, name: str, text: str = "Good morning", by: int | None = 0, *granted: str) -> Reply:
    person = None if by is None else client.world.people[by]
    body = {"body": {"contentType": "text", "content": text}}
    return await client.ask("POST", f"/chats/{name}/messages", *(granted or (SEND,)), by=person, body=body)


async def test_two_people_have_one_chat_whoever_makes_it(client: Client) -> None:
    first = await client.ask("POST", "/chats", CREATE, body=chat(client, 0, 1))
    again = await client.ask("POST", "/chats", CREATE, by=client.world.people[1], body=chat(client, 1, 0))
    assert first.status == again.status == 201
    assert first.body["id"] == again.body["id"]
    assert first.body["id"].endswith("@unq.gbl.spaces")


async def test_a_group_is_new_each_time(client: Client) -> None:
    made = [await client.ask("POST", "/chats", CREATE, body=chat(client, 0, 1, 2, kind="group", topic="Fog")) for _ in range(2)]
    assert [reply.body["topic"] for reply in made] == ["Fog", "Fog"]
    assert made[0].body["id"] != made[1].body["id"]


@pytest.mark.parametrize(
    ("people", "more", "by"),
    [
        ((0, 0), {}, None),
        ((0, 1, 2), {}, None),
        ((0, 1), {"topic": "two have none"}, None),
        ((0, 1), {"kind": "meeting"}, None),
        ((0, 1), {"members": None}, None),
        ((0, 1), {}, 2),
    ],
    ids=["one twice", "three in a chat of two", "a topic for two", "another type", "no members", "without the caller"],
)
async def test_a_chat_that_cannot_be_is_refused(client: Client, people: tuple[int, ...], more: dict[str, Any], by: int | None) -> None:
    reply = await client.ask(
        "POST", "/chats", CREATE, by=None if by is None else client.world.people[by], body=chat(client, *people, **more)
    )
    assert (reply.status, reply.code) == (400, "BadRequest")


async def test_nobody_has_a_chat_with_somebody_without_a_licence(client: Client) -> None:
    client.world.of(Licences).missing.add(client.world.people[1].id)
    reply = await client.ask("POST", "/chats", CREATE, body=chat(client, 0, 1))
    assert (reply.status, reply.code) == (403, "Forbidden")
    assert "license" in reply.body["error"]["message"]


async def test_each_member_of_a_new_chat_needs_a_role(client: Client) -> None:
    body = {"chatType": "oneOnOne", "members": [member(client, person) for person in client.world.people[:2]]}
    assert "role" in (await client.ask("POST", "/chats", CREATE, body=body)).body["error"]["message"]


async def test_a_message_is_sent_read_back_and_deleted(client: Client) -> None:
    name, sender = await two(client), client.world.people[0]
    sent = await send(client, name, "Fog at noon")
    assert sent.status == 201
    path = f"/chats/{name}/messages/{sent.body['id']}"
    read = await client.ask("GET", path, READ, by=client.world.people[1])
    assert read.body["body"] == {"contentType": "text", "content": "Fog at noon"}
    assert read.body["from"]["user"]["id"] == sender.id
    client.clock.forward(5)
    assert (await client.ask("POST", f"/users/{sender.id}{path}/softDelete", READ, by=sender)).status == 204
    gone = await client.ask("GET", path, READ, by=sender)
    assert gone.body["body"]["content"] == ""
    assert gone.body["deletedDateTime"] == "2026-11-23T12:00:05.000Z"


async def test_messages_come_latest_first_and_in_pages(client: Client) -> None:
    name = await two(client)
    for text in ("one", "two", "three"):
        await send(client, name, text)
    listed = await client.ask("GET", f"/chats/{name}/messages", READ, by=client.world.people[0], query={"$top": "2"})
    assert [each["body"]["content"] for each in listed.items] == ["three", "two"]
    assert "@odata.nextLink" in listed.body
    too_many = await client.ask("GET", f"/chats/{name}/messages", READ, by=client.world.people[0], query={"$top": "51"})
    assert too_many.status == 400


async def test_an_app_alone_may_not_send_and_hears_why(client: Client) -> None:
    name = await two(client)
    refused = await send(client, name, "hello", None, CREATE, "Chat.ReadWrite.All")
    assert (refused.status, refused.code) == (401, "Unauthorized")
    assert "only for import purposes" in refused.body["error"]["message"]
    assert (await send(client, name, "hello", None, "User.Read.All")).status == 403
    imported = await send(client, name, "imported", None, "Teamwork.Migrate.All")
    assert (imported.status, imported.body["from"]["user"]) == (201, None)
    assert imported.body["from"]["application"]["id"] == client.world.app_id


@pytest.mark.parametrize(
    "body", [{}, {"body": {"content": ""}}, {"body": {"contentType": "pdf", "content": "x"}}], ids=["no body", "no words", "no known type"]
)
async def test_a_message_must_say_something(client: Client, body: dict[str, Any]) -> None:
    name = await two(client)
    assert (await client.ask("POST", f"/chats/{name}/messages", SEND, by=client.world.people[0], body=body)).status == 400


async def test_only_the_sender_deletes_a_message_and_no_app_does(client: Client) -> None:
    name = await two(client)
    sent = await send(client, name)
    first, second, *_ = client.world.people
    path = f"/chats/{name}/messages/{sent.body['id']}/softDelete"
    assert (await client.ask("POST", f"/users/{second.id}{path}", READ, by=second)).status == 403
    assert (await client.ask("POST", f"/users/{first.id}{path}", READ, by=second)).status == 403
    by_app = await client.ask("POST", f"/users/{first.id}{path}", "Chat.ReadWrite.All")
    assert (by_app.status, by_app.code) == (412, "PreconditionFailed")


async def test_members_come_and_go_in_a_group_only(client: Client) -> None:
    group = (await client.ask("POST", "/chats", CREATE, body=chat(client, 0, 1, kind="group"))).body["id"]
    alex, first = client.world.people[3], client.world.people[0]
    added = await client.ask("POST", f"/chats/{group}/members", MEMBERS, by=first, body=member(client, alex, "owner"))
    assert added.status == 201
    place = added.headers["Location"]
    assert added.body["id"] in place
    expanded = await client.ask("GET", f"/chats/{group}", READ, by=alex, query={"$expand": "members"})
    assert [each["userId"] for each in expanded.body["members"]] == [each.id for each in (*client.world.people[:2], alex)]
    assert (await client.ask("DELETE", f"/chats/{group}/members/{added.body['id']}", MEMBERS, by=first)).status == 204
    left = (await client.ask("GET", f"/chats/{group}/members", READ, by=first)).items
    assert alex.id not in [each["userId"] for each in left]
    assert (await client.ask("DELETE", f"/chats/{group}/members/{added.body['id']}", MEMBERS, by=first)).status == 404
    refused = await client.ask("POST", f"/chats/{await two(client)}/members", MEMBERS, by=first, body=member(client, alex, "owner"))
    assert refused.status == 403


async def test_adding_somebody_twice_to_a_group_keeps_the_membership(client: Client) -> None:
    group = (await client.ask("POST", "/chats", CREATE, body=chat(client, 0, 1, kind="group"))).body["id"]
    alex = member(client, client.world.people[3], "guest")
    added = [await client.ask("POST", f"/chats/{group}/members", "ChatMember.ReadWrite.All", body=alex) for _ in range(2)]
    assert added[0].body["id"] == added[1].body["id"]
    assert len((await client.ask("GET", f"/chats/{group}/members", "ChatMember.Read.All")).items) == 3


async def test_a_message_that_nobody_sent_is_not_there(client: Client) -> None:
    reply = await client.ask("GET", f"/chats/{await two(client)}/messages/1", "Chat.Read.All")
    assert (reply.status, reply.code) == (404, "NotFound")


async def test_a_chat_shows_its_members_only_where_asked(client: Client) -> None:
    assert "members" not in (await client.ask("GET", f"/chats/{await two(client)}", "Chat.Read.All")).body


async def test_a_chat_is_closed_to_people_outside(client: Client) -> None:
    name = await two(client)
    alex = client.world.people[3]
    assert (await client.ask("GET", f"/chats/{name}", READ, by=alex)).status == 403
    assert (await send(client, name, "let me in", 3)).status == 403


async def test_a_deleted_chat_is_gone(client: Client) -> None:
    name = await two(client)
    assert (await client.ask("DELETE", f"/chats/{name}", "Chat.ManageDeletion.All")).status == 204
    assert (await client.ask("GET", f"/chats/{name}", "Chat.Read.All")).status == 404


async def test_somebody_without_a_licence_neither_reads_nor_writes(client: Client) -> None:
    name = await two(client)
    client.world.of(Licences).missing.add(client.world.people[0].id)
    refused = await send(client, name)
    assert (refused.status, refused.code) == (403, "Forbidden")
    assert (await client.ask("GET", f"/chats/{name}/messages", READ, by=client.world.people[0])).status == 403
    assert (await send(client, name, by=1)).status == 201


async def test_messages_since_a_moment_are_the_latest_first(client: Client) -> None:
    name = await two(client)
    for text in ("first", "second", "third"):
        client.clock.forward(60)
        await send(client, name, text)
    since = moment(client.clock() - 90)
    query = {"$orderby": "lastModifiedDateTime desc", "$filter": f"lastModifiedDateTime gt {since}", "$top": "50"}
    listed = await client.ask("GET", f"/chats/{name}/messages", READ, by=client.world.people[0], query=query)
    assert [item["body"]["content"] for item in listed.items] == ["third", "second"]


@pytest.mark.parametrize(
    ("order", "condition", "status", "found"),
    [
        ("lastModifiedDateTime desc", "lastModifiedDateTime lt 2026-11-23T12:00:00.000Z", 200, 0),
        ("createdDateTime desc", "createdDateTime lt 2026-11-23T12:00:00.000Z", 200, 0),
        ("createdDateTime desc", "lastModifiedDateTime lt 2026-11-23T12:00:00.000Z", 200, 1),
        ("", "lastModifiedDateTime lt 2026-11-23T12:00:00.000Z", 200, 1),
        ("createdDateTime desc", "createdDateTime gt 2026-11-23T12:00:00.000Z", 400, 0),
        ("lastModifiedDateTime desc", "lastModifiedDateTime ge 2026-11-23T12:00:00.000Z", 400, 0),
    ],
    ids=["modified before", "made before", "by another order", "without order", "made since", "at or after"],
)
async def test_a_filter_of_messages_counts_with_its_order_alone(
    client: Client, order: str, condition: str, status: int, found: int
) -> None:
    name = await two(client)
    await send(client, name)
    query = {"$filter": condition} | ({"$orderby": order} if order else {})
    listed = await client.ask("GET", f"/chats/{name}/messages", READ, by=client.world.people[0], query=query)
    assert (listed.status, len(listed.body.get("value", []))) == (status, found)
