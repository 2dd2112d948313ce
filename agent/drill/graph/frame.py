"""The words in which the areas of Graph and its gate talk: a call, its answer, an error, an operation.

Errors: https://learn.microsoft.com/en-us/graph/errors.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from agent.drill.world import World


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls. `granted` are the roles of an app, or the scopes of a delegated token, which has a `user_id`."""

    app_id: str
    user_id: str | None
    granted: frozenset[str]


@dataclass(frozen=True, slots=True)
class Call:
    """One request, read. `path` holds the template's parameters; `url` is the absolute address without the query."""

    method: str
    path: Mapping[str, str]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any
    caller: Caller
    request_id: str
    url: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What an operation answers: something for JSON, bytes, or nothing."""

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


class GraphError(Exception):
    """An answer in the shape of Graph's errors; `inner` is the deeper code in innerError."""

    def __init__(self, status: int, code: str, message: str, inner: str = "", headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.inner, self.headers = status, code, message, inner, dict(headers or {})


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing Graph can do.

    `template` is the path as in Microsoft's OpenAPI description. `service` names whose limits count, `name` what a person does, both for
    the selectors of faults. Any one of `application` (or of `delegated`) suffices; an empty set refuses that kind of token.
    """

    method: str
    template: str
    run: Callable[[World, Call], Answer | Awaitable[Answer]]
    service: str
    name: str
    application: frozenset[str] = frozenset()
    delegated: frozenset[str] = frozenset()
