"""Search: in one drive, and over everything a caller may read.

Pages of Microsoft's documentation: driveitem-search, search-query, search-concept-searchall.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

from agent.drill.faults import Partial
from agent.drill.graph.files import drive_of, item_of
from agent.drill.graph.frame import Answer, Call, GraphError, Operation
from agent.drill.graph.index import Entry, Index, Query, parsed, words
from agent.drill.graph.items import GEOGRAPHIES, item_as_graph
from agent.drill.graph.mailbox import Mailbox, Message
from agent.drill.graph.messages import View, as_graph
from agent.drill.graph.odata import context, page
from agent.drill.graph.post import Post
from agent.drill.graph.sent import count, entries, members
from agent.drill.graph.sites import Sites
from agent.drill.world import World

_PAGE = 200
_SIZE, _LARGEST_SIZE = 25, 500
"""Hits of one answer of /search/query: by default, and at most."""

_FILES = frozenset({"driveItem", "listItem"})
_ENTITY_TYPES = _FILES | {"message"}
"""Kinds of things that are searched here."""

T = TypeVar("T")


def _some(world: World, found: Sequence[T]) -> list[T]:
    """Give the hits, or only a part of them where the index has lost some, as in April 2023: no error says so."""
    fault = world.faults.first(Partial, "graph", operation="search", service="search", region=world.region)
    if fault is None:
        return list(found)
    kept = sorted(world.random.sample(range(len(found)), int(len(found) * fault.hit_fraction)))
    return [found[index] for index in kept]


def drive_search(world: World, call: Call) -> Answer:
    """Search a drive, or a folder of it, by words of name and content."""
    drive, folder = item_of(world, call) if "driveItem-id" in call.path else (drive_of(world, call), None)
    wanted = words(call.path["q"].replace("''", "'"))
    place = item_as_graph(drive, folder)["webUrl"].lower() if folder else ""
    found = world.of(Index).find(Query(anywhere=wanted, place=place), drive.id) if wanted else []
    items = [each.resource | {"searchResult": {"onClickTelemetryUrl": each.url}} for each in _some(world, found)]
    return page(call, items, _PAGE)


def query(world: World, call: Call) -> Answer:
    """Answer each request of a search.

    Raises:
        GraphError: 400 for a request that is none, 403 for a kind of thing this caller may not search.

    """
    requests = entries(members(call.body).get("requests"))
    if len(requests) != 1:
        raise GraphError(400, "BadRequest", "SearchRequest Invalid (Exactly one request is required.)")
    return Answer({"@odata.context": context(call), "value": [_response(world, call, each) for each in requests]})


def _response(world: World, call: Call, request: dict[str, Any]) -> dict[str, Any]:
    text = str(members(request.get("query")).get("queryString") or "")
    if not text.strip():
        raise GraphError(400, "BadRequest", "SearchRequest Invalid (Query string is required.)")
    hits = _found(world, call, request, text)
    start, size = count(request.get("from"), 0), min(count(request.get("size"), _SIZE), _LARGEST_SIZE)
    shown = [hit | {"rank": start + number} for number, hit in enumerate(hits[start : start + size], 1)]
    more = start + len(shown) < len(hits)
    container = {"total": len(hits), "moreResultsAvailable": more} | ({"hits": shown} if shown else {})
    return {"searchTerms": sorted(parsed(text).anywhere | parsed(text).name), "hitsContainers": [container]}


def _found(world: World, call: Call, request: dict[str, Any], text: str) -> list[dict[str, Any]]:
    named = request.get("entityTypes")
    kinds = {str(kind) for kind in named} if isinstance(named, list) else set()
    if not kinds or kinds - _ENTITY_TYPES:
        raise GraphError(400, "BadRequest", "SearchRequest Invalid (Entity types are missing or not supported.)")
    _admit(world, call, request, kinds)
    if kinds == {"message"}:
        return [_letter_hit(box, message) for box, message in _some(world, _letters(world, call, text))]
    reach = _reach(world, call, request)
    found = [each for each in world.of(Index).find(parsed(text)) if each.drive_id in reach]
    return [_hit(each, kinds) for each in _some(world, found)]


def _admit(world: World, call: Call, request: dict[str, Any], kinds: set[str]) -> None:
    """Refuse what this caller may not search: apps only files, and only in the region they name."""
    if call.caller.user_id is None:
        if kinds - _FILES:
            raise GraphError(403, "Forbidden", "Access to these entity types is not allowed with application permission.")
        _check_region(world, request.get("region"))
    needed = _READ_FILES | _SITES if kinds & _FILES else _READ_MAIL
    if not call.caller.granted & needed:
        raise GraphError(403, "Forbidden", "Access to these entity types requires further permissions.")


def _check_region(world: World, region: object) -> None:
    if not region:
        raise GraphError(400, "BadRequest", "SearchRequest Invalid (Region is required when request with application permission.)")
    only = GEOGRAPHIES.get(world.home, "NAM")
    if region != only:
        raise GraphError(
            400, "BadRequest", f"SearchRequest Invalid (Requested region {region} is not found. Only valid region(s) is/are {only}.)"
        )


def _reach(world: World, call: Call, request: dict[str, Any]) -> frozenset[str]:
    """Give the drives a caller's hits may come from. People see their own and those of sites, apps those they ask for."""
    sites = world.of(Sites)  # which also fills the index, where this is the world's first call
    if call.caller.user_id is None:
        wanted = str(members(request.get("sharePointOneDriveOptions")).get("includeContent") or "sharedContent").split(",")
        return frozenset(each.id for each in sites.drives.values() if ("sharedContent" if each.site else "privateContent") in wanted)
    own = sites.personal.get(call.caller.user_id)
    return frozenset(each.id for each in sites.drives.values() if each.site or each is own)


