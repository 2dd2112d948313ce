"""A document is found, or missed, through both searches: in the simulated tenant, in outages of the record, in answers no tenant gives."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import pytest_asyncio
from pydantic import ValidationError

from agent.drill.entra.directory import Directory
from agent.drill.faults import Drip, Effect, Fault, Http, Partial, Tcp, Token, Where
from agent.drill.graph.index import Index
from agent.drill.graph.sites import CANARY, Sites
from agent.drill.outage import find, schedule
from agent.drill.world import World
from probes import REGISTRY
from probes.core.context import Shared
from probes.core.contract import Outcome, Run
from probes.core.reasons import Blame, Reason
from probes.file_search import FileSearch
from probes.lib.tenant import Tenant
from tests.fakes.graph import Asked, answer, run_kind, scripted
from tests.probes.once import once
from tests.probes.tenants import among, simulated

FILE = CANARY.rpartition("/")[2]
SITE = {"site": "https://contoso.sharepoint.com/sites/Probe"}
USUAL: dict[str, Any] = {"drive": SITE, "document": FILE, "region": "NAM"}
on_one_loop = pytest.mark.asyncio(loop_scope="module")


@dataclass(frozen=True, slots=True)
class Here:
    """A tenant whose index does not lag, and what the runs of one agent share."""

    world: World
    tenant: Tenant
    shared: Shared

    async def run(self, *, deadline: float = 10.0, shared: Shared | None = None, **settings: Any) -> Run:
        return await once("file_search", deadline=deadline, shared=shared or self.shared, tenant="contoso", **(USUAL | settings))

    def put(self, name: str, text: str = "text", *, whose: str = "") -> str:
        sites = self.world.of(Sites)
        drive = sites.personal[whose] if whose else sites.probe_drive
        item, _ = drive.write(name, text.encode(), self.world.now(), media_type="text/plain", author="Probe One")
        return item.id


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tenant(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Here]:
    async with simulated(tmp_path_factory.mktemp("tenant")) as (world, tenant):
        world.of(Index).lag = 0.0
        yield Here(world, tenant, among(tenant))


@pytest.fixture
def here(tenant: Here) -> Here:
    tenant.world.faults.set()
    return tenant


def told(run: Run, name: str) -> dict[str, float]:
    return {sample.labels[0]: sample.value for sample in run.measured if sample.name == name}


def steps(run: Run) -> list[str]:
    return [step.name for step in run.steps]


@on_one_loop
async def test_a_document_of_long_ago_is_found_both_ways(here: Here) -> None:
    run = await here.run()
    assert (run.outcome, run.message, steps(run)) == (Outcome.OK, "", ["token", "drive", "drive_search", "query"])
    assert (told(run, "hits"), told(run, "rank")) == ({"drive": 1, "query": 1}, {"drive": 1, "query": 1})
    assert {"request_id", "client_request_id", "datacenter"} <= dict(run.evidence).keys()
    assert "missing_permissions" not in dict(run.evidence)


@on_one_loop
@pytest.mark.parametrize(("through", "named"), [("drive", "drive_search"), ("query", "query")])
async def test_one_search_alone_is_made_and_a_known_drive_is_not_asked_for(through: str, named: str, here: Here) -> None:
    drive = here.world.of(Sites).probe_drive.id
    run = await here.run(through=[through], drive={"id": drive}, region="NAM" if through == "query" else None)
    assert (run.message, steps(run)) == ("", ["token", named])
    assert set(told(run, "hits")) == {through}


@on_one_loop
@pytest.mark.parametrize("named", [FILE.upper(), "it's a canary & more+1.txt", "fög 100%.txt"])
async def test_a_name_is_found_whatever_is_in_it(named: str, here: Here) -> None:
    if named != FILE.upper():
        here.put(named)
    run = await here.run(document=named)
    assert run.message == ""
    assert told(run, "rank") == {"drive": 1, "query": 1}


@on_one_loop
async def test_words_of_the_content_find_it_and_all_hits_count(here: Here) -> None:
    for number in range(3):
        here.put(f"several/{number}.txt", "halyards")
    run = await here.run(words="halyards", document="1.txt", expect_hits=3)
    assert (run.message, told(run, "hits"), told(run, "rank")) == ("", {"drive": 3, "query": 3}, {"drive": 2, "query": 2})


@on_one_loop
async def test_somebodys_onedrive_is_searched_too(here: Here) -> None:
    here.put("logbook-of-one.txt", whose=here.world.people[0].id)
    settings: dict[str, Any] = {"drive": {"user": here.world.people[0].upn}, "document": "logbook-of-one.txt"}
    runs = [await here.run(**settings, private_content=private) for private in (True, False)]
    assert [(run.failed_step, run.reason) for run in runs] == [("", None), ("query", Reason.MISSING_HIT)]


@on_one_loop
async def test_a_file_of_the_same_name_elsewhere_is_not_the_document(here: Here) -> None:
    here.put("same-name.txt", whose=here.world.people[0].id)
    run = await here.run(document="same-name.txt", through=["query"], private_content=True)
    assert (run.failed_step, run.reason, told(run, "hits")) == ("query", Reason.MISSING_HIT, {"query": 1})


@on_one_loop
async def test_the_document_can_be_told_by_its_id(here: Here) -> None:
    wanted, other = here.put("twins/a/twin.txt"), here.put("twins/b/twin.txt")
    assert [told(await here.run(document="twin.txt", item=item), "rank") for item in (wanted, other)] == [
        {"drive": 1, "query": 1},
        {"drive": 2, "query": 2},
    ]
    assert (await here.run(document="twin.txt", item="01NOBODY")).reason is Reason.MISSING_HIT


@on_one_loop
async def test_a_document_on_a_later_page_is_found_and_one_that_slid_too_far_down_is_missing(here: Here) -> None:
    for number in range(160):
        here.put(f"fleet/ship-{number:03}.txt", "trawler")
    near = await here.run(words="trawler", document="ship-120.txt")
    assert (near.message, told(near, "rank"), told(near, "hits")) == ("", {"drive": 121, "query": 121}, {"drive": 150, "query": 150})
    far = await here.run(words="trawler", document="ship-155.txt")
    assert (far.failed_step, far.reason, told(far, "hits")) == ("drive_search", Reason.MISSING_HIT, {"drive": 150})
    assert far.message == "ship-155.txt is not among 150 hits"
    nowhere = await here.run(words="zeppelin", document="ship-120.txt")
    assert nowhere.message == "there is no hit at all; ship-120.txt has to lie there, and for longer than the index needs"


LOST = Partial(0.0)


def wrong(effect: Effect, *operations: str) -> Fault:
    return Fault(effect, Where(operations=frozenset(operations or {"search"})))


FAILURES: list[Any] = [
    pytest.param(wrong(LOST), {}, "drive_search", Reason.MISSING_HIT, id="no hits in the drive"),
    pytest.param(wrong(LOST), {"through": ["query"]}, "query", Reason.MISSING_HIT, id="no hits anywhere"),
    pytest.param(wrong(Http((503,))), {}, "drive_search", Reason.HTTP_5XX, id="overload"),
    pytest.param(wrong(Http((503,))), {"through": ["query"]}, "query", Reason.HTTP_5XX, id="overload of Microsoft Search"),
    pytest.param(wrong(Http((500, 502, 504))), {}, "drive_search", Reason.HTTP_5XX, id="error"),
    pytest.param(wrong(Http((403,))), {"through": ["query"]}, "query", Reason.PERMISSION, id="refused"),
    pytest.param(wrong(Http((400,))), {"through": ["query"]}, "query", Reason.HTTP_4XX, id="another mistake than the region"),
    pytest.param(wrong(Http((401,))), {}, "drive_search", Reason.TOKEN_REJECTED, id="token rejected"),
    pytest.param(wrong(Http((503,)), "site"), {}, "drive", Reason.HTTP_5XX, id="sites are down"),
    pytest.param(wrong(Tcp("reset")), {}, "drive_search", Reason.CONNECTION_RESET, id="reset"),
    pytest.param(wrong(Drip()), {"deadline": 0.8}, "drive_search", Reason.TIMEOUT, id="never an answer"),
    pytest.param(wrong(Drip(20)), {"through": ["query"], "deadline": 0.8}, "query", Reason.TIMEOUT, id="slow drip"),
    pytest.param(None, {"region": "EUR"}, "query", Reason.APP_CONFIG, id="another region"),
    pytest.param(None, {"document": "nobody-wrote-this.txt"}, "drive_search", Reason.MISSING_HIT, id="not there"),
    pytest.param(None, {"expect_hits": 2}, "drive_search", Reason.MISSING_HIT, id="fewer hits"),
    pytest.param(None, {"expect_hits": 2, "through": ["query"]}, "query", Reason.MISSING_HIT, id="fewer hits anywhere"),
    pytest.param(None, {"drive": {"site": f"{SITE['site']}X"}}, "drive", Reason.APP_CONFIG, id="no site"),
    pytest.param(None, {"drive": {"user": "nobody@contoso.example"}}, "drive", Reason.APP_CONFIG, id="no person"),
    pytest.param(None, {"drive": {"id": "b!nothing"}}, "drive_search", Reason.APP_CONFIG, id="no such drive"),
]


@on_one_loop
@pytest.mark.parametrize(("fault", "settings", "step", "reason"), FAILURES)
async def test_each_way_to_fail_has_its_step_and_reason(
    fault: Fault | None, settings: dict[str, Any], step: str, reason: Reason, here: Here
) -> None:
    if fault:
        here.world.faults.set(fault)
    run = await here.run(**settings)
    assert (run.outcome, run.failed_step, run.reason) == (Outcome.FAILED, step, reason)


@on_one_loop
@pytest.mark.parametrize(
    ("how", "operation", "step"),
    [("site", "site", "drive"), ("site", "drive", "drive"), ("user", "drive", "drive"), ("id", "search", "drive_search")],
    ids=["site", "library", "person", "drive"],
)
async def test_a_drive_that_was_there_before_is_missing_and_no_fault_of_the_settings(
    how: str, operation: str, step: str, here: Here
) -> None:
    agent, person = among(here.tenant), here.world.people[0]
    named = {"site": SITE["site"], "user": person.upn, "id": here.world.of(Sites).probe_drive.id}[how]
    here.put("harbour.txt", whose=person.id if how == "user" else "")
    settings: dict[str, Any] = {"drive": {how: named}, "document": "harbour.txt", "through": ["drive"], "shared": agent}
    reasons = []
    for fault in (wrong(Http((404,)), operation), None, wrong(Http((404,)), operation)):
        here.world.faults.set(*([fault] if fault else []))
        run = await here.run(**settings)
        reasons.append((run.failed_step, run.reason))
    assert reasons == [(step, Reason.APP_CONFIG), ("", None), (step, Reason.NOT_FOUND)]


@on_one_loop
async def test_a_drive_that_answered_without_the_document_was_there(here: Here) -> None:
    agent, drive = among(here.tenant), {"id": here.world.of(Sites).probe_drive.id}
    first = await here.run(shared=agent, drive=drive, document="nobody-wrote-this.txt", through=["drive"])
    here.world.faults.set(wrong(Http((404,))))
    second = await here.run(shared=agent, drive=drive, document="nobody-wrote-this.txt", through=["drive"])
    assert (first.reason, second.reason) == (Reason.MISSING_HIT, Reason.NOT_FOUND)


@on_one_loop
@pytest.mark.parametrize(("through", "step"), [("drive", "drive_search"), ("query", "query")])
async def test_patience_that_is_asked_for_is_told(through: str, step: str, here: Here) -> None:
    here.world.faults.set(wrong(Http((429,), retry_after=120)))
    run = await here.run(through=[through])
    assert (run.outcome, run.failed_step, run.reason, run.retry_after) == (Outcome.INCONCLUSIVE, step, Reason.THROTTLED, 120.0)


@on_one_loop
async def test_a_region_that_is_not_the_tenants_is_our_mistake_and_the_right_one_is_named(here: Here) -> None:
    run = await here.run(region="EUR")
    assert (run.reason, run.blame) == (Reason.APP_CONFIG, Blame.OURS)
    assert run.message.startswith("the tenant is not searched in the region EUR: ")
    assert "NAM" in run.message


@on_one_loop
async def test_a_secret_that_expired_is_told_at_the_token(here: Here) -> None:
    here.world.faults.set(Fault(Token(7000222), Where(hosts=frozenset({"login"}))))
    run = await here.run(shared=among(here.tenant))
    assert (run.failed_step, run.reason) == ("token", Reason.CREDENTIAL_EXPIRED)


@on_one_loop
@pytest.mark.parametrize(
    ("granted", "step"),
    [
        (["Files.Read.All"], "drive"),
        (["Sites.Selected"], "drive_search"),
        (["Organization.Read.All"], "drive"),
    ],
    ids=["files alone find no site", "selected sites are not searched", "nothing"],
)
async def test_a_permission_that_was_taken_away_is_named(granted: list[str], step: str, here: Here) -> None:
    directory = here.world.of(Directory)
    before = {role for roles in directory.apps[here.world.app_id].roles.values() for role in roles}
    directory.grant(here.world.app_id, granted)
    run = await here.run(shared=among(here.tenant))
    directory.grant(here.world.app_id, before)
    assert (run.failed_step, run.reason) == (step, Reason.PERMISSION)
    assert dict(run.evidence)["missing_permissions"] == "Sites.Read.All"


@on_one_loop
@pytest.mark.parametrize("drive", [SITE, {"user": "adele@contoso.example"}], ids=["site", "user"])
async def test_the_permission_that_is_asked_for_is_enough(drive: dict[str, str], here: Here) -> None:
    if "user" in drive:
        here.put(FILE, whose=here.world.people[2].id)
    probe, directory = REGISTRY["file_search"], here.world.of(Directory)
    before = {role for roles in directory.apps[here.world.app_id].roles.values() for role in roles}
    needs = probe.permissions(probe.settings.model_validate(USUAL | {"drive": drive}))
    directory.grant(here.world.app_id, [need.name for need in needs])
    run = await here.run(drive=drive, private_content="user" in drive, shared=among(here.tenant))
    directory.grant(here.world.app_id, before)
    assert (run.message, "missing_permissions" in dict(run.evidence)) == ("", False)


@on_one_loop
@pytest.mark.parametrize(
    ("outage", "minute", "reason"),
    [("R01", 10, Reason.HTTP_5XX), ("R17", 10, Reason.HTTP_5XX), ("R17", 2_000, Reason.MISSING_HIT)],
    ids=["January 2026", "April 2023, its first day", "April 2023, partial hits"],
)
@pytest.mark.parametrize("through", ["drive", "query"])
async def test_an_outage_of_the_record_turns_search_red(outage: str, minute: float, reason: Reason, through: str, here: Here) -> None:
    played = find(outage)
    began = here.world.now() - (minute - played.begins) * 60
    # Whoever is hit: luck decides how many runs that are, and is no matter of the probe.
    here.world.faults.set(*(replace(fault, share=1.0) for fault in schedule(played, began)))
    run = await here.run(through=[through], shared=among(here.tenant))
    assert (run.outcome, run.reason) == (Outcome.FAILED, reason)
    assert run.failed_step == {"drive": "drive_search", "query": "query"}[through]


FOUND = {"id": "01A", "name": FILE, "parentReference": {"driveId": "D"}}
ROOT = "/v1.0"
FOLLOW = {"@odata.nextLink": "https://elsewhere.example/v1.0/drives/D/root/search"}


def hits(*resources: Any, **more: Any) -> bytes:
    """Write an answer of /search/query."""
    container = {"total": len(resources), "moreResultsAvailable": False, "hits": [{"resource": one} for one in resources], **more}
    return answer({"value": [{"searchTerms": [], "hitsContainers": [container]}]})


@pytest.mark.parametrize(
    ("through", "said", "reason"),
    [
        ("drive", answer({"value": [FOUND]}), None),
        ("drive", answer({"value": [{"id": "01A", "name": FILE}]}), None),
        ("drive", answer({"value": [FOUND | {"parentReference": {"driveId": "other"}}]}), Reason.MISSING_HIT),
        ("drive", answer({"value": [FOUND | {"remoteItem": {"parentReference": {"driveId": "other"}}}]}), Reason.MISSING_HIT),
        ("drive", answer({"value": [], **FOLLOW}), Reason.PROTOCOL_ERROR),
        ("drive", answer({"value": [{"id": "01A"}]}), Reason.CONTENT_MISMATCH),
        ("drive", answer({"value": "all"}), Reason.CONTENT_MISMATCH),
        ("drive", answer(None), Reason.CONTENT_MISMATCH),
        ("drive", answer(b"<html>sign in</html>"), Reason.PROTOCOL_ERROR),
        ("drive", answer({"value": [FOUND]})[:-2], Reason.TRUNCATED),
        ("query", hits(FOUND), None),
        ("query", hits({"id": "01A", "name": FILE, "parentReference": {"siteId": "S"}}), None),
        ("query", hits(total=7, hits=None), Reason.MISSING_HIT),
        ("query", hits({"name": FILE}), Reason.CONTENT_MISMATCH),
        ("query", hits("a file"), Reason.CONTENT_MISMATCH),
        ("query", hits(FOUND, hits={"all": True}), Reason.CONTENT_MISMATCH),
        ("query", hits(FOUND, total=None), Reason.CONTENT_MISMATCH),
        ("query", answer({"value": []}), Reason.CONTENT_MISMATCH),
        ("query", answer({"value": [{"hitsContainers": []}]}), Reason.CONTENT_MISMATCH),
        ("query", answer([]), Reason.CONTENT_MISMATCH),
        ("query", answer(None), Reason.CONTENT_MISMATCH),
        ("query", hits(FOUND)[:-2], Reason.TRUNCATED),
    ],
)
async def test_an_answer_of_any_shape_is_judged(through: str, said: bytes, reason: Reason | None) -> None:
    async with scripted({f"{ROOT}/drives/D/root/search(q='{FILE}')": said, f"{ROOT}/search/query": said}) as script:
        run = await run_kind("file_search", script.tenant, **(USUAL | {"drive": {"id": "D"}, "through": [through]}))
    assert (run.reason, run.failed_step) == (reason, "" if reason is None else "drive_search" if through == "drive" else "query")


async def test_pages_end_even_where_the_service_has_no_end() -> None:
    async def for_ever(asked: Asked) -> bytes:
        if asked.method == "POST":
            return hits(*[FOUND | {"name": "another.txt"}] * 2, moreResultsAvailable=True)
        return answer({"value": [], "@odata.nextLink": f"https://{asked.headers['host']}{asked.target}"})

    async with scripted(for_ever) as script:
        for through in ("drive", "query"):
            run = await run_kind("file_search", script.tenant, **(USUAL | {"drive": {"id": "D"}, "through": [through]}))
            assert run.reason is Reason.MISSING_HIT
    assert [asked.method for asked in script.calls] == ["GET"] * 3 + ["POST"] * 3


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"region": None}, "query needs the region where the tenant's data lies"),
        ({"region": "eur"}, "must be a region as Microsoft writes it, such as NAM"),
        ({"drive": {}}, "exactly one of site, user and id"),
        ({"drive": {**SITE, "id": "D"}}, "exactly one of site, user and id"),
        ({"drive": {"site": "contoso.sharepoint.com"}}, "does not begin with"),
        ({"document": "probe/canary.txt"}, "is no name of a file"),
        ({"document": 'a"b'}, "is no name of a file"),
        ({"words": " "}, "must be words to search for, not blanks alone"),
        ({"through": []}, "at least 1"),
        ({"expect_hits": 0}, "greater than or equal to 1"),
        ({"expect_hits": 151}, "less than or equal to 150"),
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        FileSearch.model_validate(USUAL | settings)


@pytest.mark.parametrize(
    ("settings", "costs"),
    [
        ({}, {"files": (3, 4), "graph": (1, 0)}),
        ({"drive": {"user": "a@b.example"}, "through": ["drive"]}, {"files": (2, 3)}),
        ({"drive": {"id": "D"}, "through": ["query"]}, {"graph": (1, 0)}),
    ],
)
def test_what_a_run_costs_is_said(settings: dict[str, Any], costs: dict[str, tuple[float, float]]) -> None:
    probe = REGISTRY["file_search"]
    said = probe.costs(probe.settings.model_validate(USUAL | settings))
    assert {str(cost.service): (cost.calls, cost.units) for cost in said} == costs
