"""The dns_m365_domain kind: one good domain, and every way in which one record of it can be wrong."""

from collections.abc import Mapping
from typing import Any

import pytest

from agent.job import Job
from agent.runner import run_once
from probes.core.context import Shared
from probes.core.contract import Inconclusive, Layer, Outcome, Place, Run, Workload
from probes.core.reasons import Reason
from probes.dns_m365_domain import PROBE, Checks, MailDomain
from probes.lib import mail_records
from tests.agent.jobs import SHARED
from tests.fakes import hostile
from tests.fakes import nameserver as ns
from tests.fakes.certificates import ca_file, server_context

KEY = "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQ=="
RECORDS = {
    "mx": "contoso.example MX 0 contoso-example.mail.protection.outlook.com.",
    "mx_target": "contoso-example.mail.protection.outlook.com A 192.0.2.25",
    "spf": 'contoso.example TXT "v=spf1 ip4:192.0.2.0/24 include:spf.protection.outlook.com -all"',
    "proof": 'contoso.example TXT "MS=ms12345678"',
    "spf_microsoft": 'spf.protection.outlook.com TXT "v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 -all"',
    "dkim1": "selector1._domainkey.contoso.example CNAME selector1-contoso-example._domainkey.contoso.onmicrosoft.com.",
    "key1": f'selector1-contoso-example._domainkey.contoso.onmicrosoft.com TXT "{KEY}"',
    "dkim2": "selector2._domainkey.contoso.example CNAME selector2-contoso-example._domainkey.contoso.x-v1.dkim.mail.microsoft.",
    "key2": f'selector2-contoso-example._domainkey.contoso.x-v1.dkim.mail.microsoft TXT "{KEY}"',
    "dmarc": '_dmarc.contoso.example TXT "v=DMARC1; p=reject; rua=mailto:dmarc@contoso.example"',
    "autodiscover": "autodiscover.contoso.example CNAME autodiscover.outlook.com.",
    "mta_sts": '_mta-sts.contoso.example TXT "v=STSv1; id=20260101000000Z;"',
    "tls_rpt": '_smtp._tls.contoso.example TXT "v=TLSRPTv1; rua=mailto:tls@contoso.example"',
    "tlsa": f"_25._tcp.contoso-example.mail.protection.outlook.com TLSA 3 1 1 {'ab' * 32}",
}
REQUIRED = ["mx", "mx_target", "spf", "spf_lookups", "dkim_selector1", "dkim_selector2", "dmarc", "autodiscover", "msoid"]
DEFAULT = [*REQUIRED, "mta_sts", "tls_rpt"]


def zone(changed: Mapping[str, str | None]) -> ns.Behaviour:
    """Answer with the good domain's records, some of them changed, or removed (None), or new."""
    records = [record for record in {**RECORDS, **changed}.values() if record is not None]
    lines = [line.partition(" ") for record in records for line in record.split("\n")]
    return ns.zone("\n".join(f"{name} 300 IN {data}" for name, _, data in lines))


async def run(behave: ns.Behaviour, settings: dict[str, Any] | None = None, shared: Shared = SHARED) -> Run:
    """Run the probe once against a name server that behaves so."""
    async with ns.name_server(behave) as server:
        whole = {"domain": "contoso.example", "resolver": server.udp, "tls": {"ca_file": ca_file()}} | (settings or {})
        parsed = MailDomain.model_validate(whole)
        return await run_once(Job("name", "dns_m365_domain", PROBE, parsed, 300, 10, PROBE.place(parsed)), shared)


def findings(result: Run) -> dict[str, float]:
    """Return each check that was measured, 1 for ok."""
    return {sample.labels[0]: sample.value for sample in result.measured if sample.name == "finding"}


def number(result: Run, name: str) -> float:
    """Return the one sample of a measurement."""
    (value,) = [sample.value for sample in result.measured if sample.name == name]
    return value


async def test_a_good_domain_passes_every_check_and_each_is_measured() -> None:
    result = await run(zone({}))

    assert result.outcome is Outcome.OK, result
    assert findings(result) == dict.fromkeys(DEFAULT, 1.0)
    assert number(result, "spf_lookups") == 1
    assert number(result, "spf_void_lookups") == 0
    assert number(result, "mx_addresses") == 1
    assert {step.name for step in result.steps} == {"query", *DEFAULT}
    assert dict(result.evidence)["mx"] == "mail goes to contoso-example.mail.protection.outlook.com"
    assert dict(result.evidence)["mx_target"] == "contoso-example.mail.protection.outlook.com has 192.0.2.25"


