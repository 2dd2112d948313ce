"""The dns kind: what it expects of answers, whom it follows, and how it compares resolvers."""

from typing import Any

import pytest
from pydantic import ValidationError

from probes.core.contract import Layer, Outcome, Place, Workload
from probes.core.reasons import Reason
from probes.dns import PROBE, DnsQuery
from tests.fakes import nameserver as ns
from tests.probes.questions import GOOD, MX, A, measured, run, verdict

# What the answer has to be

CONTENT: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "exactly these": (A, {"equals": ["192.0.2.2", "192.0.2.1"]}, ""),
    "not exactly these": (A, {"equals": ["192.0.2.1", "192.0.2.3"]}, "missing: 192.0.2.3; unexpected: 192.0.2.2"),
    "a name in capitals with its last dot": (MX, {"equals": ["0 Contoso-Example.mail.protection.outlook.TEST."]}, ""),
    "contains": (A, {"contains": ["192.0.2.2"]}, ""),
    "contains not": (A, {"contains": ["192.0.2.7"]}, "missing: 192.0.2.7"),
    "a text in two strings": (
        {"query": "contoso.example", "record": "TXT"},
        {"contains": ["v=spf1 include:spf.protection.outlook.com -all"], "matches": ["^v=spf1 ", "^MS=ms[0-9]+$"]},
        "",
    ),
    "no record matches": (MX, {"matches": [r"\.mx\.microsoft$"]}, r"no record matches '\\.mx\\.microsoft$'"),
    "count": (A, {"count": {"min": 2, "max": 2}}, ""),
    "too few": (A, {"count": {"min": 3}}, "2 records, expected from 3"),
    "too many": (A, {"count": {"max": 1}}, "2 records, expected from 0 to 1"),
    "lowest ttl of chain and records": ({"query": "www.contoso.example"}, {"ttl": {"min": 60, "max": 60}}, ""),
    "ttl too low": (MX, {"ttl": {"min": 3600}}, "time to live 300 s, expected from 3600 s"),
    "chain": (
        {"query": "www.contoso.example"},
        {"cname_chain": ["edge.contoso.example.", "LAST.contoso.example"], "count": {"min": 2}},
        "",
    ),
    "no chain": (A, {"cname_chain": []}, ""),
    "another chain": (
        {"query": "www.contoso.example"},
        {"cname_chain": ["last.contoso.example"]},
        "the CNAME chain is edge.contoso.example > last.contoso.example, expected last.contoso.example",
    ),
    "a name beyond ascii": ({"query": "MÜNCHEN.example"}, {"equals": ["192.0.2.9"]}, ""),
    "a type by number": ({"query": "odd.contoso.example", "record": 65280}, {"equals": [r"\# 4 0a000001"]}, ""),
    "a type by its unknown name": ({"query": "last.contoso.example", "record": "TYPE1"}, {"count": {"min": 2}}, ""),
    "a cname itself": ({"query": "www.contoso.example", "record": "CNAME"}, {"equals": ["edge.contoso.example"]}, ""),
    "srv": ({"query": "_sip._tls.contoso.example", "record": "SRV"}, {"equals": ["100 1 443 sipdir.online.lync.test"]}, ""),
}


@pytest.mark.parametrize("case", CONTENT)
async def test_the_content_of_an_answer_is_judged(case: str) -> None:
    question, expect, problem = CONTENT[case]
    async with ns.name_server(GOOD) as server:
        result = await run(question | {"resolvers": [server.udp], "expect": expect})

    if problem:
        assert verdict(result) == ("verify", Reason.DNS_MISMATCH, "")
        assert result.message.endswith(problem)
    else:
        assert result.outcome is Outcome.OK, result


async def test_an_expected_nxdomain_is_ok() -> None:
    async with ns.name_server(GOOD) as server:
        result = await run({"query": "msoid.contoso.example", "resolvers": [server.udp], "expect": {"rcode": "nxdomain"}})

    assert result.outcome is Outcome.OK, result


async def test_an_answer_instead_of_the_expected_nxdomain_is_a_mismatch() -> None:
    async with ns.name_server(GOOD) as server:
        result = await run(A | {"resolvers": [server.udp], "expect": {"rcode": "NXDOMAIN"}})

    assert verdict(result) == ("query", Reason.DNS_MISMATCH, "NOERROR")


@pytest.mark.parametrize("expect", [{"count": {"max": 0}}, {"count": {"min": 0}}, {"equals": []}])
async def test_no_data_is_ok_where_it_may_be(expect: dict[str, Any]) -> None:
    async with ns.name_server(GOOD) as server:
        result = await run({"query": "last.contoso.example", "record": "AAAA", "resolvers": [server.udp], "expect": expect})

    assert result.outcome is Outcome.OK, result
    assert dict(result.evidence)["answer"] == "no record"


