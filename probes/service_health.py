"""Read what Microsoft itself says about its services: the state of each, and the issues that are open.

```yaml
probes:
  - name: microsoft-says
    kind: service_health
    tenant: contoso
```

With `services` only some of them are told:

```yaml
probes:
  - name: microsoft-says
    kind: service_health
    tenant: contoso
    services: [Exchange, SharePoint, microsoftteams]
```

The run is ok when the state could be read, whatever it says: what Microsoft tells is a hint beside our own measurements, never an alarm.
Where it cannot be read, no state is exported: unknown is never healthy. That holds for a run that fails and for one that is inconclusive,
because our own calls were limited.

A service is healthy in the states serviceOperational, serviceRestored, falsePositive, resolved, resolvedExternal and
postIncidentReviewPublished. It is not in serviceDegradation, serviceInterruption, extendedRecovery, investigating, confirmed, reported,
restoringService, verifyingService, investigationSuspended, mitigated and mitigatedExternal: in all of these something is still open. A
state that is none of them is kept as evidence and told as neither.

The label `product` is the service's id; services that are not in our list share `other`. `workload` is what other probes call it, else
`other`, so that the first mention of an issue can be set against the time since when our own probes of that workload fail. It is told by
`classification`, incident or advisory, because an advisory that stays open for weeks says nothing about an outage of today.

The permission ServiceHealth.Read.All is needed.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator

from probes.core.context import Context
from probes.core.contract import Failed, Layer, Measurement, Place, Probe, Settings, Workload, always
from probes.core.needs import Cost, Permission, Service
from probes.core.reasons import Reason
from probes.lib.graph import MEASUREMENTS, pages, sign_in
from probes.lib.tenant import tenant_of

OTHER = "other"
INCIDENT, ADVISORY = "incident", "advisory"
_ROOT = "/admin/serviceAnnouncement"
_BYTES = 8 << 20
# An issue carries all its posts, and a bad week has many: 150 of them with 15 long posts each are 7.5 MB.

_WORKLOADS = {
    "Exchange": Workload.EXCHANGE,
    "SharePoint": Workload.SHAREPOINT,
    "OneDriveForBusiness": Workload.ONEDRIVE,
    "microsoftteams": Workload.TEAMS,
    "OrgLiveID": Workload.ENTRA,
    "Microsoft365Defender": Workload.DEFENDER,
    "Purview": Workload.PURVIEW,
    "OSDPPlatform": Workload.ADMIN,
}
_FURTHER = """
    Bookings DynamicsCRM Forms Intune Lync MicrosoftFlow MicrosoftFlowM365 MobileDeviceManagement O365Client PAM Planner PowerApps
    PowerAppsM365 PowerBIcom RMS StaffHub Stream SwayEnterprise Viva cloudappsecurity officeonline yammer
"""
PRODUCTS = (*_WORKLOADS, *_FURTHER.split())
"""Ids of services, as Microsoft spells them in service health."""

_HEALTHY = "serviceOperational serviceRestored falsePositive resolved resolvedExternal postIncidentReviewPublished"
_AILING = """
    investigating restoringService verifyingService serviceDegradation serviceInterruption extendedRecovery investigationSuspended
    mitigated mitigatedExternal confirmed reported
