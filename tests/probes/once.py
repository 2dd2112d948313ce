"""One run of a kind, as the agent would do it, with names that only tests have."""

from typing import Any

from agent.job import Job
from agent.runner import run_once
from probes import REGISTRY
from probes.core.context import Shared
from probes.core.contract import Run
from tests.probes.pages import lookup, read


async def once(kind: str, *, deadline: float = 5.0, shared: Shared | None = None, tenant: str = "", **settings: Any) -> Run:
    """Run `kind` with these settings until its end or the deadline."""
    probe = REGISTRY[kind]
    checked = probe.settings.model_validate(settings)
    job = Job("one", kind, probe, checked, 60.0, deadline, probe.place(checked), tenant=tenant)
    return await run_once(job, shared or Shared(lookup, read))
