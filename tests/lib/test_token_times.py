"""Tokens over hours: renewal, rest after failures, outages of the identity provider. Real sockets and TLS; only time jumps."""

import asyncio
from itertools import pairwise

import pytest
from aiohttp import web

from probes.core.context import Shared
from probes.core.contract import Failed, Secret, Stopped
from probes.core.reasons import Reason
from probes.lib.tenant import Tenant
from probes.lib.tokens import Tokens
from tests.fakes.identity import Answer, Asked, given, identity, refused
from tests.lib.signing_in import by, run, shared, tenant, want

pytestmark = pytest.mark.looptime

EXCHANGE = "https://outlook.office365.com"
DOWN = 503


def failing(status: int = DOWN) -> web.Response:
    return web.Response(status=status, text="<html>Our services aren't available right now</html>")


def now() -> float:
    return asyncio.get_running_loop().time()


async def outcome(among: Shared, of: Tenant, resource: str = "", *, seconds: float = 20, **how: bool) -> Reason | None:
    """Run a probe that has `seconds` to go, and return why it failed."""
    try:
        await want(run(among, seconds), of, resource, **how)
    except Stopped as stopped:
        return stopped.reason
    return None


async def swallowed(_: Asked) -> web.Response:
    """Take a request and never answer it."""
    await asyncio.sleep(100)
    return given()


@pytest.mark.parametrize(
    ("down", "reason"), [(lambda _: failing(), Reason.IDENTITY_FAULT), (swallowed, Reason.TIMEOUT)], ids=["it fails", "it is silent"]
)
async def test_while_the_provider_is_down_a_credential_asks_once_in_15_s_and_all_are_green_within_one_interval_after(
    down: Answer, reason: Reason
) -> None:
    """Thirty probes of two resources, each minute, for ten minutes."""
    async with identity() as server:
        agent, down_from, up_at = shared(), 60.0, 660.0
        server.answer = lambda asked: down(asked) if down_from <= now() < up_at else given(life=300)
        results: list[tuple[float, Reason | None]] = []

        async def probe(number: int) -> None:
            await asyncio.sleep(number * 2)
            for minute in range(13):
                began = now()
                resource = EXCHANGE if number % 3 == 0 else ""
                results.append((began, await outcome(agent, tenant(server.host), resource, fresh=number == 7)))
                await asyncio.sleep(number * 2 + (minute + 1) * 60 - now())

        await asyncio.gather(*[probe(number) for number in range(30)])
    asked = [asked.at for asked in server.asked if down_from <= asked.at < up_at]
    assert len(asked) > 10
    assert min(later - earlier for earlier, later in pairwise(asked)) >= 15
    assert {failed for began, failed in results if began >= up_at} == {None}
    assert {failed for began, failed in results if 400 < began < up_at - 45} == {reason}


async def test_a_run_without_the_time_to_wait_gets_the_same_failure_again_and_says_how_old_it_is() -> None:
    async with identity(lambda _: failing()) as server:
        agent = shared()
        assert await outcome(agent, tenant(server.host)) == Reason.IDENTITY_FAULT
        await asyncio.sleep(4)
        ctx = run(agent, seconds=10)
        with pytest.raises(Failed) as failed:
            await want(ctx, tenant(server.host))
    assert (failed.value.reason, failed.value.code) == (Reason.IDENTITY_FAULT, "503")
    assert ctx.evidence_found["token_asked"] == "4 s ago"
    assert len(server.asked) == 1


async def test_a_run_with_the_time_waits_and_says_what_is_so_now() -> None:
    async with identity(lambda _: failing()) as server:
        agent = shared()
        await outcome(agent, tenant(server.host))
        server.answer = lambda _: given()
        ctx = run(agent, seconds=20)
        await want(ctx, tenant(server.host))
    assert ctx.tainted
    assert server.asked[1].at - server.asked[0].at >= 15


@pytest.mark.parametrize(
    ("answer", "same", "other"),
    [
        pytest.param(lambda _: refused(7000215, 401, "invalid_client"), 55, 55, id="a wrong secret, for all resources"),
        pytest.param(lambda _: refused(500011), 55, 0, id="an unknown resource, for that one"),
        pytest.param(lambda _: refused(90033, 400), 15, 15, id="a fault of the provider, for all"),
        pytest.param(lambda _: failing(), 15, 15, id="an overloaded provider, for all"),
        pytest.param(lambda _: refused(50196), 15, 15, id="throttled, for all"),
        pytest.param(lambda _: refused(50196, 429, headers={"Retry-After": "40"}), 40, 40, id="throttled for a while, as long"),
        pytest.param(lambda _: refused(50196, 429, headers={"Retry-After": "3600"}), 120, 120, id="throttled for an hour, two minutes"),
    ],
)
async def test_rest_after(answer: Answer, same: float, other: float) -> None:
    assert await seconds_until_asked_again(answer, "") == pytest.approx(same, abs=1.5)
    assert await seconds_until_asked_again(answer, EXCHANGE) == pytest.approx(other, abs=1.5)


async def seconds_until_asked_again(answer: Answer, resource: str) -> float:
    """Let one run fail, then want a token for `resource` each second."""
    async with identity(answer) as server:
        agent = shared()
        await outcome(agent, tenant(server.host))
        while len(server.asked) == 1:
            await outcome(agent, tenant(server.host), resource, seconds=0)
            await asyncio.sleep(1)
    return server.asked[1].at - server.asked[0].at


