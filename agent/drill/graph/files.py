"""Sites, drives and files over Graph; their bytes come from another host (`transfer`).

Pages of Microsoft's documentation: site-get, site-getbypath, drive-get, driveitem-get, driveitem-get-content, driveitem-put-content,
driveitem-createuploadsession, driveitem-delete, driveitem-permanentdelete.
"""

import json
import mimetypes
from collections.abc import Callable
from typing import Any

from agent.drill.faults import Content
from agent.drill.graph.drives import Drive, Item, Site, new_guid, quick_xor_hash
from agent.drill.graph.frame import Answer, Call, GraphError, Operation
from agent.drill.graph.items import DOWNLOAD_URL, download_path, drive_as_graph, item_as_graph, signed, site_as_graph
from agent.drill.graph.messages import to_the_second
from agent.drill.graph.odata import context, entity
from agent.drill.graph.sent import count, members
from agent.drill.graph.sites import HOST, PERSONAL_HOST, Sites, Upload
from agent.drill.world import World

_SESSION_SECONDS = 86_400.0
"""How long an upload session waits for its next fragment."""
LARGEST_FILE = 256 * 2**20
"""Bytes of a file: what one PUT may carry, and here also the end of a session, as files lie in memory."""

_SELECTED = frozenset({"Sites.Selected", "Files.SelectedOperations.Selected"})
_BEHAVIOUR = "@microsoft.graph.conflictBehavior"


def _admit(world: World, call: Call, site: Site | None, *, write: bool = False) -> None:
    """Refuse an app that may only reach selected sites, where this is none of them."""
    if call.caller.granted & (_FILES_WRITE if write else _ANY_READ):
        return
    role = world.of(Sites).selected.get((call.caller.app_id, site.id), "") if site else ""
    if role != "write" and (write or role != "read"):
        raise GraphError(403, "accessDenied", "Access denied")


def _site(world: World, call: Call, name: str) -> Site:
    """Find the site of an id, or of a host and path with a colon between.

    Raises:
        GraphError: 400 for another tenant's host, 404 where there is none, 403 where this caller may not.

    """
    host, colon, path = name.partition(":")
    if colon and host.lower() not in (HOST, PERSONAL_HOST):
        raise GraphError(400, "invalidRequest", "Invalid hostname for this tenancy")
    site = world.of(Sites).site_at(path.rstrip(":")) if colon else world.of(Sites).site(name)
    if site is None:
        raise GraphError(404, "itemNotFound", "Requested site could not be found")
    _admit(world, call, site)
    return site


def site_by_id(world: World, call: Call) -> Answer:
    """Show a site, named by its id; Microsoft's own client puts host and path there too."""
    return entity(call, site_as_graph(_site(world, call, call.path["site-id"]), world.region))


def site_by_path(world: World, call: Call) -> Answer:
    """Show a site, named by its host and path."""
    return entity(call, site_as_graph(_site(world, call, f"{call.path['hostname']}:/{call.path['relative-path']}"), world.region))


def drive_of_site(world: World, call: Call) -> Answer:
    """Show the document library of a site."""
    return entity(call, drive_as_graph(world.of(Sites).drive_of(_site(world, call, call.path["site-id"]))))


def drive_of_user(world: World, call: Call) -> Answer:
    """Show somebody's OneDrive."""
    person = world.person(call.path.get("user-id") or call.caller.user_id or "")
    if person is None:
        raise GraphError(404, "ResourceNotFound", "User not found")
    _admit(world, call, None)
    return entity(call, drive_as_graph(world.of(Sites).personal[person.id]))


def drive_of(world: World, call: Call, *, write: bool = False) -> Drive:
    """Find the drive of a path.

    Raises:
        GraphError: 404 where there is none, 403 where this caller may not.

    """
    drive = world.of(Sites).drives.get(call.path["drive-id"])
    if drive is None:
        raise GraphError(404, "itemNotFound", "The resource could not be found.")
    _admit(world, call, drive.site, write=write)
    return drive


def item_of(world: World, call: Call, *, write: bool = False) -> tuple[Drive, Item]:
    """Find the item of a path, by its id or by its place."""
    drive = drive_of(world, call, write=write)
    name = call.path.get("driveItem-id")
    item = drive.at(call.path["item-path"]) if name is None else drive.root if name == "root" else drive.items.get(name)
    if item is None:
        raise GraphError(404, "itemNotFound", "The resource could not be found.")
    return drive, item


def shown(world: World, drive: Drive, item: Item) -> dict[str, Any]:
    """Show an item, a file with the address of its content where the host for that runs."""
    body = item_as_graph(drive, item)
    return body if item.content is None or not world.has("files") else {DOWNLOAD_URL: download_url(world, drive, item), **body}


