"""Tokens of one agent: shared, renewed ahead of time, and not asked for too often. Real sockets and TLS; time jumps where it must."""

import asyncio
import socket
import time

import pytest
from aiohttp import web

from probes.core.context import Shared
from probes.core.contract import Inconclusive, Stopped
from probes.core.reasons import Reason
from probes.lib.tenant import Tenant
from probes.lib.tls import Trust
from tests.fakes import hostile
from tests.fakes.identity import Answer, Asked, given, identity, refused
from tests.lib.signing_in import inline, run, shared, tenant, want

GRAPH, EXCHANGE = "https://graph.microsoft.com", "https://outlook.office365.com"


async def test_200_runs_that_share_a_credential_make_exactly_one_request() -> None:
    async with identity() as server:
        agent = shared()
        tokens = await asyncio.gather(*[want(run(agent), tenant(server.host)) for _ in range(200)])
    assert len(server.asked) == 1
    assert len({token.value for token in tokens}) == 1


async def test_a_token_is_kept_for_each_resource() -> None:
    async with identity() as server:
        agent = shared()
        for resource in ("", EXCHANGE, GRAPH, EXCHANGE):
            await want(run(agent), tenant(server.host), resource)
    assert [asked.form["scope"] for asked in server.asked] == [f"{GRAPH}/.default", f"{EXCHANGE}/.default"]


async def test_requests_of_one_credential_go_one_after_the_other() -> None:
    busy, most = 0, 0

    async def slowly(_: Asked) -> web.Response:
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        await asyncio.sleep(0.02)
        busy -= 1
        return given()

    async with identity(slowly) as server:
        agent = shared()
        wanted = [f"https://{number}.example" for number in range(5)] * 3
        await asyncio.gather(*[want(run(agent), tenant(server.host), resource) for resource in wanted])
    assert most == 1
    assert len(server.asked) == 5


async def test_who_waited_for_a_request_for_something_else_says_that_its_times_are_too_long() -> None:
    async with identity() as server:
        agent = shared()
        first, second = run(agent), run(agent)
        await asyncio.gather(want(first, tenant(server.host)), want(second, tenant(server.host), EXCHANGE))
    assert (first.tainted, second.tainted) == (False, True)


async def test_phases_and_evidence_of_the_one_request_are_those_of_each_run_that_waited() -> None:
    async with identity(lambda _: web_with_trace()) as server:
        agent = shared()
        runs = [run(agent) for _ in range(3)]
        await asyncio.gather(*[want(ctx, tenant(server.host)) for ctx in runs])
    for ctx in runs:
        assert [name for name, _ in ctx.steps[0].phases] == ["connect", "tls", "processing", "transfer"]
        assert sum(seconds for _, seconds in ctx.steps[0].phases) <= ctx.steps[0].seconds
        assert ctx.evidence_found["x-ms-ests-server"] == "2.1.11774.8 - WUS2 ProdSlices"
        assert ctx.evidence_found["token_roles"] == "Organization.Read.All"
        assert "token_expires" in ctx.evidence_found


def web_with_trace() -> web.Response:
    response = given()
    response.headers["x-ms-ests-server"] = "2.1.11774.8 - WUS2 ProdSlices"
    return response


async def test_a_run_that_joins_late_has_only_the_phases_that_it_waited_for() -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def held(_: Asked) -> web.Response:
        reached.set()
        await go_on.wait()
        return given()

    async with identity(held) as server:
        agent = shared()
        early, late = run(agent), run(agent)
        leader = asyncio.create_task(want(early, tenant(server.host)))
        await reached.wait()
        joined = asyncio.create_task(want(late, tenant(server.host)))
        await asyncio.sleep(0)
        go_on.set()
        await asyncio.gather(leader, joined)
    assert [name for name, _ in late.steps[0].phases] == ["processing", "transfer"]
    assert [name for name, _ in early.steps[0].phases] == ["connect", "tls", "processing", "transfer"]


async def test_a_run_that_began_a_request_and_was_ended_leaves_it_to_the_others() -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def held(_: Asked) -> web.Response:
        reached.set()
        await go_on.wait()
        return given()

    async with identity(held) as server:
        agent = shared()
        leader = asyncio.create_task(want(run(agent), tenant(server.host)))
        await reached.wait()
        follower = asyncio.create_task(want(run(agent), tenant(server.host)))
        await asyncio.sleep(0)
        leader.cancel()
        await asyncio.wait({leader})
        go_on.set()
        assert (await follower).roles == {"Organization.Read.All"}
    assert leader.cancelled()
    assert len(server.asked) == 1


