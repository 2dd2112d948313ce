"""All that can go wrong with the file that search is to find has its step and reason, and nothing is left behind."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from agent.drill.entra.directory import Directory
from agent.drill.faults import Content, Drip, Effect, Fault, Http, Partial, Tcp, Where
from agent.drill.graph.drives import TERABYTE
from probes import REGISTRY
from probes.core.contract import Outcome
from probes.core.reasons import Reason
from probes.search_freshness import HOUR
from tests.probes.freshness import FIRST, MINUTE, SITE, Here, in_order, serving
from tests.probes.tenants import among

on_one_loop = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tenant(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Here]:
    async with serving(tmp_path_factory.mktemp("tenant")) as here:
        yield here


@pytest.fixture
def here(tenant: Here, request: pytest.FixtureRequest) -> Here:
    return in_order(tenant, request.node.name)


FAILURES: list[Any] = [
    pytest.param(Http((503,), 120), "search", "search", Reason.HTTP_5XX, id="search overloaded"),
    pytest.param(Http((429,), 120), "search", "search", Reason.THROTTLED, id="throttled"),
    pytest.param(Http((403,)), "search", "search", Reason.PERMISSION, id="search refused"),
    pytest.param(Drip(), "search", "search", Reason.TIMEOUT, id="search never answers"),
    pytest.param(Tcp("reset"), "search", "search", Reason.CONNECTION_RESET, id="search breaks off"),
    pytest.param(Http((503,)), "site", "drive", Reason.HTTP_5XX, id="no site"),
    pytest.param(Http((403,)), "drive", "drive", Reason.PERMISSION, id="drive refused"),
    pytest.param(Http((503,)), "file_metadata", "file", Reason.HTTP_5XX, id="metadata"),
    pytest.param(Http((404,)), "file_download", "file", Reason.NOT_FOUND, id="deleted while it is read"),
    pytest.param(Http((423,)), "file_upload", "write", Reason.HTTP_4XX, id="locked"),
    pytest.param(Http((507,)), "file_upload", "write", Reason.STORAGE_FULL, id="no room"),
    pytest.param(Http((404,)), "file_upload", "write", Reason.NOT_FOUND, id="drive deleted"),
    pytest.param(Http((403,)), "file_upload", "write", Reason.PERMISSION, id="write refused"),
    pytest.param(Drip(), "file_upload", "write", Reason.TIMEOUT, id="write never answers"),
]


@on_one_loop
@pytest.mark.parametrize(("effect", "operation", "step", "reason"), FAILURES)
async def test_each_way_to_fail_has_its_step_and_reason(effect: Effect, operation: str, step: str, reason: Reason, here: Here) -> None:
    await here.run()
    here.clock.forward(HOUR + MINUTE)
    here.wrong(effect, operation)
    run = await here.run(deadline=1.0 if reason is Reason.TIMEOUT else 10)
    assert (run.failed_step, run.reason, run.retry_after) == (step, reason, getattr(effect, "retry_after", None) or 0)
    here.world.faults.set()
    assert ((await here.run()).outcome, here.outstanding) == (Outcome.OK, [here.path])
    assert len(here.lines) == 2


@on_one_loop
@pytest.mark.parametrize(
    ("drive", "operation"),
    [(SITE, "site"), (SITE, "drive"), ({"user": "adele@contoso.example"}, "drive")],
    ids=["site", "library", "person"],
)
async def test_what_has_never_answered_is_a_fault_of_the_settings_and_what_has_is_missing(
    drive: dict[str, str], operation: str, here: Here
) -> None:
    agent = here.agent()
    here.wrong(Http((404,)), operation)
    never = await here.run(shared=agent, drive=drive)
    here.world.faults.set()
    assert (await here.run(shared=agent, drive=drive)).message == ""
    here.wrong(Http((404,)), operation)
    no_longer = await here.run(shared=agent, drive=drive)
    assert [(run.failed_step, run.reason) for run in (never, no_longer)] == [("drive", Reason.APP_CONFIG), ("drive", Reason.NOT_FOUND)]
    assert "is right, so look for the mistake there first" in never.message


@on_one_loop
@pytest.mark.parametrize(("how", "code"), [("locked", "lockMismatch"), ("full", "quotaLimitReached")])
async def test_a_lock_and_a_full_drive_are_told_by_their_codes(how: str, code: str, here: Here) -> None:
    item = here.put("\n".join((*FIRST, "")))
    item.locked = how == "locked"
    here.drive.quota = TERABYTE if how == "locked" else 1
    run = await here.run()
    assert run.failed_step == "write"
    assert code in dict(run.evidence)["error_code"]


@on_one_loop
async def test_the_host_of_files_that_refuses_is_told_from_graph(here: Here) -> None:
    await here.run()
    here.wrong(Http((403,)), hosts=frozenset({"files"}))
    run = await here.run()
    assert (run.failed_step, run.reason) == ("file", Reason.HTTP_4XX)
    assert "tempauth" not in repr(run)


@on_one_loop
@pytest.mark.parametrize(
    ("effect", "reason"),
    [
        (Content("truncated"), Reason.TRUNCATED),
        (Content("wrong"), Reason.CONTENT_MISMATCH),
        (Content("expired"), Reason.HTTP_4XX),
        (Content("nowhere"), Reason.PROTOCOL_ERROR),
        (Drip(20), Reason.TIMEOUT),
    ],
    ids=["truncated", "other bytes", "address expired", "no address", "slow drip"],
)
async def test_bytes_that_do_not_come_as_they_are_fail_in_the_file_and_nothing_is_written(
    effect: Effect, reason: Reason, here: Here
) -> None:
    await here.run()
    here.clock.forward(HOUR + MINUTE)
    here.world.faults.set(Fault(effect, Where(operations=frozenset({"file_download"}))))
    run = await here.run(deadline=0.8 if reason is Reason.TIMEOUT else 10)
    assert (run.outcome, run.failed_step, run.reason, len(here.lines)) == (Outcome.FAILED, "file", reason, 1)


@on_one_loop
async def test_an_index_that_lost_the_file_is_a_missing_hit(here: Here) -> None:
    for _ in range(8):
        await here.run()
        here.clock.forward(HOUR)
    here.world.faults.set(Fault(Partial(0.0), Where(operations=frozenset({"search"}))))
    run = await here.run()
    assert (run.outcome, run.failed_step, run.reason) == (Outcome.FAILED, "search", Reason.MISSING_HIT)


@on_one_loop
@pytest.mark.parametrize(
    ("drive", "granted"),
    [(SITE, None), ({"user": "adele@contoso.example"}, None), (SITE, ["Sites.Selected"]), (SITE, ["Sites.Read.All"])],
    ids=["site", "user", "no search", "no writing"],
)
async def test_the_permissions_that_are_asked_for_are_enough_and_needed(
    drive: dict[str, str], granted: list[str] | None, here: Here
) -> None:
    probe = REGISTRY["search_freshness"]
    needs = probe.permissions(probe.settings.model_validate({"drive": drive}))
    await here.run(drive=drive)
    here.clock.forward(HOUR)
    here.world.of(Directory).grant(here.world.app_id, granted or [need.name for need in needs])
    run = await here.run(drive=drive)
    expected = {None: ("", None), "Sites.Selected": ("search", Reason.PERMISSION), "Sites.Read.All": ("write", Reason.PERMISSION)}
    assert (run.failed_step, run.reason) == expected[granted[0] if granted else None]
    assert ("missing_permissions" in dict(run.evidence)) == (granted is not None)


@on_one_loop
@pytest.mark.parametrize("operation", ["file_upload", "search"])
async def test_a_run_that_ends_in_the_middle_leaves_one_file_that_goes_with_the_probe(operation: str, here: Here) -> None:
    await here.run()
    here.clock.forward(HOUR + MINUTE)
    here.wrong(Drip(), operation)
    assert (await here.run(deadline=1.0)).reason is Reason.TIMEOUT
    here.world.faults.set()
    below = [each.name for each in here.drive.below(here.drive.at("freshness") or here.drive.root) if each.name in here.path]
    assert (below, here.outstanding) == ([here.path.partition("/")[2]], [here.path])
    await here.run()
    kept = await here.clear(is_removed=False)
    assert (kept.cleanup_failed, here.item is not None, here.outstanding) == (False, True, [here.path])
    gone = await here.clear(is_removed=True)
    assert (gone.cleanup_failed, here.item, here.outstanding) == (False, None, [])


@on_one_loop
async def test_a_file_that_could_not_be_written_again_goes_with_the_probe(here: Here) -> None:
    await here.run()
    for _ in range(2):
        here.clock.forward(HOUR + MINUTE)
        here.wrong(Http((503,)), "file_upload")
        assert (await here.run()).failed_step == "write"
    here.world.faults.set()
    await here.clear(is_removed=True)
    assert (here.item, here.outstanding) == (None, [])


@on_one_loop
@pytest.mark.parametrize("operation", ["file_metadata", "file_download"])
async def test_an_answer_that_says_nothing_strikes_nothing_off(operation: str, here: Here) -> None:
    await here.run()
    here.wrong(Http((204,)), operation)
    ctx = await here.clear(is_removed=True)
    assert (ctx.cleanup_failed, here.item is None, here.outstanding) == (True, False, [here.path])


@on_one_loop
async def test_a_file_that_is_being_made_is_awaited(here: Here) -> None:
    here.wrong(Http((503,)), "file_upload")
    await here.run()
    here.world.faults.set()
    await here.clear(is_removed=True)
    assert here.outstanding == [here.path]
    await here.age()
    await here.clear(is_removed=True)
    assert here.outstanding == []


@on_one_loop
async def test_a_word_of_the_future_keeps_nobody_from_writing(here: Here) -> None:
    await here.run()
    here.put(here.text + "fogbell012345672099010100 2099-01-01T00:00:00Z\n")
    here.clock.forward(HOUR + MINUTE)
    run = await here.run()
    assert (run.outcome, len(here.lines), "2099" in here.text) == (Outcome.OK, 2, False)


@on_one_loop
@pytest.mark.parametrize("how", ["another agent's", "somebody's", "deleted"])
async def test_a_file_that_is_ours_no_longer_is_left_when_the_probe_goes(how: str, here: Here) -> None:
    await here.run()
    match how:
        case "another agent's":
            here.clock.forward(HOUR)
            await here.run(shared=among(here.tenant))
        case "somebody's":
            here.put("Minutes of the harbour board")
        case _ if here.item:
            here.drive.remove(here.item, here.world.now(), for_good=True)
            await here.age()
    before = here.text
    ctx = await here.clear(is_removed=True)
    assert (ctx.cleanup_failed, here.outstanding, here.text) == (False, [], before)


@on_one_loop
async def test_what_cannot_be_removed_stays_on_the_ledger(here: Here) -> None:
    await here.run()
    here.wrong(Http((503,)), "file_delete")
    ctx = await here.clear(is_removed=True)
    assert (ctx.cleanup_failed, here.outstanding) == (True, [here.path])
