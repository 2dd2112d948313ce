"""Long work on the loop, done in slices of a millisecond: between them every probe gets its turn."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from time import perf_counter
from typing import TypeVar

SLICE_SECONDS = 0.001

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