def download_url(world: World, drive: Drive, item: Item, *, seconds: float | None = None) -> str:
    """Give a fresh address from which a file's content comes, for a while, without any further proof."""
    sites = world.of(Sites)
    words = {"drive": drive.id, "item": item.id, "until": world.now() + (sites.link_seconds if seconds is None else seconds)}
    return world.url("files", download_path(drive, item, signed(sites.key, words)))


def metadata(world: World, call: Call) -> Answer:
    """Show an item; the address of its content is left out where `$select` names other things only."""
    drive, item = item_of(world, call)
    body = shown(world, drive, item)
    if spoilt(world, "graph", "file_metadata") == "hash" and item.content is not None:
        body["file"]["hashes"]["quickXorHash"] = quick_xor_hash(b"other" + item.content)
    selected = call.query.get("$select", "")
    if selected and DOWNLOAD_URL not in selected and "content.downloadUrl" not in selected:
        body.pop(DOWNLOAD_URL, None)
    if call.headers.get("If-None-Match") == item.etag:
        return Answer(status=304, headers={"ETag": item.etag})
    return entity(call, body)


def spoilt(world: World, host: str, operation: str) -> str:
    """Say what becomes of a file in this request, "" for nothing."""
    fault = world.faults.first(Content, host, operation=operation, service="files", region=world.region)
    return fault.how if fault else ""


def download(world: World, call: Call) -> Answer:
    """Lead to the content."""
    drive, item = item_of(world, call)
    if item.content is None:
        raise GraphError(400, "invalidRequest", "The item is not a file and has no content.")
    return _led(world, drive, item, item.content)


def _led(world: World, drive: Drive, item: Item, content: bytes) -> Answer:
    """Lead to the content, or astray."""
    match spoilt(world, "graph", "file_download"):
        case "nowhere":
            return Answer(status=302)
        case "elsewhere":
            return Answer(status=302, headers={"Location": world.url("login", "/common/oauth2/authorize")})
        case "plain":
            return Answer(status=302, headers={"Location": download_url(world, drive, item).replace("https://", "http://")})
        case "expired":
            return Answer(status=302, headers={"Location": download_url(world, drive, item, seconds=0.0)})
        case "inline":
            return Answer(content)
        case "deleted":
            drive.remove(item, world.now(), for_good=False)
            raise GraphError(404, "itemNotFound", "The resource could not be found.")
        case "overwritten":
            drive.write(drive.path_of(item), b"Somebody else's.\n", world.now(), media_type=item.media_type, author="Somebody Else")
    return Answer(status=302, headers={"Location": download_url(world, drive, item)})


def _unless_changed(call: Call, item: Item) -> None:
    """Refuse where the item is locked, or not the version the caller means."""
    if item.locked:
        raise GraphError(423, "resourceLocked", "The resource you are attempting to access is locked", "lockMismatch")
    if call.headers.get("If-Match", item.etag) not in (item.etag, item.ctag, "*"):
        raise GraphError(412, "resourceModified", "ETag does not match current item's value")


def place(drive: Drive, path: str, behaviour: str) -> str:
    """Find the path under which a new file goes, where one may lie there already.

    Raises:
        GraphError: 409 where the name is taken and is not to be replaced, or is a folder's.

    """
    there = drive.at(path)
    if there is None or (behaviour == "replace" and there.content is not None):
        return path
    if behaviour == "rename":
        return drive.free_name(path)
    raise GraphError(409, "nameAlreadyExists", "An item with the same name already exists under the parent")


def store(world: World, drive: Drive, path: str, content: bytes, author: str) -> tuple[Item, bool]:
    """Put a file where there is room for it, and say whether it is new.

    Raises:
        GraphError: 413 where it is too big, 507 where the drive is full.

    """
    if len(content) > LARGEST_FILE:
        raise GraphError(413, "requestEntityTooLarge", "The request entity is too large.")
    there = drive.at(path)
    if drive.used - (there.size if there else 0) + len(content) > drive.quota:
        raise GraphError(507, "quotaLimitReached", "Insufficient Space Available", "insufficientStorage")
    media_type = mimetypes.guess_type(path)[0] or "application/octet-stream"
    return drive.write(path, content, world.now(), media_type=media_type, author=author)


def _author(world: World, call: Call) -> str:
    person = world.person(call.caller.user_id or "")
    return person.name if person else "SharePoint App"


def _bytes(call: Call) -> bytes:
    """Give the body as bytes; the gate has already read what calls itself JSON."""
    if isinstance(call.body, bytes):
        return call.body
    return b"" if call.body is None else json.dumps(call.body).encode()


