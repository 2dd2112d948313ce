"""The kinds that call Graph against the simulated tenant, from its ready configuration: signed tokens, real permissions, faults, limits."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.config import Secrets, load
from agent.drill.entra.directory import Directory
from agent.drill.faults import Fault, Http, StatusSource, Where
from agent.drill.graph.health import Health
from agent.drill.tenant import Tenant, tenant
from agent.drill.world import World
from agent.runner import of_this_machine, run_once
from probes.core.contract import Outcome, Run
from probes.core.reasons import Reason

Once = Callable[[str], Awaitable[Run]]


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Tenant]:
    async with tenant(tmp_path) as running:
        yield running


@pytest.fixture
def once(here: Tenant) -> Once:
    return once_on(here)


def once_on(here: Tenant) -> Once:
    """Return what runs the probe of a kind as the agent would, all of them with one store of tokens."""
    configuration = load(here.config)
    parts = of_this_machine(Secrets(configuration.secrets), configuration.tenants, None)

    async def run(kind: str) -> Run:
        return await run_once(next(job for job in configuration.jobs if job.kind == kind), parts)

    return run


def told(run: Run, name: str) -> dict[str, float]:
    return {sample.labels[0]: sample.value for sample in run.measured if sample.name == name}


async def test_a_healthy_tenant_is_green_with_what_a_ticket_needs(once: Once) -> None:
    for kind in ("graph_ping", "service_health"):
        run = await once(kind)
        assert (run.outcome, run.message) == (Outcome.OK, "")
        assert {"request_id", "client_request_id", "date", "datacenter", "ring", "scale_unit"} <= dict(run.evidence).keys()
    assert set(told(run, "healthy").values()) == {1}
    assert set(told(run, "open_issues").values()) == {0}
    assert told(run, "first_mention_timestamp_seconds") == {}


async def test_what_microsoft_declares_is_told_with_its_first_mention(here: Tenant, once: Once) -> None:
    health = here.world.of(Health)
    began = datetime(2026, 11, 23, 8, 10, tzinfo=UTC).timestamp()
    issue = health.declare("Exchange", "serviceInterruption", at=began)
    health.post(issue, "restoringService", at=began + 600)
    run = await once("service_health")
    assert told(run, "healthy")["Exchange"] == 0
    assert (told(run, "open_issues")["Exchange"], told(run, "open_incidents")["Exchange"]) == (1, 1)
    assert told(run, "first_mention_timestamp_seconds") == {"Exchange": began}


async def test_a_claim_without_a_cause_is_told_as_it_is_claimed(here: Tenant, once: Once) -> None:
    here.world.faults.set(Fault(StatusSource("serviceDegradation"), Where(services=frozenset({"teams"}))))
    run = await once("service_health")
    assert told(run, "healthy")["microsoftteams"] == 0
    assert told(run, "healthy")["Exchange"] == 1
    assert (await once("graph_ping")).outcome is Outcome.OK


async def test_a_status_source_that_fails_is_unknown_and_graph_is_not_blamed(here: Tenant, once: Once) -> None:
    here.world.faults.set(Fault(Http((503,)), Where(services=frozenset({"service_health"}))))
    run = await once("service_health")
    assert (run.outcome, run.failed_step, run.reason, told(run, "healthy")) == (Outcome.FAILED, "overviews", Reason.HTTP_5XX, {})
    assert (await once("graph_ping")).outcome is Outcome.OK


@pytest.mark.parametrize(
    ("status", "outcome", "reason"),
    [
        (429, Outcome.INCONCLUSIVE, Reason.THROTTLED),
        (503, Outcome.FAILED, Reason.HTTP_5XX),
        (401, Outcome.FAILED, Reason.TOKEN_REJECTED),
        (403, Outcome.FAILED, Reason.PERMISSION),
    ],
)
async def test_what_graph_refuses_with_is_named(status: int, outcome: Outcome, reason: Reason, here: Tenant, once: Once) -> None:
    here.world.faults.set(Fault(Http((status,), retry_after=30), Where(hosts=frozenset({"graph"}))))
    run = await once("graph_ping")
    assert (run.outcome, run.failed_step, run.reason, run.retry_after) == (outcome, "organization", reason, 30.0)


async def test_a_token_without_the_permission_is_refused_for_it(here: Tenant, once: Once) -> None:
    here.world.of(Directory).grant(here.world.app_id, ["Organization.Read.All"])
    run = await once("service_health")
    assert (run.failed_step, run.reason) == ("overviews", Reason.PERMISSION)
    assert dict(run.evidence)["missing_permissions"] == "ServiceHealth.Read.All"


@pytest.mark.parametrize("skew", [-600.0, 600.0], ids=["late", "early"])
async def test_a_clock_ten_minutes_off_changes_nothing(skew: float, tmp_path: Path) -> None:
    async with tenant(tmp_path, World(clock=lambda: time.time() + skew)) as running:
        run = once_on(running)
        assert [(await run(kind)).message for kind in ("graph_ping", "graph_ping", "service_health")] == ["", "", ""]
