"""What can be known of the image without a container engine: its context, its rules, and that the program runs on what it holds."""

import fnmatch
import importlib.metadata
import json
import re
import shlex
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from tests.deploy.places import DEPLOY, ROOT, load_yaml
from tests.processes import answers, free_port, running

DOCKERFILE = DEPLOY / "Dockerfile"
COMPOSE = load_yaml(DEPLOY / "compose.yml")
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def instructions() -> list[tuple[str, str]]:
    """Return (instruction, its arguments) of the Dockerfile, continued lines joined."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if line and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in joined.splitlines())]


def of(instruction: str) -> list[str]:
    return [rest for word, rest in instructions() if word == instruction]


def copied_from_context() -> list[str]:
    return [path for rest in of("COPY") if not rest.startswith("--from") for path in shlex.split(rest)[:-1]]


def in_context(path: str) -> bool:
    """Whether .dockerignore lets a path into the build, where the last line that matches wins."""
    parents = [str(Path(*Path(path).parts[: n + 1])) for n in range(len(Path(path).parts))]
    allowed = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.lstrip("!").removeprefix("**/")
        names = [part for parent in parents for part in ((Path(parent).name, parent) if "**/" in line else (parent,))]
        if line and not line.startswith("#") and any(fnmatch.fnmatchcase(name, pattern) for name in names):
            allowed = line.startswith("!")
    return allowed


def test_the_image_is_built_only_from_what_exists_and_is_let_in() -> None:
    for path in copied_from_context():
        assert (ROOT / path).exists(), path
        assert in_context(path.rstrip("/")), path


@pytest.mark.parametrize("path", [".git/config", ".venv/bin/python", "deploy/secrets/token", "tests/servers.py", "agent/__pycache__/x.pyc"])
def test_nothing_else_can_slip_into_the_image(path: str) -> None:
    assert not in_context(path)


def test_the_image_holds_no_build_tools_and_does_not_run_as_root() -> None:
    words = [word for word, _ in instructions()]
    last_stage = words[len(words) - words[::-1].index("FROM") :]
    assert words.count("FROM") == 2
    assert of("USER") == ["65532:65532"]
    assert "USER" in last_stage
    assert not any("pip" in rest for word, rest in instructions()[-len(last_stage) :] if word == "RUN")


def test_the_image_is_pinned_healthy_and_told_where_its_things_are() -> None:
    assert of("ARG") == ["PYTHON=3.13-slim-bookworm"]
    assert of("EXPOSE") == ["9655"]
    assert of("VOLUME") == ["/var/lib/fogbell"]
    assert "/-/healthy" in of("HEALTHCHECK")[0]
    assert "[drill]" not in DOCKERFILE.read_text()


@pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)
def test_each_container_may_do_little_and_is_seen_only_on_this_machine(service: dict[str, Any]) -> None:
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert re.search(r":v?\d|:local$", service["image"])
    assert "privileged" not in service


@pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)
def test_what_is_mounted_exists_and_cannot_be_written(service: dict[str, Any]) -> None:
    for mount in service["volumes"]:
        source, _, rest = mount.partition(":")
        if source.startswith("."):
            assert (DEPLOY / source).exists(), source
            assert rest.endswith(":ro"), mount
        else:
            assert source in COMPOSE["volumes"]


def test_a_credential_needs_only_its_comment_signs_taken_off() -> None:
    text = re.sub(r"(?m)^( *)#(?=secrets:|contoso|  file:)", r"\1", (DEPLOY / "compose.yml").read_text())
    compose = yaml.safe_load(text)
    assert compose["services"]["fogbell"]["secrets"] == ["contoso.pem"]
    assert compose["secrets"]["contoso.pem"] == {"file": "./secrets/contoso.pem"}


def test_compose_builds_our_image_and_prometheus_finds_it() -> None:
    build = SERVICES["fogbell"]["build"]
    assert (DEPLOY / build["context"]).resolve() == ROOT
    assert ROOT / build["dockerfile"] == DOCKERFILE
    (entry,) = load_yaml(DEPLOY / "prometheus" / "targets" / "fogbell.yml")
    assert entry["targets"] == [f"fogbell:{of('EXPOSE')[0]}"]
    assert entry["labels"].keys() == {"site"}


def needed_by(found: importlib.metadata.Distribution) -> list[str]:
    """Return the names of what a distribution needs, without its extras."""
    needs = (Requirement(line) for line in found.requires or ())
    return [need.name for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]


def runtime_files(wanted: list[str]) -> set[Path]:
    """Return files and folders of the distributions named and of all that they need in turn."""
    seen: set[str] = set()
    files: set[Path] = set()
    while wanted:
        name = wanted.pop()
        if name not in seen:
            seen.add(name)
            found = importlib.metadata.distribution(name)
            wanted += needed_by(found)
            files |= {Path(str(found.locate_file(path.parts[0]))) for path in found.files or () if path.parts[0] != ".."}
    return files


def run(*command: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def copy_context(folder: Path) -> None:
    for path in copied_from_context():
        source = ROOT / path
        if source.is_dir():
            shutil.copytree(source, folder / path, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / path)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a fresh environment of the wheel that the image's context gives and run-time dependencies alone; return its bin folder."""
    folder = tmp_path_factory.mktemp("image")
    context = folder / "src"
    context.mkdir()
    copy_context(context)
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", folder, context)
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv" / "bin" / "python"
    (wheel,) = folder.glob("*.whl")
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel)
    packages = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'), end='')"))
    (fogbell,) = importlib.metadata.distributions(name="fogbell", path=[str(packages)])
    for path in runtime_files(needed_by(fogbell)):
        if not (packages / path.name).exists():
            (packages / path.name).symlink_to(path)
    return python.parent


