"""No output of the agent holds a secret: logs, pages, metrics, the API, the configuration as shown, what commands print.

The agent works on the simulated tenant, first with the right secret, then with a wrong one, while faults break into its calls.
"""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.canaries import CANARY, secret_in
from tests.processes import Program, fetch, running
from tests.real.daemon import Daemon, daemon

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]  # every page of every probe, twice, and a handful of commands

PAGES = ("/", "/metrics", "/config", "/api/v1/runs", "/-/ready")
INLINE = f"""tenants:
  fabrikam:
    tenant_id: 00000000-0000-0000-0000-00000000000a
    client_id: 00000000-0000-0000-0000-00000000000b
    credential: {{secret: {CANARY}}}
    hosts: {{login: "localhost:1", graph: "localhost:1", exchange: "localhost:1"}}
"""


@pytest.fixture
def tenant(tmp_path: Path) -> Iterator[tuple[Path, Program]]:
    """Run a simulated tenant as a program of its own; gives the folder of its files as well."""
    config = tmp_path / "tenant.yml"
    command = [sys.executable, "-m", "agent", "tenant", "--folder", str(tmp_path), "--outage", "R05", "--speed", "60"]
    with running(command, tmp_path / "tenant.log", config.is_file) as program:
        yield tmp_path, program


def fogbell(*arguments: str) -> str:
    """Return all that a command prints, whatever its exit status."""
    result = subprocess.run([sys.executable, "-m", "agent", *arguments], capture_output=True, text=True, check=False, timeout=60)
    assert "Traceback" not in result.stdout + result.stderr
    return result.stdout + result.stderr


COMMANDS = (("check",), ("permissions",), ("permissions", "--check"), ("once", "graph", "--json"))
FAILING = ("once", "token")


def outputs(agent: Daemon, config: Path, *commands: tuple[str, ...]) -> dict[str, str]:
    """Collect what the agent and these commands say now."""
    pages = (*PAGES, *(f"/probe/{probe['probe']}" for probe in agent.runs()))
    said = {path: fetch(agent.url(path))[1].decode() for path in pages}
    said |= {" ".join(words): fogbell(*words, "--config", str(config)) for words in commands}
    return said | {"log": agent.program.log.read_text()}


def test_no_output_holds_a_secret_or_a_token(tenant: tuple[Path, Program]) -> None:
    folder, program = tenant
    config, secret = folder / "tenant.yml", (folder / "client_secret").read_text()
    config.write_text(config.read_text().replace("tenants:\n", INLINE))
    with daemon(config, "--log-level", "debug", "--log-format", "json") as agent:
        agent.until('fogbell_probe_success{probe="graph"}', 1)
        said = outputs(agent, config, *COMMANDS)
        (folder / "client_secret").write_text(CANARY)
        agent.program.process.send_signal(signal.SIGHUP)
        agent.until('fogbell_probe_success{probe="token"}', 0)
        wrong = outputs(agent, config, FAILING)
    assert "token_expires" in said["once graph --json"]
    assert "credential_invalid" in wrong["once token"]
    everything = {**said, **{f"{name}, with a wrong secret": text for name, text in wrong.items()}, "tenant": program.log.read_text()}
    leaks = {name: secret_in(text.replace(secret, CANARY)) for name, text in everything.items()}
    assert {name: leak for name, leak in leaks.items() if leak} == {}
