import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import dns.name
import pytest

from agent import demo
from agent.config import Secrets, load
from agent.drill import contoso
from agent.drill.nameserver import read_zone
from agent.drill.story import DEMO, Fault
from agent.runner import run_once
from probes.core.context import Shared
from probes.core.contract import Outcome, Run
from probes.core.reasons import Reason
from probes.lib.resolve import SystemResolver
from tests.processes import free_port


def command(listen: str, *options: str) -> list[str]:
    return [sys.executable, "-m", "agent", "demo", "--listen", listen, *options]


def test_everything_the_story_breaks_is_something_the_servers_serve() -> None:
    names = {name.to_text(omit_final_dot=True) for name in read_zone(contoso.ZONE)}
    assert {fault.target for fault in DEMO} <= names | contoso.PAGES.keys()


def test_every_alias_and_host_of_the_zone_leads_somewhere() -> None:
    zone = read_zone(contoso.ZONE)
    targets = {
        getattr(record, field) for field in ("target", "exchange") for _, _, record in zone.iterate_rdatas() if hasattr(record, field)
    }
    assert dns.name.from_text(contoso.MAIL_HOST) in targets
    assert all(zone.get_node(target) is not None for target in targets)


async def run_all(folder: Path, *broken: Fault) -> dict[str, Run]:
    """Run every probe of the shipped configuration once, while these faults hold, and return its run by name."""
    shared = Shared(lookup=SystemResolver(), secret=Secrets())
    async with demo._servers(folder, tuple(replace(fault, first=0.0) for fault in broken)) as config:
        assert "$" not in config.read_text()
        jobs = [replace(job, timeout=0.5) for job in load(config).jobs]
        runs = await asyncio.gather(*(run_once(job, shared) for job in jobs))
    return {run.probe: run for run in runs}


async def test_every_probe_of_the_shipped_configuration_succeeds_while_nothing_is_broken(tmp_path: Path) -> None:
    runs = await run_all(tmp_path)
    assert {name: run.message for name, run in runs.items() if run.outcome is not Outcome.OK} == {}
    assert len(runs) >= 10


@pytest.mark.parametrize(
    ("target", "noticed"),
    [
        ("/search", {"search": ("verify", Reason.HTTP_5XX)}),
        (contoso.MAIL_HOST, {"mx-and-its-target": ("follow", Reason.DNS_SERVFAIL), "mail-domain": ("mx_target", Reason.DNS_SERVFAIL)}),
        ("/files", {"files": ("request", Reason.TIMEOUT)}),
        ("teams.contoso.example", {"teams-name": ("query", Reason.DNS_TIMEOUT)}),
    ],
)
async def test_each_fault_of_the_story_is_noticed_by_name_and_by_nobody_else(
    tmp_path: Path, target: str, noticed: dict[str, tuple[str, Reason]]
) -> None:
    runs = await run_all(tmp_path, *(fault for fault in DEMO if fault.target == target))
    failed = {name: (run.failed_step, run.reason) for name, run in runs.items() if run.outcome is not Outcome.OK}
    assert failed == noticed


async def test_a_taken_address_is_refused_before_anything_starts() -> None:
    refused = pytest.raises(demo.DemoError, match=r"cannot listen on 127.0.0.1:\d+: .* --listen HOST:PORT")
    with socket.create_server(("127.0.0.1", 0)) as taken, refused:
        await demo.demo(1, taken.getsockname()[:2])


def test_the_demo_runs_for_its_time_says_where_to_look_and_leaves_nothing_behind() -> None:
    port = free_port()
    result = subprocess.run(command(f"127.0.0.1:{port}", "--for", "2s"), capture_output=True, text=True, timeout=50, check=False)
    assert result.returncode == 0, result.stderr
    assert f"Open http://127.0.0.1:{port}/" in result.stdout
    assert "It ends after 2 s" in result.stdout
    assert "Traceback" not in result.stdout + result.stderr
    found = re.search(r"Its configuration: (\S+)", result.stdout)
    assert found is not None
    assert not Path(found[1]).exists()
    assert not Path(found[1]).parent.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_demo_ends_well_when_told_to(number: signal.Signals) -> None:
    port = free_port()
    with subprocess.Popen(command(f"127.0.0.1:{port}"), stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("Stop it with"):
                break
        os.kill(process.pid, number)
        rest = process.stdout.read()
        assert process.wait(20) == 0
    assert "left nothing behind" in rest
    with socket.create_server(("127.0.0.1", port)):
        pass
