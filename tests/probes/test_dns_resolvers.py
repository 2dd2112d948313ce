"""The dns kind against resolvers that answer badly, wrongly, late and not at all, over every transport."""

import asyncio
import socket
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from probes.core.context import Shared
from probes.core.contract import Outcome, Run
from probes.core.reasons import Reason
from probes.lib import nameservers
from tests.agent.jobs import SHARED
from tests.fakes import hostile
from tests.fakes import nameserver as ns
from tests.fakes.certificates import Flaw, server_context
from tests.probes.questions import GOOD, MX, A, measured, run, verdict

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
    "ten thousand records announced": (ns.many_records(400, announced=10_000), "udp", "query", Reason.PROTOCOL_ERROR, ""),
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
    def flood(query: bytes, transport: str) -> list[bytes]:
        return [*ns.wrong_id(GOOD)(query, transport)] * 500  # made once, so that making them does not take the time they are for

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