async def test_a_rotated_secret_asks_at_once() -> None:
    value = "old"
    async with identity(
        lambda asked: given() if asked.form["client_secret"] == "new" else refused(7000215, 401, "invalid_client")
    ) as server:
        agent = shared(secrets=lambda _: value)
        of = tenant(server.host, by(secret=Secret(file="/run/secrets/fogbell")))
        first = await outcome(agent, of), await outcome(agent, of)
        value = "new"
        then = await outcome(agent, of)
    assert (first, then) == ((Reason.CREDENTIAL_INVALID, Reason.CREDENTIAL_INVALID), None)
    assert [asked.form["client_secret"] for asked in server.asked] == ["old", "new"]


async def test_one_credential_that_is_refused_holds_back_no_other() -> None:
    async with identity(
        lambda asked: given() if asked.form["client_secret"] == "good" else refused(7000222, 401, "invalid_client")
    ) as server:
        agent = shared()
        bad, good = (tenant(server.host, by(secret=Secret(inline=value))) for value in ("bad", "good"))
        assert (await outcome(agent, bad), await outcome(agent, good)) == (Reason.CREDENTIAL_EXPIRED, None)


async def test_a_token_is_renewed_in_the_background_between_three_quarters_and_four_fifths_of_its_life() -> None:
    async with identity() as server:
        agent, of = shared(), tenant(server.host)
        while len(server.asked) < 2:
            ctx = run(agent)
            await want(ctx, of)
            await asyncio.sleep(10)
        assert "tls" not in dict(ctx.steps[0].phases)
    assert 0.75 * 3599 <= server.asked[1].at - server.asked[0].at <= 0.8 * 3599 + 10


async def test_renewals_of_different_credentials_are_spread() -> None:
    async with identity() as server:
        agent = shared()
        for _ in range(400):
            for number in range(5):
                await want(run(agent), tenant(server.host, by(secret=Secret(inline=f"secret {number}"))))
            await asyncio.sleep(10)
    assert len({round(asked.at, -1) for asked in server.asked[5:]}) >= 3


async def test_where_renewal_fails_the_old_token_serves_until_30_s_before_its_end() -> None:
    async with identity() as server:
        agent, of = shared(), tenant(server.host)
        came = now()
        await want(run(agent), of)
        server.answer = lambda _: failing()
        told: dict[str, str] = {}
        while (failure := await outcome(agent, of, seconds=10)) is None:
            served = now() - came
            ctx = run(agent)
            await want(ctx, of)
            told |= ctx.evidence_found
            await asyncio.sleep(5)
    assert failure is Reason.IDENTITY_FAULT
    assert 3599 - 30 - 6 <= served <= 3599 - 30
    assert told["token_renewal"].endswith("s ago: no token, status 503")
    gaps = [later.at - earlier.at for earlier, later in pairwise(server.asked)]
    assert min(gaps) >= 15


async def test_a_token_of_a_short_life_is_used_for_half_of_it() -> None:
    async with identity(lambda _: given(life=40)) as server:
        agent, of = shared(), tenant(server.host)
        for _ in range(10):
            await want(run(agent), of)
            await asyncio.sleep(5)
    assert 2 <= len(server.asked) <= 4


async def test_a_token_that_ends_during_a_run_is_replaced_when_the_run_asks_again() -> None:
    async with identity() as server:
        agent, of = shared(), tenant(server.host)
        first = await want(run(agent), of)
        await asyncio.sleep(3599 - 31)
        server.answer = lambda _: failing()
        ctx = run(agent)
        still = await want(ctx, of)
        server.answer = lambda _: given(claims={"roles": ["new"]})
        await asyncio.sleep(31)
        then = await want(ctx, of)
    assert still is first
    assert then.roles == {"new"}


async def test_a_forced_token_is_a_new_one_each_time() -> None:
    async with identity() as server:
        agent, of = shared(), tenant(server.host)
        for _ in range(3):
            await want(run(agent), of, fresh=True)
        await want(run(agent), of)
    assert len(server.asked) == 3


async def test_a_forced_token_joins_a_request_under_way_and_respects_rest() -> None:
    async with identity() as server:
        agent, of = shared(), tenant(server.host)
        await asyncio.gather(want(run(agent), of), *[want(run(agent), of, fresh=True) for _ in range(5)])
        assert len(server.asked) == 1
        server.answer = lambda _: refused(7000215, 401, "invalid_client")
        failures = [await outcome(agent, of, fresh=True) for _ in range(5)]
    assert failures == [Reason.CREDENTIAL_INVALID] * 5
    assert len(server.asked) == 2


async def test_a_request_that_gets_no_answer_is_given_up_after_15_s_for_all_who_wait() -> None:
    async def silent(_: Asked) -> web.Response:
        await asyncio.sleep(100)
        return given()

    async with identity(silent) as server:
        agent, of = shared(), tenant(server.host)
        began = now()
        failures = await asyncio.gather(*[outcome(agent, of) for _ in range(5)])
        took = now() - began
    assert failures == [Reason.TIMEOUT] * 5
    assert took == pytest.approx(15, abs=0.5)
    assert len(server.asked) == 1


async def test_a_slow_answer_counts() -> None:
    async def slow(_: Asked) -> web.Response:
        await asyncio.sleep(12)
        return given()

    async with identity(slow) as server:
        assert await outcome(shared(), tenant(server.host)) is None


async def test_credentials_that_nobody_uses_are_forgotten() -> None:
    async with identity() as server:
        agent = shared()
        for number in range(20):
            await want(run(agent), tenant(server.host, by(secret=Secret(inline=f"{number}"))))
            await asyncio.sleep(3600)
        assert len(agent.part(Tokens)._lines) <= 4
