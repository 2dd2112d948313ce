"""A reader that hangs up is an everyday thing: no error in the log, and the next one is served."""

import asyncio
import socket
import struct

import aiohttp
import pytest

from agent.web import Exposition
from tests.web.serving import Scrape, World, serving, site

LARGE = tuple(b"#" * 65_535 + b"\n" for _ in range(400))


async def test_a_scraper_that_hangs_up_in_the_middle_leaves_no_error(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "fogbell.web")
    asked = asyncio.Event()

    async def scrape(_accept: str, _encoding: str) -> Exposition:
        asked.set()
        return Scrape("text/plain; version=0.0.4", "", LARGE)

    async with serving(site(World(), metrics=scrape)) as url:
        with socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[1].strip("/")))) as reader:
            reader.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            await asked.wait()
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        async with aiohttp.ClientSession() as session, session.get(f"{url}/metrics") as answer:
            assert len(await answer.read()) == sum(map(len, LARGE))
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []
    assert "a reader of /metrics hung up" in caplog.text
