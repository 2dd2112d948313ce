"""The real application on a real port of loopback, over samples."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from agent.history import History
from agent.job import Job
from agent.web import Exposition, Feed, LastReload, Limits, Site, application
from tests.web.samples import NOW


@dataclass(frozen=True)
class Scrape:
    """A finished scrape."""

    content_type: str
    encoding: str
    chunks: tuple[bytes, ...]


async def scrape(accept: str, accept_encoding: str) -> Exposition:
    return Scrape("text/plain; version=0.0.4", "", (f"# {accept}|{accept_encoding}\n".encode(), b"up 1\n"))


@dataclass
class World:
    """What a test can turn."""

    history: History = field(default_factory=History)
    jobs: tuple[Job, ...] = ()
    ready: bool = True
    last_reload: LastReload = field(default_factory=lambda: LastReload(ok=True, when=NOW - 90))
    now: float = NOW
    started: float = NOW - 93_784.0


def site(world: World, **changes: object) -> Site:
    values = {
        "history": world.history,
        "jobs": lambda: world.jobs,
        "metrics": scrape,
        "config_text": lambda: "probes: []\n",
        "ready": lambda: world.ready,
        "last_reload": lambda: world.last_reload,
        "reload": None,
        "feed": Feed(),
        "started": world.started,
        "version": "1.2.3",
        "clock": lambda: world.now,
        "limits": Limits(),
    }
    return Site(**values | changes)  # type: ignore[arg-type] # a test names what it changes


@asynccontextmanager
async def serving(site: Site, port: int = 0) -> AsyncIterator[str]:
    """Serve, and yield the address to fetch from."""
    runner = web.AppRunner(application(site), access_log=None, shutdown_timeout=1)
    await runner.setup()
    listener = web.TCPSite(runner, "127.0.0.1", port)
    await listener.start()
    host, port = runner.addresses[0][:2]
    try:
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


async def listeners(feed: Feed, count: int) -> None:
    """Wait until so many listen."""
    async with asyncio.timeout(5):
        while len(feed) != count:  # noqa: ASYNC110 - the feed tells nobody who listens
            await asyncio.sleep(0.01)
