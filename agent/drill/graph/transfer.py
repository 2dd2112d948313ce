"""The host from which files come and to which fragments go: SharePoint's, by pre-authenticated addresses, without any token.

A request that brings a token is refused, as Microsoft does: a client that sends its token everywhere would otherwise not notice.
"""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from aiohttp import web

from agent.drill.graph.drives import Drive, Item, new_guid
from agent.drill.graph.files import LARGEST_FILE, place, shown, spoilt, store
from agent.drill.graph.frame import GraphError
from agent.drill.graph.items import unsigned
from agent.drill.graph.messages import to_the_second
from agent.drill.graph.sites import HOST, PERSONAL_HOST, Sites, Upload
from agent.drill.hosting import Asked, Site
from agent.drill.world import World

_STEP = 320 * 1024
"""Every fragment but the last is a multiple of this many bytes. Source: driveitem-createuploadsession."""
_LARGEST_FRAGMENT = 60 * 2**20


@dataclass(frozen=True, slots=True)
class _Reply:
    status: int
    body: Any = None
    headers: Mapping[str, str] | None = None


def _words(world: World, request: web.BaseRequest) -> dict[str, Any]:
    """Give what the address itself proves.

    Raises:
        GraphError: 401 where it proves nothing, or not any more, or a token came along.

    """
    if "Authorization" in request.headers:
        raise GraphError(401, "unauthenticated", "This address is pre-authenticated and takes no Authorization header.")
    try:
        words = unsigned(world.of(Sites).key, request.query.get("tempauth", ""))
    except ValueError:
        raise GraphError(401, "unauthenticated", "The address is not valid.") from None
    if words["until"] <= world.now():
        raise GraphError(401, "unauthenticated", "The address has expired.", "expiredTempauth")
    return words


def _file(world: World, words: Mapping[str, Any]) -> Item:
    drive = world.of(Sites).drives.get(words.get("drive", ""))
    item = drive.items.get(words.get("item", "")) if drive else None
    if item is None or item.content is None:
        raise GraphError(404, "itemNotFound", "The resource could not be found.")
    return item


def _range(asked: str, size: int) -> tuple[int, int] | None:
    """First and last byte of a Range header (RFC 9110 section 14.1.2); None where all is to be sent.

    Raises:
        GraphError: 416 where no byte of it is there.

    """
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", asked)
    if match is None or not (match[1] or match[2]):
        return None
    first, last = (int(match[1]), min(int(match[2] or size), size - 1)) if match[1] else (max(size - int(match[2]), 0), size - 1)
    if match[1] and match[2] and int(match[2]) < first:
        return None
    if first > last:
        raise GraphError(
            416, "invalidRange", "The specified byte range is invalid or unavailable.", headers={"Content-Range": f"bytes */{size}"}
        )
    return first, last


def _download(world: World, request: web.BaseRequest) -> _Reply:
    item = _file(world, _words(world, request))
    content, tag = item.content or b"", {"ETag": item.etag, "Accept-Ranges": "bytes"}
    if item.etag in [each.strip() for each in re.split(r',(?=\s*(?:W/)?"|\s*\*)', request.headers.get("If-None-Match", ""))]:
        return _Reply(304, headers=tag)
    headers = tag | {"Content-Type": item.media_type, "Last-Modified": _http_date(item.modified)}
    headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(item.name)}"
    wanted = _range(request.headers.get("Range", ""), len(content))
    if wanted is None or request.headers.get("If-Range", item.etag) != item.etag:
        return _Reply(200, content, headers)
    first, last = wanted
    return _Reply(206, content[first : last + 1], headers | {"Content-Range": f"bytes {first}-{last}/{len(content)}"})


def _http_date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")


def _session(world: World, request: web.BaseRequest) -> tuple[str, Upload]:
    key = str(_words(world, request).get("upload", ""))
    upload = world.of(Sites).uploads.get(key)
    if upload is None or upload.expires <= world.now():
        raise GraphError(404, "itemNotFound", "The upload session was not found")
    return key, upload


def _status(upload: Upload) -> dict[str, Any]:
    missing = [f"{len(upload.received)}-"] if upload.total is None or len(upload.received) < upload.total else []
    return {"expirationDateTime": to_the_second(upload.expires), "nextExpectedRanges": missing}


async def _fragment(world: World, request: web.BaseRequest) -> _Reply:
    """Take one fragment; the last one makes the file, unless the client wants to say when."""
    key, upload = _session(world, request)
    content = await request.read()
    match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", request.headers.get("Content-Range", ""))
    if match is None:
        raise GraphError(400, "invalidRequest", "The Content-Range header is missing or malformed.")
    _check(upload, content, int(match[1]), int(match[2]), int(match[3]))
    upload.total = int(match[3])
    upload.received += content
    if len(upload.received) < upload.total or upload.deferred:
        return _Reply(202, _status(upload))
    return _commit(world, key, upload)


