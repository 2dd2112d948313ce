"""A search of the audit log is asked for, awaited and timed; every end but success has its step and reason."""

import json
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import chain, islice, pairwise, repeat
from pathlib import Path
from typing import Any

import pytest

from agent.drill.entra.directory import Directory
from agent.drill.faults import Effect, Fault, Http, Where
from agent.drill.graph.security import AUDIT, PURVIEW, Security
from agent.drill.world import World
from probes import purview_audit
from probes.core.contract import Outcome, Run
from probes.core.reasons import Reason
from probes.lib.tenant import Tenant
from probes.purview_audit import NAME, PROBE, pauses, searched
from tests.drill.graph import NOON
from tests.fakes.graph import Asked, answer, error, run_kind, scripted
from tests.probes.once import once
from tests.probes.pages import measured
from tests.probes.tenants import among, simulated

QUERIES = "/v1.0/security/auditLog/queries"
R = Reason


@pytest.fixture(autouse=True)
def _looks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purview_audit, "pauses", lambda: repeat(0.02))


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[tuple[World, Tenant]]:
    async with simulated(tmp_path) as made:
        made[0].of(Security).search_seconds = 0.1
        yield made


async def test_a_search_is_timed_to_the_look_that_sees_it_done(here: tuple[World, Tenant]) -> None:
    world, tenant = here
    run = await once("purview_audit", shared=among(tenant), tenant="contoso")
    assert (run.outcome, run.message, [step.name for step in run.steps]) == (Outcome.OK, "", ["token", "create", "wait"])
    (search,) = world.of(Security).searches.values()
    evidence, told = dict(run.evidence), measured(run)
    assert (evidence["search"], evidence["search_status"], search.name) == (search.id, "succeeded", NAME)
    assert told["search_seconds"] > told["look_granularity_seconds"] >= 0.02
    assert told["search_seconds"] > 0.1


def broken(effect: Effect) -> Callable[[World], None]:
    return lambda world: world.faults.set(Fault(effect, Where(operations=frozenset({"audit"}))))


def ends(how: Any) -> Callable[[World], None]:
    def make(world: World) -> None:
        world.of(Security).search_ends = how

    return make


def switch_off(world: World) -> None:
    world.of(Security).auditing = False


@pytest.mark.parametrize(
    ("breaks", "step", "reason", "code", "said"),
    [
        (lambda world: world.of(Security).licences.discard(PURVIEW), "create", R.LICENCE_MISSING, "Forbidden", "never set it up"),
        (lambda world: world.of(Security).roles.discard(AUDIT), "create", R.PERMISSION, "UnknownError", "no role lets whoever asks"),
        (
            lambda world: world.of(Directory).grant(world.app_id, ["SensitivityLabel.Read"]),
            "create",
            R.PERMISSION,
            "Authorization_RequestDenied",
            "403",
        ),
        (switch_off, "create", R.BLOCKED_BY_POLICY, "UnknownError", "does not record its audit log"),
        (broken(Http((503,))), "create", R.HTTP_5XX, "ServiceUnavailable", "503"),
        (ends("failed"), "wait", R.CONTENT_MISMATCH, "", "ended as failed"),
        (ends("cancelled"), "wait", R.CONTENT_MISMATCH, "", "ended as cancelled"),
    ],
    ids=["no licence", "no role", "no permission", "no audit log", "down", "failed", "cancelled"],
)
async def test_each_way_to_fail_has_its_step_and_reason(  # noqa: PLR0917 - a table
    here: tuple[World, Tenant], breaks: Callable[[World], Any], step: str, reason: Reason, code: str, said: str
) -> None:
    world, tenant = here
    breaks(world)
    run = await once("purview_audit", shared=among(tenant), tenant="contoso")
    assert (run.outcome, run.failed_step, run.reason, run.code) == (Outcome.FAILED, step, reason, code)
    assert said in run.message
    assert (dict(run.evidence).get("search_status") is not None) is (step == "wait")
    assert "search_seconds" not in measured(run)


