"""The runner: what becomes of every way a probe can end."""

import asyncio
import errno
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from agent.job import Job
from agent.runner import Clearing, clear_once, run_once
from probes.core.context import Context, Shared
from probes.core.contract import Failed, Inconclusive, Outcome, Secret
from probes.core.ledger import MemoryLedger
from probes.core.reasons import Blame, Reason
from tests.agent.jobs import SHARED, NoSettings, job


async def test_a_probe_that_returns_is_ok_with_its_steps_phases_measurements_and_evidence() -> None:
    async def run(ctx: Context, _: NoSettings) -> None:
        with ctx.step("request"):
            with ctx.phase("connect"):
                pass
            with ctx.phase("transfer"):
                pass
            ctx.add_phase("transfer", 2.0)
        with ctx.step("verify"):
            ctx.measure("size_bytes", 12)
            ctx.measure("finding", 1, "spf")
            ctx.evidence("address", "192.0.2.1")

    result = await run_once(job(run), SHARED)

    assert (result.probe, result.outcome, result.reason, result.blame, result.failed_step) == ("page", Outcome.OK, None, None, "")
    assert [step.name for step in result.steps] == ["request", "verify"]
    assert [name for name, _ in result.steps[0].phases] == ["connect", "transfer"]
    assert dict(result.steps[0].phases)["transfer"] > 2.0
    assert [(m.name, m.value, m.labels) for m in result.measured] == [("size_bytes", 12, ()), ("finding", 1, ("spf",))]
    assert result.evidence == (("address", "192.0.2.1"),)
    assert 0 < result.steps[0].seconds <= result.seconds
    assert not result.tainted


async def test_nothing_that_a_terminal_obeys_comes_out_of_a_run() -> None:
    async def run(ctx: Context, _: NoSettings) -> None:
        ctx.evidence("body_begins", "\x1b]0;gone\x07 grüße \x9b2J\u202e\ud800")
        raise Failed(Reason.CONTENT_MISMATCH, "heard \x1b[2J\r\n")

    result = await run_once(job(run), SHARED)

    assert dict(result.evidence) == {"body_begins": r"\x1b]0;gone\x07 grüße \x9b2J\u202e\ud800"}
    assert result.message == r"heard \x1b[2J\r\n"


async def test_no_secret_of_a_run_comes_out_of_it_whenever_it_became_known() -> None:
    async def run(ctx: Context, _: NoSettings) -> None:
        ctx.evidence("echo", "you sent canary%2Dpassword")
        assert ctx.secret(Secret(inline="canary-password")) == "canary-password"
        ctx.hide("canary-token")
        ctx.evidence("address", "192.0.2.1")
        raise Failed(Reason.CONTENT_MISMATCH, "heard canary-token")

    result = await run_once(job(run), Shared(SHARED.lookup, lambda secret: secret.inline or ""))

    assert dict(result.evidence) == {"echo": "*** (it repeats a secret)", "address": "192.0.2.1"}
    assert result.message == "heard ***"


@pytest.mark.parametrize(
    ("lacking", "stopped", "told"),
    [
        ("Sites.Selected", None, None),
        ("Sites.Selected", Failed(Reason.HTTP_5XX, ""), None),
        ("Sites.Selected", Failed(Reason.PERMISSION, ""), "Sites.Selected"),
        ("Sites.Selected", Failed(Reason.TOKEN_REJECTED, ""), "Sites.Selected"),
        ("", Failed(Reason.PERMISSION, ""), None),
    ],
    ids=["a wider one does", "broken", "refused", "refused with 401", "refused though nothing is lacking"],
)
async def test_permissions_that_a_token_lacks_are_told_of_a_run_that_was_refused(
    lacking: str, stopped: Failed | None, told: str | None
) -> None:
    async def run(ctx: Context, _: NoSettings) -> None:
        ctx.lacking = lacking
        if stopped:
            raise stopped

    assert dict((await run_once(job(run), SHARED)).evidence).get("missing_permissions") == told


@pytest.mark.parametrize(("late", "outcome"), [(True, Outcome.INCONCLUSIVE), (False, Outcome.FAILED)])
async def test_a_deadline_that_the_agent_slept_through_is_nobodys_failure(*, late: bool, outcome: Outcome) -> None:
    async def run(ctx: Context, _: NoSettings) -> None:
        with ctx.step("request"):
            ctx.started -= 10
            await asyncio.Event().wait()

    result = await run_once(job(run, timeout=0.01), SHARED, lambda _: late)

    assert result.outcome is outcome
    assert result.reason is (Reason.AGENT_RESOURCES if late else Reason.TIMEOUT)


