"""Everything goes wrong at once: each failure keeps its own name, and a healthy probe beside them keeps its rhythm and its latency."""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import pytest
import uvloop

from agent.job import Job
from agent.runner import run_once
from agent.scheduler import Scheduler, phase
from probes import REGISTRY
from probes.core.context import Shared
from probes.core.contract import Outcome, Run, Secret
from probes.core.reasons import Reason
from probes.lib.resolve import SystemResolver
from tests.fakes import hostile
from tests.fakes.nameserver import LOOPBACK, name_server
from tests.fakes.storm import GOOD_ZONE, SERVERS
from tests.lib.runs import no_descriptors_left

HEALTHY = "healthy"
HEALTHY_INTERVAL = 0.2
HEALTHY_RUNS = 15
STORM_INTERVAL = 1.0
STORM_TIMEOUT = 0.8
STORM_RUNS = 2


@dataclass(frozen=True)
class Row:
    """What is asked of a bad server, and what has to be said about it. Every {text} is an address."""

    kind: str
    settings: Mapping[str, Any]
    step: str
    reason: Reason


def page(reason: Reason, step: str = "request") -> Row:
    return Row("http", {"url": "http://{address}/"}, step, reason)


def secure(reason: Reason) -> Row:
    return Row("http", {"url": "https://{address}/", "tls": {"ca_file": "{ca_file}"}}, "request", reason)


def proxied(reason: Reason) -> Row:
    settings = {"url": "https://www.example.com/", "proxy": "http://{address}", "tls": {"ca_file": "{ca_file}"}}
    return Row("http", settings, "request", reason)


def smtp(reason: Reason, step: str = "greeting") -> Row:
    return Row("tcp", {"host": LOOPBACK, "port": "{port}", "greeting": "smtp"}, step, reason)


def names(reason: Reason) -> Row:
    return Row("dns", {"query": "www.example.com", "resolvers": ["{address}"], "query_timeout": "400ms"}, "query", reason)


WEATHER = {
    "refuses": page(Reason.CONNECT_REFUSED),
    "drops": page(Reason.CONNECT_TIMEOUT),
    "silent": page(Reason.TIMEOUT),
    "drips": page(Reason.TIMEOUT),
    "resets at once": page(Reason.CONNECTION_RESET),
    "resets in header": page(Reason.CONNECTION_RESET),
    "resets in body": page(Reason.CONNECTION_RESET),
    "closes in body": page(Reason.TRUNCATED),
    "garbage": page(Reason.PROTOCOL_ERROR),
    "endless body": page(Reason.CONTENT_MISMATCH),
    "endless header": page(Reason.PROTOCOL_ERROR),
    "gzip bomb": page(Reason.CONTENT_MISMATCH),
    "endless redirects": page(Reason.HTTP_REDIRECT),
    "expired": secure(Reason.TLS_EXPIRED),
    "not_yet_valid": secure(Reason.TLS_EXPIRED),
    "wrong_name": secure(Reason.TLS_WRONG_NAME),
    "self_signed": secure(Reason.TLS_UNTRUSTED),
    "untrusted": secure(Reason.TLS_UNTRUSTED),
    "tls stalls": secure(Reason.TLS_TIMEOUT),
    "tls resets in handshake": secure(Reason.CONNECTION_RESET),
    "tls resets in record": secure(Reason.CONNECTION_RESET),
    "proxy refuses": proxied(Reason.PROXY_REFUSED),
    "proxy wants login": proxied(Reason.PROXY_AUTH),
    "proxy breaks off": proxied(Reason.PROXY_UNREACHABLE),
    "proxy breaks off later": proxied(Reason.CONNECTION_RESET),
    "endless greeting": smtp(Reason.PROTOCOL_ERROR),
    "deferring greeting": smtp(Reason.MAIL_DEFERRED),
    "servfail": names(Reason.DNS_SERVFAIL),
    "nxdomain": names(Reason.DNS_NXDOMAIN),
    "silent names": names(Reason.DNS_TIMEOUT),
    "truncated": names(Reason.PROTOCOL_ERROR),
    "garbage names": names(Reason.DNS_TIMEOUT),
    "foreign answers": names(Reason.DNS_TIMEOUT),
    "ten thousand records": names(Reason.PROTOCOL_ERROR),
}


def no_secret(secret: Secret) -> str:
    raise AssertionError(secret)


SHARED = Shared(SystemResolver(), no_secret)


def job(name: str, kind: str, settings: Mapping[str, Any], interval: float, timeout: float) -> Job:
    probe = REGISTRY[kind]
    model = probe.settings.model_validate(settings)
    return Job(name, kind, probe, model, interval, timeout, probe.place(model))


