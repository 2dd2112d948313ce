"""One TCP connection, plain or with TLS, whose bytes are pulled or fed to a parser."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from types import TracebackType
from typing import Self, cast

from probes.core.contract import Failed, Stopped
from probes.core.reasons import Reason
from probes.lib.oserror import stopped_by

BUFFER_BYTES = 65536
"""Unread bytes at which reading pauses, so that a hostile peer cannot fill memory."""


class Wire(asyncio.Protocol):
    """One TCP connection.

    Pull from it (`read_some`, `read_line`, `read_exactly`), or set `sink` before the peer can answer: then each piece goes there as it
    arrives, and `on_end` is called once when the stream has ended, with `error` telling why. Neither may raise.
    """

    def __init__(self, sock: socket.socket, peer: tuple[str, int]) -> None:
        """`sock` is connected to `peer`, address and port."""
        self.sock = sock
        self.peer = peer
        self.sink: Callable[[bytes], None] | None = None
        self.on_end: Callable[[], None] | None = None
        self.ended = False
        self.error: Exception | None = None
        """What ended the stream, None for a clean end."""
        self.transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._paused = False
        self._waiter: asyncio.Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def write(self, data: bytes) -> None:
        """Send `data`. Errors show when reading."""
        if self.transport is not None:
            self.transport.write(data)

    def close(self) -> None:
        """Close at once: unsent bytes are dropped, no farewell is waited for."""
        if self.transport is None:
            self.sock.close()
        else:
            self.transport.abort()

    async def read_some(self) -> bytes:
        """Return what has arrived, waiting for at least one byte; b"" at the end of the stream.

        Raises:
            Failed: CONNECTION_RESET where the peer broke off.

        """
        await self._fill()
        return self._take(len(self._buffer))

    async def read_line(self, limit: int = 4096) -> bytes:
        """Return the next line without its end (LF or CRLF).

        Raises:
            Failed: PROTOCOL_ERROR where it is longer than `limit` bytes, CONNECTION_RESET where the stream ends inside it.

        """
        seen = 0
        while (end := self._buffer.find(b"\n", seen)) < 0 and len(self._buffer) <= limit:
            seen = len(self._buffer)
            await self._more(f"after {seen} bytes of a line")
        if end < 0 or end > limit:
            raise Failed(Reason.PROTOCOL_ERROR, f"{self.peer[0]}: a line of more than {limit} bytes")
        return self._take(end + 1).rstrip(b"\r\n")

    async def read_exactly(self, n: int) -> bytes:
        """Return the next `n` bytes.

        Raises:
            Failed: CONNECTION_RESET where the stream ends before.

        """
        while len(self._buffer) < n:
            await self._more(f"after {len(self._buffer)} of {n} bytes")
        return self._take(n)

    def refuse_unread(self) -> None:
        """Say no to bytes that came before their time: what was sent in the clear must not pass for an answer under TLS.

        Raises:
            Failed: PROTOCOL_ERROR.

        """
        if self._buffer:
            raise Failed(Reason.PROTOCOL_ERROR, f"{self.peer[0]}: sent {len(self._buffer)} bytes before TLS began")

    def stopped(self, when: str = "") -> Stopped:
        """Return what to raise for a stream that ended too early."""
        error = self.error
        if isinstance(error, ssl.SSLError):
            return tls_stopped(error, self.peer[0])
        if isinstance(error, OSError):
            return stopped_by(error, self.peer[0])
        return Failed(Reason.CONNECTION_RESET, f"{self.peer[0]}: closed the connection {when}".rstrip())

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport (called by the loop)."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Pass bytes on, or keep them (called by the loop)."""
        if self.sink is not None:
            self.sink(data)
            return
        self._buffer += data
        if len(self._buffer) > BUFFER_BYTES and self.transport is not None and not self._paused:
            self._paused = True
            self.transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        """End the stream (called by the loop); the transport then closes itself."""
        self._end(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """End the stream (called by the loop)."""
        self._end(exc)

    def _end(self, error: Exception | None) -> None:
        if self.ended:
            return
        self.ended = True
        self.error = error
        if self.on_end is not None:
            self.on_end()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _take(self, n: int) -> bytes:
        taken = bytes(self._buffer[:n])
        del self._buffer[:n]
        if self._paused and self.transport is not None and not self.ended:
            self._paused = False
            self.transport.resume_reading()
        return taken

    async def _fill(self) -> None:
        """Wait until something can be read or the stream has ended."""
        if not self._buffer and not self.ended:
            await self._wait()
        if not self._buffer and self.error is not None:
            raise self.stopped()

    async def _more(self, when: str) -> None:
        """Wait for more bytes than there are."""
        if not self.ended:
            had = len(self._buffer)
            await self._wait()
            if len(self._buffer) > had:
                return
        if self.ended:
            raise self.stopped(when)

    async def _wait(self) -> None:
        if self._paused and self.transport is not None and not self.ended:
            self._paused = False
            self.transport.resume_reading()
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter


def tls_stopped(error: ssl.SSLError, peer: str) -> Failed:
    """Name a TLS error that is not about a certificate: an alert is a refused handshake (TLS 1.3 refuses late), else bytes were wrong."""
    text = (error.reason or str(error)).replace("_", " ").lower()
    # OpenSSL names alerts that arrived TLSV1_ALERT_… or SSLV3_ALERT_… or TLSV13_ALERT_…
    reason = Reason.TLS_HANDSHAKE if "alert" in text else Reason.PROTOCOL_ERROR
    return Failed(reason, f"{peer}: TLS: {text}")
