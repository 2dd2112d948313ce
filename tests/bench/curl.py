"""Goal 5: phases against `curl -w` on the same target in the same seconds: plain, TLS, and delayed."""

import asyncio
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import aiohttp

from tests.bench.figures import Figure
from tests.bench.processes import OTHER_CORE, agent, program
from tests.bench.servers import nginx
from tests.bench.truth import target

_BOUND_MILLISECONDS = 1.0
_TIMES = "%{time_namelookup} %{time_connect} %{time_appconnect} %{time_pretransfer} %{time_starttransfer} %{time_total}"

Phases = dict[str, float]
T = TypeVar("T")


async def measure(folder: Path, seconds: float) -> list[Figure]:
    """Return, per target, the largest difference of a phase's medians."""
    with target(folder) as delayed, nginx(folder, delayed) as (plain, tls, ca):
        targets = {
            "plain": f"http://127.0.0.1:{plain}/",
            "TLS": f"https://localhost:{tls}/",
            "delayed": f"http://127.0.0.1:{plain}/delayed/x",
        }
        config = folder / "curl.yml"
        probes = [
            f"  - {{name: {name}, kind: http, url: '{url}', family: ipv4, tls: {{ca_file: '{ca}'}}}}"
            if name == "TLS"
            else f"  - {{name: {name}, kind: http, url: '{url}'}}"
            for name, url in targets.items()
        ]
        config.write_text("\n".join(["defaults: {interval: 1s, timeout: 1s}", "probes:", *probes]))
        with agent(config, folder) as (_, address):
            ours, theirs = await asyncio.gather(follow(address, seconds, _phases), _curls(targets, ca, seconds))
    return [
        Figure(
            "5 phases",
            f"largest difference of a phase's median to curl, {name}",
            _apart(ours[name], theirs[name]),
            _BOUND_MILLISECONDS,
            "bound",
            "ms",
        )
        for name in targets
    ]


def _apart(ours: list[Phases], theirs: list[Phases]) -> float:
    phases = {phase for run in theirs for phase in run}
    return max(abs(_median(ours, phase) - _median(theirs, phase)) for phase in phases) * 1000


def _median(runs: list[Phases], phase: str) -> float:
    return median(run.get(phase, 0.0) for run in runs)


async def follow(address: str, seconds: float, value: Callable[[dict[str, Any]], T], only: str = "") -> dict[str, list[T]]:
    """Return, per probe, the value of each run that ends within `seconds`; of one probe alone where `only` names it. All must be ok."""
    seen: dict[str, list[T]] = {}
    async with aiohttp.ClientSession() as session:
        try:
            async with asyncio.timeout(seconds), session.get(f"{address}/api/v1/runs?stream=1") as stream:
                async for line in stream.content:
                    run = json.loads(line) if line.strip() else {"probe": None}
                    if run["probe"] is None or (only and run["probe"] != only):
                        continue
                    if run["outcome"] != "ok":
                        raise RuntimeError(f"a probe was not ok: {run}")
                    seen.setdefault(run["probe"], []).append(value(run))
        except TimeoutError:
            return seen
    raise RuntimeError("the stream of runs ended by itself")


def _phases(run: dict[str, Any]) -> Phases:
    return {phase: took for step in run["steps"] for phase, took in step["phases"]}


async def _curls(targets: dict[str, str], ca: Path, seconds: float) -> dict[str, list[Phases]]:
    seen: dict[str, list[Phases]] = {name: [] for name in targets}
    until = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < until:
        for name, url in targets.items():
            seen[name].append(await asyncio.to_thread(_curl, url, ca))
            await asyncio.sleep(0.2)
    return seen


def _curl(url: str, ca: Path) -> Phases:
    """Return the phases of the second of two transfers on fresh connections: the first reads the authorities, which curl counts as TLS."""
    fresh = ["-4", "-s", "--http1.1", "--no-sessionid", "-H", "Connection: close", "--cacert", str(ca), "-w", _TIMES + "\\n"]
    command = ["taskset", "-c", str(OTHER_CORE), program("curl"), *fresh, "-o", "/dev/null", url, "-o", "/dev/null", url]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lookup, connect, secure, ready, first, total = map(float, done.stdout.splitlines()[1].split())
    phases = {"connect": connect - lookup, "processing": first - ready, "transfer": total - first}
    return phases | ({"tls": secure - connect} if secure else {})
