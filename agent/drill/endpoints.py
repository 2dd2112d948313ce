"""The host `endpoints`: the list of addresses that Microsoft 365 needs, as endpoints.office.com publishes it.

Shapes from Microsoft's page "Office 365 IP Address and URL web service". The sets are a few of the real ones, with two differences: their
ranges hold the loopback addresses that the simulated zone gives, and their ports are where this world listens, so that checks can pass.
"""

import json
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from typing import Any
from uuid import UUID

from aiohttp import web

from agent.drill.hosting import Asked, Site
from agent.drill.world import World

INSTANCES = ("Worldwide", "USGovDoD", "USGovGCCHigh", "China")
LOOPBACK = ("127.0.0.0/8", "::1/128")
_HOUR = 3600.0
_AREAS = {"Exchange": "Exchange Online", "SharePoint": "SharePoint Online and OneDrive for Business", "Skype": "Microsoft Teams"}
_COMMON = "Microsoft 365 Common and Office Online"


@dataclass(frozen=True, slots=True)
class EndpointSet:
    """Addresses that are needed together. `hosts` of this world stand for them; `{tenant}` in `urls` is the tenant's name."""

    id: int
    area: str
    urls: tuple[str, ...]
    hosts: tuple[str, ...] = ()
    category: str = "Allow"
    ips: tuple[str, ...] = LOOPBACK
    tcp: str = ""
    udp: str = ""
    required: bool = True
    express_route: bool = True
    notes: str = ""


SETS = (
    EndpointSet(1, "Exchange", ("outlook.office.com", "outlook.office365.com"), ("exchange", "graph"), "Optimize"),
    EndpointSet(
        2, "Exchange", ("smtp.office365.com",), ips=("52.96.0.0/14", *LOOPBACK), tcp="587", required=False, notes="SMTP client submission"
    ),
    EndpointSet(10, "Exchange", ("*.mail.protection.outlook.com", "*.mx.microsoft"), ips=("40.92.0.0/15", *LOOPBACK), tcp="25"),
    EndpointSet(31, "SharePoint", ("{tenant}-my.sharepoint.com", "{tenant}.sharepoint.com"), ("files", "graph"), "Optimize"),
    EndpointSet(11, "Skype", (), category="Optimize", ips=("52.112.0.0/14", "2603:1063::/38"), udp="3478,3479,3480,3481"),
    EndpointSet(12, "Skype", ("*.teams.microsoft.com", "teams.microsoft.com"), ("graph",)),
    EndpointSet(56, "Common", ("graph.microsoft.com", "login.microsoft.com", "login.microsoftonline.com"), ("login", "graph")),
    EndpointSet(46, "Common", ("*.office.com", "www.office.com"), ("office",), "Default", (), express_route=False),
    EndpointSet(
        59,
        "Common",
        ("admin.microsoft.com", "entra.microsoft.com", "security.microsoft.com"),
        ("admin",),
        "Default",
        (),
        express_route=False,
    ),
)


@dataclass(frozen=True, slots=True)
class Change:
    """What a version changed in one set: `add` and `remove` are JSON objects with `ips` or `urls`."""

    id: int
    set_id: int
    disposition: str
    version: str
    add: Mapping[str, Any] = field(default_factory=dict)
    remove: Mapping[str, Any] = field(default_factory=dict)


class Endpoints:
    """What is published, and who asked how often."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.versions: list[str] = ["2026102900", "2026092900"]
        """Newest first."""
        self.sets: tuple[EndpointSet, ...] = SETS
        self.changes: list[Change] = [Change(1, 46, "Change", "2026102900", {"effectiveDate": "20261101", "urls": ["www.office.com"]})]
        self.requests_per_hour = 600
        """Per client, of lists and changes; versions are free."""
        self._asked: dict[str, deque[float]] = defaultdict(deque)

    def publish(self, version: str, changed: EndpointSet, change: Change) -> None:
        """Put out a new version in which one set is different."""
        self.versions.insert(0, version)
        self.sets = tuple(changed if one.id == changed.id else one for one in self.sets)
        self.changes.append(replace(change, version=version))

    def too_often(self, client: str) -> bool:
        """Count a request, and tell whether it was one too many."""
        times, now = self._asked[client], self._world.now()
        while times and times[0] <= now - _HOUR:
            times.popleft()
        times.append(now)
        return len(times) > self.requests_per_hour


class _Refused(Exception):  # noqa: N818 - it is an answer
    """An answer with another status than 200."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def endpoints_site(world: World) -> Site:
    """Make the host that publishes the addresses."""

    async def respond(request: web.BaseRequest) -> web.StreamResponse:
        try:
            return _json(_answer(world, request))
        except _Refused as refused:
            return _json({"error": {"message": str(refused)}}, refused.status)

    return Site("endpoints", respond, asked=_asked, names=("endpoints.office.com",))


