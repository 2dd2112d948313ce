"""The zone that tests of the dns kind ask about, and one run of the kind as the agent would do it."""

from typing import Any

from agent.job import Job
from agent.runner import run_once
from probes.core.context import Shared
from probes.core.contract import Run
from probes.core.reasons import Reason
from probes.dns import PROBE, DnsQuery
from tests.agent.jobs import SHARED
from tests.fakes import nameserver as ns
from tests.fakes.certificates import ca_file

ZONE = f"""
contoso.example 300 IN MX 0 contoso-example.mail.protection.outlook.test.
contoso-example.mail.protection.outlook.test 10 IN A 192.0.2.25
contoso.example 300 IN TXT "v=spf1 include:spf" ".protection.outlook.com -all"
contoso.example 300 IN TXT "MS=ms1"
contoso.example 300 IN NS ns1.contoso.example.
ns1.contoso.example 300 IN AAAA 2001:db8::1
www.contoso.example 300 IN CNAME edge.contoso.example.
edge.contoso.example 60 IN CNAME last.contoso.example.
last.contoso.example 120 IN A 192.0.2.1
last.contoso.example 120 IN A 192.0.2.2
_sip._tls.contoso.example 300 IN SRV 100 1 443 sipdir.online.lync.test.
sipdir.online.lync.test 300 IN A 192.0.2.3
nomail.contoso.example 300 IN MX 0 .
broken.contoso.example 300 IN MX 0 gone.contoso.example.
broken.contoso.example 300 IN MX 5 also-gone.contoso.example.
xn--mnchen-3ya.example 300 IN A 192.0.2.9
odd.contoso.example 300 IN TYPE65280 \\# 4 0a000001
_25._tcp.contoso-example.mail.protection.outlook.test 300 IN TLSA 3 1 1 {"ab" * 32}
"""
GOOD = ns.zone(ZONE)
A, MX = {"query": "last.contoso.example"}, {"query": "contoso.example", "record": "MX"}


async def run(settings: dict[str, Any], deadline: float = 10.0, shared: Shared = SHARED) -> Run:
    """Run the probe once, as the agent would, with a short limit for each question and trust in the tests' authority."""
    whole = DnsQuery.model_validate({"query_timeout": 5, "tls": {"ca_file": ca_file()}} | settings)
    return await run_once(Job("name", "dns", PROBE, whole, 60, deadline, PROBE.place(whole)), shared)


def verdict(result: Run) -> tuple[str, Reason | None, str]:
    """Return step, reason and code of a run."""
    return result.failed_step, result.reason, result.code


def measured(result: Run, name: str) -> dict[tuple[str, ...], float]:
    """Return the samples of one measurement by their labels."""
    return {sample.labels: sample.value for sample in result.measured if sample.name == name}
