"""Requests of files are what the builders of Microsoft's own SDK make, and what Microsoft's description of Graph allows.

The SDK addresses what has a path by an id that is a path: `/sites/{id}` with `host:/path`, `/drives/{id}/items/{id}` with `root:/path:`.
Microsoft's documentation writes the same without the detour, and so do we; here both are put into the one spelling.

Where the reference data is, what Microsoft's documentation shows as an answer is taken for one.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kiota_abstractions.base_request_configuration import RequestConfiguration
from msgraph.generated.drives.item.items.item.drive_item_item_request_builder import DriveItemItemRequestBuilder
from msgraph.generated.sites.item.drive.drive_request_builder import DriveRequestBuilder
from msgraph.generated.sites.item.site_item_request_builder import SiteItemRequestBuilder

from probes.core.contract import Failed, Outcome, Run
from probes.lib.drives import Door, Drive, Item, drive_of_user, item_at, put, remove, site_at
from probes.lib.quick_xor import quick_xor_hash
from tests.fakes.graph import Asked, answer, context, run_kind, scripted, shared
from tests.judges.openapi import REFERENCE, needs_slice, request_errors
from tests.judges.requests import CLIENT, Said, by_sdk, said

HOST, SITE, DRIVE, ITEM = "contoso.sharepoint.com", "contoso.sharepoint.com,1-a,2-b", "b!t18F8ybsHUq", "01NKDM7HMOJTVYMDOSXFDK2QJDXCDI3WUK"
URL = f"https://{HOST}/sites/Pro be"
PATH, WRITTEN = "probe/a #1+ü.bin", "probe/fogbell-write.bin"
USER = "o'brien+probe@contoso.example"
CONTENT = b"A file.\n"
TAG = '"{86EB4C8E-D20D-46B9-AD41-23B8868DDA8A},1"'


class Store:
    """A Graph that has one drive, the host of its files, and what was put there last."""

    def __init__(self) -> None:
        self.written = CONTENT

    async def __call__(self, asked: Asked) -> bytes:
        if asked.method == "PUT":
            self.written = asked.body
        content = CONTENT if "/items/READ" in asked.path or asked.path.endswith(PATH) or asked.path == "/READ" else self.written
        if not asked.path.startswith("/v1.0"):
            return answer(content, SPRequestDuration="12")
        if asked.path.endswith("/content") and asked.method == "GET":
            name = "READ" if "/items/READ" in asked.path else "WRITTEN"
            return answer(
                None, 302, Location="https://127.0.0.1:{port}/".replace("{port}", asked.headers["host"].rpartition(":")[2]) + name
            )
        if asked.path.endswith("/drive"):
            return answer({"id": DRIVE, "webUrl": f"https://{HOST}/sites/Probe/Documents"})
        if asked.path.startswith("/v1.0/sites/"):
            return answer({"id": SITE})
        name = "READ" if content is CONTENT else ITEM
        hashes = {"quickXorHash": quick_xor_hash(content)}
        return answer({"id": name, "size": len(content), "eTag": TAG, "cTag": TAG, "file": {"hashes": hashes}})


async def ran(kind: str, **settings: Any) -> tuple[Run, list[Asked], list[Asked]]:
    """Run a kind that writes, and return what Graph and what the host of files were asked."""
    async with scripted(Store()) as script:
        run = await run_kind(kind, script.tenant, path=PATH, write=True, **settings)
    others = [asked for asked in script.asked if asked not in script.calls and asked.method == "GET"]
    return run, script.calls, others


def one_spelling(asked: Said) -> Said:
    """Write a path in an id as the path that it is."""
    path = "/".join(asked.path).replace("/items/root:/", "/root:/")
    return Said(asked.method, tuple(path.removesuffix(":").split("/")), asked.query)


def of_site(name: str) -> Any:
    query = SiteItemRequestBuilder.SiteItemRequestBuilderGetQueryParameters(select=["id", "webUrl"])
    return CLIENT.sites.by_site_id(name).to_get_request_information(RequestConfiguration(query_parameters=query))


def of_drive() -> Any:
    query = DriveRequestBuilder.DriveRequestBuilderGetQueryParameters(select=["id", "webUrl"])
    return CLIENT.sites.by_site_id(SITE).drive.to_get_request_information(RequestConfiguration(query_parameters=query))


def of_item(name: str) -> Any:
    query = DriveItemItemRequestBuilder.DriveItemItemRequestBuilderGetQueryParameters(select=["id", "size", "eTag", "cTag", "file"])
    items = CLIENT.drives.by_drive_id(DRIVE).items
    return items.by_drive_item_id(name).to_get_request_information(RequestConfiguration(query_parameters=query))


def content(name: str) -> Any:
    return CLIENT.drives.by_drive_id(DRIVE).items.by_drive_item_id(name).content.to_get_request_information()


def upload() -> Any:
    return CLIENT.drives.by_drive_id(DRIVE).items.by_drive_item_id(f"root:/{WRITTEN}:").content.to_put_request_information(b"x")


def deletion() -> Any:
    return CLIENT.drives.by_drive_id(DRIVE).items.by_drive_item_id(ITEM).to_delete_request_information()


MADE: dict[str, Callable[[], Any]] = {
    "site": lambda: of_site(f"{HOST}:/sites/Pro be"),
    "drive": of_drive,
    "metadata": lambda: of_item(f"root:/{PATH}:"),
    "redirect": lambda: content("READ"),
    "upload": upload,
    "metadata by id": lambda: of_item(ITEM),
    "content by id": lambda: content(ITEM),
}


async def test_each_request_is_what_the_sdk_makes_of_it() -> None:
    run, calls, _ = await ran("sharepoint_file", site=URL)
    assert run.message == ""
    assert [one_spelling(said(asked.method, asked.target)) for asked in calls] == [one_spelling(by_sdk(made())) for made in MADE.values()]


async def test_a_onedrive_is_asked_for_as_the_sdk_does() -> None:
    run, calls, _ = await ran("onedrive_file", user=USER)
    made = CLIENT.users.by_user_id(USER).drive.to_get_request_information(
        RequestConfiguration(query_parameters=DriveRequestBuilder.DriveRequestBuilderGetQueryParameters(select=["id", "webUrl"]))
    )
    assert (run.message, said(calls[0].method, calls[0].target)) == ("", by_sdk(made))


async def test_a_deletion_is_what_the_sdk_makes_of_it_and_of_the_version_that_was_seen_alone() -> None:
    async with scripted({}) as script:
        door = Door(context(shared(script.tenant)), script.tenant, script.token)
        await remove(door, Drive(DRIVE.replace("!", "%21"), ""), Item(ITEM, 1, TAG, TAG, ""))
    (asked,) = script.calls
    assert (said(asked.method, asked.target), asked.headers["if-match"]) == (by_sdk(deletion()), TAG)
    assert not REFERENCE or request_errors(asked.method, asked.target.partition("?")[0]) == []


async def test_a_request_that_differs_is_noticed() -> None:
    _, calls, _ = await ran("sharepoint_file", site=URL)
    assert one_spelling(said(calls[0].method, calls[0].target)) != one_spelling(by_sdk(of_site(f"{HOST}:/sites/Other")))
    assert one_spelling(said(calls[3].method, calls[3].target)) != one_spelling(by_sdk(content(ITEM)))


async def test_the_host_of_files_sees_nothing_that_is_ours() -> None:
    run, calls, others = await ran("sharepoint_file", site=URL)
    assert (run.outcome, [asked.target for asked in others]) == (Outcome.OK, ["/READ", "/WRITTEN"])
    assert all("authorization" in asked.headers for asked in calls)
    assert all(not {"authorization", "client-request-id", "cookie"} & asked.headers.keys() for asked in others)


@needs_slice
@pytest.mark.parametrize(
    ("kind", "settings"), [("sharepoint_file", {"site": URL}), ("onedrive_file", {"user": USER})], ids=["site", "user"]
)
async def test_each_request_is_one_of_microsofts_description(kind: str, settings: dict[str, Any]) -> None:
    _, calls, _ = await ran(kind, **settings)
    wrong = [
        error for asked in calls for error in request_errors(asked.method, asked.target.partition("?")[0], asked.query, asked.body or None)
    ]
    assert wrong == []


def examples(page: str) -> list[Any]:
    shown = json.loads((Path(REFERENCE) / "graph-doc-examples.json").read_text(encoding="utf-8"))["examples"] if REFERENCE else []
    return [one["body"] for one in shown if one["page"] == page and one["kind"] == "response" and one["body"]]


@needs_slice
async def test_what_microsofts_documentation_shows_is_understood() -> None:
    answers = {
        f"/v1.0/sites/{HOST}:/sites/a": answer(examples("site-getbypath")[0]),
        "/v1.0/users/a/drive": answer(examples("drive-get")[0]),
        "/v1.0/drives/D/root:/a": answer(examples("driveitem-get")[0]),
        "/v1.0/drives/D/root:/a:/content": answer(examples("driveitem-put-content")[0], 201),
    }
    async with scripted(answers) as script:
        door = Door(context(shared(script.tenant)), script.tenant, script.token)
        assert await site_at(door, f"https://{HOST}/sites/a") == examples("site-getbypath")[0]["id"]
        assert (await drive_of_user(door, "a")).key == examples("drive-get")[0]["id"].replace("!", "%21")
        with pytest.raises(Failed, match="no file with a size"):  # the page shows the root, a folder
            await item_at(door, Drive("D", ""), "a")
        assert (await put(door, Drive("D", ""), "a", b"x")).quick_xor == ""
