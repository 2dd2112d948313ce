"""The metrics as rows of a table. Labels are read off what the exporter writes, so that they are the ones it has."""

import re
from collections.abc import Iterator
from dataclasses import replace

from agent import __version__
from agent.exporter import CATALOGUE, Exporter
from agent.exporter.own import Own
from agent.job import Job
from probes.core.contract import Layer, Outcome, Place, Probe, Run, Settings, Step, Workload
from probes.core.reasons import Reason

_LABEL = re.compile(r'(\w+)="')


async def _nothing(_ctx: object, _settings: Settings) -> None:
    """Run no probe: only what the exporter says about one is wanted."""


def probe_metrics() -> Iterator[tuple[str, str, str, str]]:
    """Yield name, type, labels and meaning of each metric that every probe has."""
    exporter = _exporter_with_one_probe()
    lines = {family.name: b"".join(by_probe.values()).decode() for family, by_probe in exporter.families()}
    for family in CATALOGUE:
        labels = dict.fromkeys(_LABEL.findall(lines[family.name]))
        yield f"`{family.name}`", family.kind, ", ".join(f"`{label}`" for label in labels), family.help


def _exporter_with_one_probe() -> Exporter:
    """Return an exporter that has seen a probe succeed and fail, so that every family has a line."""
    place = Place(Layer.CONTROL, Workload.NETWORK)
    exporter = Exporter()
    exporter.describe(Job("shown", "shown", Probe(_nothing, Settings, lambda _: place, steps=()), Settings(), 60.0, 20.0, place))
    ok = Run("shown", 0.0, 1.0, Outcome.OK, steps=(Step("request", 0.0, 1.0, (("connect", 0.5),)),))
    exporter.publish(ok, None)
    exporter.publish(replace(ok, outcome=Outcome.FAILED, reason=Reason.TIMEOUT), 0.0)
    return exporter


def own_metrics() -> Iterator[tuple[str, str, str]]:
    """Yield name, type and meaning of each metric of the agent itself."""
    for family in Own(__version__).registry.collect():
        if family.name.startswith("fogbell_"):
            suffix = "_total" if family.type == "counter" else ""
            yield f"`{family.name}{suffix}`", family.type, family.documentation
