"""Sites on real sockets: one listener per host, TLS from a throw-away authority, and the faults that any server can have.

A connection is judged before its TLS handshake (reset, silence, a failing handshake, a certificate for another name), a request before it
is answered (status, delay, dripping body, reset). What a site itself does wrong, such as a refused token, is its own business.
"""

import asyncio
import errno
import os
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass

import trustme
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler

from agent.drill.authority import server_context
from agent.drill.faults import Drip, Effect, Fault, Http, Latency, Tcp, Tls
from agent.drill.lossy import DROPS, losing
from agent.drill.world import PLAIN, World

LARGEST_BODY = 64 * 1024 * 1024
"""Bytes of a request: Graph takes up to 60 MiB in one piece of an upload."""
_HANDSHAKE_SECONDS = 30.0
_BIND_ATTEMPTS = 20
_RECORD = 1 << 14
_DRIPS_PER_SECOND = 10
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_WRONG_NAME = "wrong.name.example"

Respond = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request is for, in the words in which faults select."""

    operation: str = ""
    service: str = ""
    grant: str = ""


async def _nothing_special(_request: web.BaseRequest) -> Asked:
    return Asked()


def _plain_failure(_request: web.BaseRequest, status: int, headers: Mapping[str, str]) -> web.Response:
    """Say a status as a front end does that knows nothing of what is behind it."""
    return web.Response(text=f"<!doctype html><title>{status}</title>\n", content_type="text/html", status=status, headers=headers)


@dataclass(frozen=True, slots=True)
class Site:
    """One host: its name in `HOSTS`, what it answers, and the real-looking names its certificate also carries.

    `asked` tells what a request is for (it may read the body: aiohttp keeps it). `failure` makes the answer of an HTTP fault.
    """

    host: str
    respond: Respond
    asked: Callable[[web.BaseRequest], Awaitable[Asked]] = _nothing_special
    failure: Callable[[web.BaseRequest, int, Mapping[str, str]], web.Response] = _plain_failure
    names: tuple[str, ...] = ()


def _aimed(fault: Fault) -> bool:
    """Whether a fault selects by what a request is for, which is unknown while the connection is made."""
    return bool(fault.where.operations or fault.where.services or fault.where.grants)


def reset_on_close(descriptor: int) -> None:
    """Make the system send RST instead of FIN when this socket closes (SO_LINGER of zero seconds)."""
    with socket.socket(fileno=os.dup(descriptor)) as same:
        same.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def _drip(request: web.BaseRequest, answer: web.Response, pace: float) -> web.StreamResponse:
    """Send the body at `pace` bytes a second, or nothing at all, ever."""
    if not pace:
        await asyncio.Event().wait()
    slow = web.StreamResponse(status=answer.status, headers=answer.headers)
    body = answer.body if isinstance(answer.body, bytes) else b""
    slow.content_length = len(body)
    await slow.prepare(request)
    size = max(1, round(pace / _DRIPS_PER_SECOND))
    for start in range(0, len(body), size):
        await slow.write(body[start : start + size])
        await asyncio.sleep(size / pace)
    return slow


async def _break(request: web.BaseRequest, how: str) -> None:
    """End the connection with a reset, or keep it and never answer."""
    if how == "reset" and request.transport is not None:
        reset_on_close(request.transport.get_extra_info("socket").fileno())
        request.transport.abort()
    await asyncio.Event().wait()


class _Disturbed:
    """A site under the world's faults."""

    def __init__(self, world: World, site: Site) -> None:
        self._world, self._site = world, site

    async def respond(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer, as disturbed as it is now."""
        effects = await self._effects(request)
        await asyncio.sleep(sum(effect.seconds for effect in effects if isinstance(effect, Latency)))
        for effect in effects:
            if isinstance(effect, Tcp):
                await _break(request, effect.how)
            if isinstance(effect, Http):
                return self._failure(request, effect)
        answer = await self._site.respond(request)
        pace = next((effect.bytes_per_second for effect in effects if isinstance(effect, Drip)), None)
        return await _drip(request, answer, pace) if pace is not None and isinstance(answer, web.Response) else answer

    async def _effects(self, request: web.BaseRequest) -> list[Effect]:
        asked = await self._site.asked(request)
        hits = self._world.faults.hits(
            self._site.host,
            *(Http, Latency, Drip, Tcp),
            operation=asked.operation,
            service=asked.service,
            grant=asked.grant,
            region=self._world.region,
            source=request.remote or "",
        )
        return [fault.effect for fault in hits if not isinstance(fault.effect, Tcp) or _aimed(fault)]

    def _failure(self, request: web.BaseRequest, effect: Http) -> web.Response:
        headers = {} if effect.retry_after is None else {"Retry-After": str(effect.retry_after)}
        return self._site.failure(request, self._world.random.choice(effect.statuses), headers)


class Contexts:
    """TLS of one host as it should be, and as each fault makes it; each is made when it is first needed."""

    def __init__(self, authority: trustme.CA, names: tuple[str, ...]) -> None:
        self._authority, self._names = authority, (*_LOOPBACK, *names)
        self._made: dict[str, ssl.SSLContext] = {}

    def under(self, fault: Tls | None) -> ssl.SSLContext:
        """Give TLS as this fault makes it, or as it should be."""
        how = fault.how if fault else ""
        if how not in self._made:
            self._made[how] = self._make(how)
        return self._made[how]

    def _make(self, how: str) -> ssl.SSLContext:
        match how:
            case "handshake_fail":  # a server without any certificate answers each greeting with the alert handshake_failure
                return ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            case "wrong_name":
                return server_context(self._authority, _WRONG_NAME)
            case "intercepted":
                return server_context(trustme.CA(organization_name="Contoso Web Proxy"), *self._names)
            case _:
                return server_context(self._authority, *self._names)


async def drop(taken: socket.socket, how: str) -> None:
    """Reset a connection, or keep it and never say a word."""
    with taken:
        if how != "reset":
            await asyncio.Event().wait()
        reset_on_close(taken.fileno())


async def alert(taken: socket.socket, failing: ssl.SSLContext) -> None:
    """Fail the handshake so that the client hears why: asyncio would drop the alert and reset."""
    loop, heard, said = asyncio.get_running_loop(), ssl.MemoryBIO(), ssl.MemoryBIO()
    side = failing.wrap_bio(heard, said, server_side=True)
    with taken, suppress(OSError):
        while data := await loop.sock_recv(taken, _RECORD):
            heard.write(data)
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError:
                await loop.sock_sendall(taken, said.read())
                taken.shutdown(socket.SHUT_WR)


class _Listener:
    """Takes connections of one site."""

    def __init__(self, world: World, site: Site, contexts: Contexts | None) -> None:
        self._world, self._site, self._contexts = world, site, contexts
        self._server = web.Server(_Disturbed(world, site).respond, request_factory=_request, handler_cancellation=True)
        self._running: set[asyncio.Task[None]] = set()

    async def run(self, listening: socket.socket) -> None:
        """Accept until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            taken, (source, *_) = await loop.sock_accept(listening)
            task = asyncio.create_task(self._take(taken, source))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _take(self, taken: socket.socket, source: str) -> None:
        """Begin one connection, or spoil it."""
        hits = self._world.faults.hits(self._site.host, Tcp, Tls, region=self._world.region, source=source)
        effects = [fault.effect for fault in hits]
        tcp = next((effect for effect in effects if isinstance(effect, Tcp) and not (DROPS and effect.how == "timeout")), None)
        tls = next((effect for effect in effects if isinstance(effect, Tls)), None)
        context = self._contexts.under(tls) if self._contexts else None
        if tcp is not None:
            await drop(taken, tcp.how)
        elif context is not None and tls is not None and tls.how == "handshake_fail":
            await alert(taken, context)
        else:
            seconds = _HANDSHAKE_SECONDS if context else None
            with suppress(OSError):  # the client went, or TLS failed, as it may and sometimes shall
                await asyncio.get_running_loop().connect_accepted_socket(self._server, taken, ssl=context, ssl_handshake_timeout=seconds)

    async def close(self) -> None:
        """End every connection."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._server.shutdown(0.1)


def _request(
    message: RawRequestMessage, payload: StreamReader, protocol: RequestHandler, writer: AbstractStreamWriter, task: "asyncio.Task[None]"
) -> web.BaseRequest:
    """Make aiohttp's request with room for uploads."""
    loop = asyncio.get_running_loop()
    return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=LARGEST_BODY)


