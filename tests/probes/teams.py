"""A simulated tenant for the tests of one kind of Teams: its people, its teams, what its app may do, what is wrong."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.drill.entra.directory import Directory
from agent.drill.entra.permissions import APPLICATION
from agent.drill.faults import Effect, Fault, Where
from agent.drill.graph.consents import Consents
from agent.drill.graph.teams import PROBE_TEAM, Team, Teams
from agent.drill.graph.throttle import Limit, Throttle
from agent.drill.world import World
from agent.job import Job
from agent.runner import run_once
from probes import REGISTRY
from probes.core.context import Context, Shared
from probes.core.contract import Run
from probes.core.needs import Permission, Scope
from probes.lib.tenant import Tenant
from tests.probes.once import cleared
from tests.probes.tenants import among, simulated

NOBODY = "00000000-0000-4000-8000-00000000dead"


@dataclass(slots=True)
class Here:
    """A tenant, and what the runs of one agent share; a module's tests share it, and each begins with all in order."""

    kind: str
    world: World
    tenant: Tenant
    shared: Shared
    usual: dict[str, Any] = field(default_factory=dict)
    """Settings of runs that do not say otherwise."""

    @property
    def users(self) -> list[str]:
        return [person.id for person in self.world.people]

    @property
    def team(self) -> Team:
        return next(team for team in self.world.of(Teams).teams.values() if team.name == PROBE_TEAM)

    async def run(self, *, shared: Shared | None = None, deadline: float = 5.0, name: str = "one", **settings: Any) -> Run:
        """Run the kind once, as the agent would."""
        return await run_once(self._job(name, deadline, settings), shared or self.shared)

    async def clear(self, shared: Shared | None = None, **settings: Any) -> Context:
        """Let the kind clear what earlier runs left, as the agent would."""
        return await cleared(self.kind, shared or self.shared, **(self.usual | settings))

    def _job(self, name: str, deadline: float, settings: dict[str, Any]) -> Job:
        probe = REGISTRY[self.kind]
        checked = probe.settings.model_validate({**self.usual, **settings})
        return Job(name, self.kind, probe, checked, 60.0, deadline, probe.place(checked), tenant="contoso")

    def another_agent(self) -> Shared:
        """Return what the runs of another agent share, with a token and a ledger of its own."""
        return among(self.tenant)

    def wrong(self, effect: Effect, *operations: str) -> None:
        """Let something be wrong."""
        self.world.faults.add(Fault(effect, Where(operations=frozenset(operations))))

    def grant(self, permissions: Iterable[str] = APPLICATION) -> None:
        """Let the app have these permissions in the whole tenant, by its next token."""
        self.world.of(Directory).grant(self.world.app_id, permissions)

    def grant_least(self, needs: Iterable[Permission]) -> None:
        """Let the app have what a kind says it needs, and nothing more: some of it in one team alone."""
        every = tuple(needs)
        self.grant(need.name for need in every if need.scope is Scope.TENANT)
        for team in {target for need in every for target in need.targets}:
            self.world.of(Consents).give(self.world.app_id, team, [need.name for need in every if team in need.targets])

    def restore(self) -> None:
        """Put everything in order."""
        self.grant()
        self.world.faults.set()
        self.world.of(Consents).give(self.world.app_id, self.team.id, ())
        self.world.of(Throttle).limits["teams"] = Limit()


@asynccontextmanager
async def teams_of(kind: str, folder: Path, world: World | None = None) -> AsyncIterator[Here]:
    """Serve a tenant for the tests of a kind while the block runs. Tests call more often than Microsoft allows, and here they may."""
    async with simulated(folder, world) as (there, tenant):
        here = Here(kind, there, tenant, among(tenant))
        here.restore()
        yield here