async def test_a_cname_loop_ends_without_data() -> None:
    loop = b"\xc0\x0c" + bytes.fromhex("0005 0001 0000003c 0002 c00c")

    def behave(query: bytes, _: str) -> list[bytes]:
        return [query[:2] + bytes.fromhex("8180 0001 0001 0000 0000") + query[12 : query.index(b"\0", 12) + 5] + loop]

    async with ns.name_server(behave) as server:
        result = await run(A | {"resolvers": [server.udp]})

    assert verdict(result) == ("verify", Reason.DNS_NO_DATA, "")
    assert "cname_chain" in dict(result.evidence)


# Validation


@pytest.mark.parametrize(("behave", "ok"), [(ns.authenticated(GOOD), True), (GOOD, False)])
async def test_a_resolver_has_to_vouch_for_an_answer_where_told_so(behave: ns.Behaviour, *, ok: bool) -> None:
    async with ns.name_server(behave) as server:
        result = await run(A | {"resolvers": [server.udp], "authenticated": True})

    assert verdict(result) == (("", None, "") if ok else ("verify", Reason.DNS_MISMATCH, ""))


TLSA = {"tlsa": {"port": 25}}


async def test_tlsa_is_looked_for_at_each_mail_exchanger() -> None:
    async with ns.name_server(ns.authenticated(GOOD)) as server:
        result = await run(MX | TLSA | {"resolvers": [server.udp], "authenticated": True})

    assert result.outcome is Outcome.OK, result
    assert server.asked[-1] == ("udp", "_25._tcp.contoso-example.mail.protection.outlook.test", "TLSA")


async def test_tlsa_is_looked_for_at_the_name_itself_where_it_is_a_host() -> None:
    async with ns.name_server(GOOD) as server:
        result = await run(A | {"resolvers": [server.udp], "tlsa": {"port": 443, "protocol": "udp"}})

    assert verdict(result) == ("tlsa", Reason.DNS_NXDOMAIN, "NXDOMAIN")
    assert "_443._udp.last.contoso.example TLSA" in result.message


async def test_tlsa_without_the_resolvers_word_does_not_count_where_it_is_required() -> None:
    vouches_not_for_tlsa = ns.by_type(MX=ns.authenticated(GOOD), TLSA=GOOD)
    async with ns.name_server(vouches_not_for_tlsa) as server:
        result = await run(MX | TLSA | {"resolvers": [server.udp], "authenticated": True})

    assert verdict(result) == ("tlsa", Reason.DNS_MISMATCH, "")


# Following


@pytest.mark.parametrize(
    ("query", "record", "asked"),
    [
        ("contoso.example", "MX", "contoso-example.mail.protection.outlook.test"),
        ("contoso.example", "NS", "ns1.contoso.example"),
        ("_sip._tls.contoso.example", "SRV", "sipdir.online.lync.test"),
        ("edge.contoso.example", "CNAME", "last.contoso.example"),
    ],
)
async def test_what_records_point_at_is_resolved_by_the_same_server(query: str, record: str, asked: str) -> None:
    async with ns.name_server(GOOD) as server:
        result = await run({"query": query, "record": record, "resolvers": [server.udp], "follow": True})

    assert result.outcome is Outcome.OK, result
    assert sorted(server.asked[1:]) == [("udp", asked, "A"), ("udp", asked, "AAAA")]


TARGET = "contoso-example.mail.protection.outlook.test"
JANUARY: dict[str, tuple[ns.Behaviour, Reason, str]] = {
    "servfail": (ns.rcode("SERVFAIL"), Reason.DNS_SERVFAIL, "SERVFAIL"),
    "nxdomain": (ns.rcode("NXDOMAIN"), Reason.DNS_NXDOMAIN, "NXDOMAIN"),
    "silence": (ns.silent, Reason.DNS_TIMEOUT, ""),
    "no address": (ns.rcode("NOERROR"), Reason.DNS_NO_DATA, ""),
    "servfail for ipv4 alone": (
        ns.by_type(A=ns.rcode("SERVFAIL"), AAAA=ns.zone(f"{TARGET} 10 IN AAAA 2001:db8::25")),
        Reason.DNS_SERVFAIL,
        "SERVFAIL",
    ),
    "no address and servfail": (ns.by_type(A=ns.rcode("NOERROR"), AAAA=ns.rcode("SERVFAIL")), Reason.DNS_SERVFAIL, "SERVFAIL"),
}


