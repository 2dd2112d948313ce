"""The endpoints kind: Microsoft's list from a real TLS server on loopback, and hosts of it that are there, are not, or are elsewhere."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import ValidationError

from agent.drill import graph
from agent.drill.endpoints import endpoints_site
from agent.drill.entra.site import login_site
from agent.drill.hosting import serve_sites
from agent.drill.world import World
from probes.core.context import Shared
from probes.core.contract import Failed, Inconclusive, Outcome, Run
from probes.core.reasons import Reason
from probes.endpoints import Endpoints
from probes.lib.m365_endpoints import read_sets, required_fronts
from tests.fakes import hostile
from tests.fakes.certificates import Flaw, server_context
from tests.probes.once import once
from tests.probes.pages import TRUST, answer, measured, read

VERSION = {"instance": "Worldwide", "latest": "2026102900"}
ADDRESSES = {
    "localhost": ("127.0.0.1",),
    "one.test": ("127.0.0.1",),
    "two.test": ("127.0.0.1", "127.0.0.2"),
    "both.test": ("127.0.0.1", "2001:db8::1"),
    "nat64.test": ("127.0.0.1", "64:ff9b::7f00:1"),
    "empty.test": (),
}


async def lookup(host: str, family: int) -> tuple[str, ...]:
    assert family in {socket.AF_UNSPEC, socket.AF_INET}
    if host == "silent.test":
        await asyncio.get_running_loop().create_future()
    if host == "crowded.test":
        raise Inconclusive(Reason.AGENT_RESOURCES, "too many open files")
    if host not in ADDRESSES:
        raise Failed(Reason.DNS_NXDOMAIN, f"{host} does not exist")
    return ADDRESSES[host]


def entry(*urls: str, port: int = 443, **more: Any) -> dict[str, Any]:
    fixed = {"id": 1, "serviceArea": "Exchange", "serviceAreaDisplayName": "Exchange Online", "expressRoute": True}
    return fixed | {"urls": urls, "ips": ["127.0.0.0/8"], "tcpPorts": f"80,{port}", "category": "Optimize", "required": True} | more


@asynccontextmanager
async def listening() -> AsyncIterator[int]:
    async with hostile.says_nothing() as (_, port):
        yield port


@asynccontextmanager
async def service(
    sets: Any, *, version: Any = None, whole: bytes | None = None, flaw: Flaw = Flaw.NONE
) -> AsyncIterator[tuple[str, list[str]]]:
    """Answer as endpoints.office.com; `whole` is the whole answer to the question for the list."""
    asked: list[str] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)[1].decode()
        asked.append(target)
        wanted = (version or VERSION) if target.startswith("/version/") else sets
        page = answer(json.dumps(wanted).encode(), Content_Type="application/json")
        writer.write(whole if whole is not None and target.startswith("/endpoints/") else page)

    async with hostile.serving(talk, server_context(flaw)) as (_, port):
        yield f"https://localhost:{port}", asked


async def run(url: str, **settings: Any) -> Run:
    return await once("endpoints", **{"url": url, "tls": TRUST, "shared": Shared(lookup, read), **settings})


async def test_hosts_that_take_connections_at_published_addresses_are_well() -> None:
    async with listening() as port:
        sets = [entry("one.test", "two.test", "*.three.test", tcpPorts=str(port)), entry("missing.test", required=False)]
        async with service(sets) as (url, asked):
            ended = await run(url, tenant_name="contoso", service_areas=["Exchange", "Skype"], ipv6=False)
    assert (ended.outcome, ended.message) == (Outcome.OK, "")
    assert [step.name for step in ended.steps] == ["version", "endpoints", "hosts", "ranges"]
    assert [dict(step.phases).keys() for step in ended.steps][2] == {"resolve", "connect"}
    found = measured(ended)
    assert (found["version"], found["hosts"], found["hosts_failed"], found["addresses_outside"]) == (2026102900, 2, 0, 0)
    assert {"slowest_connect_seconds", "certificate_expiry_timestamp_seconds"} <= found.keys()
    query = parse_qs(urlsplit(asked[1]).query)
    identifier = query.pop("ClientRequestId")
    assert query == {"TenantName": ["contoso"], "ServiceAreas": ["Exchange,Skype"], "NoIPv6": ["true"]}
    assert asked[0] == f"/version/Worldwide?ClientRequestId={identifier[0]}"


async def test_this_machine_is_known_by_one_identifier_unless_another_is_given() -> None:
    async with service([entry("one.test")]) as (url, asked):
        for own in ({}, {}, {"client_request_id": "B10C5ED1-BAD1-445F-B386-B919946339A7"}):
            await run(url, hosts="off", **own)
    first, second, third = (parse_qs(urlsplit(target).query)["ClientRequestId"][0] for target in asked[::2])
    assert (first == second, third) == (True, "b10c5ed1-bad1-445f-b386-b919946339a7")


@pytest.mark.parametrize(
    ("hosts", "reason", "failed"),
    [
        pytest.param(["missing.test", "one.test"], Reason.DNS_NXDOMAIN, 1, id="no such name"),
        pytest.param(["empty.test"], Reason.DNS_NO_DATA, 1, id="no address"),
        pytest.param(["silent.test"], Reason.DNS_TIMEOUT, 1, id="silent resolver"),
        pytest.param(["one.test", "silent.test", "missing.test"], Reason.DNS_TIMEOUT, 2, id="the first of two"),
        pytest.param(["crowded.test", "missing.test"], Reason.DNS_NXDOMAIN, 2, id="a failure counts before our own"),
    ],
)
async def test_a_host_that_cannot_be_reached_gives_its_reason(hosts: list[str], reason: Reason, failed: int) -> None:
    async with listening() as port, service([entry(*hosts, tcpPorts=str(port))]) as (url, _):
        ended = await run(url, host_timeout="100ms")
    assert (ended.outcome, ended.failed_step, ended.reason) == (Outcome.FAILED, "hosts", reason)
    assert f"; {failed} of {len(hosts)} hosts cannot be reached" in ended.message
    assert (measured(ended)["hosts_failed"], len([name for name, _ in ended.evidence if name.startswith("failed_")])) == (failed, failed)


async def test_what_this_machine_lacks_says_nothing_about_the_hosts() -> None:
    async with service([entry("crowded.test")]) as (url, _):
        ended = await run(url)
    assert (ended.outcome, ended.failed_step, ended.reason) == (Outcome.INCONCLUSIVE, "hosts", Reason.AGENT_RESOURCES)


@pytest.mark.parametrize(
    ("server", "reason"),
    [
        pytest.param(hostile.refuses, Reason.CONNECT_REFUSED, id="refuses"),
        pytest.param(hostile.drops, Reason.CONNECT_TIMEOUT, id="drops"),
    ],
)
async def test_a_port_that_takes_no_connection_gives_its_reason(server: Any, reason: Reason) -> None:
    async with server() as (_, port), service([entry("one.test", tcpPorts=str(port))]) as (url, _):
        ended = await run(url, host_timeout=0.2)
    assert (ended.failed_step, ended.reason) == ("hosts", reason)
    assert f"port {port}" in dict(ended.evidence)["failed_one.test"]


@pytest.mark.parametrize(
    ("host", "ips", "outside"),
    [
        pytest.param("one.test", ["192.0.2.0/24"], "127.0.0.1", id="elsewhere"),
        pytest.param("two.test", ["127.0.0.1/32"], "127.0.0.2", id="one of two elsewhere"),
        pytest.param("both.test", ["127.0.0.1/32", "2001:db8:1::/48"], "2001:db8::1", id="IPv6 elsewhere"),
        pytest.param("both.test", ["127.0.0.1/32"], "", id="no IPv6 published, so none can be wrong"),
        pytest.param("nat64.test", ["127.0.0.1/32", "2001:db8::/48"], "", id="IPv4 written as IPv6"),
        pytest.param("one.test", [], "", id="nothing published"),
    ],
)
async def test_an_address_outside_what_is_published_is_an_interception(host: str, ips: list[str], outside: str) -> None:
    async with listening() as port, service([entry(host, ips=ips, tcpPorts=str(port))]) as (url, _):
        ended = await run(url)
    assert measured(ended)["addresses_outside"] == bool(outside)
    if outside:
        assert (ended.outcome, ended.failed_step, ended.reason) == (Outcome.FAILED, "ranges", Reason.DNS_MISMATCH)
        assert dict(ended.evidence)[f"outside_{host}"] == outside
    else:
        assert ended.outcome is Outcome.OK, ended.message


@pytest.mark.parametrize(
    ("whole", "reason", "code"),
    [
        pytest.param(answer(status=b"500 Oops"), Reason.HTTP_5XX, "500", id="500"),
        pytest.param(answer(status=b"404 Not Found"), Reason.HTTP_4XX, "404", id="404"),
        pytest.param(answer(status=b"302 Found", Location="/"), Reason.HTTP_REDIRECT, "302", id="redirect"),
        pytest.param(answer(b"<html>please log in"), Reason.CONTENT_MISMATCH, "", id="captive portal"),
        pytest.param(answer(b"{}"), Reason.CONTENT_MISMATCH, "", id="no list"),
        pytest.param(answer(b"[]"), Reason.CONTENT_MISMATCH, "", id="an empty list"),
        pytest.param(answer(b"[" * 5000), Reason.CONTENT_MISMATCH, "", id="deep"),
        pytest.param(answer(json.dumps([entry("a.test", ips=["x"])]).encode()), Reason.CONTENT_MISMATCH, "", id="no network"),
        pytest.param(answer(json.dumps([entry("a.test", tcpPorts="x")]).encode()), Reason.CONTENT_MISMATCH, "", id="no port"),
        pytest.param(answer(json.dumps([entry("a.test", tcpPorts=443)]).encode()), Reason.CONTENT_MISMATCH, "", id="a number for ports"),
        pytest.param(answer(json.dumps([entry("a.test", category="Best")]).encode()), Reason.CONTENT_MISMATCH, "", id="no category"),
        pytest.param(answer(json.dumps([entry("a b")]).encode()), Reason.CONTENT_MISMATCH, "", id="no host"),
        pytest.param(answer(json.dumps([entry("*.a.test")]).encode()), Reason.CONTENT_MISMATCH, "", id="wildcards alone"),
        pytest.param(
            answer(json.dumps([entry("a.test", category="Default")]).encode()), Reason.CONTENT_MISMATCH, "", id="nothing required"
        ),
        pytest.param(answer(b"[" + b"{}," * 300_000 + b"{}]"), Reason.CONTENT_MISMATCH, "", id="a million mistakes"),
        pytest.param(
            answer(json.dumps([entry("a.test", urls=["a.test", "b.test"] * 990, ips=["192.0.2.0/24"] * 900)] * 3).encode()),
            Reason.CONTENT_MISMATCH,
            "",
            id="more networks than there can be",
        ),
        pytest.param(answer(json.dumps([entry("a.test", ips=[])] * 1001).encode()), Reason.CONTENT_MISMATCH, "", id="too many entries"),
        pytest.param(answer(b"x" * (2 << 20)), Reason.CONTENT_MISMATCH, "", id="too long"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[", Reason.TRUNCATED, "", id="half"),
        pytest.param(b"", Reason.CONNECTION_RESET, "", id="nothing"),
    ],
)
async def test_a_list_that_is_none_has_its_reason(whole: bytes, reason: Reason, code: str) -> None:
    async with service(None, whole=whole) as (url, _):
        ended = await run(url)
    assert (ended.outcome, ended.failed_step, ended.reason, ended.code) == (Outcome.FAILED, "endpoints", reason, code), ended.message


@pytest.mark.parametrize(
    "version", [{"instance": "China", "latest": "2026102900"}, {"instance": "Worldwide", "latest": "soon"}, {"x": 1}, ["Worldwide"]]
)
async def test_a_version_that_is_none_is_a_mismatch(version: Any) -> None:
    async with service([], version=version) as (url, _):
        ended = await run(url)
    assert (ended.failed_step, ended.reason) == ("version", Reason.CONTENT_MISMATCH)


@pytest.mark.parametrize(
    ("page", "wait"),
    [
        (answer(status=b"429 Too Many Requests"), 3600.0),
        (answer(status=b"429 Too Many Requests", Retry_After="60"), 60.0),
    ],
    ids=["an hour", "as it says"],
)
async def test_when_microsoft_limits_us_we_wait_an_hour_or_as_long_as_it_says(page: bytes, wait: float) -> None:
    async with service(None, whole=page) as (url, _):
        ended = await run(url)
    assert (ended.outcome, ended.failed_step, ended.reason) == (Outcome.INCONCLUSIVE, "endpoints", Reason.THROTTLED)
    assert (ended.code, ended.retry_after) == ("429", wait)


async def test_a_certificate_of_somebody_else_ends_it_at_the_version() -> None:
    async with service([], flaw=Flaw.UNTRUSTED) as (url, _):
        ended = await run(url)
    assert (ended.failed_step, ended.reason) == ("version", Reason.TLS_UNTRUSTED)


async def test_the_deadline_names_the_step_it_cut() -> None:
    async with service([entry("silent.test")]) as (url, _):
        ended = await run(url, deadline=1.0)
    assert (ended.failed_step, ended.reason) == ("hosts", Reason.TIMEOUT)


async def test_hosts_can_be_left_out() -> None:
    async with listening() as port, service([entry("one.test", "missing.test", tcpPorts=str(port))]) as (url, _):
        some, none = await run(url, max_hosts=1), await run(url, hosts=False)
    assert (some.outcome, dict(some.evidence)["hosts_left_out"], measured(some)["hosts"]) == (Outcome.OK, "1", 1)
    assert (none.outcome, [step.name for step in none.steps]) == (Outcome.OK, ["version", "endpoints"])


def test_a_host_of_several_entries_is_one() -> None:
    sets = [
        entry("A.test", tcpPorts="25-27,993", ips=["192.0.2.0/24"]),
        entry("a.test", tcpPorts="443", ips=["198.51.100.0/24"], category="Allow"),
        entry("b.test", tcpPorts="587"),
        entry("b.test", tcpPorts="443", category="Default", ips=[]),
        entry("c.test", tcpPorts="", udpPorts="3478"),
    ]
    (first, second), left_out = required_fronts(read_sets(json.dumps(sets).encode()), 2)
    assert left_out == 0
    assert (first.host, first.port, first.outside(["192.0.2.1", "198.51.100.1", "203.0.113.1"])) == ("a.test", 443, ("203.0.113.1",))
    assert (second.host, second.port, second.outside(["203.0.113.1"])) == ("b.test", 587, ())


@pytest.mark.parametrize("settings", [{"instance": "Germany"}, {"tenant_name": "a&b"}, {"max_hosts": 0}, {"client_request_id": "me"}])
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Endpoints.model_validate(settings)


async def test_ipv6_is_asked_for_unless_told_otherwise() -> None:
    families: list[int] = []

    async def noting(host: str, family: int) -> tuple[str, ...]:
        families.append(family)
        return await lookup(host, family)

    async with listening() as port, service([entry("one.test", tcpPorts=str(port))]) as (url, _):
        for ipv6 in (True, False):
            assert (await run(url, ipv6=ipv6, shared=Shared(noting, read))).outcome is Outcome.OK
    assert (families[2], families[-1]) == (socket.AF_UNSPEC, socket.AF_INET)


@pytest.mark.parametrize(
    ("elsewhere", "step", "reason"), [("", "", None), ("outlook.office.com", "ranges", Reason.DNS_MISMATCH)], ids=["well", "hijacked"]
)
async def test_the_list_of_the_simulated_tenant_is_read_and_its_hosts_are_reached(
    elsewhere: str, step: str, reason: Reason | None, tmp_path: Path
) -> None:
    async def names(host: str, family: int) -> tuple[str, ...]:
        assert family == socket.AF_UNSPEC
        return ("127.0.0.1", "192.0.2.9") if host == elsewhere else ("127.0.0.1",)

    world = World()
    async with serve_sites(world, login_site(world), graph.site(world), endpoints_site(world)) as authority:
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        trust = {"ca_file": str(tmp_path / "ca.pem")}
        ended = await run(world.url("endpoints"), tls=trust, tenant_name="contoso", shared=Shared(names, read))
    assert (ended.failed_step, ended.reason) == (step, reason), ended.message
    assert (measured(ended)["hosts"], measured(ended)["hosts_failed"], measured(ended)["version"]) == (8, 0, 2026102900)


async def test_the_list_comes_through_a_proxy_and_hosts_are_reached_without_it() -> None:
    async with hostile.proxy() as (_, through), listening() as port, service([entry("one.test", tcpPorts=str(port))]) as (url, _):
        ended = await run(url, proxy=f"http://127.0.0.1:{through}")
    assert (ended.outcome, ended.message) == (Outcome.OK, "")
    assert ["proxy" in dict(step.phases) for step in ended.steps] == [True, True, False, False]
