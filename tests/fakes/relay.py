"""A media relay that does what a test tells it: `behave` gets each datagram and returns what to send back, in order."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import cast

from agent.drill.relay import answer

Behave = Callable[[bytes], Sequence[bytes]]
SOURCE = ("203.0.113.7", 40_000)
"""From where a good answer says that it saw the question come."""


def good(data: bytes) -> bytes:
    """Answer as a relay does, to whoever seems to come from `SOURCE`."""
    said = answer(data, SOURCE)
    assert said is not None
    return said


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, behave: Behave) -> None:
        self._behave = behave

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        for said in self._behave(data):
            self._transport.sendto(said, addr)


@asynccontextmanager
async def relay(behave: Behave) -> AsyncIterator[int]:
    """Run it on 127.0.0.1 while the block runs, and give its port."""
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: _Datagrams(behave), ("127.0.0.1", 0))
    try:
        yield transport.get_extra_info("sockname")[1]
    finally:
        transport.close()
