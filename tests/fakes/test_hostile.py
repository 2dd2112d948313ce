"""The bad servers must be bad in exactly the way they say, as a client of the standard library sees it."""

import asyncio
import ssl
import zlib
from collections.abc import Callable

import pytest

from tests.fakes import hostile
from tests.fakes.certificates import Flaw, ca_file, client_key_pair, server_context

QUESTION = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def answer(server: hostile.Server, *, tls: bool = False, question: bytes = QUESTION) -> bytes:
    """Everything that a server answers until it closes or resets (then with b"<reset>" behind it)."""
    async with server as (host, port):
        reader, writer = await asyncio.open_connection(host, port, ssl=trusting() if tls else None)
        received = b""
        try:
            writer.write(question)
            while data := await reader.read(65536):
                received += data
        except ConnectionResetError:
            received += b"<reset>"
        finally:
            writer.transport.abort()
        return received


def trusting() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca_file())


@pytest.mark.parametrize(
    ("server", "tls", "ending"),
    [
        pytest.param(hostile.resets_at_once, False, b"<reset>", id="reset at once"),
        pytest.param(hostile.resets_in_header, False, b"Content<reset>", id="reset in header"),
        pytest.param(hostile.resets_in_body, False, b"x<reset>", id="reset in body"),
        pytest.param(hostile.tls_resets_in_record, True, b"<reset>", id="reset in record"),
        pytest.param(hostile.proxy_breaks_off, False, b"", id="proxy breaks off"),
        pytest.param(lambda: hostile.proxy_breaks_off(answered=True), False, b"established\r\n\r\n", id="proxy breaks off after 200"),
    ],
)
async def test_a_broken_answer_ends_where_it_says(server: Callable[[], hostile.Server], tls: bool, ending: bytes) -> None:  # noqa: FBT001
    received = await answer(server(), tls=tls)
    assert received.endswith(ending)
    assert bool(received) == bool(ending)


async def test_a_port_that_refuses() -> None:
    async with hostile.refuses() as (host, port):
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(host, port)


async def test_a_port_that_drops() -> None:
    async with hostile.drops() as (host, port):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.open_connection(host, port), 0.3)


@pytest.mark.parametrize("server", [hostile.says_nothing, hostile.tls_stalls], ids=["silent", "stalled handshake"])
async def test_silence(server: Callable[[], hostile.Server]) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(answer(server()), 0.1)


async def test_drops_of_one_byte_fall_for_ever() -> None:
    async with hostile.drips(b"HT", interval=0.001) as (host, port):
        reader, writer = await asyncio.open_connection(host, port)
        assert await reader.readexactly(5) == b"HTxxx"
        writer.transport.abort()


@pytest.mark.parametrize("server", [hostile.endless_body, hostile.endless_header, lambda: hostile.endless(b"2", b"20-more\r\n")])
async def test_what_is_endless_ends_when_the_client_has_gone(server: Callable[[], hostile.Server]) -> None:
    async with server() as (host, port):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(QUESTION)
        assert len(await reader.readexactly(200_000)) == 200_000
        writer.transport.abort()


async def test_a_bomb_is_small_and_unpacks_to_64_mib() -> None:
    async with hostile.gzip_bomb() as (host, port):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(QUESTION)
        head = await reader.readuntil(b"\r\n\r\n")
        packed = await reader.readexactly(int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0]))
        writer.transport.abort()
    assert len(packed) < 100_000
    assert len(zlib.decompress(packed, wbits=31)) == 64 << 20


async def test_redirects_lead_further_on() -> None:
    async with hostile.endless_redirects() as (host, port):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(QUESTION + b"GET /1 HTTP/1.1\r\n\r\n")
        assert b"Location: /1\r\n" in await reader.readuntil(b"\r\n\r\n")
        assert b"Location: /2\r\n" in await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()


@pytest.mark.parametrize(
    ("flaw", "message"),
    [
        pytest.param(Flaw.EXPIRED, "certificate has expired", id="expired"),
        pytest.param(Flaw.NOT_YET_VALID, "certificate is not yet valid", id="not yet valid"),
        pytest.param(Flaw.WRONG_NAME, "IP address mismatch", id="wrong name"),
        pytest.param(Flaw.SELF_SIGNED, "self-signed certificate", id="self-signed"),
        pytest.param(Flaw.UNTRUSTED, "unable to get local issuer certificate", id="untrusted"),
    ],
)
async def test_a_certificate_has_the_flaw_it_says(flaw: Flaw, message: str) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match=message):
        await answer(hostile.tls_page(flaw), tls=True)


async def test_a_good_certificate_is_trusted() -> None:
    async with hostile.tls_page() as (host, port):
        reader, writer = await asyncio.open_connection(host, port, ssl=trusting())
        writer.write(QUESTION)
        assert (await reader.readuntil(b"hello\n")).startswith(b"HTTP/1.1 200 OK")
        writer.transport.abort()


async def test_a_handshake_that_is_reset() -> None:
    with pytest.raises(ConnectionResetError):
        await answer(hostile.tls_resets_in_handshake(), tls=True)


async def nothing_from(reader: asyncio.StreamReader) -> bool:
    try:
        return not await reader.read()
    except (ConnectionResetError, ssl.SSLError):
        return True


async def test_a_server_that_wants_a_client_certificate_takes_only_ours() -> None:
    pair = client_key_pair()
    context = trusting()
    context.load_cert_chain(pair.certificate, pair.key)
    async with hostile.page(tls=server_context(wants_client_certificate=True)) as (host, port):
        reader, writer = await asyncio.open_connection(host, port, ssl=context)
        writer.write(QUESTION)
        assert b"200 OK" in await reader.readuntil(b"hello\n")
        writer.transport.abort()
        reader, writer = await asyncio.open_connection(host, port, ssl=trusting())
        assert await nothing_from(reader)
        writer.transport.abort()


async def through_proxy(question: Callable[[bytes], bytes], login: str = "") -> bytes:
    async with hostile.page() as (host, port), hostile.proxy(login) as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(question(f"{host}:{port}".encode()))
        received = await reader.readuntil(b"\r\n\r\n")
        if b"established" in received:
            writer.write(QUESTION)
        if b"407" not in received:
            received += await reader.readuntil(b"hello\n")
        writer.transport.abort()
        return received


async def test_a_proxy_joins_two_ends() -> None:
    assert b"hello" in await through_proxy(lambda target: b"CONNECT " + target + b" HTTP/1.1\r\n\r\n")


async def test_a_proxy_fetches_a_whole_url() -> None:
    assert b"hello" in await through_proxy(lambda target: b"GET http://" + target + b"/ HTTP/1.1\r\nHost: x\r\n\r\n")


async def test_a_proxy_that_wants_a_login_says_407_and_takes_the_right_one() -> None:
    assert b" 407 " in await through_proxy(lambda target: b"CONNECT " + target + b" HTTP/1.1\r\n\r\n", "user:password")
    login = b"Proxy-Authorization: Basic dXNlcjpwYXNzd29yZA==\r\n\r\n"
    assert b"hello" in await through_proxy(lambda target: b"CONNECT " + target + b" HTTP/1.1\r\n" + login, "user:password")
