"""Defender and Purview: incidents, alerts, hunting, scores, labels, cases, and searches of the audit log.

https://learn.microsoft.com/en-us/graph/api/resources/security-api-overview. What a tenant without a licence, an app without a role and a
tenant without an audit log are told is documented nowhere; it is played as public reports of such tenants show it.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from uuid import NAMESPACE_URL, UUID, uuid5

from agent.drill.graph.frame import Answer, Call, GraphError, Operation
from agent.drill.graph.moments import moment, seconds_of
from agent.drill.graph.odata import entity, page
from agent.drill.world import World

AUDIT_STARTS_AFTER_SECONDS = 2.0
"""How long a search of the audit log waits before it runs."""
AUDIT_TAKES_SECONDS = 8.0
"""How long after it was asked for it is over: seconds where Purview takes minutes to hours, so that a demonstration sees one end."""
DEFENDER, PURVIEW = "defender", "purview"
EDISCOVERY, AUDIT = "ediscovery", "audit"
_HOUR_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Search:
    """A search of the audit log. Nobody can delete one."""

    id: str
    name: str | None
    start: float
    end: float
    filters: Mapping[str, list[str]]
    asked: float


class Security:
    """What the security side of one world holds, the licences it was bought with, and how it is set up."""

    def __init__(self, world: World) -> None:
        self.licences = {DEFENDER, PURVIEW}
        """Take one out, and its services refuse everybody."""
        self.roles = {EDISCOVERY, AUDIT}
        """In which role groups of Purview and Exchange callers are. Take one out, and no permission helps."""
        self.auditing = True
        """Whether the tenant records its audit log."""
        self.quiet = False
        """Whether there is no incident, alert, score, label and case at all."""
        self.capitals = False
        """Whether names in answers of hunting begin with capitals, as an older documentation has them."""
        self.search_ends: Literal["succeeded", "failed", "cancelled"] = "succeeded"
        """How searches of the audit log end."""
        self.search_seconds = AUDIT_TAKES_SECONDS
        """How long they take."""
        self.started = world.now()
        self.searches: dict[str, Search] = {}

    def page(self, call: Call, entries: list[dict[str, Any]], size: int = 100) -> Answer:
        """Answer with entries, or with none where all is quiet."""
        return page(call, [] if self.quiet else entries, size)


def _licensed(world: World, licence: str) -> Security:
    """Give the state, where the tenant has the licence.

    Raises:
        GraphError: 403 where it has not.

    """
    security = world.of(Security)
    if licence not in security.licences:
        raise GraphError(403, "Forbidden", "Account is not provisioned.")
    return security


def _auditor(world: World, call: Call) -> Security:
    """Give the state, where the tenant has an audit log and the caller may search it.

    Raises:
        GraphError: 400 where it has none, 403 where the caller may not, or there is no licence.

    """
    security = _licensed(world, PURVIEW)
    if AUDIT not in security.roles:
        who = f"User:{call.caller.user_id}" if call.caller.user_id else f"App:{call.caller.app_id}"
        raise GraphError(403, "UnknownError", f'{{"Message":"{who} dont have any permissions"}}')
    if not security.auditing:
        raise GraphError(400, "UnknownError", '{"Message":"Status: AuditingDisabledTenant"}')
    return security


def _guid(name: str) -> str:
    return str(uuid5(NAMESPACE_URL, name))


def _common(world: World, hours: float) -> dict[str, Any]:
    """Give what incidents and alerts have in common: tenant and times, counted back from the world's first moment."""
    start = world.of(Security).started
    return {
        "tenantId": world.tenant_id,
        "createdDateTime": moment(start - hours * _HOUR_SECONDS),
        "lastUpdateDateTime": moment(start - (hours - 1) * _HOUR_SECONDS),
        "classification": "unknown",
        "determination": "unknown",
    }


def list_incidents(world: World, call: Call) -> Answer:
    """Answer with the incidents of Defender."""
    security = _licensed(world, DEFENDER)
    return security.page(call, [_incident(world, 2, "resolved", 40), _incident(world, 1, "active", 6)], 50)


