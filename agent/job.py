"""A configured probe: what the configuration makes and the rest of the agent reads."""

from dataclasses import dataclass
from typing import Any

from probes.core.contract import Place, Probe, Settings


@dataclass(frozen=True, slots=True)
class Job:
    """One probe of the configuration.

    `interval` and `timeout` are seconds. `role` is "probe" or "control" (a non-Microsoft reference). `tenant` is empty where the probe has
    none. `labels` are the user's own, for `fogbell_probe_info`. Two equal jobs are the same probe: a reload leaves it alone.
    """

    name: str
    kind: str
    probe: Probe[Any]
    settings: Settings
    interval: float
    timeout: float
    place: Place
    role: str = "probe"
    tenant: str = ""
    labels: tuple[tuple[str, str], ...] = ()
