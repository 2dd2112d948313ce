"""Service health as Microsoft tells it: the state of each service, issues with their posts, and messages.

What it says is a claim of its own, not what the rest of the tenant does: `StatusSource` faults and `Health.declare` change it.
https://learn.microsoft.com/en-us/graph/api/resources/service-communications-api-overview
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agent.drill.faults import Fault, StatusSource, share_at
from agent.drill.graph.frame import Answer, Call, GraphError, Operation
from agent.drill.graph.moments import moment
from agent.drill.graph.odata import entity, page
from agent.drill.world import World

HEALTHY = "serviceOperational"
RESTORED = "serviceRestored"
RESOLVED = frozenset(
    {RESTORED, "falsePositive", "postIncidentReviewPublished", "resolved", "mitigated", "mitigatedExternal", "resolvedExternal"}
)
"""States in which an issue is over."""
_DAY_SECONDS = 86400.0


@dataclass(frozen=True, slots=True)
class Service:
    """A service as service health lists it, the letters its issues begin with, and the services of Graph that it stands for."""

    id: str
    name: str
    letters: str
    plays: frozenset[str] = frozenset()


SERVICES = (
    Service("Exchange", "Exchange Online", "EX", frozenset({"outlook", "mail"})),
    Service("OrgLiveID", "Microsoft Entra", "MN", frozenset({"directory", "login", "entra"})),
    Service("OSDPPlatform", "Microsoft 365 suite", "MO", frozenset({"search", "portals"})),
    Service("Lync", "Skype for Business", "LY"),
    Service("SharePoint", "SharePoint Online", "SP", frozenset({"files"})),
    Service("OneDriveForBusiness", "OneDrive for Business", "OD", frozenset({"files"})),
    Service("microsoftteams", "Microsoft Teams", "TM", frozenset({"teams", "meetings", "presence"})),
    Service("Microsoft365Defender", "Microsoft Defender XDR", "DZ", frozenset({"security", "hunting"})),
    Service("Purview", "Microsoft Purview", "MP", frozenset({"ediscovery", "audit_search"})),
    Service("RMS", "Azure Information Protection", "RM"),
    Service("Intune", "Microsoft Intune", "IT"),
    Service("MobileDeviceManagement", "Mobile Device Management for Office 365", "MM"),
    Service("officeonline", "Office for the web", "OO"),
    Service("O365Client", "Microsoft 365 apps", "OP"),
    Service("Planner", "Planner", "PL"),
    Service("Forms", "Microsoft Forms", "FM"),
    Service("yammer", "Viva Engage", "YA"),
    Service("PowerBIcom", "Power BI", "PB"),
)
"""Ids as the service gives them, not all of which a reader would guess."""


@dataclass(frozen=True, slots=True)
class Post:
    """What Microsoft wrote about an issue, and when."""

    created: float
    text: str


@dataclass(slots=True)
class Issue:
    """Something that Microsoft says is wrong, or was."""

    id: str
    service: Service
    title: str
    classification: str
    start: float
    status: str
    posts: list[Post] = field(default_factory=list)
    end: float | None = None


class Health:
    """What service health says in one world. All is well at first; one old issue is over."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._start = world.now()
        self._told: set[tuple[str, Fault]] = set()
        self._followed: dict[str, Issue] = {}
        """The open issue of each service that faults have made."""
        self.issues: list[Issue] = []
        old = self.declare("SharePoint", title="Users may have been unable to open some files", at=self._start - 9 * _DAY_SECONDS)
        self.resolve(old, at=self._start - 8 * _DAY_SECONDS)

    def declare(self, service: str, status: str = "serviceDegradation", *, title: str = "", at: float | None = None) -> Issue:
        """Let Microsoft mention a new issue of a service, named by id, now or at a moment before.

        Raises:
            StopIteration: where there is no such service.

        """
        about = next(each for each in SERVICES if each.id == service)
        when = self._world.now() if at is None else at
        title = title or f"Some users may be unable to use {about.name}"
        issue = Issue(f"{about.letters}{1_200_000 + len(self.issues)}", about, title, "incident", when, status)
        issue.posts.append(Post(when, f"Title: {title}. Current status: we are looking into it."))
        self.issues.append(issue)
        return issue

    def post(self, issue: Issue, status: str, text: str = "", at: float | None = None) -> None:
        """Let Microsoft write more about an issue, and change its state."""
        issue.status = status
        when = self._world.now() if at is None else at
        issue.posts.append(Post(when, text or f"Current status: {status}."))
        issue.end = (issue.end or when) if status in RESOLVED else None

    def resolve(self, issue: Issue, at: float | None = None) -> None:
        """Let Microsoft say that an issue is over."""
        self.post(issue, RESTORED, at=at)

    def state(self, service: Service) -> str:
        """Say how a service is: as its latest issue that is open, or still talked about."""
        spoken = [
            issue for issue in self.issues if issue.service == service and (issue.end is None or issue is self._followed.get(service.id))
        ]
        return spoken[-1].status if spoken else HEALTHY

    def follow(self) -> None:
        """Tell what the faults that speak here claim by now; an issue ends with the last of them."""
        now = self._world.now()
        for service in SERVICES:
            claims = [fault for fault in self._world.faults if _claim(self._world, fault, service) and fault.first <= now]
            for fault in sorted(claims, key=lambda each: each.first):
                self._tell(service, fault, _claim(self._world, fault, service))
            issue = self._followed.get(service.id)
            if issue and not any(share_at(fault, now) > 0 for fault in claims):
                over = max([fault.until for fault in claims if fault.until <= now], default=now)
                if issue.end is None:
                    self.resolve(issue, at=over)
                del self._followed[service.id]

    def _tell(self, service: Service, fault: Fault, state: str) -> None:
        """Tell once what a fault claims, as of the moment it began."""
        if (service.id, fault) in self._told:
            return
        self._told.add((service.id, fault))
        at = self._start if fault.first == -math.inf else fault.first
        issue = self._followed.get(service.id)
        if issue is None:
            self._followed[service.id] = self.declare(service.id, state, at=at)
        else:
            self.post(issue, state, at=at)


