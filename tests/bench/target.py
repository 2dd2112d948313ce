"""A web server that answers after the delay its URL names, and logs the delay it really had. Run as a process: PORT on the command line.

GET /d/MILLISECONDS/NAME answers then. GET /log gives {NAME: [[Unix time of the request, true delay in seconds], ...]}.
"""

import asyncio
import contextlib
import json
import os
import sys
import time
from collections import defaultdict
from typing import cast

import uvloop

_LOG: dict[str, list[tuple[float, float]]] = defaultdict(list)


class Target(asyncio.Protocol):
    """One connection, one request."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        self.transport = cast("asyncio.Transport", transport)
        self.head = b""

    def data_received(self, data: bytes) -> None:
        """Answer a whole request after its delay."""
        self.head += data
        if b"\r\n\r\n" not in self.head:
            return
        arrived, clock = time.time(), time.perf_counter()
        path = self.head.split(b" ", 2)[1].decode()
        if path == "/log":
            self._answer(json.dumps(_LOG).encode())
            return
        _, _, milliseconds, name = path.split("/", 3)
        asyncio.get_running_loop().call_later(int(milliseconds) / 1000, self._answer_delayed, name, arrived, clock)

    def _answer_delayed(self, name: str, arrived: float, clock: float) -> None:
        _LOG[name].append((arrived, time.perf_counter() - clock))
        self._answer(b"fog\n")

    def _answer(self, body: bytes) -> None:
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(body), body))
        self.transport.close()


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Target, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


def _go_first() -> None:
    """Run before whatever shares the core: this process is the measure, and its own waiting would look like an error of both peers."""
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(10))


if __name__ == "__main__":
    _go_first()
    uvloop.run(_serve(int(sys.argv[1])))
