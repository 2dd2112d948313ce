"""HTTP/1.1, one exchange on one fresh connection, thin enough that what it measures is the server.

llhttp parses. The time of the first byte is taken where the bytes arrive, not where somebody gets round to them. All that a server sends
is bounded: header, body, and the body after unpacking. Redirects are the caller's.
"""

import asyncio
import hashlib
import socket
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from time import perf_counter
from typing import Protocol

import httptools

from probes.core.context import Context
from probes.core.contract import Failed, Stopped
from probes.core.reasons import Reason
from probes.lib.connect import KernelView, connect, kernel_view, measure_kernel
from probes.lib.proxy import Route
from probes.lib.tls import Trust, start_tls
from probes.lib.tunnel import reach, tunnel
from probes.lib.url import Url, endpoint
from probes.lib.wire import Wire

USER_AGENT = f"fogbell/{version('fogbell')}"
HEADER_BYTES = 65536
"""Longest header of an answer, interim answers included. Also the most that may come later without any of the body."""
BODY_BYTES = 4 << 20
"""Longest body where nothing else is said: unpacking more would hold up other probes."""

Headers = tuple[tuple[str, str], ...]
_OK, _SWITCHING, _PROXY_LOGIN = 200, 101, 407
_ALPN = ("http/1.1",)


