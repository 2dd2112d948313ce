"""An agent that is killed while an event of its lies in a calendar: the next start takes it out."""

import asyncio
import json
from pathlib import Path

import pytest

from agent.drill.faults import Drip, Effect, Fault, Latency, Where
from agent.drill.world import World
from agent.state import State
from probes.lib.tenant import Tenant
from tests.killed import Telling, calendar, start
from tests.probes.one_letter import once
from tests.probes.tenants import simulated


def arguments(state_dir: Path, tenant: Tenant, world: World) -> tuple[str, str, str, str]:
    """Return what a run has to know, as text."""
    told = tenant.model_dump(mode="json", exclude_defaults=True) | {"credential": {"secret": {"inline": world.secret}}}
    settings = {"account": {"via": "graph", "mailbox": world.people[0].mail}, "parts": ["event"]}
    return str(state_dir), json.dumps(told), json.dumps(settings), "mailbox"


async def on_the_ledger(state_dir: Path) -> int:
    state = State(state_dir)
    await state.open()
    found = len(state.outstanding("mail"))
    await state.close()
    return found


@pytest.mark.parametrize(
    ("operation", "effect", "made", "unknown"),
    # An event of which nobody knows whether it was made is looked for until its request must have ended.
    [("event_create", Latency(60), 0, [""]), ("event_read", Drip(0), 1, []), ("event_delete", Latency(60), 1, [])],
    ids=["while making it", "while reading it", "while removing it"],
)
async def test_what_a_killed_run_left_is_gone_after_the_next(
    tmp_path: Path, operation: str, effect: Effect, made: int, unknown: list[str]
) -> None:
    world = World()
    faults = world.faults = Telling(world.now)
    async with simulated(tmp_path, world) as (_, tenant):
        faults.set(Fault(effect, Where(operations=frozenset({operation}))))
        told = arguments(tmp_path, tenant, world)
        first = await start(*told)
        async with asyncio.timeout(30):
            await faults.hit.wait()
        first.kill()
        await first.wait()
        assert (len(calendar(world)), await on_the_ledger(tmp_path)) == (made, 1)
        faults.set()
        assert await once(*told) == {"outcome": "ok", "message": "", "cleanup_failed": False, "outstanding": unknown}
        assert calendar(world) == []
