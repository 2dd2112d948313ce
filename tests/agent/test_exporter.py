"""The exporter: golden text for each state a probe can be in, with prometheus-client's own parsers as judge."""

import asyncio
import gzip
from collections.abc import Iterable
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from syrupy.assertion import SnapshotAssertion

from agent.exporter import CATALOGUE, Exporter, Renderer
from agent.exporter.series import escape
from probes.core.context import Context
from probes.core.contract import Measurement, Outcome, Run, Sample, Step
from probes.core.reasons import Reason
from tests.agent.jobs import NoSettings, job

OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
TEXT = "text/plain;version=0.0.4"

OK = Run(
    "page",
    1_769_110_000.25,
    0.0425,
    Outcome.OK,
    steps=(Step("request", 0.0, 0.04, (("connect", 0.001), ("processing", 0.03))), Step("verify", 0.041, 0.0005)),
    measured=(Sample("size_bytes", 512), Sample("finding", 1, ("spf",)), Sample("finding", 0, ("dkim",))),
)
FAILED = Run(
    "page",
    1_769_110_060.25,
    5.0,
    Outcome.FAILED,
    Reason.HTTP_5XX,
    "request",
    "503 Service Unavailable",
    "503",
    steps=(Step("request", 0.0, 5.0, (("connect", 0.001),)),),
)
INCONCLUSIVE = Run("page", 1_769_110_120.25, 0.5, Outcome.INCONCLUSIVE, Reason.THROTTLED, "request")


async def _nothing(_ctx: Context, _: NoSettings) -> None:
    return


def exporter_of_page() -> Exporter:
    exporter = Exporter()
    exporter.describe(job(_nothing, labels=(("team", 'mail "core" \\ a\nb'),)))
    return exporter


async def scrape(exporter: Exporter, accept: str = TEXT) -> str:
    return b"".join((await Renderer(exporter, CollectorRegistry())(accept, "")).chunks).decode()


def samples(families: Iterable[Metric]) -> set[tuple[str, tuple[tuple[str, str], ...], float]]:
    return {(s.name, tuple(sorted(s.labels.items())), s.value) for family in families for s in family.samples}


@pytest.mark.parametrize(
    "runs",
    [[], [OK], [OK, FAILED], [OK, FAILED, INCONCLUSIVE], [replace(OK, tainted=True)]],
    ids=["before the first run", "ok", "failed", "inconclusive", "tainted"],
)
async def test_the_text_of_each_state_is_the_golden_one(runs: list[Run], snapshot: SnapshotAssertion) -> None:
    exporter = exporter_of_page()
    for run in runs:
        exporter.publish(run, FAILED.started if run.outcome is not Outcome.OK else None)
    assert await scrape(exporter) == snapshot


@pytest.mark.parametrize("runs", [[], [OK], [OK, FAILED, INCONCLUSIVE]], ids=len)
async def test_both_formats_parse_to_the_same_samples(runs: list[Run]) -> None:
    exporter = exporter_of_page()
    for run in runs:
        exporter.publish(run, FAILED.started)
    text = samples(parse_text(await scrape(exporter)))
    openmetrics = samples(parse_openmetrics(await scrape(exporter, OPENMETRICS)))  # type: ignore[no-untyped-call]
    assert text == openmetrics
    assert len(text) > 20


async def test_the_parsers_refuse_what_is_wrong() -> None:
    text = await scrape(exporter_of_page(), OPENMETRICS)
    with pytest.raises(ValueError, match="EOF"):
        list(parse_openmetrics(text.removesuffix("# EOF\n")))  # type: ignore[no-untyped-call]


async def test_a_removed_probe_takes_its_series_along() -> None:
    exporter = exporter_of_page()
    exporter.publish(OK, None)
    exporter.forget("page")
    assert await scrape(exporter) == ""


async def test_a_changed_job_keeps_its_counters_and_another_kind_does_not() -> None:
    exporter = exporter_of_page()
    exporter.publish(OK, None)
    exporter.describe(job(_nothing, interval=30.0))
    assert 'fogbell_probe_runs_total{probe="page"} 1\n' in await scrape(exporter)
    exporter.describe(job(_nothing, kind="other"))
    assert 'fogbell_probe_runs_total{probe="page"} 0\n' in await scrape(exporter)


async def test_the_counters_always_add_up() -> None:
    exporter = exporter_of_page()
    for run in (OK, FAILED, INCONCLUSIVE, OK, replace(OK, tainted=True)):
        exporter.publish(run, None)
    exporter.skip("page", 3)
    values = {
        sample.name: sample.value
        for family in parse_text(await scrape(exporter))
        for sample in family.samples
        if sample.name.endswith(("_total", "_count"))
    }
    ok = values["fogbell_probe_latency_seconds_count"] + values["fogbell_probe_tainted_total"]
    failed, inconclusive = values["fogbell_probe_failures_total"], values["fogbell_probe_inconclusive_total"]
    assert values["fogbell_probe_runs_total"] == ok + failed + inconclusive == 5
    assert values["fogbell_probe_skipped_total"] == 3


