"""Resource-specific consent: what an app may do in one team or chat, because an owner of that one let it in. No token tells of it.

https://learn.microsoft.com/en-us/microsoftteams/platform/graph-api/rsc/resource-specific-consent
"""

from collections.abc import Iterable, Mapping

from agent.drill.world import World

_RESOURCES = ("team-id", "chat-id")


class Consents:
    """All such consents of a world, none at first."""

    def __init__(self, _world: World) -> None:
        self._given: dict[tuple[str, str], frozenset[str]] = {}

    def give(self, app_id: str, resource: str, permissions: Iterable[str]) -> None:
        """Let an app do this in a team or chat, and nothing else."""
        self._given[app_id, resource.lower()] = frozenset(permissions)

    def of(self, app_id: str, path: Mapping[str, str]) -> frozenset[str]:
        """Give what an app may do in the team or chat that a path is about."""
        found = (self._given.get((app_id, path.get(name, "").lower()), frozenset()) for name in _RESOURCES)
        return frozenset().union(*found)