def _hit(entry: Entry, kinds: set[str]) -> dict[str, Any]:
    kind = "driveItem" if "driveItem" in kinds else "listItem"
    resource = {"@odata.type": f"#microsoft.graph.{kind}", **entry.resource}
    return {"hitId": entry.item_id, "summary": f"<c0>{entry.resource['name']}</c0>", "resource": resource}


def _letters(world: World, call: Call, text: str) -> list[tuple[Mailbox, Message]]:
    """Find letters in the caller's own mailbox, newest first."""
    box = world.of(Post).mailbox(call.caller.user_id or "")
    wanted = parsed(text).anywhere
    found = [each for each in box.messages.values() if wanted <= words(f"{each.letter.subject} {each.letter.body}")] if box else []
    return [(box, each) for each in sorted(found, key=lambda each: -each.received)] if box else []


def _letter_hit(box: Mailbox, message: Message) -> dict[str, Any]:
    shown = {key: value for key, value in as_graph(box, message, View()).items() if key not in ("body", "@odata.etag")}
    resource = {"@odata.type": "#microsoft.graph.message", **shown}
    return {"hitId": message.id, "summary": shown["bodyPreview"], "resource": resource}


_SITES = frozenset({"Sites.Read.All", "Sites.ReadWrite.All", "Sites.Manage.All", "Sites.FullControl.All"})
_READ_FILES = frozenset({"Files.Read.All", "Files.ReadWrite.All"})
_READ_MAIL = frozenset({"Mail.Read", "Mail.ReadWrite"})
_OWN_FILES = frozenset({"Files.Read", "Files.ReadWrite"})


def _drive_search(place: str) -> Operation:
    app = _READ_FILES | _SITES  # and not Sites.Selected, says the page of driveitem-search
    return Operation("GET", f"{place}/search(q='{{q}}')", drive_search, "search", "search", app, app | _OWN_FILES)


OPERATIONS: tuple[Operation, ...] = (
    _drive_search("/drives/{drive-id}/root"),
    _drive_search("/drives/{drive-id}/items/{driveItem-id}"),  # as Microsoft's own client writes it, with an item named root
    Operation("POST", "/search/query", query, "search", "search", _READ_FILES | _SITES, _READ_FILES | _SITES | _READ_MAIL),
)
"""Search."""
