"""Ask Microsoft which endpoints Microsoft 365 has now, and see whether the required ones can be reached, at Microsoft's own addresses.

Four things in one: the version of Microsoft's list (a new one is announced 30 days before it counts, time to adapt firewalls); the list
itself; whether every required host of the categories Optimize and Allow resolves and takes a TCP connection; whether the addresses they
resolve to lie in the published ranges. Where they do not, something between answers in Microsoft's place: an intercepting proxy, a
captive portal, a hijacked resolver.

```yaml
probes:
  - name: microsoft-endpoints
    kind: endpoints
    instance: Worldwide
    tenant_name: contoso
```

Each name is asked for anew and each connection is a fresh one; nothing is remembered between runs. `proxy` is for the list alone: Microsoft
wants the required hosts to be reached directly, and so they are here. Where yours can be reached only through a proxy, write `hosts: off`.
A host that fails gives the run its reason; evidence names all that fail.

Microsoft allows to ask once an hour, and limits whoever asks more.

No permission is needed.
"""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Literal, TypeVar
from urllib.parse import urlencode
from uuid import NAMESPACE_DNS, uuid5

from pydantic import BeforeValidator, Field

from probes.core.context import Context
from probes.core.contract import Failed, Inconclusive, Layer, Measurement, Place, Probe, Settings, Stopped, Workload
from probes.core.reasons import Reason
from probes.lib.connect import connect
from probes.lib.durations import Duration
from probes.lib.http import Request, Wanted, fetch
from probes.lib.http_expect import judge_status
from probes.lib.m365_endpoints import Front, read_sets, read_version, required_fronts
from probes.lib.proxy import Proxy, ProxyUrl, route_to
from probes.lib.spelled import Spelled
from probes.lib.tenant import Guid
from probes.lib.tls import EXPIRY, Trust
from probes.lib.url import HttpUrl, parse

T = TypeVar("T")

_ONLY_OK = ((HTTPStatus.OK, HTTPStatus.OK),)
_LIST = Wanted(limit=1 << 20)
# The worldwide list has some 100 kB.
_WHEN_LIMITED = 3600.0
# Microsoft asks to wait an hour after a 429.
_AT_ONCE = 8
_TOLD = 20
# Hosts that evidence names; more would not fit a ticket.


_TenantName = Annotated[str, Spelled(r"[A-Za-z0-9-]{1,63}", "the tenant's short name, such as contoso of contoso.sharepoint.com")]


class Endpoints(Settings):
    """Which list to ask for, and which hosts of it to reach."""

    instance: Literal["Worldwide", "USGovGCCHigh", "USGovDoD", "China"] = "Worldwide"
    """Microsoft's cloud. GCC is in Worldwide."""
    service_areas: tuple[Literal["Common", "Exchange", "SharePoint", "Skype"], ...] = ()
    """Only these services (Teams is `Skype`); Common always comes with them. All where nothing is said."""
    tenant_name: _TenantName | None = None
    """Your tenant, such as contoso of contoso.sharepoint.com: its own hosts are looked at too."""
    ipv6: bool = True
    """Look at IPv6 as well; `false` where your network has none."""
    hosts: Annotated[Literal["direct", "off"], BeforeValidator(lambda word: "off" if word is False else word)] = "direct"
    """Reach the required hosts directly, or not at all."""
    host_timeout: Duration = 5.0
    """Time limit for one host: seconds, or a text such as 500ms."""
    max_hosts: Annotated[int, Field(ge=1, le=500)] = 100
    """Hosts to look at, the first of the list; evidence says how many were left out."""
    url: HttpUrl = "https://endpoints.office.com"
    """Where the list is."""
    client_request_id: Guid | None = None
    """Identifier by which Microsoft knows this machine; made from its name where nothing is said."""
    tls: Trust = Trust()
    """Whom to trust in asking for the list, and how to show who we are."""
    proxy: Proxy | ProxyUrl | None = None
    """Proxy to go through for the list: `http://host:port`, `environment`, or a block with a login."""

    @property
    def through(self) -> Proxy | None:
        """The proxy to go through."""
        return Proxy(url=self.proxy) if isinstance(self.proxy, str) else self.proxy

    @property
    def options(self) -> dict[str, str]:
        """What the query of every request says of us, and that of the list besides."""
        return {"ClientRequestId": self.client_request_id or str(uuid5(NAMESPACE_DNS, socket.gethostname()))}

    @property
    def list_options(self) -> dict[str, str]:
        """What the query for the list says."""
        chosen = {"ServiceAreas": ",".join(self.service_areas), "TenantName": self.tenant_name or "", "NoIPv6": "" if self.ipv6 else "true"}
        return self.options | {name: value for name, value in chosen.items() if value}


@dataclass(frozen=True, slots=True)
class _Reached:
    """What became of one host: its addresses, the seconds that resolving and connecting took, and why it failed, if it did."""

    front: Front
    addresses: tuple[str, ...]
    phases: dict[str, float]
    stopped: Stopped | None


async def run(ctx: Context, settings: Endpoints) -> None:
    """Ask for version and list, then look at the hosts; raise for the first that cannot be reached, else for the first misplaced one."""
    with ctx.step("version"):
        path = f"/version/{settings.instance}"
        version = await _ask(ctx, settings, path, settings.options, lambda body: read_version(body, settings.instance))
        ctx.measure("version", int(version.latest))
        ctx.evidence("version", version.latest)
    with ctx.step("endpoints"):
        sets = await _ask(ctx, settings, f"/endpoints/{settings.instance}", settings.list_options, read_sets)
        fronts, left_out = required_fronts(sets, settings.max_hosts)
    if settings.hosts == "off":
        return
    if left_out:
        ctx.evidence("hosts_left_out", left_out)
    with ctx.step("hosts"):
        reached = await _reach_all(ctx, settings, fronts)
        for name in ("resolve", "connect"):
            ctx.add_phase(name, sum(one.phases.get(name, 0.0) for one in reached))
    with ctx.step("ranges"):
        misplaced = _outside(ctx, reached)
    _judge(ctx, reached, misplaced)


