"""Goals 1 and 6: how far exported phases are from the target's own true delay, under scrapes, and under reloads.

Agent or peer alone on one core; target, scraper and this driver on the other.
"""

import asyncio
import json
import signal
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import aiohttp

from tests.bench.blackbox import blackbox, drive
from tests.bench.figures import Figure, percentile
from tests.bench.processes import OTHER_CORE, Watched, agent, running
from tests.processes import free_port

PROBES = 1000
RATE = 200.0
_DELAYS = (0, 2, 5, 10, 20, 35, 50)
_TO_FIRST_BYTE = ("resolve", "connect", "tls", "processing")
_SCRAPE = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5", "Accept-Encoding": "gzip"}

Seen = tuple[str, float, dict[str, float]]
"""Name, Unix time of the start, phases in seconds."""


async def measure(folder: Path, seconds: float) -> list[Figure]:
    """Return the p99 error of the agent, alone and under reloads, against the peer's."""
    peer = await _peer_error(folder, seconds)
    alone = await _agent_error(folder, seconds, reloads=False)
    reloaded = await _agent_error(folder, seconds, reloads=True)
    what = "p99 of |phases to first byte - true delay|, 200 HTTP probes/s"
    return [
        Figure("1 truth", what + ", scraped every 2 s", alone, peer, "blackbox", "ms"),
        Figure("6 reload", what + ", 1 of 1,000 probes reloaded every 3 s", reloaded, peer, "blackbox", "ms"),
    ]


async def _peer_error(folder: Path, seconds: float) -> float:
    with target(folder) as port, blackbox(folder) as (_, blackbox_port):
        names = [f"p{n}" for n in range(PROBES)]
        urls = {_url(port, n): name for n, name in enumerate(names)}
        seen = await drive(blackbox_port, "http", tuple(urls), RATE, seconds)
        return await _p99_error_milliseconds(port, [(urls[url], asked, phases) for url, asked, phases in seen])


async def _agent_error(folder: Path, seconds: float, *, reloads: bool) -> float:
    config = folder / "truth.yml"
    with target(folder) as port:
        config.write_text(_config(port, 0))
        with agent(config, folder) as (process, url):
            async with (
                aiohttp.ClientSession(auto_decompress=False) as session,
                _scraping(session, url),
                _reloading(process, config, port, on=reloads),
            ):
                seen = await _follow(session, url, seconds)
            return await _p99_error_milliseconds(port, seen)


@contextmanager
def target(folder: Path) -> Iterator[int]:
    port = free_port()
    command = [sys.executable, "-m", "tests.bench.target", str(port)]
    with running(command, OTHER_CORE, port, log=folder / "target.log"):
        yield port


def _url(port: int, n: int) -> str:
    return f"http://127.0.0.1:{port}/d/{_DELAYS[n % len(_DELAYS)]}/p{n}"


def _config(port: int, generation: int) -> str:
    """Return 1,000 probes, the first of which changes with each generation."""
    probes = [f"  - {{name: p{n}, kind: http, url: '{_url(port, n)}'}}" for n in range(1, PROBES)]
    first = f"  - {{name: p0, kind: http, url: '{_url(port, 0)}', headers: {{X-Generation: 'g{generation}'}}}}"
    return "\n".join([f"defaults: {{interval: {PROBES / RATE}s, timeout: 4s}}", "probes:", first, *probes])


@asynccontextmanager
async def _scraping(session: aiohttp.ClientSession, url: str) -> AsyncIterator[None]:
    async def scrape() -> None:
        while True:
            async with session.get(f"{url}/metrics", headers=_SCRAPE) as answer:
                await answer.read()
            await asyncio.sleep(2)

    task = asyncio.create_task(scrape())
    yield
    task.cancel()


@asynccontextmanager
async def _reloading(process: Watched, config: Path, port: int, *, on: bool) -> AsyncIterator[None]:
    async def reload() -> None:
        generation = 0
        while on:
            await asyncio.sleep(3)
            generation += 1
            config.write_text(_config(port, generation))
            process.signal(signal.SIGHUP)

    task = asyncio.create_task(reload())
    yield
    task.cancel()


async def _follow(session: aiohttp.ClientSession, url: str, seconds: float) -> list[Seen]:
    seen: list[Seen] = []
    try:
        async with asyncio.timeout(seconds), session.get(f"{url}/api/v1/runs?stream=1") as stream:
            async for line in stream.content:
                seen += [_seen(json.loads(line))] if line.strip() else []
    except TimeoutError:
        return seen
    raise RuntimeError("the stream of runs ended by itself")


def _seen(run: dict[str, object]) -> Seen:
    if run.get("outcome") != "ok":
        raise RuntimeError(f"a probe was not ok: {run}")
    steps: Iterable[dict[str, list[tuple[str, float]]]] = run["steps"]  # type: ignore[assignment]
    return str(run["probe"]), float(run["started"]), {phase: took for step in steps for phase, took in step["phases"]}  # type: ignore[arg-type]


async def _p99_error_milliseconds(port: int, seen: Iterable[Seen]) -> float:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/log") as answer:
        true: dict[str, list[tuple[float, float]]] = defaultdict(list, json.loads(await answer.read()))
    errors = [abs(_to_first_byte(phases) - _true_delay(true[name], started)) for name, started, phases in seen]
    if len(errors) < PROBES:
        raise RuntimeError(f"only {len(errors)} runs were seen")
    return percentile(errors, 0.99) * 1000


def _to_first_byte(phases: dict[str, float]) -> float:
    return sum(phases.get(phase, 0.0) for phase in _TO_FIRST_BYTE)


def _true_delay(log: list[tuple[float, float]], started: float) -> float:
    """Return the delay of the request that arrived next after the start."""
    return min(log, key=lambda entry: abs(entry[0] - started))[1]
