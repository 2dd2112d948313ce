"""One run of a mail probe in a process of its own, with the agent's ledger on disk: what a test can kill at any moment.

`python -m tests.probes.one_letter STATE_DIR TENANT_JSON SETTINGS_JSON [KIND]` runs it; a test that wants to know how it
ends calls `once`.
"""

import asyncio
import sys
from pathlib import Path
from typing import Any

from agent.job import Job
from agent.runner import of_this_machine, run_once
from agent.state import State
from probes import REGISTRY
from probes.lib.tenant import Tenant
from tests.lib.signing_in import inline


async def once(state_dir: str, tenant: str, settings: str, kind: str = "mail_roundtrip") -> dict[str, Any]:
    """Run once, with the ledger in this folder, and say how it ended and what is left on the ledger."""
    state = State(Path(state_dir))
    await state.open()
    shared = of_this_machine(inline, {"contoso": Tenant.model_validate_json(tenant)}, state_dir, state)
    probe = REGISTRY[kind]
    checked = probe.settings.model_validate_json(settings)
    run = await run_once(Job("mail", kind, probe, checked, 300.0, 20.0, probe.place(checked), tenant="contoso"), shared)
    left = [kept.fact("state") for kept in state.outstanding("mail")]
    await state.close()
    return {"outcome": run.outcome, "message": run.message, "cleanup_failed": run.cleanup_failed, "outstanding": left}


if __name__ == "__main__":
    asyncio.run(once(*sys.argv[1:]))
