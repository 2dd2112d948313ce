"""A name server in process: UDP and TCP on one port, a small zone given as text, and faults by name.

It answers as a resolver would, with the whole CNAME chain, and claims recursion. It knows nothing but its zone: any other name does not
exist.
"""

import asyncio
import errno
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import cast

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import dns.zone

from agent.drill.faults import Dns
from agent.drill.stream import serve_stream

Faults = Callable[[str], Dns | None]
"""Host name, in small letters and without final dot, to what is wrong with it now."""

_PLAIN_UDP = 512
"""Largest answer to a question without EDNS (RFC 1035 section 4.2.1)."""
_LONGEST_CHAIN = 8
_BIND_ATTEMPTS = 20
_RCODES = {"servfail": dns.rcode.SERVFAIL, "nxdomain": dns.rcode.NXDOMAIN}
_STALE = {dns.rdatatype.A: "192.0.2.1", dns.rdatatype.AAAA: "2001:db8::1"}
"""What a cache still says that missed the news: addresses where nobody is (RFC 5737, RFC 3849)."""


def no_faults(_target: str) -> Dns | None:
    """All is well, always."""
    return None


def read_zone(text: str) -> dns.zone.Zone:
    """Read records in master file format; names without a final dot count from the root, any domain may appear.

    Raises:
        dns.exception.DNSException: where the text is not a zone.

    """
    return dns.zone.from_text(text, origin=".", relativize=False, check_origin=False)


def answer(zone: dns.zone.Zone, query: dns.message.Message, faults: Faults) -> dns.message.Message | None:
    """Answer one question from the zone, or return None where the server stays silent.

    A fault on any name of a CNAME chain hits the question, as it would hit a resolver that follows the chain.
    """
    response = dns.message.make_response(query, recursion_available=True)
    if len(query.question) != 1:
        response.set_rcode(dns.rcode.FORMERR)
        return response
    name, kind = query.question[0].name, query.question[0].rdtype
    for _ in range(_LONGEST_CHAIN):
        effect = faults(name.to_text(omit_final_dot=True).lower())
        if effect and effect.how == "timeout":
            return None
        if effect and effect.how in _RCODES:
            return _without_answer(response, _RCODES[effect.how])
        alias = _add_records(zone, response, name, kind)
        if effect and response.answer:
            response.answer[-1] = _changed(response.answer[-1], effect)
        if alias is None:
            return response
        name = alias
    return _without_answer(response, dns.rcode.SERVFAIL)


def _changed(records: dns.rrset.RRset, effect: Dns) -> dns.rrset.RRset:
    """Give the records as a cache remembers them, or as somebody wrote them by mistake."""
    texts = [record.to_text() for record in records]
    if effect.how == "stale":
        texts = [_STALE.get(records.rdtype, text) for text in texts]
    if effect.how == "mutate":
        texts = [text.replace(effect.old, effect.new) for text in texts]
    made = [dns.rdata.from_text(records.rdclass, records.rdtype, text) for text in dict.fromkeys(texts)]
    return dns.rrset.from_rdata_list(records.name, records.ttl, made)


def _without_answer(response: dns.message.Message, rcode: dns.rcode.Rcode) -> dns.message.Message:
    response.answer.clear()
    response.set_rcode(rcode)
    return response


def _add_records(
    zone: dns.zone.Zone, response: dns.message.Message, name: dns.name.Name, kind: dns.rdatatype.RdataType
) -> dns.name.Name | None:
    """Add what the zone has for the name, and return the name its CNAME points at where the chain goes on."""
    found = zone.get_rdataset(name, kind)
    if found is not None:
        response.answer.append(dns.rrset.from_rdata_list(name, found.ttl, list(found)))
        return None
    alias = zone.get_rdataset(name, dns.rdatatype.CNAME)
    if alias is not None:
        response.answer.append(dns.rrset.from_rdata_list(name, alias.ttl, list(alias)))
        target: dns.name.Name = alias[0].target
        return target
    if not any(known.is_subdomain(name) for known in zone):
        response.set_rcode(dns.rcode.NXDOMAIN)
    return None


class _Datagrams(asyncio.DatagramProtocol):
    """The UDP side."""

    def __init__(self, zone: dns.zone.Zone, faults: Faults) -> None:
        self._zone, self._faults = zone, faults

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        self._transport = cast("asyncio.DatagramTransport", transport)  # not its class in CPython 3.11, though it has the methods

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer, truncated to what the asker can take. What is no DNS message is dropped."""
        with suppress(dns.exception.DNSException):
            query = dns.message.from_wire(data)
            response = answer(self._zone, query, self._faults)
            if response is not None:
                room = max(query.payload, _PLAIN_UDP)
                self._transport.sendto(response.to_wire(max_size=room, prefer_truncation=True), addr)


async def _serve_stream(zone: dns.zone.Zone, faults: Faults, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer questions of one TCP connection until the asker goes."""
    with suppress(asyncio.IncompleteReadError, ConnectionError, dns.exception.DNSException):
        while True:
            (length,) = struct.unpack("!H", await reader.readexactly(2))
            response = answer(zone, dns.message.from_wire(await reader.readexactly(length)), faults)
            if response is not None:
                wire = response.to_wire()
                writer.write(struct.pack("!H", len(wire)) + wire)


def _bind_both(host: str, port: int) -> tuple[socket.socket, socket.socket]:
    """Bind a UDP and a TCP socket to the same port. A port that the system chose for one may be taken for the other: then try the next."""
    for _ in range(_BIND_ATTEMPTS):
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        stream = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            datagrams.bind((host, port))
            stream.bind((host, datagrams.getsockname()[1]))
        except OSError:
            datagrams.close()
            stream.close()
            if port:
                raise
        else:
            return datagrams, stream
    raise OSError(errno.EADDRINUSE, f"found no port on {host} that is free for both UDP and TCP")


@asynccontextmanager
async def serve_names(zone_text: str, faults: Faults = no_faults, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[int]:
    """Run a name server while the block runs, and give its port, the same for UDP and TCP.

    Raises:
        OSError: where the port is taken.

    """
    zone = read_zone(zone_text)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _serve_stream(zone, faults, reader, writer)

    udp, tcp = _bind_both(host, port)
    datagrams, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: _Datagrams(zone, faults), sock=udp)
    try:
        async with serve_stream(serve, tcp):
            yield tcp.getsockname()[1]
    finally:
        datagrams.close()
