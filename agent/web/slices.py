"""Long work on the loop, done in slices of a millisecond: between them every probe gets its turn."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Iterable
from time import perf_counter
from typing import TypeVar

SLICE_SECONDS = 0.001

_FASTEST = 1
_GZIP = 31  # window bits that ask zlib for gzip's frame

T = TypeVar("T")


async def sliced(items: Iterable[T]) -> AsyncIterator[T]:
    """Yield the items, giving way to the loop whenever a slice is used up. What makes or takes an item counts."""
    began = perf_counter()
    for item in items:
        yield item
        if perf_counter() - began > SLICE_SECONDS:
            await asyncio.sleep(0)
            began = perf_counter()


async def gathered(pieces: Iterable[str], size: int = 32_768) -> list[bytes]:
    """Make the pieces, in slices, and return them as blocks of about `size` characters."""
    blocks: list[bytes] = []
    block: list[str] = []
    characters = 0
    async for piece in sliced(pieces):
        block.append(piece)
        characters += len(piece)
        if characters >= size:
            blocks.append("".join(block).encode())
            block, characters = [], 0
    blocks.append("".join(block).encode())
    return blocks


async def packed(blocks: Iterable[bytes]) -> list[bytes]:
    """Return the blocks as one gzip stream."""
    compressor = zlib.compressobj(_FASTEST, wbits=_GZIP)
    small = [compressor.compress(block) async for block in sliced(blocks)]
    return [block for block in (*small, compressor.flush()) if block]
