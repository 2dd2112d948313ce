"""Servers that behave badly, each in one exact way, and the few good ones that stand beside them.

Each is an async context manager that yields `(host, port)` on loopback and leaves nothing open behind it:

    async with hostile.resets_in_header() as (host, port): ...
"""

import asyncio
import base64
import random
import select
import socket
import ssl
import struct
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import cache
from typing import TypeVar

from tests.fakes.certificates import Flaw, server_context

_GRACE = 0.5

Address = tuple[str, int]
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Server = AbstractAsyncContextManager[Address]
T = TypeVar("T")

GARBAGE = bytes(byte for byte in random.Random(1).randbytes(70_000) if byte not in b"\r\n")  # noqa: S311 - noise, not a secret
"""Bytes that are no protocol; no line ends in them."""
HEADER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1000\r\n"


@asynccontextmanager
async def serving(talk: Talk, tls: ssl.SSLContext | None = None) -> AsyncIterator[Address]:
    """Serve every connection with `talk`. A connection ends with its `talk`, and all of them with the server."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(task := _current())
        try:
            await talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError, ssl.SSLError):
            writer.transport.abort()
        await _ended(writer)
        tasks.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls, limit=1 << 20)
    try:
        host, port = server.sockets[0].getsockname()
        yield host, port
    finally:
        server.close()
        if tasks:  # what a client said before it left is still heard
            await asyncio.wait(tasks, timeout=_GRACE)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


# Connections


@asynccontextmanager
async def refuses() -> AsyncIterator[Address]:
    """Refuse: nothing listens. Nobody else can take the port meanwhile, because it is bound."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()


@asynccontextmanager
async def drops() -> AsyncIterator[Address]:
    """Leave connection attempts without an answer: the queue of the listening socket is full."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        fillers = [_filler(listening.getsockname()) for _ in range(4)]
        try:
            select.select([], fillers, [], 1.0)  # one of them got the only place in the queue
            yield listening.getsockname()
        finally:
            for filler in fillers:
                filler.close()


def says_nothing() -> Server:
    """Accept and keep silent, whatever it is sent."""
    return serving(_read_all)


def drips(data: bytes = HEADER, interval: float = 1.0, tls: ssl.SSLContext | None = None) -> Server:
    """Wait for no question, send one byte each `interval` seconds: first `data`, then the letter x for ever."""

    async def talk(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        position = 0
        while True:
            writer.write(data[position : position + 1] or b"x")
            await writer.drain()
            position += 1
            await asyncio.sleep(interval)

    return serving(talk, tls)


def resets_at_once() -> Server:
    """Accept, and reset before a byte is exchanged."""
    return resets_after(b"", waits_for_request=False)


def resets_after(data: bytes, *, waits_for_request: bool = True, tls: ssl.SSLContext | None = None) -> Server:
    """Read a request (any bytes), send `data`, reset."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if waits_for_request:
            await reader.read(65536)
        writer.write(data)
        await writer.drain()
        _reset(writer)

    return serving(talk, tls)


def resets_in_header() -> Server:
    """Reset in the middle of an HTTP header."""
    return resets_after(HEADER[:24])


def resets_in_body() -> Server:
    """Reset in the middle of an HTTP body."""
    return resets_after(HEADER + b"\r\n" + b"x" * 500)


def closes_after(data: bytes, *, waits_for_request: bool = True, tls: ssl.SSLContext | None = None) -> Server:
    """Read a request (any bytes), send `data`, close in good order."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if waits_for_request:
            await reader.read(65536)
        writer.write(data)
        await writer.drain()

    return serving(talk, tls)


def sends(data: bytes, tls: ssl.SSLContext | None = None) -> Server:
    """Send `data` unasked, and then keep silent and open."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await _read_all(reader, writer)

    return serving(talk, tls)


def garbage() -> Server:
    """Send 70 kB of noise without a line end, unasked, and stay open."""
    return sends(GARBAGE)


