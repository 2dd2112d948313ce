"""The dns kind against name servers that answer well, badly, wrongly, late and not at all, over every transport."""

import asyncio
import socket
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from agent.job import Job
from agent.runner import run_once
from probes.core.context import Shared
from probes.core.contract import Layer, Outcome, Place, Run, Workload
from probes.core.reasons import Reason
from probes.dns import PROBE, DnsQuery
from probes.lib import nameservers
from tests.agent.jobs import SHARED
from tests.fakes import hostile
from tests.fakes import nameserver as ns
from tests.fakes.certificates import Flaw, ca_file, server_context

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

TRANSPORTS = ("udp", "tcp", "tls", "https")


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


# Transports


@pytest.mark.parametrize(
    ("transport", "phases"),
    [
        ("udp", ["request"]),
        ("tcp", ["connect", "request"]),
        ("tls", ["connect", "tls", "request"]),
        ("https", ["connect", "tls", "request"]),
    ],
)
async def test_an_answer_comes_over_every_transport_with_its_phases(transport: str, phases: list[str]) -> None:
    async with ns.name_server(GOOD) as server:
        spec = server.spec(transport)
        result = await run(A | {"resolvers": [spec], "expect": {"equals": ["192.0.2.1", "192.0.2.2"]}})

    assert result.outcome is Outcome.OK, result
    assert [step.name for step in result.steps] == ["query", "verify"]
    assert [name for name, _ in result.steps[0].phases] == phases
    assert server.asked == [(transport, "last.contoso.example", "A")]
    assert measured(result, "answer_records") == {(spec,): 2}
    assert measured(result, "answer_ttl_seconds") == {(spec,): 120}
    assert not measured(result, "resolver_success"), "of a single resolver the probe's own success and phases say it"
    assert bool(measured(result, "certificate_expiry_timestamp_seconds")) == (transport in {"tls", "https"})
    assert dict(result.evidence)["answer"] in {"192.0.2.1, 192.0.2.2", "192.0.2.2, 192.0.2.1"}


async def test_a_resolver_that_has_a_name_is_resolved_first() -> None:
    async def lookup(host: str, family: int) -> tuple[str, ...]:
        assert (host, family) == ("dns.contoso.example", 0)
        return ("127.0.0.1",)

    async with ns.name_server(GOOD) as server:
        shared = Shared(lookup, SHARED.secret)
        result = await run(A | {"resolvers": [f"dns.contoso.example:{server.port}"]}, shared=shared)

    assert result.outcome is Outcome.OK, result
    assert [name for name, _ in result.steps[0].phases] == ["resolve", "request"]


async def test_a_resolver_whose_own_name_does_not_exist_is_not_asked() -> None:
    assert verdict(await run(A | {"resolvers": ["tls://dns.contoso.example"]})) == ("query", Reason.DNS_NXDOMAIN, "")


async def test_a_resolver_whose_name_has_no_address_is_not_asked() -> None:
    async def lookup(host: str, family: int) -> tuple[str, ...]:  # noqa: ARG001 - the shape of a lookup
        return ()

    assert verdict(await run(A | {"resolvers": ["dns.contoso.example"]}, shared=Shared(lookup, SHARED.secret))) == (
        "query",
        Reason.DNS_NO_DATA,
        "",
    )


async def test_a_resolver_that_no_way_leads_to_is_unreachable() -> None:
    # The kernel itself refuses: nothing is sent to everybody without a special wish.
    assert verdict(await run(A | {"resolvers": ["255.255.255.255"]})) == ("query", Reason.UNREACHABLE, "")


async def test_an_answer_that_does_not_fit_into_a_datagram_is_asked_for_again_over_tcp() -> None:
    async with ns.name_server(ns.truncated(GOOD)) as server:
        result = await run(A | {"resolvers": [server.udp]})

    assert result.outcome is Outcome.OK, result
    assert [transport for transport, _, _ in server.asked] == ["udp", "tcp"]
    assert [name for name, _ in result.steps[0].phases] == ["request", "connect"]
    assert "truncated" in dict(result.evidence)["transport"]


async def test_the_transport_setting_counts_for_resolvers_that_are_no_urls() -> None:
    async with ns.name_server(GOOD) as server:
        result = await run(A | {"resolvers": [server.udp], "transport": "tcp"})

    assert result.outcome is Outcome.OK, result
    assert [transport for transport, _, _ in server.asked] == ["tcp"]


# Every way to fail

