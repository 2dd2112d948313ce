"""What a probe creates: on the ledger before it is made, off it when it is gone, and cleared away in turn."""

import asyncio
import time
from dataclasses import replace
from time import perf_counter

import pytest

from probes.core.context import Context, Shared
from probes.core.contract import Failed, Inconclusive
from probes.core.ledger import Artefact, MemoryLedger
from probes.core.reasons import Reason
from probes.lib.cleanup import cleanup, clear_each, complete, creating, is_settled, strike
from tests.agent.jobs import SHARED

NOW = 1_769_110_000.0


class FullDisk(MemoryLedger):
    """A ledger that can no longer be written."""

    async def record(self, probe: str, artefact: Artefact) -> None:
        raise Inconclusive(Reason.AGENT_RESOURCES, f"no room for {artefact.id} of {probe}")


def context(ledger: MemoryLedger | None = None, *, seconds: float = 60.0) -> Context:
    shared = Shared(SHARED.lookup, SHARED.secret, ledger=ledger or MemoryLedger())
    return Context("files", shared, deadline=perf_counter() + seconds)


def left(ctx: Context) -> list[str]:
    return [artefact.id for artefact in ctx.shared.ledger.outstanding("files")]


async def test_an_artefact_is_on_the_ledger_before_it_is_made_and_knows_more_afterwards() -> None:
    ctx = context()
    async with creating(ctx, "file", drive="d1") as artefact:
        assert left(ctx) == [artefact.id]
        assert (artefact.kind, artefact.facts, len(artefact.id)) == ("file", (("drive", "d1"),), 32)
    whole = await complete(ctx, artefact, item="i1")
    assert whole == replace(artefact, facts=(("drive", "d1"), ("item", "i1")))
    assert ctx.shared.ledger.outstanding("files") == (whole,)
    await strike(ctx, whole)
    assert left(ctx) == []


@pytest.mark.parametrize(
    ("end", "stays"),
    [
        (Failed(Reason.PERMISSION, "refused"), False),
        (Inconclusive(Reason.THROTTLED, "429"), False),
        (Failed(Reason.CONNECT_TIMEOUT, "nobody there"), False),
        (Failed(Reason.HTTP_5XX, "504"), True),
        (Failed(Reason.CONNECTION_RESET, "cut off"), True),
        (asyncio.CancelledError(), True),
    ],
    ids=["refused", "throttled", "never connected", "gateway timeout", "cut off", "cancelled"],
)
async def test_what_may_have_been_made_stays_on_the_ledger_and_what_was_not_goes(end: BaseException, stays: bool) -> None:  # noqa: FBT001 - of the table
    ctx = context()
    with pytest.raises(type(end)):
        async with creating(ctx, "file", "tag"):
            raise end
    assert left(ctx) == ["tag"] * stays


@pytest.mark.parametrize("reason", [Reason.UNREACHABLE, Reason.CONNECT_TIMEOUT, Reason.TLS_HANDSHAKE])
@pytest.mark.parametrize("phases", [("connect", "tls"), ("connect", "tls", "processing")], ids=["before it was sent", "once it was sent"])
async def test_a_network_that_goes_down_leaves_open_whether_something_was_made(reason: Reason, phases: tuple[str, ...]) -> None:
    ctx = context()

    async def create() -> None:
        with ctx.step("create"):
            async with creating(ctx, "file", "tag"):
                for phase in phases:
                    ctx.add_phase(phase, 0.1)
                raise Failed(reason, "down")

    with pytest.raises(Failed):
        await create()
    assert left(ctx) == ["tag"] * ("processing" in phases)


async def test_nothing_is_made_where_the_ledger_cannot_be_written_and_what_stood_there_has_to_do() -> None:
    full, entered = context(FullDisk()), []
    with pytest.raises(Inconclusive, match="no room"):
        async with creating(full, "file", "tag"):
            entered.append("made")
    assert entered == []
    artefact = Artefact("tag", "file", NOW)
    assert (await complete(full, artefact, item="i1")).fact("item") == "i1"


@pytest.mark.parametrize(("reason", "told"), [(Reason.PERMISSION, "Files.ReadWrite.All"), (Reason.HTTP_5XX, None)], ids=str)
async def test_who_may_not_remove_something_is_told_which_permissions_are_missing(reason: Reason, told: str | None) -> None:
    ctx = context()
    ctx.lacking = "Files.ReadWrite.All"

    async def remove() -> None:
        raise Failed(reason, "refused")

    async with cleanup(ctx):
        await remove()
    assert ctx.evidence_found.get("missing_permissions") == told


