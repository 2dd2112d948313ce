"""Hosts on real sockets, each fault seen by clients we did not write: aiohttp's and OpenSSL's."""

import asyncio
import io
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext, suppress

import aiohttp
import pytest
import trustme
from aiohttp import web

from agent.drill.faults import Drip, Effect, Fault, Http, Latency, Tcp, Tls, Where
from agent.drill.hosting import Asked, Site, serve_site, serve_sites
from agent.drill.lossy import DROPS
from agent.drill.world import World


async def _respond(request: web.BaseRequest) -> web.Response:
    return web.Response(text=f"{request.method} {request.path} {len(await request.read())}")


async def _asked(request: web.BaseRequest) -> Asked:
    return Asked(request.path.strip("/"), "files" if request.path == "/upload" else "")


@asynccontextmanager
async def client(world: World, host: str = "graph") -> AsyncIterator[aiohttp.ClientSession]:
    async with serve_sites(world, Site(host, _respond, _asked, names=("graph.microsoft.com",))) as authority:
        trust = ssl.create_default_context()
        authority.configure_trust(trust)
        timeout = aiohttp.ClientTimeout(total=0.5)
        async with aiohttp.ClientSession(world.url(host), connector=aiohttp.TCPConnector(ssl=trust), timeout=timeout) as session:
            yield session


async def test_a_host_answers_over_tls_on_both_loopback_addresses() -> None:
    world = World()
    async with client(world) as session:
        port = world.address("graph").rpartition(":")[2]
        for address in ("127.0.0.1", "[::1]", "localhost"):
            async with session.get(f"https://{address}:{port}/search") as response:
                assert await response.text() == "GET /search 0"


async def test_its_certificate_carries_the_real_looking_name() -> None:
    world, authority = World(), trustme.CA()
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    async with serve_site(world, Site("graph", _respond, names=("graph.microsoft.com",)), authority) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trust, server_hostname="graph.microsoft.com")
        writer.close()
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.open_connection("127.0.0.1", port, ssl=trust, server_hostname="login.microsoftonline.com")


@pytest.mark.skipif(not DROPS, reason="only Linux drops SYNs for us")
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_a_lost_connection_is_never_made_and_comes_back_with_the_path(address: str) -> None:
    world = World()
    async with client(world):
        port = int(world.address("graph").rpartition(":")[2])
        world.faults.set(Fault(Tcp("timeout")))
        with pytest.raises(TimeoutError), socket.create_connection((address, port), timeout=0.2):
            pass
        world.faults.set()
        socket.create_connection((address, port), timeout=5).close()


@pytest.mark.skipif(not DROPS, reason="only Linux drops SYNs for us")
@pytest.mark.parametrize(("source", "lost"), [("127.0.0.1", True), ("127.0.0.3", True), ("127.0.0.2", False)])
async def test_another_way_out_does_not_lose_them(source: str, *, lost: bool) -> None:
    world = World()
    async with client(world):
        port = int(world.address("graph").rpartition(":")[2])
        world.faults.set(Fault(Tcp("timeout"), Where(sources=frozenset({"127.0.0.1", "127.0.0.3", "::1"}))))
        with pytest.raises(TimeoutError) if lost else nullcontext():
            socket.create_connection(("127.0.0.1", port), timeout=0.2, source_address=(source, 0)).close()


@pytest.mark.skipif(not DROPS, reason="only Linux drops SYNs for us")
async def test_about_a_share_of_connections_is_lost_by_their_source_port() -> None:
    world = World()
    async with client(world):
        port = int(world.address("graph").rpartition(":")[2])
        world.faults.set(Fault(Tcp("timeout"), share=0.5))
        made = 0
        for _ in range(60):
            with suppress(TimeoutError):
                socket.create_connection(("127.0.0.1", port), timeout=0.02).close()
                made += 1
    assert 10 < made < 50


async def test_large_uploads_fit() -> None:
    async with client(World()) as session, session.put("/upload", data=io.BytesIO(b"x" * 5_000_000)) as response:
        assert await response.text() == "PUT /upload 5000000"


