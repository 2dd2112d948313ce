"""The agent runs out of file descriptors, because others hold them: no probe's target is blamed, and all is well again afterwards."""

import http.client
import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from tests.processes import eventually
from tests.real.daemon import FAST, daemon

pytestmark = pytest.mark.real

FEW = ("sh", "-c", 'ulimit -n 64; exec "$@"', "sh")
"""Starts a command that may have 64 files open at most, whatever it asks for."""


@contextmanager
def page() -> Iterator[str]:
    """Serve a page from a process of its own."""
    command = [sys.executable, "-m", "tests.fakes.storm", "page"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        host, port = json.loads(process.stdout.readline())["addresses"]["page"]
        yield f"http://{host}:{port}/"
        assert process.stdin is not None
        process.stdin.close()


def value(connection: http.client.HTTPConnection, name: str) -> float:
    """Value of a metric of the probe, asked over a connection that is open already."""
    connection.request("GET", "/metrics")
    found = re.search(rf'^{name}{{probe="page"}} (\S+)$', connection.getresponse().read().decode(), re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_an_agent_without_descriptors_blames_nobody_and_recovers(tmp_path: Path) -> None:
    config = tmp_path / "fogbell.yml"
    with page() as url, ExitStack() as idle:
        config.write_text(f"state_dir: {tmp_path}/state\n{FAST}probes:\n  - {{name: page, kind: http, url: '{url}'}}\n")
        with daemon(config, before=FEW) as agent, closing(http.client.HTTPConnection("127.0.0.1", agent.port, timeout=10)) as asked:
            eventually(lambda: value(asked, "fogbell_probe_success") == 1, "the page answers", said=agent.program.said)
            for _ in range(100):
                idle.enter_context(socket.create_connection(("127.0.0.1", agent.port)))
            eventually(lambda: value(asked, "fogbell_probe_inconclusive_total") >= 1, "a run is inconclusive", said=agent.program.said)
            assert value(asked, "fogbell_probe_success") == 1
            assert value(asked, "fogbell_probe_failures_total") == 0

            before = value(asked, "fogbell_probe_last_success_timestamp_seconds")
            idle.close()
            eventually(
                lambda: value(asked, "fogbell_probe_last_success_timestamp_seconds") > before, "it recovers", said=agent.program.said
            )
