"""Check the DNS records that a mail domain in Microsoft 365 lives by, each finding measured by name.

```yaml
probes:
  - name: records-of-contoso
    kind: dns_m365_domain
    domain: contoso.com
```

Each check is `required` (the run fails with the check as its failed step), `informational` (measured alone) or `off`. All that are not off
run at once in every run; of several that fail, the first in the order of the list below is reported, and the others are in evidence and in
`fogbell_dns_m365_domain_finding`. Where mail first passes a filter of another company, say so:

```yaml
probes:
  - name: records-of-fabrikam
    kind: dns_m365_domain
    domain: fabrikam.com
    hosts: {mx: [.filter.example.net]}
    checks: {autodiscover: off, mta_sts: required}
```

No permission is needed.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from time import perf_counter
from typing import Annotated, Literal

from dns.rdatatype import RdataType
from pydantic import AfterValidator, BeforeValidator, Field

from probes.core.context import Context
from probes.core.contract import Failed, Inconclusive, Layer, Measurement, Place, Probe, Settings, Step, Stopped, Workload
from probes.core.reasons import Reason
from probes.lib.dns import MACHINE_TRUST, Lookups, QueryTimeout, waiting
from probes.lib.dns_message import Answer, Question, parse_name, shown_name
from probes.lib.exchange_online import CLOUDS, Cloud, Hosts
from probes.lib.mail_records import dkim_key, dmarc_policy, mta_sts_id, mta_sts_policy, serves, tls_rpt_addresses
from probes.lib.nameservers import SYSTEM, Resolver, parse_nameserver
from probes.lib.spf import MOST_LOOKUPS, MOST_VOIDS, Walk, is_spf, walk_spf
from probes.lib.tls import Trust

Level = Annotated[Literal["required", "informational", "off"], BeforeValidator(lambda level: "off" if level is False else level)]
# Without quotes, YAML reads off as false.

_LONGEST_TREE = 8
# Parents asked for a DMARC record (DMARCbis section 4.10).


class Checks(Settings):
    """How much each check counts."""

    mx: Level = "required"
    """The domain has MX records, and all of them are of Microsoft 365."""
    mx_target: Level = "required"
    """Each host that the MX records name has an address. In January 2026 that was what failed."""
    spf: Level = "required"
    """There is exactly one SPF record, it is well-formed, and it includes the one of Microsoft 365, itself or by way of another."""
    spf_lookups: Level = "required"
    """Evaluating SPF takes at most 10 lookups, at most 2 of them without result; receivers ignore the record otherwise."""
    dkim_selector1: Level = "required"
    """`selector1._domainkey` leads to Microsoft 365 and to a key."""
    dkim_selector2: Level = "required"
    """`selector2._domainkey` does too; Microsoft changes between the two."""
    dmarc: Level = "required"
    """There is exactly one valid DMARC record, of the domain or the nearest above it that has one."""
    autodiscover: Level = "required"
    """`autodiscover` points at Exchange Online."""
    msoid: Level = "required"
    """There is no `msoid` record: it breaks activation of Office. In China there has to be one."""
    mta_sts: Level = "informational"
    """There is exactly one valid MTA-STS record."""
    mta_sts_policy: Level = "off"
    """The MTA-STS policy can be fetched over HTTPS, and names the mail exchangers in use. A stale one stops mail after a change of MX."""
    tls_rpt: Level = "informational"
    """There is exactly one valid record that says where to report TLS failures."""
    dnssec: Level = "off"
    """The resolver vouches (AD flag) for the MX records and for the addresses they lead to."""
    dane: Level = "off"
    """Each mail exchanger has a TLSA record for port 25, and the resolver vouches for it."""


class MailDomain(Settings):
    """Which domain to check, and how strictly."""

    domain: Annotated[str, Field(min_length=1), AfterValidator(lambda text: shown_name(parse_name(text)))]
    """The mail domain."""
    resolver: Resolver = SYSTEM
    """Whom to ask: `system`, an address, a name, or a URL with `udp://`, `tcp://`, `tls://`, `https://`."""
    query_timeout: QueryTimeout = 5.0
    """Time limit of each question: seconds, or a text such as 500ms."""
    cloud: Cloud = "worldwide"
    """Microsoft's cloud that the tenant lives in."""
    hosts: Hosts = Hosts()
    """Names that differ from those of the cloud."""
    checks: Checks = Checks()
    """How much each check counts."""
    tls: Trust = MACHINE_TRUST
    """Whom to trust: in DNS over TLS or HTTPS, and in fetching the MTA-STS policy."""

    @cached_property
    def expected(self) -> Hosts:
        """The names of the cloud, with those that differ."""
        return CLOUDS[self.cloud].model_copy(update=self.hosts.model_dump(exclude_none=True))


