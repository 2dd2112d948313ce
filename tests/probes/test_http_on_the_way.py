"""The http kind where the way leads over redirects and proxies."""

from collections.abc import Callable
from typing import Any

import pytest

from probes.core.contract import Outcome
from probes.core.reasons import Reason
from probes.lib.url import parse
from tests.fakes import hostile
from tests.probes.pages import TRUST, answer, measured, phases, run, run_url, site, to


async def test_redirects_are_followed_and_their_phases_summed() -> None:
    pages: dict[str, Any] = {"next?code=s3cret": to("{origin}/last", b"307 Temporary Redirect"), "last": answer(b"hello")}
    async with site(root=to("/next?code=s3cret"), **pages) as server:
        ended = await run_url(server.origin, expect={"body": {"contains": ["hello"]}})
    assert ended.outcome is Outcome.OK
    assert measured(ended)["redirects"] == 2
    assert [step.name for step in ended.steps] == ["request", "verify"]
    assert dict(ended.evidence)["redirect_1"] == f"302 to {server.origin}/next"
    assert "s3cret" not in str(ended)


async def test_a_redirect_is_judged_where_that_is_wanted() -> None:
    async with site(root=to("https://www.example.com/", b"301 Moved Permanently")) as server:
        right = await run_url(
            server.origin, redirects="judge", expect={"status": [301], "headers": {"Location": "^https://www.example.com/$"}}
        )
        wrong = await run_url(server.origin, redirects="judge", expect={"headers": {"Location": "other"}})
    assert right.outcome is Outcome.OK
    assert (wrong.failed_step, wrong.reason) == ("verify", Reason.CONTENT_MISMATCH)


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("{origin}/", "more than 3 redirects"),
        ("ftp://example.com/", "no web address"),
        ("http://user:pw@example.com/", "no web address"),
        ("http://[::1", "no web address"),
        ("http://x y/", "no web address"),
    ],
)
async def test_a_redirect_that_leads_nowhere(location: str, words: str) -> None:
    async with site(root=to(location)) as server:
        ended = await run_url(server.origin, max_redirects=3)
    assert (ended.failed_step, ended.reason) == ("request", Reason.HTTP_REDIRECT)
    assert words in ended.message


async def test_long_redirects_are_not_remembered() -> None:
    before = parse.cache_info().currsize
    async with site(root=to("{origin}/" + "x" * 60_000)) as server:
        ended = await run_url(server.origin)
    assert dict(ended.evidence)["status"] == "404"
    assert parse.cache_info().currsize == before + 1


async def test_a_redirect_never_leads_out_of_tls() -> None:
    async with site(root=answer()) as plain, site(tls=True, root=to(plain.origin)) as secure:
        ended = await run_url(secure.origin, tls=TRUST)
        assert plain.asked == []
    assert (ended.failed_step, ended.reason) == ("request", Reason.HTTP_REDIRECT)


async def test_what_is_personal_stays_with_its_host() -> None:
    async with site(root=answer()) as other, site(root=to("/same"), same=to(other.origin)) as first:
        settings: dict[str, Any] = {"headers": {"X-Key": {"env": "k3y"}, "Cookie": "a=b", "X-Open": "1"}, "bearer": {"env": "t0ken"}}
        ended = await run_url(first.origin, **settings)
        assert ended.outcome is Outcome.OK
        assert first.asked is not None
        assert other.asked is not None
        assert all("k3y" in asked and "t0ken" in asked and "a=b" in asked for asked in first.asked)
        (carried,) = other.asked
    assert "X-Open: 1" in carried
    assert not any(word in carried for word in ("k3y", "t0ken", "a=b"))


