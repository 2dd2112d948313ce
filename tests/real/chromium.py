"""Chromium without a window, steered over its DevTools protocol: what a person sees, as values and pictures."""

import base64
import itertools
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, ClientWebSocketResponse

from tests.servers import require

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)


@contextmanager
def chromium() -> Iterator[str]:
    """Start the browser with a profile of its own, and yield the address of its DevTools."""
    program = require("chromium")
    with tempfile.TemporaryDirectory(prefix="fogbell-chromium-", ignore_cleanup_errors=True) as profile:
        command = [program, *_FLAGS, f"--user-data-dir={profile}", "about:blank"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            yield f"http://127.0.0.1:{_port(Path(profile))}"
        finally:
            process.terminate()
            process.wait(10)


def _port(profile: Path) -> int:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        written = profile / "DevToolsActivePort"
        if written.exists() and (lines := written.read_text().split()):
            return int(lines[0])
        time.sleep(0.05)
    raise AssertionError("chromium did not open its DevTools within 30 s")


class Tab:
    """One page of the browser."""

    def __init__(self, socket: ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)

    async def call(self, method: str, **parameters: Any) -> Any:
        """Call a method of the protocol."""
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        while True:
            answer = await self._socket.receive_json(timeout=20)
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]

    async def event(self, method: str) -> None:
        """Wait until this event comes."""
        while (await self._socket.receive_json(timeout=20)).get("method") != method:
            pass

    async def look(self, *, width: int = 1280, height: int = 900, scheme: str = "light") -> None:
        """Be a screen of this size, in a light or dark theme."""
        await self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        await self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    async def open(self, url: str) -> None:
        """Go to an address and wait until it is loaded."""
        await self.call("Page.enable")
        await self.call("Page.navigate", url=url)
        await self.event("Page.loadEventFired")

    async def read(self, expression: str) -> Any:
        """Return the value of a JavaScript expression, a promise's result included."""
        answer = await self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def until(self, expression: str) -> None:
        """Wait until an expression is true."""
        await self.read(
            f"new Promise((done, fail) => {{ const end = Date.now() + 15000; const look = () => ({expression}) ? done() : "
            f"Date.now() > end ? fail(new Error('never: ' + {expression!r})) : setTimeout(look, 20); look(); }})"
        )

    async def picture(self, path: Path) -> bytes:
        """Keep a picture of the whole page."""
        answer = await self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(data := base64.b64decode(answer["data"]))
        return data


@asynccontextmanager
async def tab(browser: str) -> AsyncIterator[Tab]:
    """Open a page of its own, and close it."""
    async with ClientSession() as session:
        async with session.put(f"{browser}/json/new?about:blank") as answer:
            target = await answer.json()
        async with session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as socket:
            yield Tab(socket)
        await session.get(f"{browser}/json/close/{target['id']}")