@pytest.mark.parametrize("case", JANUARY)
async def test_the_failure_of_january_2026_the_mx_is_fine_and_its_target_does_not_resolve(case: str) -> None:
    behave, reason, code = JANUARY[case]
    async with ns.name_server(ns.by_name({TARGET: behave}, GOOD)) as server:
        result = await run(MX | {"resolvers": [server.udp], "follow": True, "query_timeout": 0.3})

    assert verdict(result) == ("follow", reason, code)
    assert [step.name for step in result.steps] == ["query", "verify", "follow"]
    assert any(name.startswith("failed_") and TARGET in value for name, value in result.evidence)


async def test_a_target_with_ipv4_is_enough_even_while_ipv6_fails() -> None:
    async with ns.name_server(ns.by_name({TARGET: ns.by_type(A=GOOD, AAAA=ns.rcode("SERVFAIL"))}, GOOD)) as server:
        result = await run(MX | {"resolvers": [server.udp], "follow": True})

    assert result.outcome is Outcome.OK, result


async def test_one_dead_target_of_several_is_a_failure() -> None:
    async with ns.name_server(
        ns.by_name(
            {"also-gone.contoso.example": ns.rcode("NXDOMAIN")}, ns.by_type(MX=GOOD, A=ns.many_records(1), OTHER=ns.rcode("NOERROR"))
        )
    ) as server:
        result = await run({"query": "broken.contoso.example", "record": "MX", "resolvers": [server.tcp], "follow": True})

    assert verdict(result) == ("follow", Reason.DNS_NXDOMAIN, "NXDOMAIN")
    assert "also-gone.contoso.example" in result.message


async def test_a_null_mx_points_at_nothing() -> None:
    async with ns.name_server(GOOD) as server:
        result = await run({"query": "nomail.contoso.example", "record": "MX", "resolvers": [server.udp], "follow": True})

    assert result.outcome is Outcome.OK, result
    assert len(server.asked) == 1


async def test_no_more_than_twenty_targets_are_followed() -> None:
    names = "\n".join(f"many.example 60 IN NS ns{i}.many.example.\nns{i}.many.example 60 IN A 192.0.2.1" for i in range(30))
    async with ns.name_server(ns.zone(names)) as server:
        result = await run({"query": "many.example", "record": "NS", "resolvers": [server.udp], "follow": True})

    assert result.outcome is Outcome.OK, result
    assert len(server.asked) == 1 + 2 * 20
    assert dict(result.evidence)["not_followed"] == "10 of 30 hosts"


# Several resolvers


async def test_several_resolvers_are_timed_apart_and_each_has_its_word() -> None:
    async with ns.name_server(GOOD) as one, ns.name_server(ns.rcode("SERVFAIL")) as other:
        result = await run(A | {"resolvers": [one.udp, other.tls]})

    assert verdict(result) == ("query", Reason.DNS_SERVFAIL, "SERVFAIL")
    assert measured(result, "resolver_success") == {(one.udp,): 1, (other.tls,): 0}
    durations = measured(result, "resolver_duration_seconds")
    assert set(durations) == {(one.udp,), (other.tls,)}
    assert all(0 < seconds <= result.steps[0].seconds for seconds in durations.values())
    assert len(measured(result, "certificate_expiry_timestamp_seconds")) == 1
    assert result.steps[0].phases == ()
    assert f"certificate_subject ({other.tls})" in dict(result.evidence)


async def test_one_good_resolver_is_enough_where_told_so() -> None:
    async with ns.name_server(GOOD) as one, ns.name_server(ns.silent) as other:
        result = await run(A | {"resolvers": [other.udp, one.udp], "require": "any", "query_timeout": 0.2})

    assert result.outcome is Outcome.OK, result
    assert measured(result, "resolver_success") == {(one.udp,): 1, (other.udp,): 0}


async def test_what_a_failed_resolver_says_is_evidence_and_not_judged() -> None:
    async with ns.name_server(GOOD) as one, ns.name_server(ns.rcode("SERVFAIL")) as other:
        result = await run(A | {"resolvers": [other.udp, one.udp], "require": "any", "compare": True})

    assert result.outcome is Outcome.OK, result
    assert dict(result.evidence)[f"answer ({other.udp})"] == "no record"
    assert measured(result, "resolver_success") == {(one.udp,): 1, (other.udp,): 0}


async def test_none_is_enough_for_nobody() -> None:
    async with ns.name_server(ns.rcode("REFUSED")) as one, ns.name_server(ns.silent) as other:
        result = await run(A | {"resolvers": [one.udp, other.udp], "require": "any", "query_timeout": 0.2})

    assert verdict(result) == ("query", Reason.DNS_REFUSED, "REFUSED")