WRONG: dict[str, tuple[ns.Behaviour, str, str, Reason, str]] = {
    "servfail": (ns.rcode("SERVFAIL"), "udp", "query", Reason.DNS_SERVFAIL, "SERVFAIL"),
    "servfail over tcp": (ns.rcode("SERVFAIL"), "tcp", "query", Reason.DNS_SERVFAIL, "SERVFAIL"),
    "servfail over tls": (ns.rcode("SERVFAIL"), "tls", "query", Reason.DNS_SERVFAIL, "SERVFAIL"),
    "servfail over https": (ns.rcode("SERVFAIL"), "https", "query", Reason.DNS_SERVFAIL, "SERVFAIL"),
    "nxdomain": (ns.rcode("NXDOMAIN"), "udp", "query", Reason.DNS_NXDOMAIN, "NXDOMAIN"),
    "refused": (ns.rcode("REFUSED"), "udp", "query", Reason.DNS_REFUSED, "REFUSED"),
    "refused in a bare header": (ns.bare("REFUSED"), "udp", "query", Reason.DNS_REFUSED, "REFUSED"),
    "format error": (ns.rcode("FORMERR"), "udp", "query", Reason.DNS_SERVFAIL, "FORMERR"),
    "not implemented": (ns.rcode("NOTIMP"), "udp", "query", Reason.DNS_SERVFAIL, "NOTIMP"),
    "a rcode that needs edns": (ns.rcode("BADVERS"), "udp", "query", Reason.DNS_SERVFAIL, "BADVERS"),
    "no data": (ns.rcode("NOERROR"), "udp", "verify", Reason.DNS_NO_DATA, ""),
    "nothing": (ns.silent, "udp", "query", Reason.DNS_TIMEOUT, ""),
    "nothing over tcp": (ns.silent, "tcp", "query", Reason.DNS_TIMEOUT, ""),
    "nothing over tls": (ns.silent, "tls", "query", Reason.DNS_TIMEOUT, ""),
    "nothing over https": (ns.silent, "https", "query", Reason.DNS_TIMEOUT, ""),
    "garbage": (ns.garbage, "udp", "query", Reason.DNS_TIMEOUT, ""),
    "garbage over tcp": (ns.garbage, "tcp", "query", Reason.PROTOCOL_ERROR, ""),
    "garbage over tls": (ns.garbage, "tls", "query", Reason.PROTOCOL_ERROR, ""),
    "garbage over https": (ns.garbage, "https", "query", Reason.PROTOCOL_ERROR, ""),
    "our own query": (ns.echoed, "udp", "query", Reason.DNS_TIMEOUT, ""),
    "our own query over tcp": (ns.echoed, "tcp", "query", Reason.PROTOCOL_ERROR, ""),
    "a wrong id": (ns.wrong_id(GOOD), "udp", "query", Reason.DNS_TIMEOUT, ""),
    "a wrong id over tcp": (ns.wrong_id(GOOD), "tcp", "query", Reason.PROTOCOL_ERROR, ""),
    "someone else's question": (ns.someone_elses_question(GOOD), "udp", "query", Reason.DNS_TIMEOUT, ""),
    "someone else's question over tcp": (ns.someone_elses_question(GOOD), "tcp", "query", Reason.PROTOCOL_ERROR, ""),
    "someone else's question over https": (ns.someone_elses_question(GOOD), "https", "query", Reason.PROTOCOL_ERROR, ""),
    "a message cut short": (ns.cut(GOOD), "udp", "query", Reason.DNS_TIMEOUT, ""),
    "a message cut short over tcp": (ns.cut(GOOD), "tcp", "query", Reason.PROTOCOL_ERROR, ""),
    "a message cut to its header over tcp": (ns.cut(GOOD, 12), "tcp", "query", Reason.PROTOCOL_ERROR, ""),
    "an empty message over tcp": (ns.cut(GOOD, 0), "tcp", "query", Reason.PROTOCOL_ERROR, ""),
    "truncated everywhere": (ns.truncated(GOOD, everywhere=True), "udp", "query", Reason.PROTOCOL_ERROR, ""),
    "ten thousand records announced": (ns.many_records(4000, announced=10_000), "udp", "query", Reason.PROTOCOL_ERROR, ""),
}


@pytest.mark.parametrize("case", WRONG)
async def test_each_wrong_answer_has_its_step_reason_and_code(case: str) -> None:
    behave, transport, *expected = WRONG[case]
    async with ns.name_server(behave) as server:
        result = await run(A | {"resolvers": [server.spec(transport)], "query_timeout": "250ms"})

    assert verdict(result) == tuple(expected), result


