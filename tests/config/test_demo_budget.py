"""With every kind at its own default interval, the demonstration tenant stays under a tenth of every limit of Microsoft's that is known."""

from collections.abc import AsyncIterator
from dataclasses import fields
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from agent.config import Configuration, load
from agent.config.plan import plan, table
from agent.drill.tenant import tenant
from probes import REGISTRY
from probes.core.contract import Probe
from probes.core.needs import NOTABLE_SHARE

RHYTHM = {"interval", "timeout", "allow_short_interval"}
NO_COSTS = next(field.default for field in fields(Probe) if field.name == "costs")


def at_its_own_pace(text: str) -> str:
    """Take out of a configuration what makes the demonstration hurry."""
    written: dict[str, Any] = yaml.safe_load(text)
    probes = [{key: value for key, value in probe.items() if key not in RHYTHM} for probe in written["probes"]]
    return yaml.safe_dump({key: value for key, value in written.items() if key != "defaults"} | {"probes": probes})


@pytest.fixture
async def patient(tmp_path: Path) -> AsyncIterator[Configuration]:
    async with tenant(tmp_path) as here:
        here.config.write_text(at_its_own_pace(here.config.read_text(encoding="utf-8")), encoding="utf-8")
        yield load(here.config)


async def test_the_demonstration_asks_for_less_than_a_tenth_of_every_limit(patient: Configuration) -> None:
    planned = plan(patient)
    assert [(str(one.service), one.share) for one in planned.budgets if one.share > NOTABLE_SHARE] == []
    screen = StringIO()
    Console(file=screen, width=120).print(table(planned))
    assert "All of it stays under a tenth of every limit that is known" in screen.getvalue()


async def test_the_demonstration_has_every_kind_that_costs_calls_at_its_default_interval(patient: Configuration) -> None:
    assert {job.interval for job in patient.jobs if job.interval != job.probe.interval} == set()
    asking = {kind for kind, probe in REGISTRY.items() if probe.costs is not NO_COSTS}
    assert asking - {job.kind for job in patient.jobs if job.probe.costs(job.settings)} == set()
