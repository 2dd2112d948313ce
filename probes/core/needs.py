"""What a kind needs of a tenant and of Microsoft's services: permissions, the app's registration, calls against the limits that are known.

The limits are Microsoft's published ones (learn.microsoft.com/graph/throttling-limits, and SharePoint's own page on throttling). They are
for one application in one tenant, or narrower where `Limit.each` says so, and may change; where several are known for a service, all count.
"""

from dataclasses import dataclass, replace
from enum import StrEnum


class Grant(StrEnum):
    """How a permission is given."""

    APPLICATION = "application"
    """To the application itself, for the whole tenant unless it is narrowed."""
    DELEGATED = "delegated"
    """To the application on behalf of the user who signed in with `fogbell login`."""


class Scope(StrEnum):
    """How far a permission reaches, and what narrows it."""

    TENANT = "tenant"
    """The whole tenant; nothing narrows it."""
    MAILBOXES = "mailboxes"
    """The mailboxes that RBAC for Applications of Exchange Online names."""
    OPENED = "opened"
    """The mailboxes on which Exchange gives the application full access, as IMAP and POP3 need it: Entra's grant alone opens none."""
    SITES = "sites"
    """The sites that were granted one by one (Sites.Selected)."""
    TEAM = "team"
    """One team or chat, by resource-specific consent."""
    MEETINGS = "meetings"
    """The users whom an application access policy of Teams names."""


class Api(StrEnum):
    """Whose permission it is."""

    GRAPH = "graph"
    """Microsoft Graph."""
    EXCHANGE = "exchange"
    """Office 365 Exchange Online."""


WIDER: dict[str, frozenset[str]] = {
    "Calendars.Read": frozenset({"Calendars.ReadWrite"}),
    "Chat.Read": frozenset({"Chat.ReadWrite"}),
    "Files.Read": frozenset({"Files.ReadWrite"}),
    "Files.Read.All": frozenset({"Files.ReadWrite.All"}),
    "Mail.Read": frozenset({"Mail.ReadWrite"}),
    "Mail.ReadBasic": frozenset({"Mail.Read", "Mail.ReadWrite"}),
    "Mail.ReadBasic.All": frozenset({"Mail.Read", "Mail.ReadWrite"}),
    "OnlineMeetings.Read": frozenset({"OnlineMeetings.ReadWrite"}),
    "OnlineMeetings.Read.All": frozenset({"OnlineMeetings.ReadWrite.All"}),
    "Sites.Read.All": frozenset({"Sites.ReadWrite.All"}),
}
"""Permissions of Graph that let an application do all that a narrower one does, by its name.

Source: the permissions of each operation, learn.microsoft.com/graph/permissions-reference.
"""


@dataclass(frozen=True, slots=True)
class Permission:
    """One least permission that a probe needs. `name` is as Microsoft spells it; `why` says in a few words what it is for.

    `targets` are what a narrowed permission is for, as the settings name them: addresses of mailboxes, URLs of sites, ids of teams, chats
    or users. `writes` says that a site is written to, too.
    """

    name: str
    why: str
    grant: Grant = Grant.APPLICATION
    scope: Scope = Scope.TENANT
    api: Api = Api.GRAPH
    targets: tuple[str, ...] = ()
    writes: bool = False


@dataclass(frozen=True, slots=True)
class Registration:
    """What the registration of the tenant's application has to say for a probe, which no permission covers.

    `redirects` are redirect URIs of a mobile or desktop application, as the probe sends them. `public_flows` says that public client flows
    have to be allowed, as device codes need them.
    """

    redirects: tuple[str, ...] = ()
    public_flows: bool = False


class Service(StrEnum):
    """What has limits of its own."""

    LOGIN = "login"
    """Entra's token service; no limit is published."""
    DIRECTORY = "directory"
    """Users, groups, organization: resource units."""
    OUTLOOK = "outlook"
    """Mail and calendar in Microsoft Graph."""
    FILES = "files"
    """SharePoint and OneDrive: resource units."""
    TEAMS = "teams"
    """Teams, channels, chats."""
    MEETINGS = "meetings"
    """Online meetings."""
    PRESENCE = "presence"
    """Presence of users."""
    SERVICE_HEALTH = "service_health"
    """Service health and message centre."""
    SECURITY = "security"
    """Defender and Purview: incidents, alerts, scores, labels."""
    HUNTING = "hunting"
    """Advanced hunting of Defender: a quota of the whole tenant, larger for larger ones."""
    EDISCOVERY = "ediscovery"
    """eDiscovery of Purview."""
    AUDIT_SEARCH = "audit_search"
    """Searches of Purview's audit log; no limit is published. That of audit logs and sign-ins is for Entra's own."""
    GRAPH = "graph"
    """Anything else in Microsoft Graph: only its limit for all calls together counts."""


_FEW, _MINUTE, _DAY = 10.0, 60.0, 86_400.0

NOTABLE_SHARE = 0.1
"""Share of a limit above which our own calls explain that a service turns us away."""


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `units` within `seconds`. A unit is a call, or a resource unit where a service counts those.

    `each`: for each mailbox, organiser, team or chat, and not for all of them together.
    """

    units: float
    seconds: float
    each: bool = False

    @property
    def watched(self) -> "Limit":
        """The same over a minute, where it is for a few seconds only.

        A run makes its calls one after the other, and the starts of probes are spread: of a limit for one second, the three calls of one
        run that follow each other would be a large share, and yet say nothing about how near the limit is.
        """
        return self if self.seconds >= _FEW else replace(self, units=self.units * _MINUTE / self.seconds, seconds=_MINUTE)

    def is_notable(self, units: float) -> bool:
        """Say whether so many units of ours in a window are enough to be turned away for; a single call never is."""
        return units > max(NOTABLE_SHARE * self.units, 1.0)


@dataclass(frozen=True, slots=True)
class Cost:
    """What a good run asks of a service: calls, and the service's own units where they differ."""

    service: Service
    calls: float
    units: float = 0.0

    @property
    def weight(self) -> float:
        """Units that count against the service's limit."""
        return self.units or self.calls


LIMITS: dict[Service, tuple[Limit, ...]] = {
    Service.LOGIN: (),
    Service.DIRECTORY: (Limit(3_500, 10),),
    Service.OUTLOOK: (Limit(10_000, 600, each=True),),
    Service.FILES: (Limit(1_200, 60), Limit(1_200_000, _DAY)),
    Service.TEAMS: (Limit(20, 1), Limit(4, 1, each=True)),
    Service.MEETINGS: (Limit(2_000, 30 * _DAY, each=True),),
    Service.PRESENCE: (Limit(1_500, 30),),
    Service.SERVICE_HEALTH: (Limit(240, 60), Limit(800, 3_600)),
    Service.SECURITY: (Limit(150, 60),),
    Service.HUNTING: (Limit(45, 60), Limit(1_500, 3_600)),
    Service.EDISCOVERY: (Limit(5, 60),),
    Service.AUDIT_SEARCH: (),
    Service.GRAPH: (Limit(130_000, 10),),
}
"""Limits by service: of the sizes of a tenant, and of the kinds of call, the smallest.

That of security is published for alerts and scores, and taken for all of Defender and Purview that has none of its own. Hunting's is for
the tenant, whoever asks. How many messages an application may write into a channel in a day is not here: no probe writes into channels.
"""