async def test_the_innermost_step_that_failed_is_to_blame() -> None:
    async def run(ctx: Context, _: NoSettings) -> None:
        with ctx.step("request"), ctx.step("resolve"):
            raise Failed(Reason.DNS_SERVFAIL, "the resolver could not find out", code="SERVFAIL")

    result = await run_once(job(run), SHARED)

    assert (result.outcome, result.failed_step, result.reason, result.code) == (
        Outcome.FAILED,
        "resolve",
        Reason.DNS_SERVFAIL,
        "SERVFAIL",
    )
    assert [step.name for step in result.steps] == ["request", "resolve"]


async def test_a_step_whose_failure_was_caught_is_not_to_blame() -> None:
    async def run(ctx: Context, _: NoSettings) -> None:
        with ctx.step("request"):
            try:
                with ctx.step("resolve"):
                    raise Failed(Reason.DNS_SERVFAIL, "first")
            except Failed:
                pass
        with ctx.step("verify"):
            raise Failed(Reason.CONTENT_MISMATCH, "second")

    result = await run_once(job(run), SHARED)

    assert (result.failed_step, result.reason, result.message) == ("verify", Reason.CONTENT_MISMATCH, "second")


async def test_a_failure_can_name_another_step_than_the_open_one() -> None:
    async def run(ctx: Context, _: NoSettings) -> None:
        with ctx.step("verify"):
            raise Failed(Reason.DNS_MISMATCH, "no SPF record", step="spf")

    assert (await run_once(job(run), SHARED)).failed_step == "spf"


async def test_a_failure_outside_every_step_has_no_step() -> None:
    async def run(_ctx: Context, _: NoSettings) -> None:
        raise Failed(Reason.NOT_FOUND, "nothing")

    assert (await run_once(job(run), SHARED)).failed_step == ""


@pytest.mark.parametrize(
    ("phase", "reason"),
    [
        ("resolve", Reason.DNS_TIMEOUT),
        ("connect", Reason.CONNECT_TIMEOUT),
        ("tls", Reason.TLS_TIMEOUT),
        ("proxy", Reason.PROXY_UNREACHABLE),
        ("processing", Reason.TIMEOUT),
    ],
)
async def test_at_the_deadline_the_open_phase_gives_the_reason(phase: str, reason: Reason) -> None:
    async def run(ctx: Context, _: NoSettings) -> None:
        with ctx.step("request"):
            with ctx.phase("transfer"):
                pass
            with ctx.phase(phase):
                await asyncio.Event().wait()

    result = await run_once(job(run, timeout=0.01), SHARED)

    assert (result.outcome, result.failed_step, result.reason) == (Outcome.FAILED, "request", reason)
    assert dict(result.steps[0].phases)[phase] > 0.005


async def test_a_deadline_between_phases_is_a_plain_timeout() -> None:
    async def run(ctx: Context, _: NoSettings) -> None:
        with ctx.step("request"):
            with ctx.phase("connect"):
                pass
            await asyncio.Event().wait()

    assert (await run_once(job(run, timeout=0.01), SHARED)).reason is Reason.TIMEOUT


async def test_a_probe_that_swallows_the_deadline_is_still_late() -> None:
    async def run(ctx: Context, _: NoSettings) -> None:
        with ctx.step("request"):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return

    result = await run_once(job(run, timeout=0.01), SHARED)

    assert (result.outcome, result.reason) == (Outcome.FAILED, Reason.TIMEOUT)


async def test_a_timeout_of_the_probes_own_is_a_bug_not_a_deadline() -> None:
    async def run(_ctx: Context, _: NoSettings) -> None:
        raise TimeoutError

    assert (await run_once(job(run), SHARED)).reason is Reason.BUG


async def test_an_unnamed_error_is_a_bug_of_ours_and_shows_no_text_of_it() -> None:
    async def run(ctx: Context, _: NoSettings) -> None:
        with ctx.step("request"):
            raise KeyError("password hunter2")

    result = await run_once(job(run), SHARED)

    assert (result.reason, result.blame, result.failed_step) == (Reason.BUG, Blame.OURS, "request")
    assert "hunter2" not in result.message
    assert "KeyError" in result.message


@pytest.mark.parametrize("error", [OSError(errno.EMFILE, "too many open files"), MemoryError()], ids=["descriptors", "memory"])
async def test_running_out_of_the_machines_resources_says_nothing_about_the_target(error: Exception) -> None:
    async def run(_ctx: Context, _: NoSettings) -> None:
        raise error

    result = await run_once(job(run), SHARED)

    assert (result.outcome, result.reason) == (Outcome.INCONCLUSIVE, Reason.AGENT_RESOURCES)


