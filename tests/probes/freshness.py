"""A simulated tenant whose clock and index a test moves, with a file of its own for each test of how far search is behind."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from agent.drill import graph
from agent.drill.entra.directory import Directory
from agent.drill.entra.permissions import APPLICATION
from agent.drill.entra.site import login_site
from agent.drill.faults import Effect, Fault, Where
from agent.drill.graph import transfer
from agent.drill.graph.drives import TERABYTE, Drive, Item
from agent.drill.graph.index import Index
from agent.drill.graph.sites import Sites
from agent.drill.hosting import serve_sites
from agent.drill.world import World
from probes.core.context import Context, Shared
from probes.core.contract import Run
from probes.core.ledger import MemoryLedger
from probes.lib.tenant import Tenant
from probes.search_freshness import HOUR
from tests.probes.once import cleared, once
from tests.probes.tenants import among, drilled

SITE = {"site": "https://contoso.sharepoint.com/sites/Probe"}
MINUTE, LAG = 60.0, 300.0


@dataclass(slots=True)
class Clock:
    """The clock of the tenant, which a test moves forward."""

    ahead: float = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead

    def forward(self, seconds: float) -> None:
        self.ahead += seconds


@dataclass(frozen=True, slots=True)
class Here:
    """A tenant, its index and clock, and a file for each test."""

    world: World
    tenant: Tenant
    clock: Clock
    path: str = ""
    ledger: MemoryLedger = field(default_factory=MemoryLedger)

    async def run(self, *, deadline: float = 10.0, shared: Shared | None = None, **settings: Any) -> Run:
        """Run once, as after a restart: with nothing kept but the ledger."""
        whole = {"drive": SITE, "path": self.path, **settings}
        return await once("search_freshness", deadline=deadline, shared=shared or self.agent(), tenant="contoso", **whole)

    def agent(self) -> Shared:
        made = among(self.tenant)
        return Shared(made.lookup, made.secret, parts=made.parts, ledger=self.ledger)

    async def clear(self, *, is_removed: bool) -> Context:
        return await cleared("search_freshness", self.agent(), is_removed=is_removed, drive=SITE, path=self.path)

    async def age(self) -> None:
        """Let so much time go by that no request of before can make anything any more."""
        for one in self.ledger.outstanding("one"):
            await self.ledger.record("one", replace(one, created=one.created - 301))

    def wrong(self, effect: Effect, *operations: str, hosts: frozenset[str] = frozenset()) -> None:
        self.world.faults.set(Fault(effect, Where(hosts, frozenset(operations))))

    def put(self, text: str) -> Item:
        item, _ = self.drive.write(self.path, text.encode(), self.world.now(), media_type="text/plain", author="Somebody")
        return item

    @property
    def drive(self) -> Drive:
        return self.world.of(Sites).probe_drive

    @property
    def index(self) -> Index:
        return self.world.of(Index)

    @property
    def item(self) -> Item | None:
        return self.drive.at(self.path)

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()[2:]

    @property
    def text(self) -> str:
        return (self.item.content or b"").decode() if self.item else ""

    @property
    def outstanding(self) -> list[str]:
        return [one.fact("path") for one in self.ledger.outstanding("one")]


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Here]:
    """Serve sign-in, Graph and the host of files while the block runs."""
    clock = Clock()
    world = World(clock=clock)
    async with serve_sites(world, login_site(world), graph.site(world), transfer.site(world)) as authority:
        yield Here(world, drilled(world, authority, folder), clock)


def in_order(tenant: Here, name: str) -> Here:
    """Put everything in order, let an hour pass, and return the tenant with the file of the test of this name."""
    tenant.world.faults.set()
    tenant.index.lag = LAG
    tenant.clock.forward(HOUR)
    tenant.world.of(Directory).grant(tenant.world.app_id, APPLICATION)
    tenant.drive.quota = TERABYTE
    return Here(tenant.world, tenant.tenant, tenant.clock, f"freshness/{crc32(name.encode())}.txt")


def told(run: Run) -> dict[str, float]:
    names = ("age_seconds", "behind_seconds", "unindexed_writes")
    return {sample.name: round(sample.value) for sample in run.measured if sample.name in names}


def near(seconds: float) -> Any:
    return pytest.approx(seconds, abs=30)


def steps(run: Run) -> list[str]:
    return [step.name for step in run.steps]


FIRST = (
    "Fogbell overwrites this file once an hour to see how far search is behind. It may be deleted: the next run places it anew.",
    "Each line has a word to search for, and when it was written.",
)