def _incident(world: World, number: int, status: str, hours: float) -> dict[str, Any]:
    return _common(world, hours) | {
        "id": str(290_000 + number),
        "displayName": "Unusual sign-in of one user",
        "severity": "medium",
        "status": status,
        "assignedTo": None,
        "priorityScore": 40,
        "redirectIncidentId": None,
        "incidentWebUrl": f"https://security.microsoft.com/incidents/{290_000 + number}?tid={world.tenant_id}",
        "customTags": [],
        "systemTags": [],
        "comments": [],
    }


def list_alerts(world: World, call: Call) -> Answer:
    """Answer with the alerts of Defender."""
    security = _licensed(world, DEFENDER)
    return security.page(call, [_alert(world, number, hours) for number, hours in ((1, 6), (2, 40))], 50)


def _alert(world: World, number: int, hours: float) -> dict[str, Any]:
    return _common(world, hours) | {
        "id": f"da{_guid(f'alert{number}').replace('-', '')}_1",
        "providerAlertId": f"da{_guid(f'alert{number}').replace('-', '')}_1",
        "incidentId": str(290_000 + number),
        "title": "Unusual sign-in",
        "description": "A user signed in from a place that is new for them.",
        "category": "InitialAccess",
        "severity": "medium",
        "status": "new",
        "serviceSource": "azureAdIdentityProtection",
        "detectionSource": "azureAdIdentityProtection",
        "productName": "Microsoft Entra ID Protection",
        "alertWebUrl": f"https://security.microsoft.com/alerts/{number}?tid={world.tenant_id}",
    }


def list_scores(world: World, call: Call) -> Answer:
    """Answer with the secure score of each of the last days, the latest first."""
    security, people = _licensed(world, DEFENDER), len(world.people)
    start = security.started
    days = [moment(start - day * 24 * _HOUR_SECONDS) for day in range(3)]
    scores = [
        {
            "id": f"{world.tenant_id}_{day[:10]}",
            "azureTenantId": world.tenant_id,
            "activeUserCount": people,
            "licensedUserCount": people,
            "createdDateTime": f"{day[:10]}T00:00:00Z",
            "currentScore": 387.0,
            "maxScore": 697.0,
            "enabledServices": ["HasExchange", "HasSharePoint"],
        }
        for day in days
    ]
    return security.page(call, scores, 10)


_PRINT = re.compile(r"\s*print\s+(.+?)\s*;?\s*", re.DOTALL)
_COLUMN = re.compile(r"""\s*(?:(\w+)\s*=\s*)?(?:(-?\d+)|"([^"]*)"|'([^']*)')\s*""")
_TABLE = re.compile(r"\s*(\w+)\s*\|\s*(?:take|limit)\s+(\d+)\s*", re.IGNORECASE)
_TABLES = frozenset({"AlertInfo", "DeviceInfo", "EmailEvents", "IdentityLogonEvents", "SigninLogs"})


def run_hunting_query(world: World, call: Call) -> Answer:
    """Run a query of the two simplest forms: `print name=value, …` and `Table | take n` (whose tables are empty)."""
    security = _licensed(world, DEFENDER)
    # The names of an action's parameters count in any case of letters: the documentation and the metadata differ.
    body = {str(key).lower(): value for key, value in (call.body if isinstance(call.body, dict) else {}).items()}
    query, timespan = body.get("query"), body.get("timespan")
    if not isinstance(query, str) or not query.strip():
        raise GraphError(400, "BadRequest", "The query is empty.")
    if timespan is not None and not re.fullmatch(r"P\S+(/\S+)?|\d{4}-\S+(/\S+)?", str(timespan)):
        raise GraphError(400, "BadRequest", f"'{timespan}' is no ISO 8601 timespan.")
    row = _row(query)
    schema = [{"name": name, "type": "Int64" if isinstance(value, int) else "String"} for name, value in row.items()]
    context = {"@odata.context": f"{world.url('graph')}/v1.0/$metadata#microsoft.graph.security.huntingQueryResults"}
    rows = [row] if row else []
    if security.capitals:
        return Answer({**context, "Schema": list(map(_capital, schema)), "Results": list(map(_capital, rows))})
    return Answer({**context, "schema": schema, "results": rows})


