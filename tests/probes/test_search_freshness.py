"""How far search is behind is told by one file: on a simulated tenant whose clock and index a test moves, over hours and gaps."""

import asyncio
import math
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any
from zlib import crc32

import pytest
import pytest_asyncio
from pydantic import ValidationError

from agent.drill import graph
from agent.drill.entra.directory import Directory
from agent.drill.entra.permissions import APPLICATION
from agent.drill.entra.site import login_site
from agent.drill.faults import Drip, Effect, Fault, Http, Latency, Partial, Tcp, Where
from agent.drill.graph import transfer
from agent.drill.graph.drives import TERABYTE, Drive, Item
from agent.drill.graph.index import Index
from agent.drill.graph.sites import Sites
from agent.drill.hosting import serve_sites
from agent.drill.world import World
from probes import REGISTRY
from probes.core.context import Context, Shared
from probes.core.contract import Outcome, Run
from probes.core.ledger import MemoryLedger
from probes.core.needs import Service
from probes.core.reasons import Reason
from probes.lib.tenant import Tenant
from probes.lib.usage import Usage
from probes.search_freshness import HOUR, KEPT, SearchFreshness
from tests.probes.once import once
from tests.probes.tenants import among, drilled

SITE = {"site": "https://contoso.sharepoint.com/sites/Probe"}
MINUTE, LAG = 60.0, 300.0
on_one_loop = pytest.mark.asyncio(loop_scope="module")


@dataclass(slots=True)
class Clock:
    """The clock of the tenant, which a test moves forward."""

    ahead: float = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead

    def forward(self, seconds: float) -> None:
        self.ahead += seconds