def test_the_program_runs_on_what_the_image_holds(installed: Path, tmp_path: Path) -> None:
    assert "run" in run(installed / "fogbell", "--help", cwd=tmp_path)


def test_what_simulates_a_tenant_is_not_in_the_image(installed: Path, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="No module named 'trustme'"):
        run(installed / "python", "-c", "import trustme", cwd=tmp_path)


def test_the_shipped_configuration_is_accepted_by_the_installed_program(installed: Path, tmp_path: Path) -> None:
    run(installed / "fogbell", "check", "--config", DEPLOY / "config", cwd=tmp_path)


def test_the_installed_program_has_the_commands_for_permissions(installed: Path, tmp_path: Path) -> None:
    printed = run(installed / "fogbell", "permissions", "--config", ROOT / "config" / "example.yml", cwd=tmp_path)
    assert "New-MgApplication" in printed
    assert "az ad app create" in printed


def healthy(installed: Path, port: int) -> bool:
    """Whether the image's own health check is content with what listens on a port."""
    _, _, command = of("HEALTHCHECK")[0].partition(" CMD ")
    program, *arguments = json.loads(command.replace("127.0.0.1:9655", f"127.0.0.1:{port}"))
    return subprocess.run([installed / program, *arguments], capture_output=True, check=False).returncode == 0


def test_the_command_of_the_image_starts_an_agent_that_its_health_check_believes_in(installed: Path, tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "fogbell.yml").write_text(
        f"state_dir: {tmp_path / 'state'}\nprobes: [{{name: nobody, kind: http, url: 'http://127.0.0.1:{free_port()}/', interval: 60s}}]\n"
    )
    places = {"/etc/fogbell": str(tmp_path), "0.0.0.0:9655": f"127.0.0.1:{port}"}
    command = [str(installed / "fogbell"), *(places.get(word, word) for word in json.loads(of("CMD")[0]))]
    assert not healthy(installed, port)
    with running(command, tmp_path / "log", lambda: answers(f"http://127.0.0.1:{port}/-/ready")):
        assert healthy(installed, port)
