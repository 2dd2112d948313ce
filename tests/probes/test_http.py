"""The http kind against good servers, and against every bad one with the exact step and reason."""

import asyncio
import hashlib
import socket
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import uvloop
from pydantic import ValidationError

from agent.job import Job
from agent.runner import run_once
from probes.core.context import Shared
from probes.core.contract import Failed, Inconclusive, Layer, Outcome, Place, Run, Secret, Workload
from probes.core.reasons import Reason
from probes.http import PROBE, HttpCheck
from probes.lib.http import USER_AGENT
from probes.lib.url import parse
from tests.fakes import hostile
from tests.fakes.certificates import Flaw, ca_file, client_key_pair, server_context
from tests.lib.runs import alerting

TRUST = {"ca_file": ca_file()}
LOOPS = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])


async def lookup(host: str, family: int) -> tuple[str, ...]:
    if host in {"localhost", "other.test"}:
        return ("::1",) if family == socket.AF_INET6 else ("127.0.0.1",)
    if host == "silent.test":
        await asyncio.get_running_loop().create_future()
    raise Failed(Reason.DNS_NXDOMAIN, f"{host} does not exist")


def read(secret: Secret) -> str:
    if secret.env == "GONE":
        raise Inconclusive(Reason.CREDENTIAL_INVALID, "GONE is not set")
    return secret.env or ""


async def run_url(url: str, *, deadline: float = 5.0, environ: tuple[tuple[str, str], ...] = (), **settings: Any) -> Run:
    check = HttpCheck(url=url, **settings)
    job = Job("page", "http", PROBE, check, 60.0, deadline, PROBE.place(check))
    return await run_once(job, Shared(lookup, read, environ))


async def run(server: hostile.Server, scheme: str = "http", path: str = "/", **settings: Any) -> Run:
    async with server as (host, port):
        return await run_url(f"{scheme}://{host}:{port}{path}", **settings)


def measured(run: Run) -> dict[str, float]:
    return {sample.name: sample.value for sample in run.measured}


def phases(run: Run, step: str = "request") -> list[str]:
    return [name for one in run.steps if one.name == step for name, _ in one.phases]


@dataclass(slots=True)
class Site:
    """A server that answers by path, and keeps what it was asked."""

    origin: str = ""
    asked: list[str] | None = None


@asynccontextmanager
async def site(tls: bool = False, **pages: bytes) -> AsyncIterator[Site]:  # noqa: FBT001, FBT002 - reads well where it is used
    """Serve whole answers by path; in them, `{origin}` stands for this server."""
    found = Site(asked=[])

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next((int(line[15:]) for line in head.split("\r\n") if line.lower().startswith("content-length:")), 0)
        assert found.asked is not None
        found.asked.append(head + (await reader.readexactly(length)).decode())
        page = pages.get(head.split(" ")[1].strip("/") or "root", b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        writer.write(page.replace(b"{origin}", found.origin.encode()))

    async with hostile.serving(talk, server_context() if tls else None) as (_, port):
        found.origin = f"{'https' if tls else 'http'}://localhost:{port}"
        yield found


def answer(body: bytes = b"", status: bytes = b"200 OK", **headers: str) -> bytes:
    fields = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items()).encode()
    return b"HTTP/1.1 " + status + b"\r\n" + fields + b"Content-Length: %d\r\n\r\n" % len(body) + body


def to(location: str, status: bytes = b"302 Found") -> bytes:
    return answer(status=status, Location=location)


# What is right