def _claim(world: World, fault: Fault, service: Service) -> str:
    """Give the state that a fault claims of this service, or ""; one that names no service speaks of the suite as a whole."""
    elsewhere = fault.where.regions and world.region not in fault.where.regions
    named = fault.where.services or {"OSDPPlatform"}
    if elsewhere or not named & (service.plays | {service.id, service.name}):
        return ""
    return fault.effect.state if isinstance(fault.effect, StatusSource) else ""


def _health(world: World) -> Health:
    """Give what service health says now.

    Raises:
        GraphError: with the status that a fault wants of the status source itself.

    """
    for fault in world.faults.hits("graph", StatusSource, operation="health", service="service_health", region=world.region):
        if isinstance(fault.effect, StatusSource) and fault.effect.status:
            headers = {"Retry-After": "60"} if fault.effect.status == 429 else {}  # noqa: PLR2004 - Too Many Requests
            raise GraphError(fault.effect.status, "UnknownError", "Service health cannot be read at the moment.", headers=headers)
    health = world.of(Health)
    health.follow()
    return health


def _shown_issue(issue: Issue) -> dict[str, Any]:
    return {
        "id": issue.id,
        "title": issue.title,
        "service": issue.service.name,
        "status": issue.status,
        "classification": issue.classification,
        "origin": "microsoft",
        "feature": "Access",
        "featureGroup": "Service availability",
        "impactDescription": issue.title,
        "isResolved": issue.end is not None,
        "startDateTime": moment(issue.start),
        "endDateTime": moment(issue.end) if issue.end is not None else None,
        "lastModifiedDateTime": moment(issue.posts[-1].created),
        "details": [],
        "posts": [
            {"createdDateTime": moment(post.created), "postType": "regular", "description": {"contentType": "html", "content": post.text}}
            for post in issue.posts
        ],
    }


def _shown_service(health: Health, service: Service, query: Mapping[str, str]) -> dict[str, Any]:
    shown: dict[str, Any] = {"service": service.name, "status": health.state(service), "id": service.id}
    if "issues" in query.get("$expand", ""):
        shown["issues@odata.count"] = sum(issue.service == service for issue in health.issues)
        shown["issues"] = [_shown_issue(issue) for issue in health.issues if issue.service == service]
    return shown


def list_services(world: World, call: Call) -> Answer:
    """Answer with the state of all services, and their issues where `$expand` asks for them."""
    health = _health(world)
    return page(call, [_shown_service(health, service, call.query) for service in SERVICES])


def get_service(world: World, call: Call) -> Answer:
    """Answer with the state of one service."""
    health, wanted = _health(world), call.path["serviceHealth-id"].lower()
    service = next((each for each in SERVICES if wanted in (each.id.lower(), each.name.lower())), None)
    if service is None:
        raise GraphError(404, "UnknownError", f"Service {call.path['serviceHealth-id']} was not found in the tenant's subscriptions.")
    return entity(call, _shown_service(health, service, call.query))


def list_issues(world: World, call: Call) -> Answer:
    """Answer with issues, open ones and those that are over."""
    return page(call, [_shown_issue(issue) for issue in _health(world).issues])


def list_messages(world: World, call: Call) -> Answer:
    """Answer with the messages of the message centre."""
    _health(world)
    now = world.now()
    shown = [
        _message(
            "MC1000001", "Basic authentication ends for client submission", now - 30 * _DAY_SECONDS, "planForChange", "Exchange Online"
        )
    ]
    shown.append(_message("MC1000002", "Teams: a new view of channels", now - 5 * _DAY_SECONDS, "stayInformed", "Microsoft Teams"))
    return page(call, shown)


def _message(name: str, title: str, start: float, category: str, service: str) -> dict[str, Any]:
    return {
        "id": name,
        "title": title,
        "category": category,
        "severity": "normal",
        "isMajorChange": category == "planForChange",
        "services": [service],
        "tags": ["Admin impact"],
        "startDateTime": moment(start),
        "endDateTime": moment(start + 90 * _DAY_SECONDS),
        "lastModifiedDateTime": moment(start),
        "actionRequiredByDateTime": None,
        "hasAttachments": False,
        "details": [],
        "viewPoint": None,
        "body": {"contentType": "html", "content": f"<p>{title}</p>"},
    }


_READ = frozenset({"ServiceHealth.Read.All"})
_READ_MESSAGES = frozenset({"ServiceMessage.Read.All"})
_ROOT = "/admin/serviceAnnouncement"

OPERATIONS = (
    Operation("GET", f"{_ROOT}/healthOverviews", list_services, "service_health", "health", _READ, _READ),
    Operation("GET", f"{_ROOT}/healthOverviews/{{serviceHealth-id}}", get_service, "service_health", "health", _READ, _READ),
    Operation("GET", f"{_ROOT}/issues", list_issues, "service_health", "health", _READ, _READ),
    Operation("GET", f"{_ROOT}/messages", list_messages, "service_health", "health", _READ_MESSAGES, _READ_MESSAGES),
)
"""What this area answers."""