def _capital(names: Mapping[str, Any]) -> dict[str, Any]:
    return {name.capitalize(): value for name, value in names.items()}


def _row(query: str) -> dict[str, int | str]:
    """Give the row that a query makes; none for an empty table.

    Raises:
        GraphError: 400 for a query that this tenant does not understand.

    """
    if (table := _TABLE.fullmatch(query)) and table[1] in _TABLES:
        return {}
    if printed := _PRINT.fullmatch(query):
        columns = [_COLUMN.fullmatch(column) for column in printed[1].split(",")]
        if all(columns):
            return {found[1] or f"print_{n}": _scalar(found) for n, found in enumerate(columns) if found}
    raise GraphError(400, "BadRequest", "Syntax error in the query. Fix it and try again.")


def _scalar(column: re.Match[str]) -> int | str:
    return int(column[2]) if column[2] else str(column[3] or column[4] or "")


_SENSITIVITY = (("Public", False), ("General", False), ("Confidential", True), ("Highly Confidential", True))


def list_sensitivity_labels(world: World, call: Call) -> Answer:
    """Answer with the sensitivity labels of the tenant."""
    security = _licensed(world, PURVIEW)
    labels = [
        {
            "id": _guid(f"label {name}"),
            "name": name,
            "displayName": name,
            "description": f"Data that is {name.lower()}.",
            "toolTip": f"Data that is {name.lower()}.",
            "hasProtection": protects,
            "isDefault": name == "General",
            "isEndpointProtectionEnabled": False,
            "isScopedToUser": True,
            "priority": priority,
            "actionSource": "manual",
            "locale": "en-us",
        }
        for priority, (name, protects) in enumerate(_SENSITIVITY)
    ]
    return security.page(call, labels)


def list_retention_labels(world: World, call: Call) -> Answer:
    """Answer with the retention labels of the tenant."""
    start = _licensed(world, PURVIEW).started
    label = {
        "id": _guid("retention"),
        "displayName": "Keep for seven years",
        "descriptionForUsers": "Papers that the law wants kept.",
        "descriptionForAdmins": None,
        "behaviorDuringRetentionPeriod": "retain",
        "actionAfterRetentionPeriod": "delete",
        "retentionTrigger": "dateLabeled",
        "isInUse": True,
        "createdDateTime": moment(start - 9000 * _HOUR_SECONDS),
        "lastModifiedDateTime": moment(start - 9000 * _HOUR_SECONDS),
    }
    return page(call, [label])


def list_cases(world: World, call: Call) -> Answer:
    """Answer with the eDiscovery cases of the tenant, to whoever is in a role group of eDiscovery; a permission alone opens nothing."""
    security = _licensed(world, PURVIEW)
    if EDISCOVERY not in security.roles:
        raise GraphError(401, "UnknownError", "")
    start = security.started
    case = {
        "id": _guid("case"),
        "displayName": "Contoso against Fabrikam",
        "description": "",
        "externalId": None,
        "status": "active",
        "createdDateTime": moment(start - 500 * _HOUR_SECONDS),
        "lastModifiedDateTime": moment(start - 400 * _HOUR_SECONDS),
        "closedDateTime": None,
    }
    return security.page(call, [case])


_FILTERS = ("operationFilters", "serviceFilters", "userPrincipalNameFilters")


