"""SharePoint and OneDrive over Graph: where a drive is, what Graph tells of a file in it, the way to its bytes, and to put and remove one.

The bytes come from another host, by an address that is a key itself (`probes.lib.storage`). Our token never goes there, and the address,
which opens the file to whoever has it, goes into no evidence and no message.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, Self
from urllib.parse import unquote, urlsplit

from pydantic import Field, model_validator

from probes.core.context import Context
from probes.core.contract import Failed, Settings
from probes.core.ledger import Artefact
from probes.core.needs import Permission, Service
from probes.core.reasons import Reason
from probes.lib.graph import Answer, address, call, segment, sign_in, text_in
from probes.lib.hints import hinting
from probes.lib.known import named
from probes.lib.tenant import Tenant, tenant_of
from probes.lib.tokens import Token
from probes.lib.url import HttpUrl, Url, join, keys_in, parse

WRITE_UNITS = 2.0
"""SharePoint's resource units for a change; everything else here costs one."""

_SELECT = (("$select", "id,size,eTag,cTag,file"),)
_CHANGED = (HTTPStatus.CONFLICT, HTTPStatus.PRECONDITION_FAILED)
_KEY_CHARACTERS, _KEY_SEGMENT = 41, 64
# A parameter of an address that is longer than a GUID may be a key, and so may a part of its path that is longer than names of people are.
_LONGEST_ADDRESS = 8192
# What servers take, and what can be looked for in all that is shown.
_SHAREPOINT = (".sharepoint.com", ".sharepoint.us", ".sharepoint-mil.us", ".sharepoint.cn")
_ELSEWHERE = (".svc.ms",)
# Hosts of files besides those of SharePoint itself (Microsoft's endpoint list, set 39).
_LARGEST = 1 << 48
# Bytes of a file: SharePoint takes 250 GB.
_REFUSED = {
    Reason.PERMISSION: "Sites.Selected opens a site only once that site is granted to the application; fogbell permissions prints how"
}
_NO_HOST = frozenset({"invalidRequest"})
# How a host is refused that is not the tenant's.
_DELETED = {Reason.NOT_FOUND: "the file was there a moment ago, and somebody has deleted it"}


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

    @property
    def calls(self) -> int:
        """How many calls it takes to find it."""
        return 2 if self.site is not None else 1 if self.user is not None else 0


@dataclass(frozen=True, slots=True)
class Door:
    """Who calls Graph, in which run."""

    ctx: Context
    tenant: Tenant
    token: Token

    async def ask(self, method: str, path: str, **how: Any) -> Answer:
        """Make a call that counts against the limits of files; `how` is as for `call`."""
        return await call(self.ctx, self.tenant, self.token, Service.FILES, method, path, **how)


@dataclass(frozen=True, slots=True)
class Drive:
    """A library, or somebody's OneDrive: the segment of paths that names it, and the host on which it opens, "" if Graph does not say."""

    key: str
    host: str


@dataclass(frozen=True, slots=True)
class Item:
    """A file as Graph tells of it. `ctag` changes with the content alone; `quick_xor` is "" where Graph does not tell it."""

    id: str
    size: int
    etag: str
    ctag: str
    quick_xor: str


async def door(ctx: Context, needs: tuple[Permission, ...]) -> Door:
    """Get a token, within an open step, and say what it lacks.

    Raises:
        Failed, Inconclusive: as `sign_in`.

    """
    tenant = tenant_of(ctx)
    return Door(ctx, tenant, await sign_in(ctx, tenant, needs))


async def site_at(door: Door, url: str) -> str:
    """Return the id of the site that people open at `url`.

    Raises:
        Failed: APP_CONFIG, NOT_FOUND as `named`, PERMISSION where the application was not granted this site, or as `call`.
        Inconclusive: as `call`.

    """
    parts = urlsplit(url)
    below = "/".join(map(segment, parts.path.strip("/").split("/")))
    place = f"/sites/{segment(parts.netloc)}" + (f":/{below}" if below else "")
    with named(door.ctx, "site", url, hint=f"there is no site {url}", codes=_NO_HOST), hinting(_REFUSED):
        return _id(await door.ask("GET", place, query=(("$select", "id,webUrl"),)))


