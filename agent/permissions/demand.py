"""What the probes of a configuration need of each tenant, put together."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from agent.job import Job
from probes.core.needs import WIDER, Api, Grant, Permission, Registration, Scope
from probes.lib.tenant import Tenant


@dataclass(frozen=True, slots=True)
class Need:
    """One permission that a tenant has to give, with the probes that need it and what each of them says it is for."""

    name: str
    api: Api
    grant: Grant
    scope: Scope
    probes: tuple[str, ...]
    whys: tuple[str, ...]
    targets: tuple[str, ...]
    writes: bool

    @property
    def in_entra(self) -> bool:
        """Whether Entra holds the grant: what is narrowed to mailboxes or a team is granted there and nowhere else."""
        return self.grant is Grant.DELEGATED or self.scope not in {Scope.MAILBOXES, Scope.TEAM}


@dataclass(frozen=True, slots=True)
class Demand:
    """All that the probes of one tenant need there. `probes` are those that sign in to it.

    `registration` is what the application's registration has to say for all of them together.
    """

    name: str
    tenant: Tenant
    needs: tuple[Need, ...]
    probes: tuple[str, ...]
    registration: Registration

    def of(self, grant: Grant, api: Api) -> tuple[Need, ...]:
        """Return what Entra has to grant this way for this API."""
        return tuple(need for need in self.needs if need.in_entra and (need.grant, need.api) == (grant, api))

    def wider(self, grant: Grant, name: str) -> str:
        """Return the permission that is needed anyway and lets do all that this one does, or ""."""
        covering = WIDER.get(name, frozenset())
        return next((need.name for need in self.needs if need.grant is grant and need.name in covering), "")

    @property
    def in_ediscovery(self) -> bool:
        """Whether the application uses eDiscovery, which besides the permission wants it in a role group of Purview.

        Source: learn.microsoft.com/graph/security-ediscovery-appauthsetup.
        """
        return any(need.name.startswith("eDiscovery.") and need.grant is Grant.APPLICATION for need in self.needs)

    def narrowed(self, scope: Scope) -> tuple[Need, ...]:
        """Return the application permissions that are narrowed this way."""
        return tuple(need for need in self.needs if need.scope is scope and need.grant is Grant.APPLICATION)


def demands(jobs: Iterable[Job], tenants: Mapping[str, Tenant]) -> tuple[Demand, ...]:
    """Return what each tenant has to give, in the order of the configuration."""
    every = tuple(jobs)
    return tuple(_demand(name, tenant, tuple(job for job in every if job.tenant == name)) for name, tenant in tenants.items())


def _demand(name: str, tenant: Tenant, jobs: tuple[Job, ...]) -> Demand:
    found: dict[tuple[Grant, Api, Scope, str], list[tuple[str, Permission]]] = {}
    for job in jobs:
        for wanted in job.probe.permissions(job.settings):
            found.setdefault((wanted.grant, wanted.api, wanted.scope, wanted.name), []).append((job.name, wanted))
    needs = _fewest(tuple(_need(asked) for _, asked in sorted(found.items())))
    return Demand(
        name, tenant, needs, tuple(sorted(job.name for job in jobs if job.probe.tenant(job.settings))), _registration(jobs, needs)
    )


def _fewest(needs: tuple[Need, ...]) -> tuple[Need, ...]:
    """Leave out what a wider permission that is needed anyway covers, and let that one say whom it is for."""
    return tuple(_with(need, needs) for need in needs if not any(_covers(wide, need) for wide in needs))


def _covers(wide: Need, need: Need) -> bool:
    """Say whether `need` is superfluous beside `wide`: one for some mailboxes or sites covers nothing elsewhere."""
    if wide.name not in WIDER.get(need.name, ()) or (wide.grant, wide.api) != (need.grant, need.api):
        return False
    return wide.scope is Scope.TENANT or (
        wide.scope is need.scope and set(need.targets) <= set(wide.targets) and bool(need.targets) == bool(wide.targets)
    )


def _with(wide: Need, needs: tuple[Need, ...]) -> Need:
    """Add to a permission those that it covers."""
    every = (wide, *(need for need in needs if _covers(wide, need)))
    probes = _once(sorted(probe for need in every for probe in need.probes))
    return replace(wide, probes=probes, whys=_once(why for need in every for why in need.whys), writes=any(need.writes for need in every))


def _registration(jobs: tuple[Job, ...], needs: tuple[Need, ...]) -> Registration:
    """Put together what the probes need of the registration. To act for a user, `fogbell login` needs public client flows."""
    wanted = [job.probe.registration(job.settings) for job in jobs]
    redirects = _once(sorted(redirect for one in wanted for redirect in one.redirects))
    delegated = any(need.grant is Grant.DELEGATED for need in needs)
    return Registration(redirects, public_flows=delegated or any(one.public_flows for one in wanted))


def _need(asked: list[tuple[str, Permission]]) -> Need:
    _, first = asked[0]
    probes = _once(sorted(probe for probe, _ in asked))
    whys = _once(wanted.why for _, wanted in asked)
    targets = _once(target for _, wanted in asked for target in wanted.targets)
    return Need(first.name, first.api, first.grant, first.scope, probes, whys, targets, any(wanted.writes for _, wanted in asked))


def _once(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(words))