@dataclass(frozen=True, slots=True)
class Here:
    """A tenant, its index and clock, and a file for each test."""

    world: World
    tenant: Tenant
    clock: Clock
    path: str = ""
    ledger: MemoryLedger = field(default_factory=MemoryLedger)

    async def run(self, *, deadline: float = 10.0, shared: Shared | None = None, **settings: Any) -> Run:
        """Run once, as after a restart: with nothing kept but the ledger."""
        whole = {"drive": SITE, "path": self.path, **settings}
        return await once("search_freshness", deadline=deadline, shared=shared or self.agent(), tenant="contoso", **whole)

    def agent(self) -> Shared:
        made = among(self.tenant)
        return Shared(made.lookup, made.secret, parts=made.parts, ledger=self.ledger)

    async def clear(self, *, is_removed: bool) -> Context:
        ctx = Context("one", self.agent(), "contoso", deadline=perf_counter() + 10, is_removed=is_removed)
        clear = REGISTRY["search_freshness"].clear
        assert clear is not None
        await clear(ctx, SearchFreshness.model_validate({"drive": SITE, "path": self.path}))
        return ctx

    def wrong(self, effect: Effect, *operations: str, hosts: frozenset[str] = frozenset()) -> None:
        self.world.faults.set(Fault(effect, Where(hosts, frozenset(operations))))

    def put(self, text: str) -> Item:
        item, _ = self.drive.write(self.path, text.encode(), self.world.now(), media_type="text/plain", author="Somebody")
        return item

    @property
    def drive(self) -> Drive:
        return self.world.of(Sites).probe_drive

    @property
    def index(self) -> Index:
        return self.world.of(Index)

    @property
    def item(self) -> Item | None:
        return self.drive.at(self.path)

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()[2:]

    @property
    def text(self) -> str:
        return (self.item.content or b"").decode() if self.item else ""

    @property
    def outstanding(self) -> list[str]:
        return [one.fact("path") for one in self.ledger.outstanding("one")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tenant(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Here]:
    clock = Clock()
    world = World(clock=clock)
    async with serve_sites(world, login_site(world), graph.site(world), transfer.site(world)) as authority:
        yield Here(world, drilled(world, authority, tmp_path_factory.mktemp("tenant")), clock)


@pytest.fixture
def here(tenant: Here, request: pytest.FixtureRequest) -> Here:
    """Give each test a file of its own, and everything else in order."""
    tenant.world.faults.set()
    tenant.index.lag = LAG
    tenant.clock.forward(HOUR)
    tenant.world.of(Directory).grant(tenant.world.app_id, APPLICATION)
    tenant.drive.quota = TERABYTE
    return Here(tenant.world, tenant.tenant, tenant.clock, f"freshness/{crc32(request.node.name.encode())}.txt")


def told(run: Run) -> dict[str, float]:
    names = ("age_seconds", "behind_seconds", "unindexed_writes")
    return {sample.name: round(sample.value) for sample in run.measured if sample.name in names}


def near(seconds: float) -> Any:
    return pytest.approx(seconds, abs=5)


def steps(run: Run) -> list[str]:
    return [step.name for step in run.steps]


@on_one_loop
async def test_the_first_run_places_the_file_and_says_that_nothing_is_known_yet(here: Here) -> None:
    run = await here.run()
    assert (run.outcome, run.message, steps(run), told(run)) == (Outcome.OK, "", ["token", "drive", "file", "write"], {})
    assert dict(run.evidence)["newest_known"] == "nothing is written yet"
    (line,) = here.lines
    assert line.startswith(dict(run.evidence)["overwritten"] + " 20")
    assert here.text.startswith("Fogbell overwrites this file")


@on_one_loop
async def test_while_search_may_still_be_behind_there_is_no_age_and_no_failure(here: Here) -> None:
    await here.run()
    here.clock.forward(LAG - MINUTE)
    run = await here.run()
    assert (run.outcome, steps(run)) == (Outcome.OK, ["token", "drive", "file", "search"])
    assert told(run) == {"behind_seconds": near(LAG - MINUTE), "unindexed_writes": 1}
    assert dict(run.evidence)["newest_known"].startswith("none yet")


@on_one_loop
async def test_what_search_knows_has_an_age(here: Here) -> None:
    await here.run()
    here.clock.forward(LAG + MINUTE)
    run = await here.run()
    assert told(run) == {"age_seconds": near(LAG + MINUTE), "behind_seconds": 0, "unindexed_writes": 0}
    assert dict(run.evidence)["newest_known"] == dict(run.evidence)["newest_written"] == here.lines[0].split()[0]
    assert {"request_id", "sp_request_guid", "storage_host"} <= dict(run.evidence).keys()


@on_one_loop
async def test_the_file_is_overwritten_once_an_hour_and_no_run_waits(here: Here) -> None:
    await here.run()
    item = here.item
    assert item is not None
    first, looks = item.content_revision, []
    for _ in range(9):
        here.clock.forward(15 * MINUTE)
        run = await here.run()
        looks.append((told(run)["unindexed_writes"], item.content_revision - first, run.outcome))
    assert looks[:4] == [(0, 0, "ok"), (0, 0, "ok"), (0, 0, "ok"), (0, 1, "ok")]
    assert looks[4:] == [(0, 1, "ok"), (0, 1, "ok"), (0, 1, "ok"), (0, 2, "ok"), (0, 2, "ok")]
    assert len(here.lines) == len(set(here.lines)) == 3
    assert here.item is item


@on_one_loop
async def test_an_index_that_is_hours_behind_has_the_age_of_what_it_knows(here: Here) -> None:
    here.index.lag = 3 * HOUR + 10 * MINUTE
    for _ in range(8):
        run = await here.run()
        here.clock.forward(HOUR)
    assert (run.outcome, told(run)) == (
        Outcome.OK,
        {"age_seconds": near(4 * HOUR), "behind_seconds": near(3 * HOUR), "unindexed_writes": 3},
    )


@on_one_loop
@pytest.mark.parametrize(("lag", "reason"), [(math.inf, Reason.MISSING_HIT), (LAG, Reason.TOO_SLOW)], ids=["never", "stuck"])
async def test_an_index_that_stands_still_fails_once_it_is_late_and_the_file_goes_on(lag: float, reason: Reason, here: Here) -> None:
    here.index.lag = lag
    await here.run()
    here.clock.forward(HOUR)
    assert (await here.run()).outcome is Outcome.OK
    here.index.lag = math.inf
    runs = []
    for _ in range(8):
        here.clock.forward(HOUR)
        runs.append(await here.run())
    outcomes = [run.outcome for run in runs]
    since = outcomes.index(Outcome.FAILED)
    assert set(outcomes[since:]) == {Outcome.FAILED}
    assert told(runs[since - 1])["behind_seconds"] <= 6 * HOUR < told(runs[since])["behind_seconds"]
    assert {(run.failed_step, run.reason) for run in runs[since:]} == {("search", reason)}
    assert ("age_seconds" in told(runs[-1])) == (lag == LAG)
    assert len(here.lines) == 10
    here.index.lag = LAG
    here.clock.forward(LAG)
    assert (await here.run()).outcome is Outcome.OK


@on_one_loop
async def test_an_agent_that_was_away_is_no_lag(here: Here) -> None:
    await here.run()
    here.clock.forward(20 * HOUR)
    back = await here.run()
    assert (back.outcome, told(back)) == (Outcome.OK, {"age_seconds": near(20 * HOUR), "behind_seconds": 0, "unindexed_writes": 0})
    here.clock.forward(2 * MINUTE)
    soon = await here.run()
    assert (soon.outcome, told(soon)) == (
        Outcome.OK,
        {"age_seconds": near(20 * HOUR + 2 * MINUTE), "behind_seconds": near(2 * MINUTE), "unindexed_writes": 1},
    )


@on_one_loop
@pytest.mark.parametrize(("unknown", "most"), [(0, 1), (1, 2), (13, 7), (KEPT - 1, 7), (KEPT, 7)])
async def test_the_newest_known_is_found_in_few_searches_however_far_it_is(unknown: int, most: int, here: Here) -> None:
    here.index.lag = 0.0
    for number in range(KEPT + 3):
        here.clock.forward(HOUR)
        if number == KEPT + 3 - unknown:
            here.index.lag = math.inf
        write_as_the_probe_does(here)
    agent = here.agent()
    run = await here.run(shared=agent, late_after="24h")
    calls = {service: count for _, service, count in agent.part(Usage).calls()}[Service.FILES]
    assert (told(run)["unindexed_writes"], len(here.lines)) == (unknown, KEPT)
    assert calls - 4 <= most


def write_as_the_probe_does(here: Here) -> None:
    """Put one line more into the file, without a run for each hour of a day."""
    written = time.gmtime(here.world.now())
    word = f"fogbell{crc32(here.path.encode()):08x}{time.strftime('%Y%m%d%H', written)}"
    lines = [f"{word} {time.strftime('%Y-%m-%dT%H:%M:%SZ', written)}", *here.lines][:KEPT]
    here.put("\n".join((*FIRST, *lines, "")))


FIRST = (
    "Fogbell overwrites this file once an hour to see how far search is behind. It may be deleted: the next run places it anew.",
    "Each line has a word to search for, and when it was written.",
)


@on_one_loop
async def test_lines_that_are_none_of_ours_are_passed_over(here: Here) -> None:
    here.put("\r\n".join((*FIRST, "fogbell 2026", f"fogbell{'0' * 18} 2026-13-45T99:99:99Z", f"fogbell{'0' * 18} 2026-11-23T09:00:00Z")))
    run = await here.run()
    assert (run.outcome, dict(run.evidence)["newest_written"]) == (Outcome.FAILED, f"fogbell{'0' * 18}")
    assert len(here.lines) == 2


@on_one_loop
@pytest.mark.parametrize("before", [0, 1], ids=["placed", "overwritten"])
async def test_of_two_agents_at_the_same_moment_one_writes_and_both_are_well(before: int, here: Here) -> None:
    if before:
        await here.run()
        here.clock.forward(HOUR + MINUTE)
    others = MemoryLedger()
    made = among(here.tenant)
    other = Shared(made.lookup, made.secret, parts=made.parts, ledger=others)
    # Both have read the file before either may write.
    here.wrong(Latency(0.15), "file_upload")
    runs = await asyncio.gather(here.run(), here.run(shared=other))
    assert [run.message for run in runs] == ["", ""]
    said = sorted(dict(run.evidence)["overwritten"] for run in runs)
    assert said[0] == "by another at the same moment"
    assert len(here.lines) == 1 + before
    assert len(here.outstanding) + len(others.outstanding("one")) == 1


@on_one_loop
async def test_another_probe_on_the_same_file_takes_part_and_one_on_another_file_does_not(here: Here) -> None:
    await here.run()
    here.clock.forward(2 * LAG)
    second = await once("search_freshness", shared=here.agent(), tenant="contoso", drive=SITE, path=here.path.upper().replace("TXT", "txt"))
    assert told(second)["age_seconds"] == near(2 * LAG)
    apart = await here.run(path=f"other/{here.path}")
    assert "overwritten" in dict(apart.evidence)
    assert len(here.lines) == 1


@on_one_loop
async def test_what_somebody_else_put_there_is_not_overwritten(here: Here) -> None:
    here.put("Minutes of the harbour board")
    run = await here.run()
    assert (run.failed_step, run.reason, here.text) == ("file", Reason.CONTENT_MISMATCH, "Minutes of the harbour board")


@on_one_loop
async def test_a_file_that_somebody_deleted_is_placed_anew(here: Here) -> None:
    await here.run()
    here.clock.forward(2 * LAG)
    assert here.item is not None
    here.drive.remove(here.item, here.world.now(), for_good=False)
    again, later = await here.run(), await here.run()
    assert [run.message for run in (again, later)] == ["", ""]
    # Search still finds the one that was deleted, which is another.
    assert (told(again), told(later)) == ({}, {"behind_seconds": near(0), "unindexed_writes": 1})


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
    before = here.text
    ctx = await here.clear(is_removed=True)
    assert (ctx.cleanup_failed, here.outstanding, here.text) == (False, [], before)


@on_one_loop
async def test_what_cannot_be_removed_stays_on_the_ledger(here: Here) -> None:
    await here.run()
    here.wrong(Http((503,)), "file_delete")
    ctx = await here.clear(is_removed=True)
    assert (ctx.cleanup_failed, here.outstanding) == (True, [here.path])


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"drive": {"id": "b!x"}}, "drive needs a site or a user"),
        ({"drive": {}}, "exactly one of site, user and id"),
        ({"path": "a.docx"}, "pattern"),
        ({"path": "/a.txt"}, "pattern"),
        ({"path": "a//b.txt"}, "pattern"),
        ({"path": "a?.txt"}, "pattern"),
        ({"late_after": "25h"}, "less than or equal to 86400"),
        ({"late_after": "30s"}, "greater than or equal to 60"),
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        SearchFreshness.model_validate({"drive": SITE, **settings})


def test_what_a_run_costs_is_said() -> None:
    probe = REGISTRY["search_freshness"]
    (cost,) = probe.costs(probe.settings.model_validate({"drive": SITE}))
    assert (cost.service, cost.calls, cost.units) == (Service.FILES, 7, 10)
    assert (probe.floor, probe.interval) == (300, 900)