def _check(upload: Upload, content: bytes, first: int, last: int, total: int) -> None:
    """Refuse a fragment that does not follow the one before, or is not what its header says.

    Raises:
        GraphError: 400, 413, 416, or 507 where the drive is full.

    """
    if last - first + 1 != len(content) or last >= total or upload.total not in (None, total):
        raise GraphError(400, "invalidRequest", "The Content-Range header does not fit the content.")
    if first != len(upload.received):
        raise GraphError(416, "invalidRange", "The uploaded fragment overlaps with data that has already been received.", "fragmentOverlap")
    if len(content) > _LARGEST_FRAGMENT or total > LARGEST_FILE:
        raise GraphError(413, "requestEntityTooLarge", "The fragment is too large.")
    if last + 1 < total and len(content) % _STEP:
        raise GraphError(400, "invalidRequest", f"A fragment must be a multiple of {_STEP} bytes.", "invalidFragmentSize")
    if upload.drive.used + total > upload.drive.quota:
        raise GraphError(507, "quotaLimitReached", "Insufficient Space Available", "insufficientStorage")


def _commit(world: World, key: str, upload: Upload) -> _Reply:
    if upload.total is None or len(upload.received) < upload.total:
        raise GraphError(400, "invalidRequest", "The upload is not complete.")
    path = place(upload.drive, upload.path, upload.behaviour)
    there = upload.drive.at(path)
    if there and there.locked:
        raise GraphError(423, "resourceLocked", "The resource you are attempting to access is locked", "lockMismatch")
    item, new = store(world, upload.drive, path, bytes(upload.received), upload.author)
    del world.of(Sites).uploads[key]
    return _Reply(201 if new else 200, _json_of(world, upload.drive, item))


def _json_of(world: World, drive: Drive, item: Item) -> dict[str, Any]:
    context = world.url("graph", f"/v1.0/$metadata#drives('{drive.id}')/items/$entity") if world.has("graph") else "$metadata#driveItem"
    return {"@odata.context": context, **shown(world, drive, item)}


def _cancel(world: World, request: web.BaseRequest) -> _Reply:
    key, _ = _session(world, request)
    del world.of(Sites).uploads[key]
    return _Reply(204)


async def _answer(world: World, request: web.BaseRequest) -> _Reply:
    upload = request.path.endswith("/uploadSession")
    match request.method:
        case "GET" | "HEAD" if request.path.endswith("/download.aspx"):
            return _download(world, request)
        case "PUT" if upload:
            return await _fragment(world, request)
        case "GET" if upload:
            return _Reply(200, _status(_session(world, request)[1]))
        case "POST" if upload:
            return _commit(world, *_session(world, request))
        case "DELETE" if upload:
            return _cancel(world, request)
    raise GraphError(404, "itemNotFound", "The resource could not be found.")


def _own_headers(world: World, started: float) -> dict[str, str]:
    """Give what SharePoint says of itself with each answer."""
    guid, spent = new_guid(world.random), max(1, round((time.perf_counter() - started) * 1000))
    return {
        "SPRequestGuid": guid,
        "request-id": guid,
        "X-SharePointHealthScore": str(world.of(Sites).health_score),
        "SPRequestDuration": str(spent),
        "SPIisLatency": "1",
        "X-MSEdge-Ref": f"Ref A: {guid.replace('-', '').upper()} Ref B: DRILL01EDGE0001 Ref C: {to_the_second(world.now())}",
        "X-FEServer": "DRILL0001FE0001",
        "MicrosoftSharePointTeamServices": "16.0.0.26524",
        "Date": _http_date(world.now()),
    }


def _refusal(error: GraphError) -> _Reply:
    inner = {"innerError": {"code": error.inner}} if error.inner else {}
    return _Reply(error.status, {"error": {"code": error.code, "message": error.message, **inner}}, error.headers)


async def _half(request: web.BaseRequest, body: bytes, status: int, headers: Mapping[str, str]) -> web.StreamResponse:
    """Announce the whole body, send half of it, and hang up."""
    answer = web.StreamResponse(status=status, headers=headers)
    answer.content_length = len(body)
    await answer.prepare(request)
    await answer.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()
    return answer


def site(world: World) -> Site:
    """Give the files host of this world."""

    async def respond(request: web.BaseRequest) -> web.StreamResponse:
        started = time.perf_counter()
        try:
            reply = await _answer(world, request)
        except GraphError as error:
            reply = _refusal(error)
        headers = _own_headers(world, started) | dict(reply.headers or {})
        if isinstance(reply.body, bytes) and reply.body:
            match spoilt(world, "files", "file_download"):
                case "truncated":
                    return await _half(request, reply.body, reply.status, headers)
                case "wrong":
                    return web.Response(body=bytes([reply.body[0] ^ 1]) + reply.body[1:], status=reply.status, headers=headers)
        if isinstance(reply.body, bytes) or reply.body is None:
            return web.Response(body=reply.body, status=reply.status, headers=headers)
        return web.json_response(reply.body, status=reply.status, headers=headers)

    async def asked(request: web.BaseRequest) -> Asked:
        return Asked("file_upload" if request.path.endswith("/uploadSession") else "file_download", "files")

    return Site("files", respond, asked, names=(HOST, PERSONAL_HOST))
