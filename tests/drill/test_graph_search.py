"""Search finds what has lain long enough, loses hits silently where the index is broken, and tells apps to name a region."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from agent.drill.faults import Fault, Partial
from agent.drill.graph.index import LAG, Index
from agent.drill.graph.sites import CANARY, Sites
from tests.drill.data import FILES, Client, data_client


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with data_client() as client:
        yield client


async def in_drive(client: Client, words: str) -> list[str]:
    drive = client.world.of(Sites).probe_drive
    reply = await client.ask("GET", f"/drives/{drive.id}/root/search(q='{words}')", "Files.Read.All", query={"$select": "id,name"})
    return [item["name"] for item in reply.items]


async def everywhere(client: Client, text: str, **members: object) -> dict[str, Any]:
    request = {"entityTypes": ["driveItem"], "query": {"queryString": text}, "from": 0, "size": 5, "region": "NAM", **members}
    reply = await client.ask("POST", "/search/query", "Files.Read.All", body={"requests": [request]})
    container: dict[str, Any] = reply.body["value"][0]["hitsContainers"][0]
    return container


async def put(client: Client, name: str, content: bytes = b"text") -> str:
    drive = client.world.of(Sites).probe_drive
    reply = await client.ask("PUT", f"/drives/{drive.id}/root:/{name}:/content", *FILES, content=content)
    return str(reply.body["id"])


@pytest.mark.parametrize("words", ["fogbell-canary", "Fogbell", "fogb", "canary found", "fogbell-canary.txt"])
async def test_the_canary_is_found_from_the_first_moment(client: Client, words: str) -> None:
    assert CANARY.rpartition("/")[2] in await in_drive(client, words)


async def test_what_nobody_wrote_is_not_found(client: Client) -> None:
    assert await in_drive(client, "unheard-of") == []
    assert await everywhere(client, "unheard-of") == {"total": 0, "moreResultsAvailable": False}


async def test_a_new_file_is_found_only_when_the_index_has_caught_up(client: Client) -> None:
    await put(client, "fresh-news.txt")
    client.clock.forward(LAG - 1)
    assert await in_drive(client, "fresh") == []
    client.clock.forward(1)
    assert await in_drive(client, "fresh") == ["fresh-news.txt"]


async def test_the_lag_can_be_set_also_for_what_is_waiting(client: Client) -> None:
    await put(client, "fresh-news.txt")
    client.world.of(Index).lag = 0
    assert await in_drive(client, "fresh") == ["fresh-news.txt"]


async def test_the_index_knows_the_old_words_until_it_has_read_the_new(client: Client) -> None:
    for content in (b"alpha", b"beta"):
        await put(client, "note.txt", content)
        client.clock.forward(LAG / 2)
    assert (await in_drive(client, "alpha"), await in_drive(client, "beta")) == (["note.txt"], [])
    client.clock.forward(LAG / 2)
    assert (await in_drive(client, "alpha"), await in_drive(client, "beta")) == ([], ["note.txt"])


async def test_a_deleted_file_is_found_for_a_while(client: Client) -> None:
    client.world.of(Index).lag = 0
    item = await put(client, "gone.txt")
    client.world.of(Index).lag = LAG
    drive = client.world.of(Sites).probe_drive
    await client.ask("DELETE", f"/drives/{drive.id}/items/{item}", *FILES)
    assert await in_drive(client, "gone") == ["gone.txt"]
    client.clock.forward(LAG)
    assert await in_drive(client, "gone") == []


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("filename:fogbell-canary", ["fogbell-canary.txt"]),
        ("filename:found", []),
        ("canary filetype:bin", ["canary.bin"]),
        ("canary AND filetype:txt", ["fogbell-canary.txt"]),
        ('path:"https://contoso.sharepoint.com/sites/Probe" canary', ["fogbell-canary.txt", "canary.bin"]),
        ('path:"https://contoso.sharepoint.com/sites/Other" canary', []),
    ],
)
async def test_a_query_may_narrow_the_search(client: Client, text: str, names: list[str]) -> None:
    hits = (await everywhere(client, text)).get("hits", [])
    assert sorted(hit["resource"]["name"] for hit in hits) == sorted(names)
    assert {hit["resource"]["@odata.type"] for hit in hits} <= {"#microsoft.graph.driveItem"}


async def test_hits_come_in_pages_with_their_rank(client: Client) -> None:
    client.world.of(Index).lag = 0
    for number in range(4):
        await put(client, f"report {number}.txt")
    first = await everywhere(client, "report", size=3)
    second = await everywhere(client, "report", size=3, **{"from": 3})
    assert [(hit["rank"], first["moreResultsAvailable"]) for hit in first["hits"]] == [(1, True), (2, True), (3, True)]
    assert [(hit["rank"], second["moreResultsAvailable"], second["total"]) for hit in second["hits"]] == [(4, False, 4)]


@pytest.mark.parametrize(("fraction", "kept"), [(0.6, 3), (0.0, 0)])
async def test_a_broken_index_answers_well_with_fewer_hits(client: Client, fraction: float, kept: int) -> None:
    client.world.of(Index).lag = 0
    for number in range(5):
        await put(client, f"report {number}.txt")
    client.world.faults.set(Fault(Partial(fraction)))
    assert len(await in_drive(client, "report")) == kept
    assert (await everywhere(client, "report"))["total"] == kept


@pytest.mark.parametrize(
    ("members", "status", "words"),
    [
        ({"region": None}, 400, "Region is required"),
        ({"region": "EUR"}, 400, "Only valid region(s) is/are NAM"),
        ({"entityTypes": ["message"]}, 403, "application permission"),
        ({"entityTypes": ["spaceship"]}, 400, "Entity types"),
        ({"query": {"queryString": " "}}, 400, "Query string"),
    ],
    ids=["no region", "another region", "mail", "nothing known", "no words"],
)
async def test_an_app_is_told_what_is_wrong_with_its_search(client: Client, members: dict[str, Any], status: int, words: str) -> None:
    request = {"entityTypes": ["driveItem"], "query": {"queryString": "canary"}, "region": "NAM", **members}
    body = {"requests": [{key: value for key, value in request.items() if value is not None}]}
    reply = await client.ask("POST", "/search/query", "Files.Read.All", body=body)
    assert reply.status == status
    assert words in reply.body["error"]["message"]


@pytest.mark.parametrize("body", [None, {}, {"requests": []}, {"requests": [{}, {}]}, []])
async def test_a_body_that_is_no_search_is_refused(client: Client, body: object) -> None:
    assert (await client.ask("POST", "/search/query", "Files.Read.All", body=body)).status == 400


async def test_a_person_needs_no_region_and_finds_their_own_mail(client: Client) -> None:
    await client.mail("quarterly figures")
    client.pass_mail()
    request = {"entityTypes": ["message"], "query": {"queryString": "quarterly"}}
    reply = await client.ask("POST", "/search/query", "Mail.Read", by=client.receiver, body={"requests": [request]})
    (hit,) = reply.body["value"][0]["hitsContainers"][0]["hits"]
    assert hit["resource"]["subject"] == "quarterly figures"
    other = await client.ask("POST", "/search/query", "Mail.Read", by=client.world.people[2], body={"requests": [request]})
    assert other.body["value"][0]["hitsContainers"] == [{"total": 0, "moreResultsAvailable": False}]


async def test_a_person_does_not_find_the_files_of_others(client: Client) -> None:
    client.world.of(Index).lag = 0
    own = client.world.of(Sites).personal[client.sender.id]
    await client.ask("PUT", f"/drives/{own.id}/root:/diary.txt:/content", *FILES, content=b"private")
    request = {"requests": [{"entityTypes": ["driveItem"], "query": {"queryString": "diary"}}]}
    found = [
        (await client.ask("POST", "/search/query", "Files.Read.All", by=person, body=request)).body["value"][0]["hitsContainers"][0][
            "total"
        ]
        for person in (client.sender, client.receiver)
    ]
    assert found == [1, 0]


@pytest.mark.parametrize("permission", ["Mail.Send", "Files.Read"])
async def test_an_app_needs_permission_for_files(client: Client, permission: str) -> None:
    reply = await client.ask("POST", "/search/query", permission, body={"requests": [{}]})
    assert reply.status == 403


async def test_an_app_finds_what_is_one_persons_alone_only_where_it_asks_for_it(client: Client) -> None:
    client.world.of(Index).lag = 0
    own = client.world.of(Sites).personal[client.sender.id]
    await client.ask("PUT", f"/drives/{own.id}/root:/diary.txt:/content", *FILES, content=b"private")
    asked = [
        {},
        {"includeContent": "sharedContent"},
        {"includeContent": "privateContent"},
        {"includeContent": "sharedContent,privateContent"},
    ]
    found = [(await everywhere(client, "diary", sharePointOneDriveOptions=options))["total"] for options in asked]
    assert found == [0, 0, 1, 1]


async def test_sites_that_were_granted_one_by_one_are_not_searched(client: Client) -> None:
    drive = client.world.of(Sites).probe_drive
    reply = await client.ask("GET", f"/drives/{drive.id}/root/search(q='canary')", "Sites.Selected")
    assert reply.status == 403


async def test_a_hit_tells_of_the_file_as_the_index_read_it(client: Client) -> None:
    await put(client, "note.txt", b"alpha")
    client.clock.forward(LAG)
    await put(client, "note.txt", b"alphabet")
    told = (await everywhere(client, "alpha"))["hits"][0]["resource"]
    drive = client.world.of(Sites).probe_drive
    lies = (await client.ask("GET", f"/drives/{drive.id}/root:/note.txt", *FILES)).body
    assert (told["id"], told["size"], lies["size"]) == (lies["id"], 5, 8)
    assert told["lastModifiedDateTime"] < lies["lastModifiedDateTime"]


@pytest.mark.parametrize(
    ("folder", "found"), [("", ["canary.bin", "fogbell-canary.txt"]), ("probe", ["canary.bin", "fogbell-canary.txt"]), ("empty", [])]
)
async def test_a_folder_is_searched_alone(client: Client, folder: str, found: list[str]) -> None:
    drive = client.world.of(Sites).probe_drive
    await put(client, "empty/x.txt")
    item = drive.at(folder)
    reply = await client.ask(
        "GET", f"/drives/{drive.id}/items/{item.id if item and folder else 'root'}/search(q='canary')", "Files.Read.All"
    )
    assert sorted(each["name"] for each in reply.items) == found


@pytest.mark.parametrize(
    "members", [{"query": "canary"}, {"from": "0"}, {"size": -1}, {"entityTypes": "driveItem"}, {"entityTypes": None}], ids=str
)
async def test_a_search_of_another_shape_is_the_callers_mistake(client: Client, members: dict[str, Any]) -> None:
    request = {"entityTypes": ["driveItem"], "query": {"queryString": "canary"}, "region": "NAM", **members}
    reply = await client.ask("POST", "/search/query", "Files.Read.All", body={"requests": [request]})
    assert (reply.status, reply.code) == (400, "BadRequest")


async def test_files_are_found_as_list_items_too(client: Client) -> None:
    hits = (await everywhere(client, "filename:fogbell", entityTypes=["listItem"]))["hits"]
    assert [hit["resource"]["@odata.type"] for hit in hits] == ["#microsoft.graph.listItem"]
