"""An agent that is killed in the middle of all probes that create something: after the next start nothing of theirs is in the tenant."""

import asyncio
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from agent.drill.faults import Drip, Effect, Fault, Faults, Latency, Where
from agent.drill.graph.post import Post
from agent.drill.tenant import tenant
from agent.drill.world import World
from probes import REGISTRY
from tests.creating import creating, inventory
from tests.killed import agent


class Told(Faults):
    """Faults that tell which operations they have hit, and when anything is asked for."""

    def __init__(self, world: World) -> None:
        super().__init__(world.now)
        self.hit: set[str] = set()
        self.asked = asyncio.Event()

    def hits(self, *args: Any, **asked: Any) -> tuple[Fault, ...]:
        found = super().hits(*args, **asked)
        self.hit |= {asked.get("operation", "")} if found else set()
        self.asked.set()
        return found

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds, looked at whenever the tenant is asked for something and has answered."""
        while not holds():
            self.asked.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self.asked.wait(), 0.2)


MOMENTS: dict[str, tuple[Mapping[str, str], Effect]] = {
    "while the service has made it and not said so": (
        {
            "mail_roundtrip": "mail_send",
            "teams_message": "message_send",
            "teams_meeting": "meeting_create",
            "sharepoint_file": "file_upload",
            "onedrive_file": "file_upload",
            "search_freshness": "file_upload",
        },
        Drip(0),
    ),
    "while reading it back": ({"mailbox": "event_read", "teams_message": "message_get", "teams_meeting": "meeting_get"}, Latency(60)),
    "while removing it": (
        {
            "mail_roundtrip": "mail_delete",
            "mailbox": "event_delete",
            "teams_message": "message_delete",
            "teams_meeting": "meeting_delete",
            "teams_member": "member_remove",
        },
        Latency(60),
    ),
}
"""Where each kind is when the agent is killed: the operation that is asked for, and what keeps it from ending."""


def test_every_kind_of_the_demo_that_creates_something_is_killed() -> None:
    shown = re.findall(r"^    kind: (\w+)$", (resources.files("agent.drill") / "tenant.yml").read_text(encoding="utf-8"), re.MULTILINE)
    creates = {kind for kind in shown if REGISTRY[kind].clear is not None}
    assert {kind for operations, _ in MOMENTS.values() for kind in operations} == creates


@pytest.mark.parametrize("moment", MOMENTS)
async def test_after_a_kill_in_the_middle_of_every_probe_the_next_start_leaves_nothing(tmp_path: Path, moment: str) -> None:
    operations, effect = MOMENTS[moment]
    world = World()
    faults = world.faults = Told(world)
    world.of(Post).delay = 0.0
    async with tenant(tmp_path, world) as running, asyncio.timeout(50):
        before = inventory(world)
        faults.set(Fault(effect, Where(operations=frozenset(operations.values()))))
        creating(running.config, "first-", "3s")
        async with agent(running.config, world) as process:
            await faults.until(lambda: faults.hit >= set(operations.values()))
            process.kill()
        assert inventory(world) != before
        faults.set()
        creating(running.config, "again-", "7d")
        async with agent(running.config, world):
            with suppress(TimeoutError):
                async with asyncio.timeout(20):
                    await faults.until(lambda: inventory(world) == before)
        assert inventory(world) == before