@dataclass(frozen=True)
class Servers:
    """A process full of servers."""

    addresses: Mapping[str, tuple[str, int]]
    ca_file: str

    def job(self, name: str) -> Job:
        """Return the job that visits the named bad server."""
        host, port = self.addresses[name]
        row = WEATHER[name]
        return job(name, row.kind, self._filled(row.settings, f"{host}:{port}", port), STORM_INTERVAL, STORM_TIMEOUT)

    def healthy(self) -> Job:
        """Return the job that visits a good server, and often."""
        host, port = self.addresses["page"]
        return job(HEALTHY, "http", {"url": f"http://{host}:{port}/"}, HEALTHY_INTERVAL, HEALTHY_INTERVAL)

    def _filled(self, value: Any, address: str, port: int) -> Any:
        if isinstance(value, Mapping):
            return {key: self._filled(inner, address, port) for key, inner in value.items()}
        if isinstance(value, list):
            return [self._filled(inner, address, port) for inner in value]
        return value.format(address=address, port=port, ca_file=self.ca_file)


@asynccontextmanager
async def servers(*wanted: str) -> AsyncIterator[Servers]:
    command = (sys.executable, "-m", "tests.fakes.storm", *wanted)
    process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        told = json.loads(await process.stdout.readline())
        yield Servers(told["addresses"], told["ca_file"])
    finally:
        process.stdin.close()
        await process.wait()


@dataclass
class Season:
    """What a while of scheduled runs left behind."""

    runs: dict[str, list[Run]] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)

    def ended_as(self, name: str) -> set[tuple[str, Reason | None]]:
        """All ways in which runs of a probe ended."""
        return {(run.failed_step, run.reason) for run in self.runs[name]}

    def latency(self) -> float:
        """Median of the healthy probe, in seconds."""
        return median(run.seconds for run in self.runs[HEALTHY])

    def places(self) -> list[int]:
        """In which places of its rhythm the healthy probe started, counted from the first."""
        places = [round((run.started - phase(HEALTHY, HEALTHY_INTERVAL)) / HEALTHY_INTERVAL) for run in self.runs[HEALTHY]]
        return [place - places[0] for place in places]


async def season(jobs: list[Job]) -> Season:
    """Schedule jobs until each has run often enough."""
    seen, enough = Season(), asyncio.Event()

    async def play(due: Job) -> float:
        seen.runs.setdefault(due.name, []).append(await run_once(due, SHARED))
        if all(len(seen.runs.get(one.name, ())) >= (HEALTHY_RUNS if one.name == HEALTHY else STORM_RUNS) for one in jobs):
            enough.set()
        return 0.0

    scheduler = Scheduler(play, lambda name, count: seen.skipped.update({name: count}), lambda _: None)
    for one in jobs:
        scheduler.add(one)
    async with asyncio.timeout(30):
        await enough.wait()
    await scheduler.stop()
    return seen


async def calm_storm_calm() -> tuple[Season, Season, Season]:
    async with servers("page") as good, servers(*WEATHER) as bad:
        healthy = good.healthy()
        before = await season([healthy])
        storm = await season([healthy, *(bad.job(name) for name in WEATHER)])
        return before, storm, await season([healthy])


@pytest.fixture(scope="module")
def seasons() -> tuple[Season, Season, Season]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(calm_storm_calm())


@pytest.mark.parametrize("name", WEATHER)
def test_in_a_storm_each_failure_keeps_its_step_and_reason(seasons: tuple[Season, Season, Season], name: str) -> None:
    assert seasons[1].ended_as(name) == {(WEATHER[name].step, WEATHER[name].reason)}


def test_in_a_storm_a_healthy_probe_stays_well(seasons: tuple[Season, Season, Season]) -> None:
    assert [one.ended_as(HEALTHY) for one in seasons] == [{("", None)}] * 3


def test_in_a_storm_a_healthy_probe_keeps_its_rhythm(seasons: tuple[Season, Season, Season]) -> None:
    storm = seasons[1]
    assert storm.skipped[HEALTHY] == 0
    assert storm.places() == list(range(len(storm.runs[HEALTHY])))


def test_in_a_storm_a_healthy_probe_keeps_its_latency(seasons: tuple[Season, Season, Season]) -> None:
    before, storm, after = (one.latency() for one in seasons)
    assert storm < 5 * max(before, after)


def test_the_storm_has_all_the_bad_servers() -> None:
    assert set(SERVERS) - set(WEATHER) == {"page", "good names", "none"}


# No file descriptor left


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("kind", ["http", "tcp", "dns"])
def test_without_file_descriptors_a_run_is_inconclusive_and_the_next_is_well(
    kind: str, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def three_runs() -> list[tuple[Outcome, Reason | None]]:
        async with AsyncExitStack() as stack:
            host, port = await stack.enter_async_context(hostile.page())
            resolver = await stack.enter_async_context(name_server(GOOD_ZONE))
            settings: dict[str, dict[str, Any]] = {
                "http": {"url": f"http://{host}:{port}/"},
                "tcp": {"host": host, "port": port},
                "dns": {"query": "www.example.com", "resolvers": [resolver.udp]},
            }
            due = job("p", kind, settings[kind], 60, 5)
            before = await run_once(due, SHARED)
            with no_descriptors_left():
                during = await run_once(due, SHARED)
            return [(run.outcome, run.reason) for run in (before, during, await run_once(due, SHARED))]

    with asyncio.Runner(loop_factory=loop) as runner:
        ran = runner.run(three_runs())
    assert ran == [(Outcome.OK, None), (Outcome.INCONCLUSIVE, Reason.AGENT_RESOURCES), (Outcome.OK, None)]
