"""What the ready configuration's delegated probes find: a sign-in that works, and that nobody else can read."""

import os
from pathlib import Path

import pytest

from agent.drill.entra.directory import Directory
from agent.drill.graph.chats import Chats
from agent.drill.signed_in import chat_of_probes, leave_sign_in
from agent.drill.world import World
from probes.lib.grants import Grants, grant_path


@pytest.fixture
def world() -> World:
    world = World()
    world.listens("login", 1)
    world.of(Directory)
    return world


async def test_the_agent_reads_the_sign_in_as_its_own(world: World, tmp_path: Path) -> None:
    for _ in range(2):
        leave_sign_in(world, tmp_path, "contoso")
    grant = await Grants().read(grant_path(str(tmp_path), "contoso"))
    assert grant is not None
    assert (grant.tenant_id, grant.client_id, grant.login, grant.user) == (
        world.tenant_id,
        world.app_id,
        "localhost:1",
        world.people[0].upn,
    )


@pytest.mark.skipif(os.name != "posix", reason="permissions of files are those of POSIX")
def test_nobody_else_can_read_the_sign_in(world: World, tmp_path: Path) -> None:
    leave_sign_in(world, tmp_path / "state", "contoso")
    path = tmp_path / "state/grants/contoso.json"
    assert [entry.stat().st_mode & 0o777 for entry in (path, path.parent)] == [0o600, 0o700]


def test_the_chat_of_the_probes_has_the_person_who_signed_in(world: World) -> None:
    chat = chat_of_probes(world)
    assert world.of(Chats).chats[chat.id].has(world.people[0].id, world.now())
