"""Files lie in drives; their bytes come from another host by addresses that need no token and bear none."""

import hashlib
import re
from base64 import b64decode
from collections.abc import AsyncIterator
from typing import Any, get_args, get_type_hints

import pytest
from aiohttp import ClientPayloadError

from agent.drill.faults import Content, Fault
from agent.drill.graph.drives import quick_xor_hash
from agent.drill.graph.sites import BINARY_BYTES, CANARY, CANARY_TEXT, HOST, Sites
from agent.drill.outage import read, schedule
from agent.drill.world import World
from tests.drill.data import FILES, Client, data_client

DOWNLOAD = "@microsoft.graph.downloadUrl"
STEP = 320 * 1024


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with data_client() as client:
        yield client


def root(client: Client, path: str, rest: str = "") -> str:
    return f"/drives/{client.world.of(Sites).probe_drive.id}/root:/{path}{rest}"


async def put(client: Client, path: str, content: bytes = b"text", **options: Any) -> Any:
    return await client.ask("PUT", root(client, path, ":/content"), *FILES, content=content, **options)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "AAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        (b64decode("Sg=="), "SgAAAAAAAAAAAAAAAQAAAAAAAAA="),
        (b64decode("tbQ="), "taAFAAAAAAAAAAAAAgAAAAAAAAA="),
    ],
    ids=["empty", "one byte", "two bytes"],
)
def test_quick_xor_hash_is_microsofts(content: bytes, expected: str) -> None:
    assert quick_xor_hash(content) == expected


def test_quick_xor_hash_folds_as_if_it_went_byte_by_byte() -> None:
    content = bytes(range(256)) * 3
    ring = 0
    for index, byte in enumerate(content):
        wide = byte << (11 * index % 160)
        ring ^= (wide & (2**160 - 1)) ^ (wide >> 160)
    ring ^= len(content) << 96
    assert b64decode(quick_xor_hash(content)) == ring.to_bytes(20, "little")


@pytest.mark.parametrize("name", ["id", "path", "Path", "collection"])
async def test_a_site_is_found_by_id_and_by_place(client: Client, name: str) -> None:
    site = client.world.of(Sites).probe_site
    path = {"id": site.id, "path": f"{HOST}:/sites/Probe", "Path": f"{HOST}:/SITES/probe", "collection": site.collection}[name]
    reply = await client.ask("GET", f"/sites/{path}", "Sites.Read.All")
    assert (reply.status, reply.body["id"], reply.body["webUrl"]) == (200, site.id, f"https://{HOST}/sites/Probe")
    assert reply.body["siteCollection"]["dataLocationCode"] == "NAM"


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        (f"/sites/{HOST}:/sites/None", 404, "itemNotFound"),
        ("/sites/elsewhere.example:/sites/Probe", 400, "invalidRequest"),
        ("/sites/none/drive", 404, "itemNotFound"),
        ("/users/nobody/drive", 404, "ResourceNotFound"),
        ("/drives/none/items/x", 404, "itemNotFound"),
    ],
)
async def test_what_is_not_there_is_not_found(client: Client, path: str, status: int, code: str) -> None:
    reply = await client.ask("GET", path, *FILES)
    assert (reply.status, reply.code) == (status, code)


async def test_a_site_and_a_person_have_a_drive_with_room(client: Client) -> None:
    sites = client.world.of(Sites)
    library = (await client.ask("GET", f"/sites/{sites.probe_site.id}/drive", "Files.Read.All")).body
    own = (await client.ask("GET", f"/users/{client.sender.upn}/drive", "Files.Read.All")).body
    assert (library["id"], library["driveType"], own["driveType"]) == (sites.probe_drive.id, "documentLibrary", "business")
    assert library["quota"]["used"] == len(CANARY_TEXT) + BINARY_BYTES


async def test_the_canary_has_been_there_long_and_has_its_hashes(client: Client) -> None:
    by_path = (await client.ask("GET", root(client, CANARY), "Files.Read.All")).body
    by_id = (await client.ask("GET", f"/drives/{by_path['parentReference']['driveId']}/items/{by_path['id']}", "Files.Read.All")).body
    assert by_path["createdDateTime"] < "2026-09"
    assert by_path["file"]["hashes"]["quickXorHash"] == quick_xor_hash(CANARY_TEXT)
    assert by_path["file"]["hashes"]["sha256Hash"] == hashlib.sha256(CANARY_TEXT).hexdigest().upper()
    assert {key: value for key, value in by_id.items() if "@" not in key} == {
        key: value for key, value in by_path.items() if "@" not in key
    }


