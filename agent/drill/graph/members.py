"""Members of conversations, which teams and chats share: who is meant, how a membership is called, and how it is shown.

https://learn.microsoft.com/en-us/graph/api/resources/aaduserconversationmember
"""

import base64
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from agent.drill.graph.frame import Call, GraphError
from agent.drill.world import Person, World

TYPE = "#microsoft.graph.aadUserConversationMember"
BIND = "user@odata.bind"
ROLES = frozenset({"owner", "guest"})


@dataclass(slots=True)
class Member:
    """Somebody in a team or chat, as seen between two moments of the world's clock: what was changed shows a little later."""

    id: str
    person: Person
    roles: tuple[str, ...]
    since: float
    until: float = float("inf")

    def shows(self, now: float) -> bool:
        """Whether a list of members has this one now."""
        return self.since <= now < self.until


class Licences:
    """Who of a world has no licence for Teams; at first everybody has one."""

    def __init__(self, _world: World) -> None:
        self.missing: set[str] = set()
        """Object ids."""

    def check(self, person: Person) -> None:
        """Let pass who has one.

        Raises:
            GraphError: 403 in the words in which Teams is known to refuse a chat to others.

        """
        if person.id in self.missing:
            said = "Failed to get license information for the user. Ensure user has a valid Office365 license assigned to them."
            raise GraphError(403, "Forbidden", said)


def membership_id(*parts: str) -> str:
    """Make the opaque name of a membership: Base64 of what it joins."""
    return base64.b64encode("##".join(parts).encode()).decode()


def shown(world: World, member: Member) -> dict[str, Any]:
    """Give a member as Graph shows it."""
    return {
        "@odata.type": TYPE,
        "id": member.id,
        "roles": list(member.roles),
        "displayName": member.person.name,
        "visibleHistoryStartDateTime": "0001-01-01T00:00:00Z",
        "userId": member.person.id,
        "email": member.person.mail,
        "tenantId": world.tenant_id,
    }


def somebody(world: World, who: str) -> Person:
    """Find a person by object id or user principal name.

    Raises:
        GraphError: 404 where there is nobody of that name.

    """
    person = world.person(who)
    if person is None:
        raise GraphError(
            404,
            "Request_ResourceNotFound",
            f"Resource '{who}' does not exist or one of its queried reference-property objects are not present.",
        )
    return person


def caller(world: World, call: Call) -> Person:
    """Find the person behind a delegated token.

    Raises:
        GraphError: 400 where an app calls for itself: `/me` is nobody then.

    """
    if call.caller.user_id is None:
        raise GraphError(400, "BadRequest", "/me request is only valid with delegated authentication flow.")
    return somebody(world, call.caller.user_id)


def asked_for(world: World, call: Call) -> Person:
    """Find the person a path is about: the one it names, or the caller of `/me`."""
    return somebody(world, call.path["user-id"]) if "user-id" in call.path else caller(world, call)


def bound(world: World, body: object) -> tuple[Person, tuple[str, ...]]:
    """Read who is to be a member, and in which roles.

    Raises:
        GraphError: 400 where the body is no member, or names the Graph of another cloud; 404 where it names nobody.

    """
    if not isinstance(body, Mapping) or body.get("@odata.type") != TYPE:
        raise GraphError(400, "BadRequest", f"Invalid request payload: a member must be of type {TYPE}.")
    roles = body.get("roles", [])
    if not isinstance(roles, list) or not all(isinstance(role, str) and role in ROLES for role in roles):
        raise GraphError(400, "BadRequest", "Invalid role specified for member.")
    return somebody(world, _user_of(world, str(body.get(BIND, "")))), tuple(roles)


def _user_of(world: World, address: str) -> str:
    """Read the user out of `https://HOST/v1.0/users('ID')` or `…/users/ID`; HOST must be the Graph that was asked."""
    found = re.fullmatch(r"https://([^/]+)/(?:v1\.0|beta)/users(?:\('([^']+)'\)|/([^/]+))", address)
    if found is None or found[1] not in {world.address("graph"), "graph.microsoft.com"}:
        raise GraphError(400, "BadRequest", f"Invalid bind property name {BIND} in request.")
    return unquote(found[2] or found[3])


def of_person(members: Iterable[Member], person: Person, now: float) -> Member | None:
    """Find the membership somebody has and keeps, whether it shows already or not."""
    return next((member for member in members if member.person == person and member.until > now), None)
