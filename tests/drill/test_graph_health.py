from collections.abc import AsyncIterator

import pytest

from agent.drill.faults import Fault, StatusSource, Where
from agent.drill.graph.health import SERVICES, Health
from agent.drill.outage import Outage, schedule
from tests.drill.graph import NOON, Client, graph_client

READ = "ServiceHealth.Read.All"
ROOT = "/admin/serviceAnnouncement"
OPEN = {"$filter": "isResolved eq false"}


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with graph_client() as client:
        yield client


async def states(client: Client) -> dict[str, str]:
    return {each["id"]: each["status"] for each in (await client.ask("GET", f"{ROOT}/healthOverviews", READ)).items}


async def test_a_healthy_tenant_says_so_of_each_service(client: Client) -> None:
    assert await states(client) == dict.fromkeys([service.id for service in SERVICES], "serviceOperational")
    assert (await client.ask("GET", f"{ROOT}/issues", READ, query=OPEN)).items == []


async def test_an_issue_that_is_over_stays_in_the_list(client: Client) -> None:
    issues = (await client.ask("GET", f"{ROOT}/issues", READ)).items
    assert [(issue["isResolved"], issue["status"]) for issue in issues] == [(True, "serviceRestored")]
    assert issues[0]["endDateTime"] > issues[0]["startDateTime"]


async def test_what_microsoft_declares_shows_with_its_first_mention(client: Client) -> None:
    await client.ask("GET", f"{ROOT}/issues", READ)
    client.clock.forward(600)
    issue = client.world.of(Health).declare("Exchange", "investigating", title="Mail is late")
    client.clock.forward(600)
    client.world.of(Health).post(issue, "serviceDegradation", "We found the cause.")
    shown = (await client.ask("GET", f"{ROOT}/issues", READ, query=OPEN)).items
    assert [each["title"] for each in shown] == ["Mail is late"]
    assert [post["createdDateTime"] for post in shown[0]["posts"]] == ["2026-11-23T12:10:00.000Z", "2026-11-23T12:20:00.000Z"]
    assert (await states(client))["Exchange"] == "serviceDegradation"
    client.world.of(Health).resolve(issue)
    assert (await states(client))["Exchange"] == "serviceOperational"
    assert (await client.ask("GET", f"{ROOT}/issues", READ, query=OPEN)).items == []


async def test_one_service_is_shown_with_its_issues(client: Client) -> None:
    client.world.of(Health).declare("microsoftteams", "serviceInterruption")
    one = await client.ask("GET", f"{ROOT}/healthOverviews/MicrosoftTeams", READ, query={"$expand": "issues"})
    assert one.body["status"] == "serviceInterruption"
    assert [issue["service"] for issue in one.body["issues"]] == ["Microsoft Teams"]
    all_of_them = await client.ask("GET", f"{ROOT}/healthOverviews", READ, query={"$expand": "issues"})
    assert sum(len(each["issues"]) for each in all_of_them.items) == 2
    assert (await client.ask("GET", f"{ROOT}/healthOverviews/Nothing", READ)).status == 404


def claim(state: str, first: float, until: float, service: str = "outlook") -> Fault:
    return Fault(StatusSource(state=state), Where(services=frozenset({service})), first=NOON + first, until=NOON + until)


async def test_faults_tell_the_story_of_one_issue(client: Client) -> None:
    client.world.faults.set(claim("investigating", 60, 120), claim("serviceDegradation", 120, 300))
    told = []
    for _ in range(6):
        told.append((await states(client))["Exchange"])
        client.clock.forward(60)
    assert told == [
        "serviceOperational",
        "investigating",
        "serviceDegradation",
        "serviceDegradation",
        "serviceDegradation",
        "serviceOperational",
    ]
    issue = (await client.ask("GET", f"{ROOT}/issues", READ)).items[-1]
    assert [post["createdDateTime"][11:19] for post in issue["posts"]] == ["12:01:00", "12:02:00", "12:05:00"]
    assert (issue["isResolved"], issue["startDateTime"][11:19], issue["endDateTime"][11:19]) == (True, "12:01:00", "12:05:00")


