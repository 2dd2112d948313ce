"""Graph and the files host of a simulated tenant on real TLS, and a client that can send and take bytes.

Where the slice of Microsoft's description is present, every answer of Graph that a test gets is held against it.
"""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ssl import PROTOCOL_TLS_CLIENT, SSLContext
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from agent.drill import graph
from agent.drill.graph import transfer
from agent.drill.graph.post import Post
from agent.drill.hosting import serve_sites
from agent.drill.world import Person, World
from tests.drill.graph import Clock, token
from tests.judges.openapi import REFERENCE, answer_errors, template_of

MAIL = ("Mail.Send", "Mail.ReadWrite")
FILES = ("Files.ReadWrite.All", "Sites.ReadWrite.All")


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back: JSON where it was JSON, else bytes."""

    status: int
    headers: Mapping[str, str]
    data: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.data) if self.data else None

    @property
    def code(self) -> str:
        return str(self.body["error"]["code"])

    @property
    def items(self) -> list[dict[str, Any]]:
        return list(self.body["value"])


@dataclass(frozen=True, slots=True)
class Client:
    """Somebody with a token for Graph, and none for the files host."""

    world: World
    clock: Clock
    session: aiohttp.ClientSession
    tls: SSLContext

    @property
    def sender(self) -> Person:
        return self.world.people[0]

    @property
    def receiver(self) -> Person:
        return self.world.people[1]

    async def fetch(self, method: str, url: str, content: bytes | None = None, headers: Mapping[str, str] | None = None) -> Reply:
        """Call an address as it stands, without a token."""
        async with self.session.request(method, url, data=content, headers=headers, allow_redirects=False, ssl=self.tls) as answer:
            return Reply(answer.status, answer.headers, await answer.read())

    async def ask(
        self,
        method: str,
        path: str,
        *granted: str,
        by: Person | None = None,
        body: object = None,
        content: bytes | None = None,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Call `path` (after `/v1.0`, or a whole address of Graph) with a token that has these permissions."""
        url = path if path.startswith("https:") else self.world.url("graph", f"/v1.0{path}")
        sent = {"Authorization": f"Bearer {token(self.world, granted, by)}", **(headers or {})}
        payload: dict[str, Any] = {"json": body} if content is None else {"data": content}
        async with self.session.request(method, url, headers=sent, params=query, allow_redirects=False, ssl=self.tls, **payload) as answer:
            reply = Reply(answer.status, answer.headers, await answer.read())
        place = urlsplit(path).path
        if REFERENCE and template_of(place) and reply.status != 304:
            assert answer_errors(method, place, reply.status, reply.body) == []
        return reply

    async def mail(self, subject: str, *recipients: str, **members: object) -> Reply:
        """Send a letter from the first person, to the second unless others are named."""
        to = [{"emailAddress": {"address": each}} for each in recipients or (self.receiver.mail,)]
        message = {"subject": subject, "body": {"contentType": "Text", "content": "Hello."}, "toRecipients": to, **members}
        path = f"/users/{self.sender.id}/sendMail"
        return await self.ask("POST", path, "Mail.Send", body={"message": message, "saveToSentItems": False})

    async def folder(self, person: Person, name: str = "inbox", **query: str) -> list[dict[str, Any]]:
        """List the messages of a folder."""
        options = {f"${key}": value for key, value in query.items()}
        return (await self.ask("GET", f"/users/{person.id}/mailFolders/{name}/messages", "Mail.Read", query=options)).items

    async def mail_headers(self, person: Person, message_id: str) -> list[tuple[str, str]]:
        """Read the headers of a message in somebody's mailbox."""
        path = f"/users/{person.id}/messages/{message_id}"
        reply = await self.ask("GET", path, "Mail.Read", query={"$select": "internetMessageHeaders"})
        return [(each["name"], each["value"]) for each in reply.body["internetMessageHeaders"]]

    def pass_mail(self) -> None:
        """Let the time pass that a letter takes."""
        self.clock.forward(self.world.of(Post).delay)


@asynccontextmanager
async def data_client() -> AsyncIterator[Client]:
    """Serve a new world while the block runs, and give a client of it."""
    clock = Clock()
    world = World(clock=clock)
    async with serve_sites(world, graph.site(world), transfer.site(world)) as authority, aiohttp.ClientSession() as session:
        tls = SSLContext(PROTOCOL_TLS_CLIENT)
        authority.configure_trust(tls)
        yield Client(world, clock, session, tls)
