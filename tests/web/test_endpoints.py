"""What is not a page: metrics, health, reload, configuration, and what every answer carries."""

import gzip
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientResponse, ClientSession

from tests.web.samples import JOBS, SHAREPOINT, STORM, history
from tests.web.serving import World, serving, site


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with ClientSession(auto_decompress=False) as session:
        yield session


async def body(response: ClientResponse) -> str:
    return await response.text()


async def test_metrics_are_made_for_what_the_scraper_accepts(session: ClientSession) -> None:
    async with serving(site(World())) as url:
        answer = await session.get(f"{url}/metrics", headers={"Accept": "application/openmetrics-text", "Accept-Encoding": "gzip"})
        assert await body(answer) == "# application/openmetrics-text|gzip\nup 1\n"
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4"
    assert "Accept-Encoding" in answer.headers["Vary"]
    assert "Content-Encoding" not in answer.headers


@pytest.mark.parametrize("path", ["/-/healthy", "/-/ready"])
async def test_an_agent_that_is_ready_says_so(session: ClientSession, path: str) -> None:
    async with serving(site(World())) as url:
        assert (await session.get(url + path)).status == 200


async def test_an_agent_that_starts_is_healthy_and_not_ready(session: ClientSession) -> None:
    async with serving(site(World(ready=False))) as url:
        assert (await session.get(f"{url}/-/healthy")).status == 200
        assert (await session.get(f"{url}/-/ready")).status == 503


async def test_the_configuration_is_shown_as_it_is_given(session: ClientSession) -> None:
    async with serving(site(World(), config_text=lambda: "a: <secret>\n")) as url:
        answer = await session.get(f"{url}/config")
        assert (await body(answer), answer.content_type) == ("a: <secret>\n", "text/plain")


async def no_mistakes() -> list[str]:
    return []


async def two_mistakes() -> list[str]:
    return ["a.yml:1:1: probes: empty", "b.yml:2:1: kind: none"]


async def test_a_reload_that_is_not_enabled_is_refused_in_words(session: ClientSession) -> None:
    async with serving(site(World())) as url:
        answer = await session.post(f"{url}/-/reload")
        assert answer.status == 403
        assert "--web.enable-reload" in await body(answer)


async def test_a_reload_answers_ok_or_all_mistakes(session: ClientSession) -> None:
    async with serving(site(World(), reload=no_mistakes)) as url:
        assert (await session.post(f"{url}/-/reload")).status == 200
    async with serving(site(World(), reload=two_mistakes)) as url:
        answer = await session.post(f"{url}/-/reload")
        assert (answer.status, await body(answer)) == (500, "a.yml:1:1: probes: empty\nb.yml:2:1: kind: none\n")


async def test_a_reload_is_not_had_by_reading(session: ClientSession) -> None:
    async with serving(site(World(), reload=no_mistakes)) as url:
        assert (await session.get(f"{url}/-/reload")).status == 405


@pytest.mark.parametrize(("sender", "status"), [("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)])
async def test_a_page_of_another_site_cannot_reload_the_agent(session: ClientSession, sender: str, status: int) -> None:
    async with serving(site(World(), reload=no_mistakes)) as url:
        assert (await session.post(f"{url}/-/reload", headers={"Sec-Fetch-Site": sender})).status == status


@pytest.mark.parametrize(
    "path", ["/", "/probe/mx-of-contoso", "/metrics", "/config", "/api/v1/runs", "/-/healthy", "/static/icon.svg", "/no"]
)
async def test_every_answer_forbids_scripts_frames_and_guesses(session: ClientSession, path: str) -> None:
    async with serving(site(World(history(STORM), JOBS))) as url:
        headers = (await session.get(url + path)).headers
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Server"] == "fogbell"


@pytest.mark.parametrize("path", ["/", "/metrics", "/config", "/api/v1/runs", "/api/v1/runs?stream=1", "/-/ready"])
async def test_reading_is_all_that_is_allowed(session: ClientSession, path: str) -> None:
    async with serving(site(World())) as url:
        assert [(await session.request(method, url + path)).status for method in ("POST", "PUT", "DELETE", "OPTIONS")] == [405] * 4


@pytest.mark.parametrize("path", ["/", "/metrics", "/config", "/api/v1/runs", "/api/v1/runs?stream=1", "/static/fogbell.css"])
async def test_a_head_request_gets_headers_and_nothing_else(session: ClientSession, path: str) -> None:
    async with serving(site(World(history(STORM), JOBS))) as url:
        answer = await session.head(url + path)
        assert (answer.status, await answer.read()) == (200, b"")
        assert (await session.get(f"{url}/-/healthy")).status == 200


@pytest.mark.parametrize(
    "path",
    ["/<script>", "/probe/<script>", "/static/../pages.py", "/static/%2e%2e%2fpages.py", "/static/x", "/api/v1/runs?probe=<script>"],
)
async def test_what_is_not_there_is_not_repeated(session: ClientSession, path: str) -> None:
    async with serving(site(World())) as url:
        answer = await session.get(url + path, headers={"Host": "evil.example"})
        text = await body(answer)
    assert answer.status == 404
    assert answer.content_type == "text/plain"
    assert "script" not in text
    assert "evil" not in text + str(answer.headers)


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("gzip, deflate, br", "gzip"),
        ("br;q=1, gzip;q=0.5", "gzip"),
        ("GZIP", "gzip"),
        ("gzip;q=0", None),
        ("gzip; q=0.000, br", None),
        ("", None),
    ],
)
@pytest.mark.parametrize("path", ["/", "/api/v1/runs"])
async def test_a_page_is_packed_for_who_takes_it(session: ClientSession, path: str, accepted: str, encoding: str | None) -> None:
    async with serving(site(World(history(STORM), JOBS))) as url:
        answer = await session.get(url + path, headers={"Accept-Encoding": accepted})
        data = await answer.read()
    assert answer.headers.get("Content-Encoding") == encoding
    assert SHAREPOINT.name in (gzip.decompress(data) if encoding else data).decode()


async def test_a_browser_may_keep_static_files_of_a_version(session: ClientSession) -> None:
    async with serving(site(World())) as url:
        assert "immutable" in (await session.get(f"{url}/static/fogbell.css?v=1")).headers["Cache-Control"]
        assert (await session.get(f"{url}/static/fogbell.css")).headers["Cache-Control"] == "no-store"
