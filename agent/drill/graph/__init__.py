"""Microsoft Graph of the simulated tenant: the areas and what each can do.

An area is a module with `OPERATIONS`; add it to `AREAS` in one line. The gate does for all of them what is the same for all.
"""

from types import ModuleType

from agent.drill.graph import calendar, chats, directory, files, gate, health, mail, meetings, presence, search, security, teams
from agent.drill.graph.frame import Operation
from agent.drill.hosting import Site
from agent.drill.world import World

AREAS: tuple[ModuleType, ...] = (calendar, chats, directory, files, health, mail, meetings, presence, search, security, teams)
"""The areas, alphabetical."""

OPERATIONS: tuple[Operation, ...] = tuple(operation for area in AREAS for operation in area.OPERATIONS)


def site(world: World) -> Site:
    """Graph as a host of this world."""
    return gate.site(world, OPERATIONS)
