"""The portal kind: real TLS servers on loopback, every answer a portal may and may not give."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from agent.drill.entra.site import login_site
from agent.drill.faults import Effect, Fault, Http, Tcp, Tls, Where
from agent.drill.hosting import serve_sites
from agent.drill.portals import portal_sites
from agent.drill.world import World
from probes.core.contract import Layer, Outcome, Place, Run, Workload
from probes.core.reasons import Reason
from probes.portal import ISSUERS, PORTALS, PROBE, Portal, PortalName
from tests.fakes import hostile
from tests.fakes.certificates import Flaw, server_context
from tests.probes.once import once
from tests.probes.pages import TRUST, measured, phases


def answers(status: bytes = b"200 OK", headers: bytes = b"") -> hostile.Server:
    return hostile.page(b"<html>", status, headers, server_context())


def sends_to(location: str, status: bytes = b"302 Found") -> hostile.Server:
    return answers(status, f"Location: {location}\r\n".encode())


async def run(server: hostile.Server, **settings: Any) -> Run:
    async with server as (_, port):
        return await once("portal", **{"url": f"https://localhost:{port}/", "tls": TRUST, **settings})


@pytest.mark.parametrize(
    "server",
    [
        pytest.param(answers, id="its first page"),
        pytest.param(lambda: answers(b"401 Unauthorized"), id="not signed in"),
        pytest.param(lambda: sends_to("https://login.microsoftonline.com/common/oauth2/authorize?client_id=x"), id="to the sign-in"),
        pytest.param(lambda: sends_to("https://login.microsoftonline.us/x", b"301 Moved"), id="to the sign-in of the US government"),
        pytest.param(lambda: sends_to("https://login.partner.microsoftonline.cn/x", b"303 See Other"), id="to the sign-in of China"),
        pytest.param(lambda: sends_to("https://admin.cloud.microsoft/", b"308 Permanent Redirect"), id="to its new domain"),
        pytest.param(lambda: sends_to("/login?ru=%2F", b"307 Temporary Redirect"), id="to its own page"),
    ],
)
async def test_a_portal_that_asks_who_one_is_is_well(server: Callable[[], hostile.Server]) -> None:
    ended = await run(server())
    assert (ended.outcome, ended.message) == (Outcome.OK, "")
    assert [step.name for step in ended.steps] == ["request", "verify"]
    assert phases(ended) == ["resolve", "connect", "tls", "processing", "transfer"]
    assert {"status", "certificate_expiry_timestamp_seconds"} <= measured(ended).keys()


@pytest.mark.parametrize(
    ("server", "settings", "step", "reason", "code"),
    [
        pytest.param(hostile.refuses, {}, "request", Reason.CONNECT_REFUSED, "", id="refuses"),
        pytest.param(hostile.resets_at_once, {}, "request", Reason.CONNECTION_RESET, "", id="resets"),
        pytest.param(lambda: hostile.tls_page(Flaw.EXPIRED), {}, "request", Reason.TLS_EXPIRED, "", id="expired"),
        pytest.param(lambda: hostile.tls_page(Flaw.WRONG_NAME), {}, "request", Reason.TLS_WRONG_NAME, "", id="wrong name"),
        pytest.param(lambda: hostile.tls_page(Flaw.UNTRUSTED), {}, "request", Reason.TLS_UNTRUSTED, "", id="untrusted"),
        pytest.param(answers, {"tls": {**TRUST, "issuers": ISSUERS}}, "request", Reason.TLS_INTERCEPTED, "", id="something reads along"),
        pytest.param(lambda: answers(b"500 Oops"), {}, "verify", Reason.HTTP_5XX, "500", id="500"),
        pytest.param(lambda: answers(b"503 Down"), {}, "verify", Reason.HTTP_5XX, "503", id="503"),
        pytest.param(lambda: answers(b"403 Forbidden"), {}, "verify", Reason.HTTP_4XX, "403", id="403"),
        pytest.param(lambda: answers(b"404 Not Found"), {}, "verify", Reason.HTTP_4XX, "404", id="404"),
        pytest.param(lambda: answers(b"204 No Content"), {}, "verify", Reason.CONTENT_MISMATCH, "204", id="204"),
        pytest.param(lambda: sends_to("https://portal.example.org/captive"), {}, "verify", Reason.HTTP_REDIRECT, "302", id="elsewhere"),
        pytest.param(
            lambda: sends_to("https://login.microsoftonline.com.example.org/"), {}, "verify", Reason.HTTP_REDIRECT, "302", id="fake"
        ),
        pytest.param(lambda: sends_to("https://cloud.microsoft.example.org/"), {}, "verify", Reason.HTTP_REDIRECT, "302", id="fake domain"),
        pytest.param(lambda: sends_to("http://localhost/"), {}, "verify", Reason.HTTP_REDIRECT, "302", id="without TLS"),
        pytest.param(lambda: sends_to("ms-settings:network"), {}, "verify", Reason.HTTP_REDIRECT, "302", id="no web address"),
        pytest.param(lambda: answers(b"302 Found"), {}, "verify", Reason.HTTP_REDIRECT, "302", id="nowhere"),
        pytest.param(answers, {"statuses": [302]}, "verify", Reason.CONTENT_MISMATCH, "200", id="a page where a redirect is due"),
        pytest.param(hostile.says_nothing, {"deadline": 0.3}, "request", Reason.TLS_TIMEOUT, "", id="silent"),
        pytest.param(lambda: hostile.sends(b"", server_context()), {"deadline": 0.3}, "request", Reason.TIMEOUT, "", id="no answer"),
    ],
)
async def test_a_bad_portal_has_its_own_reason(
    server: Callable[[], hostile.Server], settings: dict[str, Any], step: str, reason: Reason, code: str
) -> None:
    ended = await run(server(), **settings)
    assert (ended.outcome, ended.failed_step, ended.reason, ended.code) == (Outcome.FAILED, step, reason, code), ended.message


async def test_a_portal_that_limits_us_says_nothing_about_itself() -> None:
    ended = await run(answers(b"429 Too Many Requests", b"Retry-After: 7\r\n"))
    assert (ended.outcome, ended.reason, ended.retry_after) == (Outcome.INCONCLUSIVE, Reason.THROTTLED, 7.0)


@pytest.mark.parametrize("settings", [{"sign_in_hosts": ["adfs.example.org"]}, {"sign_in_hosts": ["*.example.org"]}])
async def test_a_sign_in_of_ones_own_can_be_named(settings: dict[str, Any]) -> None:
    assert (await run(sends_to("https://adfs.example.org/ls"), **settings)).outcome is Outcome.OK
    assert (await run(sends_to("https://example.com/"), **settings)).reason is Reason.HTTP_REDIRECT


async def test_evidence_tells_where_a_redirect_leads_without_what_it_carries() -> None:
    well = await run(sends_to("https://login.microsoftonline.com/x?code=s3cret"))
    ill = await run(sends_to("https://elsewhere.example.org/x?code=s3cret"))
    assert dict(well.evidence)["redirect"] == "302 to login.microsoftonline.com"
    assert dict(ill.evidence)["header_location"] == "https://elsewhere.example.org/x"
    assert "s3cret" not in repr((well, ill))


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({"portal": "admin"}, ISSUERS),
        ({"portal": "admin", "tls": TRUST}, None),
        ({"portal": "admin", "tls": {"issuers": ["Zscaler"]}}, ("Zscaler",)),
        ({"portal": "admin", "url": "https://admin.example.org/"}, None),
        ({"url": "https://admin.example.org/"}, None),
    ],
)
def test_issuers_are_those_of_microsoft_only_where_microsoft_answers(settings: dict[str, Any], wanted: tuple[str, ...] | None) -> None:
    assert Portal.model_validate(settings).trust.issuers == wanted


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({}, "needs portal or url"),
        ({"portal": "purview", "cloud": "china"}, "no address of purview is known in the cloud china; give url"),
        ({"url": "https://192.0.2.1/", "family": "ipv6"}, "family: ipv6 excludes the address 192.0.2.1"),
        ({"portal": "admin", "statuses": [7]}, "is no status"),
        ({"portal": "admin", "sign_in_hosts": ["https://x"]}, "is no host name"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        Portal.model_validate(settings)


@pytest.mark.parametrize(
    ("portal", "workload"), [("admin", Workload.ADMIN), ("exchange_admin", Workload.EXCHANGE), ("defender", Workload.DEFENDER)]
)
def test_a_portal_is_the_edge_of_its_workload(portal: PortalName, workload: Workload) -> None:
    assert PROBE.place(Portal(portal=portal)) == Place(Layer.EDGE, workload)


def test_every_portal_has_an_address_in_the_worldwide_cloud() -> None:
    assert all(Portal(portal=portal).address.scheme == "https" for portal in PORTALS["worldwide"])
    assert {portal for known in PORTALS.values() for portal in known} == set(PORTALS["worldwide"])


@pytest.mark.parametrize(
    ("effect", "step", "reason"),
    [
        pytest.param(None, "", None, id="well"),
        pytest.param(Http((503,)), "verify", Reason.HTTP_5XX, id="503"),
        pytest.param(Tls("wrong_name"), "request", Reason.TLS_WRONG_NAME, id="certificate of another name"),
        pytest.param(Tls("handshake_fail"), "request", Reason.TLS_HANDSHAKE, id="handshake fails"),
        pytest.param(Tcp("reset"), "request", Reason.CONNECTION_RESET, id="reset"),
    ],
)
async def test_each_portal_of_the_simulated_tenant_is_seen_as_it_is(
    effect: Effect | None, step: str, reason: Reason | None, tmp_path: Path
) -> None:
    world = World()
    world.faults.set(*([] if effect is None else [Fault(effect, Where(hosts=frozenset({"admin"})))]))
    async with serve_sites(world, login_site(world), *portal_sites(world)) as authority:
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        trust = {"ca_file": str(tmp_path / "ca.pem")}
        ended = await once("portal", portal="admin", url=world.url("admin", "/"), tls=trust)
        other = await once("portal", portal="purview", url=world.url("purview", "/"), tls=trust)
    assert (ended.failed_step, ended.reason) == (step, reason), ended.message
    assert (other.outcome, dict(other.evidence)["redirect"]) == (Outcome.OK, "302 to localhost")


async def test_a_portal_is_reached_through_a_proxy_whose_refusal_is_its_own() -> None:
    async with hostile.proxy() as (_, port):
        well = await run(answers(), proxy=f"http://127.0.0.1:{port}")
    async with hostile.proxy_refuses() as (_, port):
        ill = await run(answers(), proxy={"url": f"http://127.0.0.1:{port}"})
    assert (well.outcome, dict(well.evidence)["proxy"] != "", "proxy" in phases(well)) == (Outcome.OK, True, True)
    assert (ill.failed_step, ill.reason, ill.code) == ("request", Reason.PROXY_REFUSED, "403")
