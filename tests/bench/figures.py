"""A measured figure against its goal."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """`ours` against `peer` (a measured peer, or the bound the goal names), in `unit`; reached while ours / peer <= `limit`."""

    goal: str
    what: str
    ours: float
    peer: float
    peer_name: str
    unit: str
    limit: float = 1.0

    @property
    def ratio(self) -> float:
        """Ours as a share of the peer's; infinite where the peer has nothing."""
        return self.ours / self.peer if self.peer else float("inf")

    @property
    def reached(self) -> bool:
        """Whether the goal is met."""
        return self.ratio <= self.limit


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which `share` of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