@LOOPS
def test_a_page_is_timed_in_phases_and_measured(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def both() -> tuple[Run, Run]:
        async with hostile.page() as (_, port):
            plain = await run_url(f"http://localhost:{port}/", family="ipv4")
        return plain, await run(hostile.tls_page(), "https", tls=TRUST)

    with asyncio.Runner(loop_factory=loop) as runner:
        plain, secure = runner.run(both())
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


# What is wrong with the connection or the protocol


def leaves_without_a_farewell() -> hostile.Server:
    """Send under TLS a body that ends with the connection, and close without saying so: anybody between could have cut it off."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server = hostile.ServerTls()
        await server.until(server.tls.do_handshake, reader, writer)
        await server.until(lambda: server.tls.read(65536), reader, writer)
        server.tls.write(b"HTTP/1.1 200 OK\r\n\r\nhello")
        writer.write(server.outgoing.read())

    return hostile.serving(talk)


def wants_a_client_certificate() -> hostile.Server:
    return alerting(server_context(wants_client_certificate=True))


PACKED = zlib.compress(bytes(range(256)) * 100, wbits=31)


@pytest.mark.parametrize(
    ("server", "scheme", "settings", "reason"),
    [
        pytest.param(hostile.refuses, "http", {}, Reason.CONNECT_REFUSED, id="refuses"),
        pytest.param(hostile.drops, "http", {"deadline": 0.3}, Reason.CONNECT_TIMEOUT, id="drops"),
        pytest.param(hostile.says_nothing, "http", {"deadline": 0.3}, Reason.TIMEOUT, id="accepts and says nothing"),
        pytest.param(hostile.drips, "http", {"deadline": 0.3}, Reason.TIMEOUT, id="one byte a second"),
        pytest.param(hostile.resets_at_once, "http", {}, Reason.CONNECTION_RESET, id="resets at once"),
        pytest.param(hostile.resets_in_header, "http", {}, Reason.CONNECTION_RESET, id="resets in a header"),
        pytest.param(hostile.resets_in_body, "http", {}, Reason.CONNECTION_RESET, id="resets in the body"),
        pytest.param(lambda: hostile.closes_after(b""), "http", {}, Reason.CONNECTION_RESET, id="closes without an answer"),
        pytest.param(lambda: hostile.closes_after(hostile.HEADER), "http", {}, Reason.CONNECTION_RESET, id="closes in the header"),
        pytest.param(lambda: hostile.closes_after(hostile.HEADER + b"\r\nx"), "http", {}, Reason.TRUNCATED, id="closes in the body"),
        pytest.param(
            lambda: hostile.closes_after(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel"),
            "http",
            {},
            Reason.TRUNCATED,
            id="closes in a chunk",
        ),
        pytest.param(hostile.garbage, "http", {}, Reason.PROTOCOL_ERROR, id="garbage"),
        pytest.param(lambda: hostile.sends(b"HTTP/9.9 200 OK\r\n\r\n"), "http", {}, Reason.PROTOCOL_ERROR, id="no such version"),
        pytest.param(lambda: hostile.sends(b"SSH-2.0-OpenSSH_9.2p1\r\n"), "http", {}, Reason.PROTOCOL_ERROR, id="another protocol"),
        pytest.param(
            lambda: hostile.sends(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
            "http",
            {},
            Reason.PROTOCOL_ERROR,
            id="no chunk length",
        ),
        pytest.param(
            lambda: hostile.sends(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"),
            "http",
            {},
            Reason.PROTOCOL_ERROR,
            id="two lengths",
        ),
        pytest.param(hostile.endless_body, "http", {}, Reason.CONTENT_MISMATCH, id="10 GB"),
        pytest.param(hostile.gzip_bomb, "http", {}, Reason.CONTENT_MISMATCH, id="gzip bomb"),
        pytest.param(hostile.endless_header, "http", {}, Reason.PROTOCOL_ERROR, id="endless header"),
        pytest.param(lambda: hostile.sends(answer(X_Long="x" * 65536)), "http", {}, Reason.PROTOCOL_ERROR, id="a header too long"),
        pytest.param(
            lambda: hostile.endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
            "http",
            {},
            Reason.PROTOCOL_ERROR,
            id="interim answers without end",
        ),
        pytest.param(
            lambda: hostile.page(b"x" * 1000, headers=b"Content-Encoding: gzip\r\n"),
            "http",
            {},
            Reason.PROTOCOL_ERROR,
            id="packed by another packer",
        ),
        pytest.param(
            lambda: hostile.page(PACKED[:50], headers=b"Content-Encoding: gzip\r\n"), "http", {}, Reason.TRUNCATED, id="packed, half of it"
        ),
        pytest.param(
            lambda: hostile.page(headers=b"Content-Encoding: br\r\n"),
            "http",
            {"expect": {"body": {"contains": ["hello"]}}},
            Reason.PROTOCOL_ERROR,
            id="packed as nobody asked",
        ),
        pytest.param(hostile.endless_redirects, "http", {}, Reason.HTTP_REDIRECT, id="endless redirects"),
        pytest.param(lambda: hostile.tls_page(Flaw.EXPIRED), "https", {}, Reason.TLS_EXPIRED, id="expired"),
        pytest.param(lambda: hostile.tls_page(Flaw.NOT_YET_VALID), "https", {}, Reason.TLS_EXPIRED, id="not yet valid"),
        pytest.param(lambda: hostile.tls_page(Flaw.WRONG_NAME), "https", {}, Reason.TLS_WRONG_NAME, id="wrong name"),
        pytest.param(lambda: hostile.tls_page(Flaw.SELF_SIGNED), "https", {}, Reason.TLS_UNTRUSTED, id="self-signed"),
        pytest.param(lambda: hostile.tls_page(Flaw.UNTRUSTED), "https", {}, Reason.TLS_UNTRUSTED, id="untrusted"),
        pytest.param(hostile.tls_page, "https", {"tls": {}}, Reason.TLS_UNTRUSTED, id="not of the machine's authorities"),
        pytest.param(hostile.tls_page, "https", {"tls": {**TRUST, "issuers": ["DigiCert"]}}, Reason.TLS_INTERCEPTED, id="another issuer"),
        pytest.param(hostile.tls_stalls, "https", {"deadline": 0.3}, Reason.TLS_TIMEOUT, id="handshake stalls"),
        pytest.param(hostile.tls_resets_in_handshake, "https", {}, Reason.CONNECTION_RESET, id="resets in the handshake"),
        pytest.param(hostile.tls_resets_in_record, "https", {}, Reason.CONNECTION_RESET, id="resets in a TLS record"),
        pytest.param(leaves_without_a_farewell, "https", {}, Reason.TRUNCATED, id="a body that TLS does not end"),
        pytest.param(hostile.garbage, "https", {}, Reason.TLS_HANDSHAKE, id="garbage for TLS"),
        pytest.param(
            lambda: hostile.closes_after(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "https", {}, Reason.TLS_HANDSHAKE, id="no TLS there"
        ),
        pytest.param(
            wants_a_client_certificate,
            "https",
            {},
            Reason.TLS_HANDSHAKE,
            id="wants a client certificate",
        ),
    ],
)
async def test_a_bad_server_has_its_own_reason(
    server: Callable[[], hostile.Server], scheme: str, settings: dict[str, Any], reason: Reason
) -> None:
    ended = await run(server(), scheme, **{"tls": TRUST, **settings})
    assert (ended.outcome, ended.failed_step, ended.reason) == (Outcome.FAILED, "request", reason), ended.message


@pytest.mark.parametrize("flaw", [Flaw.EXPIRED, Flaw.NOT_YET_VALID, Flaw.WRONG_NAME, Flaw.SELF_SIGNED, Flaw.UNTRUSTED])
async def test_a_certificate_is_read_from_the_handshake_that_it_failed(flaw: Flaw) -> None:
    heard: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read())

    ended = await run(hostile.serving(talk, server_context(flaw)), "https", tls=TRUST, bearer={"env": "t0ken"})
    assert (measured(ended)["certificate_expiry_timestamp_seconds"] < ended.started) == (flaw is Flaw.EXPIRED)
    assert {"certificate_subject", "certificate_issuer", "certificate_not_after", "certificate_names", "certificate_sha256"} <= dict(
        ended.evidence
    ).keys()
    assert heard == []


async def test_names_fail_as_the_resolver_says() -> None:
    missing = await run_url("http://missing.test/")
    silent = await run_url("http://silent.test/", deadline=0.2)
    assert (missing.failed_step, missing.reason) == ("request", Reason.DNS_NXDOMAIN)
    assert (silent.failed_step, silent.reason) == ("request", Reason.DNS_TIMEOUT)


async def test_a_deadline_shows_the_time_of_the_phase_it_cut() -> None:
    ended = await run(hostile.says_nothing(), deadline=0.2)
    assert phases(ended) == ["connect", "processing"]
    assert "in phase processing" in ended.message


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        pytest.param({"tls": {"ca_file": "/nonexistent.pem"}}, Reason.AGENT_RESOURCES, id="no CA file"),
        pytest.param(
            {"tls": {"client_certificate": {"certificate": ca_file()}}}, Reason.CREDENTIAL_INVALID, id="a certificate without its key"
        ),
        pytest.param({"bearer": {"env": "GONE"}}, Reason.CREDENTIAL_INVALID, id="the secret is gone"),
        pytest.param({"headers": {"X-Key": {"env": "a\r\nHost: evil"}}}, Reason.CREDENTIAL_INVALID, id="a secret with a line end"),
    ],
)
async def test_our_own_faults_say_nothing_about_the_server(settings: dict[str, Any], reason: Reason) -> None:
    ended = await run(hostile.tls_page(), "https", **settings)
    assert (ended.outcome, ended.failed_step, ended.reason) == (Outcome.INCONCLUSIVE, "request", reason)


# What is wrong with the answer


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (b"404 Not Found", Reason.HTTP_4XX),
        (b"429 Too Many Requests", Reason.HTTP_4XX),
        (b"500 Oops", Reason.HTTP_5XX),
        (b"503 Service Unavailable", Reason.HTTP_5XX),
        (b"304 Not Modified", Reason.HTTP_REDIRECT),
    ],
)
async def test_an_unexpected_status_has_reason_and_code(status: bytes, reason: Reason) -> None:
    ended = await run(hostile.page(b"try later", status, b"Retry-After: 60\r\n"))
    assert (ended.outcome, ended.failed_step, ended.reason, ended.code) == (Outcome.FAILED, "verify", reason, status[:3].decode())
    assert dict(ended.evidence)["header_retry-after"] == "60"
    assert measured(ended)["status"] == int(status[:3])


DOCUMENT = b'{"status": "ok", "items": [{"name": "a", "size": 1}, {"name": "b", "on": true}], "x.y": null}'


@pytest.mark.parametrize(
    ("expect", "complaint"),
    [
        ({"status": ["5xx"]}, "the answer is 200"),
        ({"headers": {"X-Missing": ""}}, "the answer has no header X-Missing"),
        ({"headers": {"content-type": "^text/html"}}, "the header content-type is 'text/plain', in which '^text/html' is not found"),
        ({"headers": {"content-type": "^text/plain$"}}, ""),
        ({"body": {"contains": ["status", "nope"]}}, "the body does not contain 'nope'"),
        ({"body": {"regex": ["(?i)STATUS", "z+z"]}}, "'z+z' is not found in the body"),
        ({"body": {"not_regex": ["zz", "ok"]}}, "'ok' is found in the body"),
        ({"body": {"min_bytes": 1000}}, f"the body has {len(DOCUMENT)} bytes; expected at least 1000"),
        ({"body": {"max_bytes": 9}}, f"the body has {len(DOCUMENT)} bytes; expected at least 0 and at most 9"),
        ({"body": {"sha256": hashlib.sha256(DOCUMENT).hexdigest().upper()}}, ""),
        ({"body": {"sha256": "0" * 64}}, f"the body's SHA-256 is {hashlib.sha256(DOCUMENT).hexdigest()}"),
        ({"body": {"json_path": [{"path": "status", "equals": "ok"}, {"path": "$.items[1].on", "equals": True}]}}, ""),
        ({"body": {"json_path": [{"path": '["x.y"]'}, {"path": "items[-1].name", "regex": "^b$"}]}}, ""),
        ({"body": {"json_path": [{"path": "items[0].size", "equals": True}]}}, "JSON path items[0].size holds 1, not True"),
        ({"body": {"json_path": [{"path": "status", "equals": "down"}]}}, "JSON path status holds 'ok', not 'down'"),
        ({"body": {"json_path": [{"path": "items[7].name"}]}}, "JSON path items[7].name: $.items has no 7"),
        ({"body": {"json_path": [{"path": "status.deep"}]}}, "JSON path status.deep: $.status is not an object"),
        ({"body": {"json_path": [{"path": "items", "regex": "zz"}]}}, "in which 'zz' is not found"),
    ],
)
async def test_an_answer_is_judged(expect: dict[str, Any], complaint: str) -> None:
    ended = await run(hostile.page(DOCUMENT), expect=expect)
    if complaint:
        assert (ended.failed_step, ended.reason) == ("verify", Reason.CONTENT_MISMATCH)
        assert complaint in ended.message
    else:
        assert (ended.message, ended.outcome) == ("", Outcome.OK)


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[" * 100_000, b'{"a": 1' + b"0" * 5000 + b"e9999}", b"\xff\xfe", b'"' + b"x" * (2 << 20) + b'"']
)
async def test_a_body_that_is_not_json_is_no_bug(body: bytes) -> None:
    ended = await run(hostile.page(body), expect={"body": {"json_path": [{"path": "status"}]}})
    assert (ended.failed_step, ended.reason) == ("verify", Reason.CONTENT_MISMATCH)


async def test_text_is_compared_in_the_character_set_it_came_in() -> None:
    page = answer("grüße".encode("latin-1"), Content_Type="text/html; charset=ISO-8859-1")
    ended = await run(hostile.sends(page), expect={"body": {"contains": ["grüße"]}})
    assert ended.outcome is Outcome.OK


async def test_a_character_set_that_is_none_of_the_web_is_not_asked_of_python() -> None:
    # Python takes ten seconds to read a megabyte of it.
    page = answer(b"a" * 400_000 + b"-" + b"kva" * 200_000, Content_Type="text/html; charset=punycode")
    ended = await run(hostile.sends(page), expect={"body": {"contains": ["a-kva"]}})
    assert ended.outcome is Outcome.OK


async def test_a_pattern_that_explodes_elsewhere_takes_no_time() -> None:
    ended = await run(hostile.page(b"x" * 1_000_000), expect={"body": {"not_regex": ["(x+x+)+y"]}})
    assert ended.outcome is Outcome.OK


async def test_a_right_answer_can_be_too_slow() -> None:
    ended = await run(hostile.page(), max_seconds=1e-9)
    assert (ended.failed_step, ended.reason) == ("request", Reason.TOO_SLOW)


# Redirects


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


# Proxies


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


# The settings


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"url": "ftp://example.com/"}, "does not begin with http:// or https://"),
        ({"url": "http:///path"}, "names no host"),
        ({"url": "http://a..b/"}, "no host name"),
        ({"url": "http://example.com:0/"}, "0 is no port"),
        ({"url": "http://me:pw@example.com/"}, "use basic_auth"),
        ({"method": "FETCH"}, "Input should be 'GET'"),
        ({"headers": {"A B": "x"}}, "should match pattern"),
        ({"headers": {"Connection": "x"}}, "Fogbell itself sets Connection"),
        ({"headers": {"X": "a\nb"}}, "printable ASCII"),
        ({"expect": {"status": ["2x"]}}, "'2x' is no status: write 204, 2xx or 200-204"),
        ({"expect": {"status": ["300-200"]}}, "is no status: they go from 100 to 599"),
        ({"expect": {"status": []}}, "name at least one status"),
        ({"expect": {"body": {"regex": ["("]}}}, "not a regular expression (RE2 syntax)"),
        ({"expect": {"body": {"json_path": [{"path": "a..b"}]}}}, "is no JSON path"),
        ({"expect": {"body": {"sha256": "abc"}}}, "should match pattern"),
        ({"bearer": {"env": "A"}, "headers": {"authorization": "x"}}, "exclude each other"),
        ({"proxy": "socks5://localhost:1080"}, "a proxy is written http://host:port"),
        ({"tls": {"server_name": "a b"}}, "no host name"),
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
