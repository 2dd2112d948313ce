"""A listener for line and frame protocols that closes its connections when it ends, so that no task outlives its server."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from agent.drill.faults import Tcp
from agent.drill.hosting import reset_on_close
from agent.drill.lossy import DROPS
from agent.drill.world import World

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serve_stream(serve: Serve, listening: socket.socket, tls: ssl.SSLContext | None = None) -> AsyncIterator[None]:
    """Call `serve` for each connection on a bound socket while the block runs; a connection is closed when its `serve` returns."""
    running: set[asyncio.Task[None]] = set()

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        finally:
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(one(reader, writer))
        running.add(task)
        task.add_done_callback(running.discard)

    server = await asyncio.start_server(accept, sock=listening, ssl=tls)
    try:
        yield
    finally:
        server.close()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def listening_socket() -> socket.socket:
    """Bind a TCP socket to a free port of 127.0.0.1. The protocol is named, because asyncio sets TCP_NODELAY only then."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))
    return listening


async def admitted(world: World, host: str, writer: asyncio.StreamWriter) -> bool:
    """Say whether a connection to this host goes on; a fault resets it, or keeps it for ever in silence."""
    source = str(writer.get_extra_info("peername")[0])
    hits = world.faults.hits(host, Tcp, source=source, region=world.region)
    broken = next((fault.effect for fault in hits if not (DROPS and fault.effect == Tcp("timeout"))), None)
    if broken is not None and broken != Tcp("reset"):
        await asyncio.Event().wait()
    if broken is not None:
        reset_on_close(writer.get_extra_info("socket").fileno())
        writer.transport.abort()
    return broken is None
