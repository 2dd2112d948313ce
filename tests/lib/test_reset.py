"""A reset that reaches the kernel together with data: both have to be seen, on both loops."""

import asyncio
import socket
import struct

import pytest

from probes.core.contract import Failed
from probes.core.reasons import Reason
from probes.lib.connect import connect
from probes.lib.wire import Wire
from tests.lib.runs import context, on_both_loops


async def opened(address: tuple[str, int]) -> Wire:
    ctx = context()
    with ctx.step("connect"):
        return await connect(ctx, *address)


async def read_to_the_end(wire: Wire) -> tuple[int, Reason | None]:
    received = 0
    try:
        while data := await asyncio.wait_for(wire.read_some(), 5):
            received += len(data)
    except Failed as failed:
        return received, failed.reason
    return received, None


@pytest.mark.parametrize(("size", "least"), [(24, 24), (200_000, 70_000)], ids=["a piece", "more than one piece"])
@on_both_loops
async def test_data_and_a_reset_behind_it_are_both_seen(size: int, least: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, await opened(listening.getsockname()) as wire:
        server, _ = listening.accept()
        server.settimeout(0)
        server.send(b"x" * size)  # and the loop does not look until the reset is there as well
        server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        server.close()
        received, reason = await read_to_the_end(wire)
        assert reason is Reason.CONNECTION_RESET
        assert received >= least