async def test_select_brings_the_download_address_only_when_it_names_it(client: Client) -> None:
    without = await client.ask("GET", root(client, CANARY), "Files.Read.All", query={"$select": "id,size"})
    named = await client.ask("GET", root(client, CANARY), "Files.Read.All", query={"$select": f"id,{DOWNLOAD}"})
    assert (DOWNLOAD in without.body, DOWNLOAD in named.body, without.body["size"]) == (False, True, len(CANARY_TEXT))


async def link(client: Client) -> str:
    reply = await client.ask("GET", root(client, CANARY, ":/content"), "Files.Read.All")
    assert (reply.status, reply.data) == (302, b"")
    return reply.headers["Location"]


async def test_content_comes_from_the_other_host_without_a_token(client: Client) -> None:
    url = await link(client)
    assert url.startswith(client.world.url("files", "/"))
    reply = await client.fetch("GET", url)
    assert (reply.status, reply.data, reply.headers["Content-Type"]) == (200, CANARY_TEXT, "text/plain")
    assert {"SPRequestGuid", "X-SharePointHealthScore", "SPRequestDuration"} <= reply.headers.keys()


async def test_a_token_is_refused_where_none_is_wanted(client: Client) -> None:
    reply = await client.fetch("GET", await link(client), headers={"Authorization": "Bearer anything"})
    assert (reply.status, reply.code) == (401, "unauthenticated")


async def test_an_address_expires(client: Client) -> None:
    url = await link(client)
    client.clock.forward(client.world.of(Sites).link_seconds)
    assert (await client.fetch("GET", url)).status == 401


@pytest.mark.parametrize("spoilt", ["", "x", "eyJ9.AAAA"])
async def test_a_forged_address_is_refused(client: Client, spoilt: str) -> None:
    url = (await link(client)).partition("tempauth=")[0]
    assert (await client.fetch("GET", f"{url}tempauth={spoilt}")).status == 401


@pytest.mark.parametrize(
    ("asked", "status", "content", "place"),
    [
        ("bytes=0-3", 206, CANARY_TEXT[:4], f"bytes 0-3/{len(CANARY_TEXT)}"),
        ("bytes=40-", 206, CANARY_TEXT[40:], f"bytes 40-46/{len(CANARY_TEXT)}"),
        ("bytes=-5", 206, CANARY_TEXT[-5:], f"bytes 42-46/{len(CANARY_TEXT)}"),
        ("bytes=40-999", 206, CANARY_TEXT[40:], f"bytes 40-46/{len(CANARY_TEXT)}"),
        ("bytes=5-2", 200, CANARY_TEXT, None),
        ("lines=1-2", 200, CANARY_TEXT, None),
        ("bytes=47-", 416, None, f"bytes */{len(CANARY_TEXT)}"),
        ("bytes=-0", 416, None, f"bytes */{len(CANARY_TEXT)}"),
    ],
)
async def test_a_part_comes_where_a_part_is_asked_for(
    client: Client, asked: str, status: int, content: bytes | None, place: str | None
) -> None:
    reply = await client.fetch("GET", await link(client), headers={"Range": asked})
    assert (reply.status, reply.headers.get("Content-Range")) == (status, place)
    assert content is None or reply.data == content


async def test_what_did_not_change_is_not_sent_again(client: Client) -> None:
    url = await link(client)
    etag = (await client.fetch("GET", url)).headers["ETag"]
    again = await client.fetch("GET", url, headers={"If-None-Match": etag})
    assert (again.status, again.data, again.headers["ETag"]) == (304, b"", etag)
    await put(client, CANARY, b"changed")
    assert (await client.fetch("GET", url, headers={"If-None-Match": etag})).data == b"changed"


async def test_an_upload_is_there_at_once_and_replaces_what_was_there(client: Client) -> None:
    first = await put(client, "new/deep/a b.txt", b"one")
    second = await put(client, "new/deep/A B.txt", b"two")
    assert (first.status, second.status) == (201, 200)
    assert (first.body["id"], first.body["eTag"]) == (second.body["id"], first.body["eTag"])
    assert second.body["eTag"] != first.body["eTag"]
    assert first.body["parentReference"]["path"].endswith("/root:/new/deep")
    assert (await client.fetch("GET", second.body[DOWNLOAD])).data == b"two"