async def test_without_histograms_there_are_none() -> None:
    exporter = Exporter(histograms=False)
    exporter.describe(job(_nothing))
    exporter.publish(OK, None)
    assert "_bucket" not in await scrape(exporter)


async def test_gzip_is_given_only_when_asked_for() -> None:
    exporter = exporter_of_page()
    renderer = Renderer(exporter, CollectorRegistry())
    packed, plain = await renderer(TEXT, "gzip"), await renderer(TEXT, "gzip;q=0")
    assert (packed.encoding, plain.encoding) == ("gzip", "")
    assert gzip.decompress(b"".join(packed.chunks)) == b"".join(plain.chunks)
    renderer.close()


async def test_a_scrape_sees_results_that_arrived_before_it() -> None:
    exporter = exporter_of_page()
    renderer = Renderer(exporter, CollectorRegistry())
    await renderer(TEXT, "")
    exporter.publish(OK, None)
    assert b'fogbell_probe_success{probe="page"} 1' in b"".join((await renderer(TEXT, "")).chunks)


def test_label_values_are_escaped_as_the_formats_want() -> None:
    assert escape('a"b\\c\nd') == r"a\"b\\c\nd"


def test_names_and_help_texts_keep_the_conventions() -> None:
    for family in CATALOGUE:
        assert family.help.endswith("."), family.name
        assert (family.kind == "counter") == family.name.endswith("_total"), family.name
        assert not family.name.endswith(("_ms", "_millis", "_percent")), family.name


async def test_scrapers_that_come_together_share_one_rendering() -> None:
    renderer = Renderer(exporter_of_page(), CollectorRegistry())
    one, two, other = await asyncio.gather(renderer(TEXT, ""), renderer(TEXT, ""), renderer(TEXT, "gzip"))
    assert one is two
    assert other is not one
    renderer.close()


def test_what_a_kind_did_not_declare_is_told_once_and_costs_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    exporter = exporter_of_page()
    wrong = (Sample("size_bytes", 3.0), Sample("surprise", 1.0), Sample("finding", 1.0, ("a", "b")))
    for _ in range(2):
        exporter.publish(replace(OK, measured=wrong), None)
    text = b"".join(line for lines in exporter._lines.values() for line in lines.values())
    assert b'fogbell_trial_size_bytes{probe="page"} 3.0' in text
    assert b"surprise" not in text
    assert [record.message for record in caplog.records] == [
        "the kind trial measures surprise{} without having declared it",
        "the kind trial measures finding{a, b} without having declared it",
    ]


async def test_a_counter_of_a_kind_adds_up_what_runs_measure_also_inconclusive_ones() -> None:
    exporter = Exporter()
    counted = (Measurement("lost_total", "Lost.", counter=True), Measurement("found_total", "Found.", ("where",), counter=True))
    base = job(_nothing)
    exporter.describe(replace(base, kind="hunt", probe=replace(base.probe, measurements=counted)))
    lost, found = (exporter._lines[f"fogbell_hunt_{name}_total"] for name in ("lost", "found"))
    assert (lost["page"], "page" in found) == (b'fogbell_hunt_lost_total{probe="page"} 0.0\n', False)
    exporter.publish(replace(OK, measured=(Sample("lost_total", 2.0), Sample("found_total", 1.0, ("here",)))), None)
    quiet = replace(OK, outcome=Outcome.INCONCLUSIVE, reason=Reason.THROTTLED, measured=(Sample("lost_total", 1.0),))
    exporter.publish(quiet, None)
    exporter.publish(OK, None)
    assert lost["page"] == b'fogbell_hunt_lost_total{probe="page"} 3.0\n'
    assert found["page"] == b'fogbell_hunt_found_total{probe="page",where="here"} 1.0\n'
    exporter.forget("page")
    assert "page" not in lost


def test_runs_that_leave_something_behind_are_counted() -> None:
    exporter = exporter_of_page()
    for failed in (True, False, True):
        exporter.publish(replace(OK, cleanup_failed=failed), None)
    assert exporter._lines["fogbell_probe_cleanup_failures_total"]["page"].endswith(b" 2\n")


def test_what_is_fleeting_goes_with_a_run_that_could_not_measure_it() -> None:
    exporter = Exporter()
    said = (Measurement("healthy", "Healthy.", fleeting=True), Measurement("size_bytes", "Size."))
    base = job(_nothing)
    exporter.describe(replace(base, kind="hunt", probe=replace(base.probe, measurements=said)))
    exporter.publish(replace(OK, measured=(Sample("healthy", 1.0), Sample("size_bytes", 3.0))), None)
    exporter.publish(replace(OK, outcome=Outcome.INCONCLUSIVE, reason=Reason.THROTTLED, measured=()), None)
    assert ["page" in exporter._lines[f"fogbell_hunt_{name}"] for name in ("healthy", "size_bytes")] == [False, True]
