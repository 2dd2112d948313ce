"""Search of Microsoft Graph for files, in one drive and over everything an application may read. Nothing is changed.

Both ways ask an index, which lags behind what is stored. Pages of Microsoft's documentation: driveitem-search, search-query,
search-concept-searchall.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from probes.core.context import Context
from probes.core.contract import Failed, Settings
from probes.core.needs import Service
from probes.core.reasons import Reason
from probes.lib.graph import call, each_page, segment
from probes.lib.tenant import Tenant
from probes.lib.tokens import Token
from probes.lib.url import HttpUrl, parse

PAGE_HITS = 50
"""Hits of one page."""
MOST_PAGES = 3
"""Pages that are looked through for one document: a rank is the service's own business, and a search must end."""
IN_DRIVE_UNITS = 2.0
"""Resource units of SharePoint for a page of a drive's search: those of a list."""

_SHOWN = "id,name,webUrl,parentReference,remoteItem"
_PRIVATE_TOO = {"includeContent": "privateContent,sharedContent"}
# Without it an application finds only what is shared with several people.


class DrivePlace(Settings):
    """Which drive: exactly one of these."""

    site: HttpUrl | None = None
    """Address of a SharePoint site, whose first document library is meant, such as https://contoso.sharepoint.com/sites/Probe."""
    user: Annotated[str, Field(min_length=1)] | None = None
    """User principal name or id of somebody, whose OneDrive is meant."""
    id: Annotated[str, Field(min_length=1)] | None = None
    """Id of a drive."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if sum(each is not None for each in (self.site, self.user, self.id)) != 1:
            raise ValueError("needs exactly one of site, user and id")
        return self


@dataclass(frozen=True, slots=True)
class Hit:
    """One file that a search found. `drive` is the id of its drive, "" where the answer does not say."""

    id: str
    name: str
    drive: str


@dataclass(frozen=True, slots=True)
class Look:
    """What the pages of one search held: `hits` of all kinds, and the place of the document among them, from 1; 0 where it is not."""

    hits: int
    rank: int


Hits = AsyncGenerator[tuple[Hit, ...], None]


async def drive_id(ctx: Context, tenant: Tenant, token: Token, place: DrivePlace) -> str:
    """Find the id of a drive, within an open step.

    Raises:
        Failed: as `graph.call`; CONTENT_MISMATCH where the answer has no id.
        Inconclusive: as `graph.call`.

    """
    if place.site is None:
        return place.id or await _id_at(ctx, tenant, token, f"/users/{segment(place.user or '')}/drive")
    url = parse(place.site)
    path = url.target.partition("?")[0].rstrip("/")
    site = await _id_at(ctx, tenant, token, f"/sites/{url.host}:{path}" if path else f"/sites/{url.host}")
    return await _id_at(ctx, tenant, token, f"/sites/{segment(site)}/drive")


async def _id_at(ctx: Context, tenant: Tenant, token: Token, path: str) -> str:
    answer = await call(ctx, tenant, token, Service.FILES, "GET", path, query=(("$select", "id"),))
    found = _members(answer.data).get("id")
    if not isinstance(found, str) or not found:
        raise Failed(Reason.CONTENT_MISMATCH, f"the answer to {path} has no id")
    return found


async def in_drive(ctx: Context, tenant: Tenant, token: Token, drive: str, words: str) -> Hits:
    """Yield pages of what a drive's own search finds for words of a file's name or content, within an open step.

    Raises:
        Failed: as `graph.call`; CONTENT_MISMATCH where the answer is no list of files.
        Inconclusive: as `graph.call`.

    """
    quoted = segment(words.replace("'", "''"))
    path = f"/drives/{segment(drive)}/root/search(q='{quoted}')"
    query = (("$select", _SHOWN), ("$top", str(PAGE_HITS)))
    async with aclosing(each_page(ctx, tenant, token, Service.FILES, path, query=query, units=IN_DRIVE_UNITS)) as turned:
        async for page in turned:
            yield tuple(map(_hit, page))


async def everywhere(ctx: Context, tenant: Tenant, token: Token, text: str, region: str) -> Hits:
    """Yield pages of what Microsoft Search finds for a query in the keyword query language, within an open step.

    `region` is where the tenant's data lies, as an application has to say.

    Raises:
        Failed: as `graph.call`; CONTENT_MISMATCH where the answer is none to a search, APP_CONFIG where the region is not the tenant's.
        Inconclusive: as `graph.call`.

    """
    for page in range(MOST_PAGES):
        body = {"requests": [_request(text, region, page * PAGE_HITS)]}
        try:
            answer = await call(ctx, tenant, token, Service.GRAPH, "POST", "/search/query", body=body)
        except Failed as failed:
            raise _explained(ctx, failed, region) from failed
        container = _container(answer.data)
        yield tuple(_hit(_members(hit).get("resource")) for hit in container.get("hits") or ())
        if container.get("moreResultsAvailable") is not True:
            return


async def look(pages: Hits, is_wanted: Callable[[Hit], bool], at_least: int = 1) -> Look:
    """Look for a document until it and so many hits were seen, through `MOST_PAGES` pages at most."""
    hits, rank = 0, 0
    async with aclosing(pages) as turned:
        number = 0
        async for page in turned:
            rank = rank or next((place for place, hit in enumerate(page, hits + 1) if is_wanted(hit)), 0)
            hits, number = hits + len(page), number + 1
            if (rank and hits >= at_least) or number == MOST_PAGES:
                break
    return Look(hits, rank)


def _request(text: str, region: str, first: int) -> dict[str, Any]:
    return {
        "entityTypes": ["driveItem"],
        "query": {"queryString": text},
        "from": first,
        "size": PAGE_HITS,
        "region": region,
        "sharePointOneDriveOptions": _PRIVATE_TOO,
    }


def _explained(ctx: Context, failed: Failed, region: str) -> Failed:
    """Tell a wrong region from other mistakes: Graph has no code for it and says it in words, with the regions that are right."""
    said = ctx.evidence_found.get("error_message", "")
    if ctx.evidence_found.get("status") != str(HTTPStatus.BAD_REQUEST.value) or "region" not in said.lower():
        return failed
    return Failed(Reason.APP_CONFIG, f"the tenant is not searched in the region {region}: {said}", code=failed.code)


def _container(data: Any) -> dict[str, Any]:
    """Return the hits of our one request.

    Raises:
        Failed: CONTENT_MISMATCH where there are none in the answer.

    """
    responses = _members(data).get("value")
    containers = _members(responses[0]).get("hitsContainers") if isinstance(responses, list) and responses else None
    container = _members(containers[0]) if isinstance(containers, list) and containers else {}
    if not isinstance(container.get("total"), int) or not isinstance(container.get("hits") or [], list):
        raise Failed(Reason.CONTENT_MISMATCH, "the answer is none to a search: it holds no container of hits")
    return container


def _hit(item: Any) -> Hit:
    """Read a driveItem; one from elsewhere says in a facet where it lies."""
    found = _members(item)
    if not isinstance(found.get("id"), str) or not isinstance(found.get("name"), str):
        raise Failed(Reason.CONTENT_MISMATCH, "a hit is no file: it has no id or no name")
    parents = (_members(place.get("parentReference")) for place in (_members(found.get("remoteItem")), found))
    drive = next((str(parent["driveId"]) for parent in parents if parent.get("driveId")), "")
    return Hit(found["id"], found["name"], drive)


def _members(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
