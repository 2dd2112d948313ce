"""Jobs of small probes, for tests of what surrounds a probe."""

from collections.abc import Awaitable, Callable
from typing import Any

from agent.job import Job
from probes.core.context import Context, Shared
from probes.core.contract import Failed, Layer, Measurement, Place, Probe, Secret, Settings, Workload
from probes.core.reasons import Reason

PLACE = Place(Layer.CONTROL, Workload.NETWORK)
MEASUREMENTS = (Measurement("size_bytes", "Size of the answer."), Measurement("finding", "Whether a check held.", ("check",)))


class NoSettings(Settings):
    """Nothing to set."""


async def _no_lookup(host: str, family: int) -> tuple[str, ...]:
    raise Failed(Reason.DNS_NXDOMAIN, f"no {host} for family {family} here")


def _no_secret(secret: Secret) -> str:
    raise AssertionError(secret)


SHARED = Shared(lookup=_no_lookup, secret=_no_secret)


def job(
    run: Callable[[Context, Any], Awaitable[None]],
    name: str = "page",
    *,
    interval: float = 60.0,
    timeout: float = 5.0,
    labels: tuple[tuple[str, str], ...] = (),
    kind: str = "trial",
) -> Job:
    """Return a job of the given run function."""
    probe = Probe(run, NoSettings, place=lambda _: PLACE, steps=("resolve", "request", "verify"), measurements=MEASUREMENTS)
    return Job(name, kind, probe, NoSettings(), interval, timeout, PLACE, labels=labels)
