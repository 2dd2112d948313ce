"""Goal 3: a scrape at 10,000 probes against prometheus_client on the same samples; and the longest pause it makes in the loop."""

import asyncio
import gc
import gzip
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from agent.exporter import Exporter, Exposition, Renderer
from agent.job import Job
from probes.core.contract import Outcome, Run, Sample, Step
from probes.http import PROBE
from tests.bench.figures import Figure

PROBES = 10_000
_ACCEPT = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
_PLAIN_LIMIT, _GZIP_LIMIT = 1 / 100, 1 / 10
_PAUSE_MILLISECONDS = 5.0
_TICK = 0.0005


async def measure(_folder: Path, _seconds: float) -> list[Figure]:
    """Return CPU against prometheus_client, plain and with gzip, and the longest pause of the loop in either."""
    exporter = _filled()
    renderer = Renderer(exporter, CollectorRegistry())
    gc.collect()
    gc.freeze()
    plain, plain_pause, exposition = await _watched(lambda: renderer(_ACCEPT, ""))
    packed, packed_pause, _ = await _watched(lambda: renderer(_ACCEPT, "gzip"))
    peer, peer_packed = _peer(b"".join(exposition.chunks).decode())
    renderer.close()
    what = f"CPU of a scrape, {PROBES:,} probes, OpenMetrics"
    return [
        Figure("3 scrape", what, plain * 1000, peer * 1000, "prometheus_client", "ms", _PLAIN_LIMIT),
        Figure("3 scrape", what + ", gzip", packed * 1000, peer_packed * 1000, "prometheus_client", "ms", _GZIP_LIMIT),
        Figure("3 scrape", "longest pause of the loop", plain_pause * 1000, _PAUSE_MILLISECONDS, "bound", "ms"),
        Figure("3 scrape", "longest pause of the loop, gzip", packed_pause * 1000, _PAUSE_MILLISECONDS, "bound", "ms"),
    ]


def _filled() -> Exporter:
    exporter = Exporter()
    settings = PROBE.settings.model_validate({"url": "http://127.0.0.1/"})
    place = PROBE.place(settings)
    run = Run(
        "",
        1_769_110_000.123456,
        0.0123456789,
        Outcome.OK,
        steps=(
            Step("request", 0.0001, 0.0121, (("connect", 0.000123), ("processing", 0.0111), ("transfer", 0.0001))),
            Step("verify", 0.0, 1e-5),
        ),
        measured=tuple(Sample(m.name, 1.0) for m in PROBE.measurements if not m.labels),
    )
    for n in range(PROBES):
        name = f"probe-{n:05}"
        exporter.describe(Job(name, "http", PROBE, settings, 60.0, 20.0, place))
        exporter.publish(replace(run, probe=name, seconds=0.0123456789 + n * 1e-6), None)
    return exporter


async def _watched(scrape: Callable[[], Awaitable[Exposition]]) -> tuple[float, float, Exposition]:
    """Return the CPU seconds (all threads) of the best of five scrapes, the longest pause of all five, and the last exposition."""
    best_cpu, longest = float("inf"), 0.0
    for _ in range(5):
        pauses: list[float] = []
        ticker = asyncio.create_task(_tick(pauses))
        await asyncio.sleep(0.01)
        before = time.process_time()
        exposition = await scrape()
        best_cpu = min(best_cpu, time.process_time() - before)
        ticker.cancel()
        longest = max(longest, *pauses)
    return best_cpu, longest, exposition


async def _tick(pauses: list[float]) -> None:
    """Note how long the loop's thread worked between two turns of ours; time that the machine gave to others is not its pause."""
    last = time.thread_time()
    while True:
        await asyncio.sleep(_TICK)
        now = time.thread_time()
        pauses.append(now - last)
        last = now


class _Same(Collector):
    """The same samples, as prometheus_client holds them."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterable[Metric]:
        return self._families


def _peer(text: str) -> tuple[float, float]:
    registry = CollectorRegistry()
    registry.register(_Same(text_string_to_metric_families(text)))  # type: ignore[no-untyped-call]
    gc.collect()
    gc.freeze()
    before = time.process_time()
    rendered = generate_latest(registry)  # type: ignore[no-untyped-call]
    plain = time.process_time() - before
    gzip.compress(rendered)
    return plain, time.process_time() - before