UNREACHED: dict[str, tuple[Callable[[], AbstractAsyncContextManager[tuple[str, int]]], str, Reason]] = {
    "nobody there, udp": (hostile.refuses, "udp", Reason.DNS_REFUSED),
    "nobody there, tcp": (hostile.refuses, "tcp", Reason.CONNECT_REFUSED),
    "nobody there, tls": (hostile.refuses, "tls", Reason.CONNECT_REFUSED),
    "dropped, tcp": (hostile.drops, "tcp", Reason.CONNECT_TIMEOUT),
    "handshake stalls, tls": (hostile.tls_stalls, "tls", Reason.TLS_TIMEOUT),
    "no tls there": (hostile.garbage, "tls", Reason.TLS_HANDSHAKE),
    "reset at once, tcp": (hostile.resets_at_once, "tcp", Reason.CONNECTION_RESET),
    "closed inside the message, tcp": (lambda: hostile.closes_after(b"\x00\xff1234"), "tcp", Reason.CONNECTION_RESET),
    "closed without a byte, tcp": (lambda: hostile.closes_after(b""), "tcp", Reason.CONNECTION_RESET),
    "one byte a second, tcp": (lambda: hostile.drips(b"\x00\xff"), "tcp", Reason.DNS_TIMEOUT),
    "a web page for an answer, https": (hostile.tls_page, "https", Reason.PROTOCOL_ERROR),
    "an expired certificate, tls": (lambda: hostile.tls_page(Flaw.EXPIRED), "tls", Reason.TLS_EXPIRED),
    "another's certificate, tls": (lambda: hostile.tls_page(Flaw.WRONG_NAME), "tls", Reason.TLS_WRONG_NAME),
    "a self-signed certificate, https": (lambda: hostile.tls_page(Flaw.SELF_SIGNED), "https", Reason.TLS_UNTRUSTED),
}


@pytest.mark.parametrize("case", UNREACHED)
async def test_each_broken_way_to_the_resolver_has_its_reason(case: str) -> None:
    server, transport, reason = UNREACHED[case]
    async with server() as (host, port):
        result = await run(A | {"resolvers": [f"{transport}://{host}:{port}"], "query_timeout": 0.4})

    assert verdict(result) == ("query", reason, ""), result


@pytest.mark.parametrize(
    ("status", "reason"), [("503 Busy", Reason.HTTP_5XX), ("415 No", Reason.HTTP_4XX), ("302 Found", Reason.HTTP_REDIRECT)]
)
async def test_an_http_status_of_a_resolver_is_named(status: str, reason: Reason) -> None:
    async with hostile.page(status=status.encode(), tls=server_context()) as (host, port):
        result = await run(A | {"resolvers": [f"https://{host}:{port}"]})

    assert verdict(result) == ("query", reason, status[:3])


async def test_what_cannot_be_the_answer_is_ignored_and_counted_until_it_comes() -> None:
    forged = ns.after(ns.garbage, ns.wrong_id(GOOD), ns.someone_elses_question(GOOD), ns.echoed, ns.cut(GOOD), GOOD)
    async with ns.name_server(forged) as server:
        result = await run(A | {"resolvers": [server.udp]})

    assert result.outcome is Outcome.OK, result
    assert dict(result.evidence)["ignored_datagrams"] == "5"


async def test_a_timeout_says_how_much_was_ignored() -> None:
    async with ns.name_server(ns.after(ns.garbage, ns.garbage)) as server:
        result = await run(A | {"resolvers": [server.udp], "query_timeout": 0.2})

    assert "2 datagrams" in result.message
    assert server.udp in result.message


async def test_an_answer_from_another_address_is_not_taken() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as elsewhere:
        elsewhere.bind(("127.0.0.1", 0))
        asker: list[tuple[str, int]] = []

        class Relayed(ns._Datagrams):
            def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
                asker.append(addr)
                for message in GOOD(data, "udp"):
                    elsewhere.sendto(message, addr)

        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: Relayed(GOOD), local_addr=("127.0.0.1", 0))
        port = transport.get_extra_info("sockname")[1]
        result = await run(A | {"resolvers": [f"127.0.0.1:{port}"], "query_timeout": 0.2})
        transport.close()

    assert asker
    assert verdict(result) == ("query", Reason.DNS_TIMEOUT, "")


async def test_thousands_of_records_are_read_and_told_in_short() -> None:
    async with ns.name_server(ns.many_records(4000)) as server:
        result = await run(A | {"resolvers": [server.udp], "expect": {"contains": ["10.0.15.159"], "count": {"min": 4000}}})

    assert result.outcome is Outcome.OK, result
    assert max(len(value) for _, value in result.evidence) <= 501


