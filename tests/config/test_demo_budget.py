"""With every kind at its own default interval, the demonstration tenant stays under a tenth of every limit of Microsoft's that is known."""

from dataclasses import fields, replace
from io import StringIO
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from agent.config import Configuration, load
from agent.config.plan import plan, table
from agent.drill.tenant import tenant
from agent.job import Job
from probes import REGISTRY
from probes.core.contract import Probe
from probes.core.needs import NOTABLE_SHARE
from tests.surroundings import shown

RHYTHM = {"interval", "timeout", "allow_short_interval"}
NO_COSTS = next(field.default for field in fields(Probe) if field.name == "costs")
ASKING = {kind for kind, probe in REGISTRY.items() if probe.costs is not NO_COSTS}
"""The kinds that ask services with limits for something."""


def at_its_own_pace(text: str) -> str:
    """Take out of a configuration what makes its probes hurry."""
    written: dict[str, Any] = yaml.safe_load(text)
    probes = [{key: value for key, value in probe.items() if key not in RHYTHM} for probe in written["probes"]]
    return yaml.safe_dump({key: value for key, value in written.items() if key != "defaults"} | {"probes": probes})


def documented(kind: str, folder: Path) -> tuple[Job, ...]:
    """Return the probes that the documentation of a kind shows."""
    (folder / "shown.yml").write_text(at_its_own_pace(shown(kind)), encoding="utf-8")
    return load(folder / "shown.yml", secrets=False).jobs


async def patient(folder: Path) -> Configuration:
    """Load the demonstration at its own pace, and beside it the kinds it has none of, as their documentation shows them."""
    async with tenant(folder) as here:
        here.config.write_text(at_its_own_pace(here.config.read_text(encoding="utf-8")), encoding="utf-8")
        loaded = load(here.config)
    missing = sorted(ASKING - {job.kind for job in loaded.jobs})
    return replace(loaded, jobs=(*loaded.jobs, *(job for kind in missing for job in documented(kind, folder))))


async def test_all_kinds_together_ask_for_less_than_a_tenth_of_every_limit(tmp_path: Path) -> None:
    configuration = await patient(tmp_path)
    planned = plan(configuration)
    assert {job.kind for job in configuration.jobs} >= ASKING
    assert [job.name for job in configuration.jobs if job.interval != job.probe.interval] == []
    assert [(str(one.service), one.share) for one in planned.budgets if one.share > NOTABLE_SHARE] == []
    screen = StringIO()
    Console(file=screen, width=120).print(table(planned))
    assert "All of it stays under a tenth of every limit that is known" in screen.getvalue()