async def _asked(request: web.BaseRequest) -> Asked:
    return Asked(request.path.strip("/").partition("/")[0])


def _json(data: object, status: int = 200) -> web.Response:
    return web.Response(text=json.dumps(data, indent=2), status=status, content_type="application/json", charset="utf-8")


def _answer(world: World, request: web.BaseRequest) -> object:
    query = {name.lower(): value for name, value in request.query.items()}
    client = _client(query)
    match request.path.strip("/").split("/"):
        case ["version"]:
            return [_version(world, instance, query) for instance in INSTANCES]
        case ["version", instance]:
            return _version(world, _instance(instance), query)
        case [("endpoints" | "changes"), *_] if world.of(Endpoints).too_often(client):
            raise _Refused(429, "Too many requests. Wait an hour, or use one ClientRequestId for each machine.")
        case ["endpoints", instance]:
            _instance(instance)
            return list(_sets(world, query))
        case ["changes", instance, version]:
            _instance(instance)
            return [_change(world, change) for change in world.of(Endpoints).changes if change.version > version]
    raise _Refused(404, "Not found.")


def _client(query: Mapping[str, str]) -> str:
    """Read who asks; the service wants a GUID that stays the same."""
    try:
        return str(UUID(query.get("clientrequestid", "")))
    except ValueError:
        raise _Refused(400, "The query parameter ClientRequestId is missing or no GUID.") from None


def _instance(name: str) -> str:
    found = next((instance for instance in INSTANCES if instance.lower() == name.lower()), None)
    if found is None:
        raise _Refused(404, f"There is no instance {name}.")
    return found


def _version(world: World, instance: str, query: Mapping[str, str]) -> dict[str, object]:
    versions = world.of(Endpoints).versions
    found: dict[str, object] = {"instance": instance, "latest": versions[0]}
    return {**found, "versions": versions} if query.get("allversions", "").lower() == "true" else found


def _sets(world: World, query: Mapping[str, str]) -> Iterable[dict[str, object]]:
    """Give the sets of the areas asked for; `Common` is always among them, as all others need it."""
    areas = {area for area in query.get("serviceareas", "").lower().split(",") if area}
    for one in world.of(Endpoints).sets:
        if not areas or one.area.lower() in areas | {"common"}:
            yield _set(world, one, query.get("tenantname") or "*", without_ipv6=query.get("noipv6", "").lower() == "true")


def _set(world: World, one: EndpointSet, tenant: str, *, without_ipv6: bool) -> dict[str, object]:
    """Write one set; a field that has nothing is left out, as the service does."""
    found = {
        "id": one.id,
        "serviceArea": one.area,
        "serviceAreaDisplayName": _AREAS.get(one.area, _COMMON),
        "urls": [url.replace("{tenant}", tenant) for url in one.urls],
        "ips": [ip for ip in one.ips if not (without_ipv6 and ip_network(ip).version == 6)],  # noqa: PLR2004 - the protocol's name
        "tcpPorts": one.tcp or _ports(world, one.hosts),
        "udpPorts": one.udp,
        "expressRoute": one.express_route,
        "category": one.category,
        "required": one.required,
        "notes": one.notes,
    }
    return {name: value for name, value in found.items() if value not in ("", [])}


def _ports(world: World, hosts: Iterable[str]) -> str:
    """List the ports of these hosts of the world, 443 where none of them was started."""
    found = []
    for host in hosts:
        with suppress(KeyError):
            found.append(world.address(host).rpartition(":")[2])
    return ",".join(found) or ("443" if hosts else "")


def _change(world: World, change: Change) -> dict[str, object]:
    area = next((one.area for one in world.of(Endpoints).sets if one.id == change.set_id), "")
    found = {
        "id": change.id,
        "endpointSetId": change.set_id,
        "disposition": change.disposition,
        "impact": "AddedUrl" if "urls" in change.add else "AddedIp" if change.add else "RemovedIpOrUrl",
        "version": change.version,
        "current": {"serviceArea": area},
        "add": dict(change.add),
        "remove": dict(change.remove),
    }
    return {name: value for name, value in found.items() if value != {}}
