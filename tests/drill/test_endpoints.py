import dataclasses
from collections.abc import AsyncIterator
from ipaddress import ip_address, ip_network
from typing import Any

import dns.message
import dns.rdatatype
import pytest

from agent.drill.endpoints import SETS, Change, Endpoints, endpoints_site
from agent.drill.nameserver import answer, no_faults, read_zone
from agent.drill.world import World
from agent.drill.zone import ZONE
from tests.drill.graph import Clock
from tests.drill.login import Login, Reply, serve_login

CLIENT = "b10c5ed1-bad1-445f-b386-b919946339a7"


@pytest.fixture
async def login() -> AsyncIterator[Login]:
    clock = Clock()
    world = World(clock=clock)
    async with serve_login(endpoints_site(world), world=world) as login:
        yield dataclasses.replace(login, clock=clock)


async def ask(login: Login, path: str, **query: str) -> Reply:
    return await login.ask("GET", path, host="endpoints", params={"ClientRequestId": CLIENT, **query})


async def sets(login: Login, **query: str) -> list[dict[str, Any]]:
    found: Any = (await ask(login, "/endpoints/Worldwide", **query)).body
    return list(found)


async def test_the_version_is_that_of_an_instance(login: Login) -> None:
    assert (await ask(login, "/version/worldwide")).body == {"instance": "Worldwide", "latest": "2026102900"}
    versions = (await ask(login, "/version/Worldwide", AllVersions="true")).body["versions"]
    assert versions == ["2026102900", "2026092900"]


async def test_without_an_instance_all_are_told(login: Login) -> None:
    found: Any = (await ask(login, "/version")).body
    assert [one["instance"] for one in found] == ["Worldwide", "USGovDoD", "USGovGCCHigh", "China"]


async def test_a_service_area_always_comes_with_common(login: Login) -> None:
    assert {one["serviceArea"] for one in await sets(login, ServiceAreas="Exchange")} == {"Exchange", "Common"}
    assert {one["serviceArea"] for one in await sets(login)} == {"Exchange", "Common", "SharePoint", "Skype"}


async def test_the_tenant_s_name_stands_in_for_the_wildcard(login: Login) -> None:
    def urls(found: list[dict[str, Any]]) -> list[str]:
        return next(one["urls"] for one in found if one["id"] == 31)

    assert urls(await sets(login)) == ["*-my.sharepoint.com", "*.sharepoint.com"]
    assert urls(await sets(login, TenantName="contoso")) == ["contoso-my.sharepoint.com", "contoso.sharepoint.com"]


async def test_ipv6_can_be_left_out(login: Login) -> None:
    def families(found: list[dict[str, Any]]) -> set[int]:
        return {ip_network(ip).version for one in found for ip in one.get("ips", [])}

    assert families(await sets(login)) == {4, 6}
    assert families(await sets(login, NoIPv6="true")) == {4}


async def test_a_set_has_no_empty_fields(login: Login) -> None:
    found = await sets(login)
    assert all(value not in ("", []) for one in found for value in one.values())
    assert all({"id", "serviceArea", "category", "required", "expressRoute"} <= one.keys() for one in found)


async def test_required_hosts_resolve_into_the_published_ranges(login: Login) -> None:
    zone = read_zone(ZONE)
    hosts = {
        (url, tuple(one["ips"]))
        for one in await sets(login, TenantName="contoso")
        if one["required"] and one["category"] != "Default"
        for url in one.get("urls", [])
        if "*" not in url
    }
    assert len(hosts) > 5
    for host, ranges in hosts:
        found = answer(zone, dns.message.make_query(host, dns.rdatatype.A), no_faults)
        assert found is not None
        address = ip_address(found.answer[-1][0].to_text())
        assert any(address in ip_network(one) for one in ranges), host


async def test_the_ports_are_where_this_world_listens(login: Login) -> None:
    common = next(one for one in await sets(login) if one["id"] == 56)
    assert common["tcpPorts"] == login.world.address("login").rpartition(":")[2]


async def test_a_new_version_comes_with_its_change(login: Login) -> None:
    more = dataclasses.replace(SETS[0], ips=(*SETS[0].ips, "203.0.113.0/24"))
    login.world.of(Endpoints).publish("2026112800", more, Change(2, 1, "Change", "", {"ips": ["203.0.113.0/24"]}))
    assert (await ask(login, "/version/Worldwide")).body["latest"] == "2026112800"
    assert "203.0.113.0/24" in (await sets(login))[0]["ips"]
    changes: Any = (await ask(login, "/changes/Worldwide/2026102900")).body
    assert [(one["endpointSetId"], one["version"], one["add"]) for one in changes] == [(1, "2026112800", {"ips": ["203.0.113.0/24"]})]


async def test_who_asks_too_often_waits_an_hour(login: Login) -> None:
    login.world.of(Endpoints).requests_per_hour = 2
    assert [(await ask(login, "/endpoints/Worldwide")).status for _ in range(3)] == [200, 200, 429]
    assert (await ask(login, "/version/Worldwide")).status == 200
    another = {"ClientRequestId": CLIENT.replace("b", "c")}
    assert (await ask(login, "/endpoints/Worldwide", **another)).status == 200
    login.clock.forward(3600)
    assert (await ask(login, "/endpoints/Worldwide")).status == 200


@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        pytest.param("/version/Worldwide", {"ClientRequestId": ""}, 400, id="nobody"),
        pytest.param("/version/Worldwide", {"ClientRequestId": "me"}, 400, id="no GUID"),
        pytest.param("/version/Mars", {}, 404, id="no such instance"),
        pytest.param("/endpoints/Mars", {}, 404, id="no such list"),
        pytest.param("/nothing", {}, 404, id="no such path"),
    ],
)
async def test_a_wrong_question_is_refused(login: Login, path: str, query: dict[str, str], status: int) -> None:
    assert (await ask(login, path, **query)).status == status
