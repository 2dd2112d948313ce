"""A token server that answers as a test says, over TLS, and remembers what it was asked."""

import asyncio
import json
import ssl
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from aiohttp import web

from tests.fakes.certificates import server_context

TENANT_ID = "11111111-2222-3333-4444-555555555555"
CLIENT_ID = "66666666-7777-8888-9999-000000000000"


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: its path with query, its headers (names in lower case), its form, and when the server's loop had it."""

    method: str
    path: str
    headers: Mapping[str, str]
    form: Mapping[str, str]
    at: float


Answer = Callable[[Asked], web.Response | Awaitable[web.Response]]


@dataclass(slots=True)
class Identity:
    """A running server. `answer` may be replaced at any time."""

    answer: Answer
    host: str = ""
    asked: list[Asked] = field(default_factory=list)


@asynccontextmanager
async def identity(answer: Answer | None = None, tls: ssl.SSLContext | None = None) -> AsyncIterator[Identity]:
    """Serve on loopback, by default a token to everyone. `tls` is the server's own side; a test may want a broken one."""
    served = Identity(answer or (lambda _: given()))

    async def respond(request: web.BaseRequest) -> web.Response:
        form = dict(parse_qsl((await request.read()).decode()))
        headers = {name.lower(): value for name, value in request.headers.items()}
        asked = Asked(request.method, request.path_qs, headers, form, asyncio.get_running_loop().time())
        served.asked.append(asked)
        response = served.answer(asked)
        return response if isinstance(response, web.Response) else await response

    runner = web.ServerRunner(web.Server(respond), shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls or server_context())
        await site.start()
        served.host = f"127.0.0.1:{runner.addresses[0][1]}"
        yield served
    finally:
        await runner.cleanup()


def given(life: object = 3599, claims: Mapping[str, object] | None = None, **more: object) -> web.Response:
    """Give a token that says `claims`."""
    body = {"token_type": "Bearer", "expires_in": life, "access_token": jwt(claims or {"roles": ["Organization.Read.All"]})}
    return web.json_response(body | more)


def refused(number: int, status: int = 400, error: str = "invalid_request", headers: Mapping[str, str] | None = None) -> web.Response:
    """Refuse as Entra does."""
    body = {
        "error": error,
        "error_description": f"AADSTS{number}: So it is. Trace ID: t Correlation ID: c Timestamp: 2026-11-20 10:00:00Z",
        "error_codes": [number],
        "trace_id": "aaaaaaaa-0000-0000-0000-000000000000",
        "correlation_id": "bbbbbbbb-0000-0000-0000-000000000000",
    }
    return web.json_response(body, status=status, headers=headers)


def jwt(claims: Mapping[str, object]) -> str:
    """Write a token in the form of a JWT that nobody signed."""
    return ".".join((_part({"alg": "none"}), _part(claims), "signature"))


def _part(value: Mapping[str, object]) -> str:
    return urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()
