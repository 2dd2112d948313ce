import asyncio
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agent import demo
from agent.__main__ import app
from agent.config import load
from agent.drill.faults import Http
from agent.drill.outage import read, schedule
from agent.drill.tenant import Tenant, tenant
from agent.drill.world import World
from probes import REGISTRY
from probes.core.contract import always
from tests.processes import free_port


def command(*options: str) -> list[str]:
    return [sys.executable, "-m", "agent", *options]


def test_the_ready_configuration_has_a_probe_of_each_kind_of_the_tenant_and_of_no_other() -> None:
    text = Path(demo.__file__).with_name("drill").joinpath("tenant.yml").read_text()
    kinds = set(re.findall(r"(?m)^    kind: (\w+)$", text))
    assert {kind for kind, probe in REGISTRY.items() if probe.tenant is always} <= kinds


OWN = """
id: X01_two
title: t
phases:
  - {from: 0, until: 1, what: search is down, faults: [{http: 503, operations: [search, file_download], share: 0.5}]}
"""


def test_faults_that_nothing_in_the_demo_came_across_are_said_at_the_end() -> None:
    two = read(OWN, "x.yml")
    nowhere = Path("x")
    watched = Tenant(World(clock=lambda: 100.0), nowhere, nowhere, nowhere, 1, 2, 3, 4, 5)
    watched.world.faults.set(*schedule(two, 50.0))
    show = demo.Show(two)
    assert demo._unnoticed(watched, show) == [
        "Nothing in the demo came across these faults:\n",
        "  search is down: {http: [503], operations: [file_download, search], share: 0.5}\n",
    ]
    watched.world.faults.hits("graph", Http, operation="search")
    assert demo._unnoticed(watched, show) == []
    assert demo._unnoticed(watched, demo.Show()) == []


async def test_a_taken_address_is_refused_before_anything_starts() -> None:
    refused = pytest.raises(demo.DemoError, match=r"cannot listen on 127.0.0.1:\d+: .* --listen HOST:PORT")
    with socket.create_server(("127.0.0.1", 0)) as taken, refused:
        await demo.demo(demo.Show(seconds=1), taken.getsockname()[:2])


def test_the_demo_runs_for_its_time_says_where_to_look_and_leaves_nothing_behind() -> None:
    port = free_port()
    line = command("demo", "--listen", f"127.0.0.1:{port}", "--for", "2s", "--outage", "r01", "--speed", "600")
    result = subprocess.run(line, capture_output=True, text=True, timeout=50, check=False)
    assert result.returncode == 0, result.stderr
    assert f"Open http://127.0.0.1:{port}/" in result.stdout
    assert "It ends after 2 s" in result.stdout
    assert "All is well for 15 s. Then comes R01_gls_na_2026_01_22, 600 times as fast as it was:" in result.stdout
    assert "after  132 s: all is well again" in result.stdout
    assert "Traceback" not in result.stdout + result.stderr
    found = re.search(r"Its configuration: (\S+)", result.stdout)
    assert found is not None
    assert not Path(found[1]).parent.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize(("name", "number"), [("demo", signal.SIGINT), ("demo", signal.SIGTERM), ("tenant", signal.SIGINT)])
def test_it_ends_well_when_told_to(name: str, number: signal.Signals) -> None:
    line = command(name, *(("--listen", f"127.0.0.1:{free_port()}") if name == "demo" else ()))
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        for said in process.stdout:
            if said.startswith("Stop it with"):
                break
        os.kill(process.pid, number)
        rest = process.stdout.read()
        assert process.wait(20) == 0
    assert "left nothing behind" in rest
    assert "Traceback" not in rest


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--outage", "R99"), "there is no outage 'R99'"),
        (("--outage", "R0"), "outages begin with 'R0'"),
        (("--outage", "missing.yml"), "missing.yml: cannot be read"),
        (("--for", "soon"), "must be a duration, such as 500ms"),
    ],
    ids=["unknown", "several", "no such file", "no duration"],
)
@pytest.mark.parametrize("name", ["demo", "tenant"])
def test_a_wrong_option_is_said_in_words(name: str, options: tuple[str, str], said: str) -> None:
    result = CliRunner().invoke(app, [name, *options])
    assert result.exit_code == 1
    assert said in result.stderr
    assert isinstance(result.exception, SystemExit)
    if options[1] in ("R99", "R0"):
        assert "  R01_gls_na_2026_01_22: " in result.stderr


def test_the_tenant_says_where_everything_is_and_never_its_secret(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["tenant", "--folder", str(tmp_path / "new"), "--for", "100ms"])
    assert re.search(r"^  probe1@contoso.example +[0-9a-f]{8}-[0-9a-f-]{27}$", result.stdout, re.MULTILINE)
    assert result.exit_code == 0
    secret = tmp_path / "new" / "client_secret"
    assert secret.stat().st_mode & 0o777 == 0o600
    assert secret.read_text() not in result.output + (tmp_path / "new" / "tenant.yml").read_text()
    assert re.search(r"(?m)^  graph +https://localhost:\d+$", result.stdout)
    assert f"client_secret@{secret}" in result.stdout


async def test_the_other_command_line_it_prints_signs_a_person_in(tmp_path: Path) -> None:
    async with tenant(tmp_path) as running:
        world = running.world
        fields = {"client_id": world.app_id, "scope": "https://graph.microsoft.com/User.Read"}
        line = shlex.join(
            ["curl", "-sS", "--cacert", str(running.ca_file), *(word for pair in fields.items() for word in ("-d", "=".join(pair)))]
        )
        asked = await said(f"{line} {world.url('login', f'/{world.tenant_id}/oauth2/v2.0/devicecode')}")
        answer = await said(demo._confirmation(running).replace("CODE", json.loads(asked)["user_code"]))
    assert b"You have signed in" in answer


async def said(command: str) -> bytes:
    process = await asyncio.create_subprocess_shell(command, stdout=asyncio.subprocess.PIPE)
    return (await process.communicate())[0]


async def test_the_command_line_it_prints_gets_a_token(tmp_path: Path) -> None:
    async with tenant(tmp_path) as running:
        answer = await said(demo._curl(running))
    assert b'"access_token": "ey' in answer


def test_a_folder_of_any_name_will_do_and_one_that_cannot_be_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "it's a: {folder}, #1"
    result = CliRunner().invoke(app, ["tenant", "--folder", str(folder), "--for", "100ms"])
    assert result.exit_code == 0
    assert load(folder / "tenant.yml").state_dir == str(folder / "state")
    result = CliRunner().invoke(app, ["tenant", "--folder", str(folder / "client_secret")])
    assert result.exit_code == 1
    assert result.stderr == f"fogbell: the tenant cannot run in {folder / 'client_secret'}: File exists\n"


def test_an_outage_takes_three_minutes_unless_a_speed_is_asked_for() -> None:
    outage = read("id: X01\ntitle: t\nphases: [{from: -30, until: 60, what: w}]", "x.yml")
    assert demo.Show(outage).pace == 30
    assert demo.Show(outage, speed=2).pace == 2
    assert demo.Show().pace == 1