async def test_an_inconclusive_run_has_a_reason_too() -> None:
    async def run(_ctx: Context, _: NoSettings) -> None:
        raise Inconclusive(Reason.THROTTLED, "429 on our own account")

    result = await run_once(job(run), SHARED)

    assert (result.outcome, result.reason, result.blame) == (Outcome.INCONCLUSIVE, Reason.THROTTLED, Blame.OURS)


async def test_shutdown_leaves_no_run() -> None:
    async def run(_ctx: Context, _: NoSettings) -> None:
        await asyncio.Event().wait()

    task = asyncio.create_task(run_once(job(run), SHARED))
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_run_during_which_the_agent_was_late_says_so() -> None:
    async def run(_ctx: Context, _: NoSettings) -> None:
        return

    assert (await run_once(job(run), SHARED, lambda _: True)).tainted


async def test_a_hostile_message_and_hostile_evidence_are_cut() -> None:
    async def run(ctx: Context, _: NoSettings) -> None:
        ctx.evidence("body", "x" * 1_000_000)
        raise Failed(Reason.CONTENT_MISMATCH, "y" * 1_000_000)

    result = await run_once(job(run), SHARED)

    assert len(result.message) <= 500
    assert len(result.evidence[0][1]) <= 501


async def test_a_run_that_may_fill_its_interval_leaves_the_next_start_its_place() -> None:
    async def run(_ctx: Context, _: NoSettings) -> None:
        await asyncio.Event().wait()

    result = await run_once(job(run, interval=0.2, timeout=0.2), SHARED)

    assert (result.reason, result.seconds < 0.2) == (Reason.TIMEOUT, True)


async def test_a_run_that_waited_for_the_agent_itself_is_tainted() -> None:
    async def run(ctx: Context, _: NoSettings) -> None:
        ctx.tainted = True

    assert (await run_once(job(run), SHARED)).tainted


async def test_clearing_away_says_why_something_could_not_be_removed_and_no_secret() -> None:
    async def clear(ctx: Context, _: NoSettings) -> None:
        ctx.hide("canary-token")
        raise Inconclusive(Reason.THROTTLED, "heard canary-token", retry_after=30.0)

    clearing = await clear_once(clearing_by(clear), SHARED, MemoryLedger())
    assert "canary" not in clearing.failure
    assert (clearing.failure.startswith("heard "), clearing.retry_after) == (True, 30.0)


def clearing_by(clear: Callable[[Context, NoSettings], Awaitable[None]], *, timeout: float = 5.0) -> Job:
    """Return a job whose kind clears away so."""
    made = job(unexpected, timeout=timeout)
    return replace(made, probe=replace(made.probe, clear=clear))


async def unexpected(_ctx: Context, _: NoSettings) -> None:
    raise AssertionError("no run was asked for")


async def test_clearing_away_sees_its_own_ledger_and_whether_the_probe_is_still_there() -> None:
    ledger, seen = MemoryLedger(), list[tuple[bool, bool]]()

    async def clear(ctx: Context, _: NoSettings) -> None:
        seen.append((ctx.shared.ledger is ledger, ctx.is_removed))

    assert await clear_once(clearing_by(clear), SHARED, ledger) == Clearing()
    assert await clear_once(clearing_by(clear), SHARED, ledger, is_removed=True) == Clearing()
    assert seen == [(True, False), (True, True)]
    assert await clear_once(job(unexpected), SHARED, ledger) == Clearing(), "a kind that creates nothing has nothing to clear"


@pytest.mark.parametrize("end", ["hangs", "bug", "counted"])
async def test_clearing_away_that_hangs_breaks_or_fails_ends_and_has_a_reason(end: str) -> None:
    async def clear(ctx: Context, _: NoSettings) -> None:
        if end == "hangs":
            await asyncio.Event().wait()
        if end == "bug":
            raise ValueError("nobody foresaw this")
        ctx.cleanup_failed, ctx.cleanup_retry_after = True, 120.0
        ctx.evidence("cleanup", "the file is locked")

    clearing = await clear_once(clearing_by(clear, timeout=0.05), SHARED, MemoryLedger())
    told = {
        "hangs": "no result within 0.05 s",
        "bug": "unexpected ValueError; the agent's log has the details",
        "counted": "the file is locked",
    }
    assert clearing == Clearing(told[end], 120.0 if end == "counted" else 0.0)
