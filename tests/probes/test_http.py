"""The http kind against good servers, and its settings."""

import asyncio
import zlib
from typing import Any

import pytest
from pydantic import ValidationError

from probes.core.contract import Layer, Outcome, Place, Workload
from probes.core.reasons import Reason
from probes.http import PROBE, HttpCheck
from probes.lib.http import USER_AGENT
from tests.fakes import hostile
from tests.fakes.certificates import Flaw, client_key_pair, server_context
from tests.lib.runs import on_both_loops
from tests.probes.pages import TRUST, answer, measured, phases, run, run_url, site


@on_both_loops
async def test_a_page_is_timed_in_phases_and_measured() -> None:
    async with hostile.page() as (_, port):
        plain = await run_url(f"http://localhost:{port}/", family="ipv4")
    secure = await run(hostile.tls_page(), "https", tls=TRUST)
    assert (plain.outcome, secure.outcome) == (Outcome.OK, Outcome.OK)
    assert phases(plain) == ["resolve", "connect", "processing", "transfer"]
    assert phases(secure) == ["connect", "tls", "processing", "transfer"]
    assert [step.name for step in plain.steps] == ["request", "verify"]
    assert measured(plain).items() >= {"status": 200, "body_bytes": 6, "redirects": 0}.items()
    assert measured(plain)["kernel_rtt_seconds"] > 0
    assert measured(plain)["kernel_retransmissions"] == 0
    assert "transfer_bytes_per_second" not in measured(plain)
    assert measured(secure)["certificate_expiry_timestamp_seconds"] > secure.started
    assert dict(secure.evidence)["tls_version"] == "TLSv1.3"


async def test_all_phases_lie_within_the_step() -> None:
    ended = await run(hostile.tls_page(), "https", tls=TRUST)
    step = ended.steps[0]
    assert all(seconds >= 0 for _, seconds in step.phases)
    assert sum(seconds for _, seconds in step.phases) <= step.seconds


async def test_what_is_sent() -> None:
    async with site(root=answer()) as server:
        await run_url(
            f"{server.origin}/?q=ü#top", method="POST", body="grüße", headers={"Content-Type": "text/plain", "X-Key": {"env": "k3y"}}
        )
        await run_url(server.origin, basic_auth={"username": "probe", "password": {"env": "pässword"}})
        await run_url(server.origin, bearer={"env": "t0ken"}, compression=True, headers={"host": "www.example.com"})
        assert server.asked is not None
        posted, basic, bearer = server.asked
    port = server.origin.rpartition(":")[2]
    first = f"User-Agent: {USER_AGENT}\r\nAccept: */*\r\nConnection: close\r\n"
    kept = "Content-Length: 7\r\nContent-Type: text/plain\r\nX-Key: k3y\r\n\r\n"
    assert posted == f"POST /?q=%C3%BC HTTP/1.1\r\nHost: localhost:{port}\r\n{first}{kept}grüße"
    assert basic == f"GET / HTTP/1.1\r\nHost: localhost:{port}\r\n{first}Authorization: Basic cHJvYmU6cMOkc3N3b3Jk\r\n\r\n"
    own = "Accept-Encoding: gzip, deflate\r\nhost: www.example.com\r\nAuthorization: Bearer t0ken\r\n\r\n"
    assert bearer == f"GET / HTTP/1.1\r\n{first}{own}"


