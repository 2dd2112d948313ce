"""Ask name servers for a record and judge the answer: any record type, over UDP, TCP, TLS or HTTPS, by one or several resolvers.

With one resolver the step `query` shows where the time went; several are asked at the same moment, each timed apart, and what they say can
be compared. This asks the machine's own resolver and another one for the mail exchanger of a domain, and then for the addresses of the host
that the MX record names, because a mail exchanger whose own name does not resolve takes no mail, though the MX record looks fine:

```yaml
probes:
  - name: mx-of-contoso
    kind: dns
    query: contoso.com
    record: MX
    resolvers: [system, 192.0.2.53]
    follow: true
    compare: true
    expect:
      equals: [0 contoso-com.mail.protection.outlook.com]
```

A resolver is `system` (the first name server of the machine, looked up again for each run), an address or name with or without a port, or a
URL: `udp://`, `tcp://`, `tls://` (DNS over TLS), `https://` (DNS over HTTPS). Nothing is remembered between runs, and nothing is asked
twice: one question, one answer, over UDP with TCP for an answer that does not fit. DNS over HTTPS is spoken over HTTP/1.1, which not every
public resolver accepts. No permission is needed.
"""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import cached_property
from time import perf_counter
from typing import Annotated, Any, Literal, Self

import dns.exception
import dns.rdatatype
from dns.rdatatype import RdataType
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from probes.core.context import Context
from probes.core.contract import Failed, Layer, Measurement, Place, Probe, Settings, Stopped, Workload
from probes.core.reasons import Reason
from probes.lib.dns import MACHINE_TRUST, QueryTimeout, apart, ask, require_rcode, together
from probes.lib.dns_expect import NOT_VOUCHED, Expected, Wanted, drift, judged, read
from probes.lib.dns_message import Answer, Question, parse_name, shown_name
from probes.lib.nameservers import SYSTEM, NameServer, Resolver, Transport, parse_nameserver
from probes.lib.tls import EXPIRY, Trust

_POINTING = {RdataType.MX, RdataType.CNAME, RdataType.NS, RdataType.SRV}
# Types whose data ends in the name of a host.
_MOST_TARGETS = 20
_SHOWN_RECORDS = 50


def _record_type(text: str) -> str:
    try:
        kind = dns.rdatatype.from_text(f"TYPE{text}" if text.isdigit() else text)
    except (dns.exception.DNSException, ValueError) as error:
        raise ValueError(f"{text!r} is no record type") from error
    if dns.rdatatype.is_metatype(kind) or kind == RdataType.ANY:
        raise ValueError(f"{text!r} is no type of a record, but a kind of question")
    return text


def _domain(text: str) -> str:
    parse_name(text)
    return text


class Tlsa(Settings):
    """Where a TLSA record has to be (RFC 6698)."""

    port: Annotated[int, Field(ge=1, le=65535)] = 25
    """Port of the service."""
    protocol: Literal["tcp", "udp"] = "tcp"
    """Its transport."""


