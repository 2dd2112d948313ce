"""The greeting side of a mail server: banner, EHLO, STARTTLS, QUIT. It accepts no mail."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from agent.drill.stream import serve_stream

_READY_FOR_TLS = "220 2.0.0 SMTP server ready"
_GOODBYE = "221 2.0.0 Service closing transmission channel"


def _reply(host_name: str, command: str, *, encrypted: bool) -> str:
    """Reply to one command, without its final line end."""
    match command.strip().upper().partition(" ")[0]:
        case "EHLO":
            offers = ["SIZE 157286400", "PIPELINING", "8BITMIME", *([] if encrypted else ["STARTTLS"]), "SMTPUTF8"]
            first = [f"250-{host_name} Hello [127.0.0.1]", *(f"250-{offer}" for offer in offers[:-1])]
            return "\r\n".join([*first, f"250 {offers[-1]}"])
        case "STARTTLS" if not encrypted:
            return _READY_FOR_TLS
        case "NOOP":
            return "250 2.0.0 OK"
        case "QUIT":
            return _GOODBYE
        case _:
            return "500 5.3.3 Unrecognized command"


def _say(writer: asyncio.StreamWriter, reply: str) -> None:
    writer.write(f"{reply}\r\n".encode("ascii"))


async def _converse(host_name: str, tls: ssl.SSLContext, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Hold one SMTP conversation, in TLS after STARTTLS, until the client quits or goes."""
    encrypted = False
    _say(writer, f"220 {host_name} Microsoft ESMTP MAIL Service ready")
    while line := await reader.readline():
        reply = _reply(host_name, line.decode("ascii", "replace"), encrypted=encrypted)
        _say(writer, reply)
        if reply == _GOODBYE:
            return
        if reply == _READY_FOR_TLS:
            await writer.start_tls(tls)
            encrypted = True


@asynccontextmanager
async def serve_greeting(host_name: str, tls: ssl.SSLContext, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[int]:
    """Greet as an SMTP server of this name while the block runs, and give its port.

    Raises:
        OSError: where the port is taken.

    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, ssl.SSLError, ValueError):  # the client broke off, or sent a line without end
            await _converse(host_name, tls, reader, writer)

    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.bind((host, port))
    async with serve_stream(serve, listening):
        yield listening.getsockname()[1]
