"""Search of Microsoft Graph for files, in one drive and over everything an application may read. Nothing is changed.

Both ways ask an index, which lags behind what is stored. Pages of Microsoft's documentation: driveitem-search, search-query,
search-concept-searchall.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from probes.core.context import Context
from probes.core.contract import Failed
from probes.core.needs import Service
from probes.core.reasons import Reason
from probes.lib.drives import Door, Drive
from probes.lib.graph import call, each_page, segment

PAGE_HITS = 50
"""Hits of one page."""
MOST_PAGES = 3
"""Pages that are looked through for one document: a rank is the service's own business, and a search must end."""
IN_DRIVE_UNITS = 2.0
"""Resource units of SharePoint for a page of a drive's search: those of a list."""

_SHOWN = "id,name,webUrl,parentReference,remoteItem"
_PRIVATE_TOO = {"sharePointOneDriveOptions": {"includeContent": "privateContent,sharedContent"}}


@dataclass(frozen=True, slots=True)
class Hit:
    """One file that a search found. `drive` is the id of its drive, "" where the answer does not say."""

    id: str
    name: str
    drive: str

    def is_in(self, drive: Drive) -> bool:
        """Say whether it lies there, as far as the answer tells: a library's search is known to bring hits of others, too."""
        return segment(self.drive) in ("", drive.key)


@dataclass(frozen=True, slots=True)
class Look:
    """What the pages of one search held: `hits` of all kinds, and the place of the document among them, from 1; 0 where it is not."""

    hits: int
    rank: int


Hits = AsyncGenerator[tuple[Hit, ...], None]


async def in_drive(door: Door, drive: Drive, words: str) -> Hits:
    """Yield pages of what a drive's own search finds for words of a file's name or content, within an open step.

    Raises:
        Failed: as `graph.call`; CONTENT_MISMATCH where the answer is no list of files.
        Inconclusive: as `graph.call`.

    """
    quoted = segment(words.replace("'", "''"))
    path = f"/drives/{drive.key}/root/search(q='{quoted}')"
    query = (("$select", _SHOWN), ("$top", str(PAGE_HITS)))
    pages = each_page(door.ctx, door.tenant, door.token, Service.FILES, path, query=query, units=IN_DRIVE_UNITS)
    async with aclosing(pages) as turned:
        async for page in turned:
            yield tuple(map(_hit, page))


async def everywhere(door: Door, text: str, region: str, *, private: bool = False) -> Hits:
    """Yield pages of what Microsoft Search finds for a query in the keyword query language, for as long as whoever reads goes on.

    `region` is where the tenant's data lies, as an application has to say. `private`: look for what only one person can open, too, which
    needs an index that the first such request lets Microsoft make for the tenant, in hours or days.

    Raises:
        Failed: as `graph.call`; CONTENT_MISMATCH where the answer is none to a search, APP_CONFIG where the region is not the tenant's.
        Inconclusive: as `graph.call`.

    """
    first = 0
    while True:
        request = _request(text, region, first) | (_PRIVATE_TOO if private else {})
        try:
            answer = await call(door.ctx, door.tenant, door.token, Service.GRAPH, "POST", "/search/query", body={"requests": [request]})
        except Failed as failed:
            raise _explained(door.ctx, failed, region) from failed
        container = _container(answer.data)
        yield tuple(_hit(_members(hit).get("resource")) for hit in container.get("hits") or ())
        if container.get("moreResultsAvailable") is not True:
            return
        first += PAGE_HITS


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