class DnsQuery(Settings):
    """What to ask whom, and what the answer has to be."""

    query: Annotated[str, Field(min_length=1), AfterValidator(_domain)]
    """Name to ask for."""
    record: Annotated[str, BeforeValidator(str), AfterValidator(_record_type)] = "A"
    """Record type, by name or number."""
    resolvers: Annotated[tuple[Resolver, ...], Field(min_length=1, max_length=16)] = (SYSTEM,)
    """Whom to ask: `system`, an address, a name, or a URL with `udp://`, `tcp://`, `tls://`, `https://`."""
    transport: Transport = Transport.UDP
    """Transport for resolvers that are not URLs."""
    require: Literal["all", "any"] = "all"
    """Whether all resolvers have to give the expected answer, or one of them is enough."""
    query_timeout: QueryTimeout = 5.0
    """Time limit of each question: seconds, or a text such as 500ms."""
    recursion: bool = True
    """Ask for recursion. Turn it off to ask the servers of a zone themselves."""
    authenticated: bool = False
    """Ask the resolver to validate (DNSSEC), and require that it vouches for the answer (AD flag). Its word counts only where the way to it
    is safe: on this machine, or over TLS."""
    expect: Expected = Expected()
    """What the answer has to be."""
    follow: bool = False
    """Ask the same resolver for the addresses of what MX, CNAME, SRV and NS records point at; each needs at least one."""
    compare: bool = False
    """Fail where resolvers give different records. Times to live may differ."""
    tlsa: Tlsa | None = None
    """Require a TLSA record for a service on the name asked for, or where the records point at hosts, on each of those."""
    tls: Trust = MACHINE_TRUST
    """Whom to trust in DNS over TLS and DNS over HTTPS."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.resolvers)) < len(self.resolvers):
            raise ValueError("a resolver is listed twice")
        if self.compare and len(self.resolvers) < 2:  # noqa: PLR2004 - it takes two to differ
            raise ValueError("compare needs at least two resolvers")
        if self.follow and self.question.kind not in _POINTING:
            raise ValueError(f"follow: records of type {self.record} point at nothing; MX, CNAME, SRV and NS do")
        _ = self.wanted
        return self

    @cached_property
    def question(self) -> Question:
        """The question of the step `query`."""
        kind = dns.rdatatype.from_text(f"TYPE{self.record}" if self.record.isdigit() else self.record)
        return Question(shown_name(parse_name(self.query)), kind, self.recursion, self.authenticated)

    @cached_property
    def servers(self) -> tuple[NameServer, ...]:
        """The resolvers, read."""
        return tuple(parse_nameserver(spec, self.transport) for spec in self.resolvers)

    @cached_property
    def wanted(self) -> Wanted:
        """What the answer has to be, read."""
        return read(self.expect, self.question)


@dataclass(slots=True)
class _Asked:
    """One resolver and how it did so far. `stopped` is the first thing wrong with it."""

    server: NameServer
    answer: Answer | None = None
    seconds: float = 0.0
    stopped: Stopped | None = None


async def run(ctx: Context, settings: DnsQuery) -> None:
    """Ask, judge, and go after the names in the answer where told to."""
    asked = tuple(_Asked(server) for server in settings.servers)
    try:
        with ctx.step("query"):
            await _query(ctx, settings, asked)
            _require(settings, asked)
        with ctx.step("verify"):
            await _verify(ctx, settings, asked)
            _require(settings, asked)
            _compare(settings, asked)
        if settings.follow:
            with ctx.step("follow"):
                await _visit(ctx, settings, asked, _has_address)
                _require(settings, asked)
        if settings.tlsa is not None:
            with ctx.step("tlsa"):
                await _visit(ctx, settings, asked, _has_tlsa)
                _require(settings, asked)
    finally:
        _measure(ctx, asked)


async def _query(ctx: Context, settings: DnsQuery, asked: tuple[_Asked, ...]) -> None:
    """Ask every resolver at the same moment. The phases of a single one are those of the step."""
    if len(asked) == 1:
        await _ask(ctx, settings, asked[0])
        return
    contexts = await together(ctx, *(_ask_apart(ctx, settings, one) for one in asked))
    for beside, one in zip(contexts, asked, strict=True):
        for name, value in beside.evidence_found.items():
            ctx.evidence(f"{name} ({one.server.spec})", value)
    expiries = [sample.value for beside in contexts for sample in beside.measured]
    if expiries:
        ctx.measure(EXPIRY, min(expiries))


async def _ask_apart(ctx: Context, settings: DnsQuery, one: _Asked) -> Context:
    with apart(ctx) as beside:
        await _ask(beside, settings, one)
    return beside


async def _ask(ctx: Context, settings: DnsQuery, one: _Asked) -> None:
    started = perf_counter()
    try:
        one.answer = await ask(ctx, one.server, settings.question, timeout=settings.query_timeout, trust=settings.tls)
        one.seconds = perf_counter() - started
        require_rcode(one.server, settings.question, one.answer, settings.expect.rcode)
    except Stopped as stopped:
        one.stopped = stopped


def _require(settings: DnsQuery, asked: tuple[_Asked, ...]) -> None:
    """Stop here where too few resolvers did well. The target's failure weighs more than our own machine's."""
    stopped = [one.stopped for one in asked if one.stopped is not None]
    if stopped and (settings.require == "all" or len(stopped) == len(asked)):
        raise next((one for one in stopped if isinstance(one, Failed)), stopped[0])


async def _verify(ctx: Context, settings: DnsQuery, asked: tuple[_Asked, ...]) -> None:
    for one in asked:
        if one.answer is None:
            continue
        about = f" ({one.server.spec})" if len(asked) > 1 else ""
        ctx.evidence(f"answer{about}", ", ".join(one.answer.texts[:_SHOWN_RECORDS]) or "no record")
        if one.answer.chain:
            ctx.evidence(f"cname_chain{about}", " > ".join(one.answer.chain))
        if one.stopped is None:
            one.stopped = await judged(settings.wanted, settings.question, one.answer, one.server.spec)


def _compare(settings: DnsQuery, asked: tuple[_Asked, ...]) -> None:
    """Stop here where resolvers that did well so far have different records."""
    if settings.compare:
        said = {one.server.spec: frozenset(one.answer.texts) for one in asked if one.answer is not None and one.stopped is None}
        difference = drift(said)
        if difference:
            raise Failed(Reason.DNS_MISMATCH, f"{settings.question}: {difference}")


_Visit = Callable[[Context, DnsQuery, NameServer, str], Coroutine[Any, Any, Stopped | None]]


async def _visit(ctx: Context, settings: DnsQuery, asked: tuple[_Asked, ...], visit: _Visit) -> None:
    """Do something with each host that an answer points at, all at once, by way of the resolver that named it."""
    visits = [(one, host) for one in asked if one.answer is not None and one.stopped is None for host in _hosts(ctx, settings, one.answer)]
    results = await together(ctx, *(visit(ctx, settings, one.server, host) for one, host in visits))
    for number, ((one, _), stopped) in enumerate(zip(visits, results, strict=True), 1):
        if stopped is not None:
            ctx.evidence(f"failed_{number}", stopped.message)
            one.stopped = one.stopped or stopped


def _hosts(ctx: Context, settings: DnsQuery, answer: Answer) -> tuple[str, ...]:
    """Return what the records point at. The root stands for "none" (RFC 7505, RFC 2782)."""
    if settings.question.kind not in _POINTING:
        return (settings.question.name,)
    names = dict.fromkeys(text.rpartition(" ")[2] for text in answer.texts)
    hosts = tuple(name for name in names if name != ".")
    if len(hosts) > _MOST_TARGETS:
        ctx.evidence("not_followed", f"{len(hosts) - _MOST_TARGETS} of {len(hosts)} hosts")
    return hosts[:_MOST_TARGETS]


async def _has_address(ctx: Context, settings: DnsQuery, server: NameServer, host: str) -> Stopped | None:
    """Return why the host has no address, or None. IPv6 alone is enough where there is no IPv4, not where IPv4 cannot be found out."""
    kinds = (RdataType.A, RdataType.AAAA)
    ipv4, ipv6 = await together(ctx, *(_has_record(ctx, settings, server, host, kind) for kind in kinds))
    if ipv4 is None or ipv4.reason is not Reason.DNS_NO_DATA:
        return ipv4
    return ipv6


async def _has_tlsa(ctx: Context, settings: DnsQuery, server: NameServer, host: str) -> Stopped | None:
    tlsa = settings.tlsa or Tlsa()
    return await _has_record(ctx, settings, server, f"_{tlsa.port}._{tlsa.protocol}.{host}", RdataType.TLSA)


async def _has_record(ctx: Context, settings: DnsQuery, server: NameServer, name: str, kind: RdataType) -> Stopped | None:
    """Return why there is no such record, or None where there is one."""
    question = Question(name, kind, settings.recursion, settings.authenticated)
    try:
        with apart(ctx) as beside:
            answer = await ask(beside, server, question, timeout=settings.query_timeout, trust=settings.tls)
            require_rcode(server, question, answer)
    except Stopped as stopped:
        return stopped
    if not answer.records:
        return Failed(Reason.DNS_NO_DATA, f"{server.spec}: {question}: there is no such record")
    if settings.authenticated and not answer.authenticated:
        return Failed(Reason.DNS_MISMATCH, f"{server.spec}: {question}: {NOT_VOUCHED}")
    return None


def _measure(ctx: Context, asked: tuple[_Asked, ...]) -> None:
    """Record each resolver. Of a single one success and duration are those of the probe, and not said twice."""
    for one in asked:
        spec, answer = one.server.spec, one.answer
        if len(asked) > 1:
            ctx.measure("resolver_success", float(answer is not None and one.stopped is None), spec)
        if answer is None:
            continue
        if len(asked) > 1:
            ctx.measure("resolver_duration_seconds", one.seconds, spec)
        ctx.measure("answer_records", len(answer.records), spec)
        if answer.ttl is not None:
            ctx.measure("answer_ttl_seconds", answer.ttl, spec)


PROBE = Probe(
    run,
    DnsQuery,
    place=lambda _: Place(Layer.RESOLVER, Workload.DNS),
    steps=("query", "verify", "follow", "tlsa"),
    measurements=(
        Measurement("resolver_success", "Whether this resolver gave the expected answer; only where several are asked.", ("resolver",)),
        Measurement(
            "resolver_duration_seconds",
            "Time from the question to the answer of this resolver, with name, connection and TLS; only where several are asked.",
            ("resolver",),
        ),
        Measurement("answer_records", "Records in the answer of this resolver.", ("resolver",)),
        Measurement("answer_ttl_seconds", "Lowest time to live in the answer of this resolver.", ("resolver",)),
        Measurement(EXPIRY, "Unix time at which the first certificate of the resolvers asked over TLS or HTTPS expires."),
    ),
    interval=60.0,
    timeout=20.0,
    floor=1.0,
)
