"""The agent as a process in bad weather: told to stop, ports taken, disks full, readers that crawl."""

import gzip
import re
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tests.processes import answers, eventually, fetch, free_port, running
from tests.real.daemon import FAST, Daemon, command, daemon
from tests.servers import require

pytestmark = pytest.mark.real

OPENMETRICS = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"}


@contextmanager
def mute_target() -> Iterator[int]:
    """Port of a listener that accepts and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listening:
        yield listening.getsockname()[1]


@pytest.fixture
def mute() -> Iterator[int]:
    with mute_target() as port:
        yield port


def write_config(folder: Path, probes: str, start: str = FAST) -> Path:
    config = folder / "fogbell.yml"
    config.write_text(f"{start}probes:\n{probes}")
    return config


def own_port_probe(port: int, name: str = "itself") -> str:
    """Configure a probe that succeeds: the agent's own page."""
    return f"  - {{name: {name}, kind: tcp, host: 127.0.0.1, port: {port}}}\n"


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Daemon]:
    """Run an agent with one probe that succeeds and one that fails."""
    port = free_port()
    probes = own_port_probe(port) + f"  - {{name: nobody, kind: tcp, host: 127.0.0.1, port: {free_port()}}}\n"
    with daemon(write_config(tmp_path, probes), port=port) as running_agent:
        running_agent.until('fogbell_probe_success{probe="itself"}', 1)
        running_agent.until('fogbell_probe_success{probe="nobody"}', 0)
        yield running_agent


def test_sigterm_in_the_middle_of_hanging_runs_ends_it_in_time_and_leaves_no_false_failure(tmp_path: Path, mute: int) -> None:
    probes = "".join(f"  - {{name: mute-{n}, kind: http, url: 'http://127.0.0.1:{mute}/{n}'}}\n" for n in range(20))
    slow = f"state_dir: {tmp_path}/state\ndefaults: {{interval: 4s, timeout: 4s}}\n"
    with daemon(write_config(tmp_path, probes, slow)) as hanging:
        eventually(lambda: established(mute) >= 10, "most of them hang")
        before = sum_of(hanging.metrics(), "fogbell_probe_failures_total")
        assert hanging.program.end(seconds=5) == 0
    assert before == 0, "none had reached its deadline"
    assert remembered(tmp_path / "state") == []


def sum_of(metrics: str, name: str) -> float:
    """Sum of all series of the metric."""
    return sum(float(value) for value in re.findall(rf"^{name}\{{[^}}]*\}} (\S+)$", metrics, re.MULTILINE))


