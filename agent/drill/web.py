"""A web server in process: a table of pages, plain or TLS, and faults by path."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from agent.drill.nameserver import Faults, no_faults
from agent.drill.story import Effect

SLOW_SECONDS = 6.0
"""How long a page under `Effect.SLOW` thinks before its first byte."""
FOREVER_SECONDS = 3600.0
"""How long a page under `Effect.SILENT` holds the connection: longer than anybody waits."""
_DRIPS = 20


@dataclass(frozen=True, slots=True)
class Page:
    """What one path answers. `seconds` pass before the first byte; `drip` more while the body goes out in small pieces."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    drip: float = 0.0


def _page_now(page: Page, effect: Effect | None) -> Page:
    """Return the page as the fault makes it."""
    match effect:
        case Effect.UNAVAILABLE:
            return Page(b"Service Unavailable\n", 503, {"Content-Type": "text/plain", "Retry-After": "30"}, page.seconds)
        case Effect.SLOW:
            return Page(page.body, page.status, page.headers, SLOW_SECONDS, page.drip)
        case Effect.DRIP:
            return Page(page.body, page.status, page.headers, page.seconds, SLOW_SECONDS)
        case Effect.SILENT:
            return Page(seconds=FOREVER_SECONDS)
        case _:
            return page


async def _send(request: web.BaseRequest, page: Page) -> web.StreamResponse:
    """Send the page at its own pace."""
    await asyncio.sleep(page.seconds)
    if not page.drip:
        return web.Response(body=page.body, status=page.status, headers=page.headers)
    response = web.StreamResponse(status=page.status, headers=page.headers)
    response.content_length = len(page.body)
    await response.prepare(request)
    size = max(1, len(page.body) // _DRIPS)
    for start in range(0, len(page.body), size):
        await response.write(page.body[start : start + size])
        await asyncio.sleep(page.drip / _DRIPS)
    return response


def _respond(pages: Mapping[str, Page], faults: Faults) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
    """Make the function that answers every request."""

    async def respond(request: web.BaseRequest) -> web.StreamResponse:
        page = pages.get(request.path, Page(b"Not Found\n", 404))
        return await _send(request, _page_now(page, faults(request.path)))

    return respond


@asynccontextmanager
async def serve_pages(
    pages: Mapping[str, Page], faults: Faults = no_faults, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[int]:
    """Run a web server while the block runs, and give its port.

    Raises:
        OSError: where the port is taken.

    """
    runner = web.ServerRunner(web.Server(_respond(pages, faults), handler_cancellation=True), shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, ssl_context=tls)
        await site.start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
