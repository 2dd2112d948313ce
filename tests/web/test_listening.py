"""The pages behind TLS and passwords, over real sockets; what changes on disk comes into force by itself."""

import asyncio
import base64
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import bcrypt
import pytest
from aiohttp import ClientConnectorError, ClientError, ClientSession

from agent.web import ListenError, listening
from tests.fakes.certificates import Flaw, ca_file, client_key_pair, key_pair
from tests.web.serving import World, site

HERE = (("127.0.0.1", 0),)


def hashed(password: str) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()


def tls(flaw: Flaw = Flaw.NONE, more: str = "") -> str:
    pair = key_pair(flaw)
    return f"tls_server_config:\n  cert_file: {pair.certificate}\n  key_file: {pair.key}\n{more}"


MUTUAL = f"  client_ca_file: {ca_file()}\n  client_auth_type: RequireAndVerifyClientCert\n"


def login(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


async def eventually(true: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(10):
        while not await true():  # noqa: ASYNC110 - what is waited for is seen only from outside
            await asyncio.sleep(0.02)


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with ClientSession() as session:
        yield session


@pytest.fixture
def web_yml(tmp_path: Path) -> Path:
    return tmp_path / "web.yml"


def trusting() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca_file())


async def status(session: ClientSession, url: str, *, auth: str = "", context: ssl.SSLContext | None = None) -> int:
    """Return the status over a connection of its own."""
    headers = {"Connection": "close"} | ({"Authorization": auth} if auth else {})
    async with session.get(f"{url}/-/healthy", ssl=context or True, headers=headers) as response:
        return response.status


async def test_without_a_file_the_pages_are_open(session: ClientSession) -> None:
    async with listening(site(World()), HERE) as ((host, port),):
        assert await status(session, f"http://{host}:{port}") == 200


async def test_a_port_that_is_taken_says_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ListenError, match="--listen"):
        async with listening(site(World()), (taken.getsockname()[:2],)):
            pass


async def test_a_wrong_file_stops_the_start_with_its_mistakes(web_yml: Path) -> None:
    web_yml.write_text("rate_limit: {}\n")
    with pytest.raises(ListenError, match=r"web\.yml:1:1: rate_limit"):
        async with listening(site(World()), HERE, web_yml):
            pass


@pytest.mark.parametrize(
    ("auth", "expected"),
    [
        (login("prometheus", "right"), 200),
        (login("prometheus", "wrong"), 401),
        (login("nobody", "right"), 401),
        (login("prometheus", ""), 401),
        (login("prometheus", "x" * 4000), 401),
        (login("prometheus", "null\0byte"), 401),
        ("", 401),
    ],
    ids=["right", "wrong password", "wrong user", "no password", "long password", "null byte", "nothing"],
)
async def test_a_password_opens_the_door(session: ClientSession, web_yml: Path, auth: str, expected: int) -> None:
    web_yml.write_text(f"basic_auth_users: {{prometheus: {hashed('right')}}}\n")
    async with listening(site(World()), HERE, web_yml) as ((host, port),):
        assert await status(session, f"http://{host}:{port}", auth=auth) == expected
        assert await status(session, f"http://{host}:{port}", auth=auth) == expected  # from memory, or checked again


@pytest.mark.parametrize("value", ["Bearer x", "Basic", "Basic !!!", "Basic /////w==", "basic"])
async def test_an_authorization_that_is_none_is_answered_with_a_challenge(session: ClientSession, web_yml: Path, value: str) -> None:
    web_yml.write_text(f"basic_auth_users: {{prometheus: {hashed('right')}}}\n")
    async with listening(site(World()), HERE, web_yml) as ((host, port),):
        response = await session.get(f"http://{host}:{port}/metrics", headers={"Authorization": value})
        assert response.status == 401
        assert response.headers["WWW-Authenticate"].startswith("Basic ")
        assert "frame-ancestors" in response.headers["Content-Security-Policy"]