def established(port: int) -> int:
    """How many connections to the local port are open, as the kernel lists them."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return sum(line.split()[2].endswith(f":{port:04X}") and line.split()[3] == "01" for line in lines)


def remembered(state: Path) -> list[str]:
    """Names of probes of which the state holds a last conclusive run."""
    with closing(sqlite3.connect(state / "fogbell.sqlite")) as database:
        return [name for (name,) in database.execute("SELECT name FROM probe")]


@pytest.mark.parametrize("wanted", [{}, OPENMETRICS], ids=["text", "openmetrics"])
def test_a_scrape_parses_and_is_the_same_packed(agent: Daemon, wanted: dict[str, str]) -> None:
    _, body, headers = fetch(agent.url("/metrics"), headers=wanted)
    assert headers["Content-Type"].startswith("application/openmetrics-text" if wanted else "text/plain; version=0.0.4")
    parse = parse_openmetrics if wanted else parse_text
    families = {family.name for family in parse(body.decode())}
    assert {"fogbell_probe_success", "fogbell_probe_phase_seconds", "fogbell_build_info"} <= families

    _, packed, headers = fetch(agent.url("/metrics"), headers={**wanted, "Accept-Encoding": "gzip"})
    assert headers["Content-Encoding"] == "gzip"
    assert {family.name for family in parse(gzip.decompress(packed).decode())} == families
    assert fetch(agent.url("/metrics"), headers=wanted)[2]["Content-Encoding"] is None


def lint(text: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([require("promtool"), "check", "metrics"], input=text, capture_output=True, text=True, check=False)


def test_promtool_has_nothing_to_say_about_the_metrics(agent: Daemon) -> None:
    result = lint(agent.metrics())
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_promtool_does_object_where_there_is_something(agent: Daemon) -> None:
    result = lint(re.sub(r"^# HELP fogbell_probe_success .*\n", "", agent.metrics(), flags=re.MULTILINE))
    assert result.returncode != 0
    assert "fogbell_probe_success no help text" in result.stdout + result.stderr


def test_a_taken_port_is_a_clear_message_and_no_traceback(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config = write_config(tmp_path, own_port_probe(port))
        result = subprocess.run(command(config, port), capture_output=True, text=True, check=False, timeout=30)
    assert result.returncode == 1
    assert f"127.0.0.1:{port}" in result.stderr
    assert "--listen" in result.stderr
    assert "Traceback" not in result.stderr + result.stdout


def test_a_full_disk_under_the_log_does_not_stop_it(tmp_path: Path) -> None:
    port = free_port()
    config = write_config(tmp_path, own_port_probe(port) + f"  - {{name: nobody, kind: tcp, host: 127.0.0.1, port: {free_port()}}}\n")
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full on this system")
    with running(command(config, port, "--log-level", "debug"), full, lambda: answers(f"http://127.0.0.1:{port}/-/ready")) as program:
        lives = Daemon(port, program)
        lives.until_more('fogbell_probe_runs_total{probe="nobody"}', 2)
        assert lives.program.end() == 0


@pytest.mark.parametrize("arguments", [["once", "itself", "--json"], ["once", "itself"], ["check"]], ids=" ".join)
def test_a_command_whose_output_cannot_be_written_says_so(arguments: list[str], tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full on this system")
    line = [sys.executable, "-m", "agent", *arguments, "--config", str(write_config(tmp_path, own_port_probe(free_port())))]
    with full.open("w") as output:
        result = subprocess.run(line, stdout=output, stderr=subprocess.PIPE, text=True, check=False, timeout=30)
    assert (result.returncode, result.stderr) == (1, "fogbell: the output cannot be written: No space left on device\n")


def test_a_reader_of_one_byte_a_second_and_a_hundred_at_once_hold_nothing_up(agent: Daemon) -> None:
    with ExitStack() as stack:
        for _ in range(5):
            crawler = stack.enter_context(socket.create_connection(("127.0.0.1", agent.port)))
            crawler.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            crawler.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert len(crawler.recv(1)) == 1
        with ThreadPoolExecutor(100) as pool:
            statuses = list(pool.map(lambda _: fetch(agent.url("/metrics"))[0], range(100)))
        assert statuses == [200] * 100
        runs = 'fogbell_probe_runs_total{probe="itself"}'
        agent.until_more(runs, (agent.value(runs) or 0) + 1)
        assert agent.value('fogbell_probe_success{probe="itself"}') == 1
        assert agent.value('fogbell_probe_skipped_total{probe="itself"}') == 0


def test_systemd_is_told_of_readiness_life_and_the_end(tmp_path: Path) -> None:
    port = free_port()
    config = write_config(tmp_path, own_port_probe(port))
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as notices:
        notices.bind(str(tmp_path / "notify"))
        notices.settimeout(10)
        environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000"}
        with daemon(config, environ=environ, port=port) as notifying:
            heard = hear_until(notices, b"WATCHDOG=1")
            assert any(b"READY=1" in notice for notice in heard)
            time.sleep(0.5)
            assert len(hear_until(notices, b"WATCHDOG=1")) >= 1
            notifying.program.end()
            hear_until(notices, b"STOPPING=1")


def hear_until(notices: socket.socket, last: bytes) -> list[bytes]:
    """Receive notices up to the one wanted; times out where it never comes."""
    heard = [notices.recv(4096)]
    while last not in heard[-1]:
        heard.append(notices.recv(4096))
    return heard