async def test_a_restored_service_that_fails_again_keeps_its_issue(client: Client) -> None:
    client.world.faults.set(claim("serviceDegradation", 0, 60), claim("serviceRestored", 60, 120), claim("serviceDegradation", 120, 180))
    told = []
    for _ in range(4):
        listed = (await client.ask("GET", f"{ROOT}/issues", READ, query=OPEN)).items
        told.append(((await states(client))["Exchange"], len(listed)))
        client.clock.forward(60)
    assert told == [("serviceDegradation", 1), ("serviceRestored", 0), ("serviceDegradation", 1), ("serviceOperational", 0)]
    assert len((await client.ask("GET", f"{ROOT}/issues", READ)).items) == 2


@pytest.mark.parametrize(
    ("service", "named"),
    [
        ("outlook", {"Exchange"}),
        ("files", {"SharePoint", "OneDriveForBusiness"}),
        ("microsoftteams", {"microsoftteams"}),
        ("", {"OSDPPlatform"}),
    ],
)
async def test_a_claim_is_about_the_service_that_the_fault_names(client: Client, service: str, named: set[str]) -> None:
    where = Where(services=frozenset({service} - {""}))
    client.world.faults.set(Fault(StatusSource(state="serviceDegradation"), where))
    assert {name for name, state in (await states(client)).items() if state != "serviceOperational"} == named


async def test_an_issue_ends_when_its_fault_is_taken_away(client: Client) -> None:
    client.world.faults.set(claim("serviceDegradation", 0, 3600))
    assert (await states(client))["Exchange"] == "serviceDegradation"
    client.world.faults.set()
    assert (await states(client))["Exchange"] == "serviceOperational"


async def test_a_claim_for_another_region_is_not_ours(client: Client) -> None:
    client.world.faults.set(Fault(StatusSource(state="serviceDegradation"), Where(regions=frozenset({"emea"}))))
    assert set((await states(client)).values()) == {"serviceOperational"}


@pytest.mark.parametrize(("status", "wait"), [(429, "60"), (503, None)])
async def test_the_status_source_itself_can_fail(client: Client, status: int, wait: str | None) -> None:
    client.world.faults.set(Fault(StatusSource(status=status)))
    reply = await client.ask("GET", f"{ROOT}/healthOverviews", READ)
    assert (reply.status, reply.headers.get("Retry-After")) == (status, wait)


async def test_messages_have_a_permission_of_their_own(client: Client) -> None:
    messages = (await client.ask("GET", f"{ROOT}/messages", "ServiceMessage.Read.All")).items
    assert [message["category"] for message in messages] == ["planForChange", "stayInformed"]
    assert (await client.ask("GET", f"{ROOT}/messages", READ)).status == 403


async def test_an_outage_shows_from_microsofts_first_word_until_it_is_restored(client: Client) -> None:
    phases = [
        {"from": -10, "until": 30, "what": "it fails"},
        {"from": 30, "until": 40, "what": "hope", "faults": [{"status_source": "restoringService"}]},
        {"from": 40, "until": 50, "what": "the end", "faults": [{"status_source": "serviceRestored"}]},
    ]
    outage = Outage.model_validate({"id": "X01", "title": "Fog", "acknowledged": 5, "phases": phases})
    client.world.faults.set(*schedule(outage, NOON))
    told = []
    for _ in range(7):
        told.append((await states(client))["OSDPPlatform"])
        client.clock.forward(600)
    assert told == ["serviceOperational"] * 2 + ["serviceDegradation"] * 2 + ["restoringService", "serviceRestored", "serviceOperational"]
    (issue,) = [each for each in (await client.ask("GET", f"{ROOT}/issues", READ)).items if each["service"] == "Microsoft 365 suite"]
    assert issue["posts"][0]["createdDateTime"] == "2026-11-23T12:15:00.000Z"
    assert (issue["isResolved"], issue["endDateTime"][11:16]) == (True, "12:50")