@dataclass(frozen=True, slots=True)
class _Domain:
    """A domain while it is checked. Whatever several checks want to know is asked once."""

    ctx: Context
    settings: MailDomain
    lookups: Lookups

    @property
    def name(self) -> str:
        return self.settings.domain

    async def answer(self, name: str, kind: RdataType, *, authenticated: bool = False) -> Answer:
        return await self.lookups.answer(Question(name, kind, authenticated=authenticated))

    async def texts(self, name: str, kind: RdataType) -> tuple[str, ...]:
        return (await self.answer(name, kind)).texts

    async def present(self, name: str, kind: RdataType, *, authenticated: bool = False) -> Answer:
        """Return an answer that has records."""
        answer = await self.answer(name, kind, authenticated=authenticated)
        if answer.records:
            return answer
        if answer.rcode == "NXDOMAIN":
            raise Failed(Reason.DNS_NXDOMAIN, f"{name} does not exist", code="NXDOMAIN")
        raise Failed(Reason.DNS_NO_DATA, f"{name} has no record of type {kind.name}")

    async def exchangers(self, *, authenticated: bool = False) -> tuple[str, ...]:
        """Return the hosts that take mail, the preferred first."""
        answer = await self.present(self.name, RdataType.MX, authenticated=authenticated)
        _vouched(answer, f"MX of {self.name}", wanted=authenticated)
        found = sorted((int(preference), host) for preference, host in (text.split(" ") for text in answer.texts))
        return tuple(dict.fromkeys(host for _, host in found))

    async def one(self, name: str, version: str) -> str:
        """Return the one TXT record that begins with a version tag."""
        found = [text for text in (await self.present(name, RdataType.TXT)).texts if text.replace(" ", "").startswith(version)]
        if len(found) != 1:
            raise Failed(Reason.DNS_MISMATCH, f"{name} has {len(found)} records that begin with {version}, instead of one")
        return found[0]


def _vouched(answer: Answer, what: str, *, wanted: bool = True) -> None:
    if wanted and not answer.authenticated:
        raise Failed(Reason.DNS_MISMATCH, f"the resolver does not vouch for {what} (no AD flag)")


def _mismatch(message: str, *, theirs: bool = False) -> Failed:
    """Return what to raise for a record that is not as it has to be: one of our own domain, unless it is Microsoft's."""
    return Failed(Reason.DNS_MISMATCH if theirs else Reason.DNS_OWN_RECORD, message)


async def _check_mx(domain: _Domain) -> str:
    hosts = await domain.exchangers()
    endings = domain.settings.expected.mx or ()
    foreign = [host for host in hosts if not host.endswith(endings)]
    if foreign:
        raise _mismatch(f"MX of {domain.name} names {', '.join(foreign)}, which is not of Microsoft 365 ({' or '.join(endings)})")
    return f"mail goes to {', '.join(hosts)}"


async def _check_mx_target(domain: _Domain) -> str:
    hosts = await domain.exchangers()
    found = [await _addresses(domain, host) for host in hosts]
    domain.ctx.measure("mx_addresses", sum(len(addresses) for addresses in found))
    return "; ".join(f"{host} has {', '.join(addresses)}" for host, addresses in zip(hosts, found, strict=True))


async def _addresses(domain: _Domain, host: str, *, authenticated: bool = False) -> tuple[str, ...]:
    """Return the addresses of a host. IPv6 alone is enough where there is no IPv4, not where IPv4 cannot be found out."""
    for kind in (RdataType.A, RdataType.AAAA):
        answer = await domain.answer(host, kind, authenticated=authenticated)
        if answer.records:
            _vouched(answer, f"the addresses of {host}", wanted=authenticated)
            return answer.texts
    return (await domain.present(host, RdataType.A, authenticated=authenticated)).texts


