"""What a run says that was ended while it waited for a token, be it its own request or another run's."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from aiohttp import web

from agent.job import Job
from agent.runner import run_once
from probes.core.context import Context, Shared
from probes.core.contract import Layer, Outcome, Place, Probe, Run, Settings, Workload
from probes.core.reasons import Reason
from probes.lib.tenant import Tenant
from tests.fakes import hostile
from tests.fakes.identity import Asked, given, identity
from tests.lib.signing_in import inline, shared, tenant, want


def job(of: Tenant, timeout: float) -> Job:
    async def run(ctx: Context, _: Settings) -> None:
        await want(ctx, of)

    place = Place(Layer.IDENTITY, Workload.ENTRA)
    return Job("probe", "kind", Probe(run, Settings, place=lambda _: place, steps=("token",)), Settings(), 60, timeout, place)


async def never(_: Asked) -> web.Response:
    await asyncio.sleep(60)
    return given()


async def silent_resolver(host: str, family: int) -> tuple[str, ...]:
    await asyncio.sleep(60)
    return (host, str(family))


@asynccontextmanager
async def stalling() -> AsyncIterator[tuple[Shared, str]]:
    async with hostile.tls_stalls() as address:
        yield shared(), f"127.0.0.1:{address[1]}"


@asynccontextmanager
async def dropping() -> AsyncIterator[tuple[Shared, str]]:
    async with hostile.drops() as address:
        yield shared(), f"127.0.0.1:{address[1]}"


@asynccontextmanager
async def thinking() -> AsyncIterator[tuple[Shared, str]]:
    async with identity(never) as server:
        yield shared(), server.host


@asynccontextmanager
async def unresolved() -> AsyncIterator[tuple[Shared, str]]:
    yield Shared(silent_resolver, inline), "login.example"


@pytest.mark.parametrize(
    ("where", "reason", "phases"),
    [
        pytest.param(unresolved, Reason.DNS_TIMEOUT, ["resolve"], id="the resolver is silent"),
        pytest.param(dropping, Reason.CONNECT_TIMEOUT, ["connect"], id="nothing answers the connection"),
        pytest.param(stalling, Reason.TLS_TIMEOUT, ["connect", "tls"], id="the handshake stalls"),
        pytest.param(thinking, Reason.TIMEOUT, ["connect", "tls", "processing"], id="no answer comes"),
    ],
)
async def test_at_the_deadline_each_run_that_waited_has_the_reason_of_the_request(
    where: Callable[[], AbstractAsyncContextManager[tuple[Shared, str]]], reason: Reason, phases: list[str]
) -> None:
    async with where() as (agent, host):
        one = job(tenant(host), 0.4)
        runs = await asyncio.gather(*[run_once(one, agent) for _ in range(3)])
    for run in runs:
        assert (run.outcome, run.reason, run.failed_step) == (Outcome.FAILED, reason, "token")
        (step,) = run.steps
        assert [name for name, _ in step.phases] == phases
        assert sum(seconds for _, seconds in step.phases) <= step.seconds


async def test_a_run_without_the_time_for_it_does_not_wait_for_the_next_request() -> None:
    async with identity(lambda _: web.Response(status=503)) as server:
        agent = shared()
        first = await run_once(job(tenant(server.host), 5), agent)
        server.answer = lambda _: given()
        second = await run_once(job(tenant(server.host), 5), agent)
    assert [reason_of(run) for run in (first, second)] == [(Reason.IDENTITY_FAULT, "503")] * 2
    assert dict(second.evidence)["token_asked"] == "0 s ago"
    assert len(server.asked) == 1


def reason_of(run: Run) -> tuple[Reason | None, str]:
    return run.reason, run.code
