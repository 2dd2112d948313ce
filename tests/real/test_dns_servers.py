"""The dns kinds against real name servers: NSD with plain, signed and forged zones, and an Unbound in front that validates."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agent.job import Job
from agent.runner import run_once
from probes.core.contract import Outcome, Run
from probes.core.reasons import Reason
from probes.dns import PROBE, DnsQuery
from probes.dns_m365_domain import PROBE as DOMAIN_PROBE
from probes.dns_m365_domain import MailDomain
from tests.agent.jobs import SHARED
from tests.fakes.certificates import ca_file, key_pair
from tests.processes import accepts, free_port, running
from tests.real.names import sign
from tests.servers import require

pytestmark = pytest.mark.real

ZONE = """
$ORIGIN {zone}.
$TTL 300
@ IN SOA ns.{zone}. admin.{zone}. 1 3600 600 86400 60
@ IN NS ns
@ IN MX 0 mx
@ IN TXT "v=spf1 include:spf.{zone} -all"
spf IN TXT "v=spf1 ip4:192.0.2.0/24 -all"
ns IN A 127.0.0.1
mx IN A 192.0.2.25
mx IN AAAA 2001:db8::25
www IN CNAME edge
edge IN A 192.0.2.80
dangling IN MX 0 gone
_25._tcp.mx IN TLSA 3 1 1 {digest}
_dmarc IN TXT "v=DMARC1; p=reject"
autodiscover IN CNAME edge
{long}
"""
LONG = "\n".join(f'long IN TXT "{i:03d} {"x" * 200}"' for i in range(60))

NSD = """
server:
  ip-address: 127.0.0.1@{port}
  username: ""
  zonesdir: "{folder}"
  database: ""
  pidfile: "{folder}/nsd.pid"
  xfrdfile: "{folder}/xfrd.state"
  zonelistfile: "{folder}/zone.list"
  server-count: 1
  rrl-ratelimit: 0
remote-control:
  control-enable: no
"""
UNBOUND = """
server:
  interface: 127.0.0.1@{port}
  interface: 127.0.0.1@{tls_port}
  tls-port: {tls_port}
  tls-service-key: "{key}"
  tls-service-pem: "{certificate}"
  do-daemonize: no
  use-syslog: no
  username: ""
  chroot: ""
  directory: "{folder}"
  pidfile: "{folder}/unbound.pid"
  do-not-query-localhost: no
  do-ip6: no
  ede: yes
remote-control:
  control-enable: no