async def test_each_question_is_asked_once_however_many_checks_want_the_answer() -> None:
    async with ns.name_server(ns.authenticated(zone({}))) as server:
        checks = {"dnssec": "required", "dane": "required"}
        settings = MailDomain.model_validate({"domain": "contoso.example", "resolver": server.udp, "checks": checks})
        result = await run_once(Job("name", "dns_m365_domain", PROBE, settings, 300, 10, PROBE.place(settings)), SHARED)

    assert result.outcome is Outcome.OK, result
    # With and without the wish for validation are two questions.
    assert max(server.asked.count(question) for question in server.asked) == 2
    assert server.asked.count(("udp", "contoso.example", "TXT")) == 1


MISSING, WRONG, NOTHING = Reason.DNS_NXDOMAIN, Reason.DNS_OWN_RECORD, Reason.DNS_NO_DATA
THEIRS = Reason.DNS_MISMATCH
ELEVEN = [f"n{i}.test" for i in range(11)]

CASES: dict[str, tuple[dict[str, str | None], str, Reason, str]] = {
    "no mx": ({"mx": None}, "mx", NOTHING, "no record of type MX"),
    "mx elsewhere": ({"mx": "contoso.example MX 0 mail.example.net."}, "mx", WRONG, "names mail.example.net"),
    "one mx of two elsewhere": ({"mx2": "contoso.example MX 9 old.contoso.example."}, "mx", WRONG, "names old.contoso.example"),
    "null mx": ({"mx": "contoso.example MX 0 ."}, "mx", WRONG, "names .,"),
    "the target of the mx is gone": ({"mx_target": None, "tlsa": None}, "mx_target", MISSING, "does not exist"),
    "the target of the mx has no address": ({"mx_target": None}, "mx_target", NOTHING, "no record of type A"),
    "no spf": ({"spf": None}, "spf", WRONG, "0 SPF records"),
    "two spf": ({"spf2": 'contoso.example TXT "v=spf1 -all"'}, "spf", WRONG, "2 SPF records"),
    "spf without the include, as in august 2023": (
        {"spf": 'contoso.example TXT "v=spf1 ip4:192.0.2.0/24 -all"'},
        "spf",
        WRONG,
        "does not include",
    ),
    "spf that lets everybody send": (
        {"spf": RECORDS["spf"].replace("-all", "+all")},
        "spf",
        WRONG,
        "lets everybody send",
    ),
    "spf that breaks the grammar": (
        {"spf": 'contoso.example TXT "v=spf1 include:spf.protection.outlook.com ip4:192.0.2.300 -all"'},
        "spf",
        WRONG,
        "'ip4:192.0.2.300' is no network",
    ),
    "an included record is gone": ({"spf_microsoft": None}, "spf", THEIRS, "spf.protection.outlook.com is included and has 0 SPF records"),
    "twelve lookups": (
        {
            "spf": f'contoso.example TXT "v=spf1 include:spf.protection.outlook.com include:{" include:".join(ELEVEN)} -all"',
            "more": "\n".join(f'{name} TXT "v=spf1 -all"' for name in ELEVEN),
        },
        "spf_lookups",
        WRONG,
        "takes 12 lookups, more than 10",
    ),
    "three lookups without result": (
        {"spf": 'contoso.example TXT "v=spf1 include:spf.protection.outlook.com a:x.example a:y.example mx:z.example -all"'},
        "spf_lookups",
        WRONG,
        "3 lookups without result",
    ),
    "no first selector": ({"dkim1": None}, "dkim_selector1", MISSING, "does not exist"),
    "first selector elsewhere": (
        {"dkim1": f'selector1._domainkey.contoso.example CNAME k1.example.net.\nk1.example.net TXT "{KEY}"'},
        "dkim_selector1",
        WRONG,
        "points at k1.example.net",
    ),
    "second selector leads nowhere": ({"key2": None}, "dkim_selector2", MISSING, "does not exist"),
    "second selector's key was withdrawn": (
        {"key2": 'selector2-contoso-example._domainkey.contoso.x-v1.dkim.mail.microsoft TXT "v=DKIM1; k=rsa; p="'},
        "dkim_selector2",
        THEIRS,
        "0 keys",
    ),
    "no dmarc": ({"dmarc": None}, "dmarc", NOTHING, "no DMARC record"),
    "dmarc without policy": (
        {"dmarc": '_dmarc.contoso.example TXT "v=DMARC1; rua=mailto:a@contoso.example"'},
        "dmarc",
        WRONG,
        "the policy is ''",
    ),
    "dmarc with a policy nobody knows": (
        {"dmarc": '_dmarc.contoso.example TXT "v=DMARC1; p=drop"'},
        "dmarc",
        WRONG,
        "the policy is 'drop'",
    ),
    "two dmarc": ({"dmarc2": '_dmarc.contoso.example TXT "v=DMARC1; p=none"'}, "dmarc", WRONG, "2 DMARC records"),
    "no autodiscover": ({"autodiscover": None}, "autodiscover", MISSING, "does not exist"),
    "autodiscover elsewhere": (
        {"autodiscover": "autodiscover.contoso.example CNAME owa.contoso.example."},
        "autodiscover",
        WRONG,
        "points at owa.contoso.example, expected autodiscover.outlook.com",
    ),
    "msoid": ({"msoid": "msoid.contoso.example CNAME clientconfig.microsoftonline-p.net."}, "msoid", WRONG, "remove it"),
}


