"""Defender answers, or there is a reason: a missing licence, a missing permission, too many calls and an outage are told apart."""

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from agent.drill.entra.directory import Directory
from agent.drill.faults import Drip, Fault, Http, Where
from agent.drill.graph.security import DEFENDER, Security
from agent.drill.world import World
from probes.core.contract import Outcome, Run
from probes.core.needs import Service
from probes.core.reasons import Reason
from probes.defender import PROBE, Defender
from probes.lib.tenant import Tenant
from probes.lib.usage import Usage
from tests.fakes.graph import Asked, answer, error, run_kind, scripted
from tests.probes.once import once
from tests.probes.tenants import among, simulated

ALL = ["incidents", "alerts", "hunting", "secure_scores"]
R = Reason


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[tuple[World, Tenant]]:
    async with simulated(tmp_path) as made:
        yield made


async def hunted(said: Callable[[str], Any]) -> Run:
    """Run against a tenant whose hunting says this of the word it is to print."""

    async def answers(asked: Asked) -> bytes:
        word = json.loads(asked.body)["query"].partition('"')[2].rstrip('"')
        made = said(word)
        return made if isinstance(made, bytes) else answer(made)

    async with scripted(answers) as script:
        return await run_kind("defender", script.tenant, parts=["hunting"])


@pytest.mark.parametrize("quiet", [False, True], ids=["with incidents", "without any"])
@pytest.mark.parametrize("capitals", [False, True], ids=["small", "capitals"])
async def test_a_licensed_tenant_is_green_whatever_there_is_in_it(
    here: tuple[World, Tenant],
    quiet: bool,  # noqa: FBT001 - a table
    capitals: bool,  # noqa: FBT001 - a table
) -> None:
    world, tenant = here
    world.of(Security).quiet, world.of(Security).capitals = quiet, capitals
    run = await once("defender", shared=among(tenant), tenant="contoso", parts=ALL)
    assert (run.outcome, run.message, [step.name for step in run.steps]) == (Outcome.OK, "", ["token", *ALL])
    assert dict(run.evidence)["incidents"] == ("none" if quiet else "listed")
    assert {"request_id", "client_request_id", "datacenter"} <= dict(run.evidence).keys()


async def test_without_parts_it_lists_and_hunts_and_is_counted_so(here: tuple[World, Tenant]) -> None:
    shared = among(here[1])
    run = await once("defender", shared=shared, tenant="contoso")
    assert [step.name for step in run.steps] == ["token", "incidents", "hunting"]
    counted = {service: calls for _, service, calls in shared.part(Usage).calls()}
    assert counted == {Service.LOGIN: 1, **{cost.service: cost.calls for cost in PROBE.costs(Defender())}}


FAILURES: list[Any] = [
    pytest.param(lambda world: world.of(Security).licences.discard(DEFENDER), "incidents", R.LICENCE_MISSING, "Forbidden", id="no licence"),
    pytest.param(
        lambda world: world.of(Directory).grant(world.app_id, ["ThreatHunting.Read.All"]),
        "incidents",
        R.PERMISSION,
        "Authorization_RequestDenied",
        id="may not list",
    ),
    pytest.param(
        lambda world: world.of(Directory).grant(world.app_id, ["SecurityIncident.Read.All"]),
        "hunting",
        R.PERMISSION,
        "Authorization_RequestDenied",
        id="may not hunt",
    ),
    pytest.param(lambda world: broken(world, Http((503,)), "incidents"), "incidents", R.HTTP_5XX, "ServiceUnavailable", id="down"),
    pytest.param(lambda world: broken(world, Http((500,)), "hunting"), "hunting", R.HTTP_5XX, "InternalServerError", id="hunting down"),
    pytest.param(lambda world: broken(world, Http((401,)), "incidents"), "incidents", R.TOKEN_REJECTED, None, id="token refused"),
    pytest.param(lambda world: broken(world, Http((402,)), "incidents"), "incidents", R.LICENCE_MISSING, "PaymentRequired", id="unpaid"),
    pytest.param(lambda world: broken(world, Drip(), "hunting"), "hunting", R.TIMEOUT, "", id="hangs"),
]


def broken(world: World, effect: Any, operation: str) -> None:
    world.faults.set(Fault(effect, Where(operations=frozenset({operation}))))


