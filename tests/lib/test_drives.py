"""Where bytes may come from, and what Graph may say of a file, by script."""

from dataclasses import replace

import pytest

from probes.core.contract import Failed
from probes.core.ledger import Artefact
from probes.core.reasons import Reason
from probes.lib.drives import Door, Drive, drive_of_user, is_storage, item_at, kept_drive, place_of, remove, site_at
from probes.lib.url import parse
from tests.fakes.graph import Script, answer, context, scripted, shared, tenant_at

DRIVE = Drive("b!1", "contoso.sharepoint.com")
FILE = {"id": "F", "size": 7, "eTag": '"e"', "cTag": '"c"', "file": {"hashes": {"quickXorHash": "AA=="}}}
ITEM = "/v1.0/drives/b!1/root:/a/b c.bin"
FOUND = "/v1.0/drives/b!1/items/F"
CONTENT = f"{FOUND}/content"


def door(script: Script) -> Door:
    return Door(context(shared(script.tenant)), script.tenant, script.token)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://contoso.sharepoint.com/sites/x/_layouts/15/download.aspx", True),
        ("https://contoso-my.sharepoint.com/personal/x", True),
        ("https://westeurope1-mediap.svc.ms/transform/x", True),
        ("https://graph.microsoft.com/v1.0/x", False),
        ("https://login.microsoftonline.com/common", False),
        ("https://sharepoint.com.evil.example/x", False),
        ("https://evilsharepoint.com/x", False),
        ("https://block-page.example/", False),
    ],
    ids=lambda value: value.removeprefix("https://").partition("/")[0] if isinstance(value, str) else "",
)
def test_bytes_come_from_beside_the_drive_alone(url: str, expected: bool) -> None:  # noqa: FBT001 - a table
    worldwide = tenant_at("localhost:1").model_copy(update={"hosts": None})
    assert is_storage(worldwide, DRIVE, parse(url)) is expected
    china = replace(DRIVE, host="contoso.sharepoint.cn")
    assert is_storage(worldwide, china, parse("https://contoso-my.sharepoint.cn/x"))


def test_of_hosts_that_have_no_name_here_only_the_door_and_the_sign_in_are_refused() -> None:
    tenant = tenant_at("localhost:1")
    assert not is_storage(tenant, DRIVE, parse("https://localhost:1/x"))
    assert is_storage(tenant, DRIVE, parse("https://localhost:2/x"))


@pytest.mark.parametrize(
    "said",
    [
        None,
        [],
        {},
        FILE | {"id": ""},
        FILE | {"id": 7},
        FILE | {"size": "7"},
        FILE | {"size": True},
        FILE | {"size": -1},
        FILE | {"size": 10**400},
        FILE | {"file": None},
        {"id": "F", "size": 7, "folder": {}},
    ],
    ids=range(11),
)
async def test_what_is_no_file_is_a_mismatch(said: object) -> None:
    async with scripted({ITEM: answer(said)}) as script:
        with pytest.raises(Failed) as failed:
            await item_at(door(script), DRIVE, "a/b c.bin")
    assert failed.value.reason is Reason.CONTENT_MISMATCH


@pytest.mark.parametrize("file", [{}, {"hashes": None}, {"hashes": {}}, {"hashes": {"quickXorHash": 7}}], ids=range(4))
async def test_a_file_without_a_hash_is_one_all_the_same(file: object) -> None:
    async with scripted({ITEM: answer({"id": "F", "size": 7, "file": file})}) as script:
        item = await item_at(door(script), DRIVE, "a/b c.bin")
    assert (item.id, item.quick_xor, item.ctag, item.etag) == ("F", "", "", "")


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("", Reason.PROTOCOL_ERROR),
        ("https://", Reason.HTTP_REDIRECT),
        ("ftp://files.example/x?tempauth=canary", Reason.PROTOCOL_ERROR),
        ("https://a:canary@files.example/", Reason.PROTOCOL_ERROR),
        ("/relative", Reason.HTTP_REDIRECT),
        ("http://127.0.0.1/x", Reason.HTTP_REDIRECT),
        ("https://{host}/x", Reason.HTTP_REDIRECT),
        (f"https://127.0.0.1/x?{'&'.join(f'k{number}=canary{number:040}' for number in range(1200))}", Reason.PROTOCOL_ERROR),
    ],
    ids=["none", "no host", "no web", "user name", "relative", "no TLS", "Graph", "a thousand keys"],
)
async def test_a_redirect_that_leads_astray_is_refused_without_showing_its_address(location: str, reason: Reason) -> None:
    async with scripted({ITEM: answer(FILE), CONTENT: answer(None, 302, Location=location)}) as script:
        here = door(script)
        item = await item_at(here, DRIVE, "a/b c.bin")
        with pytest.raises(Failed) as failed:
            await place_of(here, DRIVE, item)
    assert (failed.value.reason, "canary" in failed.value.message) == (reason, False)


