"""A scrape: the finished lines joined in slices that give way to the loop, compressed off it, shared by scrapers that arrive together."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from agent.exporter.exporter import Exporter

_SLICE = 1000
"""Probes whose lines are joined before the loop gets its turn: with histograms that are 2 MB and about a millisecond."""

_EOF = b"# EOF\n"


@dataclass(frozen=True, slots=True)
class Exposition:
    """A finished scrape: headers, and the body in chunks."""

    content_type: str
    encoding: str
    chunks: tuple[bytes, ...]


class Renderer:
    """Makes expositions of the exporter's lines and of the agent's own registry."""

    def __init__(self, exporter: Exporter, registry: CollectorRegistry) -> None:
        self._exporter = exporter
        self._registry = registry
        self._going: dict[tuple[str, bool], asyncio.Task[Exposition]] = {}
        self._compressing = ThreadPoolExecutor(1, thread_name_prefix="gzip")

    async def __call__(self, accept: str, accept_encoding: str) -> Exposition:
        """Return the metrics in the format and encoding asked for; scrapers of the same kind that arrive together share one rendering."""
        encoder, content_type = choose_encoder(accept)
        key = content_type, _accepts_gzip(accept_encoding)
        task = self._going.get(key)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._render(encoder, *key), name="scrape")
            self._going[key] = task
            task.add_done_callback(lambda _: self._going.pop(key))
        return await asyncio.shield(task)

    def close(self) -> None:
        """Let the compressing thread go."""
        self._compressing.shutdown(wait=False)

    async def _render(self, encoder: Callable[[CollectorRegistry], bytes], content_type: str, gzip: bool) -> Exposition:  # noqa: FBT001
        openmetrics = content_type.startswith("application/openmetrics-text")
        chunks = [chunk async for chunk in _joined(self._exporter, openmetrics=openmetrics)]
        chunks.append(encoder(self._registry).removesuffix(_EOF))
        if openmetrics:
            chunks.append(_EOF)
        if gzip:
            chunks = await self._compress(chunks)
        return Exposition(content_type, "gzip" if gzip else "", tuple(chunks))

    async def _compress(self, chunks: Iterable[bytes]) -> list[bytes]:
        loop = asyncio.get_running_loop()
        compressor = zlib.compressobj(level=1, wbits=31)
        packed = [await loop.run_in_executor(self._compressing, compressor.compress, chunk) for chunk in chunks]
        packed.append(await loop.run_in_executor(self._compressing, compressor.flush))
        return [chunk for chunk in packed if chunk]


async def _joined(exporter: Exporter, *, openmetrics: bool) -> AsyncIterator[bytes]:
    for family, by_probe in tuple(exporter.families()):
        lines = tuple(by_probe.values())
        if not lines:
            continue
        yield family.header(openmetrics=openmetrics)
        for start in range(0, len(lines), _SLICE):
            yield b"".join(lines[start : start + _SLICE])
            await asyncio.sleep(0)


def _accepts_gzip(accept_encoding: str) -> bool:
    """Tell whether gzip is asked for (RFC 9110, 12.5.3): named, or by `*`, with a weight above 0."""
    for item in accept_encoding.split(","):
        coding, _, weight = item.partition(";")
        if coding.strip().lower() in {"gzip", "*"}:
            return weight.replace(" ", "").lower() not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False
