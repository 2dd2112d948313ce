"""An answer on its way to a reader that may be slow: block by block, never more in memory than it takes, and cut off in the end."""

import asyncio
import logging
import re
from collections.abc import Mapping, Sequence

from aiohttp import web

from agent.web.site import SITE
from agent.web.slices import packed

log = logging.getLogger("fogbell.web")

_BLOCK = 65_536
_GZIP = re.compile(r"\bgzip\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))", re.IGNORECASE)  # RFC 9110, 12.5.3: a weight of 0 refuses


async def send(
    request: web.Request, content_type: str, blocks: Sequence[bytes], headers: Mapping[str, str] | None = None, status: int = 200
) -> web.StreamResponse:
    """Send the blocks as one answer. A reader that takes longer than the site's limits loses its connection."""
    response = web.StreamResponse(status=status, headers={"Content-Type": content_type, **(headers or {})})
    response.content_length = sum(map(len, blocks))
    try:
        async with asyncio.timeout(request.app[SITE].limits.send_seconds):
            await response.prepare(request)
            if request.method != "HEAD":
                await _write(request, response, blocks)
    except TimeoutError:
        cut_off(request)
    except ConnectionError:
        log.debug("a reader of %s hung up", request.path)
    return response


async def send_packed(request: web.Request, content_type: str, blocks: Sequence[bytes]) -> web.StreamResponse:
    """Send the blocks, with gzip where the reader takes it."""
    headers = {"Vary": "Accept-Encoding"}
    if _GZIP.search(request.headers.get("Accept-Encoding", "")):
        blocks, headers = await packed(blocks), {**headers, "Content-Encoding": "gzip"}
    return await send(request, content_type, blocks, headers)


async def _write(request: web.Request, response: web.StreamResponse, blocks: Sequence[bytes]) -> None:
    stall = request.app[SITE].limits.stall_seconds
    for block in blocks:
        for start in range(0, len(block), _BLOCK):
            async with asyncio.timeout(stall):
                await response.write(block[start : start + _BLOCK])


def cut_off(request: web.Request) -> None:
    """Drop the reader's connection, with whatever it has not read."""
    log.info("a reader of %s was too slow and is cut off", request.path)
    if request.transport is not None:
        request.transport.abort()