async def test_the_key_in_an_address_is_hidden_and_the_address_taken() -> None:
    key = "v1.eyJzaXRlaWQiOiI" + "0123456789abcdef" * 4
    async with scripted({ITEM: answer(FILE), CONTENT: answer(None, 302, Location=f"https://127.0.0.1/x?a=1&tempauth={key}")}) as script:
        here = door(script)
        place = await place_of(here, DRIVE, await item_at(here, DRIVE, "a/b c.bin"))
    assert (place.host, here.ctx.masked(f"said {key}")) == ("127.0.0.1", "said ***")


@pytest.mark.parametrize("where", ["y4m{key}/canary.bin", "x?{many}&tempauth={key}"], ids=["in its path", "among many"])
async def test_a_key_is_hidden_wherever_it_stands_in_an_address(where: str) -> None:
    key, many = "0f3a7Zq" * 12, "&".join(f"k{number}={number:045}" for number in range(100))
    location = "https://127.0.0.1/" + where.format(key=key, many=many)
    async with scripted({ITEM: answer(FILE), CONTENT: answer(None, 302, Location=location)}) as script:
        here = door(script)
        await place_of(here, DRIVE, await item_at(here, DRIVE, "a/b c.bin"))
    assert (key[9:40] in here.ctx.masked(f"said {key}"), len(here.ctx.secrets) < 10) == (False, True)


async def test_a_tag_that_breaks_out_of_its_line_is_not_sent() -> None:
    async with scripted({ITEM: answer(FILE | {"eTag": '"e"\r\nX-Evil: 1'}), FOUND: answer(None, 204)}) as script:
        here = door(script)
        assert await remove(here, DRIVE, await item_at(here, DRIVE, "a/b c.bin"))
    assert not {"if-match", "x-evil"} & script.calls[-1].headers.keys()


@pytest.mark.parametrize(
    ("key", "expected"), [("b%211", "b%211"), ("b!1/items/X?", "b%211%2Fitems%2FX%3F"), ("../users/%2e%2e", "..%2Fusers%2F..")]
)
def test_a_drive_from_the_ledger_is_one_segment_of_a_path(key: str, expected: str) -> None:
    assert kept_drive(Artefact("a", "file", 1.0, (("drive", key), ("host", "a.example")))) == Drive(expected, "a.example")


@pytest.mark.parametrize(("status", "gone"), [(204, True), (404, True), (412, False)], ids=["removed", "gone", "changed"])
async def test_a_file_that_has_changed_is_not_removed(status: int, gone: bool) -> None:  # noqa: FBT001 - a table
    async with scripted({ITEM: answer(FILE), FOUND: answer(None, status)}) as script:
        here = door(script)
        assert await remove(here, DRIVE, await item_at(here, DRIVE, "a/b c.bin")) is gone


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("https://contoso.sharepoint.com/sites/Probe", "/sites/contoso.sharepoint.com:/sites/Probe"),
        ("https://contoso.sharepoint.com/sites/A b/ü", "/sites/contoso.sharepoint.com:/sites/A b/ü"),
        ("https://contoso.sharepoint.com", "/sites/contoso.sharepoint.com"),
    ],
    ids=["site", "letters", "root"],
)
async def test_a_site_is_asked_for_by_its_place(url: str, path: str) -> None:
    async with scripted({f"/v1.0{path}": answer({"id": "host,1,2"})}) as script:
        assert await site_at(door(script), url) == "host,1,2"


@pytest.mark.parametrize("said", [{}, {"id": 7}, {"webUrl": "https://x"}, []], ids=range(4))
async def test_a_drive_without_id_is_a_mismatch(said: object) -> None:
    async with scripted({"/v1.0/users/a@b.example/drive": answer(said)}) as script:
        with pytest.raises(Failed) as failed:
            await drive_of_user(door(script), "a@b.example")
    assert failed.value.reason is Reason.CONTENT_MISMATCH


@pytest.mark.parametrize(
    ("url", "host"),
    [("https://a.example/x y", "a.example"), (None, ""), (7, ""), ("https://[", "")],
    ids=["address", "none", "number", "broken"],
)
async def test_a_drive_is_one_also_where_its_address_is_not_told(url: object, host: str) -> None:
    async with scripted({"/v1.0/users/a@b.example/drive": answer({"id": "b!1", "webUrl": url})}) as script:
        drive = await drive_of_user(door(script), "a@b.example")
    assert drive == Drive("b%211", host)
    worldwide = tenant_at("localhost:1").model_copy(update={"hosts": None})
    assert is_storage(worldwide, replace(drive, host=""), parse("https://contoso-my.sharepoint.com/x"))
    assert not is_storage(worldwide, replace(drive, host=""), parse("https://graph.microsoft.com/x"))
    assert not any(
        is_storage(worldwide, replace(drive, host=host), parse("https://files.example/x")) for host in ("", "sharepoint.example")
    )
