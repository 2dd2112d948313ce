"""The front of a mail server: banner, EHLO, STARTTLS, sender and recipient, QUIT. It takes no message: DATA is refused.

Faults hit it as the host `mail`: `Smtp` at the stage they name, `Tcp` when a client connects, `Tls` at STARTTLS.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from agent.drill.faults import Faults, Smtp, Tcp, Tls
from agent.drill.hosting import Contexts, reset_on_close
from agent.drill.lossy import DROPS, losing
from agent.drill.stream import serve_stream

_READY_FOR_TLS = "220 2.0.0 SMTP server ready"
_GOODBYE = "221 2.0.0 Service closing transmission channel"
_STAGES = {"EHLO": "helo", "HELO": "helo", "MAIL": "mail", "RCPT": "rcpt", "DATA": "data"}
_WELL = {
    "MAIL": "250 2.1.0 Sender OK",
    "RCPT": "250 2.1.5 Recipient OK",
    "DATA": "550 5.7.1 This is a drill; no message is taken",
    "NOOP": "250 2.0.0 OK",
    "RSET": "250 2.0.0 Resetting",
    "QUIT": _GOODBYE,
}


class _Post:
    """One mail server: its name, its certificate, and what is wrong with it."""

    def __init__(self, host_name: str, tls: Contexts, faults: Faults) -> None:
        self._name, self._tls, self._faults = host_name, tls, faults

    def _fault(self, stage: str) -> str | None:
        """Give what a fault makes the server say at this stage."""
        hits = self._faults.hits("mail", Smtp)
        return next((fault.effect.reply for fault in hits if isinstance(fault.effect, Smtp) and fault.effect.stage == stage), None)

    def _reply(self, command: str, *, encrypted: bool) -> str:
        """Reply to one command, without its final line end."""
        verb = command.strip().upper().partition(" ")[0]
        if verb in _STAGES and (said := self._fault(_STAGES[verb])):
            return said
        if verb in ("EHLO", "HELO"):
            offers = ["SIZE 157286400", "PIPELINING", "8BITMIME", *([] if encrypted else ["STARTTLS"]), "SMTPUTF8"]
            first = [f"250-{self._name} Hello [127.0.0.1]", *(f"250-{offer}" for offer in offers[:-1])]
            return "\r\n".join([*first, f"250 {offers[-1]}"])
        if verb == "STARTTLS" and not encrypted:
            return _READY_FOR_TLS
        return _WELL.get(verb, "500 5.3.3 Unrecognized command")

    async def connected(self, writer: asyncio.StreamWriter) -> bool:
        """Say whether the connection goes on; a reset ends it, silence keeps it for ever."""
        source = str(writer.get_extra_info("peername")[0])
        hits = self._faults.hits("mail", Tcp, source=source)
        broken = next((fault.effect for fault in hits if not (DROPS and fault.effect == Tcp("timeout"))), None)
        if broken is not None and broken != Tcp("reset"):
            await asyncio.Event().wait()
        if broken is not None:
            reset_on_close(writer.get_extra_info("socket").fileno())
            writer.transport.abort()
        return broken is None

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Hold one conversation, in TLS after STARTTLS, until the client quits or goes."""
        encrypted = False
        _say(writer, self._fault("connect") or f"220 {self._name} Microsoft ESMTP MAIL Service ready")
        while line := await reader.readline():
            reply = self._reply(line.decode("ascii", "replace"), encrypted=encrypted)
            _say(writer, reply)
            if reply == _GOODBYE:
                return
            if reply == _READY_FOR_TLS:
                await writer.start_tls(self._tls.under(self._faults.first(Tls, "mail")))
                encrypted = True


def _say(writer: asyncio.StreamWriter, reply: str) -> None:
    writer.write(f"{reply}\r\n".encode("ascii"))


@asynccontextmanager
async def serve_greeting(host_name: str, tls: Contexts, faults: Faults) -> AsyncIterator[int]:
    """Greet as an SMTP server of this name while the block runs, and give its port."""
    post = _Post(host_name, tls, faults)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, ssl.SSLError, ValueError):  # the client broke off, or sent a line without end
            if await post.connected(writer):
                await post.converse(reader, writer)

    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.bind(("127.0.0.1", 0))
    async with serve_stream(serve, listening), losing(faults, "mail", lambda: "", (listening,)):
        yield listening.getsockname()[1]