async def _ask(ctx: Context, settings: Endpoints, path: str, options: dict[str, str], read: Callable[[bytes], T]) -> T:
    """Ask the web service, and read its answer.

    Raises:
        Failed: with any reason of `fetch`, HTTP_…, CONTENT_MISMATCH.
        Inconclusive: THROTTLED.

    """
    url = parse(f"{settings.url.rstrip('/')}{path}?{urlencode(options)}")
    request = Request("GET", url, (("Accept", "application/json"),))
    response = await fetch(ctx, request, trust=settings.tls, route=route_to(ctx, settings.through, url), wanted=_LIST)
    try:
        judge_status(response, _ONLY_OK)
        return read(response.body)
    except Inconclusive as limited:
        wait = limited.retry_after or _WHEN_LIMITED
        raise Inconclusive(limited.reason, limited.message, code=limited.code, retry_after=wait) from limited
    except Failed:
        ctx.evidence("status", response.status)
        ctx.evidence("body_begins", " ".join(response.body[:300].decode("utf-8", "replace").split()))
        raise


async def _reach_all(ctx: Context, settings: Endpoints, fronts: tuple[Front, ...]) -> tuple[_Reached, ...]:
    places = asyncio.Semaphore(_AT_ONCE)

    async def reach(front: Front) -> _Reached:
        async with places:
            return await _reach(ctx, settings, front)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(reach(front)) for front in fronts]
    return tuple(task.result() for task in tasks)


async def _reach(ctx: Context, settings: Endpoints, front: Front) -> _Reached:
    """Resolve one host and connect to it, with a stopwatch of its own, because others run at the same time."""
    own = Context(ctx.probe, ctx.shared, ctx.tenant)
    addresses: tuple[str, ...] = ()
    stopped: Stopped | None = None
    try:
        async with asyncio.timeout(settings.host_timeout):
            with own.step("hosts"):
                with own.phase("resolve"):
                    addresses = await ctx.shared.lookup(front.host, socket.AF_UNSPEC if settings.ipv6 else socket.AF_INET)
                if not addresses:
                    raise Failed(Reason.DNS_NO_DATA, "no address")
                (await connect(own, addresses[0], front.port)).close()
    except Stopped as caught:
        stopped = caught
    except TimeoutError:
        reason = Reason.CONNECT_TIMEOUT if addresses else Reason.DNS_TIMEOUT
        stopped = Failed(reason, f"no answer within {settings.host_timeout:g} s" + (f" from {addresses[0]}" if addresses else ""))
    return _Reached(front, addresses, dict(own.steps[0].phases), stopped)


def _outside(ctx: Context, reached: tuple[_Reached, ...]) -> dict[str, tuple[str, ...]]:
    """Return hosts with their addresses outside the published networks, and measure how many those are."""
    found = {one.front.host: outside for one in reached if (outside := one.front.outside(one.addresses))}
    ctx.measure("addresses_outside", sum(map(len, found.values())))
    for host, addresses in list(found.items())[:_TOLD]:
        ctx.evidence(f"outside_{host}", ", ".join(addresses))
    return found


def _judge(ctx: Context, reached: tuple[_Reached, ...], misplaced: dict[str, tuple[str, ...]]) -> None:
    failures = [(one.front, one.stopped) for one in reached if one.stopped is not None]
    ctx.measure("hosts", len(reached))
    ctx.measure("hosts_failed", len(failures))
    slowest = max((one for one in reached if one.stopped is None), key=lambda one: one.phases["connect"], default=None)
    if slowest is not None:
        ctx.measure("slowest_connect_seconds", slowest.phases["connect"])
        ctx.evidence("slowest_host", slowest.front.host)
    for front, stopped in failures[:_TOLD]:
        ctx.evidence(f"failed_{front.host}", f"port {front.port}: {stopped.message}")
    # Where our own machine lacks something for one host, another's failure still counts.
    failures.sort(key=lambda failure: isinstance(failure[1], Inconclusive))
    for front, stopped in failures:
        message = f"{front.host}: {stopped.message}; {len(failures)} of {len(reached)} hosts cannot be reached"
        raise type(stopped)(stopped.reason, message, code=stopped.code, step="hosts")
    for host, addresses in misplaced.items():
        message = f"{host} resolved to {addresses[0]}, outside the published ranges: interception or hijack"
        raise Failed(Reason.DNS_MISMATCH, message, step="ranges")


PROBE = Probe(
    run,
    Endpoints,
    place=lambda _: Place(Layer.PATH, Workload.NETWORK),
    steps=("version", "endpoints", "hosts", "ranges"),
    measurements=(
        Measurement("version", "Version of Microsoft's list: the digits of its date and a number."),
        Measurement("hosts", "Required hosts that were looked at."),
        Measurement("hosts_failed", "Required hosts that did not resolve or take a connection."),
        Measurement("addresses_outside", "Addresses that required hosts resolve to, outside the ranges published for them."),
        Measurement("slowest_connect_seconds", "Time that the slowest of the required hosts took to take a connection."),
        Measurement(EXPIRY, "When the certificate of the list's server expires, in Unix time."),
    ),
    interval=21_600.0,
    timeout=120.0,
    floor=3_600.0,
)
