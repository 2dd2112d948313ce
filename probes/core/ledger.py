"""What a probe has created in somebody's service and not removed yet, so that a crash leaves no litter.

An artefact is recorded before it is created and struck off when it is gone. The agent's ledger survives a restart, and what a run has left
on it goes by the kind's `clear`.
"""

from dataclasses import dataclass
from typing import Protocol

ASIDE = "~"
"""What follows the name of a probe where its artefacts go on under a name of their own; no probe's name has it."""


@dataclass(frozen=True, slots=True)
class Artefact:
    """One thing of ours. `id` is the tag it carries, `kind` one of a closed list of its kind of probe, `created` Unix seconds.

    `facts` are what it takes to find and remove it; never a secret.
    """

    id: str
    kind: str
    created: float
    facts: tuple[tuple[str, str], ...] = ()

    def fact(self, name: str) -> str:
        """Value of a fact, "" where it is not known."""
        return dict(self.facts).get(name, "")


def probe_of(name: str) -> str:
    """Return the probe whose artefacts are kept under a name, or were."""
    return name.partition(ASIDE)[0]


class Ledger(Protocol):
    """Where artefacts are recorded, each under the name of its probe."""

    async def record(self, probe: str, artefact: Artefact) -> None:
        """Keep it, or put it in the place of the one with its id. When this returns, a crash does not lose it.

        Raises:
            probes.core.contract.Inconclusive: AGENT_RESOURCES, where it cannot be written; then nothing may be created.

        """

    async def strike(self, probe: str, artefact_id: str) -> None:
        """Take it off: it is gone."""

    def outstanding(self, probe: str) -> tuple[Artefact, ...]:
        """Return what is left of a probe, the oldest first."""


class MemoryLedger:
    """A ledger that lasts as long as the process: enough for one run by hand."""

    def __init__(self) -> None:
        self._kept: dict[str, dict[str, Artefact]] = {}

    async def record(self, probe: str, artefact: Artefact) -> None:
        """Keep it."""
        self._kept.setdefault(probe, {})[artefact.id] = artefact

    async def strike(self, probe: str, artefact_id: str) -> None:
        """Take it off."""
        self._kept.get(probe, {}).pop(artefact_id, None)

    def outstanding(self, probe: str) -> tuple[Artefact, ...]:
        """Return what is left of a probe, the oldest first."""
        return tuple(sorted(self._kept.get(probe, {}).values(), key=lambda artefact: artefact.created))
