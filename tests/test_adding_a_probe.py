"""A kind is one file, one test and one line in the registry: the probe of probes/README.md is added so, and all the rest follows by itself.

The file is found where Python finds the others, the line is written into the registry while a test runs, and no other file is touched.
"""

import inspect
import json
import re
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from aiohttp import ClientSession
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from typer.testing import CliRunner

import probes
from agent.__main__ import app
from agent.config import ConfigurationError, load
from agent.docs import REFERENCE, SCHEMA, generate
from agent.exporter import Renderer
from agent.exporter.own import Own
from agent.history import History
from agent.job import Job
from agent.runner import run_once
from agent.watch import Watch
from agent.waterfall import draw
from agent.web import Feed
from probes import REGISTRY
from probes.core.contract import Outcome, Run
from probes.core.reasons import Reason
from tests import test_every_probe as owed
from tests.agent.jobs import SHARED
from tests.fakes.scripted import plays
from tests.surroundings import EXAMPLE, shown
from tests.web.serving import World, serving, site

KIND, GREETING = "ssh", "SSH-2.0-OpenSSH_9.9"
_CODE = re.compile(r"^````python\n(.*?)^````$", re.DOTALL | re.MULTILINE)
PAGE = (owed.ROOT / "probes/README.md").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def _added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Add the file, the test and the line."""
    (code,) = _CODE.findall(PAGE)
    (tmp_path / "probes").mkdir()
    (tmp_path / "probes" / f"{KIND}.py").write_text(code, encoding="utf-8")
    (tmp_path / "tests" / "probes").mkdir(parents=True)
    (tmp_path / "tests" / "probes" / f"test_{KIND}.py").write_text("async def test_a_greeting_is_read() -> None: ...\n", encoding="utf-8")
    monkeypatch.setattr(probes, "__path__", [*probes.__path__, str(tmp_path / "probes")])
    monkeypatch.setitem(REGISTRY, KIND, import_module(f"probes.{KIND}").PROBE)
    yield
    del sys.modules[f"probes.{KIND}"]
    delattr(probes, KIND)


@dataclass(frozen=True)
class Ran:
    """The new kind after one run against a server of its protocol."""

    job: Job
    run: Run


@pytest.fixture
async def ran(tmp_path: Path) -> AsyncIterator[Ran]:
    async with plays(f"S: {GREETING}") as (host, port):
        (job,) = load(written(tmp_path, f"probes: [{{name: jump-host, kind: {KIND}, host: {host}, port: {port}}}]")).jobs
        yield Ran(job, await run_once(job, SHARED))


def written(folder: Path, text: str) -> Path:
    path = folder / "fogbell.yml"
    path.write_text(text, encoding="utf-8")
    return path


def owes() -> list[Any]:
    """Return the tests that every kind is held to."""
    found = [each for _, each in inspect.getmembers(owed, inspect.isfunction) if owed.every_kind.mark in getattr(each, "pytestmark", ())]
    return [pytest.param(each, id=each.__name__) for each in found]


@pytest.mark.parametrize("test", owes())
def test_it_owes_nothing(test: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owed, "ROOT", tmp_path)
    test(KIND, tmp_path) if "tmp_path" in inspect.signature(test).parameters else test(KIND)


def test_there_is_something_to_owe() -> None:
    assert len(owes()) >= 8


def test_the_generated_pages_tell_of_it() -> None:
    page = generate()[REFERENCE]
    assert f"\n### `{KIND}`\n" in page
    assert "Steps: `connect`, `greeting`." in page
    assert f"\n| `fogbell_{KIND}_greeting_bytes` | `probe` | Length of the line. |\n" in page
    assert "\n| `host` | text | **required** | Name or address of the server. |\n" in page


@pytest.mark.parametrize(("port", "right"), [(22, True), (70_000, False)])
def test_editors_and_the_loader_know_its_settings(port: int, right: bool, tmp_path: Path) -> None:  # noqa: FBT001 - a table
    text = f"probes: [{{name: a, kind: {KIND}, host: jump.example.org, port: {port}}}]"
    judge = jsonschema.Draft202012Validator(json.loads(generate()[SCHEMA]))
    assert judge.is_valid(yaml.safe_load(text)) is right
    if right:
        assert [job.kind for job in load(written(tmp_path, text)).jobs] == [KIND]
    else:
        with pytest.raises(ConfigurationError, match="port"):
            load(written(tmp_path, text))


@pytest.mark.parametrize(
    ("command", "said"),
    [("check", "1 probe, 1,440 runs a day"), ("permissions", "no permissions, for no probes")],
    ids=["check", "permissions"],
)
def test_the_commands_know_it(command: str, said: str, tmp_path: Path) -> None:
    contoso = yaml.safe_dump({"tenants": yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))["tenants"]})
    path = written(tmp_path, f"{shown(KIND)}\n{contoso}")
    done = CliRunner().invoke(app, [command, "--config", str(path), *(["--no-secrets"] if command == "check" else [])])
    assert done.exit_code == 0
    assert said in " ".join(done.output.split())


async def test_its_run_is_drawn_step_by_step(ran: Ran) -> None:
    screen = StringIO()
    Console(file=screen, width=100).print(draw(ran.run))
    assert (ran.run.outcome, ran.run.reason) == (Outcome.OK, None)
    assert all(word in screen.getvalue() for word in ("connect", "greeting", GREETING))


async def test_its_failure_has_a_step_and_a_reason(tmp_path: Path) -> None:
    async with plays("S: 220 mail.example.org") as (host, port):
        (job,) = load(written(tmp_path, f"probes: [{{name: a, kind: {KIND}, host: {host}, port: {port}}}]")).jobs
        run = await run_once(job, SHARED)
    assert (run.failed_step, run.reason) == ("greeting", Reason.PROTOCOL_ERROR)


async def test_its_metrics_are_exported(ran: Ran) -> None:
    own = Own("1.2.3")
    watch = Watch(SHARED, own, None, Feed(), histograms=True)
    watch.exporter.describe(ran.job)
    watch.exporter.publish(ran.run, None)
    renderer = Renderer(watch.exporter, own.registry)
    scraped = await renderer("text/plain", "")
    renderer.close()
    families = text_string_to_metric_families(b"".join(scraped.chunks).decode())
    samples = {(sample.name, sample.labels.get("step", "")): sample.value for family in families for sample in family.samples}
    assert samples[f"fogbell_{KIND}_greeting_bytes", ""] == len(GREETING)
    assert {("fogbell_probe_step_duration_seconds", step) for step in ("connect", "greeting")} <= samples.keys()


async def test_the_status_page_shows_it(ran: Ran) -> None:
    history = History()
    history.record(ran.run)
    async with serving(site(World(history, (ran.job,), now=ran.run.started))) as url, ClientSession() as session:
        pages = [await (await session.get(f"{url}{path}")).text() for path in ("/", "/probe/jump-host")]
    assert all("jump-host" in page for page in pages)
    assert GREETING in pages[1]