@pytest.mark.parametrize("case", CASES)
async def test_each_wrong_record_is_named_by_its_check(case: str) -> None:
    changed, check, reason, words = CASES[case]
    result = await run(zone(changed))

    assert (result.failed_step, result.reason) == (check, reason), result
    assert words in result.message
    assert findings(result)[check] == 0
    assert set(findings(result)) == set(DEFAULT)
    assert dict(result.evidence)[check].startswith("not ok: ")


INFORMATIONAL: dict[str, tuple[dict[str, str | None], str, str]] = {
    "no mta-sts": ({"mta_sts": None}, "mta_sts", "does not exist"),
    "mta-sts without id": ({"mta_sts": '_mta-sts.contoso.example TXT "v=STSv1; id=a-b"'}, "mta_sts", "the id is 'a-b'"),
    "two mta-sts": ({"mta_sts2": '_mta-sts.contoso.example TXT "v=STSv1; id=2"'}, "mta_sts", "2 records"),
    "no tls-rpt": ({"tls_rpt": None}, "tls_rpt", "does not exist"),
    "tls-rpt to nowhere": ({"tls_rpt": '_smtp._tls.contoso.example TXT "v=TLSRPTv1; rua=ftp://x"'}, "tls_rpt", "rua is 'ftp://x'"),
}


@pytest.mark.parametrize("case", INFORMATIONAL)
async def test_an_informational_check_is_measured_and_fails_no_run(case: str) -> None:
    changed, check, words = INFORMATIONAL[case]
    result = await run(zone(changed))

    assert result.outcome is Outcome.OK, result
    assert findings(result)[check] == 0
    assert words in dict(result.evidence)[check]


async def test_an_informational_check_may_be_required_and_a_required_one_off() -> None:
    behave = zone({"mta_sts": None, "autodiscover": None})
    result = await run(behave, {"checks": {"autodiscover": "off", "mta_sts": "required"}})

    assert (result.failed_step, result.reason) == ("mta_sts", Reason.DNS_NXDOMAIN)
    assert "autodiscover" not in findings(result)


async def test_of_several_failures_the_first_of_the_list_is_raised_and_all_are_told() -> None:
    result = await run(zone({"spf": None, "mx": None, "dmarc": None}))

    assert result.failed_step == "mx"
    assert {name for name, value in findings(result).items() if not value} == {"mx", "mx_target", "spf", "spf_lookups", "dmarc"}


