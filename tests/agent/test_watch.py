"""What becomes of a finished run: history, metrics, state, log; and what a restart or a reload leaves."""

import asyncio
from dataclasses import replace

import pytest

from agent.exporter.own import Own
from agent.job import Job
from agent.record import decode, encode
from agent.rows import Remembered
from agent.watch import Watch
from agent.web import Feed
from probes.core.context import Context
from probes.core.contract import Failed, Inconclusive, Outcome, Run, Sample, Step
from probes.core.reasons import Reason
from probes.lib.cleanup import cleanup
from tests.agent.jobs import SHARED, NoSettings, job

BEFORE = Run(
    "page",
    1_769_110_060.25,
    5.0,
    Outcome.FAILED,
    Reason.HTTP_5XX,
    "request",
    "503",
    "503",
    steps=(Step("request", 0.0, 5.0),),
    measured=(Sample("size_bytes", 3.0), Sample("finding", 1.0, ("one", "too many")), Sample("gone", 1.0)),
)


class Ledger:
    """A memory that keeps what it is told."""

    def __init__(self) -> None:
        self.kept: dict[str, Remembered] = {}

    def remember(self, remembered: Remembered) -> None:
        self.kept[remembered.name] = remembered

    def forget(self, name: str) -> None:
        self.kept.pop(name, None)


class Scripted:
    """A probe that ends as told, one after the other, and says when the script is over."""

    def __init__(self, *ends: Exception | None) -> None:
        self.ends = list(ends)
        self.over = asyncio.Event()

    async def __call__(self, ctx: Context, _: NoSettings) -> None:
        with ctx.step("request"):
            if len(self.ends) == 1:
                asyncio.get_running_loop().call_soon(self.over.set)
            end = self.ends.pop(0) if self.ends else None
            if end is not None:
                raise end


def watch(ledger: Ledger | None = None, feed: Feed | None = None) -> Watch:
    return Watch(SHARED, Own("0"), ledger, feed or Feed())


async def play(script: Scripted, w: Watch, *jobs: Job) -> None:
    w.describe(jobs)
    w.start()
    await script.over.wait()
    await asyncio.sleep(0)
    await w.stop()


def failed(reason: Reason) -> Failed:
    return Failed(reason, f"because of {reason}")