async def test_a_token_that_came_after_its_run_had_ended_is_there_for_the_next() -> None:
    reached, go_on, answered = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def held(_: Asked) -> web.Response:
        reached.set()
        await go_on.wait()
        answered.set()
        return given()

    async with identity(held) as server:
        agent = shared()
        leader = asyncio.create_task(want(run(agent), tenant(server.host)))
        await reached.wait()
        leader.cancel()
        await asyncio.wait({leader})
        go_on.set()
        await want(run(agent), tenant(server.host))
    assert len(server.asked) == 1


async def test_at_its_deadline_a_run_knows_the_phase_in_which_the_request_was() -> None:
    greeted = asyncio.Event()

    async def stall(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read(1)
        greeted.set()
        await reader.read()

    async with hostile.serving(stall) as address:
        agent = shared()
        runs = [run(agent), run(agent)]
        tasks = [asyncio.create_task(want(ctx, tenant(f"127.0.0.1:{address[1]}"))) for ctx in runs]
        await greeted.wait()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    for ctx in runs:
        assert ctx.blamed is not None
        assert ctx.blamed.open_phases == ["tls"]
        assert [name for name, _ in ctx.steps[0].phases] == ["connect", "tls"]


async def test_a_token_that_ended_while_the_machine_slept_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that never jumps stands still while a laptop sleeps; the wall clock tells."""
    async with identity() as server:
        agent, of = shared(), tenant(server.host)
        await want(run(agent), of)
        later = time.time() + 4000
        monkeypatch.setattr("time.time", lambda: later)
        await want(run(agent), of)
    assert len(server.asked) == 2


async def test_what_this_machine_lacked_keeps_no_other_run_from_asking() -> None:
    lacking = [Inconclusive(Reason.AGENT_RESOURCES, "too many open files")]

    async def lookup(host: str, family: int) -> tuple[str, ...]:
        if lacking:
            raise lacking.pop()
        return ("127.0.0.1",) if (host, family) == ("localhost", socket.AF_UNSPEC) else ()

    async with identity() as server:
        agent, of = Shared(lookup, inline), tenant(server.host.replace("127.0.0.1", "localhost"))
        with pytest.raises(Inconclusive) as stopped:
            await want(run(agent), of)
        ctx = run(agent)
        await want(ctx, of)
    assert stopped.value.reason is Reason.AGENT_RESOURCES
    assert not ctx.tainted


@pytest.mark.parametrize("life", [10**6, 10**18])
async def test_a_token_that_claims_to_live_for_ever_is_renewed_within_two_days(life: int) -> None:
    async with identity(lambda _: given(life=life)) as server:
        token = await want(run(shared()), tenant(server.host))
    assert token.expires - token.issued == 2 * 86_400


async def test_one_credential_that_goes_two_ways_has_its_own_tokens_and_failures_on_each() -> None:
    async with identity() as server:
        agent, direct = shared(), tenant(server.host)
        lost, distrusting = tenant(server.host, proxy="http://127.0.0.1:1"), direct.model_copy(update={"tls": Trust()})

        async def reason(of: Tenant) -> Reason | None:
            try:
                await want(run(agent, 5.0), of)
            except Stopped as stopped:
                return stopped.reason
            return None

        assert [await reason(of) for of in (lost, direct, lost, distrusting)] == [
            Reason.PROXY_UNREACHABLE,
            None,
            Reason.PROXY_UNREACHABLE,
            Reason.TLS_UNTRUSTED,
        ]
        assert list(await asyncio.gather(reason(direct), reason(lost))) == [None, Reason.PROXY_UNREACHABLE]
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "answer",
    [lambda _: refused(7000222, 401, "invalid_client"), lambda _: refused(50196, 429), lambda _: refused(90033, 503)],
    ids=["refused", "too many requests", "down"],
)
async def test_what_the_provider_answered_holds_back_the_credential_on_all_its_ways(answer: Answer) -> None:
    async with identity(answer) as server:
        agent, direct = shared(), tenant(server.host)
        for of in (direct, direct.model_copy(update={"tls": direct.tls.model_copy(update={"min_version": "1.3"})})):
            with pytest.raises(Stopped):
                await want(run(agent, 5.0), of)
    assert len(server.asked) == 1
