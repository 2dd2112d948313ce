"""The host from which the bytes of a file come: by an address that is a key itself, on a fresh connection, without our token.

They are hashed as they arrive and not kept unless asked for, so that a large file takes no memory and holds nothing up: QuickXorHash and
SHA-256 of a record of TLS take some 20 µs together.
"""

import asyncio
from dataclasses import dataclass
from http import HTTPStatus

from probes.core.context import Context
from probes.core.contract import Failed, Measurement
from probes.core.needs import Service
from probes.core.reasons import Reason
from probes.lib.drives import Door
from probes.lib.graph_error import stopped_by
from probes.lib.http import Request, Response, Wanted, fetch
from probes.lib.proxy import route_to
from probes.lib.quick_xor import QuickXorHash
from probes.lib.url import Url
from probes.lib.usage import Usage

MEASUREMENTS = (
    Measurement(
        "throughput_bytes_per_second",
        "Bytes of the file by the seconds from the answer's first byte to its last; absent where those were less than a millisecond.",
    ),
    Measurement("server_duration_seconds", "How long SharePoint itself says that it took to answer with the bytes (SPRequestDuration)."),
    Measurement("health_score", "How loaded SharePoint says that its server is (X-SharePointHealthScore): from 0, idle, to 10."),
)
"""What a download measures."""

_SHORTEST = 0.001
# Seconds of a transfer from which on it says something of the speed.
_DIGITS = 9
# Of a number that a server may tell: it takes no years.
_NOT_VALID = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.GONE})
# What the host says to an address that it does not take, or takes no more.
_TOLD = {
    "sprequestguid": "sp_request_guid",
    "request-id": "storage_request_id",
    "x-sharepointhealthscore": "sp_health_score",
    "sprequestduration": "sp_request_duration",
    "spiislatency": "sp_iis_latency",
    "microsoftsharepointteamservices": "sp_version",
    "x-msedge-ref": "edge_ref",
    "x-feserver": "front_end",
    "x-beserver": "back_end",
    "ms-cv": "correlation_vector",
    "date": "storage_date",
}
# Header field to name in the evidence.


@dataclass(frozen=True, slots=True)
class Limits:
    """How many bytes to take, and within how many seconds from the first on; None is as long as it takes."""

    size: int
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Bytes:
    """A file as it came. `content` is only its beginning unless it was to be kept."""

    size: int
    quick_xor: str
    sha256: str
    content: bytes


async def download(door: Door, place: Url, limits: Limits) -> Bytes:
    """Fetch a file, measure it, and keep nothing but its hashes. One that is too slow is given up as soon as that is certain.

    Raises:
        Failed: TOO_SLOW, HTTP_4XX where the address is not taken, TRUNCATED, CONTENT_MISMATCH where there are too many bytes, or as `call`.
        Inconclusive: as `call`.

    """
    response, hashing = await _fetched(door, place, limits, keep=False)
    if response.transfer >= _SHORTEST:
        door.ctx.measure("throughput_bytes_per_second", response.body_bytes / response.transfer)
    if (milliseconds := _number(response, "sprequestduration")) is not None:
        door.ctx.measure("server_duration_seconds", milliseconds / 1000)
    if (score := _number(response, "x-sharepointhealthscore")) is not None:
        door.ctx.measure("health_score", score)
    if limits.seconds is not None and response.transfer > max(limits.seconds, _SHORTEST):
        raise _too_slow(response.body_bytes, response.transfer)
    return Bytes(response.body_bytes, hashing.base64(), response.sha256, b"")


async def content_of(door: Door, place: Url, limit: int) -> Bytes:
    """Fetch a file of at most `limit` bytes and keep it; raises as `download`."""
    response, hashing = await _fetched(door, place, Limits(limit), keep=True)
    return Bytes(response.body_bytes, hashing.base64(), response.sha256, response.body)


async def _fetched(door: Door, place: Url, limits: Limits, *, keep: bool) -> tuple[Response, QuickXorHash]:
    ctx, hashing, patience = door.ctx, QuickXorHash(), asyncio.timeout(None)
    loop = asyncio.get_running_loop()

    def take(piece: bytes) -> None:
        if limits.seconds is not None and not hashing.length:
            patience.reschedule(loop.time() + max(limits.seconds, _SHORTEST))
        hashing.update(piece)

    for name in ("storage_status", *_TOLD.values()):
        ctx.evidence_found.pop(name, None)
    ctx.evidence("storage_host", place.authority)
    route = route_to(ctx, door.tenant.through, place)
    wanted = Wanted(limits.size, keep=keep, digest=True, take=take)
    try:
        async with patience:
            response = await fetch(ctx, Request("GET", place), trust=door.tenant.tls, route=route, wanted=wanted)
    except TimeoutError:
        raise _too_slow(hashing.length, limits.seconds or 0.0) from None
    _tell(ctx, response)
    _unless_file(door, place, response)
    return response, hashing


def _too_slow(came: int, seconds: float) -> Failed:
    return Failed(Reason.TOO_SLOW, f"{came} bytes came in {seconds:.3f} s, fewer than `min_bytes_per_second` wants")


def _tell(ctx: Context, response: Response) -> None:
    """Put into evidence what a ticket needs of the host that gave the bytes."""
    ctx.evidence("storage_status", response.status)
    for field, name in _TOLD.items():
        if (value := response.header(field)) is not None:
            ctx.evidence(name, value)


def _number(response: Response, field: str) -> int | None:
    text = response.header(field) or ""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _DIGITS else None


def _unless_file(door: Door, place: Url, response: Response) -> None:
    """Raise where the answer is not the file."""
    if response.status == HTTPStatus.OK:
        return
    explained = door.ctx.shared.part(Usage).explains_throttling(door.tenant, Service.FILES)
    stopped = stopped_by(door.ctx, response, door.token, f"the download from {place.authority}", explained=explained)
    if response.status in _NOT_VALID:
        message = f"{stopped.message}: the address that Graph had just given is expired, or not valid there"
        raise Failed(Reason.HTTP_4XX, message, code=stopped.code)
    raise stopped
