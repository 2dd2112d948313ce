"""A server that plays a written dialogue, as the pages of protocols print them.

S: 220 mail.example.com ESMTP        the server says this line
C: EHLO                              the client has to say a line that begins so
TLS                                  both go on under TLS
CLOSE                                the server hangs up; without it, it keeps silent until the client has gone
"""

import asyncio

from tests.fakes import hostile
from tests.fakes.certificates import Flaw


def plays(script: str, *, flaw: Flaw = Flaw.NONE, tls: bool = False, heard: list[str] | None = None) -> hostile.Server:
    """Play `script` with each client. `tls`: from the first byte. Lines that clients say are added to `heard`."""
    lines = [line.strip() for line in script.splitlines() if line.strip()]

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = Line(reader, writer)
        if tls:
            await line.start_tls(flaw)
        for verb, _, text in (entry.partition(" ") for entry in lines):
            if verb == "S:":
                line.say(text)
            elif verb == "TLS":
                await line.start_tls(flaw)
            elif verb == "CLOSE":
                return
            else:
                _agree(text, await line.hear(), heard)
        await reader.read()

    return hostile.serving(talk)


class Line:
    """What one client says, in the clear, then under TLS: by hand, as the loop's `start_tls` cannot be ended while a client is silent."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.tls: hostile.ServerTls | None = None
        self.heard = b""

    async def start_tls(self, flaw: Flaw) -> None:
        self.tls = hostile.ServerTls(flaw)
        await self.tls.until(self.tls.tls.do_handshake, self.reader, self.writer)

    def say(self, text: str) -> None:
        if self.tls is None:
            self.writer.write(text.encode() + b"\r\n")
        else:
            self.tls.tls.write(text.encode() + b"\r\n")
            self.writer.write(self.tls.outgoing.read())

    async def hear(self) -> str:
        while b"\n" not in self.heard:
            self.heard += await self._read()
        line, _, self.heard = self.heard.partition(b"\n")
        return line.removesuffix(b"\r").decode()

    async def _read(self) -> bytes:
        if self.tls is not None:
            tls = self.tls.tls
            return await self.tls.until(lambda: tls.read(65536), self.reader, self.writer)
        data = await self.reader.read(65536)
        if not data:
            raise ConnectionResetError
        return data


def _agree(text: str, said: str, heard: list[str] | None) -> None:
    if heard is not None:
        heard.append(said)
    if not said.startswith(text):
        raise ConnectionAbortedError(f"the script has {text!r}, the client said {said!r}")
