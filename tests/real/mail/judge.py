"""Says whose a token is, when a mail server asks (RFC 7662): the part that Exchange's directory plays for its own servers."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web


@asynccontextmanager
async def token_judge(owner: Callable[[str], str]) -> AsyncIterator[str]:
    """Answer with the user name that `owner` gives for a token, "" for one that is no good, while the block runs; gives the URL."""

    async def judge(request: web.BaseRequest) -> web.Response:
        name = owner(request.headers.get("Authorization", "").removeprefix("Bearer "))
        return web.json_response({"active": bool(name), "username": name})

    runner = web.ServerRunner(web.Server(judge), shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()
