"""A person of the simulated tenant who has signed in with `fogbell login`."""

import time
from pathlib import Path

from agent.drill.entra.directory import Directory
from agent.drill.entra.grants import Grants as Given
from agent.drill.world import Person, World
from probes.lib.grants import Grant, Grants, grant_path

SCOPE = "https://graph.microsoft.com/.default openid offline_access"


async def sign_in(world: World, state_dir: Path, person: Person | None = None) -> None:
    """Leave what a sign-in of this person, by default the first, leaves in `state_dir`."""
    directory, who = world.of(Directory), person or world.people[0]
    token = world.of(Given).give_refresh_token(directory.apps[world.app_id], directory.account(who.upn), SCOPE)
    login = world.address("login")
    grant = Grant(world.tenant_id, world.app_id, login, token, who.upn, "", time.time(), time.time())
    assert await Grants().keep(grant_path(str(state_dir), "contoso"), grant)