@pytest.mark.parametrize(
    "server",
    [
        pytest.param(hostile.closes_after(b"HTTP/1.1 200 OK\r\n\r\nhello\n"), id="ends with the connection"),
        pytest.param(hostile.closes_after(b"HTTP/1.0 200 OK\r\n\r\nhello\n"), id="HTTP/1.0"),
        pytest.param(
            hostile.sends(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n4;x=y\r\nllo\n\r\n0\r\nX: y\r\n\r\n"),
            id="chunked",
        ),
        pytest.param(hostile.sends(b"HTTP/1.1 200 OK\nContent-Length: 6\n\nhello\n"), id="bare line feeds"),
        pytest.param(hostile.sends(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 3 + answer(b"hello\n")), id="interim answers"),
        pytest.param(hostile.sends(answer(b"hello\n") + answer(b"bye", b"500 Oops")), id="a second answer behind"),
        pytest.param(hostile.sends(answer(b"hello\n") + hostile.GARBAGE), id="noise behind"),
        pytest.param(hostile.page(zlib.compress(b"hello\n"), headers=b"Content-Encoding: deflate\r\n"), id="deflate"),
        pytest.param(hostile.page(zlib.compress(b"hello\n", wbits=31), headers=b"Content-Encoding: gzip\r\n"), id="gzip"),
    ],
)
async def test_every_form_of_a_body_is_read(server: hostile.Server) -> None:
    ended = await run(server, expect={"status": [200], "body": {"regex": ["^hello\n$"], "min_bytes": 6, "max_bytes": 6}})
    assert (ended.message, ended.outcome) == ("", Outcome.OK)


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
async def test_an_answer_that_has_no_body(status: bytes) -> None:
    ended = await run(hostile.sends(b"HTTP/1.1 " + status + b"\r\nContent-Length: 10\r\n\r\n"), expect={"status": [204, 304]})
    assert ended.outcome is Outcome.OK


async def test_the_answer_to_head_has_no_body() -> None:
    ended = await run(hostile.sends(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"), method="HEAD")
    assert ended.outcome is Outcome.OK


async def test_bytes_per_second_are_told_of_a_large_body() -> None:
    ended = await run(hostile.page(b"x" * 1_000_000))
    assert measured(ended)["body_bytes"] == 1_000_000
    assert measured(ended)["transfer_bytes_per_second"] > 0


async def test_ipv6_and_host_in_brackets() -> None:
    async with site(root=answer()) as server:
        port = server.origin.rpartition(":")[2]
        ended = await run_url(f"http://[::1]:{port}/")
    assert (ended.failed_step, ended.reason) == ("request", Reason.CONNECT_REFUSED)


async def test_a_client_certificate_is_shown() -> None:
    pair = client_key_pair()
    server = hostile.page(tls=server_context(wants_client_certificate=True))
    ended = await run(server, "https", tls={**TRUST, "client_certificate": {"certificate": pair.certificate, "key": pair.key}})
    assert ended.outcome is Outcome.OK


async def test_twenty_handshakes_at_once_keep_their_certificates_apart() -> None:
    async with hostile.tls_page() as good, hostile.tls_page(Flaw.EXPIRED) as bad:
        runs = await asyncio.gather(*(run_url(f"https://127.0.0.1:{(good, bad)[i % 2][1]}/", tls=TRUST) for i in range(20)))
    assert [ended.outcome for ended in runs] == [Outcome.OK, Outcome.FAILED] * 10
    assert len({measured(ended)["certificate_expiry_timestamp_seconds"] for ended in runs[::2]}) == 1
    assert all(measured(ended)["certificate_expiry_timestamp_seconds"] < ended.started for ended in runs[1::2])


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"url": "ftp://example.com/"}, "does not begin with http:// or https://"),
        ({"url": "http:///path"}, "names no host"),
        ({"url": "http://a..b/"}, "no host name"),
        ({"url": "http://example.com:0/"}, "0 is no port"),
        ({"url": "http://me:pw@example.com/"}, "use basic_auth"),
        ({"method": "FETCH"}, "Input should be 'GET'"),
        ({"headers": {"A B": "x"}}, "must be the name of a header field, such as Content-Type"),
        ({"headers": {"Connection": "x"}}, "Fogbell itself sets Connection"),
        ({"headers": {"X": "a\nb"}}, "printable ASCII"),
        ({"expect": {"status": ["2x"]}}, "'2x' is no status: write 204, 2xx or 200-204"),
        ({"expect": {"status": ["300-200"]}}, "is no status: they go from 100 to 599"),
        ({"expect": {"status": []}}, "name at least one status"),
        ({"expect": {"body": {"regex": ["("]}}}, "not a regular expression (RE2 syntax)"),
        ({"expect": {"body": {"json_path": [{"path": "a..b"}]}}}, "is no JSON path"),
        ({"expect": {"body": {"sha256": "abc"}}}, "must be a SHA-256: 64 hexadecimal digits"),
        ({"bearer": {"env": "A"}, "headers": {"authorization": "x"}}, "exclude each other"),
        ({"proxy": "socks5://localhost:1080"}, "a proxy is written http://host:port"),
        ({"tls": {"server_name": "a b"}}, "no host name"),
        ({"url": "http://127.0.0.1/", "family": "ipv6"}, "family: ipv6 excludes the address 127.0.0.1"),
        ({"family": "ipv5"}, "Input should be 'any', 'ipv4' or 'ipv6'"),
    ],
)
def test_a_wrong_setting_is_refused_in_words(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError) as caught:
        HttpCheck(**{"url": "http://example.com/", **settings})
    assert complaint in str(caught.value)


@pytest.mark.parametrize("key", ["url", "proxy"])
@pytest.mark.parametrize("login", ["me:ab12/cd34", "me:ab12?cd34", "me:ab12#cd34", "me:ab12[cd34", "me:ab12\N{ACCOUNT OF}cd34"])
def test_a_password_in_an_address_is_not_repeated(login: str, key: str) -> None:
    with pytest.raises(ValidationError) as caught:
        HttpCheck(**{"url": "http://example.com/", key: f"http://{login}@example.com:3128/"})
    said = caught.value.errors()[0]["msg"]
    assert "ab12" not in said
    assert "cd34" not in said


def test_a_proxy_is_no_more_than_a_host_and_a_port() -> None:
    # Its host would be `me`, its port 12, and the rest of the password would stand on the pages.
    with pytest.raises(ValidationError, match="a proxy is written http://host:port"):
        HttpCheck(url="http://example.com/", proxy="http://me:12/cd34@example.com:3128")


@pytest.mark.parametrize(
    ("host", "place"),
    [
        ("outlook.office365.com", Place(Layer.EDGE, Workload.EXCHANGE)),
        ("contoso.sharepoint.com", Place(Layer.EDGE, Workload.SHAREPOINT)),
        ("contoso-my.sharepoint.com", Place(Layer.EDGE, Workload.ONEDRIVE)),
        ("login.microsoftonline.com", Place(Layer.IDENTITY, Workload.ENTRA)),
        ("notoutlook.office365.com.example.org", Place(Layer.PATH, Workload.NETWORK)),
        ("www.example.org", Place(Layer.PATH, Workload.NETWORK)),
    ],
)
def test_microsofts_hosts_are_known_by_name(host: str, place: Place) -> None:
    assert PROBE.place(HttpCheck(url=f"https://{host}/")) == place
