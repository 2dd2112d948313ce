"""One TCP connection, plain or with TLS, whose bytes are pulled or fed to a parser.

TLS runs here on memory buffers rather than in the loop's `start_tls`: so the TLS object is ours to ask about the certificate also when the
handshake fails, closing never waits for a farewell, and asyncio and uvloop behave alike.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from time import perf_counter
from types import TracebackType
from typing import Self, cast

from probes.core.contract import Failed, Stopped
from probes.core.reasons import Reason
from probes.lib.channel import Transport
from probes.lib.oserror import stopped_by

BUFFER_BYTES = 65536
"""Unread bytes at which reading pauses, so that a hostile peer cannot fill memory."""


_RECORDS = 65536
_NO_BUFFER = ssl.MemoryBIO()


class Wire(asyncio.Protocol):
    """One TCP connection.

    Pull from it (`read_some`, `read_line`, `read_exactly`), or `listen`: then each piece goes to `sink` as it arrives, and `on_end` is
    called once when the stream has ended, with `error` telling why. Neither may raise.
    """

    def __init__(self, sock: socket.socket, peer: tuple[str, int]) -> None:
        """`sock` is connected to `peer`, address and port."""
        self.sock = sock
        self.peer = peer
        self.sink: Callable[[bytes], None] | None = None
        self.on_end: Callable[[], None] | None = None
        self.ended = False
        self.error: Exception | None = None
        """What ended the stream, None for its end in good order."""
        self.farewell = True
        """Whether an end of the stream would be a said one: under TLS, bytes could be cut off unless the peer says that it closes."""
        self.heard = 0.0
        """When bytes last arrived (perf_counter)."""
        self.transport: Transport | None = None
        self._buffer = bytearray()
        self._paused = False
        self._waiter: asyncio.Future[None] | None = None
        self._tls: ssl.SSLObject | None = None
        self._incoming = self._outgoing = _NO_BUFFER

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def write(self, data: bytes) -> None:
        """Send `data`. Errors show when reading."""
        if self._tls is None:
            self._send(data)
        else:
            self._encrypt(self._tls, data)

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

    def listen(self, sink: Callable[[bytes], None] | None, on_end: Callable[[], None] | None) -> None:
        """Feed `sink` from now on, with what has already arrived first; None goes back to pulling."""
        self.sink, self.on_end = sink, on_end
        if sink is not None and self._buffer:
            sink(self._take(len(self._buffer)))
        if on_end is not None and self.ended:
            on_end()

    def certificate(self) -> bytes:
        """Return the server's certificate (DER), b"" where there is none."""
        return (self._tls and self._tls.getpeercert(binary_form=True)) or b""

    def wrap(self, context: ssl.SSLContext, name: str) -> ssl.SSLObject:
        """Make the TLS object of this connection, for `shake`."""
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        return context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)

    async def shake(self, tls: ssl.SSLObject) -> None:
        """Do the TLS handshake; from then on all bytes are under TLS.

        Raises:
            ssl.SSLError: where the handshake fails.
            Failed: CONNECTION_RESET where the peer breaks off.

        """
        while not self._shaken(tls):
            self._incoming.write(await self.read_some() or await self._broken_off())
        self._tls = tls
        self.farewell = False
        self._decrypt(tls, b"")

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
        self.heard = perf_counter()
        if self._tls is None:
            self._arrived(data)
        else:
            self._decrypt(self._tls, data)

    def eof_received(self) -> None:
        """End the stream (called by the loop); the transport then closes itself."""
        self._end(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """End the stream (called by the loop)."""
        self._end(exc)

    def _arrived(self, data: bytes) -> None:
        if self.sink is not None:
            self.sink(data)
            return
        self._buffer += data
        if len(self._buffer) > BUFFER_BYTES and self.transport is not None and not self._paused:
            self._paused = True
            self.transport.pause_reading()
        self._wake()

    def _send(self, data: bytes) -> None:
        if self.transport is not None and data:
            self.transport.write(data)

    def _shaken(self, tls: ssl.SSLObject) -> bool:
        """Take the handshake one step further and say whether it is done. What OpenSSL has to say goes out in any case: an alert, too."""
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        finally:
            self._send(self._outgoing.read())
        return True

    async def _broken_off(self) -> bytes:
        raise self.stopped("during the TLS handshake")

    def _encrypt(self, tls: ssl.SSLObject, data: bytes) -> None:
        """Encrypt and send. Python's OpenSSL takes one record (16 kB) at a time."""
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[tls.write(rest) :]
        except ssl.SSLError as error:
            self._end(error)
        self._send(self._outgoing.read())

    def _decrypt(self, tls: ssl.SSLObject, data: bytes) -> None:
        """Decrypt and pass on. What OpenSSL has to say meanwhile (keys, alerts) goes out."""
        self._incoming.write(data)
        try:
            while plain := tls.read(_RECORDS):
                self._arrived(plain)
        except ssl.SSLWantReadError:
            self._send(self._outgoing.read())
            return
        except ssl.SSLZeroReturnError:
            self.farewell = True
            self._end(None)
            return
        except ssl.SSLError as error:
            self._send(self._outgoing.read())
            self._end(error)
            return
        self.farewell = True
        self._end(None)

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
