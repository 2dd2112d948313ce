import dns.message
import dns.rcode
import dns.rdatatype
import pytest

from agent.drill.nameserver import answer, no_faults, read_zone
from agent.drill.portals import PORTALS
from agent.drill.world import World
from agent.drill.zone import ALIASES, MAIL_HOST, ZONE, zone_of

ZONE_READ = read_zone(ZONE)


def resolve(name: str, kind: str, zone: str = ZONE) -> list[str]:
    """Ask the name server's answering function, and give the last records of the chain."""
    found = answer(read_zone(zone) if zone is not ZONE else ZONE_READ, dns.message.make_query(name, kind), no_faults)
    assert found is not None
    assert found.rcode() == dns.rcode.NOERROR, name
    return [record.to_text() for record in found.answer[-1]] if found.answer else []


@pytest.mark.parametrize("name", ALIASES)
def test_a_name_of_microsoft_leads_to_this_machine(name: str) -> None:
    assert (resolve(name, "A"), resolve(name, "AAAA")) == (["127.0.0.1"], ["::1"])


@pytest.mark.parametrize(
    ("name", "kind", "found"),
    [
        ("contoso.example", "MX", [f"0 {MAIL_HOST}."]),
        (MAIL_HOST, "A", ["127.0.0.1"]),
        ("contoso.example", "TXT", ['"v=spf1 include:spf.protection.outlook.com -all"', '"MS=ms12345678"']),
        ("_sip._tls.contoso.example", "SRV", ["100 1 443 sipdir.online.lync.com."]),
        ("lyncdiscover.contoso.example", "A", ["127.0.0.1"]),
        ("enterpriseregistration.contoso.example", "A", ["127.0.0.1"]),
    ],
)
def test_the_domain_has_what_microsoft_365_wants(name: str, kind: str, found: list[str]) -> None:
    assert resolve(name, kind) == found


def test_the_way_to_graph_has_aliases_as_the_real_one_has() -> None:
    found = answer(ZONE_READ, dns.message.make_query("graph.microsoft.com", "A"), no_faults)
    assert found is not None
    assert [part.rdtype for part in found.answer] == [dns.rdatatype.CNAME, dns.rdatatype.CNAME, dns.rdatatype.A]


@pytest.mark.parametrize("name", [name for portal in PORTALS for name in portal.names])
def test_each_name_of_a_portal_is_there(name: str) -> None:
    assert resolve(name, "A") == ["127.0.0.1"]


def test_a_world_of_another_domain_has_a_zone_of_its_own() -> None:
    world = World()
    world.domain = "fabrikam.example"
    zone = zone_of(world)
    assert "contoso.example" not in zone
    assert resolve("fabrikam.example", "MX", zone) == ["0 fabrikam-example.mail.protection.outlook.com."]
