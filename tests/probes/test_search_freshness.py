"""How far search is behind is told by one file: on a simulated tenant whose clock and index a test moves, over hours and gaps."""

import asyncio
import math
import time
from collections.abc import AsyncIterator
from typing import Any
from zlib import crc32

import pytest
import pytest_asyncio
from pydantic import ValidationError

from agent.drill.faults import Latency
from probes import REGISTRY
from probes.core.context import Shared
from probes.core.contract import Outcome
from probes.core.ledger import MemoryLedger
from probes.core.needs import Service
from probes.core.reasons import Reason
from probes.lib.usage import Usage
from probes.search_freshness import HOUR, KEPT, SearchFreshness
from tests.probes.freshness import FIRST, LAG, MINUTE, SITE, Here, in_order, near, serving, steps, told
from tests.probes.once import once
from tests.probes.tenants import among

on_one_loop = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tenant(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Here]:
    async with serving(tmp_path_factory.mktemp("tenant")) as here:
        yield here


@pytest.fixture
def here(tenant: Here, request: pytest.FixtureRequest) -> Here:
    return in_order(tenant, request.node.name)


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


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"drive": {"id": "b!x"}}, "drive needs a site or a user"),
        ({"drive": {}}, "exactly one of site, user and id"),
        ({"path": "a.docx"}, "must end in .txt"),
        ({"path": "../a.txt"}, "must be the way to a file"),
        ({"path": "a//b.txt"}, "must be the way to a file"),
        ({"path": "a?.txt"}, r"holds \?"),
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
