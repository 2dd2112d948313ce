"""A name server in process that does what a test tells it: over UDP and TCP on one port, TLS and HTTPS on one each.

A `Behaviour` gets the query as it came and the transport, and returns the messages to send back, in order. Zones are those of the demo's
name server; everything else here is wrong in one exact way.
"""

import asyncio
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

from agent.drill.nameserver import answer, no_faults, read_zone
from tests.fakes.certificates import Flaw, server_context
from tests.fakes.hostile import GARBAGE, Talk, serving

Behaviour = Callable[[bytes, str], Sequence[bytes]]

LOOPBACK = "127.0.0.1"
_BIND_ATTEMPTS = 20


@dataclass(slots=True)
class NameServer:
    """A running server: its ports, and what it was asked, as (transport, name, type)."""

    port: int
    tls_port: int
    https_port: int
    asked: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def udp(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    @property
    def tcp(self) -> str:
        return f"tcp://{LOOPBACK}:{self.port}"

    @property
    def tls(self) -> str:
        return f"tls://{LOOPBACK}:{self.tls_port}"

    @property
    def https(self) -> str:
        return f"https://{LOOPBACK}:{self.https_port}/dns-query"

    def spec(self, transport: str) -> str:
        """Return the resolver specification for one transport."""
        return {"udp": self.udp, "tcp": self.tcp, "tls": self.tls, "https": self.https}[transport]


@asynccontextmanager
async def name_server(behave: Behaviour, flaw: Flaw = Flaw.NONE) -> AsyncIterator[NameServer]:
    """Run a name server while the block runs."""
    server = NameServer(0, 0, 0)

    def heard(query: bytes, transport: str) -> Sequence[bytes]:
        question = dns.message.from_wire(query).question[0]
        server.asked.append((transport, question.name.to_text(omit_final_dot=True), dns.rdatatype.to_text(question.rdtype)))
        return behave(query, transport)

    async with AsyncExitStack() as stack:
        server.port = await stack.enter_async_context(_both(heard))
        _, server.tls_port = await stack.enter_async_context(serving(_framed(heard, "tls"), server_context(flaw)))
        _, server.https_port = await stack.enter_async_context(serving(_posted(heard), server_context(flaw)))
        yield server


# Behaviours


def zone(text: str) -> Behaviour:
    """Answer from a zone in master file format; over UDP truncated to what the asker takes."""
    records = read_zone(text)

    def behave(query: bytes, transport: str) -> Sequence[bytes]:
        asked = dns.message.from_wire(query)
        response = answer(records, asked, no_faults)
        assert response is not None
        room = max(asked.payload, 512) if transport == "udp" else 65535
        return [response.to_wire(max_size=room, prefer_truncation=True)]

    return behave


def rcode(name: str, extended: tuple[int, str] | None = None) -> Behaviour:
    """Answer every question with this rcode and nothing else, except perhaps an extended error (RFC 8914)."""

    def behave(query: bytes, _: str) -> Sequence[bytes]:
        response = dns.message.make_response(dns.message.from_wire(query))
        response.set_rcode(dns.rcode.from_text(name))
        if extended is not None:
            response.use_edns(0, options=[dns.edns.GenericOption(dns.edns.OptionType.EDE, extended[0].to_bytes(2) + extended[1].encode())])
        return [response.to_wire()]

    return behave


def bare(name: str) -> Behaviour:
    """Answer with this rcode in a header alone, without the question."""
    number = dns.rcode.from_text(name)
    return lambda query, _: [query[:2] + struct.pack("!HHHHH", dns.flags.QR | number, 0, 0, 0, 0)]


def silent(_query: bytes, _transport: str) -> Sequence[bytes]:
    """Say nothing."""
    return []


def garbage(_query: bytes, transport: str) -> Sequence[bytes]:
    """Send noise: a datagram of it, or a framed message of it."""
    return [GARBAGE[: 500 if transport == "udp" else 5000]]


def wrong_id(behave: Behaviour) -> Behaviour:
    """Answer rightly, under another id."""
    return lambda query, transport: [bytes([query[0] ^ 0xFF]) + message[1:] for message in behave(query, transport)]


def someone_elses_question(behave: Behaviour) -> Behaviour:
    """Answer with our id what somebody else has asked."""

    def other(query: bytes, transport: str) -> Sequence[bytes]:
        foreign = dns.message.make_query("someone.else.example", "A", id=int.from_bytes(query[:2]))
        return behave(foreign.to_wire(), transport)

    return other


def echoed(query: bytes, _transport: str) -> Sequence[bytes]:
    """Send the query back."""
    return [query]


def cut(behave: Behaviour, length: int = -7) -> Behaviour:
    """Answer rightly, and lose the end of the message, without a word about it."""
    return lambda query, transport: [message[:length] for message in behave(query, transport)]


def truncated(behave: Behaviour, everywhere: bool = False) -> Behaviour:  # noqa: FBT001, FBT002 - reads well where it is used
    """Say over UDP that the answer does not fit (TC), and send half of a record with it; answer rightly on streams, unless `everywhere`."""

    def behaved(query: bytes, transport: str) -> Sequence[bytes]:
        messages = behave(query, transport)
        if transport != "udp" and not everywhere:
            return messages
        return [bytes([*message[:2], message[2] | 0x02, *message[3:-5]]) for message in messages]

    return behaved


def after(*first: Behaviour) -> Behaviour:
    """Do several things one after the other."""
    return lambda query, transport: [message for behave in first for message in behave(query, transport)]


def by_type(**behaviours: Behaviour) -> Behaviour:
    """Behave by the type of record asked for; `OTHER` is for the rest."""

    def behave(query: bytes, transport: str) -> Sequence[bytes]:
        kind = dns.rdatatype.to_text(dns.message.from_wire(query).question[0].rdtype)
        return behaviours.get(kind, behaviours.get("OTHER", silent))(query, transport)

    return behave


def by_name(names: dict[str, Behaviour], otherwise: Behaviour) -> Behaviour:
    """Behave by the name asked for."""

    def behave(query: bytes, transport: str) -> Sequence[bytes]:
        name = dns.message.from_wire(query).question[0].name.to_text(omit_final_dot=True).lower()
        return names.get(name, otherwise)(query, transport)

    return behave


def many_records(count: int, announced: int | None = None) -> Behaviour:
    """Answer with as many A records as asked for, if they fit into 64 kB, and say in the header that there are `announced`."""
    record = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 300, 4)

    def behave(query: bytes, transport: str) -> Sequence[bytes]:
        question = query[12 : query.index(b"\0", 12) + 5]
        flags = dns.flags.QR | dns.flags.RD | dns.flags.RA
        if transport == "udp":
            return [query[:2] + struct.pack("!HHHHH", flags | dns.flags.TC, 1, 0, 0, 0) + question]
        header = query[:2] + struct.pack("!HHHHH", flags, 1, announced or count, 0, 0)
        return [header + question + b"".join(record + struct.pack("!I", 0x0A000000 + i) for i in range(count))]

    return behave


