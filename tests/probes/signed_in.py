"""A person of the simulated tenant who has signed in with `fogbell login`, and what an agent does that has its files."""

import time
from pathlib import Path

from agent.drill.entra.directory import Directory
from agent.drill.entra.grants import Grants as Given
from agent.drill.world import Person, World
from probes import REGISTRY
from probes.core.context import Context, Shared
from probes.lib.grants import Grant, Grants, grant_path

SCOPE = "https://graph.microsoft.com/.default openid offline_access"


async def sign_in(world: World, state_dir: Path, person: Person | None = None) -> None:
    """Leave what a sign-in of this person, by default the first, leaves in `state_dir`."""
    directory, who = world.of(Directory), person or world.people[0]
    token = world.of(Given).give_refresh_token(directory.apps[world.app_id], directory.account(who.upn), SCOPE)
    login = world.address("login")
    grant = Grant(world.tenant_id, world.app_id, login, token, who.upn, "", time.time(), time.time())
    assert await Grants().keep(grant_path(str(state_dir), "contoso"), grant)


async def clear(kind: str, shared: Shared, *, deadline: float = 10.0, **settings: object) -> Context:
    """Clear up what is left of the probe `one`, as the agent does at its start, and return what was told of it."""
    probe = REGISTRY[kind]
    ctx = Context("one", shared, "contoso", deadline=time.perf_counter() + deadline)
    assert probe.clear is not None
    await probe.clear(ctx, probe.settings.model_validate(settings))
    return ctx
