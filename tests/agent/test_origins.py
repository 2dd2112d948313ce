"""What a probe was when it created something: enough to clear away after it."""

from pathlib import Path

from agent.config import load
from agent.origins import job_of_then, origins
from probes import REGISTRY


def test_every_kind_that_creates_something_can_be_cleared_with_the_settings_that_are_remembered() -> None:
    configuration = load(Path(__file__).parents[2] / "config" / "example.yml", secrets=False)
    creating = {one.kind: one for one in configuration.jobs if one.probe.clear is not None}
    assert {kind for kind, probe in REGISTRY.items() if probe.clear is not None} == creating.keys()
    known = origins(configuration)
    for job in creating.values():
        then = job_of_then("renamed", known[job.name], REGISTRY, configuration.tenants)
        assert (then.settings, then.kind, then.tenant) == (job.settings, job.kind, job.tenant)
