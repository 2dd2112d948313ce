"""A person of the tenant who has signed in for the agent, as if `fogbell login` had been run, and the chat in which they write.

The file is what `fogbell login` leaves in the state's folder: its name and its words are those of the agent's own.
"""

import json
import os
from pathlib import Path
from uuid import UUID

from agent.drill.entra.directory import Directory
from agent.drill.entra.grants import Grants
from agent.drill.graph.chats import Chat, Chats
from agent.drill.world import World

_SCOPE = "https://graph.microsoft.com/.default openid offline_access"
_OWNER_ALONE, _FOLDER_OF_OWNER = 0o600, 0o700


def leave_sign_in(world: World, state_dir: Path, tenant: str) -> None:
    """Sign the first of the people in for the tenant of this name.

    Raises:
        OSError: where the folder cannot be written.

    """
    directory, person = world.of(Directory), world.people[0]
    token = world.of(Grants).give_refresh_token(directory.app(world.app_id), directory.account(person.upn), _SCOPE)
    grant = {
        "tenant_id": world.tenant_id,
        "client_id": world.app_id,
        "login": world.address("login"),
        "refresh_token": token,
        "user": person.upn,
        "signed_in": world.now(),
        "rotated": world.now(),
        "id": UUID(int=world.random.getrandbits(128)).hex,
    }
    folder = state_dir / "grants"
    folder.mkdir(mode=_FOLDER_OF_OWNER, parents=True, exist_ok=True)
    file = folder / f"{tenant}.json"
    file.unlink(missing_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ALONE), "w", encoding="utf-8") as written:
        json.dump(grant, written)


def chat_of_probes(world: World) -> Chat:
    """Make the chat for messages of probes, in which the first of the people is with another."""
    first, second, *_ = world.people
    return world.of(Chats).group("Does Teams work?", ((first, ("owner",)), (second, ("owner",))))
