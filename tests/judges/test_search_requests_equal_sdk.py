"""Searches are what Microsoft's own SDK makes, what its description allows and its pages show; so is the file that search is to find."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kiota_abstractions.base_request_configuration import RequestConfiguration
from kiota_abstractions.request_information import RequestInformation
from msgraph.generated.drives.item.items.item.search_with_q.search_with_q_request_builder import SearchWithQRequestBuilder
from msgraph.generated.models.entity_type import EntityType
from msgraph.generated.models.search_content import SearchContent
from msgraph.generated.models.search_query import SearchQuery
from msgraph.generated.models.search_request import SearchRequest
from msgraph.generated.models.share_point_one_drive_options import SharePointOneDriveOptions
from msgraph.generated.search.query.query_post_request_body import QueryPostRequestBody

from probes.core.reasons import Reason
from tests.fakes.graph import Asked, answer, error, run_kind, scripted
from tests.judges.openapi import REFERENCE, needs_slice, request_errors
from tests.judges.requests import CLIENT, Said, by_sdk, said

SITE = {"site": "https://contoso.sharepoint.com/sites/Probe"}
DRIVE = "b!x+y/z="
FILE = "it's a canary.txt"
SHOWN = ["id", "name", "webUrl", "parentReference", "remoteItem"]
ITEMS = CLIENT.drives.by_drive_id(DRIVE).items
EMPTY = answer({"value": [{"hitsContainers": [{"total": 0, "moreResultsAvailable": False}]}]})


async def asked_by(kind: str, **settings: Any) -> list[Asked]:
    """Let a kind run on a tenant whose site and drive are there, and nothing else, and return what Graph was asked."""

    async def said_by_graph(asked: Asked) -> bytes:
        if asked.path.endswith(("/drive", "/sites/Probe")):
            return answer({"id": DRIVE, "webUrl": SITE["site"]})
        return answer({"value": []}) if "search(" in asked.path else EMPTY if asked.method == "POST" else error(404, "itemNotFound")

    async with scripted(said_by_graph) as script:
        await run_kind(kind, script.tenant, **settings)
    return script.calls


async def drive_search() -> Asked:
    return (await asked_by("file_search", drive={"id": DRIVE}, document=FILE, through=["drive"]))[-1]


async def query() -> Asked:
    how = {"region": "NAM", "through": ["query"], "private_content": True}
    return (await asked_by("file_search", drive={"id": DRIVE}, document=FILE, **how))[-1]


async def first_upload() -> Asked:
    return (await asked_by("search_freshness", drive=SITE, path="probe & co/fog.txt"))[-1]


def _of_drive_search() -> RequestInformation:
    wanted = SearchWithQRequestBuilder.SearchWithQRequestBuilderGetQueryParameters(select=SHOWN, top=50)
    # The builder puts its parameter into the path as it stands; a quote within a literal of OData is doubled.
    search = ITEMS.by_drive_item_id("root").search_with_q(FILE.replace("'", "''"))
    made: RequestInformation = search.to_get_request_information(RequestConfiguration(query_parameters=wanted))
    return made


def _of_query() -> RequestInformation:
    request = SearchRequest(
        entity_types=[EntityType.DriveItem],
        query=SearchQuery(query_string=f'filename:"{FILE}"'),
        from_=0,
        size=50,
        region="NAM",
        share_point_one_drive_options=SharePointOneDriveOptions(include_content=SearchContent.PrivateContent),
    )
    made: RequestInformation = CLIENT.search.query.to_post_request_information(QueryPostRequestBody(requests=[request]))
    return made


def _of_upload() -> RequestInformation:
    made: RequestInformation = ITEMS.by_drive_item_id("root:/probe & co/fog.txt:").content.to_put_request_information(b"")
    return made


def short(request: Said) -> Said:
    """Return a request without what the builders write otherwise: the root as an item, its path as one name, no query with a PUT."""
    path = "/".join(request.path).replace("/items/root", "/root")
    query = frozenset(pair for pair in request.query if not pair[0].startswith("@microsoft.graph"))
    return Said(request.method, tuple(path.split("/")), query)


SENT = [
    pytest.param(drive_search, _of_drive_search, id="drive search"),
    pytest.param(query, _of_query, id="query"),
    pytest.param(first_upload, _of_upload, id="upload"),
]


@pytest.mark.parametrize(("ask", "made"), SENT)
async def test_a_request_is_what_the_sdk_makes_of_it(ask: Callable[[], Any], made: Callable[[], RequestInformation]) -> None:
    asked = await ask()
    assert short(said(asked.method, asked.target)) == short(by_sdk(made()))


async def test_the_body_of_a_query_is_what_the_sdk_makes_of_it() -> None:
    ours, theirs = json.loads((await query()).body), json.loads(_of_query().content or b"")
    both = [body["requests"][0]["sharePointOneDriveOptions"].pop("includeContent") for body in (ours, theirs)]
    # The metadata has it as flags, of which the SDK can only write one.
    assert both[1] in both[0].split(",")
    assert set(both[0].split(",")) <= {flag.value for flag in SearchContent}
    assert ours == theirs


@needs_slice
@pytest.mark.parametrize(("ask", "made"), SENT)
async def test_a_request_is_one_of_microsofts_description(ask: Callable[[], Any], made: Callable[[], RequestInformation]) -> None:
    del made
    asked = await ask()
    body = json.loads(asked.body) if asked.method == "POST" else asked.body or None
    assert request_errors(asked.method, asked.target.partition("?")[0], asked.query, body) == []


async def test_a_search_that_differs_is_noticed() -> None:
    asked = await drive_search()
    assert short(said("GET", asked.target.replace("canary", "other"))) != short(by_sdk(_of_drive_search()))
    assert short(said("GET", asked.target.replace("top=50", "top=5"))) != short(by_sdk(_of_drive_search()))


def examples(page: str, kind: str) -> list[Any]:
    """Return the bodies that a page of Microsoft's documentation shows."""
    listed = json.loads((Path(str(REFERENCE)) / "graph-doc-examples.json").read_bytes())["examples"]
    return [one["body"] for one in listed if (one["page"], one["kind"]) == (page, kind) and one["body"]]


