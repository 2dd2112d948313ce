"""With every kind at its own default interval, the demonstration tenant stays under a tenth of every limit of Microsoft's that is known."""

from dataclasses import fields, replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from agent.config import Configuration, Secrets, load
from agent.config.plan import plan, table
from agent.drill.tenant import tenant
from agent.job import Job
from agent.runner import of_this_machine, run_once
from probes import REGISTRY
from probes.core.contract import Outcome, Probe
from probes.core.needs import LIMITS, NOTABLE_SHARE, Service
from probes.lib.usage import Usage
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


LOOK_AGAIN = {"mail_roundtrip", "purview_audit", "search_freshness", "teams_member"}
"""Kinds whose calls depend on how long something takes to be seen; what they declare is a typical run."""


async def test_a_run_asks_for_what_its_kind_declares(tmp_path: Path) -> None:
    async with tenant(tmp_path) as here:
        loaded = load(here.config)
        parts = of_this_machine(Secrets(loaded.secrets), loaded.tenants, loaded.state_dir)
        usage, contoso = parts.part(Usage), loaded.tenants["contoso"]
        for job in (job for job in loaded.jobs if job.kind in ASKING - LOOK_AGAIN):
            # The first run gets a token, and may clear away what is old.
            await run_once(job, parts)
            before, units = dict(_calls(usage)), usage.share(contoso, Service.FILES)
            assert (await run_once(job, parts)).outcome is Outcome.OK, job.name
            made = {service: calls - before.get(service, 0) for service, calls in _calls(usage) if calls != before.get(service, 0)}
            costs = [cost for cost in job.probe.costs(job.settings) if cost.service is not Service.LOGIN]
            assert made == {cost.service: cost.calls for cost in costs}, job.name
            for weight in (cost.weight for cost in costs if cost.service is Service.FILES):
                assert (usage.share(contoso, Service.FILES) - units) * LIMITS[Service.FILES][0].units == pytest.approx(weight), job.name


def _calls(usage: Usage) -> list[tuple[Service, int]]:
    """Return how often each service was called; who signs in gets a token when the old one ends."""
    return [(service, calls) for _, service, calls in usage.calls() if service is not Service.LOGIN]
