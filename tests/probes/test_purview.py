"""Purview lists a label and a case, or there is a reason: licence, permission, role group and outage are told apart."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from agent.drill.entra.directory import Directory
from agent.drill.faults import Drip, Effect, Fault, Http, Where
from agent.drill.graph.security import EDISCOVERY, PURVIEW, Security
from agent.drill.world import World
from probes.core.contract import Outcome
from probes.core.needs import Service
from probes.core.reasons import Reason
from probes.lib.tenant import Tenant
from probes.lib.usage import Usage
from probes.purview import PROBE, Purview
from tests.fakes.graph import answer, error, run_kind, scripted
from tests.probes.once import once
from tests.probes.tenants import among, simulated

BOTH = ["labels", "ediscovery"]
LABELS = "/v1.0/security/dataSecurityAndGovernance/sensitivityLabels"
CASES = "/v1.0/security/cases/ediscoveryCases"
R = Reason


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[tuple[World, Tenant]]:
    async with simulated(tmp_path) as made:
        yield made


@pytest.mark.parametrize(("quiet", "listed"), [(False, "listed"), (True, "none")], ids=["with labels", "without any"])
async def test_a_licensed_tenant_is_green_whatever_there_is_in_it(
    here: tuple[World, Tenant],
    quiet: bool,  # noqa: FBT001 - a table
    listed: str,
) -> None:
    world, tenant = here
    world.of(Security).quiet = quiet
    run = await once("purview", shared=among(tenant), tenant="contoso", parts=BOTH)
    assert (run.outcome, run.message, [step.name for step in run.steps]) == (Outcome.OK, "", ["token", *BOTH])
    assert {name: value for name, value in run.evidence if name in BOTH} == dict.fromkeys(BOTH, listed)


async def test_without_parts_ediscovery_is_let_alone_and_counted_so(here: tuple[World, Tenant]) -> None:
    shared = among(here[1])
    run = await once("purview", shared=shared, tenant="contoso")
    assert [step.name for step in run.steps] == ["token", "labels"]
    counted = {service: calls for _, service, calls in shared.part(Usage).calls()}
    assert counted == {Service.LOGIN: 1, **{cost.service: cost.calls for cost in PROBE.costs(Purview())}}


def broken(effect: Effect, operation: str) -> Callable[[World], None]:
    return lambda world: world.faults.set(Fault(effect, Where(operations=frozenset({operation}))))


def granted(*permissions: str) -> Callable[[World], None]:
    return lambda world: world.of(Directory).grant(world.app_id, permissions)


@pytest.mark.parametrize(
    ("breaks", "step", "reason", "code"),
    [
        (lambda world: world.of(Security).licences.discard(PURVIEW), "labels", R.LICENCE_MISSING, "Forbidden"),
        (granted("eDiscovery.Read.All"), "labels", R.PERMISSION, "Authorization_RequestDenied"),
        (granted("SensitivityLabel.Read"), "ediscovery", R.PERMISSION, "Authorization_RequestDenied"),
        (lambda world: world.of(Security).roles.discard(EDISCOVERY), "ediscovery", R.PERMISSION, "UnknownError"),
        (broken(Http((401,)), "ediscovery"), "ediscovery", R.TOKEN_REJECTED, "InvalidAuthenticationToken"),
        (broken(Http((503,)), "labels"), "labels", R.HTTP_5XX, "ServiceUnavailable"),
        (broken(Http((504,)), "ediscovery"), "ediscovery", R.HTTP_5XX, "GatewayTimeout"),
        (broken(Drip(), "labels"), "labels", R.TIMEOUT, ""),
    ],
    ids=["no licence", "may not list labels", "may not list cases", "no role", "token refused", "down", "ediscovery down", "hangs"],
)
async def test_each_way_to_fail_has_its_step_and_reason(
    here: tuple[World, Tenant], breaks: Callable[[World], Any], step: str, reason: Reason, code: str
) -> None:
    world, tenant = here
    breaks(world)
    deadline = 0.6 if reason is R.TIMEOUT else 5.0
    run = await once("purview", deadline=deadline, shared=among(tenant), tenant="contoso", parts=BOTH)
    assert (run.outcome, run.failed_step, run.reason, run.code) == (Outcome.FAILED, step, reason, code)


async def test_a_missing_role_group_is_told_in_words_that_help(here: tuple[World, Tenant]) -> None:
    world, tenant = here
    world.of(Security).roles.clear()
    run = await once("purview", shared=among(tenant), tenant="contoso", parts=["ediscovery"])
    assert run.message.endswith("the application has to be in a role group of eDiscovery in Purview, besides its permission")
    assert "missing_permissions" not in dict(run.evidence)


async def test_too_many_calls_say_nothing_about_purview(here: tuple[World, Tenant]) -> None:
    world, tenant = here
    broken(Http((429,), retry_after=120), "ediscovery")(world)
    run = await once("purview", shared=among(tenant), tenant="contoso", parts=BOTH)
    assert (run.outcome, run.failed_step, run.reason, run.retry_after) == (Outcome.INCONCLUSIVE, "ediscovery", R.THROTTLED, 120.0)


NEVER_SET_UP = {
    "error": {
        "code": "generalException",
        "message": "An error occurred.",
        "innerError": {"message": "The service didn't accept the auth token. Challenge:['']"},
    }
}


@pytest.mark.parametrize(
    ("said", "reason", "hinted"),
    [
        (answer(NEVER_SET_UP, 500), R.HTTP_5XX, True),
        (error(500, "generalException", message="The service didn't accept the auth token."), R.HTTP_5XX, True),
        (error(500, "generalException", message="An error occurred."), R.HTTP_5XX, False),
        (error(403, "Forbidden", message="The tenant is not licensed for this."), R.LICENCE_MISSING, False),
        (error(402, "PaymentRequired"), R.LICENCE_MISSING, False),
        (answer({"value": [{"name": "Public"}]}), R.CONTENT_MISMATCH, False),
        (answer({"value": {}}), R.CONTENT_MISMATCH, False),
        (answer({"value": []})[:-2], R.TRUNCATED, False),
        (answer(b"<html>sign in</html>"), R.PROTOCOL_ERROR, False),
    ],
    ids=["never set up", "so it says itself", "an outage", "not licensed", "unpaid", "no id", "no list", "cut off", "a page"],
)
async def test_what_is_no_list_of_labels_is_named(said: bytes, reason: Reason, hinted: bool) -> None:  # noqa: FBT001 - a table
    async with scripted({LABELS: said}) as script:
        run = await run_kind("purview", script.tenant)
    assert (run.outcome, run.failed_step, run.reason) == (Outcome.FAILED, "labels", reason)
    assert ("hint" in dict(run.evidence)) is hinted


async def test_one_of_each_is_asked_for() -> None:
    async with scripted({LABELS: answer({"value": []}), CASES: answer({"value": []})}) as script:
        await run_kind("purview", script.tenant, parts=BOTH)
    assert [(call.method, call.path, call.query) for call in script.calls] == [
        ("GET", LABELS, {"$top": "1"}),
        ("GET", CASES, {"$top": "1"}),
    ]


def test_it_needs_what_its_parts_need() -> None:
    assert [need.name for need in PROBE.permissions(Purview())] == ["SensitivityLabel.Read"]
    assert [need.name for need in PROBE.permissions(Purview(parts=("labels", "ediscovery")))] == [
        "SensitivityLabel.Read",
        "eDiscovery.Read.All",
    ]
