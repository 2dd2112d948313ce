"""The pages on their addresses, behind what `--web.config.file` asks for; the files are followed while the agent runs."""

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from agent.address import Address, written
from agent.config.mistakes import ConfigurationError
from agent.web.application import HEADERS, OWN_HEADERS, application
from agent.web.guard import GUARD
from agent.web.site import Site
from agent.web.web_yml import OPEN, Protection, digest, load

log = logging.getLogger("fogbell.web")

_BACKLOG = 1024


class ListenError(Exception):
    """An address or the web configuration cannot be used; the message says why and what to do."""


@asynccontextmanager
async def listening(
    site: Site,
    addresses: Sequence[Address],
    web_config: Path | None = None,
    *,
    stop_seconds: float = 1.0,
    follow_seconds: float = 5.0,
) -> AsyncIterator[tuple[Address, ...]]:
    """Serve the site while the block runs, and yield the addresses it has.

    `stop_seconds` is how long answers that are being sent may still take at the end; `follow_seconds` how often the content of `web_config`
    is compared.

    Raises:
        ListenError: at the start.

    """
    app = application(site)
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=stop_seconds)
    await runner.setup()
    door = _Door(runner, app, web_config)
    following: asyncio.Task[None] | None = None
    try:
        found = await door.open(addresses)
        following = asyncio.get_running_loop().create_task(door.follow(follow_seconds), name="web.yml")
        yield found
    finally:
        if following is not None:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
        await door.close()
        await runner.cleanup()


class _Door:
    """The listening sockets, and the servers on them, which are replaced when their TLS changes."""

    def __init__(self, runner: web.AppRunner, app: web.Application, web_config: Path | None) -> None:
        self._runner = runner
        self._app = app
        self._web_config = web_config
        self._protection = OPEN
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="web.yml")
        self._sockets: list[socket.socket] = []
        self._sites: list[web.SockSite] = []

    async def open(self, addresses: Sequence[Address]) -> tuple[Address, ...]:
        """Begin to serve, and return the addresses."""
        try:
            protection = await self._load()
        except ConfigurationError as error:
            raise ListenError(str(error)) from error
        for host, port in addresses:
            self._sockets += await _bound(host, port)
        await self._serve(protection)
        return tuple(sock.getsockname()[:2] for sock in self._sockets)

    async def follow(self, seconds: float) -> None:
        """Take over changes of the protection, for ever. A file with mistakes changes nothing and is logged once."""
        said = ""
        while self._web_config is not None:
            await asyncio.sleep(seconds)
            wrong = await self._look()
            if wrong and wrong != said:
                log.error("the web configuration has mistakes; the one before stays in force", extra={"mistakes": wrong})
            said = wrong

    async def close(self) -> None:
        """Serve no more; connections that are open stay until the runner ends them."""
        for site in self._sites:
            await site.stop()
        for sock in self._sockets:
            sock.close()
        self._reading.shutdown(wait=False)

    async def _look(self) -> str:
        """Return the mistakes of a changed file, or nothing."""
        loop = asyncio.get_running_loop()
        if await loop.run_in_executor(self._reading, digest, self._protection.files) == self._protection.digest:
            return ""
        try:
            await self._serve(await self._load())
        except (ConfigurationError, OSError) as error:
            return str(error)
        log.info("the web configuration has changed and is in force")
        return ""

    async def _load(self) -> Protection:
        if self._web_config is None:
            return OPEN
        return await asyncio.get_running_loop().run_in_executor(self._reading, load, self._web_config)

    async def _serve(self, protection: Protection) -> None:
        """Put the protection in force. New servers listen on the same sockets before the old ones go, so nobody is refused meanwhile."""
        self._app[GUARD].users = protection.users
        self._app[HEADERS].clear()
        self._app[HEADERS].update(OWN_HEADERS | protection.headers)
        if not self._sites or protection.tls is not None or self._protection.tls is not None:
            old, self._sites = self._sites, []
            for sock in self._sockets:
                site = web.SockSite(self._runner, sock.dup(), ssl_context=protection.tls, backlog=_BACKLOG)
                await site.start()
                self._sites.append(site)
            for site in old:
                await site.stop()
        self._protection = protection


async def _bound(host: str, port: int) -> list[socket.socket]:
    """Return listening sockets for an address, one for each it resolves to."""
    loop = asyncio.get_running_loop()
    sockets: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE):
            sock = socket.socket(family, kind, protocol)
            sockets.append(sock)
            if os.name == "posix":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(address)
            sock.listen(_BACKLOG)
            sock.setblocking(False)  # noqa: FBT003 - the name of the argument is positional only
    except OSError as error:
        for sock in sockets:
            sock.close()
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise ListenError(f"cannot listen on {written((host, port))}: {reason}; another address can be given with --listen") from error
    return sockets
