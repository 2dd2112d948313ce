"""Graph answers for our own tenant, or there is a reason why it does not."""

import asyncio
from base64 import b64encode
from collections.abc import Callable
from urllib.parse import quote

import pytest

from probes.core.contract import Outcome, Run
from probes.core.reasons import Reason
from probes.graph_ping import PROBE
from probes.lib.usage import Usage
from tests.fakes.graph import CANARY, TENANT_ID, Asked, answer, error, run_kind, scripted, shared

PATH = "/v1.0/organization"
OURS = answer({"value": [{"id": TENANT_ID.upper(), "displayName": "Contoso"}]})


async def ping(said: bytes) -> Run:
    async with scripted({PATH: said}) as script:
        return await run_kind("graph_ping", script.tenant)


async def test_graph_is_asked_for_the_one_thing_that_every_tenant_has() -> None:
    async with scripted({PATH: OURS}) as script:
        run = await run_kind("graph_ping", script.tenant)
    assert run.outcome is Outcome.OK
    assert [step.name for step in run.steps] == ["token", "organization"]
    assert [(call.method, call.path, call.query) for call in script.calls] == [("GET", PATH, {"$select": "id,displayName"})]
    assert {"request_id", "client_request_id", "datacenter", "ring", "scale_unit"} <= dict(run.evidence).keys()
    assert CANARY not in repr(run)


@pytest.mark.parametrize(
    ("said", "reason", "code"),
    [
        (answer({"value": [{"id": "00000000-0000-0000-0000-00000000beef"}]}), Reason.CONTENT_MISMATCH, ""),
        (answer({"value": []}), Reason.CONTENT_MISMATCH, ""),
        (answer({"id": TENANT_ID}), Reason.CONTENT_MISMATCH, ""),
        (error(403, "Authorization_RequestDenied"), Reason.PERMISSION, "Authorization_RequestDenied"),
        (error(401, "InvalidAuthenticationToken"), Reason.TOKEN_REJECTED, "InvalidAuthenticationToken"),
        (error(503, "serviceNotAvailable", Retry_After="30"), Reason.HTTP_5XX, "serviceNotAvailable"),
        (OURS[:-5], Reason.TRUNCATED, ""),
    ],
    ids=["another tenant", "no tenant", "no list", "no permission", "token refused", "overload", "cut off"],
)
async def test_what_is_wrong_is_named(said: bytes, reason: Reason, code: str) -> None:
    run = await ping(said)
    assert (run.outcome, run.failed_step, run.reason, run.code) == (Outcome.FAILED, "organization", reason, code)


async def test_throttling_of_our_own_says_nothing_about_graph() -> None:
    run = await ping(error(429, "TooManyRequests", Retry_After="17"))
    assert (run.outcome, run.reason, run.retry_after) == (Outcome.INCONCLUSIVE, Reason.THROTTLED, 17.0)


async def test_without_a_token_the_step_before_is_to_blame() -> None:
    async with scripted({}) as script:
        nowhere = script.tenant.where.model_copy(update={"login": "nowhere.test"})
        run = await run_kind("graph_ping", script.tenant.model_copy(update={"hosts": nowhere}))
    assert (run.failed_step, run.reason) == ("token", Reason.DNS_NXDOMAIN)
    assert script.asked == []


async def test_a_silent_graph_ends_at_the_deadline() -> None:
    async def silent(_: object) -> bytes:
        await asyncio.Event().wait()
        return b""

    async with scripted(silent) as script:
        run = await run_kind("graph_ping", script.tenant, deadline=0.3)
    assert (run.failed_step, run.reason) == ("organization", Reason.TIMEOUT)
    assert "client_request_id" in dict(run.evidence)


async def test_runs_share_a_token_and_are_counted() -> None:
    async with scripted({PATH: OURS}) as script:
        parts = shared(script.tenant)
        for _ in range(3):
            await run_kind("graph_ping", parts)
    assert script.token_requests == 1
    assert {(name, str(service)): count for name, service, count in parts.part(Usage).calls()} == {
        ("contoso", "login"): 1,
        ("contoso", "directory"): 3,
    }


def test_it_needs_one_permission() -> None:
    assert [need.name for need in PROBE.permissions(PROBE.settings())] == ["Organization.Read.All"]


@pytest.mark.parametrize("encoded", [str, quote, lambda text: b64encode(text.encode()).decode()], ids=["plain", "percent", "base64"])
async def test_a_token_that_is_said_back_anywhere_is_shown_nowhere(encoded: Callable[[str], str]) -> None:
    said: list[str] = []

    async def echo(asked: Asked) -> bytes:
        said.append(asked.headers["authorization"].removeprefix("Bearer "))
        spelled = encoded(asked.headers["authorization"])
        if len(said) == 1:
            return error(400, spelled, spelled, message=spelled, request_id=spelled, retry_after=spelled)
        return answer({"value": [{"id": spelled}]})

    async with scripted(echo) as script:
        for _ in range(2):
            run = await run_kind("graph_ping", script.tenant)
            shown = " ".join([run.message, *(value for _, value in run.evidence)]).lower()
            assert "***" in shown
            assert all(
                piece[:16].lower() not in shown for token in said for piece in (token, encoded(token), encoded(f"Bearer {token}")[12:])
            )