async def _spf_walk(domain: _Domain) -> Walk:
    records = [text for text in (await domain.present(domain.name, RdataType.TXT)).texts if is_spf(text)]
    if len(records) != 1:
        raise _mismatch(f"{domain.name} has {len(records)} SPF records instead of one")
    return await walk_spf(domain.texts, domain.name, records[0])


async def _check_spf(domain: _Domain) -> str:
    walk = await _spf_walk(domain)
    wanted = domain.settings.expected.spf or ""
    if walk.problems:
        raise _mismatch("; ".join(walk.problems), theirs=any(wanted in problem for problem in walk.problems))
    if wanted not in walk.included:
        raise _mismatch(f"SPF of {domain.name} does not include {wanted}")
    return f"includes {', '.join(walk.included)}"


async def _check_spf_lookups(domain: _Domain) -> str:
    walk = await _spf_walk(domain)
    domain.ctx.measure("spf_lookups", walk.lookups)
    domain.ctx.measure("spf_void_lookups", walk.voids)
    if walk.lookups > MOST_LOOKUPS:
        raise _mismatch(f"SPF of {domain.name} takes {walk.lookups} lookups, more than {MOST_LOOKUPS}")
    if walk.voids > MOST_VOIDS:
        raise _mismatch(f"SPF of {domain.name} takes {walk.voids} lookups without result, more than {MOST_VOIDS}")
    return f"{walk.lookups} lookups, {walk.voids} without result"


async def _check_dkim(domain: _Domain, selector: str) -> str:
    name = f"{selector}._domainkey.{domain.name}"
    answer = await domain.present(name, RdataType.TXT)
    endings = domain.settings.expected.dkim or ()
    if answer.chain and not answer.chain[0].endswith(endings):
        raise _mismatch(f"{name} points at {answer.chain[0]}, which is not of Microsoft 365 ({' or '.join(endings)})")
    keys = [key for key in map(dkim_key, answer.texts) if key]
    if len(keys) != 1:
        raise _mismatch(f"{name} leads to {len(keys)} keys instead of one", theirs=bool(answer.chain))
    return f"a key at {answer.chain[-1] if answer.chain else name}"


async def _check_dmarc(domain: _Domain) -> str:
    labels = domain.name.split(".")
    for start in range(max(min(len(labels) - 1, _LONGEST_TREE), 1)):
        name = f"_dmarc.{'.'.join(labels[start:])}"
        records = [text for text in await domain.texts(name, RdataType.TXT) if text.replace(" ", "").startswith("v=DMARC1")]
        if len(records) == 1:
            return f"policy {_valid(name, dmarc_policy, records[0])} at {name}"
        if records:
            raise _mismatch(f"{name} has {len(records)} DMARC records instead of one")
    raise Failed(Reason.DNS_NO_DATA, f"_dmarc.{domain.name} has no DMARC record, and no domain above it either")


async def _check_autodiscover(domain: _Domain) -> str:
    name, wanted = f"autodiscover.{domain.name}", domain.settings.expected.autodiscover
    (target, *_) = (await domain.present(name, RdataType.CNAME)).texts
    if target != wanted:
        raise _mismatch(f"{name} points at {target}, expected {wanted}")
    return f"points at {target}"


async def _check_msoid(domain: _Domain) -> str:
    name = f"msoid.{domain.name}"
    if domain.settings.cloud == "china":
        return f"points at {(await domain.present(name, RdataType.CNAME)).texts[0]}"
    found = await domain.texts(name, RdataType.CNAME)
    if found:
        raise _mismatch(f"{name} exists and points at {found[0]}; remove it, it breaks activation")
    return "absent, as it has to be"


async def _check_mta_sts(domain: _Domain) -> str:
    name = f"_mta-sts.{domain.name}"
    return f"policy {_valid(name, mta_sts_id, await domain.one(name, 'v=STSv1'))}"