"""
STATES = dict.fromkeys(_HEALTHY.lower().split(), 1) | dict.fromkeys(_AILING.lower().split(), 0)
"""State (serviceHealthStatus in Graph's metadata, in small letters) to healthy: 1 or 0."""

_NEEDS = (Permission("ServiceHealth.Read.All", "read the state of services and open issues"),)
_SPELLED = {product.lower(): product for product in PRODUCTS}


def _known(text: str) -> str:
    if text.lower() not in _SPELLED:
        raise ValueError(f"is no service that we know; there are {', '.join(sorted(PRODUCTS, key=str.lower))}")
    return _SPELLED[text.lower()]


class ServiceHealth(Settings):
    """Which services to tell about."""

    services: tuple[Annotated[str, AfterValidator(_known)], ...] = ()
    """Ids of the services to tell about, such as Exchange; without it all."""

    @property
    def products(self) -> tuple[str, ...]:
        """Values that the label `product` can have."""
        return self.services or (*PRODUCTS, OTHER)


@dataclass(slots=True)
class _Told:
    """What is said about one product; where several services share a label, the worst of them."""

    healthy: list[int] = field(default_factory=list)
    issues: Counter[str] = field(default_factory=Counter)
    """Open ones by classification."""
    mentions: dict[str, list[float]] = field(default_factory=dict)
    """When posts of them were written, by classification."""


async def run(ctx: Context, settings: ServiceHealth) -> None:
    """Read states and open issues, and only when both are there tell them."""
    tenant = tenant_of(ctx)
    with ctx.step("token"):
        token = await sign_in(ctx, tenant, _NEEDS)
    with ctx.step("overviews"):
        overviews = await pages(ctx, tenant, token, Service.SERVICE_HEALTH, f"{_ROOT}/healthOverviews", limit=_BYTES)
        told = _states(ctx, overviews)
    with ctx.step("issues"):
        query = (("$filter", "isResolved eq false"),)
        issues = await pages(ctx, tenant, token, Service.SERVICE_HEALTH, f"{_ROOT}/issues", query=query, limit=_BYTES)
        await _add_issues(told, overviews, issues)
    _measure(ctx, {product: told[product] for product in settings.products if product in told})
    _tell_issues(ctx, issues)


def _states(ctx: Context, overviews: Iterable[dict[str, Any]]) -> dict[str, _Told]:
    told: dict[str, _Told] = {}
    unknown = []
    for overview in overviews:
        service, status = overview.get("id"), overview.get("status")
        if not isinstance(service, str) or not isinstance(status, str):
            raise Failed(Reason.CONTENT_MISMATCH, "a service in the answer has no id or no status")
        of_product = told.setdefault(_SPELLED.get(service.lower(), OTHER), _Told())
        if status.lower() in STATES:
            of_product.healthy.append(STATES[status.lower()])
        else:
            unknown.append(f"{service}: {status}")
    if not told:
        raise Failed(Reason.CONTENT_MISMATCH, "the answer tells of no service at all")
    if unknown:
        ctx.evidence("unknown_states", ", ".join(unknown))
    return told


async def _add_issues(told: dict[str, _Told], overviews: Iterable[dict[str, Any]], issues: Iterable[dict[str, Any]]) -> None:
    """Count the open issues of each product. They name the service as people do, so the overviews say which id that is.

    What is not classified as an incident is an advisory: Graph has no third (serviceHealthClassificationType).
    """
    ids = {str(overview.get("service")).lower(): str(overview["id"]).lower() for overview in overviews}
    for issue in issues:
        if issue.get("isResolved") is True:
            continue
        name = str(issue.get("service")).lower()
        of_product = told.setdefault(_SPELLED.get(ids.get(name, name), OTHER), _Told())
        classification = _class_of(issue)
        of_product.issues[classification] += 1
        of_product.mentions.setdefault(classification, []).extend(_mentions(issue))
        # Other runs are not to wait for a long list.
        await asyncio.sleep(0)


def _mentions(issue: dict[str, Any]) -> list[float]:
    """Return when each post of an issue was written (Unix time)."""
    posts = issue.get("posts")
    if not isinstance(posts, list) or not all(isinstance(post, dict) for post in posts):
        raise Failed(Reason.CONTENT_MISMATCH, "an open issue in the answer has no list of posts")
    return [_moment(post.get("createdDateTime")) for post in posts]


def _moment(text: object) -> float:
    try:
        when = datetime.fromisoformat(str(text))
    except ValueError as error:
        raise Failed(Reason.CONTENT_MISMATCH, "a post of an open issue does not say when it was written") from error
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def _measure(ctx: Context, told: dict[str, _Told]) -> None:
    for product, said in told.items():
        labels = product, str(_WORKLOADS.get(product, OTHER))
        if said.healthy:
            ctx.measure("healthy", min(said.healthy), *labels)
        ctx.measure("open_issues", said.issues.total(), *labels)
        ctx.measure("open_incidents", said.issues[INCIDENT], *labels)
        for classification, moments in said.mentions.items():
            if moments:
                ctx.measure("first_mention_timestamp_seconds", min(moments), *labels, classification)
    open_ones = [f"{product}: {said.issues.total()}" for product, said in told.items() if said.issues]
    ctx.evidence("open_issues", ", ".join(open_ones) or "none")


def _tell_issues(ctx: Context, issues: Iterable[dict[str, Any]]) -> None:
    """Keep number and title of the open issues as evidence, incidents first: what Microsoft knows, for whoever reads the page."""
    still_open = sorted((issue for issue in issues if issue.get("isResolved") is not True), key=lambda issue: _class_of(issue) != INCIDENT)
    for number, issue in enumerate(still_open[:_TOLD], start=1):
        ctx.evidence(f"{_class_of(issue)}_{number}", f"{issue.get('id')} {issue.get('service')}: {issue.get('title')}")


def _class_of(issue: dict[str, Any]) -> str:
    return INCIDENT if str(issue.get("classification")).lower() == INCIDENT else ADVISORY


_LABELS = ("product", "workload")
_TOLD = 5

PROBE = Probe(
    run,
    ServiceHealth,
    place=lambda _: Place(Layer.STATUS, Workload.ADMIN),
    steps=("token", "overviews", "issues"),
    measurements=(
        Measurement("healthy", "Whether Microsoft says that the service is healthy; absent where it says neither.", _LABELS, fleeting=True),
        Measurement("open_issues", "Issues of the service that Microsoft has not resolved, advisories included.", _LABELS, fleeting=True),
        Measurement("open_incidents", "Those of the open issues that Microsoft classifies as incidents.", _LABELS, fleeting=True),
        Measurement(
            "first_mention_timestamp_seconds",
            "When Microsoft wrote the earliest post of the service's open issues, incidents and advisories apart; absent without one.",
            (*_LABELS, "classification"),
            fleeting=True,
        ),
        *MEASUREMENTS,
    ),
    interval=300.0,
    floor=120.0,
    tenant=always,
    permissions=lambda _: _NEEDS,
    costs=lambda _: (Cost(Service.SERVICE_HEALTH, calls=2),),
)
