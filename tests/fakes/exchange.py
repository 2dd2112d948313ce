"""Exchange for tests of EWS: the simulated one, which notes all that is said, and one that answers as a test says."""

import asyncio
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter

import spnego
from aiohttp import web

from agent.drill.entra.site import login_site
from agent.drill.ews import ews_site
from agent.drill.hosting import Site, serve_sites
from agent.drill.world import World
from probes.core.context import Context, OpenStep, Shared
from probes.core.contract import Secret
from probes.lib.mail.ews.workers import Limits, Workers
from probes.lib.tenant import Credential, Hosts, Tenant, Tenants
from probes.lib.tls import Trust
from tests.fakes.certificates import server_context
from tests.lib.signing_in import shared

SENDER, RECIPIENT = "probe1@contoso.example", "probe2@contoso.example"
HEADER = '<h:ServerVersionInfo MajorVersion="15" MinorVersion="20" xmlns:h="http://schemas.microsoft.com/exchange/services/2006/types"/>'

Answer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@dataclass(slots=True)
class Heard:
    """What a server was asked, and what it answered."""

    requests: list[bytes] = field(default_factory=list)
    answers: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class Exchange:
    """A simulated Exchange, and what runs of an agent share that watches it."""

    world: World
    tenant: Tenant
    shared: Shared
    heard: Heard

    def run(self, seconds: float = 30.0) -> Context:
        """Return the context of a run in an open step."""
        return run(self.shared, seconds)

    @property
    def workers(self) -> Workers:
        """The agent's processes."""
        return self.shared.part(Workers)


def run(among: Shared, seconds: float = 30.0, tenant: str = "contoso") -> Context:
    """Return the context of a run in an open step."""
    ctx = Context("mail", among, tenant, deadline=perf_counter() + seconds)
    ctx.open_steps.append(OpenStep("step", perf_counter()))
    return ctx


@asynccontextmanager
async def workers(among: Shared, limits: Limits | None = None) -> AsyncIterator[Workers]:
    """Keep processes for these runs while the block runs, and see that none is left."""
    among.parts[Workers] = kept = Workers(limits)
    try:
        yield kept
    finally:
        kept.close()


@asynccontextmanager
async def simulated(folder: Path, limits: Limits | None = None, world: World | None = None) -> AsyncIterator[Exchange]:
    """Serve Entra and Exchange of a simulated tenant, whose letters arrive at once, while the block runs."""
    world, heard = world or World(), Heard()
    sites = _listening(ews_site(world), heard), _counting(login_site(world), heard)
    async with serve_sites(world, *sites) as authority:
        file = folder / "authority.pem"
        authority.cert_pem.write_to_path(str(file))
        tenant = Tenant(
            tenant_id=world.tenant_id,
            client_id=world.app_id,
            hosts=Hosts(login=world.address("login"), graph="graph.invalid", exchange=world.address("exchange")),
            credential=Credential(secret=Secret(inline=world.secret)),
            tls=Trust(ca_file=str(file)),
        )
        among = shared()
        among.part(Tenants).put({"contoso": tenant})
        async with workers(among, limits):
            yield Exchange(world, tenant, among, heard)


def _listening(site: Site, heard: Heard) -> Site:
    async def respond(request: web.BaseRequest) -> web.StreamResponse:
        heard.requests.append(await request.read())
        heard.headers.append({name.lower(): value for name, value in request.headers.items()})
        answer = await site.respond(request)
        heard.answers.append(answer.body if isinstance(answer, web.Response) and isinstance(answer.body, bytes) else b"")
        return answer

    return replace(site, respond=respond)


def _counting(site: Site, heard: Heard) -> Site:
    async def respond(request: web.BaseRequest) -> web.StreamResponse:
        heard.tokens += request.path.endswith("/token")
        return await site.respond(request)

    return replace(site, respond=respond)


@asynccontextmanager
async def answering(answer: Answer) -> AsyncIterator[str]:
    """Serve EWS that answers as a test says, over TLS, and give its URL."""
    runner = web.ServerRunner(web.Server(answer), shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=server_context()).start()
        yield f"https://127.0.0.1:{runner.addresses[0][1]}/EWS/Exchange.asmx"
    finally:
        await runner.cleanup()


def always(body: str | bytes = b"", status: int = 200, **headers: str) -> Answer:
    """Answer everything with this."""
    fields = {"Content-Type": "text/xml; charset=utf-8", **{name.replace("_", "-"): value for name, value in headers.items()}}

    async def respond(request: web.BaseRequest) -> web.Response:
        await request.read()
        return web.Response(body=body, status=status, headers=fields)

    return respond


def refuses(code: str, message: str = "So it is.", detail: str = "") -> str:
    """Write the answer to GetFolder that says no."""
    return envelope(
        '<m:GetFolderResponse xmlns:m="http://schemas.microsoft.com/exchange/services/2006/messages"><m:ResponseMessages>'
        f'<m:GetFolderResponseMessage ResponseClass="Error"><m:MessageText>{message}</m:MessageText><m:ResponseCode>{code}</m:ResponseCode>'
        f"{detail}<m:Folders/></m:GetFolderResponseMessage></m:ResponseMessages></m:GetFolderResponse>"
    )


def envelope(content: str) -> str:
    """Put content into an envelope."""
    return f'<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Header>{HEADER}</s:Header><s:Body>{content}</s:Body></s:Envelope>'


def inbox(total: int = 3) -> str:
    """Write the answer to GetFolder of an inbox."""
    return envelope(
        '<m:GetFolderResponse xmlns:m="http://schemas.microsoft.com/exchange/services/2006/messages" '
        'xmlns:t="http://schemas.microsoft.com/exchange/services/2006/types"><m:ResponseMessages>'
        '<m:GetFolderResponseMessage ResponseClass="Success"><m:ResponseCode>NoError</m:ResponseCode><m:Folders><t:Folder>'
        f'<t:FolderId Id="AQ" ChangeKey="AQ"/><t:TotalCount>{total}</t:TotalCount><t:UnreadCount>0</t:UnreadCount>'
        "</t:Folder></m:Folders></m:GetFolderResponseMessage></m:ResponseMessages></m:GetFolderResponse>"
    )


@dataclass(slots=True)
class NtlmServer:
    """An Exchange Server that takes NTLM and nothing else (MS-NTHT), bound to its certificate where `binding` is given.

    spnego is the judge of the login; the users are in the file that NTLM_USER_FILE names.
    """

    body: str
    binding: bytes = b""
    bodies: list[bytes] = field(default_factory=list)
    connections: set[asyncio.BaseTransport | None] = field(default_factory=set)
    _talks: dict[asyncio.BaseTransport | None, spnego.ContextProxy] = field(default_factory=dict)

    async def respond(self, request: web.BaseRequest) -> web.Response:
        """Take one step of the login, or answer where it is done."""
        body = await request.read()
        self.bodies.append(body)
        self.connections.add(request.transport)
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "NTLM":
            return web.Response(status=401, headers={"WWW-Authenticate": "NTLM"})
        bound = spnego.channel_bindings.GssChannelBindings(application_data=self.binding) if self.binding else None
        talk = self._talks.setdefault(request.transport, spnego.server(protocol="ntlm", channel_bindings=bound))
        try:
            challenge = talk.step(b64decode(token))
        except spnego.exceptions.SpnegoError:
            return web.Response(status=401, headers={"WWW-Authenticate": "NTLM"})
        if not talk.complete:
            return web.Response(status=401, headers={"WWW-Authenticate": f"NTLM {b64encode(challenge or b'').decode()}"})
        return web.Response(text=self.body, content_type="text/xml")
