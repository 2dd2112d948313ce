"""The http kind against every bad server and every wrong answer, with the exact step and reason."""

import asyncio
import hashlib
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from probes.core.contract import Outcome
from probes.core.reasons import Blame, Reason
from tests.fakes import hostile
from tests.fakes.certificates import Flaw, ca_file, server_context
from tests.lib.runs import alerting
from tests.probes.pages import TRUST, answer, measured, phases, run, run_url


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


@pytest.mark.parametrize(
    ("server", "told"),
    [(hostile.resets_in_header, None), (hostile.resets_in_body, "200"), (hostile.endless_body, "200"), (hostile.gzip_bomb, "200")],
)
async def test_the_status_of_half_an_answer_is_told(server: Callable[[], hostile.Server], told: str | None) -> None:
    ended = await run(server())
    assert dict(ended.evidence).get("status") == told
    measured = {sample.name: sample.value for sample in ended.measured}
    assert measured.get("status") == (None if told is None else 200)
    assert ("body_bytes" in measured) == (told is not None)
    assert measured["kernel_rtt_seconds"] > 0


async def test_a_deadline_leaves_what_the_kernel_measured() -> None:
    ended = await run(hostile.says_nothing(), deadline=0.2)
    assert [sample.value > 0 for sample in ended.measured if sample.name == "kernel_rtt_seconds"] == [True]


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
        pytest.param({"bearer": {"env": "GONE"}}, Reason.AGENT_RESOURCES, id="the secret is gone"),
        pytest.param({"headers": {"X-Key": {"env": "a\r\nHost: evil"}}}, Reason.CREDENTIAL_INVALID, id="a secret with a line end"),
    ],
)
async def test_our_own_faults_are_blamed_on_us(settings: dict[str, Any], reason: Reason) -> None:
    ended = await run(hostile.tls_page(), "https", **settings)
    outcome = Outcome.INCONCLUSIVE if reason is Reason.AGENT_RESOURCES else Outcome.FAILED
    assert (ended.outcome, ended.failed_step, ended.reason, ended.blame) == (outcome, "request", reason, Blame.OURS)


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (b"404 Not Found", Reason.HTTP_4XX),
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


async def test_a_server_that_limits_us_says_nothing_about_itself() -> None:
    ended = await run(hostile.page(b"slow down", b"429 Too Many Requests", b"Retry-After: 60\r\n"))
    assert (ended.outcome, ended.failed_step, ended.reason, ended.code) == (Outcome.INCONCLUSIVE, "verify", Reason.THROTTLED, "429")
    assert dict(ended.evidence)["header_retry-after"] == "60"
    assert ended.retry_after == 60


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
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"
    ended = await run(hostile.drips(answer, 0.001), max_seconds="5ms")
    assert (ended.failed_step, ended.reason) == ("request", Reason.TOO_SLOW)