async def _check_mta_sts_policy(domain: _Domain) -> str:
    policy = await mta_sts_policy(domain.ctx, domain.name, domain.settings.tls, domain.settings.query_timeout)
    missing = [host for host in await domain.exchangers() if not serves(policy, host)]
    if missing:
        raise Failed(
            Reason.CONTENT_MISMATCH, f"the MTA-STS policy of {domain.name} does not name {', '.join(missing)}, which takes its mail"
        )
    return f"mode {policy.mode} for {', '.join(policy.mx)}"


async def _check_tls_rpt(domain: _Domain) -> str:
    name = f"_smtp._tls.{domain.name}"
    return f"reports go to {_valid(name, tls_rpt_addresses, await domain.one(name, 'v=TLSRPTv1'))}"


async def _check_dnssec(domain: _Domain) -> str:
    hosts = await domain.exchangers(authenticated=True)
    for host in hosts:
        await _addresses(domain, host, authenticated=True)
    return f"MX records and addresses of {', '.join(hosts)} are vouched for"


async def _check_dane(domain: _Domain) -> str:
    hosts = await domain.exchangers(authenticated=True)
    for host in hosts:
        _vouched(await domain.present(f"_25._tcp.{host}", RdataType.TLSA, authenticated=True), f"TLSA of {host}")
    return f"TLSA records of {', '.join(hosts)} are vouched for"


def _valid(name: str, read: Callable[[str], str], text: str) -> str:
    try:
        return read(text)
    except ValueError as error:
        raise _mismatch(f"{name}: {error}") from error


_CHECKS: dict[str, Callable[[_Domain], Awaitable[str]]] = {
    "mx": _check_mx,
    "mx_target": _check_mx_target,
    "spf": _check_spf,
    "spf_lookups": _check_spf_lookups,
    "dkim_selector1": lambda domain: _check_dkim(domain, "selector1"),
    "dkim_selector2": lambda domain: _check_dkim(domain, "selector2"),
    "dmarc": _check_dmarc,
    "autodiscover": _check_autodiscover,
    "msoid": _check_msoid,
    "mta_sts": _check_mta_sts,
    "mta_sts_policy": _check_mta_sts_policy,
    "tls_rpt": _check_tls_rpt,
    "dnssec": _check_dnssec,
    "dane": _check_dane,
}


async def run(ctx: Context, settings: MailDomain) -> None:
    """Run all checks at once; raise for the first required one that failed."""
    levels = settings.checks.model_dump()
    wanted = [name for name in _CHECKS if levels[name] != "off"]
    with ctx.step("query"), waiting(ctx):
        async with asyncio.TaskGroup() as group:
            lookups = Lookups(ctx, parse_nameserver(settings.resolver), group, settings.query_timeout, settings.tls)
            tasks = {name: group.create_task(_find(ctx, name, _Domain(ctx, settings, lookups))) for name in wanted}
    for name, task in tasks.items():
        stopped = task.result()
        if stopped is not None and levels[name] == "required":
            raise type(stopped)(stopped.reason, stopped.message, code=stopped.code, step=name)


async def _find(ctx: Context, name: str, domain: _Domain) -> Stopped | None:
    """Run one check, record what it found as step, measurement and evidence, and return why it failed."""
    started = perf_counter()
    stopped: Stopped | None = None
    try:
        words = await _CHECKS[name](domain)
    except Stopped as caught:
        stopped, words = caught, caught.message
    ctx.steps.append(Step(name, started - ctx.started, perf_counter() - started))
    if not isinstance(stopped, Inconclusive):
        ctx.measure("finding", float(stopped is None), name)
    ctx.evidence(name, words if stopped is None else f"not ok: {words}")
    return stopped


PROBE = Probe(
    run,
    MailDomain,
    place=lambda _: Place(Layer.RESOLVER, Workload.EXCHANGE),
    steps=("query", *_CHECKS),
    measurements=(
        Measurement("finding", "Whether a check of the domain's records held.", ("check",)),
        Measurement("spf_lookups", "Lookups that a receiver needs to evaluate SPF, of which 10 are allowed."),
        Measurement("spf_void_lookups", "Lookups for SPF that have no result, of which 2 are allowed."),
        Measurement("mx_addresses", "Addresses of all mail exchangers."),
    ),
    interval=300.0,
    timeout=60.0,
    floor=30.0,
)
