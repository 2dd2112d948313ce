"""Twenty probes on dead names while the machine's own resolver says nothing: a healthy probe beside them must not notice."""

import os
import socket
import statistics
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import free_port
from tests.real.daemon import Daemon, daemon
from tests.servers import require

pytestmark = pytest.mark.real

DEAD = 20
START = "defaults: {interval: 2s, timeout: 1900ms}\nprobes:\n"


@pytest.fixture
def silent_resolver() -> Iterator[str]:
    """Address of a resolver that takes questions and never answers: port 53 of a loopback address that nobody else uses."""
    address = f"127.53.{os.getpid() >> 8 & 255}.{os.getpid() & 255 or 1}"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
        try:
            deaf.bind((address, 53))
        except PermissionError:
            pytest.skip("needs the right to bind port 53")
        yield address


def in_own_namespace(folder: Path, resolver: str) -> tuple[str, ...]:
    """Return the start of a command line whose program sees a resolv.conf of its own. Skips where namespaces are not allowed."""
    unshare = require("unshare")
    resolv_conf = folder / "resolv.conf"
    resolv_conf.write_text(f"nameserver {resolver}\n")
    target = Path("/etc/resolv.conf").resolve()
    before = (unshare, "--mount", "sh", "-c", f'mount --bind "{resolv_conf}" "{target}" && exec "$@"', "sh")
    allowed = subprocess.run([*before, "cat", "/etc/resolv.conf"], capture_output=True, text=True, check=False)
    if resolver not in allowed.stdout:
        pytest.skip(f"mount namespaces are not allowed here: {allowed.stderr.strip()}")
    return before


def seconds_of(agent: Daemon, runs: int) -> list[float]:
    """Durations of the healthy probe's runs, after so many of them."""
    agent.until_more('fogbell_probe_runs_total{probe="healthy"}', runs - 1, 40)
    (healthy,) = (probe for probe in agent.runs() if probe["probe"] == "healthy")
    return [float(seconds) for seconds in healthy["ring"]["seconds"]]


def expect_time_outs(agent: Daemon) -> None:
    """See the dead names fail as what they are, and the healthy probe do well."""
    failures = 'fogbell_probe_failure_reasons_total{probe="dead-7",reason="dns_timeout"}'
    agent.until_more(failures, 0)
    assert agent.value('fogbell_probe_failures_total{probe="healthy"}') == 0


def test_dead_names_and_a_silent_resolver_do_not_slow_a_healthy_probe(tmp_path: Path, silent_resolver: str) -> None:
    before, port = in_own_namespace(tmp_path, silent_resolver), free_port()
    config = tmp_path / "fogbell.yml"
    pace = "interval: 250ms, timeout: 250ms, allow_short_interval: true"
    healthy = f"  - {{name: healthy, kind: http, url: 'http://localhost:{port}/-/healthy', family: ipv4, {pace}}}\n"
    dead = "".join(f"  - {{name: dead-{n}, kind: http, url: 'http://dead-{n}.example/'}}\n" for n in range(DEAD))
    config.write_text(f"{START}{healthy}")
    with daemon(config, before=before, port=port) as agent:
        alone = statistics.median(seconds_of(agent, 15))
    config.write_text(f"{START}{healthy}{dead}")
    with daemon(config, before=before, port=port) as agent:
        beside_the_dead = statistics.median(seconds_of(agent, 15))
        expect_time_outs(agent)
    assert beside_the_dead < 5 * alone + 0.005, f"{alone * 1000:.2f} ms alone, {beside_the_dead * 1000:.2f} ms beside dead names"
