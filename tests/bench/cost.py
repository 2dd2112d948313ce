"""Goal 2: CPU of one probe, everything included: schedule, run, metrics, history, and a scrape every 15 s."""

import asyncio
from pathlib import Path

import aiohttp

from tests.bench.blackbox import blackbox, drive
from tests.bench.figures import Figure
from tests.bench.processes import agent
from tests.bench.servers import nginx, nsd

_SCRAPE_SECONDS = 15.0
_HTTP_LIMIT, _DNS_LIMIT = 0.6, 0.75


_ROUNDS = 3


async def measure(folder: Path, seconds: float) -> list[Figure]:
    """Return CPU microseconds per probe against the peer's, HTTP at two rates and DNS at one."""
    figures = []
    with nginx(folder) as (port, _, _):
        http = f"kind: http, url: 'http://127.0.0.1:{port}/'"
        for rate in (200.0, 1000.0):
            ours, peer = await _in_turn(folder, rate, seconds, probe=http, module="http", target=f"http://127.0.0.1:{port}/")
            figures.append(Figure("2 cost", f"CPU per HTTP probe at {rate:g}/s", ours, peer, "blackbox", "µs", _HTTP_LIMIT))
    with nsd(folder) as port:
        dns = f"kind: dns, query: www.example.org, record: A, resolvers: ['127.0.0.1:{port}']"
        ours, peer = await _in_turn(folder, 200.0, seconds, probe=dns, module="dns", target=f"127.0.0.1:{port}")
        figures.append(Figure("2 cost", "CPU per DNS probe at 200/s", ours, peer, "blackbox", "µs", _DNS_LIMIT))
    return figures


async def _in_turn(folder: Path, rate: float, seconds: float, *, probe: str, module: str, target: str) -> tuple[float, float]:
    """Return the least of three rounds of each, taken in turn: what others do on the machine only ever adds to a round."""
    ours: list[float] = []
    peer: list[float] = []
    for _ in range(_ROUNDS):
        peer.append(await _peer(folder, module, target, rate, seconds))
        ours.append(await _ours(folder, probe, rate, seconds))
    return min(ours), min(peer)


async def _peer(folder: Path, module: str, target: str, rate: float, seconds: float) -> float:
    with blackbox(folder) as (process, port):
        await drive(port, module, [target], rate, 1.0)
        before = process.cpu_seconds()
        done = await drive(port, module, [target], rate, seconds)
        return (process.cpu_seconds() - before) / len(done) * 1e6


async def _ours(folder: Path, probe: str, rate: float, seconds: float) -> float:
    config = folder / "cost.yml"
    probes = [f"  - {{name: p{n}, {probe}}}" for n in range(1000)]
    config.write_text("\n".join([f"defaults: {{interval: {1000 / rate}s, timeout: 1s}}", "probes:", *probes]))
    with agent(config, folder) as (process, url):
        async with aiohttp.ClientSession() as session:
            await asyncio.sleep(2)
            runs, before = await runs_ok(session, url), process.cpu_seconds()
            await _pass(session, url, seconds)
            spent = process.cpu_seconds() - before
            done = await runs_ok(session, url) - runs
    still_true(done, rate * seconds)
    return spent / done * 1e6


async def _pass(session: aiohttp.ClientSession, url: str, seconds: float) -> None:
    while seconds > 0:
        await asyncio.sleep(min(seconds, _SCRAPE_SECONDS))
        seconds -= _SCRAPE_SECONDS
        await runs_ok(session, url)


async def runs_ok(session: aiohttp.ClientSession, url: str) -> int:
    """Return how many runs were ok, from a scrape."""
    async with session.get(f"{url}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    total = sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("fogbell_probe_runs_total{"))
    failed = sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("fogbell_probe_failures_total{"))
    return int(total - failed)


def still_true(done: int, wanted: float) -> None:
    """Refuse a figure of runs that were not made, or not right."""
    if done < 0.97 * wanted:
        raise RuntimeError(f"only {done} of {wanted:g} runs were ok; the figure would be worth nothing")