@pytest.mark.parametrize(("number", "words"), [(6, "dnssec bogus no valid signature"), (49152, "extended error 49152 no valid signature")])
async def test_the_extended_error_of_a_resolver_is_told(number: int, words: str) -> None:
    async with ns.name_server(ns.rcode("SERVFAIL", (number, "no valid signature"))) as server:
        result = await run(A | {"resolvers": [server.udp]})

    assert words in result.message


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
    assert any(TARGET in name and value for name, value in result.evidence)


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
    assert f"failed ({other.udp}): {TARGET}" in dict(result.evidence)


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
    "no time at all": ({"query_timeout": "0s"}, "greater than 0"),
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


@pytest.mark.parametrize(("written", "seconds"), [(2, 2.0), ("500ms", 0.5), ("1.5 s", 1.5), ("1m", 60.0)])
def test_a_time_limit_is_a_number_or_a_text(written: object, seconds: float) -> None:
    assert DnsQuery.model_validate({"query": "a.example", "query_timeout": written}).query_timeout == seconds


# The agent's own machine and deadline


async def test_the_runs_deadline_ends_a_question_that_may_wait_longer() -> None:
    async with ns.name_server(ns.silent) as server:
        result = await run(A | {"resolvers": [server.udp]}, deadline=0.2)

    assert verdict(result) == ("query", Reason.DNS_TIMEOUT, "")


async def test_several_silent_resolvers_at_the_runs_deadline_are_a_dns_timeout_too() -> None:
    async with ns.name_server(ns.silent) as one, ns.name_server(ns.silent) as other:
        result = await run(A | {"resolvers": [one.udp, other.udp]}, deadline=0.2)

    assert verdict(result) == ("query", Reason.DNS_TIMEOUT, "")


async def test_the_machines_resolver_is_asked_where_resolv_conf_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resolv_conf = tmp_path / "resolv.conf"
    resolv_conf.write_text("nameserver 127.53.53.53\n")
    monkeypatch.setattr(nameservers, "RESOLV_CONF", str(resolv_conf))

    result = await run(A)

    assert verdict(result) == ("query", Reason.DNS_REFUSED, "")
    assert "127.53.53.53 port 53" in result.message


async def test_the_root_itself_can_be_asked_for() -> None:
    async with ns.name_server(ns.zone(". 300 IN NS a.root.example.\na.root.example 300 IN A 192.0.2.1")) as server:
        result = await run(
            {"query": ".", "record": "NS", "resolvers": [server.udp], "follow": True, "expect": {"equals": ["a.root.example"]}}
        )

    assert result.outcome is Outcome.OK, result


@pytest.mark.skipif(sys.platform == "win32", reason="uvloop is not made for Windows")
def test_the_agents_own_loop_does_it_too() -> None:
    import uvloop  # noqa: PLC0415 - not on Windows

    async def both() -> tuple[Run, Run]:
        async with ns.name_server(ns.truncated(GOOD)) as server, hostile.refuses() as (host, port):
            return await run(A | {"resolvers": [server.udp, server.tls]}), await run(A | {"resolvers": [f"{host}:{port}"]})

    good, refused = uvloop.run(both())

    assert good.outcome is Outcome.OK, good
    assert verdict(refused) == ("query", Reason.DNS_REFUSED, "")


async def test_a_flood_of_forged_answers_holds_up_nobody() -> None:
    flood = ns.after(*[ns.wrong_id(GOOD)] * 500)
    async with ns.name_server(flood) as server, ns.name_server(GOOD) as good:
        flooded, healthy = await asyncio.gather(
            run(A | {"resolvers": [server.udp], "query_timeout": 0.3}), run(A | {"resolvers": [good.udp], "query_timeout": 0.3})
        )

    assert verdict(flooded) == ("query", Reason.DNS_TIMEOUT, "")
    assert int(dict(flooded.evidence)["ignored_datagrams"]) > 50
    assert healthy.outcome is Outcome.OK, healthy


async def test_a_run_that_is_cancelled_leaves_no_task_behind() -> None:
    heard = asyncio.Event()

    def behave(_query: bytes, transport: str) -> list[bytes]:
        if transport == "tcp":
            heard.set()
        return []

    async with ns.name_server(behave) as server:
        before = asyncio.all_tasks()
        task = asyncio.create_task(run(MX | {"resolvers": [server.udp, server.tcp], "follow": True}))
        await heard.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        left = {one for one in asyncio.all_tasks() - before if "serv" not in repr(one.get_coro())}

    assert not left
