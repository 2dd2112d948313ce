"""What a client asks for: the scopes of a request, and which of them it may have."""

from collections.abc import Iterable
from dataclasses import dataclass

from agent.drill.entra.directory import GRAPH, App, Directory, Resource
from agent.drill.entra.errors import EntraError
from agent.drill.world import World

OPENID = frozenset({"openid", "profile", "email", "offline_access"})
_DEFAULT = ".default"
_SHORT = GRAPH.names[0]
"""Whose permissions have short names."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One resource, `prefix` that the client put before its permissions (empty for short names of Graph), and the OpenID scopes beside."""

    resource: Resource
    prefix: str
    permissions: frozenset[str]
    openid: frozenset[str]

    @property
    def audience(self) -> str:
        """Whom the token is for, as the client named them."""
        return self.prefix or _SHORT

    def written(self, permissions: Iterable[str]) -> str:
        """Write granted permissions as the answer lists them: as they were asked for."""
        asked_all = {_DEFAULT} & self.permissions
        lead = f"{self.prefix}/" if self.prefix else ""
        return " ".join([*sorted(self.openid - {"offline_access"}), *(lead + one for one in sorted({*permissions, *asked_all}))])


def app_scope(world: World, scope: str) -> tuple[Resource, str]:
    """Read the scope of a request for the app alone: one resource and `/.default`. Gives the resource, and the audience as it was named.

    Raises:
        EntraError: 900144, 70011, 1002012 or 500011.

    """
    if not scope:
        raise EntraError(900144, parameter="scope")
    if " " in scope.strip():
        raise EntraError(70011, scope=scope)
    name, _, permission = scope.strip().rpartition("/")
    if permission != _DEFAULT or not name:
        raise EntraError(1002012, scope=scope)
    return world.of(Directory).resource(name), name


def user_scopes(world: World, scope: str) -> Wanted:
    """Read the scopes of a request on behalf of a person; a name without address belongs to Graph.

    Raises:
        EntraError: 900144, 700022 or 500011.

    """
    asked = scope.split()
    if not asked:
        raise EntraError(900144, parameter="scope")
    parts = [one.rpartition("/") for one in asked if one not in OPENID]
    names = {name for name, _, _ in parts} or {""}
    if len({name or _SHORT for name in names}) > 1:
        raise EntraError(700022)
    name = max(names)
    permissions = frozenset(permission for _, _, permission in parts)
    return Wanted(world.of(Directory).resource(name or _SHORT), name, permissions, OPENID & set(asked))


def consented(app: App, wanted: Wanted) -> Iterable[str]:
    """Give the permissions that the token will carry: all that were ever agreed to, as Entra does.

    Raises:
        EntraError: 65001 where one was asked for that nobody agreed to.

    """
    there = app.scopes.get(wanted.resource, set())
    missing = wanted.permissions - {_DEFAULT} - there
    if missing or not there:
        raise EntraError(65001, app=app.id)
    return there
