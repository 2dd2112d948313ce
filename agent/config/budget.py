"""What a configuration will ask of Microsoft's services, set against the limits that are known. No clocks, no sockets."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil

from agent.config.durations import in_words
from agent.job import Job
from probes.core.needs import LIMITS, NOTABLE_SHARE, Cost, Limit, Service

_DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Budget:
    """What probes of one tenant ask of one service: calls a day, and the units of the busiest window of one limit.

    A limit for a second is set against the busiest minute (`Limit.watched`).
    """

    tenant: str
    service: Service
    calls: float
    units: float = 0.0
    limit: Limit | None = None

    @property
    def share(self) -> float:
        """Part of the limit that is used in its busiest window; 0 where no limit is known."""
        return self.units / self.limit.units if self.limit else 0.0

    @property
    def warning(self) -> str:
        """What is to be said about it, or ""."""
        if self.limit is None or not self.limit.is_notable(self.units):
            return ""
        busiest = f"{self.units:,.0f} of the {self.limit.units:,.0f} units that {self.service} allows in {in_words(self.limit.seconds)}"
        return f"{self.tenant} may ask for {busiest}, {self.share:.0%}: above a tenth, being turned away may be our own doing"

    @property
    def is_above(self) -> bool:
        """Whether it is more than a tenth of the limit."""
        return self.share > NOTABLE_SHARE


def budgets(jobs: Iterable[Job]) -> tuple[Budget, ...]:
    """Add up what good runs of the jobs ask for, by tenant, service and limit. Limits for each of many are taken as if there were one."""
    asked = [(job, cost) for job in jobs for cost in job.probe.costs(job.settings)]
    of_graph = {(job.tenant, Service.GRAPH) for job, cost in asked if cost.service is not Service.LOGIN}
    pairs = sorted({(job.tenant, cost.service) for job, cost in asked} | of_graph)
    return tuple(
        budget
        for tenant, service in pairs
        for budget in _budgets(
            tenant, service, [(job, cost) for job, cost in asked if job.tenant == tenant and _counts(cost.service, service)]
        )
    )


def used(jobs: Iterable[Job]) -> set[tuple[str, Service]]:
    """Return which tenants (by name) will use which services; whoever signs in to a tenant uses its token service."""
    services = ((job.tenant, [cost.service for cost in job.probe.costs(job.settings)], job.probe.tenant(job.settings)) for job in jobs)
    return {(tenant, one) for tenant, asked, signs_in in services for one in (*asked, *([Service.LOGIN] if signs_in else []))}


def _budgets(tenant: str, service: Service, asked: Sequence[tuple[Job, Cost]]) -> list[Budget]:
    """Set what is asked of a service against each of its limits; without any known, there are the calls alone."""
    calls = sum(cost.calls * _DAY / job.interval for job, cost in asked)
    limits = [limit.watched for limit in LIMITS[service]]
    weighed = [(job.interval, cost.weight if cost.service is service else cost.calls) for job, cost in asked]
    return [Budget(tenant, service, calls, _busiest(weighed, limit), limit) for limit in limits] or [Budget(tenant, service, calls)]


def _counts(asked: Service, service: Service) -> bool:
    """Say whether a call counts against a service's limit; Graph's own is for all calls together."""
    return asked is service or (service is Service.GRAPH and asked is not Service.LOGIN)


def _busiest(asked: Iterable[tuple[float, float]], limit: Limit) -> float:
    """Return the units of a window into which as many starts fall as can, from intervals and the units of each start."""
    return sum(ceil(limit.seconds / interval) * units for interval, units in asked)
