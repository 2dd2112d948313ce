"""Presence: whether people are there.

https://learn.microsoft.com/en-us/graph/api/resources/presence
"""

from dataclasses import dataclass

from agent.drill.graph.frame import Answer, Call, Operation
from agent.drill.graph.members import asked_for
from agent.drill.graph.odata import entity
from agent.drill.world import Person, World


@dataclass(frozen=True, slots=True)
class Presence:
    """What somebody is doing, as Teams shows it, and the how-manieth change this is."""

    availability: str = "Available"
    activity: str = "Available"
    number: int = 1


class Presences:
    """Everybody's presence; available at first."""

    def __init__(self, world: World) -> None:
        self._now = {person.id: Presence() for person in world.people}

    def of(self, person: Person) -> Presence:
        """Say what somebody is doing."""
        return self._now[person.id]

    def change(self, person: Person, availability: str, activity: str) -> None:
        """Let somebody do something else, such as `"DoNotDisturb", "Presenting"`."""
        self._now[person.id] = Presence(availability, activity, self._now[person.id].number + 1)


def get_presence(world: World, call: Call) -> Answer:
    """Answer with somebody's presence."""
    person = asked_for(world, call)
    presence = world.of(Presences).of(person)
    return entity(
        call,
        {
            "id": person.id,
            "availability": presence.availability,
            "activity": presence.activity,
            "statusMessage": None,
            "outOfOfficeSettings": {"isOutOfOffice": False, "message": None},
            "sequenceNumber": str(presence.number),
        },
    )


_READ = frozenset({"Presence.Read.All", "Presence.ReadWrite.All"})
_READ_AS = _READ | {"Presence.Read", "Presence.ReadWrite"}

OPERATIONS = (
    Operation("GET", "/users/{user-id}/presence", get_presence, "presence", "presence", _READ, _READ_AS),
    Operation("GET", "/me/presence", get_presence, "presence", "presence", _READ, _READ_AS),
)
"""What this area answers."""
