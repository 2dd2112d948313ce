"""What is killed in tests, and when: a run or an agent in a process of its own, at the moment when the simulated tenant is asked."""

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from agent.drill.faults import Fault, Faults
from agent.drill.graph.calendar import Calendars, Event
from agent.drill.graph.post import Post
from agent.drill.world import World

_ROOT = Path(__file__).parents[1]


class Telling(Faults):
    """Faults that tell when the first of them has hit."""

    def __init__(self, now: Callable[[], float]) -> None:
        super().__init__(now)
        self.hit = asyncio.Event()

    def hits(self, *args: Any, **asked: Any) -> tuple[Fault, ...]:
        found = super().hits(*args, **asked)
        if found:
            self.hit.set()
        return found


async def start(*told: str) -> Process:
    """Start a run in a process of its own, which can be killed."""
    return await asyncio.create_subprocess_exec(sys.executable, "-m", "tests.probes.one_letter", *told, cwd=_ROOT)


@asynccontextmanager
async def agent(path: Path, world: World) -> AsyncIterator[Process]:
    """Run an agent as a process of its own."""
    command = (sys.executable, "-m", "agent", "run", "--config", str(path), "--listen", "127.0.0.1:0")
    process = await asyncio.create_subprocess_exec(
        *command, stdin=DEVNULL, stdout=PIPE, stderr=PIPE, cwd=_ROOT, env={**os.environ, "TENANT_SECRET": world.secret}
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def calendar(world: World) -> list[Event]:
    box = world.of(Post).mailbox(world.people[0].mail)
    return world.of(Calendars).of(box) if box else []
