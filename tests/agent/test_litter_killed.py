"""An agent that is killed while something of a probe's lies in a service, and comes back with the probe by another name: it is removed."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

from agent.drill.faults import Drip, Fault, Where
from agent.drill.world import World
from probes.lib.tenant import Tenant
from tests.killed import Telling, agent, calendar
from tests.probes.tenants import simulated


def configuration(folder: Path, tenant: Tenant, world: World, name: str, interval: str) -> Path:
    """Write the configuration of an agent with one probe that makes events."""
    told = tenant.model_dump(mode="json", exclude_defaults=True) | {"credential": {"secret": {"env": "TENANT_SECRET"}}}
    probe = {"name": name, "kind": "mailbox", "interval": interval, "timeout": "1s", "allow_short_interval": True}
    probe |= {"parts": ["event"], "account": {"via": "graph", "mailbox": world.people[0].mail}}
    path = folder / "fogbell.yml"
    path.write_text(json.dumps({"state_dir": str(folder / "state"), "tenants": {"contoso": told}, "probes": [probe]}))
    return path


async def until(stream: asyncio.StreamReader, words: bytes) -> AsyncIterator[bytes]:
    """Yield lines up to the one that has these words."""
    async for line in stream:
        yield line
        if words in line:
            return


async def test_what_a_killed_agent_left_is_removed_though_its_probe_was_renamed(tmp_path: Path) -> None:
    world = World()
    faults = world.faults = Telling(world.now)
    reading_back = Fault(Drip(0), Where(operations=frozenset({"event_read"})))
    async with simulated(tmp_path, world) as (_, tenant), asyncio.timeout(60):
        faults.set(reading_back)
        async with agent(configuration(tmp_path, tenant, world, "before", "1s"), world) as process:
            await faults.hit.wait()
            process.kill()
        assert calendar(world)
        faults.set()
        # A probe with an interval of days does not run meanwhile: it is not its runs that clear away.
        async with agent(configuration(tmp_path, tenant, world, "after", "7d"), world) as process:
            assert process.stderr is not None
            said = [line async for line in until(process.stderr, b"what a probe left is gone")]
        assert (b"probe=before" in said[-1], calendar(world)) == (True, [])
