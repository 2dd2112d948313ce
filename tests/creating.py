"""The probes of the demonstration that create something, and what they could leave in its tenant."""

from math import inf
from pathlib import Path

import yaml

from agent.drill.graph.calendar import Calendars
from agent.drill.graph.chats import Chats
from agent.drill.graph.meetings import Meetings
from agent.drill.graph.post import Post
from agent.drill.graph.sites import Sites
from agent.drill.graph.teams import Teams
from agent.drill.world import World
from probes import REGISTRY

SENT_BY_GRAPH = "mail-inside"
"""Of the round trips of the demo the one whose both ends are mailboxes of Graph; the others have tests of their own."""


def inventory(world: World) -> dict[str, list[str]]:
    """Return what lies in the tenant that a probe could have put there, and what people would see of it."""
    boxes = world.of(Post).mailboxes.values()
    return {
        "letters": [each.letter.subject for box in boxes for each in box.messages.values() if each.folder != "recoverableitemspurges"],
        "events": [event.id for events in world.of(Calendars).events.values() for event in events],
        "messages": [one.content for chat in world.of(Chats).chats.values() for one in chat.messages.values() if one.deleted is None],
        "meetings": list(world.of(Meetings).meetings),
        "members": [
            f"{team.name}: {one.person.upn}" for team in world.of(Teams).teams.values() for one in team.members if one.until == inf
        ],
        "files": [item.name for drive in world.of(Sites).drives.values() for item in drive.items.values()],
    }


def creating(config: Path, prefix: str, interval: str) -> None:
    """Leave in a configuration only the probes that create something, under other names."""
    document = yaml.safe_load(config.read_text())
    wanted = [one for one in document["probes"] if REGISTRY[one["kind"]].clear is not None]
    wanted = [one for one in wanted if one["kind"] != "mail_roundtrip" or one["name"].endswith(SENT_BY_GRAPH)]
    for one in wanted:
        one.update({"write": True} if one["kind"] == "onedrive_file" else {})
        one.update(name=prefix + one["name"], interval=interval, timeout="3s" if interval == "3s" else "20s")
    config.write_text(yaml.safe_dump(document | {"probes": wanted}))