def upload(world: World, call: Call) -> Answer:
    """Put a whole file at a path: 201 where it is new, 200 where it replaces one."""
    drive = drive_of(world, call, write=True)
    there = drive.at(call.path["item-path"])
    if there:
        _unless_changed(call, there)
    path = place(drive, call.path["item-path"], call.query.get(_BEHAVIOUR, "replace"))
    item, new = store(world, drive, path, _bytes(call), _author(world, call))
    return Answer({"@odata.context": context(call, single=True), **shown(world, drive, item)}, 201 if new else 200)


def begin_upload(world: World, call: Call) -> Answer:
    """Open a session for a file that comes in fragments."""
    drive, sites = drive_of(world, call, write=True), world.of(Sites)
    wanted = members(call.body)
    facets = members(wanted.get("item"))
    there = drive.at(call.path["item-path"])
    if there:
        _unless_changed(call, there)
    behaviour = str(facets.get(_BEHAVIOUR, "replace"))
    place(drive, call.path["item-path"], behaviour)
    if drive.used + count(facets.get("fileSize"), 0) > drive.quota:
        raise GraphError(507, "quotaLimitReached", "Insufficient Space Available", "insufficientStorage")
    sites.forget_old_uploads()
    key, expires = new_guid(world.random), world.now() + _SESSION_SECONDS
    sites.uploads[key] = Upload(
        drive, call.path["item-path"], behaviour, _author(world, call), expires, bool(wanted.get("deferCommit")), bytearray()
    )
    body = {
        "expirationDateTime": to_the_second(expires),
        "nextExpectedRanges": ["0-"],
        "uploadUrl": _upload_url(world, drive, key, expires),
    }
    return Answer({"@odata.context": context(call, single=True), **body})


def _upload_url(world: World, drive: Drive, key: str, expires: float) -> str:
    tempauth = signed(world.of(Sites).key, {"upload": key, "until": expires})
    return world.url("files", f"/_api/v2.0/drives/{drive.id}/uploadSession?guid={key}&overwrite=True&tempauth={tempauth}")


def _remove(world: World, call: Call, *, for_good: bool) -> Answer:
    drive, item = item_of(world, call, write=True)
    if item.parent is None:
        raise GraphError(403, "accessDenied", "The root cannot be deleted.")
    _unless_changed(call, item)
    drive.remove(item, world.now(), for_good=for_good)
    return Answer(status=204)


def delete(world: World, call: Call) -> Answer:
    """Move an item to the recycle bin."""
    return _remove(world, call, for_good=False)


def permanently_delete(world: World, call: Call) -> Answer:
    """Remove an item without a trace."""
    return _remove(world, call, for_good=True)


_SITES_WRITE = frozenset({"Sites.ReadWrite.All", "Sites.Manage.All", "Sites.FullControl.All"})
_FILES_WRITE = _SITES_WRITE | {"Files.ReadWrite.All", "Files.ReadWrite"}
_ANY_READ = _FILES_WRITE | {"Sites.Read.All", "Files.Read.All", "Files.Read"}

_APP_READ = (_ANY_READ | _SELECTED) - {"Files.Read", "Files.ReadWrite"}
_APP_WRITE = (_FILES_WRITE | _SELECTED) - {"Files.ReadWrite"}
_SITE_READ = _SITES_WRITE | {"Sites.Read.All", "Sites.Selected"}
_ITEM, _PATH = "/drives/{drive-id}/items/{driveItem-id}", "/drives/{drive-id}/root:/{item-path}"


def _reading(template: str, run: Callable[[World, Call], Answer], name: str) -> Operation:
    return Operation("GET", template, run, "files", name, _APP_READ, _ANY_READ | _SELECTED)


def _writing(method: str, template: str, run: Callable[[World, Call], Answer], name: str) -> Operation:
    return Operation(method, template, run, "files", name, _APP_WRITE, _FILES_WRITE | _SELECTED)


OPERATIONS: tuple[Operation, ...] = (
    Operation("GET", "/sites/{site-id}", site_by_id, "files", "site", _SITE_READ, _SITE_READ),
    Operation("GET", "/sites/{hostname}:/{relative-path}", site_by_path, "files", "site", _SITE_READ, _SITE_READ),
    _reading("/sites/{site-id}/drive", drive_of_site, "drive"),
    _reading("/users/{user-id}/drive", drive_of_user, "drive"),
    _reading(_ITEM, metadata, "file_metadata"),
    _reading(_PATH, metadata, "file_metadata"),
    _reading(f"{_ITEM}/content", download, "file_download"),
    _reading(f"{_PATH}:/content", download, "file_download"),
    _writing("PUT", f"{_PATH}:/content", upload, "file_upload"),
    _writing("POST", f"{_PATH}:/createUploadSession", begin_upload, "file_upload"),
    _writing("DELETE", _ITEM, delete, "file_delete"),
    _writing("POST", f"{_ITEM}/permanentDelete", permanently_delete, "file_delete"),
)
"""Files over Graph."""
