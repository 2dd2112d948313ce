import asyncio
import struct

import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.rcode
import pytest

from agent.drill.faults import Dns
from agent.drill.nameserver import Faults, no_faults, read_zone, serve_names

ZONE = """
contoso.example.            300 IN MX    0 mx.contoso.example.
mx.contoso.example.         300 IN A     192.0.2.25
www.contoso.example.        300 IN CNAME edge.contoso.example.
edge.contoso.example.       300 IN A     192.0.2.80
loop.contoso.example.       300 IN CNAME pool.contoso.example.
pool.contoso.example.       300 IN CNAME loop.contoso.example.
long.contoso.example.       300 IN TXT   "{0}" "{0}" "{0}"
a.deep.contoso.example.     300 IN A     192.0.2.1
""".format("x" * 250)


SILENT = Dns("timeout")


async def ask(name: str, kind: str = "A", faults: Faults = no_faults, *, tcp: bool = False) -> dns.message.Message:
    query = dns.message.make_query(name, kind)
    async with serve_names(ZONE, faults) as port:
        if tcp:
            return await dns.asyncquery.tcp(query, "127.0.0.1", port=port, timeout=5)
        return await dns.asyncquery.udp(query, "127.0.0.1", port=port, timeout=0.5 if faults("") == SILENT else 5)


def texts(message: dns.message.Message) -> list[str]:
    return [record.to_text() for rrset in message.answer for record in rrset]


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
async def test_records_of_the_zone_are_answered(*, tcp: bool) -> None:
    assert texts(await ask("contoso.example", "MX", tcp=tcp)) == ["0 mx.contoso.example."]


async def test_a_chain_of_aliases_is_answered_whole() -> None:
    assert texts(await ask("WWW.contoso.example")) == ["edge.contoso.example.", "192.0.2.80"]


@pytest.mark.parametrize(
    ("name", "kind", "rcode"),
    [
        ("nothing.contoso.example", "A", dns.rcode.NXDOMAIN),
        ("contoso.example", "AAAA", dns.rcode.NOERROR),
        ("deep.contoso.example", "A", dns.rcode.NOERROR),
        ("loop.contoso.example", "A", dns.rcode.SERVFAIL),
    ],
    ids=["unknown name", "name without this type", "name that only has children", "aliases in a circle"],
)
async def test_what_is_not_there_is_told_apart(name: str, kind: str, rcode: dns.rcode.Rcode) -> None:
    response = await ask(name, kind)
    assert response.rcode() == rcode
    assert texts(response) == []


@pytest.mark.parametrize(("effect", "rcode"), [(Dns("servfail"), dns.rcode.SERVFAIL), (Dns("nxdomain"), dns.rcode.NXDOMAIN)])
async def test_a_fault_on_a_target_hits_the_name_that_points_there(effect: Dns, rcode: dns.rcode.Rcode) -> None:
    response = await ask("www.contoso.example", faults=lambda name: effect if name == "edge.contoso.example" else None)
    assert response.rcode() == rcode
    assert texts(response) == []


async def test_a_silent_fault_gets_no_answer() -> None:
    with pytest.raises(dns.exception.Timeout):
        await ask("www.contoso.example", faults=lambda _: SILENT)


@pytest.mark.parametrize(
    ("effect", "kind", "answered"),
    [
        (Dns("stale"), "A", ["192.0.2.1"]),
        (Dns("mutate", "192.0.2", "203.0.113"), "A", ["203.0.113.80"]),
        (Dns("stale"), "CNAME", []),
    ],
    ids=["an address of yesterday", "a record changed by mistake", "nothing there to change"],
)
async def test_a_fault_can_change_what_is_answered(effect: Dns, kind: str, answered: list[str]) -> None:
    assert texts(await ask("edge.contoso.example", kind, lambda _: effect)) == answered


async def test_an_answer_too_long_for_udp_is_marked_truncated_and_whole_over_tcp() -> None:
    assert (await ask("long.contoso.example", "TXT")).flags & dns.flags.TC
    assert len(texts(await ask("long.contoso.example", "TXT", tcp=True))[0]) > 750


async def test_garbage_does_not_stop_it() -> None:
    async with serve_names(ZONE) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(struct.pack("!H", 3) + b"\x00\x00\x00")
        assert await reader.read() == b""
        writer.close()
        response = await dns.asyncquery.udp(dns.message.make_query("mx.contoso.example", "A"), "127.0.0.1", port=port, timeout=5)
    assert texts(response) == ["192.0.2.25"]


def test_a_zone_that_is_none_is_refused() -> None:
    with pytest.raises(dns.exception.DNSException):
        read_zone("contoso.example. 300 IN MX not-a-number")
