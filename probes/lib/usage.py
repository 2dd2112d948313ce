"""How much we ask of each service: calls since the agent started, and units in the window of every limit that is known.

A 503 is an outage, unless what we ourselves asked explains it. Only our own counting can tell: what the answer says does not.
"""

from array import array
from collections.abc import Callable, Iterable
from time import perf_counter

from probes.core.needs import LIMITS, Limit, Service
from probes.lib.tenant import Tenant

_BUCKETS = 60


class Window:
    """Units within the last seconds of one limit, to a sixtieth of its length."""

    __slots__ = ("_at", "_units", "_width", "limit")

    def __init__(self, limit: Limit) -> None:
        self.limit = limit
        self._width = limit.seconds / _BUCKETS
        self._units = array("d", bytes(8 * _BUCKETS))
        self._at = 0

    def add(self, now: float, units: float) -> None:
        """Count units that are asked for at `now`, in seconds of a clock that never goes back."""
        self._turn(now)
        self._units[self._at % _BUCKETS] += units

    def share(self, now: float) -> float:
        """Return how much of the limit is used: 1.0 is all of it."""
        return self.units(now) / self.limit.units

    def units(self, now: float) -> float:
        """Return the units of the window that ends now."""
        self._turn(now)
        return sum(self._units)

    def _turn(self, now: float) -> None:
        """Empty the buckets that have become too old."""
        at = int(now / self._width)
        for bucket in range(max(self._at, at - _BUCKETS) + 1, at + 1):
            self._units[bucket % _BUCKETS] = 0.0
        self._at = max(at, self._at)


class Usage:
    """Calls and units of all tenants. One for the whole agent: `ctx.shared.part(Usage)`."""

    def __init__(self, clock: Callable[[], float] = perf_counter) -> None:
        self._clock = clock
        self._calls: dict[tuple[str, Service], int] = {}
        self._windows: dict[tuple[str, str, Limit, Service, str], Window] = {}

    def expect(self, used: Iterable[tuple[str, Service]]) -> None:
        """Say which tenants (by name) will use which services: they count from 0, and tenants not among them are forgotten."""
        pairs = list(used)
        names = {name for name, _ in pairs}
        self._calls = dict.fromkeys(pairs, 0) | {pair: count for pair, count in self._calls.items() if pair[0] in names}

    def count(self, name: str, tenant: Tenant, service: Service, *, units: float = 1.0, whose: str = "") -> None:
        """Count one call that is about to be made for the tenant called `name`.

        `units` are what the service counts. `whose` says which mailbox, organiser, team or chat it is about, as some limits are for each.
        """
        self._calls[name, service] = self._calls.get((name, service), 0) + 1
        now = self._clock()
        for window in self._windows_of(tenant, service, whose):
            window.add(now, units)
        if service not in {Service.LOGIN, Service.GRAPH}:
            for window in self._windows_of(tenant, Service.GRAPH, ""):
                window.add(now, 1.0)

    def share(self, tenant: Tenant, service: Service, *, whose: str = "") -> float:
        """Return the largest share of a limit of the service that we have used within its window; 0 where no limit is known."""
        now = self._clock()
        return max((window.share(now) for window in self._all_windows(tenant, service, whose)), default=0.0)

    def explains_throttling(self, tenant: Tenant, service: Service, *, whose: str = "") -> bool:
        """Say whether what we asked is enough for the service to turn us away: more than a tenth of a limit, and more than one call."""
        now = self._clock()
        return any(window.limit.is_notable(window.units(now)) for window in self._all_windows(tenant, service, whose))

    def calls(self) -> list[tuple[str, Service, int]]:
        """Return (name of the tenant, service, calls since the agent started)."""
        return [(name, service, count) for (name, service), count in self._calls.items()]

    def _all_windows(self, tenant: Tenant, service: Service, whose: str) -> tuple[Window, ...]:
        """Return the windows of a service, and those of Graph, which count for all of its services."""
        own = self._windows_of(tenant, service, whose)
        return own if service is Service.LOGIN else own + self._windows_of(tenant, Service.GRAPH, "")

    def _windows_of(self, tenant: Tenant, service: Service, whose: str) -> tuple[Window, ...]:
        return tuple(self._window(tenant, service, limit, whose.lower() if limit.each else "") for limit in LIMITS[service])

    def _window(self, tenant: Tenant, service: Service, limit: Limit, whose: str) -> Window:
        # Limits are for an application in a tenant, whatever names the configuration has for the pair.
        key = tenant.tenant_id, tenant.client_id, limit, service, whose
        if key not in self._windows:
            self._windows[key] = Window(limit.watched)
        return self._windows[key]
