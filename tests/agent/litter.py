"""An agent's chore of clearing away, with a service in which probes make files, a ledger of its own and a clock that is moved by hand."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from agent.config import load
from agent.job import Job
from agent.litter import Litter
from agent.origins import origins
from agent.state import State
from probes.core.context import Context, Shared
from probes.core.contract import Failed, Probe, Secret, Settings, Stopped, always
from probes.core.ledger import Artefact
from probes.core.reasons import Reason
from probes.lib.cleanup import clear_each, creating
from probes.lib.tenant import Tenants, tenant_of
from tests.agent.jobs import PLACE, SHARED

GUID = "00000000-0000-0000-0000-00000000000"


@dataclass(slots=True)
class Service:
    """Where these probes make files: what lies in each folder, what was asked to be removed, and how that goes."""

    folders: dict[str, list[str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    heard: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    failure: str = ""
    closed_to_us: Stopped | None = None
    open: asyncio.Event = field(default_factory=asyncio.Event)

    async def remove(self, folder: str, name: str) -> bool:
        """Remove a file, once the service is open."""
        self.asked.append(name)
        self.heard.put_nowait(name)
        if self.failure:
            raise Failed(Reason.PERMISSION, self.failure)
        await self.open.wait()
        there = self.folders.get(folder, [])
        if name not in there:
            return False
        there.remove(name)
        return True

    def begin_anew(self) -> None:
        """Be empty, and answer at once."""
        self.folders, self.asked, self.failure, self.closed_to_us = {}, [], "", None
        self.heard, self.open = asyncio.Queue(), asyncio.Event()
        self.open.set()


SERVICE = Service()


class Filing(Settings):
    """Where files are made."""

    folder: str
    password: Secret | None = None


async def _run(_ctx: Context, _settings: Filing) -> None:
    raise AssertionError("no probe runs here")


async def _leave(ctx: Context, settings: Filing) -> None:
    with ctx.step("make"):
        async with creating(ctx, "file", "made") as artefact:
            SERVICE.folders.setdefault(settings.folder, []).append(artefact.id)
        raise Failed(Reason.CONTENT_MISMATCH, "not what was written")


async def _clear(ctx: Context, settings: Filing) -> None:
    tenant_of(ctx)
    if SERVICE.closed_to_us:
        raise SERVICE.closed_to_us
    await clear_each(ctx, lambda artefact: SERVICE.remove(settings.folder, artefact.id))


FILES = Probe(
    _run, Filing, place=lambda _: PLACE, steps=("make", "cleanup"), interval=60.0, timeout=5.0, tenant=lambda _: True, clear=_clear
)
KINDS: dict[str, Probe[Any]] = {
    "files": FILES,
    "barren": replace(FILES, clear=None),
    "leaving": replace(FILES, run=_leave, remembers=always),
}


async def leave(state: State, probe: str, folder: str, *names: str) -> None:
    """Leave files in a folder, and on the ledger."""
    for name in names:
        await state.record(probe, Artefact(name, "file", float(len(state.outstanding(probe))), (("folder", folder),)))
        SERVICE.folders.setdefault(folder, []).append(name)


@dataclass(slots=True)
class Probes:
    """The probes at work."""

    jobs: dict[str, Job] = field(default_factory=dict)
    running: set[str] = field(default_factory=set)
    failures: list[str] = field(default_factory=list)

    def is_running(self, name: str) -> bool:
        return name in self.running

    def count_cleanup_failure(self, name: str) -> None:
        self.failures.append(name)


@dataclass(slots=True)
class World:
    """An agent's litter, its probes, its ledger, and a clock that stands still unless it is moved."""

    state: State
    shared: Shared
    probes: Probes
    litter: Litter
    now: float = 0.0

    def configure(self, folder: Path, text: str) -> None:
        """Put a configuration in force."""
        path = folder / "fogbell.yml"
        path.write_text(text)
        configuration = load(path, registry=KINDS)
        known = origins(configuration)
        for name in [*self.probes.jobs, *known]:
            self.state.serve(name, known.get(name))
        self.shared.part(Tenants).put(configuration.tenants)
        self.probes.jobs.clear()
        self.probes.jobs.update({job.name: job for job in configuration.jobs})
        self.litter.look()

    async def settled(self) -> None:
        """Let the others work until nothing is being cleared."""
        async with asyncio.timeout(10):
            while self.litter._clearing or self.litter._wake.is_set():
                if self.litter._clearing:
                    await asyncio.wait(self.litter._clearing.values())
                await asyncio.sleep(0)

    async def later(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        self.litter._wake.set()
        await self.settled()


def tenants(number: int = 1, name: str = "contoso") -> str:
    return f"tenants: {{{name}: {{tenant_id: {GUID}{number}, client_id: {GUID}b, credential: {{managed_identity: {{}}}}}}}}\n"


def files(name: str = "files", folder: str = "reports", more: str = "", kind: str = "files") -> str:
    return f"  - {{name: {name}, kind: {kind}, folder: {folder}{more}}}\n"


CONFIGURED = f"{tenants()}probes:\n{files()}"
OTHER = files("other", "other")
NOBODY = f"{tenants()}probes:\n{OTHER}"
IN_PLACE = files(more=", password: canary-secret")


@asynccontextmanager
async def agent(folder: Path, text: str = CONFIGURED) -> AsyncIterator[World]:
    """Let an agent's litter work."""
    state = State(folder / "state")
    await state.open()
    shared, probes = replace(SHARED, ledger=state, parts={}), Probes()
    world = World(state, shared, probes, Litter(shared, state, KINDS, probes, lambda: world.now))
    world.configure(folder, text)
    work = asyncio.create_task(world.litter.work())
    try:
        yield world
    finally:
        work.cancel()
        await asyncio.wait({work})
        await state.close()


def said(caplog: pytest.LogCaptureFixture) -> Callable[[], list[dict[str, str]]]:
    """Return what the log says from now on, with its facts."""
    caplog.set_level(logging.INFO, "fogbell.litter")

    def lines() -> list[dict[str, str]]:
        facts = ("probe", "kind", "left", "why", "where")
        found = [record for record in caplog.records if record.name == "fogbell.litter"]
        return [{"says": one.message} | {name: vars(one)[name] for name in facts if name in vars(one)} for one in found]

    return lines