@pytest.mark.parametrize(
    ("status", "method", "sent"),
    [
        (b"302 Found", "POST", "GET /next HTTP/1.1"),
        (b"303 See Other", "PUT", "GET /next HTTP/1.1"),
        (b"307 Temporary Redirect", "POST", "POST /next HTTP/1.1"),
        (b"308 Permanent Redirect", "PUT", "PUT /next HTTP/1.1"),
        (b"303 See Other", "HEAD", "HEAD /next HTTP/1.1"),
    ],
)
async def test_the_method_after_a_redirect(status: bytes, method: str, sent: str) -> None:
    async with site(root=to("/next", status), next=answer()) as server:
        await run_url(server.origin, method=method, body=None if method == "HEAD" else "x=1", headers={"Content-Type": "a/b"})
        assert server.asked is not None
        assert server.asked[1].splitlines()[0] == sent
        assert server.asked[1].endswith("x=1") == (not sent.startswith(("GET", "HEAD")))
        assert ("a/b" in server.asked[1]) == (not sent.startswith("GET"))


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_page_behind_a_proxy(scheme: str) -> None:
    async with hostile.proxy() as (host, port):
        target = hostile.tls_page() if scheme == "https" else hostile.page()
        ended = await run(target, scheme, proxy=f"http://{host}:{port}", tls=TRUST)
    assert ended.outcome is Outcome.OK
    assert phases(ended) == ["connect", *(["proxy", "tls"] if scheme == "https" else []), "processing", "transfer"]
    assert dict(ended.evidence)["proxy"] == f"{host}:{port}"


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_gets_the_login_it_asks_for_and_the_target_does_not(scheme: str) -> None:
    async with hostile.proxy("probe:s3cret") as (host, port), site(tls=scheme == "https", root=answer()) as server:
        proxy = {"url": f"http://{host}:{port}", "username": "probe", "password": {"env": "s3cret"}}
        ended = await run_url(server.origin, proxy=proxy, tls=TRUST)
        assert ended.outcome is Outcome.OK, ended.message
        assert server.asked is not None
        assert scheme == "http" or "Proxy-Authorization" not in server.asked[0]


@pytest.mark.parametrize(
    ("proxy", "scheme", "reason", "code"),
    [
        pytest.param(hostile.refuses, "https", Reason.PROXY_UNREACHABLE, "", id="nothing listens"),
        pytest.param(hostile.refuses, "http", Reason.PROXY_UNREACHABLE, "", id="nothing listens, http"),
        pytest.param(lambda: hostile.proxy("a:b"), "https", Reason.PROXY_AUTH, "407", id="asks for a login"),
        pytest.param(lambda: hostile.proxy("a:b"), "http", Reason.PROXY_AUTH, "407", id="asks for a login, http"),
        pytest.param(hostile.proxy_refuses, "https", Reason.PROXY_REFUSED, "403", id="refuses"),
        pytest.param(lambda: hostile.proxy_refuses(b"502 Bad Gateway"), "https", Reason.PROXY_REFUSED, "502", id="cannot reach the target"),
        pytest.param(hostile.proxy_breaks_off, "https", Reason.PROXY_UNREACHABLE, "", id="breaks off"),
        pytest.param(hostile.garbage, "https", Reason.PROXY_UNREACHABLE, "", id="is none"),
        pytest.param(hostile.resets_at_once, "https", Reason.PROXY_UNREACHABLE, "", id="resets"),
        pytest.param(
            lambda: hostile.proxy_breaks_off(answered=True), "https", Reason.CONNECTION_RESET, "", id="breaks off behind its answer"
        ),
    ],
)
async def test_a_proxy_fails_in_its_own_name(proxy: Callable[[], hostile.Server], scheme: str, reason: Reason, code: str) -> None:
    async with proxy() as (host, port):
        ended = await run(hostile.tls_page(), scheme, proxy=f"http://{host}:{port}", tls=TRUST)
    assert (ended.outcome, ended.failed_step, ended.reason, ended.code) == (Outcome.FAILED, "request", reason, code), ended.message


async def test_the_environment_names_proxies_only_where_it_is_asked() -> None:
    async with hostile.refuses() as (host, port), hostile.page() as (_, target):
        environ = (("http", f"http://{host}:{port}"), ("no", "localhost,10.0.0.0/8"))
        url = f"http://127.0.0.1:{target}/"
        direct = await run_url(url, environ=environ)
        through = await run_url(url, environ=environ, proxy="environment")
        excepted = await run_url(f"http://localhost:{target}/", environ=environ, proxy="environment")
    assert direct.outcome is Outcome.OK
    assert through.reason is Reason.PROXY_UNREACHABLE
    assert excepted.outcome is Outcome.OK