def create_search(world: World, call: Call) -> Answer:
    """Ask for a search of the audit log."""
    security = _auditor(world, call)
    body = call.body if isinstance(call.body, dict) else {}
    try:
        start, end = seconds_of(body["filterStartDateTime"]), seconds_of(body["filterEndDateTime"])
    except (KeyError, TypeError, ValueError):
        raise GraphError(400, "BadRequest", "filterStartDateTime and filterEndDateTime are required.") from None
    if start >= end:
        raise GraphError(400, "BadRequest", "filterStartDateTime must be before filterEndDateTime.")
    name = body.get("displayName")
    filters = {each: body.get(each, []) for each in _FILTERS}
    if not isinstance(name, str | None) or not all(_words(given) for given in filters.values()):
        raise GraphError(400, "BadRequest", "The name is a text, filters are lists of texts.")
    search = Search(str(UUID(int=world.random.getrandbits(128), version=4)), name, start, end, filters, world.now())
    security.searches[search.id] = search
    return entity(call, _shown_search(world, search), status=201)


def _words(given: object) -> bool:
    return isinstance(given, list) and all(isinstance(each, str) for each in given)


def get_search(world: World, call: Call) -> Answer:
    """Answer with a search of the audit log and how far it is."""
    search = _auditor(world, call).searches.get(call.path["auditLogQuery-id"])
    if search is None:
        raise GraphError(404, "NotFound", "The audit log query was not found.")
    return entity(call, _shown_search(world, search))


def _shown_search(world: World, search: Search) -> dict[str, Any]:
    security, age = world.of(Security), world.now() - search.asked
    waits = min(AUDIT_STARTS_AFTER_SECONDS, security.search_seconds / 2)
    status = "notStarted" if age < waits else "running" if age < security.search_seconds else security.search_ends
    return {
        "id": search.id,
        "displayName": search.name,
        "filterStartDateTime": moment(search.start),
        "filterEndDateTime": moment(search.end),
        "keywordFilter": None,
        "status": status,
        **search.filters,
    }


def _any(*names: str) -> frozenset[str]:
    return frozenset(names)


def _get(path: str, run: Callable[[World, Call], Answer], service: str, name: str, permissions: frozenset[str]) -> Operation:
    """Make a read that apps and people may do with the same permissions."""
    return Operation("GET", f"/security/{path}", run, service, name, permissions, permissions)


_AUDIT = _any(
    "AuditLogsQuery-Entra.Read.All",
    "AuditLogsQuery-Exchange.Read.All",
    "AuditLogsQuery-SharePoint.Read.All",
    "AuditLogsQuery-OneDrive.Read.All",
    "AuditLogsQuery-Endpoint.Read.All",
    "AuditLogsQuery-CRM.Read.All",
    "AuditLogsQuery.Read.All",
)
_HUNT = _any("ThreatHunting.Read.All")
_RECORDS = _any("RecordsManagement.Read.All", "RecordsManagement.ReadWrite.All")

OPERATIONS = (
    _get("incidents", list_incidents, "security", "incidents", _any("SecurityIncident.Read.All", "SecurityIncident.ReadWrite.All")),
    _get("alerts_v2", list_alerts, "security", "alerts", _any("SecurityAlert.Read.All", "SecurityAlert.ReadWrite.All")),
    Operation("POST", "/security/runHuntingQuery", run_hunting_query, "hunting", "hunting", _HUNT, _HUNT),
    Operation("POST", "/security/microsoft.graph.security.runHuntingQuery", run_hunting_query, "hunting", "hunting", _HUNT, _HUNT),
    _get("secureScores", list_scores, "security", "scores", _any("SecurityEvents.Read.All", "SecurityEvents.ReadWrite.All")),
    _get(
        "dataSecurityAndGovernance/sensitivityLabels",
        list_sensitivity_labels,
        "security",
        "labels",
        _any("SensitivityLabel.Read", "SensitivityLabels.Read.All"),
    ),
    Operation("GET", "/security/labels/retentionLabels", list_retention_labels, "security", "labels", delegated=_RECORDS),
    _get("cases/ediscoveryCases", list_cases, "ediscovery", "ediscovery", _any("eDiscovery.Read.All", "eDiscovery.ReadWrite.All")),
    Operation("POST", "/security/auditLog/queries", create_search, "audit_search", "audit", _AUDIT, _AUDIT),
    _get("auditLog/queries/{auditLogQuery-id}", get_search, "audit_search", "audit", _AUDIT),
)
"""What this area answers."""
