"""One run of a kind, and one round of clearing away after it, as the agent would do them, with names that only tests have."""

from time import perf_counter
from typing import Any

from agent.job import Job
from agent.runner import run_once
from probes import REGISTRY
from probes.core.context import Context, Shared
from probes.core.contract import Run
from tests.probes.pages import lookup, read


async def once(kind: str, *, deadline: float = 5.0, shared: Shared | None = None, tenant: str = "", **settings: Any) -> Run:
    """Run `kind` with these settings until its end or the deadline."""
    probe = REGISTRY[kind]
    checked = probe.settings.model_validate(settings)
    job = Job("one", kind, probe, checked, 60.0, deadline, probe.place(checked), tenant=tenant)
    return await run_once(job, shared or Shared(lookup, read))


async def cleared(
    kind: str, shared: Shared, *, name: str = "one", deadline: float = 10.0, is_removed: bool = False, **settings: Any
) -> Context:
    """Clear up what is left of a probe, in a context of its own, and return that: what failed stands in it."""
    probe = REGISTRY[kind]
    ctx = Context(name, shared, "contoso", deadline=perf_counter() + deadline, is_removed=is_removed)
    assert probe.clear is not None
    await probe.clear(ctx, probe.settings.model_validate(settings))
    return ctx
