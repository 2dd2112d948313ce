"""An agent that is killed in the middle of a round trip: the next start clears away what it left."""

import asyncio
import json
from pathlib import Path

import pytest

from agent.drill.faults import Drip, Effect, Fault, Latency, Where
from agent.drill.graph.post import Post
from agent.drill.world import World
from agent.state import State
from probes.lib.mail import graph
from probes.lib.tenant import Tenant
from tests.killed import Telling, start
from tests.probes.one_letter import once
from tests.probes.tenants import simulated


def left(world: World) -> list[str]:
    boxes = [world.of(Post).mailbox(person.mail) for person in world.people]
    return [each.folder for box in boxes if box for each in box.messages.values() if each.folder in graph.FOLDERS.values()]


def arguments(state_dir: Path, tenant: Tenant, world: World) -> tuple[str, str, str]:
    """Return what a run has to know, as text."""
    credential = {"secret": {"inline": world.secret}}
    settings = {
        "send": {"via": "graph", "from": world.people[0].mail},
        "receive": {"via": "graph", "mailbox": world.people[1].mail},
    }
    told = tenant.model_dump(mode="json", exclude_defaults=True) | {"credential": credential}
    return str(state_dir), json.dumps(told), json.dumps(settings)


@pytest.mark.parametrize(
    ("operation", "effect", "known", "after"),
    # A letter of which nobody knows whether it was taken is looked for until it is a day old.
    [("mail_send", Latency(60), "sending", ["sending"]), ("mail_list", Drip(0), "accepted", []), ("mail_delete", Drip(0), "arrived", [])],
    ids=["while submitting", "while waiting", "while clearing away"],
)
async def test_what_a_killed_run_left_is_gone_after_the_next(
    tmp_path: Path, operation: str, effect: Effect, known: str, after: list[str]
) -> None:
    world = World()
    faults = world.faults = Telling(world.now)
    async with simulated(tmp_path, world) as (_, tenant):
        world.of(Post).delay = 0.1
        faults.set(Fault(effect, Where(operations=frozenset({operation}))))
        told = arguments(tmp_path, tenant, world)
        first = await start(*told)
        async with asyncio.timeout(30):
            await faults.hit.wait()
        first.kill()
        await first.wait()
        assert await on_the_ledger(tmp_path) == [known]
        faults.set()
        assert await once(*told) == {"outcome": "ok", "message": "", "cleanup_failed": False, "outstanding": after}
        assert left(world) == []


async def on_the_ledger(state_dir: Path) -> list[str]:
    state = State(state_dir)
    await state.open()
    found = [kept.fact("state") for _, kept in state.artefacts()]
    await state.close()
    return found