async def drive_of_site(door: Door, site: str) -> Drive:
    """Return the library that a site shows as Documents.

    Raises:
        Failed, Inconclusive: as `site_at`.

    """
    with named(door.ctx, "site", site, hint="the site has no library"), hinting(_REFUSED):
        return await _drive(door, f"/sites/{segment(site)}/drive")


async def drive_of_user(door: Door, user: str) -> Drive:
    """Return somebody's OneDrive.

    Raises:
        Failed: APP_CONFIG, NOT_FOUND as `named`, or as `call`.
        Inconclusive: as `call`.

    """
    with named(door.ctx, "user", user, "drive", hint="there is no such user, or the OneDrive was never opened, or has no licence"):
        return await _drive(door, f"/users/{segment(user)}/drive")


async def _drive(door: Door, path: str) -> Drive:
    answer = await door.ask("GET", path, query=(("$select", "id,webUrl"),))
    return Drive(segment(_id(answer)), _host(answer.data.get("webUrl")))


def kept_drive(artefact: Artefact) -> Drive:
    """Return the drive that stands on the ledger with a file. Whatever stands there, it is one segment of a path."""
    return Drive(segment(unquote(artefact.fact("drive"))), artefact.fact("host"))


def _host(told: object) -> str:
    try:
        return parse(told).host if isinstance(told, str) else ""
    except ValueError:
        return ""


async def drive_at(door: Door, place: DrivePlace) -> Drive:
    """Find a drive, within an open step; one that is named by its id is not asked for.

    Raises:
        Failed: APP_CONFIG, NOT_FOUND as `named`, PERMISSION, or as `call`.
        Inconclusive: as `call`.

    """
    if place.site is not None:
        return await drive_of_site(door, await site_at(door, place.site))
    if place.user is not None:
        return await drive_of_user(door, place.user)
    return Drive(segment(place.id or ""), "")


def known_by(ctx: Context, place: DrivePlace) -> AbstractContextManager[None]:
    """Make the first call to a drive within the block: only there one that is named by its id may turn out not to be."""
    return nullcontext() if place.id is None else named(ctx, "drive", place.id, hint="there is no drive of this id")


async def item_at(door: Door, drive: Drive, path: str) -> Item:
    """Ask for the file at a path below the top of the drive.

    Raises:
        Failed: NOT_FOUND, CONTENT_MISMATCH where that is no file, or as `call`.
        Inconclusive: as `call`.

    """
    with hinting({Reason.NOT_FOUND: f"there is no file {path}; upload one there, which then stays"}):
        return _item(await door.ask("GET", _by_path(drive, path), query=_SELECT))


async def item_again(door: Door, drive: Drive, item: Item) -> Item:
    """Ask by its id for a file that was there a moment ago."""
    with hinting(_DELETED):
        return _item(await door.ask("GET", _by_id(drive, item), query=_SELECT))


async def put(door: Door, drive: Drive, path: str, content: bytes) -> Item:
    """Put a file at a path, in the place of one that is there (that is Graph's own rule for this call), and return what it says of it."""
    kind = (("Content-Type", "application/octet-stream"),)
    where = f"{_by_path(drive, path)}:/content"
    return _item(await door.ask("PUT", where, body=content, headers=kind, accept=(200, 201), units=WRITE_UNITS))


async def put_over(door: Door, drive: Drive, path: str, text: str, item: Item | None) -> bool:
    """Put a text at a path, in the place of the content that this item had or, without one, where nothing was.

    False: somebody else has put something there since.
    """
    before = (("If-Match", item.ctag),) if item else ()
    answer = await door.ask(
        "PUT",
        f"{_by_path(drive, path)}:/content",
        query=() if item else (("@microsoft.graph.conflictBehavior", "fail"),),
        body=text.encode(),
        headers=(("Content-Type", "text/plain"), *before),
        accept=(HTTPStatus.OK, HTTPStatus.CREATED, *_CHANGED),
        units=WRITE_UNITS,
    )
    return answer.status not in _CHANGED


