import asyncio
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agent import demo
from agent.__main__ import app
from agent.config import Secrets, load
from agent.drill.faults import Latency, StatusSource
from agent.drill.graph.post import Post
from agent.drill.graph.sites import CANARY, CANARY_TEXT, Sites
from agent.drill.lossy import DROPS
from agent.drill.outage import find, read, schedule
from agent.drill.tenant import Tenant, tenant
from agent.runner import of_this_machine, run_once
from probes import REGISTRY
from probes.core.contract import Outcome, Run, always
from tests.drill.data import data_client
from tests.processes import free_port


def command(*options: str) -> list[str]:
    return [sys.executable, "-m", "agent", *options]


async def run_all(running: Tenant, state: Path) -> dict[str, Run]:
    """Run every probe of the ready configuration once and return its run by name."""
    assert "$" not in running.config.read_text()
    configuration = load(running.config)
    shared = of_this_machine(Secrets(configuration.secrets), configuration.tenants, str(state))
    jobs = [replace(job, timeout=3.0 if job.kind == "mail_roundtrip" else 2.0) for job in configuration.jobs]
    runs = await asyncio.gather(*(run_once(job, shared) for job in jobs))
    return {run.probe: run for run in runs}


async def failures(folder: Path, outage: str = "") -> dict[str, tuple[str | None, str | None]]:
    """Give step and reason of what fails, while the worst phase of this outage hits everybody."""
    async with tenant(folder) as running:
        running.world.of(Post).delay = 0.1
        if outage:
            faults = [fault for fault in schedule(find(outage), 0.0) if not isinstance(fault.effect, StatusSource)]
            worst = max(faults, key=lambda fault: fault.share).first
            running.world.faults.set(*(replace(fault, share=1.0, first=0.0, until=4e9) for fault in faults if fault.first == worst))
        runs = await run_all(running, folder / "state")
    return {name: (run.failed_step, run.reason and run.reason.value) for name, run in runs.items() if run.outcome is not Outcome.OK}


async def test_every_probe_of_the_ready_configuration_succeeds_while_nothing_is_broken(tmp_path: Path) -> None:
    assert await failures(tmp_path) == {}


def test_the_ready_configuration_has_a_probe_of_each_kind_of_the_tenant_and_of_no_other() -> None:
    text = Path(demo.__file__).with_name("drill").joinpath("tenant.yml").read_text()
    kinds = set(re.findall(r"(?m)^    kind: (\w+)$", text))
    assert {kind for kind, probe in REGISTRY.items() if probe.tenant is always} <= kinds


@pytest.mark.parametrize(
    ("outage", "noticed"),
    [
        (
            "R01",
            {
                "mx-and-its-target": ("follow", "dns_servfail"),
                "mail-domain": ("mx_target", "dns_servfail"),
                "admin-centre": ("verify", "http_5xx"),
                "purview": ("verify", "http_5xx"),
                "defender": ("verify", "http_5xx"),
                "mail-inside": ("transit", "mail_late"),
                "teams-meeting": ("create", "http_5xx"),
                "mail-inbound": ("submit", "mail_deferred"),
                "mail-submitted": ("submit", "mail_deferred"),
            },
        ),
        pytest.param(
            "R02",
            {"graph": ("token", "connect_timeout"), "smtp-recipient": ("connect", "connect_timeout")},
            marks=pytest.mark.skipif(not DROPS, reason="only Linux drops SYNs for us"),
        ),
        ("R08", {"sign-in": ("authorize", "identity_fault")}),
        ("R15", {"mail-domain": ("spf", "dns_own_record")}),
        ("L01", {"mail-domain": ("query", "dns_timeout"), "mx-and-its-target": ("query", "dns_timeout")}),
        ("L03", {"admin-centre": ("request", "tls_untrusted"), "graph": ("token", "tls_untrusted")}),
        ("L04", {"token": ("token", "credential_expired"), "graph": ("token", "credential_expired")}),
        ("L05", {"graph": ("organization", "throttled"), "microsoft-says": ("overviews", "throttled")}),
        ("L06", {"mail-inside": ("transit", "mailbox_full"), "mail-inbound": ("submit", "mailbox_full")}),
    ],
)
async def test_an_outage_is_noticed_by_name_and_the_control_targets_stay_well(
    tmp_path: Path, outage: str, noticed: dict[str, tuple[str, str]]
) -> None:
    failed = await failures(tmp_path, outage)
    assert noticed.items() <= failed.items()
    assert not {"control-page", "control-port"} & failed.keys()


async def test_the_outage_of_january_leaves_tokens_and_downloads_alone(tmp_path: Path) -> None:
    assert not {"token", "sign-in", "graph"} & (await failures(tmp_path, "R01")).keys()
    async with data_client() as client:
        faults = [fault for fault in schedule(find("R01"), 0.0) if not isinstance(fault.effect, Latency)]
        client.world.faults.set(*(replace(fault, share=1.0, first=0.0, until=4e9) for fault in faults))
        path = f"/drives/{client.world.of(Sites).probe_drive.id}/root:/{CANARY}:/content"
        moved = await client.ask("GET", path, "Files.Read.All")
        assert (await client.fetch("GET", moved.headers["Location"])).data == CANARY_TEXT


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
    assert result.exit_code == 0
    secret = tmp_path / "new" / "client_secret"
    assert secret.stat().st_mode & 0o777 == 0o600
    assert secret.read_text() not in result.output + (tmp_path / "new" / "tenant.yml").read_text()
    assert re.search(r"(?m)^  graph +https://localhost:\d+$", result.stdout)
    assert f"client_secret@{secret}" in result.stdout
    assert "probe1@contoso.example, probe2@contoso.example" in result.stdout


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
