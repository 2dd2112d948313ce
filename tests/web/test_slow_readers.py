"""Readers that take one byte now and then, or come a hundred at once, hold nothing up."""

import asyncio
import socket
from contextlib import suppress
from urllib.parse import urlsplit

import pytest
from aiohttp import ClientSession

from agent.web import Exposition, Feed, Limits
from tests.web.samples import MX, NOW, names
from tests.web.serving import Scrape, World, listeners, serving, site

BIG = Scrape("text/plain", "", tuple(b"x" * 400_000 for _ in range(20)))
IMPATIENT = Limits(send_seconds=5, stall_seconds=0.2)


async def big(_: str, __: str) -> Exposition:
    return BIG


async def slow_socket(url: str, path: str) -> socket.socket:
    """Ask for a path over a socket that takes in little, and read nothing of the answer."""
    reader = socket.socket()
    reader.settimeout(0)
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    parts = urlsplit(url)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(reader, (parts.hostname, parts.port))
    await loop.sock_sendall(reader, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return reader


async def drip(reader: socket.socket, caplog: pytest.LogCaptureFixture) -> int:
    """Read one byte now and then until the other side has had enough, and then all there is; return how much that was."""
    loop = asyncio.get_running_loop()
    count = 0
    async with asyncio.timeout(20):
        while "was too slow and is cut off" not in caplog.text:
            count += len(await loop.sock_recv(reader, 1))
            await asyncio.sleep(0.01)
        with suppress(ConnectionResetError):
            while block := await loop.sock_recv(reader, 65_536):
                count += len(block)
    return count


async def test_a_slow_scraper_is_cut_off_and_others_are_served_meanwhile(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "fogbell.web")
    async with serving(site(World(), metrics=big, limits=IMPATIENT)) as url, ClientSession() as session:
        with await slow_socket(url, "/metrics") as reader:
            dripping = asyncio.create_task(drip(reader, caplog))
            answer = await session.get(f"{url}/metrics")
            assert len(await answer.read()) == 8_000_000
            assert 0 < await dripping < 8_000_000


async def test_a_listener_that_does_not_read_is_cut_off() -> None:
    feed = Feed()
    async with serving(site(World(), feed=feed, limits=Limits(send_seconds=0.2))) as url:
        with await slow_socket(url, "/api/v1/runs?stream=1"):
            async with asyncio.timeout(20):
                await listeners(feed, 1)
                while len(feed):
                    feed.publish(b"x" * 1_000_000)
                    await asyncio.sleep(0.01)


async def test_a_hundred_scrapers_at_once_all_get_everything() -> None:
    async def one_megabyte(_: str, __: str) -> Exposition:
        return Scrape("text/plain", "", (b"x" * 400_000, b"y" * 600_000))

    async with serving(site(World(), metrics=one_megabyte)) as url, ClientSession() as session:

        async def scrape() -> int:
            async with session.get(f"{url}/metrics") as response:
                return len(await response.read())

        assert await asyncio.gather(*(scrape() for _ in range(100))) == [1_000_000] * 100


async def test_the_page_gives_way_to_the_loop_while_it_is_made() -> None:
    world = World(jobs=tuple(MX for _ in range(10_000)))
    for number in range(100):
        world.history.record(names(MX, NOW - 100 + number))
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with serving(site(world)) as url, ClientSession() as session:
        async with session.get(f"{url}/-/healthy"):
            counting = asyncio.create_task(count())
        async with session.get(url) as response:
            await response.read()
        counting.cancel()
    assert turns > 20