@dataclass(frozen=True)
class Request:
    """A request as it will be sent. Header names and values hold no control characters; Host, Connection and lengths are added."""

    method: str
    url: Url
    headers: Headers = ()
    body: bytes = b""

    @cached_property
    def direct(self) -> bytes:
        """The whole request for a connection to the server."""
        return self.written(self.url.target)

    def written(self, target: str, more: Headers = ()) -> bytes:
        """Write the whole request for another target: a URL for a proxy."""
        named = {name.lower() for name, _ in self.headers}
        own = [("Host", self.url.authority), ("User-Agent", USER_AGENT), ("Accept", "*/*"), ("Connection", "close")]
        if self.body or self.method in {"POST", "PUT", "PATCH"}:
            own.append(("Content-Length", str(len(self.body))))
        fields = [*((name, value) for name, value in own if name.lower() not in named), *self.headers, *more]
        lines = [f"{self.method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields), "\r\n"]
        return "\r\n".join(lines).encode("latin-1", "backslashreplace") + self.body


@dataclass(frozen=True, slots=True)
class Response:
    """An answer that came whole.

    Header names are in lower case, several of one name joined by a comma. `body` is only its beginning unless it was to be kept;
    `body_bytes` is its size after unpacking, `wire_bytes` before. `transfer` are the seconds from the first byte to the last.
    """

    status: int
    headers: dict[bytes, bytes]
    body: bytes
    body_bytes: int
    wire_bytes: int
    sha256: str
    transfer: float
    kernel: KernelView | None

    def header(self, name: str) -> str | None:
        """Value of a header field, or None."""
        value = self.headers.get(name.lower().encode("latin-1", "replace"))
        return None if value is None else value.decode("latin-1")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to do with a body: how much to accept, whether to keep it, to hash it, to measure half of it, and who is given each piece."""

    limit: int = BODY_BYTES
    keep: bool = True
    digest: bool = False
    half: bool = False
    take: Callable[[bytes], None] | None = None


EVERYTHING = Wanted()


async def exchange(ctx: Context, wire: Wire, message: bytes, method: str, wanted: Wanted) -> Response:
    """Send a whole request and read its answer, timed as the phases processing and transfer.

    Raises:
        Failed: CONNECTION_RESET, TRUNCATED, PROTOCOL_ERROR, CONTENT_MISMATCH where the body is over the limit.

    """
    reading = _Reading(wire, method, wanted)
    try:
        return await reading.answer_to(message)
    finally:
        reading.tell_phases(ctx)
        reading.tell_half(ctx)


async def fetch(
    ctx: Context,
    request: Request,
    *,
    trust: Trust,
    route: Route | None = None,
    family: int = socket.AF_UNSPEC,
    wanted: Wanted = EVERYTHING,
) -> Response:
    """Make one exchange on a fresh connection, through the proxy that `route` names, if any. A redirect is an answer like others.

    Behind a proxy the phases resolve and connect are those of the proxy. Under https the phase `proxy` is the CONNECT, and the phase tls
    the target's. Under http the proxy is asked for the whole URL, as browsers do, because few proxies allow CONNECT to port 80; there its
    answers cannot be told from the target's, except for 407.

    Raises:
        Failed: with any reason of names, connections, proxies and TLS, or of `exchange`.
        Inconclusive: where this machine lacks what the run needs.

    """
    through = route if route is not None and request.url.scheme == "http" else None
    with await opened(ctx, request.url, trust, route, family) as wire:
        message = request.direct if through is None else request.written(str(request.url), through.headers)
        response = await exchange(ctx, wire, message, request.method, wanted)
    if through is not None and response.status == _PROXY_LOGIN:
        raise Failed(Reason.PROXY_AUTH, f"the proxy {through} asks for a login", code="407")
    return response


async def opened(ctx: Context, url: Url, trust: Trust, route: Route | None, family: int = socket.AF_UNSPEC) -> Wire:
    """Open a connection for exchanges with the server of `url`, through the proxy that `route` names, if any.

    Raises:
        Failed: with any reason of names, connections, proxies and TLS.
        Inconclusive: where this machine lacks what the run needs.

    """
    wire = await reached(ctx, url, route, family, through=url.scheme == "https")
    try:
        if url.scheme == "https":
            await start_tls(ctx, wire, trust, url.host, alpn=_ALPN)
    except BaseException:
        wire.close()
        raise
    return wire


async def reached(ctx: Context, url: Url, route: Route | None, family: int = socket.AF_UNSPEC, *, through: bool = True) -> Wire:
    """Open a connection to the server of `url`: directly, or `through` the proxy that `route` names; else to that proxy.

    Raises:
        Failed: with any reason of names, connections and proxies.
        Inconclusive: where this machine lacks what the run needs.

    """
    if route is None:
        return await connect(ctx, url.host, url.port, family=family)
    if not through:
        return await reach(ctx, route, family)
    return await tunnel(ctx, route, endpoint(url.host, url.port), USER_AGENT, family)


class _Unpacker(Protocol):
    """The part of zlib's objects that we use."""

    @property
    def unconsumed_tail(self) -> bytes: ...

    @property
    def eof(self) -> bool: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class _Stop(Exception):  # noqa: N818 - no error: it only leaves the parser
    """Parsing has come to its end, good or bad."""


class _Reading:
    """The answer to one request while it arrives. Its `on_…` methods are llhttp's events."""

    def __init__(self, wire: Wire, method: str, wanted: Wanted) -> None:
        self.sent = self.first = self.last = 0.0
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._answer: Response | None = None
        self._failure: Stopped | None = None
        self._kernel: KernelView | None = None
        self._status = 0
        self._headers: dict[bytes, bytes] = {}
        self._wire = wire
        self._method = method
        self._wanted = wanted
        self._head_done = False
        self._received = self._header_bytes = self._wire_bytes = self._body_bytes = self._around = 0
        self._parts: list[bytes] = []
        self._sha256 = hashlib.sha256() if wanted.digest else None
        self._unpacker: _Unpacker | None = None
        self._parser = httptools.HttpResponseParser(self)
        # What browsers and Go forgive: a bare LF as the end of a line, bytes behind the end of the answer.
        self._parser.set_dangerous_leniencies(lenient_optional_cr_before_lf=True, lenient_data_after_close=True)

    async def answer_to(self, message: bytes) -> Response:
        """Send `message` and wait for the whole answer."""
        self._wire.listen(self.feed, self.end)
        # Before, not after: the answer may come while the kernel is still at it, and that time would be in no phase.
        self.sent = perf_counter()
        self._wire.write(message)
        await self._done
        if self._answer is None:
            raise self._failure or self._wire.stopped()
        return self._answer

    def feed(self, data: bytes) -> None:
        """Take bytes as they arrive."""
        if self._done.done():
            return
        if not self._received:
            self.first = perf_counter()
        self._received += len(data)
        before = self._head_done, self._wire_bytes
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            if not self._done.done():
                self._finish()
        except httptools.HttpParserError as error:
            if not self._done.done():
                self._fail(Reason.PROTOCOL_ERROR, f"the answer is not HTTP/1.1: {error}")
        self._around = self._around + len(data) if before == (self._head_done, self._wire_bytes) else 0
        if self._around > HEADER_BYTES:
            what = "more than {} bytes beside the body" if self._head_done else "the header is longer than {} bytes"
            self._fail(Reason.PROTOCOL_ERROR, what.format(HEADER_BYTES))

    def end(self) -> None:
        """Judge what came, now that the stream has ended."""
        if self._done.done():
            return
        if self._wire.error is not None:
            self._stop(self._wire.stopped())
        elif not self._head_done:
            self._stop(self._wire.stopped("inside the header of its answer" if self._received else "without an answer"))
        elif b"content-length" in self._headers or b"transfer-encoding" in self._headers or not self._wire.farewell:
            announced = self._headers.get(b"content-length", b"an unknown number of").decode("latin-1")
            self._fail(Reason.TRUNCATED, f"the body ended after {self._wire_bytes} of {announced} bytes")
        else:
            self._complete()

    def tell_phases(self, ctx: Context) -> None:
        """Add the two phases; of an answer that never came whole, those that began, the last one as still open."""
        now = self.last or perf_counter()
        if not self.sent:
            return
        # A server that does not wait for the question has its first byte here before.
        ctx.add_phase("processing", max((self.first or now) - self.sent, 0.0))
        if self.first:
            ctx.add_phase("transfer", now - self.first)
        if not self.last:
            ctx.open_steps[-1].open_phases.append("transfer" if self.first else "processing")

    def tell_half(self, ctx: Context) -> None:
        """Keep what is known of an answer that never came whole; of a whole one there is more to tell, and others do."""
        if self._answer is not None:
            return
        if self._head_done:
            ctx.evidence("status", self._status)
        if self._wanted.half and self._head_done:
            ctx.measure("status", self._status)
            ctx.measure("body_bytes", self._body_bytes)
        if self._wanted.half:
            measure_kernel(ctx, self._kernel or kernel_view(self._wire))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header field; what comes behind the body is none (RFC 9110 6.5.1), and may have no end."""
        if self._head_done:
            return
        name = name.lower()
        self._header_bytes += len(name) + len(value)
        self._headers[name] = self._headers[name] + b", " + value if name in self._headers else value

    def on_headers_complete(self) -> None:
        """Begin with the body, unless there is none or this was but an interim answer."""
        if self._header_bytes > HEADER_BYTES:
            self._fail(Reason.PROTOCOL_ERROR, f"the header is longer than {HEADER_BYTES} bytes")
            raise _Stop
        status = self._parser.get_status_code()
        if status < _OK and status != _SWITCHING:
            self._headers = {}
            return
        self._status, self._head_done = status, True
        if self._method == "HEAD":
            self._finish()
            raise _Stop
        encoding = self._headers.get(b"content-encoding", b"identity").strip().lower()
        if encoding != b"identity":
            self._unpacker = self._unpack(encoding)

    def on_body(self, data: bytes) -> None:
        """Take a piece of the body."""
        self._wire_bytes += len(data)
        if self._unpacker is None:
            self._take(data)
            return
        try:
            while data and not self._unpacker.eof:
                self._take(self._unpacker.decompress(data, self._wanted.limit - self._body_bytes + 1))
                data = self._unpacker.unconsumed_tail
        except zlib.error as error:
            self._fail(Reason.PROTOCOL_ERROR, f"the body cannot be unpacked: {error}")
            raise _Stop from error

    def on_message_complete(self) -> None:
        """End with this answer, unless it was an interim one."""
        if self._head_done and not self._done.done():
            self._complete()

    def _take(self, data: bytes) -> None:
        self._body_bytes += len(data)
        if self._body_bytes > self._wanted.limit:
            self._fail(Reason.CONTENT_MISMATCH, f"the body is longer than the limit of {self._wanted.limit} bytes")
            raise _Stop
        if self._wanted.keep or not self._parts:
            self._parts.append(data)
        if self._sha256 is not None:
            self._sha256.update(data)
        if self._wanted.take is not None:
            self._wanted.take(data)

    def _unpack(self, encoding: bytes) -> _Unpacker | None:
        is_streamed = self._wanted.take is not None
        if encoding in {b"gzip", b"x-gzip"} and not is_streamed:
            return zlib.decompressobj(wbits=31)
        if encoding == b"deflate" and not is_streamed:
            return zlib.decompressobj()
        # What is large is taken as it is: of a packed file a few bytes may be hundreds of megabytes, which would hold up others.
        if self._status != _OK if is_streamed else not self._wanted.keep and self._sha256 is None:
            return None
        self._fail(Reason.PROTOCOL_ERROR, f"the body is packed in a way that was not asked for: {encoding[:40]!r}")
        raise _Stop

    def _complete(self) -> None:
        """Finish, if the packed body is whole."""
        if self._unpacker is not None and self._wire_bytes and not self._unpacker.eof:
            self._fail(Reason.TRUNCATED, f"the packed body ends in the middle, after {self._wire_bytes} bytes")
        else:
            self._finish()

    def _finish(self) -> None:
        self.last = perf_counter()
        self._answer = Response(
            status=self._status,
            headers=self._headers,
            body=b"".join(self._parts),
            body_bytes=self._body_bytes,
            wire_bytes=self._wire_bytes,
            sha256=self._sha256.hexdigest() if self._sha256 else "",
            transfer=self.last - self.first,
            # Asked here, because the connection may be closed by the time that the run goes on.
            kernel=kernel_view(self._wire),
        )
        # A second answer behind the first must not write into it.
        self._headers = {}
        self._done.set_result(None)

    def _fail(self, reason: Reason, message: str) -> None:
        self._stop(Failed(reason, f"{self._wire.peer[0]}: {message}"))

    def _stop(self, failure: Stopped) -> None:
        if self._done.done():
            return
        self._failure = failure
        self._kernel = kernel_view(self._wire)
        self.last = perf_counter()
        self._done.set_result(None)
        self._wire.close()
