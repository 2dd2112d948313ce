"""A tenant by script: one TLS server on loopback that gives tokens, and answers Graph's paths as it is told. Keeps all it was asked."""

import asyncio
import json
import socket
import time
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from agent.job import Job
from agent.runner import run_once
from probes import REGISTRY
from probes.core.context import Context, OpenStep, Shared
from probes.core.contract import Failed, Run, Secret
from probes.core.reasons import Reason
from probes.lib.tenant import Credential, Hosts, Tenant, Tenants
from probes.lib.tls import Trust
from probes.lib.tokens import Token
from tests.fakes import hostile
from tests.fakes.certificates import ca_file, server_context

TENANT_ID = "6b5f1c1e-0000-4000-8000-00000000c0de"
CLIENT_ID = "6b5f1c1e-0000-4000-8000-00000000a991"
CANARY = "canary-0f3a-client-secret"
DIAGNOSTIC = json.dumps(
    {"ServerInfo": {"DataCenter": "West Europe", "Slice": "E", "Ring": "5", "ScaleUnit": "003", "RoleInstance": "AM2PEPF00027AB2"}}
)


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it came. Header names are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return unquote(urlsplit(self.target).path)

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))


Answers = Mapping[str, bytes] | Callable[[Asked], Awaitable[bytes]]


@dataclass(slots=True)
class Script:
    """The server while it runs, and its tenant."""

    host: str
    tenant: Tenant
    token: Token
    asked: list[Asked] = field(default_factory=list)

    @property
    def calls(self) -> list[Asked]:
        """What Graph was asked."""
        return [asked for asked in self.asked if asked.path.startswith("/v1.0")]

    @property
    def token_requests(self) -> int:
        return len(self.asked) - len(self.calls)


def token(*, lives: float = 3600.0, age: float = 0.0, **claims: object) -> Token:
    """Return a token that nobody signed, as old as wanted, with this much of its life left."""
    now = time.time()
    return Token(jwt(exp=now + lives, **claims), now + lives, now - age, {"exp": now + lives, **claims}, time.monotonic() - age)


def jwt(**claims: object) -> str:
    return ".".join(urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({"alg": "RS256"}, claims, "signed"))


def answer(data: Any = None, status: int = 200, **headers: str) -> bytes:
    """Write an answer: bytes as they are, anything else as JSON."""
    body = data if isinstance(data, bytes) else b"" if data is None else json.dumps(data).encode()
    fields = {"Content-Type": "application/json", "request-id": "0b0e", "x-ms-ags-diagnostic": DIAGNOSTIC}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"HTTP/1.1 {status} Said", *(f"{name}: {value}" for name, value in fields.items()), f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def error(status: int, code: str = "", *inner: str, message: str = "", **headers: str) -> bytes:
    """Write a refusal in Graph's shape, with deeper codes inside."""
    deeper: dict[str, Any] = {"request-id": "0b0e"}
    for each in reversed(inner):
        deeper = {"code": each, "innererror": deeper}
    return answer({"error": {"code": code, "message": message, "innerError": deeper}} if code else None, status, **headers)


async def lookup(host: str, family: int) -> tuple[str, ...]:
    if host == "localhost" and family != socket.AF_INET6:
        return ("127.0.0.1",)
    raise Failed(Reason.DNS_NXDOMAIN, f"{host} does not exist")


def read(secret: Secret) -> str:
    return secret.inline or ""


@asynccontextmanager
async def scripted(answers: Answers) -> AsyncIterator[Script]:
    """Serve answers by decoded path, or by function; in them `{host}` is this server."""
    scripts: list[Script] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        script, asked = scripts[0], await _heard(reader)
        script.asked.append(asked)
        if asked.path.endswith("/oauth2/v2.0/token"):
            said = answer({"token_type": "Bearer", "expires_in": 3599, "access_token": jwt(exp=time.time() + 3599, roles=["Some.Role"])})
        elif callable(answers):
            said = await answers(asked)
        else:
            said = answers.get(asked.path, error(404, "ResourceNotFound"))
        writer.write(said.replace(b"{host}", script.host.encode().ljust(6)))

    async with hostile.serving(talk, server_context()) as (_, port):
        scripts.append(Script(f"localhost:{port}", tenant_at(f"localhost:{port}"), token()))
        yield scripts[0]


async def _heard(reader: asyncio.StreamReader) -> Asked:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().rstrip().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    method, target, _ = first.split(" ")
    return Asked(method, target, headers, body)


def tenant_at(host: str) -> Tenant:
    return Tenant(
        tenant_id=TENANT_ID,
        hosts=Hosts(login=host, graph=host, exchange=host),
        client_id=CLIENT_ID,
        credential=Credential(secret=Secret(inline=CANARY)),
        tls=Trust(ca_file=ca_file()),
    )


def shared(tenant: Tenant) -> Shared:
    parts = Shared(lookup, read)
    parts.part(Tenants).put({"contoso": tenant})
    return parts


def context(parts: Shared) -> Context:
    """Return a context with an open step."""
    ctx = Context("probe", parts, "contoso")
    ctx.open_steps.append(OpenStep("request", time.perf_counter()))
    return ctx


async def run_kind(kind: str, tenant: Tenant | Shared, *, deadline: float = 20.0, **settings: Any) -> Run:
    """Run a kind once, as the agent would."""
    probe = REGISTRY[kind]
    made = probe.settings(**settings)
    job = Job("probe", kind, probe, made, 300.0, deadline, probe.place(made), tenant="contoso")
    return await run_once(job, tenant if isinstance(tenant, Shared) else shared(tenant))
