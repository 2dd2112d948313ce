"""Goal 4: 10,000 HTTP probes at 60 s on one core: drift, skips, memory with full history, and the time `check` takes."""

import asyncio
import re
import subprocess
import sys
import time
from pathlib import Path

import aiohttp

from tests.bench.figures import Figure
from tests.bench.processes import PROBE_CORE, agent
from tests.bench.servers import nginx

PROBES = 10_000
_DRIFT_MILLISECONDS, _BYTES_A_PROBE, _CHECK_SECONDS = 10.0, 20_000, 5.0
_MINUTE = 60.0


async def measure(folder: Path, _seconds: float) -> list[Figure]:
    """Return p99 drift, skips, memory a probe and the time of `check`."""
    config, empty = folder / "scale.yml", folder / "empty.yml"
    with nginx(folder) as (port, _, _):
        probes = [f"  - name: probe-{n:05}\n    kind: http\n    url: http://127.0.0.1:{port}/{n}\n    family: ipv4" for n in range(PROBES)]
        config.write_text("\n".join(["defaults: {interval: 60s, timeout: 10s}", "probes:", *probes]))
        empty.write_text(f"probes: [{{name: one, kind: http, url: 'http://127.0.0.1:{port}/'}}]\n")
        checked = _check_seconds(config)
        with agent(empty, folder) as (process, _):
            alone = process.rss_bytes()
        with agent(config, folder) as (process, url):
            await asyncio.sleep(_MINUTE + 5)
            metrics = await _metrics(url)
            memory = process.rss_bytes()
    full = memory - alone + PROBES * await _history_bytes(folder)
    return [
        Figure(
            "4 scale", f"p99 drift of starts, {PROBES:,} probes at 60 s", _p99_drift(metrics) * 1000, _DRIFT_MILLISECONDS, "bound", "ms"
        ),
        Figure(
            "4 scale",
            "skipped starts (a run more than none misses the goal)",
            _total(metrics, "fogbell_probe_skipped_total"),
            0.5,
            "bound",
            "",
        ),
        Figure(
            "4 scale", "runs missing in one minute", PROBES - min(PROBES, _total(metrics, "fogbell_probe_runs_total")), 0.5, "bound", ""
        ),
        Figure("4 scale", "memory a probe, history full", full / PROBES, _BYTES_A_PROBE, "bound", "bytes"),
        Figure("4 scale", f"`fogbell check` of {PROBES:,} probes", checked, _CHECK_SECONDS, "bound", "s"),
    ]


def _check_seconds(config: Path) -> float:
    began = time.perf_counter()
    command = ["taskset", "-c", str(PROBE_CORE), sys.executable, "-m", "agent", "check", "--config", str(config)]
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began


async def _metrics(url: str) -> str:
    async with aiohttp.ClientSession() as session, session.get(f"{url}/metrics") as answer:
        return await answer.text()


def _total(metrics: str, name: str) -> float:
    return sum(float(value) for value in re.findall(rf"^{name}\{{[^}}]*\}} (\S+)$", metrics, re.MULTILINE))


def _p99_drift(metrics: str) -> float:
    """Return the smallest bucket bound that holds 99 % of the starts, in seconds: an upper bound of the percentile."""
    buckets = re.findall(r'^fogbell_schedule_drift_seconds_bucket\{le="([^"]+)"\} (\S+)$', metrics, re.MULTILINE)
    whole = float(buckets[-1][1])
    return next(float(bound) for bound, count in buckets if float(count) >= 0.99 * whole)


async def _history_bytes(folder: Path) -> float:
    """Return what the three kept failures add to a probe that so far has only good runs, measured on the history itself."""
    program = (
        "import resource, sys\n"
        "from dataclasses import replace\n"
        "from agent.history import History\n"
        "from probes.core.contract import Outcome, Run, Step\n"
        "from probes.core.reasons import Reason\n"
        "steps = (Step('request', 0.0, 5.0, (('connect', 0.001), ('processing', 5.0))),)\n"
        "ok = Run('', 1.7e9, 0.01, Outcome.OK, steps=steps)\n"
        "bad = replace(ok, outcome=Outcome.FAILED, reason=Reason.HTTP_5XX, failed_step='request', message='503 Service Unavailable' * 3)\n"
        "pages = lambda: int(open('/proc/self/statm').read().split()[1]) * resource.getpagesize()\n"
        "history = History()\n"
        f"names = [f'probe-{{n:05}}' for n in range({PROBES})]\n"
        "[history.record(replace(ok, probe=name)) for name in names]\n"
        "before = pages()\n"
        "[history.record(replace(bad, probe=name)) for _ in range(3) for name in names]\n"
        "[history.record(replace(ok, probe=name)) for name in names]\n"
        f"print((pages() - before) / {PROBES})\n"
    )
    done = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", program], capture_output=True, text=True, check=True)
    (folder / "history.out").write_text(done.stdout)
    return float(done.stdout)
