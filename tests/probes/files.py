"""A simulated tenant with the hosts that files need, for tests of the kinds that read and write them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from agent.drill import graph
from agent.drill.entra.directory import Directory
from agent.drill.entra.site import login_site
from agent.drill.faults import Content, Effect, Fault, Where
from agent.drill.graph import transfer
from agent.drill.graph.drives import Drive, Item
from agent.drill.graph.sites import BINARY_CANARY, OWN_CANARY, Sites
from agent.drill.hosting import serve_sites
from agent.drill.world import World
from probes.core.context import Context, Shared
from probes.core.contract import Run
from probes.lib.tenant import Tenants
from tests.probes.once import cleared, once
from tests.probes.tenants import among, drilled

SITE = "https://contoso.sharepoint.com/sites/Probe"
WRITTEN = "probe/fogbell-write.bin"
SAID = ("metadata", "redirect", "download", "verify")
WROTE = ("upload", "read_back")


@dataclass(frozen=True, slots=True)
class Files:
    """A tenant, what the runs of one agent share, and the drive that is watched by a probe of this kind and these settings."""

    world: World
    shared: Shared
    kind: str
    drive: Drive
    settings: dict[str, Any]

    async def run(self, *, deadline: float = 10.0, shared: Shared | None = None, **settings: Any) -> Run:
        whole = {"path": BINARY_CANARY, **self.settings, **settings}
        return await once(self.kind, deadline=deadline, shared=shared or self.shared, tenant="contoso", **whole)

    async def clear(self, probe: str = "one", *, is_removed: bool = True) -> Context:
        """Clear away as the agent does: in a context of its own, on the ledger of before."""
        settings = {"path": BINARY_CANARY, "write": True, **self.settings}
        return await cleared(self.kind, self.shared, name=probe, is_removed=is_removed, **settings)

    def fail(self, effect: Effect, *, hosts: Iterable[str] = (), operations: Iterable[str] = ()) -> None:
        self.world.faults.set(Fault(effect, Where(frozenset(hosts), frozenset(operations))))

    def spoil(self, how: Any) -> None:
        """Let this become of files."""
        self.fail(Content(how))

    def grant(self, *names: str) -> None:
        """Let the application have these permissions and no others, from its next token on."""
        self.world.of(Directory).grant(self.world.app_id, list(names))

    def put(self, content: bytes, path: str = WRITTEN) -> Item:
        item, _ = self.drive.write(path, content, self.world.now(), media_type="application/octet-stream", author="Somebody")
        return item

    def after_upload(self, do: Callable[[Item], object]) -> None:
        """Let somebody do this once, as soon as the probe's file is written and the answer to that is made."""
        self.during_upload(lambda item: asyncio.get_running_loop().call_soon(do, item))

    def during_upload(self, do: Callable[[Item], object]) -> None:
        """Let somebody do this once, between the writing of the probe's file and the answer to that."""

        def noted(_: Drive, item: Item, __: float) -> None:
            self.drive.noted = before
            do(item)

        before, self.drive.noted = self.drive.noted, noted

    @property
    def written(self) -> Item | None:
        return self.drive.at(WRITTEN)

    @property
    def outstanding(self) -> list[str]:
        return [one.fact("path") for one in self.shared.ledger.outstanding("one")]

    @property
    def without_tokens(self) -> Shared:
        """What another agent would share: its own tokens, another ledger."""
        return replace(Shared(self.shared.lookup, self.shared.secret), parts={Tenants: self.shared.part(Tenants)})


@asynccontextmanager
async def serving(folder: Path, kind: str) -> AsyncIterator[Files]:
    """Serve sign-in, Graph and the host of files while the block runs."""
    world = World()
    async with serve_sites(world, login_site(world), graph.site(world), transfer.site(world)) as authority:
        sites, user = world.of(Sites), world.people[0]
        of_site = kind == "sharepoint_file"
        drive = sites.probe_drive if of_site else sites.personal[user.id]
        files = Files(
            world,
            among(drilled(world, authority, folder)),
            kind,
            drive,
            {"site": SITE} if of_site else {"user": user.upn, "path": OWN_CANARY},
        )
        yield files


def names(run: Run) -> list[str]:
    return [step.name for step in run.steps]


def told(run: Run) -> dict[str, float]:
    return {sample.name: sample.value for sample in run.measured}