async def test_resolvers_that_drift_apart_are_named_with_what_each_says() -> None:
    drifted = ns.zone("last.contoso.example 99 IN A 192.0.2.1\nlast.contoso.example 99 IN A 203.0.113.9")
    async with ns.name_server(GOOD) as one, ns.name_server(drifted) as other:
        result = await run(A | {"resolvers": [one.udp, other.udp], "compare": True})

    assert verdict(result) == ("verify", Reason.DNS_MISMATCH, "")
    assert result.message.endswith(f"{one.udp} and {other.udp} differ: only {one.udp} has 192.0.2.2; only {other.udp} has 203.0.113.9")
    assert dict(result.evidence)[f"answer ({other.udp})"]


async def test_a_different_time_to_live_or_order_is_no_drift() -> None:
    same = ns.zone("last.contoso.example 99 IN A 192.0.2.2\nlast.contoso.example 99 IN A 192.0.2.1")
    async with ns.name_server(GOOD) as one, ns.name_server(same) as other:
        result = await run(A | {"resolvers": [one.udp, other.udp], "compare": True})

    assert result.outcome is Outcome.OK, result


async def test_targets_are_followed_by_the_resolver_that_named_them() -> None:
    async with ns.name_server(GOOD) as one, ns.name_server(ns.by_name({TARGET: ns.rcode("NXDOMAIN")}, GOOD)) as other:
        result = await run(MX | {"resolvers": [one.udp, other.udp], "follow": True})

    assert verdict(result) == ("follow", Reason.DNS_NXDOMAIN, "NXDOMAIN")
    assert measured(result, "resolver_success") == {(one.udp,): 1, (other.udp,): 0}
    assert [text for name, text in result.evidence if name.startswith("failed_")] == [f"{other.udp} answers NXDOMAIN to {TARGET} A"]


# Settings

MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "no such type": ({"record": "AAAAA"}, "'AAAAA' is no record type"),
    "a kind of question": ({"record": "AXFR"}, "'AXFR' is no type of a record"),
    "any": ({"record": "ANY"}, "'ANY' is no type of a record"),
    "no such rcode": ({"expect": {"rcode": "NOPE"}}, "'NOPE' is no DNS response code"),
    "records of an nxdomain": ({"expect": {"rcode": "NXDOMAIN", "count": {"min": 1}}}, "has no records to expect"),
    "data of another type": ({"record": "MX", "expect": {"equals": ["192.0.2.1"]}}, "'192.0.2.1' is no data of a record of type MX"),
    "no regular expression": ({"expect": {"matches": ["("]}}, "not a regular expression"),
    "bounds the wrong way round": ({"expect": {"count": {"min": 3, "max": 1}}}, "min is greater than max"),
    "no resolver": ({"resolvers": []}, "at least 1 item"),
    "not a resolver": ({"resolvers": ["ftp://192.0.2.1"]}, "the scheme of a resolver is one of udp, tcp, tls, https"),
    "twice": ({"resolvers": ["192.0.2.1", "192.0.2.1"]}, "a resolver is listed twice"),
    "nothing to compare": ({"compare": True}, "compare needs at least two resolvers"),
    "nothing to follow": ({"follow": True}, "records of type A point at nothing"),
    "no name": ({"query": "a..b"}, "'a..b' is no domain name"),
    "no duration": ({"query_timeout": "5x"}, "must be a duration, such as 500ms"),
    "no time at all": ({"query_timeout": "0s"}, "a duration from 1ms to 7d"),
    "unknown": ({"resolver": "system"}, "Extra inputs are not permitted"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_in_the_settings_is_said_in_words(case: str) -> None:
    wrong, words = MISTAKES[case]
    with pytest.raises(ValidationError) as caught:
        DnsQuery.model_validate({"query": "contoso.example"} | wrong)
    assert words in str(caught.value)


def test_a_query_belongs_to_the_resolver_layer() -> None:
    assert PROBE.place(DnsQuery(query="contoso.example")) == Place(Layer.RESOLVER, Workload.DNS)


def test_equal_settings_are_equal_also_after_one_of_them_was_used() -> None:
    one, other = DnsQuery(query="contoso.example"), DnsQuery(query="contoso.example")
    assert one.servers
    assert one == other


@pytest.mark.parametrize(("written", "seconds"), [(2, 2.0), ("500ms", 0.5), ("1.5s", 1.5), ("1m30s", 90.0)])
def test_a_time_limit_is_a_number_or_a_text(written: object, seconds: float) -> None:
    assert DnsQuery.model_validate({"query": "a.example", "query_timeout": written}).query_timeout == seconds