async def test_headers_of_the_file_replace_our_own(session: ClientSession, web_yml: Path) -> None:
    web_yml.write_text("http_server_config: {headers: {X-Frame-Options: SAMEORIGIN}}\n")
    async with listening(site(World()), HERE, web_yml) as ((host, port),), session.get(f"http://{host}:{port}/") as response:
        assert response.headers["X-Frame-Options"] == "SAMEORIGIN"


async def test_the_pages_come_over_tls_and_not_without(session: ClientSession, web_yml: Path) -> None:
    web_yml.write_text(tls())
    async with listening(site(World()), HERE, web_yml) as ((host, port),):
        assert await status(session, f"https://{host}:{port}", context=trusting()) == 200
        with pytest.raises(ClientError):
            await status(session, f"http://{host}:{port}")


async def test_a_client_without_a_certificate_stays_outside(session: ClientSession, web_yml: Path) -> None:
    web_yml.write_text(tls(more=MUTUAL))
    known = trusting()
    pair = client_key_pair()
    known.load_cert_chain(pair.certificate, pair.key)
    async with listening(site(World()), HERE, web_yml) as ((host, port),):
        assert await status(session, f"https://{host}:{port}", context=known) == 200
        with pytest.raises((ClientError, OSError)):
            await status(session, f"https://{host}:{port}", context=trusting())


async def test_a_changed_password_comes_into_force_and_the_old_one_goes(session: ClientSession, web_yml: Path) -> None:
    web_yml.write_text(f"basic_auth_users: {{prometheus: {hashed('old')}}}\n")
    async with listening(site(World()), HERE, web_yml, follow_seconds=0.02) as ((host, port),):
        url = f"http://{host}:{port}"
        assert await status(session, url, auth=login("prometheus", "old")) == 200
        web_yml.write_text(f"basic_auth_users: {{prometheus: {hashed('new')}}}\n")

        async def in_force() -> bool:
            return await status(session, url, auth=login("prometheus", "new")) == 200

        await eventually(in_force)
        assert await status(session, url, auth=login("prometheus", "old")) == 401


async def test_a_new_certificate_comes_into_force_without_a_refused_connection(session: ClientSession, web_yml: Path) -> None:
    web_yml.write_text(tls(Flaw.EXPIRED))
    async with listening(site(World()), HERE, web_yml, follow_seconds=0.02) as ((host, port),):
        with pytest.raises(ClientConnectorError):
            await status(session, f"https://{host}:{port}", context=trusting())
        web_yml.write_text(tls())

        async def in_force() -> bool:
            return await presented(host, port) == der(key_pair().certificate)

        await eventually(in_force)
        assert await status(session, f"https://{host}:{port}", context=trusting()) == 200


async def presented(host: str, port: int) -> bytes | None:
    """Return the certificate that the server shows, whatever it is worth. A refused connection is an error."""
    blind = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    blind.check_hostname, blind.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection(host, port, ssl=blind)
    try:
        found: bytes | None = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return found
    finally:
        writer.close()


def der(path: str) -> bytes:
    first = Path(path).read_text().split("-----END CERTIFICATE-----")[0]
    return ssl.PEM_cert_to_DER_cert(f"{first}-----END CERTIFICATE-----\n")


async def test_a_broken_change_is_logged_once_and_the_protection_stays(
    session: ClientSession, web_yml: Path, caplog: pytest.LogCaptureFixture
) -> None:
    web_yml.write_text(f"basic_auth_users: {{prometheus: {hashed('right')}}}\n")
    async with listening(site(World()), HERE, web_yml, follow_seconds=0.01) as ((host, port),):
        web_yml.write_text("basic_auth_users: {prometheus: none}\n")

        async def logged() -> bool:
            return "configuration has mistakes" in caplog.text

        await eventually(logged)
        await asyncio.sleep(0.05)  # several more looks at the same broken file
        assert await status(session, f"http://{host}:{port}") == 401
        assert await status(session, f"http://{host}:{port}", auth=login("prometheus", "right")) == 200
    assert caplog.text.count("configuration has mistakes") == 1