async def remove(door: Door, drive: Drive, item: Item) -> bool:
    """Move a file to the recycle bin, unless it is gone. False: it has changed since we looked, and is still there."""
    unchanged = (("If-Match", item.etag),) if item.etag else ()
    accept = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_FOUND, HTTPStatus.PRECONDITION_FAILED)
    answer = await door.ask("DELETE", _by_id(drive, item), headers=unchanged, accept=accept, units=WRITE_UNITS, raw=True)
    return answer.status != HTTPStatus.PRECONDITION_FAILED


async def place_of(door: Door, drive: Drive, item: Item) -> Url:
    """Ask for the content and return where that is: an address that opens the file for a while. One that leads astray is refused.

    Raises:
        Failed: HTTP_REDIRECT where it leads to no host of files or is without TLS, PROTOCOL_ERROR where it leads nowhere, or as `call`.
        Inconclusive: as `call`.

    """
    with hinting(_DELETED):
        answer = await door.ask("GET", f"{_by_id(drive, item)}/content", accept=(HTTPStatus.FOUND,), raw=True)
    location = answer.header("location")
    if not location:
        raise Failed(Reason.PROTOCOL_ERROR, "the redirect to the content does not say where it is (no Location)")
    if len(location) > _LONGEST_ADDRESS:
        raise Failed(Reason.PROTOCOL_ERROR, f"the redirect to the content leads to an address of {len(location)} characters")
    try:
        place = join(address(door.tenant, "/"), location)
    except ValueError:
        # Its words would show the address.
        raise Failed(Reason.PROTOCOL_ERROR, "the redirect to the content leads to no web address") from None
    for key in keys_in(place, value=_KEY_CHARACTERS, segment=_KEY_SEGMENT):
        door.ctx.hide(key)
    if place.scheme != "https":
        raise Failed(Reason.HTTP_REDIRECT, f"the redirect to the content leads to {place.authority} without TLS; it is not followed")
    if not is_storage(door.tenant, drive, place):
        raise Failed(Reason.HTTP_REDIRECT, f"the redirect to the content leads to {place.authority}, no host of files; it is not followed")
    return place


def is_storage(tenant: Tenant, drive: Drive, place: Url) -> bool:
    """Say whether files may come from there: from beside the drive's own host; where that is not known, from a host of SharePoint."""
    if place.authority in {tenant.where.graph, tenant.where.login}:
        return False
    domain = drive.host.partition(".")[2]
    beside = (f".{domain}",) if "." in domain else _SHAREPOINT
    return tenant.hosts is not None or place.host.endswith((*beside, *_ELSEWHERE))


def _by_path(drive: Drive, path: str) -> str:
    return f"/drives/{drive.key}/root:/" + "/".join(map(segment, path.split("/")))


def _by_id(drive: Drive, item: Item) -> str:
    return f"/drives/{drive.key}/items/{segment(item.id)}"


def _item(answer: Answer) -> Item:
    """Read what Graph says of a file.

    Raises:
        Failed: CONTENT_MISMATCH where it is no file.

    """
    said = answer.data if isinstance(answer.data, dict) else {}
    file, size = said.get("file"), said.get("size")
    if not isinstance(file, dict) or not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < _LARGEST:
        raise Failed(Reason.CONTENT_MISMATCH, "what Graph tells of is no file with a size")
    hashes, etag = file.get("hashes"), _tag(said.get("eTag"))
    told = hashes.get("quickXorHash") if isinstance(hashes, dict) else None
    return Item(_id(answer), size, etag, _tag(said.get("cTag")) or etag, told if isinstance(told, str) else "")


def _tag(value: object) -> str:
    """Return a tag as it may stand in a header; one that breaks out of its line is none."""
    return value if isinstance(value, str) and value.isascii() and value.isprintable() else ""


def _id(answer: Answer) -> str:
    return text_in(answer.data, "id", "the answer has no id")