RESOLVERS: dict[str, tuple[ns.Behaviour, Reason, str]] = {
    "servfail": (ns.rcode("SERVFAIL"), Reason.DNS_SERVFAIL, "SERVFAIL"),
    "refused": (ns.rcode("REFUSED"), Reason.DNS_REFUSED, "REFUSED"),
    "silent": (ns.silent, Reason.DNS_TIMEOUT, ""),
    "no such domain": (ns.rcode("NXDOMAIN"), Reason.DNS_NXDOMAIN, "NXDOMAIN"),
}


@pytest.mark.parametrize("case", RESOLVERS)
async def test_a_resolver_that_fails_every_question_fails_the_first_check(case: str) -> None:
    behave, reason, code = RESOLVERS[case]
    result = await run(behave, {"query_timeout": "200ms"})

    assert (result.failed_step, result.reason, result.code) == ("mx", reason, code)


async def test_the_failure_of_january_2026_is_named_by_the_target() -> None:
    target = "contoso-example.mail.protection.outlook.com"
    result = await run(ns.by_name({target: ns.rcode("SERVFAIL")}, zone({})))

    assert (result.failed_step, result.reason, result.code) == ("mx_target", Reason.DNS_SERVFAIL, "SERVFAIL")
    assert target in result.message
    assert {name for name, value in findings(result).items() if not value} == {"mx_target"}


async def test_the_new_names_of_signed_zones_are_of_microsoft_365_too() -> None:
    new = {
        "mx": "contoso.example MX 0 contoso-example.s-v1.mx.microsoft.",
        "mx_target": "contoso-example.s-v1.mx.microsoft A 192.0.2.25",
    }
    assert (await run(zone(new))).outcome is Outcome.OK


async def test_spf_may_include_microsoft_by_way_of_another() -> None:
    by_way = {
        "spf": 'contoso.example TXT "v=spf1 redirect=_spf.contoso.example"',
        "more": '_spf.contoso.example TXT "v=spf1 include:spf.protection.outlook.com -all"',
    }
    result = await run(zone(by_way))

    assert result.outcome is Outcome.OK, result
    assert number(result, "spf_lookups") == 2


async def test_a_subdomain_may_live_by_the_dmarc_record_of_the_domain_above() -> None:
    moved: dict[str, str | None] = {
        name: record.replace("contoso.example", "mail.contoso.example") for name, record in RECORDS.items() if name != "dmarc"
    }
    result = await run(zone(moved), {"domain": "mail.contoso.example"})

    assert result.outcome is Outcome.OK, result
    assert dict(result.evidence)["dmarc"] == "policy reject at _dmarc.contoso.example"


async def test_national_clouds_have_names_of_their_own() -> None:
    china = {
        name: record.replace("mail.protection.outlook.com", "mail.protection.partner.outlook.cn")
        .replace("spf.protection.outlook.com", "spf.protection.partner.outlook.cn")
        .replace("contoso.onmicrosoft.com", "contoso.partner.onmschina.cn")
        .replace("autodiscover.outlook.com", "autodiscover.partner.outlook.cn")
        for name, record in RECORDS.items()
    } | {"msoid": "msoid.contoso.example CNAME clientconfig.partner.microsoftonline-p.net.cn."}

    assert (await run(zone(china), {"cloud": "china"})).outcome is Outcome.OK
    assert (await run(zone(china))).failed_step == "mx"


async def test_a_filter_before_the_mailboxes_is_named_in_the_settings() -> None:
    filtered = {"mx": "contoso.example MX 10 a.filter.example.\na.filter.example A 192.0.2.9"}

    assert (await run(zone(filtered))).failed_step == "mx"
    assert (await run(zone(filtered), {"hosts": {"mx": [".filter.example"]}})).outcome is Outcome.OK


@pytest.mark.parametrize("check", ["dnssec", "dane"])
async def test_dnssec_and_dane_need_the_resolvers_word(check: str) -> None:
    settings = {"checks": {check: "required"}}
    unsigned, signed = await run(zone({}), settings), await run(ns.authenticated(zone({})), settings)

    assert (unsigned.failed_step, unsigned.reason) == (check, Reason.DNS_MISMATCH)
    assert signed.outcome is Outcome.OK, signed


async def test_dane_needs_a_tlsa_record() -> None:
    result = await run(ns.authenticated(zone({"tlsa": None})), {"checks": {"dane": "required"}})

    assert (result.failed_step, result.reason) == ("dane", Reason.DNS_NXDOMAIN)