def endless(first: bytes, again: bytes) -> Server:
    """Send `first` unasked, and then `again` without end, as fast as the other side reads."""

    async def talk(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(first)
        while True:
            writer.write(again)
            await writer.drain()

    return serving(talk)


# HTTP


def page(body: bytes = b"hello\n", status: bytes = b"200 OK", headers: bytes = b"", tls: ssl.SSLContext | None = None) -> Server:
    """Answer as a good web server: each request of a connection gets this page."""
    head = b"HTTP/1.1 " + status + b"\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n" % len(body) + headers + b"\r\n"

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(head + body)

    return serving(talk, tls)


def endless_body(length: int = 10_000_000_000) -> Server:
    """Announce 10 GB and go on sending until the client leaves."""
    return _endless_answer(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length, b"x" * 65536)


def endless_header() -> Server:
    """Send header fields without end."""
    return _endless_answer(b"HTTP/1.1 200 OK\r\n", b"X-Padding: " + b"x" * 1000 + b"\r\n")


def gzip_bomb() -> Server:
    """Send about 65 kB that unpack to 64 MiB."""
    return page(_bomb(), headers=b"Content-Encoding: gzip\r\n")


def endless_redirects() -> Server:
    """Send on from every page to the next."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while request := await reader.readuntil(b"\r\n\r\n"):
            path = request.split(b" ", 2)[1]
            number = int(path.rpartition(b"/")[2] or b"0")
            writer.write(b"HTTP/1.1 302 Found\r\nLocation: /%d\r\nContent-Length: 0\r\n\r\n" % (number + 1))

    return serving(talk)


# TLS


def tls_page(flaw: Flaw = Flaw.NONE) -> Server:
    """Serve a page over TLS, with a certificate that has one flaw."""
    return page(tls=server_context(flaw))


def tls_stalls() -> Server:
    """Read the ClientHello and keep silent: the handshake never goes on."""
    return says_nothing()


def tls_resets_in_handshake() -> Server:
    """Send half of the first flight and reset."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server = ServerTls()
        server.incoming.write(await reader.read(65536))
        with suppress(ssl.SSLWantReadError):
            server.tls.do_handshake()
        flight = server.outgoing.read()
        writer.write(flight[: len(flight) // 2])
        await writer.drain()
        _reset(writer)

    return serving(talk)


def tls_resets_in_record() -> Server:
    """Finish the handshake, read a request, send half of a TLS record of the answer, and reset."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server = ServerTls()
        await server.until(server.tls.do_handshake, reader, writer)
        await server.until(lambda: server.tls.read(65536), reader, writer)
        server.tls.write(HEADER + b"\r\n" + b"x" * 1000)
        record = server.outgoing.read()
        writer.write(record[: len(record) // 2])
        await writer.drain()
        _reset(writer)

    return serving(talk)


# Proxies


def proxy(login: str = "") -> Server:
    """Run a good HTTP proxy for CONNECT and for whole URLs. With `login` ("user:password") it asks for it with 407."""
    return serving(lambda reader, writer: _proxied(reader, writer, login))


def proxy_refuses(status: bytes = b"403 Forbidden") -> Server:
    """Refuse whatever it is asked for."""
    return page(b"Blocked by company policy\n", status)


def proxy_breaks_off(*, answered: bool = False) -> Server:
    """Close after CONNECT: before its answer, or (`answered`) after it has said 200."""
    return closes_after(b"HTTP/1.1 200 Connection established\r\n\r\n" if answered else b"")


async def _proxied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, login: str) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    if login and _basic(login) not in head:
        writer.write(
            b'HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm="company"\r\nContent-Length: 0\r\n\r\n'
        )
        return
    method, target, _ = head.split(b" ", 2)
    if method == b"CONNECT":
        where, first = target, b""
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
    else:
        where = target.split(b"/")[2]
        first = head.replace(b"http://" + where, b"", 1)
    host, _, port = where.decode().rpartition(":")
    far_reader, far_writer = await asyncio.open_connection(host.strip("[]"), int(port))
    far_writer.write(first)
    try:
        await asyncio.gather(_pipe(reader, far_writer), _pipe(far_reader, writer))
    finally:
        await _ended(far_writer)


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


def _basic(login: str) -> bytes:
    return b"Basic " + base64.b64encode(login.encode())


# Parts


class ServerTls:
    """A server's side of TLS whose bytes pass through our hands."""

    def __init__(self, flaw: Flaw = Flaw.NONE) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = server_context(flaw).wrap_bio(self.incoming, self.outgoing, server_side=True)

    async def until(self, act: Callable[[], T], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> T:
        """Repeat `act`, exchanging bytes, until it needs no more of them, and return what it returns."""
        while True:
            try:
                done = act()
            except ssl.SSLWantReadError:
                writer.write(self.outgoing.read())
                received = await reader.read(65536)
                if not received:
                    raise ConnectionResetError from None
                self.incoming.write(received)
            else:
                writer.write(self.outgoing.read())
                return done


def _endless_answer(first: bytes, again: bytes) -> Server:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(first)
        while True:
            writer.write(again)
            await writer.drain()

    return serving(talk)


@cache
def _bomb(size: int = 64 << 20) -> bytes:
    packer = zlib.compressobj(9, wbits=31)
    zeros = bytes(1 << 20)
    return b"".join(packer.compress(zeros) for _ in range(size >> 20)) + packer.flush()


def _filler(address: Address) -> socket.socket:
    filler = socket.socket()
    filler.settimeout(0)
    with suppress(BlockingIOError):
        filler.connect(address)
    return filler


async def _read_all(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    while await reader.read(65536):
        pass


def _reset(writer: asyncio.StreamWriter) -> None:
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _ended(writer: asyncio.StreamWriter) -> None:
    """Close when the other side has read what is still unsent; at once when it has gone, or when we are told to end."""
    try:
        writer.close()
        await writer.wait_closed()
    except (ConnectionError, ssl.SSLError, asyncio.CancelledError):
        writer.transport.abort()


def _current() -> asyncio.Task[None]:
    task = asyncio.current_task()
    assert task is not None
    return task
