import ssl
from collections.abc import AsyncIterator

import aiohttp
import pytest
import trustme

from agent.drill.authority import server_context
from agent.drill.story import Effect
from agent.drill.web import Page, serve_pages

PAGES = {
    "/": Page(b"hello"),
    "/moved": Page(status=302, headers={"Location": "/"}),
    "/dripping": Page(b"x" * 100, drip=0.05),
}


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [("/", 200, b"hello"), ("/nothing", 404, b"Not Found\n"), ("/moved", 302, b""), ("/dripping", 200, b"x" * 100)],
)
async def test_pages_are_answered(client: aiohttp.ClientSession, path: str, status: int, body: bytes) -> None:
    async with serve_pages(PAGES) as port, client.get(f"http://127.0.0.1:{port}{path}", allow_redirects=False) as response:
        assert (response.status, await response.read()) == (status, body)


async def test_a_fault_makes_a_page_unavailable_and_leaves_the_others(client: aiohttp.ClientSession) -> None:
    async with serve_pages(PAGES, lambda path: Effect.UNAVAILABLE if path == "/" else None) as port:
        statuses = [(await client.get(f"http://127.0.0.1:{port}{path}")).status for path in ("/", "/dripping")]
    assert statuses == [503, 200]


@pytest.mark.parametrize("effect", [Effect.SLOW, Effect.SILENT, Effect.DRIP])
async def test_a_slow_page_outlasts_an_impatient_client(client: aiohttp.ClientSession, effect: Effect) -> None:
    impatient = aiohttp.ClientTimeout(total=0.2)
    async with serve_pages(PAGES, lambda _: effect) as port:
        with pytest.raises(TimeoutError):
            async with client.get(f"http://127.0.0.1:{port}/", timeout=impatient) as response:
                await response.read()


def _trust(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def test_tls_is_good_for_those_who_trust_its_authority_and_for_nobody_else(client: aiohttp.ClientSession) -> None:
    authority, stranger = trustme.CA(), trustme.CA()
    async with serve_pages(PAGES, tls=server_context(authority, "www.contoso.example", "127.0.0.1")) as port:
        url = f"https://127.0.0.1:{port}/"
        async with client.get(url, ssl=_trust(authority)) as response:
            assert response.status == 200
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await client.get(url, ssl=_trust(stranger))
