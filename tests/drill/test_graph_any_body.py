"""Whatever is posted, the areas of people and security answer as Microsoft describes or refuse it; nothing else is ever raised."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.drill.graph import chats, meetings, security, teams
from agent.drill.graph.chats import Chats
from agent.drill.graph.frame import Answer, Call, Caller, GraphError, Operation
from agent.drill.graph.members import BIND, TYPE
from agent.drill.graph.teams import Teams
from agent.drill.world import World
from tests.drill.graph import Clock
from tests.judges.openapi import REFERENCE, answer_errors, described

POSTS = [each for area in (chats, meetings, security, teams) for each in area.OPERATIONS if each.method == "POST"]
MEMBER = {"@odata.type": TYPE, "roles": ["guest"], BIND: "https://graph.microsoft.com/v1.0/users('probe1@contoso.example')"}
OTHER = {**MEMBER, BIND: "https://graph.microsoft.com/v1.0/users/probe2@contoso.example"}
TIMES = {"startDateTime": "2026-11-23T10:00:00Z", "endDateTime": "2026-11-23T11:00:00Z", "subject": "Fog"}
GOOD: list[Any] = [
    {"chatType": "group", "topic": "Fog", "members": [MEMBER, OTHER]},
    {"chatType": "oneOnOne", "members": [MEMBER, OTHER]},
    {"body": {"contentType": "text", "content": "Fog"}},
    MEMBER,
    TIMES,
    {"query": "print a=1", "timespan": "P1D"},
    {
        "displayName": "Fog",
        "filterStartDateTime": TIMES["startDateTime"],
        "filterEndDateTime": TIMES["endDateTime"],
        "operationFilters": ["x"],
    },
]
ODD = [
    "https://[",
    "https://graph.microsoft.com:x/v1.0/users/a",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-12:00",
    "2026-11-23",
    "print",
    "\ud800",
]
JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=4),
    st.sampled_from([[], {}, [{}], [[]], [None], {"a": {}}, *ODD]),
)


def places(body: Any, so_far: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a body, the whole among them."""
    yield so_far
    inner = body.items() if isinstance(body, dict) else enumerate(body) if isinstance(body, list) else ()
    for key, each in inner:
        yield from places(each, (*so_far, key))


@st.composite
def bodies(draw: st.DrawFn) -> Any:
    """Draw a good body with junk in one place."""
    body = [deepcopy(draw(st.sampled_from(GOOD)))]
    place: tuple[Any, ...] = (0, *draw(st.sampled_from(list(places(body[0])))))
    holder: Any = body
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = draw(JUNK)
    return body[0]


def posted(world: World, operation: Operation, body: Any, user: str | None) -> int:
    """Give the status that comes of a body."""
    group = world.of(Chats).group("Fog", tuple((person, ("owner",)) for person in world.people[:2]))
    path = {"user-id": world.people[0].id, "team-id": next(iter(world.of(Teams).teams)), "chat-id": group.id, "chatMessage-id": "1"}
    caller = Caller(world.app_id, user, operation.delegated if user else operation.application)
    try:
        answer = operation.run(world, Call("POST", path, {}, {}, body, caller, "request", "https://localhost/v1.0/anything"))
    except GraphError as error:
        return error.status
    assert isinstance(answer, Answer)
    if REFERENCE and described("POST", operation.template):
        assert answer_errors("POST", operation.template, answer.status, answer.body) == []
    return answer.status


@pytest.mark.parametrize("operation", POSTS, ids=lambda each: each.template)
@pytest.mark.parametrize("delegated", [False, True], ids=["app", "person"])
@settings(max_examples=150, deadline=None)
@given(body=bodies())
def test_any_body_is_answered_or_refused(operation: Operation, delegated: bool, body: Any) -> None:  # noqa: FBT001 - a parameter of the test
    world = World(clock=Clock())
    world.listens("graph", 1)
    assert posted(world, operation, body, world.people[0].id if delegated else None) in (200, 201, 204, 400, 401, 403, 404)
