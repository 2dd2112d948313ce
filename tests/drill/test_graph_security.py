from collections.abc import AsyncIterator
from typing import Any

import pytest

from agent.drill.graph.security import AUDIT as AUDITORS
from agent.drill.graph.security import AUDIT_STARTS_AFTER_SECONDS, AUDIT_TAKES_SECONDS, DEFENDER, EDISCOVERY, PURVIEW, Security
from tests.drill.graph import Client, graph_client

AUDIT, HUNT = "AuditLogsQuery-Entra.Read.All", "ThreatHunting.Read.All"
PATHS = ["/security/runHuntingQuery", "/security/microsoft.graph.security.runHuntingQuery"]


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with graph_client() as client:
        yield client


LISTS = [
    ("/security/incidents", "SecurityIncident.Read.All", DEFENDER, 2),
    ("/security/alerts_v2", "SecurityAlert.Read.All", DEFENDER, 2),
    ("/security/secureScores", "SecurityEvents.Read.All", DEFENDER, 3),
    ("/security/dataSecurityAndGovernance/sensitivityLabels", "SensitivityLabel.Read", PURVIEW, 4),
    ("/security/cases/ediscoveryCases", "eDiscovery.Read.All", PURVIEW, 1),
]


@pytest.mark.parametrize(("path", "permission", "licence", "count"), LISTS)
async def test_lists_have_pages_permissions_and_licences(client: Client, path: str, permission: str, licence: str, count: int) -> None:
    assert len((await client.ask("GET", path, permission)).items) == count
    top = await client.ask("GET", path, permission, query={"$top": "1"})
    assert len(top.items) == 1
    assert ("@odata.nextLink" in top.body) == (count > 1)
    assert (await client.ask("GET", path, "User.Read.All")).status == 403
    client.world.of(Security).licences.discard(licence)
    refused = await client.ask("GET", path, permission)
    assert (refused.status, refused.code) == (403, "Forbidden")
    client.world.of(Security).licences.add(licence)
    client.world.of(Security).quiet = True
    assert (await client.ask("GET", path, permission)).items == []


async def test_a_permission_opens_no_case_to_whoever_is_in_no_role_group(client: Client) -> None:
    client.world.of(Security).roles.discard(EDISCOVERY)
    refused = await client.ask("GET", "/security/cases/ediscoveryCases", "eDiscovery.Read.All")
    assert (refused.status, refused.code) == (401, "UnknownError")


async def test_incidents_can_be_cut_down(client: Client) -> None:
    query = {"$top": "1", "$select": "id,status,severity,lastUpdateDateTime", "$orderby": "lastUpdateDateTime desc"}
    (latest,) = (await client.ask("GET", "/security/incidents", "SecurityIncident.Read.All", query=query)).items
    assert set(latest) == {"id", "status", "severity", "lastUpdateDateTime"}
    assert latest["status"] == "active"


async def test_retention_labels_are_for_people_only(client: Client) -> None:
    path, permission = "/security/labels/retentionLabels", "RecordsManagement.Read.All"
    assert (await client.ask("GET", path, permission)).status == 403
    (label,) = (await client.ask("GET", path, permission, by=client.world.people[0])).items
    assert label["behaviorDuringRetentionPeriod"] == "retain"


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "body", [{"query": "print ok=1", "timespan": "P1D"}, {"Query": "print ok=1", "Timespan": "P1D"}, {"query": "print ok = 1"}]
)
async def test_a_constant_query_gives_a_row(client: Client, path: str, body: dict[str, str]) -> None:
    found = await client.ask("POST", path, HUNT, body=body)
    assert found.status == 200
    assert found.body["schema"] == [{"name": "ok", "type": "Int64"}]
    assert found.body["results"] == [{"ok": 1}]


@pytest.mark.parametrize(
    ("query", "rows"),
    [("print a=1, b='two', 3", [{"a": 1, "b": "two", "print_2": 3}]), ('print "x"', [{"print_0": "x"}]), ("EmailEvents | take 1", [])],
)
async def test_small_queries_are_understood(client: Client, query: str, rows: list[dict[str, Any]]) -> None:
    assert (await client.ask("POST", PATHS[0], HUNT, body={"query": query})).body["results"] == rows


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"query": " "},
        {"query": "prunt 1"},
        {"query": "print a=b"},
        {"query": "Nowhere | take 1"},
        {"query": "print 1", "timespan": "1 day"},
    ],
)
async def test_what_is_no_query_is_refused(client: Client, body: dict[str, str]) -> None:
    reply = await client.ask("POST", PATHS[0], HUNT, body=body)
    assert (reply.status, reply.code) == (400, "BadRequest")


SEARCH = {
    "displayName": "probe",
    "filterStartDateTime": "2026-11-23T11:00:00Z",
    "filterEndDateTime": "2026-11-23T12:00:00Z",
    "operationFilters": ["UserLoggedIn"],
}


async def test_a_search_of_the_audit_log_takes_minutes(client: Client) -> None:
    asked = await client.ask("POST", "/security/auditLog/queries", AUDIT, body=SEARCH)
    assert (asked.status, asked.body["status"]) == (201, "notStarted")
    told = []
    for seconds in (0.0, AUDIT_STARTS_AFTER_SECONDS, AUDIT_TAKES_SECONDS - AUDIT_STARTS_AFTER_SECONDS):
        client.clock.forward(seconds)
        told.append((await client.ask("GET", f"/security/auditLog/queries/{asked.body['id']}", AUDIT)).body["status"])
    assert told == ["notStarted", "running", "succeeded"]


@pytest.mark.parametrize("ending", ["failed", "cancelled"])
async def test_a_search_of_the_audit_log_may_end_otherwise(client: Client, ending: Any) -> None:
    client.world.of(Security).search_ends = ending
    asked = await client.ask("POST", "/security/auditLog/queries", AUDIT, body=SEARCH)
    client.clock.forward(AUDIT_TAKES_SECONDS)
    assert (await client.ask("GET", f"/security/auditLog/queries/{asked.body['id']}", AUDIT)).body["status"] == ending


async def test_a_search_needs_a_role_and_an_audit_log(client: Client) -> None:
    client.world.of(Security).auditing = False
    unrecorded = await client.ask("POST", "/security/auditLog/queries", AUDIT, body=SEARCH)
    assert (unrecorded.status, "AuditingDisabledTenant" in unrecorded.body["error"]["message"]) == (400, True)
    client.world.of(Security).roles.discard(AUDITORS)
    for by in (None, client.world.people[0]):
        refused = await client.ask("POST", "/security/auditLog/queries", AUDIT, body=SEARCH, by=by)
        assert (refused.status, "dont have any permissions" in refused.body["error"]["message"]) == (403, True)


@pytest.mark.parametrize(
    "body",
    [{}, {**SEARCH, "filterEndDateTime": "2026-11-23T10:00:00Z"}, {**SEARCH, "filterStartDateTime": "yesterday"}],
    ids=["no times", "ends before it starts", "no moment"],
)
async def test_a_search_needs_a_span_of_time(client: Client, body: dict[str, Any]) -> None:
    assert (await client.ask("POST", "/security/auditLog/queries", AUDIT, body=body)).status == 400


async def test_a_search_that_nobody_asked_for_is_not_there(client: Client) -> None:
    assert (await client.ask("GET", "/security/auditLog/queries/none", AUDIT)).status == 404


async def test_ediscovery_allows_five_calls_a_minute(client: Client) -> None:
    replies = [await client.ask("GET", "/security/cases/ediscoveryCases", "eDiscovery.Read.All") for _ in range(6)]
    assert [reply.status for reply in replies] == [200] * 5 + [429]
