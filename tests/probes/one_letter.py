"""One run of a mail probe in a process of its own, with the agent's ledger on disk: what a test can kill at any moment.

`python -m tests.probes.one_letter STATE_DIR TENANT_JSON SETTINGS_JSON [KIND]` prints how the run ended.
"""

import asyncio
import json
import sys
from pathlib import Path

from agent.job import Job
from agent.runner import of_this_machine, run_once
from agent.state import State
from probes import REGISTRY
from probes.lib.tenant import Tenant
from tests.lib.signing_in import inline


async def main(state_dir: str, tenant: str, settings: str, kind: str = "mail_roundtrip") -> None:
    """Run once."""
    state = State(Path(state_dir))
    await state.open()
    shared = of_this_machine(inline, {"contoso": Tenant.model_validate_json(tenant)}, state_dir, state)
    probe = REGISTRY[kind]
    checked = probe.settings.model_validate_json(settings)
    run = await run_once(Job("mail", kind, probe, checked, 300.0, 20.0, probe.place(checked), tenant="contoso"), shared)
    left = [kept.fact("state") for kept in state.outstanding("mail")]
    await state.close()
    print(json.dumps({"outcome": run.outcome, "message": run.message, "cleanup_failed": run.cleanup_failed, "outstanding": left}))  # noqa: T201 - read by a test


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
