"""The bytes of a file, by script: an answer that dawdles before its body, numbers that are none, a Graph that takes back a hash."""

import asyncio
import zlib
from collections.abc import Awaitable, Callable

import pytest

from probes.core.contract import Failed
from probes.core.reasons import Reason
from probes.lib.drives import Door
from probes.lib.quick_xor import quick_xor_hash
from probes.lib.storage import Limits, download
from probes.lib.url import parse
from tests.fakes import hostile
from tests.fakes.certificates import server_context
from tests.fakes.graph import Asked, answer, context, run_kind, scripted, shared, tenant_at, token

BODY = b"A file.\n" * 100
PAUSE = 0.05


def slowly(*pieces: bytes) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    """Answer piece by piece."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(PAUSE)

    return talk


async def downloaded(limits: Limits, *pieces: bytes) -> tuple[Door, Failed | None]:
    async with hostile.serving(slowly(*pieces), server_context()) as (_, port):
        tenant = tenant_at(f"localhost:{port}")
        door = Door(context(shared(tenant)), tenant, token())
        try:
            assert (await download(door, parse(f"https://localhost:{port}/file"), limits)).quick_xor == quick_xor_hash(BODY)
        except Failed as failed:
            return door, failed
    return door, None


def head(*fields: str) -> bytes:
    return "\r\n".join(("HTTP/1.1 200 OK", f"Content-Length: {len(BODY)}", *fields)).encode()


@pytest.mark.parametrize(("seconds", "reason"), [(0.01, Reason.TOO_SLOW), (10.0, None), (None, None)], ids=["narrow", "wide", "none"])
async def test_a_transfer_counts_from_the_first_byte_of_the_answer(seconds: float | None, reason: Reason | None) -> None:
    door, failed = await downloaded(Limits(10_000, seconds), head(), b"\r\n\r\n" + BODY)
    assert (failed and failed.reason) is reason
    (throughput,) = [sample.value for sample in door.ctx.measured if sample.name == "throughput_bytes_per_second"]
    assert throughput <= len(BODY) / PAUSE * 1.1


@pytest.mark.parametrize("said", ["", "-1", "1.5", "x", "9" * 400, "²"], ids=["none", "negative", "half", "a word", "huge", "a square"])
async def test_a_number_that_is_none_is_not_measured(said: str) -> None:
    fields = (f"SPRequestDuration: {said}", f"X-SharePointHealthScore: {said}")
    door, failed = await downloaded(Limits(10_000), "\r\n".join((head().decode(), *fields)).encode() + b"\r\n\r\n" + BODY)
    assert failed is None
    assert not {"server_duration_seconds", "health_score"} & {sample.name for sample in door.ctx.measured}


async def test_more_bytes_than_the_limit_are_a_mismatch() -> None:
    _, failed = await downloaded(Limits(len(BODY) - 1), head() + b"\r\n\r\n" + BODY)
    assert failed is not None
    assert failed.reason is Reason.CONTENT_MISMATCH


@pytest.mark.parametrize(
    ("status", "reason"), [("200 OK", Reason.PROTOCOL_ERROR), ("503 Busy", Reason.HTTP_5XX)], ids=["a file", "an error"]
)
async def test_a_packed_answer_is_not_unpacked(status: str, reason: Reason) -> None:
    packed = zlib.compress(bytes(1 << 20), wbits=31)
    fields = f"HTTP/1.1 {status}\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n"
    _, failed = await downloaded(Limits(1 << 21), fields.encode() + packed)
    assert (failed and failed.reason) is reason


async def test_a_hash_that_graph_takes_back_without_a_change_of_the_file_is_a_mismatch() -> None:
    async def graph(asked: Asked) -> bytes:
        if asked.path.endswith("/content"):
            return answer(None, 302, Location=f"https://127.0.0.1:{asked.headers['host'].rpartition(':')[2]}/file")
        if asked.path.endswith("/drive"):
            return answer({"id": "D"})
        told = quick_xor_hash(BODY if "/items/" in asked.path else b"another")
        item = {"id": "F", "size": len(BODY), "cTag": "same", "file": {"hashes": {"quickXorHash": told}}}
        return answer(item if asked.path.startswith("/v1.0") else BODY)

    async with scripted(graph) as script:
        run = await run_kind("onedrive_file", script.tenant, user="a@b.example", path="a.bin")
    assert (run.failed_step, run.reason) == ("verify", Reason.CONTENT_MISMATCH)