@needs_slice
async def test_answers_of_the_documentation_are_read() -> None:
    shown = examples("driveitem-search", "response")
    assert len(shown) == 2
    for body in shown:
        async with scripted({"/v1.0/drives/D/root/search(q='contoso project')": answer(body)}) as script:
            run = await run_kind(
                "file_search",
                script.tenant,
                drive={"id": "D"},
                document="contoso project 2016",
                words="contoso project",
                through=["drive"],
            )
        assert (run.message, {(one.name, one.value) for one in run.measured if one.labels}) == ("", {("hits", 2), ("rank", 2)})


@needs_slice
async def test_a_hit_of_the_documentation_that_lies_in_another_drive_is_not_ours() -> None:
    body = next(body for body in examples("driveitem-search", "response") if "remoteItem" in body["value"][0])
    del body["@odata.nextLink"]
    async with scripted({"/v1.0/drives/D/root/search(q='Contoso Project')": answer(body)}) as script:
        run = await run_kind("file_search", script.tenant, drive={"id": "D"}, document="Contoso Project", through=["drive"])
    assert run.reason is Reason.MISSING_HIT


@needs_slice
async def test_a_query_has_the_shape_of_the_documentations() -> None:
    (shown,) = examples("search-query", "request")
    ours = json.loads((await query()).body)
    assert shown.keys() == ours.keys()
    theirs, own = shown["requests"][0], ours["requests"][0]
    assert theirs.keys() <= own.keys()
    assert {key: type(value) for key, value in theirs.items()} == {key: type(own[key]) for key in theirs}
