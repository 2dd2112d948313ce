"""Graph of a simulated tenant on real TLS, with a clock that a test moves, and a bare client that signs its own tokens.

Where the slice of Microsoft's description is present, every answer that a test gets is held against it.
"""

import json
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ssl import PROTOCOL_TLS_CLIENT, SSLContext
from typing import Any

import aiohttp

from agent.drill import graph
from agent.drill.entra.keys import Keys
from agent.drill.graph.gate import AUDIENCE
from agent.drill.hosting import serve_sites
from agent.drill.world import Person, World
from tests.judges.openapi import REFERENCE, answer_errors, described

NOON = 1_795_435_200.0
"""2026-11-23, 12:00 UTC."""


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.time = NOON

    def __call__(self) -> float:
        return self.time

    def forward(self, seconds: float) -> None:
        self.time += seconds


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back; `body` is parsed JSON, or None for an empty one."""

    status: int
    headers: Mapping[str, str]
    body: Any

    @property
    def code(self) -> str:
        return str(self.body["error"]["code"])

    @property
    def items(self) -> list[dict[str, Any]]:
        return list(self.body["value"])


def token(world: World, granted: Iterable[str], person: Person | None = None, seconds: float = 3600, app_id: str | None = None) -> str:
    """Sign a token of this world for Graph: an app's, or a person's where one is named."""
    claims = {
        "aud": AUDIENCE,
        "tid": world.tenant_id,
        "appid": app_id or world.app_id,
        "nbf": world.now() - 5,
        "exp": world.now() + seconds,
    }
    who = {"scp": " ".join(granted), "oid": person.id} if person else {"roles": list(granted)}
    return world.of(Keys).sign(claims | who)


@dataclass(frozen=True, slots=True)
class Client:
    """Somebody who calls Graph with nothing but a token."""

    world: World
    clock: Clock
    session: aiohttp.ClientSession
    tls: SSLContext

    async def ask(
        self,
        method: str,
        path: str,
        *granted: str,
        by: Person | None = None,
        body: object = None,
        query: Mapping[str, str] | None = None,
        app_id: str | None = None,
    ) -> Reply:
        """Call `path` (after `/v1.0`) with a token that has these permissions, as a person where one is named."""
        headers = {"Authorization": f"Bearer {token(self.world, granted, by, app_id=app_id)}"}
        url = self.world.url("graph", f"/v1.0{path}")
        async with self.session.request(
            method, url, headers=headers, json=body, params=query, allow_redirects=False, ssl=self.tls
        ) as answer:
            data = await answer.read()
            reply = Reply(answer.status, answer.headers, json.loads(data) if data else None)
        if REFERENCE and described(method, path):
            assert answer_errors(method, path, reply.status, reply.body) == []
        return reply


@asynccontextmanager
async def graph_client() -> AsyncIterator[Client]:
    """Serve Graph of a new world while the block runs, and give a client of it."""
    clock = Clock()
    world = World(clock=clock)
    async with serve_sites(world, graph.site(world)) as authority, aiohttp.ClientSession() as session:
        tls = SSLContext(PROTOCOL_TLS_CLIENT)
        authority.configure_trust(tls)
        yield Client(world, clock, session, tls)