async def test_one_line_when_a_probe_starts_failing_and_one_when_it_recovers(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("WARNING", "fogbell.probe")
    script = Scripted(None, failed(Reason.TIMEOUT), failed(Reason.HTTP_5XX), None, None)
    await play(script, watch(), job(script, interval=0.01))
    lines = [record for record in caplog.records if record.name == "fogbell.probe"]
    assert [line.message for line in lines] == ["probe started failing", "probe recovered"]
    assert (lines[0].reason, lines[0].step) == ("timeout", "request")  # type: ignore[attr-defined]


async def test_the_state_remembers_conclusive_runs_only() -> None:
    ledger = Ledger()
    script = Scripted(failed(Reason.TIMEOUT), Inconclusive(Reason.THROTTLED, "429"))
    w = watch(ledger)
    await play(script, w, job(script, interval=0.01))
    kept = ledger.kept["page"]
    assert b'"outcome":"failed"' in kept.record
    assert kept.failing_since == w.history.of("page").failing_since is not None


@pytest.mark.parametrize(
    ("reason", "fourth"),
    [
        pytest.param(Reason.THROTTLED, Outcome.FAILED, id="throttled"),
        pytest.param(Reason.AGENT_RESOURCES, Outcome.INCONCLUSIVE, id="a lack of our own says nothing about the service, ever"),
    ],
)
async def test_the_fourth_run_in_a_row_that_is_throttled_fails(reason: Reason, fourth: Outcome) -> None:
    script = Scripted(*(Inconclusive(reason, "not now") for _ in range(4)))
    w = watch()
    await play(script, w, job(script, interval=0.01))
    outcomes = [beat.outcome for beat in w.history.of("page").ring][:4]
    assert outcomes == [Outcome.INCONCLUSIVE] * 3 + [fourth]


async def test_listeners_get_every_run_as_a_line() -> None:
    feed = Feed()
    with feed.subscribe() as subscription:
        script = Scripted(None, None)
        await play(script, watch(feed=feed), job(script, interval=0.01))
        assert (await subscription.take(1)).count(b'"probe":"page"') >= 2


async def test_after_a_restart_the_outage_goes_on_from_the_first_scrape() -> None:
    script = Scripted(None)
    w = watch()
    w.describe([job(script)], [Remembered("page", "trial", encode(BEFORE), 1_769_100_000.0, 1_769_000_000.0)])
    text = b"".join(line for _, lines in w.exporter.families() for line in lines.values()).decode()
    assert 'fogbell_probe_success{probe="page"} 0\n' in text
    assert 'fogbell_probe_failing_since_timestamp_seconds{probe="page"} 1769100000.0\n' in text
    assert 'fogbell_probe_last_success_timestamp_seconds{probe="page"} 1769000000.0\n' in text
    assert 'fogbell_probe_last_run_timestamp_seconds{probe="page"} 1769110060.25\n' in text
    assert 'fogbell_trial_size_bytes{probe="page"} 3.0\n' in text
    assert "fogbell_trial_finding{" not in text
    assert 'fogbell_probe_runs_total{probe="page"} 0\n' in text


@pytest.mark.parametrize(
    "remembered",
    [
        Remembered("page", "another", encode(BEFORE), None, None),
        Remembered("page", "trial", b"torn", None, None),
    ],
    ids=["of another kind", "unreadable"],
)
async def test_what_cannot_be_used_of_the_past_is_dropped(remembered: Remembered) -> None:
    w = watch()
    w.describe([job(Scripted(None))], [remembered])
    assert w.history.of("page").last is None


async def test_what_is_remembered_of_probes_that_are_gone_is_forgotten() -> None:
    ledger = Ledger()
    ledger.remember(Remembered("gone", "trial", encode(BEFORE), None, None))
    watch(ledger).describe([], list(ledger.kept.values()))
    assert not ledger.kept


async def test_a_reload_adds_changes_and_removes_without_touching_the_rest() -> None:
    script = Scripted(None, None)
    w = watch(Ledger())
    a, b = job(script, "a", interval=0.01), job(script, "b", interval=600)
    await play(script, w, a, b)
    w.start()
    w.change(replace(a, interval=600))
    w.remove("b")
    w.add(job(script, "c", interval=600))
    await w.stop()
    text = b"".join(line for _, lines in w.exporter.families() for line in lines.values()).decode()
    assert 'fogbell_probe_runs_total{probe="a"} 0' not in text
    assert 'probe="b"' not in text
    assert 'fogbell_probe_runs_total{probe="c"} 0\n' in text
    assert len(w.history.of("a").ring) >= 2


async def test_a_probe_that_became_another_kind_starts_anew() -> None:
    script = Scripted(None, None)
    w = watch()
    await play(script, w, job(script, interval=0.01))
    w.start()
    w.change(job(script, interval=600, kind="other"))
    await w.stop()
    assert len(w.history.of("page").ring) == 0


class Follower:
    """Somebody who follows every run."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []

    def __len__(self) -> int:
        return 1

    def publish(self, record: bytes) -> None:
        self.heard.append(record)


async def test_those_who_follow_hear_every_run_and_without_a_memory_a_removed_probe_is_gone_all_the_same() -> None:
    follower = Follower()
    w = Watch(SHARED, Own("0"), None, follower)
    script = Scripted(failed(Reason.TIMEOUT), None)
    w.describe([job(script, interval=0.01)])
    w.start()
    await script.over.wait()
    await asyncio.sleep(0)
    w.remove("page")
    await w.stop()
    assert [decode(record).outcome for record in follower.heard] == [Outcome.FAILED, Outcome.OK]
    assert w.history.of("page").last is None


async def test_runs_never_take_the_last_open_files(caplog: pytest.LogCaptureFixture) -> None:
    w = watch()
    w._most = 0
    script = Scripted(None)
    w.describe([job(script)])
    await w._run(w.jobs["page"])
    await w._run(w.jobs["page"])
    past = w.history.of("page")
    assert [beat.outcome for beat in past.ring] == [Outcome.INCONCLUSIVE] * 2
    assert past.last is not None
    assert b"agent_resources" in past.last
    assert caplog.text.count("limit of open files") == 1
    assert script.ends == [None]


async def test_a_run_given_up_by_a_change_counts_as_skipped() -> None:
    started = asyncio.Event()

    async def hang(_ctx: Context, _: NoSettings) -> None:
        started.set()
        await asyncio.Event().wait()

    w = watch()
    hanging = job(hang, interval=0.05, timeout=600)
    w.describe([hanging])
    w.start()
    await started.wait()
    w.change(replace(hanging, interval=600))
    await w.stop()
    text = b"".join(line for _, lines in w.exporter.families() for line in lines.values()).decode()
    assert 'fogbell_probe_skipped_total{probe="page"} 0' not in text
    assert 'fogbell_probe_runs_total{probe="page"} 0' in text


@pytest.mark.parametrize(
    ("end", "held"),
    [
        (Inconclusive(Reason.THROTTLED, "too much", retry_after=3600), 3600.0),
        (Inconclusive(Reason.AGENT_RESOURCES, "no memory", retry_after=3600), 0.0),
        (Failed(Reason.HTTP_5XX, "an outage", retry_after=3600), 0.0),
    ],
    ids=lambda value: str(getattr(value, "reason", value)),
)
async def test_only_throttling_holds_a_probe_back(end: Exception, held: float) -> None:
    w, throttled = watch(), job(Scripted(*[end] * 5))
    w.describe((throttled,))
    assert [await w._run(throttled) for _ in range(5)] == [held] * 5
    last = w.history.of(throttled.name).last
    assert last is not None
    assert decode(last).retry_after == 3600


async def test_a_good_run_that_is_throttled_while_it_removes_what_it_made_holds_the_probe_back() -> None:
    async def run(ctx: Context, _: NoSettings) -> None:
        async with cleanup(ctx):
            raise Inconclusive(Reason.THROTTLED, "too much", retry_after=3600)

    w, throttled = watch(), job(run)
    w.describe((throttled,))
    assert await w._run(throttled) == 3600
    last = w.history.of(throttled.name).last
    assert last is not None
    assert (decode(last).outcome, decode(last).cleanup_failed) == (Outcome.OK, True)


async def test_every_end_of_a_run_is_told_also_of_one_that_was_given_up() -> None:
    ends: list[tuple[str, float, bool]] = []
    started = asyncio.Event()

    async def hang(_ctx: Context, _: NoSettings) -> None:
        started.set()
        await asyncio.Event().wait()

    w = Watch(SHARED, Own("0"), None, Feed(), ended=lambda name, seconds: ends.append((name, seconds, w.is_running(name))))
    throttled = job(Scripted(Inconclusive(Reason.THROTTLED, "too much", retry_after=30.0)), "throttled")
    w.describe([throttled, job(hang, "hanging")])
    await w._run(w.jobs["throttled"])
    given_up = asyncio.create_task(w._run(w.jobs["hanging"]))
    await started.wait()
    assert w.is_running("hanging")
    given_up.cancel()
    await asyncio.wait({given_up})
    assert ends == [("throttled", 30.0, False), ("hanging", 0.0, False)]


async def test_a_failure_to_clear_away_counts_where_the_probe_is_still_there() -> None:
    w = watch()
    w.describe([job(Scripted(None))])
    w.count_cleanup_failure("page")
    w.count_cleanup_failure("gone")
    text = b"".join(line for _, lines in w.exporter.families() for line in lines.values()).decode()
    assert 'fogbell_probe_cleanup_failures_total{probe="page"} 1' in text