@pytest.mark.parametrize(
    ("behaviour", "status", "name"), [("replace", 200, "a.txt"), ("fail", 409, "nameAlreadyExists"), ("rename", 201, "a 1.txt")]
)
async def test_the_client_says_what_to_do_where_the_name_is_taken(client: Client, behaviour: str, status: int, name: str) -> None:
    await put(client, "a.txt")
    reply = await put(client, "a.txt", query={"@microsoft.graph.conflictBehavior": behaviour})
    assert (reply.status, reply.code if status == 409 else reply.body["name"]) == (status, name)


async def test_a_folder_shows_how_much_is_in_it_and_is_not_overwritten(client: Client) -> None:
    folder = (await client.ask("GET", root(client, "probe"), *FILES)).body
    assert (folder["folder"], folder["size"]) == ({"childCount": 2}, len(CANARY_TEXT) + BINARY_BYTES)
    assert (await put(client, "probe")).code == "nameAlreadyExists"
    assert (await client.ask("GET", root(client, "probe", ":/content"), *FILES)).status == 400


async def test_nothing_changes_under_a_stale_tag_or_a_lock(client: Client) -> None:
    item = (await put(client, "a.txt")).body
    path = f"/drives/{item['parentReference']['driveId']}/items/{item['id']}"
    assert (await put(client, "a.txt", headers={"If-Match": '"old"'})).status == 412
    client.world.of(Sites).probe_drive.items[item["id"]].locked = True
    replies = [
        await put(client, "a.txt"),
        await client.ask("DELETE", path, *FILES),
        await client.ask("POST", f"{path}/permanentDelete", *FILES),
        await client.ask("POST", root(client, "a.txt", ":/createUploadSession"), *FILES, body={}),
    ]
    assert {(reply.status, reply.code) for reply in replies} == {(423, "resourceLocked")}
    assert (await client.fetch("GET", item[DOWNLOAD])).data == b"text"


async def test_a_full_drive_takes_no_more(client: Client) -> None:
    drive = client.world.of(Sites).probe_drive
    drive.quota = drive.used + 3
    assert (await put(client, "a.txt", b"1234")).code == "quotaLimitReached"
    assert (await put(client, "a.txt", b"123")).status == 201
    assert (await put(client, "a.txt", b"abc")).status == 200
    shown = (await client.ask("GET", f"/sites/{drive.site.id}/drive" if drive.site else "", *FILES)).body
    assert shown["quota"].items() >= {"remaining": 0, "state": "exceeded"}.items()


async def test_a_deleted_file_lies_in_the_recycle_bin_and_a_purged_one_nowhere(client: Client) -> None:
    drive = client.world.of(Sites).probe_drive
    kept, gone = (await put(client, "kept.txt")).body, (await put(client, "gone.txt")).body
    path = f"/drives/{drive.id}/items"
    assert (await client.ask("DELETE", f"{path}/{kept['id']}", *FILES)).status == 204
    assert (await client.ask("POST", f"{path}/{gone['id']}/permanentDelete", *FILES)).status == 204
    assert {(await client.ask("GET", f"{path}/{item['id']}", *FILES)).status for item in (kept, gone)} == {404}
    assert [item.name for item in drive.recycled] == ["kept.txt"]
    assert (await client.fetch("GET", kept[DOWNLOAD])).status == 404


async def session(client: Client, path: str = "big.bin", **members: object) -> str:
    reply = await client.ask("POST", root(client, path, ":/createUploadSession"), *FILES, body=members)
    assert reply.body["nextExpectedRanges"] == ["0-"]
    return str(reply.body["uploadUrl"])


async def fragment(client: Client, url: str, content: bytes, first: int, total: int) -> Any:
    return await client.fetch("PUT", url, content, {"Content-Range": f"bytes {first}-{first + len(content) - 1}/{total}"})


async def test_a_big_file_comes_in_fragments(client: Client) -> None:
    url, content = await session(client), b"x" * STEP + b"end"
    half = await fragment(client, url, content[:STEP], 0, len(content))
    assert (half.status, half.body["nextExpectedRanges"]) == (202, [f"{STEP}-"])
    assert (await client.fetch("GET", url)).body["nextExpectedRanges"] == [f"{STEP}-"]
    whole = await fragment(client, url, content[STEP:], STEP, len(content))
    assert (whole.status, whole.body["size"]) == (201, len(content))
    assert whole.body["file"]["hashes"]["quickXorHash"] == quick_xor_hash(content)
    assert (await client.fetch("GET", url)).status == 404