def authenticated(behave: Behaviour) -> Behaviour:
    """Vouch for every answer to those who ask (AD)."""

    def behaved(query: bytes, transport: str) -> Sequence[bytes]:
        asked_for = query[3] & 0x20
        return [bytes([*message[:3], message[3] | asked_for, *message[4:]]) for message in behave(query, transport)]

    return behaved


# Transports


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, behave: Behaviour) -> None:
        self._behave = behave

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        for message in self._behave(data, "udp"):
            self._transport.sendto(message, addr)


def _framed(behave: Behaviour, transport: str) -> Talk:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            length = int.from_bytes(await reader.readexactly(2))
            for message in behave(await reader.readexactly(length), transport):
                writer.write(len(message).to_bytes(2) + message)

    return talk


def _posted(behave: Behaviour) -> Talk:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        assert head.startswith(b"post /dns-query http/1.1\r\n")
        assert b"content-type: application/dns-message\r\n" in head
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        for message in behave(await reader.readexactly(length), "https"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/dns-message\r\nContent-Length: %d\r\n\r\n" % len(message) + message)
        await reader.read()

    return talk


@asynccontextmanager
async def _both(behave: Behaviour) -> AsyncIterator[int]:
    """Serve TCP on a port that the system chose, and UDP on the same, where it is free."""
    loop = asyncio.get_running_loop()
    for _ in range(_BIND_ATTEMPTS):
        async with serving(_framed(behave, "tcp")) as address:
            try:
                transport, _protocol = await loop.create_datagram_endpoint(lambda: _Datagrams(behave), local_addr=address)
            except OSError:
                continue
            try:
                yield address[1]
            finally:
                transport.close()
            return
    raise OSError("no port is free for both UDP and TCP")
