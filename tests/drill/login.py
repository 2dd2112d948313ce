"""Sign-in of a simulated tenant on real TLS, with a clock that a test moves, and a bare client."""

import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ssl import PROTOCOL_TLS_CLIENT, SSLContext
from typing import Any

import aiohttp

from agent.drill.entra.directory import App, Directory
from agent.drill.entra.keys import Keys
from agent.drill.entra.site import login_site
from agent.drill.hosting import Site, serve_sites
from agent.drill.world import World
from tests.drill.graph import Clock

GRAPH = "https://graph.microsoft.com"
DEFAULT = f"{GRAPH}/.default"
CHAT = f"{GRAPH}/ChatMessage.Send offline_access openid"
DEVICE = "urn:ietf:params:oauth:grant-type:device_code"


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def body(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.text)
        return found

    @property
    def refused(self) -> tuple[int, str, int]:
        """Status, OAuth error and AADSTS number of a refusal."""
        return self.status, self.body["error"], self.body["error_codes"][0]

    @property
    def numbers(self) -> set[int]:
        """AADSTS numbers that a page shows."""
        return {int(found) for found in re.findall(r"AADSTS(\d+)", self.text)}


@dataclass(frozen=True, slots=True)
class Login:
    """A world with its sign-in, and who asks there."""

    world: World
    clock: Clock
    session: aiohttp.ClientSession

    @property
    def directory(self) -> Directory:
        return self.world.of(Directory)

    @property
    def app(self) -> App:
        return self.directory.apps[self.world.app_id]

    async def ask(self, method: str, path: str, *, host: str = "login", **request: Any) -> Reply:
        async with self.session.request(method, self.world.url(host, path), allow_redirects=False, **request) as answer:
            return Reply(answer.status, answer.headers, await answer.text())

    async def get(self, path: str, **query: str) -> Reply:
        return await self.ask("GET", f"/{self.world.tenant_id}/{path}", params=query)

    async def post(self, path: str, tenant: str = "", headers: Mapping[str, str] | None = None, **form: str) -> Reply:
        """Post a form in the name of the world's app."""
        fields = {"client_id": self.world.app_id, **form}
        return await self.ask("POST", f"/{tenant or self.world.tenant_id}/{path}", data=fields, headers=headers)

    async def token(self, grant_type: str, tenant: str = "", **form: Any) -> Reply:
        return await self.post("oauth2/v2.0/token", tenant, grant_type=grant_type, **form)

    async def app_token(self, tenant: str = "", **form: str) -> Reply:
        """Ask as the app with its secret, but for what the test says otherwise."""
        return await self.token("client_credentials", tenant, **{"client_secret": self.world.secret, "scope": DEFAULT, **form})

    async def person_signs_in(self, user_code: str, action: str = "continue") -> Reply:
        """Type a code as the first of the tenant's people."""
        fields = {"otc": user_code, "user": self.world.people[0].upn, "action": action}
        return await self.ask("POST", "/common/oauth2/deviceauth", data=fields)

    async def refresh_token(self) -> str:
        """Sign the first person in by device code."""
        code = (await self.post("oauth2/v2.0/devicecode", scope=CHAT)).body
        await self.person_signs_in(code["user_code"])
        return str((await self.token(DEVICE, device_code=code["device_code"])).body["refresh_token"])

    def claims(self, reply: Reply, audience: str = GRAPH) -> dict[str, Any]:
        return self.world.of(Keys).verify(reply.body["access_token"], audience)


@asynccontextmanager
async def serve_login(*others: Site, world: World | None = None) -> AsyncIterator[Login]:
    """Serve sign-in, and other hosts of the same world, while the block runs."""
    clock = Clock()
    here = world or World(clock=clock)
    async with serve_sites(here, login_site(here), *others) as authority:
        trust = SSLContext(PROTOCOL_TLS_CLIENT)
        authority.configure_trust(trust)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust)) as session:
            yield Login(here, clock, session)