async def test_a_deferred_upload_waits_for_the_word(client: Client) -> None:
    url = await session(client, deferCommit=True)
    assert (await fragment(client, url, b"all", 0, 3)).status == 202
    assert (await client.ask("GET", root(client, "big.bin"), *FILES)).status == 404
    assert (await client.fetch("POST", url, b"")).status == 201


async def test_a_cancelled_upload_is_forgotten(client: Client) -> None:
    url = await session(client)
    assert (await client.fetch("DELETE", url)).status == 204
    assert (await fragment(client, url, b"all", 0, 3)).status == 404


async def test_an_upload_nobody_finishes_expires(client: Client) -> None:
    url = await session(client)
    client.clock.forward(86_400)
    assert (await client.fetch("GET", url)).status == 401
    await session(client, "other.bin")
    assert len(client.world.of(Sites).uploads) == 1


@pytest.mark.parametrize(
    ("content", "where", "status", "code"),
    [
        (b"abc", "bytes 0-5/6", 400, "invalidRequest"),
        (b"abc", "0-2/3", 400, "invalidRequest"),
        (b"abc", "bytes 3-5/6", 416, "invalidRange"),
        (b"abc", "bytes 0-2/6", 400, "invalidRequest"),
        (b"abc", f"bytes 0-2/{2**30}", 413, "requestEntityTooLarge"),
    ],
    ids=["not as long as said", "no range", "not the next", "not a multiple of 320 KiB", "too big"],
)
async def test_a_wrong_fragment_is_refused(client: Client, content: bytes, where: str, status: int, code: str) -> None:
    reply = await client.fetch("PUT", await session(client), content, {"Content-Range": where})
    assert (reply.status, reply.code) == (status, code)


@pytest.mark.parametrize(("behaviour", "status"), [("replace", 200), ("rename", 201), ("fail", 409)])
async def test_a_session_too_says_what_to_do_where_the_name_is_taken(client: Client, behaviour: str, status: int) -> None:
    url = await session(client, "late.txt", item={"@microsoft.graph.conflictBehavior": behaviour})
    await put(client, "late.txt")
    assert (await fragment(client, url, b"all", 0, 3)).status == status


async def test_a_session_needs_room(client: Client) -> None:
    drive = client.world.of(Sites).probe_drive
    drive.quota = drive.used + 10
    full = await client.ask("POST", root(client, "big.bin", ":/createUploadSession"), *FILES, body={"item": {"fileSize": 11}})
    assert (full.status, full.code) == (507, "quotaLimitReached")
    assert (await fragment(client, await session(client), b"x" * 11, 0, 11)).status == 507


@pytest.mark.parametrize(("role", "statuses"), [("write", [200, 200, 201]), ("read", [200, 200, 403]), (None, [403, 403, 403])])
async def test_an_app_with_selected_sites_reaches_those_and_no_more(client: Client, role: str | None, statuses: list[int]) -> None:
    sites = client.world.of(Sites)
    sites.selected = {(client.world.app_id, sites.probe_site.id): role} if role else {}
    replies = [
        await client.ask("GET", f"/sites/{sites.probe_site.id}", "Sites.Selected"),
        await client.ask("GET", root(client, CANARY), "Sites.Selected"),
        await client.ask("PUT", root(client, "a.txt", ":/content"), "Sites.Selected", content=b"x"),
    ]
    assert [reply.status for reply in replies] == statuses
    assert (await client.ask("GET", f"/users/{client.sender.id}/drive", "Sites.Selected")).status == 403


@pytest.mark.parametrize(
    ("method", "rest", "permission"), [("GET", "", "Mail.Read"), ("GET", ":/content", "Sites.None"), ("PUT", ":/content", "Files.Read.All")]
)
async def test_another_permission_does_not_open_it(client: Client, method: str, rest: str, permission: str) -> None:
    reply = await client.ask(method, root(client, CANARY, rest), permission)
    assert (reply.status, reply.code) == (403, "accessDenied")