"""
FILES = {
    "plain.example": "plain.example.zone",
    "signed.example": "signed.example.zone.signed",
    "forged.example": "forged.example.zone.signed",
}


@dataclass(frozen=True, slots=True)
class Servers:
    """Ports of the authoritative server, of the validating resolver, and of that over TLS."""

    nsd: int
    unbound: int
    tls: int


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    for program in ("nsd", "unbound", "ldns-keygen", "ldns-signzone"):
        require(program)
    folder = tmp_path_factory.mktemp("names")
    anchors = _write_zones(folder)
    found = Servers(free_port(), free_port(), free_port())
    _write_configurations(folder, found, anchors)
    upstream = [require("nsd"), "-d", "-c", str(folder / "nsd.conf")]
    resolver = [require("unbound"), "-d", "-c", str(folder / "unbound.conf")]
    with (
        running(upstream, folder / "nsd.log", lambda: accepts(found.nsd)),
        running(resolver, folder / "unbound.log", lambda: accepts(found.unbound) and accepts(found.tls)),
    ):
        yield found


def _write_zones(folder: Path) -> list[Path]:
    """Write all zones, sign two, and change one address of the second after its signing."""
    for zone in FILES:
        (folder / f"{zone}.zone").write_text(ZONE.format(zone=zone, digest="ab" * 32, long=LONG))
    anchors = [sign(folder, zone) for zone in ("signed.example", "forged.example")]
    signed = folder / FILES["forged.example"]
    forged, changes = re.subn(r"(?m)^(mx\.forged\.example\.\s.*\sA\s+)192\.0\.2\.25$", r"\g<1>203.0.113.66", signed.read_text())
    assert changes == 1
    signed.write_text(forged)
    return anchors


def _write_configurations(folder: Path, ports: Servers, anchors: list[Path]) -> None:
    zones = "".join(f"zone:\n  name: {zone}\n  zonefile: {file}\n" for zone, file in FILES.items())
    (folder / "nsd.conf").write_text(NSD.format(port=ports.nsd, folder=folder) + zones)
    pair = key_pair()
    server = UNBOUND.format(port=ports.unbound, tls_port=ports.tls, folder=folder, key=pair.key, certificate=pair.certificate)
    trusted = "server:\n" + "".join(f'  trust-anchor-file: "{anchor}"\n' for anchor in anchors)
    stubs = "".join(f"stub-zone:\n  name: {zone}\n  stub-addr: 127.0.0.1@{ports.nsd}\n" for zone in FILES)
    (folder / "unbound.conf").write_text(server + trusted + stubs)


async def run(settings: dict[str, Any]) -> Run:
    """Run the dns kind once."""
    whole = DnsQuery.model_validate({"tls": {"ca_file": ca_file()}} | settings)
    return await run_once(Job("name", "dns", PROBE, whole, 60, 20, PROBE.place(whole)), SHARED)


def verdict(result: Run) -> tuple[str, Reason | None, str]:
    """Return step, reason and code of a run."""
    return result.failed_step, result.reason, result.code


async def test_every_transport_of_real_servers_is_understood(servers: Servers) -> None:
    resolvers = [
        f"127.0.0.1:{servers.nsd}",
        f"tcp://127.0.0.1:{servers.nsd}",
        f"tcp://127.0.0.1:{servers.unbound}",
        f"tls://127.0.0.1:{servers.tls}",
    ]
    expect = {"cname_chain": ["edge.plain.example"], "equals": ["192.0.2.80"], "ttl": {"min": 1, "max": 300}}
    result = await run({"query": "www.plain.example", "resolvers": resolvers, "compare": True, "expect": expect})

    assert result.outcome is Outcome.OK, result


async def test_a_long_answer_of_a_real_server_falls_back_to_tcp(servers: Servers) -> None:
    result = await run(
        {
            "query": "long.plain.example",
            "record": "TXT",
            "resolvers": [f"127.0.0.1:{servers.unbound}"],
            "expect": {"count": {"min": 60, "max": 60}},
        }
    )

    assert result.outcome is Outcome.OK, result
    assert [name for name, _ in result.steps[0].phases] == ["request", "connect"]


async def test_real_servers_say_what_is_not_there(servers: Servers) -> None:
    nsd = [f"127.0.0.1:{servers.nsd}"]

    assert verdict(await run({"query": "nothing.plain.example", "resolvers": nsd})) == ("query", Reason.DNS_NXDOMAIN, "NXDOMAIN")
    assert verdict(await run({"query": "mx.plain.example", "record": "TXT", "resolvers": nsd})) == ("verify", Reason.DNS_NO_DATA, "")
    assert verdict(await run({"query": "www.elsewhere.example", "resolvers": nsd})) == ("query", Reason.DNS_REFUSED, "REFUSED")


async def test_the_target_of_an_mx_is_followed_through_a_real_resolver(servers: Servers) -> None:
    resolvers = {"record": "MX", "follow": True, "resolvers": [f"127.0.0.1:{servers.unbound}"]}

    assert (await run({"query": "plain.example"} | resolvers)).outcome is Outcome.OK
    assert verdict(await run({"query": "dangling.plain.example"} | resolvers)) == ("follow", Reason.DNS_NXDOMAIN, "NXDOMAIN")


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
async def test_a_validating_resolver_vouches_for_a_signed_zone_and_its_tlsa(servers: Servers, transport: str) -> None:
    resolver = f"{transport}://127.0.0.1:{servers.tls if transport == 'tls' else servers.unbound}"
    settings = {"query": "signed.example", "record": "MX", "authenticated": True, "follow": True, "tlsa": {"port": 25}}
    result = await run(settings | {"resolvers": [resolver]})

    assert result.outcome is Outcome.OK, result
    assert [step.name for step in result.steps] == ["query", "verify", "follow", "tlsa"]


async def test_nobody_vouches_for_an_unsigned_zone_nor_does_a_server_that_does_not_validate(servers: Servers) -> None:
    unsigned = await run({"query": "plain.example", "record": "MX", "authenticated": True, "resolvers": [f"127.0.0.1:{servers.unbound}"]})
    unvalidated = await run({"query": "signed.example", "record": "MX", "authenticated": True, "resolvers": [f"127.0.0.1:{servers.nsd}"]})

    assert verdict(unsigned) == verdict(unvalidated) == ("verify", Reason.DNS_MISMATCH, "")


async def test_a_forged_address_is_a_servfail_of_the_resolver_that_validates_and_passes_the_one_that_does_not(servers: Servers) -> None:
    question = {"query": "mx.forged.example"}
    validated = await run(question | {"resolvers": [f"127.0.0.1:{servers.unbound}"]})
    unvalidated = await run(question | {"resolvers": [f"127.0.0.1:{servers.nsd}"]})

    assert verdict(validated) == ("query", Reason.DNS_SERVFAIL, "SERVFAIL")
    assert "dnssec bogus" in validated.message
    assert unvalidated.outcome is Outcome.OK


async def test_a_forged_target_of_an_mx_is_found_by_following(servers: Servers) -> None:
    result = await run({"query": "forged.example", "record": "MX", "follow": True, "resolvers": [f"127.0.0.1:{servers.unbound}"]})

    assert verdict(result) == ("follow", Reason.DNS_SERVFAIL, "SERVFAIL")


async def test_a_mail_domain_is_checked_through_a_real_resolver(servers: Servers) -> None:
    checks = {"dkim_selector1": "informational", "dkim_selector2": "informational", "dnssec": "required", "dane": "required"}
    settings = MailDomain.model_validate(
        {
            "domain": "signed.example",
            "resolver": f"127.0.0.1:{servers.unbound}",
            "hosts": {"mx": [".signed.example"], "spf": "spf.signed.example", "autodiscover": "edge.signed.example"},
            "checks": checks,
        }
    )
    result = await run_once(Job("name", "dns_m365_domain", DOMAIN_PROBE, settings, 300, 20, DOMAIN_PROBE.place(settings)), SHARED)

    assert result.outcome is Outcome.OK, result
    findings = {sample.labels[0]: sample.value for sample in result.measured if sample.name == "finding"}
    assert {name for name, value in findings.items() if not value} == {"dkim_selector1", "dkim_selector2", "mta_sts", "tls_rpt"}
