"""Listeners for line and frame protocols that close their connections when they end, so that no task outlives its server."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

from agent.drill.faults import Tcp, Tls
from agent.drill.hosting import Contexts, alert, drop, reset_on_close
from agent.drill.lossy import DROPS, losing
from agent.drill.world import World

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class _Running:
    """Tasks that end with their server."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, one: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(one)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _one(serve: Serve, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        await serve(reader, writer)
    finally:
        writer.close()


@asynccontextmanager
async def serve_stream(serve: Serve, listening: socket.socket) -> AsyncIterator[None]:
    """Call `serve` for each connection on a bound socket while the block runs; a connection is closed when its `serve` returns."""
    running = _Running()
    server = await asyncio.start_server(lambda reader, writer: running.start(_one(serve, reader, writer)), sock=listening)
    try:
        yield
    finally:
        server.close()
        await running.end()


@asynccontextmanager
async def serve_tls_stream(world: World, host: str, tls: Contexts, serve: Serve) -> AsyncIterator[int]:
    """Do the same for a host that speaks TLS from the first byte, under the world's faults, and give its port on 127.0.0.1."""
    running, loop = _Running(), asyncio.get_running_loop()

    async def take(taken: socket.socket, source: str) -> None:
        broken, fault = _broken(world, host, source), world.faults.first(Tls, host, region=world.region)
        if broken is not None:
            await drop(taken, broken.how)
        elif fault is not None and fault.how == "handshake_fail":
            await alert(taken, tls.under(fault))
        else:
            with suppress(OSError):  # the client went, or TLS failed, as it may and sometimes shall
                await _one(serve, *await _opened(taken, tls.under(fault)))

    async def accept(listening: socket.socket) -> None:
        while True:
            taken, (source, *_) = await loop.sock_accept(listening)
            running.start(take(taken, source))

    with listening_socket() as listening:
        listening.listen()
        listening.settimeout(0)
        running.start(accept(listening))
        try:
            async with losing(world.faults, host, lambda: world.region, (listening,)):
                yield listening.getsockname()[1]
        finally:
            await running.end()


async def _opened(taken: socket.socket, tls: ssl.SSLContext) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Take over a connection as server."""
    loop, reader = asyncio.get_running_loop(), asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await loop.connect_accepted_socket(lambda: protocol, taken, ssl=tls)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


def listening_socket() -> socket.socket:
    """Bind a TCP socket to a free port of 127.0.0.1. The protocol is named, because asyncio sets TCP_NODELAY only then."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))
    return listening


def _broken(world: World, host: str, source: str) -> Tcp | None:
    """Give the fault that ends a connection from there before it begins; the kernel does those that time out, where it can."""
    effects = [fault.effect for fault in world.faults.hits(host, Tcp, source=source, region=world.region)]
    return next((effect for effect in effects if isinstance(effect, Tcp) and not (DROPS and effect.how == "timeout")), None)


async def admitted(world: World, host: str, writer: asyncio.StreamWriter) -> bool:
    """Say whether a connection to this host goes on; a fault resets it, or keeps it for ever in silence."""
    broken = _broken(world, host, str(writer.get_extra_info("peername")[0]))
    if broken is not None and broken.how != "reset":
        await asyncio.Event().wait()
    if broken is not None:
        reset_on_close(writer.get_extra_info("socket").fileno())
        writer.transport.abort()
    return broken is None
