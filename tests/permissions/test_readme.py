"""Whoever follows README's section "Connect your tenant" gets a green probe: its commands and its configuration, on a simulated tenant."""

import asyncio
import re
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from typer.core import TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

from agent.__main__ import app
from agent.drill.entra.directory import EXCHANGE, Directory
from agent.drill.tenant import Tenant, tenant
from probes.lib.assertion import signer
from tests.servers import require

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
SECTION = README.partition("## Connect your tenant\n")[2].partition("\n## ")[0]


def followed(folder: Path, running: Tenant) -> Path:
    """Do steps 1 to 3 as the page says them, in a folder; hosts and authority are those of the simulated tenant."""
    lines = [line.strip() for line in SECTION.splitlines() if line.startswith(("       openssl ", "       (umask"))]
    assert len(lines) == 2
    require("openssl")
    subprocess.run([require("sh"), "-ec", "\n".join(lines)], cwd=folder, check=True, capture_output=True)
    (text,) = re.findall(r"```yaml\n(.*?)```", SECTION, re.DOTALL)
    world = running.world
    hosts = ", ".join(f"{host}: '{world.address(host)}'" for host in ("login", "graph", "exchange"))
    text = text.replace("00000000-0000-0000-0000-000000000000", world.tenant_id).replace(
        "00000000-0000-0000-0000-000000000001", world.app_id
    )
    text = text.replace("    credential:", f"    hosts: {{{hosts}}}\n       tls: {{ca_file: {running.ca_file}}}\n       credential:")
    path = folder / "contoso.yml"
    path.write_text(text, encoding="utf-8")
    directory = world.of(Directory)
    directory.apps[world.app_id].certificates.append(x509.load_pem_x509_certificate((folder / "fogbell.cer").read_bytes()))
    directory.grant(world.app_id, {"Organization.Read.All"})
    directory.grant(world.app_id, (), EXCHANGE)
    return path


async def fogbell(*arguments: str) -> tuple[int, str]:
    done = await asyncio.to_thread(CliRunner().invoke, app, list(arguments))
    return done.exit_code, done.output


@pytest.mark.real
async def test_whoever_follows_the_page_gets_a_green_probe(tmp_path: Path) -> None:
    (tmp_path / "tenant").mkdir()
    async with tenant(tmp_path / "tenant") as running:
        config = str(followed(tmp_path, running))
        code, output = await fogbell("check", "--config", config)
        assert (code, "warning" in output) == (0, False), output
        code, output = await fogbell("permissions", "--config", config)
        assert code == 0
        assert "'Organization.Read.All'" in output
        code, output = await fogbell("permissions", "--check", "--config", config)
        assert (code, "exactly what is needed" in output) == (0, True), output
        code, output = await fogbell("once", "graph", "--config", config)
        assert code == 0, output
        assert "request" in output


@pytest.mark.real
async def test_the_key_stays_in_a_file_of_its_owner_alone(tmp_path: Path) -> None:
    (tmp_path / "tenant").mkdir()
    async with tenant(tmp_path / "tenant") as running:
        followed(tmp_path, running)
    pem = tmp_path / "fogbell.pem"
    assert pem.stat().st_mode & 0o777 == 0o600
    assert signer(pem.read_text()).thumbprint
    assert "PRIVATE" not in (tmp_path / "fogbell.cer").read_text()
    assert not (tmp_path / "fogbell.key").exists()


def test_every_command_on_the_page_exists_with_its_options() -> None:
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    shown = re.findall(r"(?:\.venv/bin/|`)fogbell (\w+)([^#`\n]*)", README)
    assert {"permissions", "check", "once", "run", "login"} <= {name for name, _ in shown}
    for name, words in shown:
        options = {option for parameter in group.commands[name].params for option in (*parameter.opts, *parameter.secondary_opts)}
        assert {word for word in words.split() if word.startswith("--")} <= options, (name, words)
