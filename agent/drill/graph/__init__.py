"""Microsoft Graph of the simulated tenant: the areas and what each can do.

An area is a module with `OPERATIONS`; add it to `AREAS` in one line. The frame does for all of them what Graph does at its gate.
"""

from types import ModuleType

from agent.drill.graph import frame
from agent.drill.hosting import Site
from agent.drill.world import World

AREAS: tuple[ModuleType, ...] = ()
"""The areas, alphabetical."""

OPERATIONS: tuple[frame.Operation, ...] = tuple(operation for area in AREAS for operation in area.OPERATIONS)


def site(world: World) -> Site:
    """Graph as a host of this world."""
    return frame.site(world, OPERATIONS)
