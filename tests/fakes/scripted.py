"""A server that plays a written dialogue, as the pages of protocols print them.

S: 220 mail.example.com ESMTP        the server says this line
C: EHLO                              the client has to say a line that begins so
TLS                                  both go on under TLS
CLOSE                                the server hangs up; without it, it keeps silent until the client has gone
"""

import asyncio

from tests.fakes import hostile
from tests.fakes.certificates import Flaw, server_context


def plays(script: str, *, flaw: Flaw = Flaw.NONE, tls: bool = False, heard: list[str] | None = None) -> hostile.Server:
    """Play `script` with each client. `tls`: from the first byte. Lines that clients say are added to `heard`."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for line in script.strip().splitlines():
            verb, _, text = line.strip().partition(" ")
            if verb == "S:":
                writer.write(text.encode() + b"\r\n")
            elif verb == "TLS":
                await writer.start_tls(server_context(flaw))
            elif verb == "CLOSE":
                return
            else:
                await _hear(reader, text, heard)
        await reader.read()

    return hostile.serving(talk, server_context(flaw) if tls else None)


async def _hear(reader: asyncio.StreamReader, text: str, heard: list[str] | None) -> None:
    said = (await reader.readuntil(b"\r\n")).decode().removesuffix("\r\n")
    if heard is not None:
        heard.append(said)
    if not said.startswith(text):
        raise ConnectionAbortedError(f"the script has {text!r}, the client said {said!r}")