@asynccontextmanager
async def serve_site(world: World, site: Site, authority: trustme.CA) -> AsyncIterator[int]:
    """Serve one host on a port of localhost while the block runs, note it in the world, and give it."""
    listener = _Listener(world, site, None if site.host in PLAIN else Contexts(authority, site.names))
    with ExitStack() as stack:
        sockets = [stack.enter_context(listening) for listening in _bound()]
        port: int = sockets[0].getsockname()[1]
        world.listens(site.host, port)
        accepting = [asyncio.create_task(listener.run(listening)) for listening in sockets]
        try:
            async with losing(world.faults, site.host, lambda: world.region, sockets):
                yield port
        finally:
            for task in accepting:
                task.cancel()
            await asyncio.gather(*accepting, return_exceptions=True)
            await listener.close()


def _bound() -> list[socket.socket]:
    """Listen on one port of 127.0.0.1 and, where the machine has IPv6, of ::1, as `localhost` may lead to either."""
    for _ in range(_BIND_ATTEMPTS):
        first = socket.create_server(("127.0.0.1", 0))
        first.settimeout(0)
        if not socket.has_ipv6:
            return [first]
        try:
            second = socket.create_server(("::1", first.getsockname()[1]), family=socket.AF_INET6)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:  # built with IPv6, on a machine without
                return [first]
            first.close()
        else:
            second.settimeout(0)
            return [first, second]
    raise OSError(errno.EADDRINUSE, "found no port that is free on both 127.0.0.1 and ::1")


@asynccontextmanager
async def serve_sites(world: World, *sites: Site, authority: trustme.CA | None = None) -> AsyncIterator[trustme.CA]:
    """Serve several hosts while the block runs, and give the authority to trust."""
    trusted = authority or trustme.CA()
    async with AsyncExitStack() as stack:
        for site in sites:
            await stack.enter_async_context(serve_site(world, site, trusted))
        yield trusted