@pytest.mark.parametrize(
    ("effect", "seen"),
    [
        (Drip(), TimeoutError),
        (Drip(10), TimeoutError),
        (Tcp("reset"), ConnectionResetError),
        (Tcp("silent"), TimeoutError),
        (Tcp("timeout"), TimeoutError),
        (Tls("handshake_fail"), ssl.SSLError),
        (Tls("wrong_name"), ssl.SSLCertVerificationError),
        (Tls("intercepted"), ssl.SSLCertVerificationError),
    ],
    ids=repr,
)
async def test_a_client_meets_the_fault_as_it_would_outside(effect: Effect, seen: type[Exception]) -> None:
    world = World()
    async with client(world) as session:
        world.faults.set(Fault(effect))
        with pytest.raises((seen, aiohttp.ClientConnectorError)) as caught:
            async with session.get("/search") as response:
                await response.read()
    cause = caught.value
    assert isinstance(cause.os_error if isinstance(cause, aiohttp.ClientConnectorError) else cause, seen)


@pytest.mark.parametrize(
    ("effect", "said"), [("wrong_name", "Hostname mismatch"), ("intercepted", "unable to get local issuer certificate")]
)
async def test_the_two_wrong_certificates_can_be_told_apart(effect: str, said: str) -> None:
    world = World()
    async with client(world) as session:
        world.faults.set(Fault(Tls("wrong_name" if effect == "wrong_name" else "intercepted")))
        with pytest.raises(aiohttp.ClientConnectorCertificateError, match=said):
            await session.get("/search")


async def test_a_status_comes_with_retry_after() -> None:
    world = World()
    async with client(world) as session:
        world.faults.set(Fault(Http((503,), 120)))
        async with session.get("/search") as response:
            assert (response.status, response.headers["Retry-After"]) == (503, "120")


async def test_one_of_several_statuses_is_chosen_by_chance() -> None:
    world = World()
    async with client(world) as session:
        world.faults.set(Fault(Http((502, 504))))
        assert {(await session.get("/search")).status for _ in range(30)} == {502, 504}


async def test_a_fast_drip_still_brings_the_whole_body() -> None:
    world = World()
    async with client(world) as session:
        world.faults.set(Fault(Drip(200)))
        async with session.get("/search") as response:
            assert await response.text() == "GET /search 0"


async def test_latency_outlasts_the_impatient() -> None:
    world = World()
    async with client(world) as session:
        world.faults.set(Fault(Latency(5)))
        with pytest.raises(TimeoutError):
            await session.get("/search")


@pytest.mark.parametrize("effect", [Http((503,)), Tcp("reset")], ids=repr)
async def test_a_fault_of_one_operation_leaves_the_others(effect: Effect) -> None:
    world = World()
    async with client(world) as session:
        world.faults.set(Fault(effect, Where(operations=frozenset({"search"}))))
        assert (await session.get("/presence")).status == 200
        if isinstance(effect, Http):
            assert (await session.get("/search")).status == 503
        else:
            with pytest.raises(aiohttp.ClientOSError, match="Connection reset by peer"):
                await session.get("/search")


async def test_only_connections_from_one_address_are_cut() -> None:
    world = World()
    async with client(world) as session:
        world.faults.set(Fault(Tcp("reset"), Where(sources=frozenset({"127.0.0.2"}))))
        assert (await session.get("/search")).status == 200
        world.faults.set(Fault(Tcp("reset"), Where(sources=frozenset({"127.0.0.1", "::1"}))))
        with pytest.raises(aiohttp.ClientConnectorError):  # the kept connection is not new, so another host name is used
            await session.get(world.url("graph").replace("localhost", "127.0.0.1"))


async def test_a_host_that_ends_takes_its_connections_along() -> None:
    world, authority, arrived = World(), trustme.CA(), asyncio.Event()

    async def never(_request: web.BaseRequest) -> web.Response:
        arrived.set()
        await asyncio.Event().wait()
        return web.Response()

    async with aiohttp.ClientSession() as session:
        async with serve_site(world, Site("control", never), authority):
            waiting = asyncio.create_task(session.get(world.url("control")))
            await arrived.wait()
        with pytest.raises(aiohttp.ClientError):
            await waiting


async def test_the_metadata_service_is_plain_http() -> None:
    world = World()
    async with client(world, "metadata") as session, session.get("/metadata") as response:
        assert response.url.scheme == "http"
        assert response.status == 200