POLICY = b"version: STSv1\r\nmode: enforce\r\nmx: *.mail.protection.outlook.com\r\nmax_age: 86400\r\n"
POLICIES: dict[str, tuple[bytes, bytes, Reason | None, str]] = {
    "good": (POLICY, b"200 OK", None, ""),
    "stale after a change of mx": (POLICY.replace(b"outlook.com", b"example.net"), b"200 OK", Reason.CONTENT_MISMATCH, "does not name"),
    "not a policy": (b"<html>", b"200 OK", Reason.CONTENT_MISMATCH, "its version is not STSv1"),
    "gone": (POLICY, b"404 Not Found", Reason.HTTP_4XX, "HTTP status 404"),
    "moved, which is not allowed": (POLICY, b"301 Moved", Reason.HTTP_REDIRECT, "HTTP status 301"),
}


@pytest.mark.parametrize("case", POLICIES)
async def test_the_mta_sts_policy_has_to_name_the_mail_exchangers_in_use(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    body, status, reason, words = POLICIES[case]

    async def lookup(host: str, family: int) -> tuple[str, ...]:  # noqa: ARG001 - the shape of a lookup
        assert host == "mta-sts.contoso.example"
        return ("127.0.0.1",)

    async with hostile.page(body, status, tls=server_context()) as (_, port):
        monkeypatch.setattr(mail_records, "HTTPS_PORT", port)
        # The tests' authority has no certificate for the real name.
        settings = {"checks": {"mta_sts_policy": "required"}, "tls": {"ca_file": ca_file(), "server_name": "localhost"}}
        result = await run(zone({}), settings, Shared(lookup, SHARED.secret))

    assert (result.failed_step, result.reason) == (("mta_sts_policy", reason) if reason else ("", None)), result
    assert words in result.message


async def test_a_policy_host_that_says_nothing_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    async def lookup(host: str, family: int) -> tuple[str, ...]:  # noqa: ARG001 - the shape of a lookup
        return ("127.0.0.1",)

    async with hostile.says_nothing() as (_, port):
        monkeypatch.setattr(mail_records, "HTTPS_PORT", port)
        settings = {"checks": {"mta_sts_policy": "required"}, "query_timeout": 0.3}
        result = await run(zone({}), settings, Shared(lookup, SHARED.secret))

    assert (result.failed_step, result.reason) == ("mta_sts_policy", Reason.TIMEOUT)


async def test_what_the_agent_could_not_find_out_is_no_finding() -> None:
    async def lookup(host: str, family: int) -> tuple[str, ...]:  # noqa: ARG001 - the shape of a lookup
        raise Inconclusive(Reason.AGENT_RESOURCES, "no descriptor left")

    result = await run(zone({}), {"resolver": "resolver.example"}, Shared(lookup, SHARED.secret))

    assert (result.outcome, result.failed_step, result.reason) == (Outcome.INCONCLUSIVE, "mx", Reason.AGENT_RESOURCES)
    assert findings(result) == {}
    assert dict(result.evidence)["mx"] == "not ok: no descriptor left"


async def test_at_the_deadline_a_silent_resolver_is_to_blame() -> None:
    async with ns.name_server(ns.silent) as server:
        settings = MailDomain(domain="contoso.example", resolver=server.udp)
        result = await run_once(Job("name", "dns_m365_domain", PROBE, settings, 300, 0.2, PROBE.place(settings)), SHARED)

    assert (result.failed_step, result.reason) == ("query", Reason.DNS_TIMEOUT)


def test_off_may_be_written_without_quotes_which_yaml_reads_as_false() -> None:
    assert Checks.model_validate({"mx": False, "spf": "off"}) == Checks(mx="off", spf="off")


def test_every_check_is_a_setting_and_a_step() -> None:
    assert PROBE.steps == ("query", *Checks.model_fields)


def test_a_domain_is_looked_at_from_the_resolver_for_exchange() -> None:
    assert PROBE.place(MailDomain(domain="contoso.example")) == Place(Layer.RESOLVER, Workload.EXCHANGE)


def test_a_domain_beyond_ascii_is_asked_for_in_a_labels() -> None:
    assert MailDomain(domain="MÜNCHEN.example.").domain == "xn--mnchen-3ya.example"