async def test_a_file_that_did_not_change_is_not_described_again(client: Client) -> None:
    etag = (await client.ask("GET", root(client, CANARY), *FILES)).body["eTag"]
    assert (await client.ask("GET", root(client, CANARY), *FILES, headers={"If-None-Match": etag})).status == 304


async def test_the_root_stays(client: Client) -> None:
    drive = client.world.of(Sites).probe_drive
    assert (await client.ask("GET", f"/drives/{drive.id}/items/root", *FILES)).body["root"] == {}
    reply = await client.ask("DELETE", f"/drives/{drive.id}/items/root", *FILES)
    assert (reply.status, reply.code) == (403, "accessDenied")


async def test_a_folder_goes_with_all_that_is_in_it(client: Client) -> None:
    drive = client.world.of(Sites).probe_drive
    folder = (await client.ask("GET", root(client, "probe"), *FILES)).body["id"]
    await client.ask("DELETE", f"/drives/{drive.id}/items/{folder}", *FILES)
    assert [item.parent for item in drive.items.values()] == [None]
    assert len(drive.recycled) == 3


@pytest.mark.parametrize("body", [[], {"item": "x"}, {"item": {"fileSize": "big"}}, {"item": {"fileSize": -1}}], ids=str)
async def test_a_body_of_another_shape_is_the_callers_mistake(client: Client, body: object) -> None:
    reply = await client.ask("POST", root(client, "a.bin", ":/createUploadSession"), *FILES, body=body)
    assert (reply.status, reply.code) == (400, "BadRequest")


async def test_the_files_host_does_nothing_but_that(client: Client) -> None:
    url = await session(client)
    assert (await client.fetch("POST", url, b"")).code == "invalidRequest"
    assert (await client.fetch("PATCH", url)).status == 404
    assert (await client.fetch("GET", client.world.url("files", "/"))).status == 404


async def test_a_lock_that_came_during_an_upload_holds(client: Client) -> None:
    item = (await put(client, "late.txt")).body
    url = await session(client, "late.txt")
    client.world.of(Sites).probe_drive.items[item["id"]].locked = True
    assert (await fragment(client, url, b"all", 0, 3)).code == "resourceLocked"


async def test_a_site_is_found_by_host_and_path_in_place_of_its_id_as_microsofts_client_asks(client: Client) -> None:
    reply = await client.ask("GET", f"/sites/{HOST}%3A%2Fsites%2FProbe", "Sites.Read.All")
    assert reply.body["id"] == client.world.of(Sites).probe_site.id


def test_sites_and_drives_are_called_the_same_in_every_run() -> None:
    first, second = World(), World()
    second.random.random()
    assert first.of(Sites).probe_drive.id == second.of(Sites).probe_drive.id
    assert first.of(Sites).probe_site.id == second.of(Sites).probe_site.id


SPOILT = get_args(get_type_hints(Content)["how"])


@pytest.mark.parametrize("how", SPOILT)
def test_an_outage_can_spoil_files_in_every_way(how: str) -> None:
    text = f"{{id: X01, title: Files, phases: [{{from: 0, until: 1, what: x, faults: [{{content: {how}, hosts: [files]}}]}}]}}"
    (fault,) = schedule(read(text, "x.yml"), 0.0)
    assert fault.effect == Content(how)  # type: ignore[arg-type] # one of its words


@pytest.mark.parametrize(
    ("how", "status", "leads"),
    [("nowhere", 302, "^$"), ("elsewhere", 302, "^https://localhost:1/common/"), ("plain", 302, "^http://"), ("deleted", 404, "^$")],
)
async def test_graph_leads_astray_where_that_is_wanted(client: Client, how: Any, status: int, leads: str) -> None:
    client.world.listens("login", 1)
    client.world.faults.set(Fault(Content(how)))
    reply = await client.ask("GET", root(client, CANARY, ":/content"), "Files.Read.All")
    assert reply.status == status
    assert re.search(leads, reply.headers.get("Location", ""))


async def test_bytes_are_cut_off_or_changed_where_that_is_wanted(client: Client) -> None:
    url = await link(client)
    client.world.faults.set(Fault(Content("wrong")))
    reply = await client.fetch("GET", url)
    assert (len(reply.data), reply.data == CANARY_TEXT, reply.data[1:] == CANARY_TEXT[1:]) == (len(CANARY_TEXT), False, True)
    client.world.faults.set(Fault(Content("truncated")))
    with pytest.raises(ClientPayloadError):
        await client.fetch("GET", url)
