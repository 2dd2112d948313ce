"""What the simulated Entra writes into its tokens; claims as in Microsoft's "Access token claims reference" and "ID token claims"."""

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from agent.drill.entra.directory import Account, App, Directory, Resource
from agent.drill.entra.keys import Keys, base64url
from agent.drill.world import World

_BACKDATED_SECONDS = 300
"""Entra dates tokens five minutes back, for the clocks of others."""


def guid(world: World) -> str:
    """Make a random identifier, repeatable by the world's seed."""
    return str(UUID(int=world.random.getrandbits(128), version=4))


def _times(world: World) -> dict[str, int]:
    now = int(world.now())
    start = now - _BACKDATED_SECONDS
    return {"iat": start, "nbf": start, "exp": now + world.of(Directory).settings.token_seconds}


def _common(world: World, app: App, audience: str) -> dict[str, Any]:
    """Claims of every access token. Those for Microsoft's own services are of version 1.0, also from the v2.0 endpoint."""
    return {
        "aud": audience,
        "iss": f"https://sts.windows.net/{world.tenant_id}/",
        **_times(world),
        "app_displayname": app.name,
        "appid": app.id,
        "tid": world.tenant_id,
        "tenant_region_scope": world.region.upper(),
        "uti": base64url(world.random.randbytes(16)),
        "ver": "1.0",
    }


def app_token(world: World, app: App, resource: Resource, audience: str, appidacr: str) -> str:
    """Make a token for the app alone, with the application permissions it has; without any there is no claim `roles`."""
    roles = sorted(app.roles.get(resource, ()))
    own = {"idtyp": "app", "oid": app.object_id, "sub": app.object_id, "appidacr": appidacr}
    return world.of(Keys).sign({**_common(world, app, audience), **own, **({"roles": roles} if roles else {})})


def user_token(world: World, app: App, account: Account, audience: str, scopes: Iterable[str]) -> str:
    """Make a token for an app on behalf of a person."""
    own = {"idtyp": "user", "oid": account.id, "sub": account.id, "name": account.name, "upn": account.upn, "unique_name": account.upn}
    return world.of(Keys).sign({**_common(world, app, audience), **own, "appidacr": "0", "scp": " ".join(sorted(scopes))})


def id_token(world: World, app: App, account: Account) -> str:
    """Make the token that tells the app who signed in."""
    claims = {
        "aud": app.id,
        "iss": world.url("login", f"/{world.tenant_id}/v2.0"),
        **_times(world),
        "name": account.name,
        "oid": account.id,
        "preferred_username": account.upn,
        "sub": account.id,
        "tid": world.tenant_id,
        "uti": base64url(world.random.randbytes(16)),
        "ver": "2.0",
    }
    return world.of(Keys).sign(claims)


def success(world: World, access_token: str, more: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Make the JSON object of a token answer."""
    seconds = world.of(Directory).settings.token_seconds
    return {"token_type": "Bearer", **(more or {}), "expires_in": seconds, "ext_expires_in": seconds, "access_token": access_token}