@pytest.mark.parametrize(("breaks", "step", "reason", "code"), FAILURES)
async def test_each_way_to_fail_has_its_step_and_reason(
    here: tuple[World, Tenant], breaks: Callable[[World], Any], step: str, reason: Reason, code: str | None
) -> None:
    world, tenant = here
    breaks(world)
    run = await once("defender", deadline=0.6 if reason is R.TIMEOUT else 5.0, shared=among(tenant), tenant="contoso")
    assert (run.outcome, run.failed_step, run.reason) == (Outcome.FAILED, step, reason)
    assert code is None or run.code == code
    assert (dict(run.evidence).get("missing_permissions") is not None) is (reason is R.PERMISSION)


async def test_a_quota_that_is_used_up_says_nothing_about_defender(here: tuple[World, Tenant]) -> None:
    world, tenant = here
    world.faults.set(Fault(Http((429,), retry_after=120), Where(services=frozenset({"hunting"}))))
    run = await once("defender", shared=among(tenant), tenant="contoso")
    assert (run.outcome, run.failed_step, run.reason, run.retry_after) == (Outcome.INCONCLUSIVE, "hunting", R.THROTTLED, 120.0)


async def test_a_permission_that_is_taken_away_while_it_runs_is_named(here: tuple[World, Tenant]) -> None:
    world, tenant = here
    shared = among(tenant)
    assert (await once("defender", shared=shared, tenant="contoso")).outcome is Outcome.OK
    broken(world, Http((403,)), "hunting")
    run = await once("defender", shared=shared, tenant="contoso")
    assert (run.failed_step, run.reason) == ("hunting", R.PERMISSION)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (lambda _: {"schema": [], "results": []}, R.CONTENT_MISMATCH),
        (lambda _: {"schema": [], "results": [{"fogbell": "of yesterday"}]}, R.CONTENT_MISMATCH),
        (lambda word: {"results": [{"fogbell": word}, {"fogbell": word}]}, R.CONTENT_MISMATCH),
        (lambda word: {"results": [word]}, R.CONTENT_MISMATCH),
        (lambda word: [word], R.CONTENT_MISMATCH),
        (lambda _: answer(b"<html>sign in</html>"), R.PROTOCOL_ERROR),
        (lambda word: answer({"results": [{"fogbell": word}]})[:-3], R.TRUNCATED),
        (lambda _: error(403, "Forbidden", message="Account is not provisioned."), R.LICENCE_MISSING),
        (lambda _: error(400, "BadRequest", message="The tenant is not licensed for hunting."), R.LICENCE_MISSING),
        (lambda _: error(400, "BadRequest", message="Syntax error in the query."), R.HTTP_4XX),
    ],
    ids=[
        "no row",
        "another word",
        "two rows",
        "no object",
        "no answer of hunting",
        "a page",
        "cut off",
        "not provisioned",
        "not licensed",
        "bad query",
    ],
)
async def test_an_answer_that_is_not_the_word_is_none(said: Callable[[str], Any], reason: Reason) -> None:
    run = await hunted(said)
    assert (run.outcome, run.failed_step, run.reason) == (Outcome.FAILED, "hunting", reason)


@pytest.mark.parametrize("named", [("results", "fogbell"), ("Results", "Fogbell")])
async def test_each_run_has_a_word_of_its_own_and_capitals_do_not_matter(named: tuple[str, str]) -> None:
    words: list[str] = []

    def said(word: str) -> Any:
        words.append(word)
        return {named[0]: [{named[1]: word}]}

    assert [(await hunted(said)).outcome for _ in range(2)] == [Outcome.OK] * 2
    assert len(set(words)) == 2


@pytest.mark.parametrize(
    "entries", [[{"status": "active"}], [{"id": 7}], [{"id": ""}], "none"], ids=["no id", "a number", "empty", "no list"]
)
async def test_what_is_no_incident_is_not_taken_for_one(entries: Any) -> None:
    async with scripted({"/v1.0/security/incidents": answer({"value": entries})}) as script:
        run = await run_kind("defender", script.tenant, parts=["incidents"])
    assert (run.failed_step, run.reason) == ("incidents", R.CONTENT_MISMATCH)


def test_it_needs_what_its_parts_need() -> None:
    assert [need.name for need in PROBE.permissions(Defender())] == ["SecurityIncident.Read.All", "ThreatHunting.Read.All"]
    assert [need.name for need in PROBE.permissions(Defender(parts=("alerts", "secure_scores")))] == [
        "SecurityAlert.Read.All",
        "SecurityEvents.Read.All",
    ]
    with pytest.raises(ValidationError):
        Defender(parts=())