@pytest.mark.parametrize(
    ("end", "seconds"),
    [(Inconclusive(Reason.THROTTLED, "429", retry_after=120), 120.0), (Failed(Reason.HTTP_5XX, "an outage", retry_after=120), 0.0)],
    ids=["throttled", "an outage"],
)
async def test_who_is_throttled_while_it_removes_something_stays_away_so_long(end: Exception, seconds: float) -> None:
    in_run, in_clear, artefact = context(), context(MemoryLedger()), Artefact("tag", "file", NOW)
    await in_clear.shared.ledger.record("files", artefact)

    async def remove(_: Artefact) -> bool:
        raise end

    async with cleanup(in_run):
        await remove(artefact)
    await clear_each(in_clear, remove)
    assert [(ctx.cleanup_failed, ctx.cleanup_retry_after) for ctx in (in_run, in_clear)] == [(True, seconds)] * 2


def refuse(words: str) -> None:
    raise Failed(Reason.HTTP_5XX, words)


async def test_a_cleanup_that_fails_or_hangs_is_counted_and_is_no_runs_reason() -> None:
    failing, hanging, well = context(), context(seconds=0.52), context()
    async with cleanup(failing):
        refuse("the file cannot be removed")
    async with cleanup(hanging):
        await asyncio.Event().wait()
    async with cleanup(well):
        pass
    assert [ctx.cleanup_failed for ctx in (failing, hanging, well)] == [True, True, False]
    assert [ctx.evidence_found.get("cleanup") for ctx in (failing, hanging)] == [
        "the file cannot be removed",
        "was not done before the deadline",
    ]
    assert [step.name for step in failing.steps] == ["cleanup"]


async def stocked(seconds: float = 60.0, number: int = 25) -> Context:
    """Return a context of a probe that has left so many files, the oldest first."""
    ctx = context(seconds=seconds)
    for each in range(number):
        await ctx.shared.ledger.record("files", Artefact(f"f{each:02}", "file", NOW + each // 5))
    return ctx


async def test_what_is_gone_is_struck_off_and_what_is_not_stays() -> None:
    ctx = await stocked(number=4)

    async def remove(artefact: Artefact) -> bool:
        if artefact.id == "f01":
            raise Failed(Reason.PERMISSION, "f01 is locked")
        return artefact.id != "f02"

    await clear_each(ctx, remove)
    assert left(ctx) == ["f01", "f02"]
    assert (ctx.cleanup_failed, ctx.evidence_found["cleanup"]) == (True, "f01 is locked")


async def test_those_that_cannot_be_removed_do_not_keep_the_rest_from_it() -> None:
    ctx = await stocked()

    async def remove(artefact: Artefact) -> bool:
        if artefact.id < "f20":
            raise Failed(Reason.PERMISSION, "locked")
        return True

    await clear_each(ctx, remove)
    assert left(ctx) == [f"f{each:02}" for each in range(20)]


async def test_one_that_hangs_costs_one_call_and_the_next_begins_behind_it() -> None:
    ctx, tried = await stocked(seconds=0.52, number=12), list[str]()

    async def remove(artefact: Artefact) -> bool:
        tried.append(artefact.id)
        if artefact.id == "f06":
            await asyncio.Event().wait()
        return False

    await clear_each(ctx, remove)
    assert tried[-1] == "f06"
    tried.clear()
    ctx.deadline = perf_counter() + 0.52
    await clear_each(ctx, remove)
    assert tried == [f"f{each:02}" for each in (7, 8, 9, 10, 11, 0, 1, 2, 3, 4, 5, 6)]


async def test_who_is_throttled_asks_for_nothing_more() -> None:
    ctx, tried = await stocked(number=5), list[str]()

    async def remove(artefact: Artefact) -> bool:
        tried.append(artefact.id)
        raise Inconclusive(Reason.THROTTLED, "429")

    await clear_each(ctx, remove)
    assert (tried, ctx.cleanup_failed, len(left(ctx))) == (["f00"], True, 5)


@pytest.mark.parametrize(("age", "settled"), [(200.0, False), (400.0, True), (-200.0, False), (-1e9, True)])
def test_what_is_not_there_after_some_minutes_never_will_be(age: float, settled: bool) -> None:  # noqa: FBT001 - of the table
    assert is_settled(Artefact("tag", "file", time.time() - age)) is settled