async def test_a_search_that_does_not_end_is_awaited_to_the_deadline(here: tuple[World, Tenant], monkeypatch: pytest.MonkeyPatch) -> None:
    world, tenant = here
    world.of(Security).search_seconds = 3600.0
    monkeypatch.setattr(purview_audit, "pauses", lambda: iter((0.02, 60.0)))
    run = await once("purview_audit", deadline=1.5, shared=among(tenant), tenant="contoso")
    assert (run.outcome, run.failed_step, run.reason) == (Outcome.FAILED, "wait", R.TIMEOUT)
    assert dict(run.evidence)["search_status"]
    assert "search_seconds" not in measured(run)


async def test_throttling_in_between_says_nothing_about_purview(here: tuple[World, Tenant]) -> None:
    world, tenant = here
    broken(Http((429,), retry_after=120))(world)
    run = await once("purview_audit", shared=among(tenant), tenant="contoso")
    assert (run.outcome, run.reason, run.retry_after) == (Outcome.INCONCLUSIVE, R.THROTTLED, 120.0)


async def scripted_run(created: bytes, *looks: bytes) -> tuple[Run, list[Asked]]:
    """Run against a tenant that says this of the new search, and this at each look at it."""
    said: Iterator[bytes] = chain(looks, repeat(answer({"status": "running"})))

    async def answers(asked: Asked) -> bytes:
        return created if asked.method == "POST" else next(said)

    async with scripted(answers) as script:
        run = await run_kind("purview_audit", script.tenant, deadline=5.0)
    return run, script.calls


MADE = answer({"id": "a/1", "status": "notStarted"}, 201)


@pytest.mark.parametrize(
    ("created", "looks", "step", "reason"),
    [
        (answer({"status": "notStarted"}, 201), (), "create", R.CONTENT_MISMATCH),
        (answer(["a"], 201), (), "create", R.CONTENT_MISMATCH),
        (answer({"id": "a/1"}), (), "create", R.CONTENT_MISMATCH),
        (MADE[:-2], (), "create", R.TRUNCATED),
        (MADE, (error(404, "NotFound"),), "wait", R.NOT_FOUND),
        (MADE, (answer({"status": "running"}), answer({"status": None})), "wait", R.CONTENT_MISMATCH),
        (MADE, (answer({"status": "unknownFutureValue"}),), "wait", R.CONTENT_MISMATCH),
        (MADE, (answer({"status": "running"}), error(403, "accessDenied")), "wait", R.PERMISSION),
    ],
    ids=["no id", "a list", "not created", "cut off", "search gone", "no status", "unknown status", "permission taken away"],
)
async def test_what_is_no_search_is_named(created: bytes, looks: tuple[bytes, ...], step: str, reason: Reason) -> None:
    run, _ = await scripted_run(created, *looks)
    assert (run.outcome, run.failed_step, run.reason) == (Outcome.FAILED, step, reason)


async def test_one_search_of_the_last_hour_is_asked_for_and_looked_at_until_it_has_succeeded() -> None:
    run, calls = await scripted_run(MADE, answer({"status": "NotStarted"}), answer({"status": "running"}), answer({"status": "Succeeded"}))
    assert run.outcome is Outcome.OK
    assert [(call.method, call.target) for call in calls] == [("POST", QUERIES), *[("GET", f"{QUERIES}/a%2F1")] * 3]
    assert json.loads(calls[0].body)["operationFilters"] == ["UserLoggedIn"]
    assert searched(NOON) == {
        "displayName": NAME,
        "filterStartDateTime": "2026-11-23T11:00:00Z",
        "filterEndDateTime": "2026-11-23T12:00:00Z",
        "operationFilters": ["UserLoggedIn"],
    }


def test_it_looks_ever_more_seldom_and_never_waits_longer_than_two_minutes_or_a_tenth() -> None:
    waited = list(islice(pauses(), 100))
    passed = [sum(waited[:number]) for number in range(100)]
    assert all(before <= after for before, after in pairwise(waited))
    assert waited == pytest.approx([min(max(15, at / 10), 120) for at in passed])
    assert waited[-1] == 120


def test_a_run_is_over_before_the_next_one_even_at_the_floor() -> None:
    assert PROBE.timeout < PROBE.floor < PROBE.interval
