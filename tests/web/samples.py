"""Probes and runs as a company would see them, for tests of the pages. Nothing in here ran."""

import random
from collections.abc import Iterable
from dataclasses import dataclass, replace

from agent.history import History
from agent.job import Job
from probes.core.context import Context
from probes.core.contract import Layer, Outcome, Place, Probe, Run, Sample, Settings, Step, Workload
from probes.core.reasons import Reason

NOW = 1_763_893_800.0
"""Sunday 23 November 2025, 10:30 UTC."""


class Web(Settings):
    url: str
    """Address."""


class Name(Settings):
    query: str
    """Name asked for."""
    record: str = "A"
    """Type asked for."""


class Port(Settings):
    host: str
    """Host."""
    port: int
    """Port."""


async def _never(_: Context, __: Settings) -> None:
    raise AssertionError("a sample is not run")


def job(name: str, settings: Settings, kind: str, place: Place, *, tenant: str = "", role: str = "probe", interval: float = 60.0) -> Job:
    probe = Probe(_never, type(settings), place=lambda _: place, steps=("resolve", "request"))
    return Job(name, kind, probe, settings, interval, min(20.0, interval), place, role, tenant, (("team", "messaging"),) if tenant else ())


EDGE = Place(Layer.EDGE, Workload.SHAREPOINT)
MAIL = Place(Layer.MAIL_TRANSPORT, Workload.EXCHANGE)
ENTRA = Place(Layer.IDENTITY, Workload.ENTRA)
RESOLVER = Place(Layer.RESOLVER, Workload.DNS)
CONTROL = Place(Layer.CONTROL, Workload.NETWORK)

MX = job("mx-of-contoso", Name(query="contoso.com", record="MX"), "dns", Place(Layer.RESOLVER, Workload.EXCHANGE), tenant="contoso")
SMTP = job("exchange-smtp", Port(host="contoso-com.mail.protection.outlook.com", port=25), "tcp", MAIL, tenant="contoso")
SHAREPOINT = job(
    "sharepoint-edge", Web(url="https://contoso.sharepoint.com/_layouts/15/blank.htm?tok=s3cret"), "http", EDGE, tenant="contoso"
)
LOGIN = job("entra-discovery", Web(url="https://login.microsoftonline.com/common/.well-known/openid-configuration"), "http", ENTRA)
DOMAIN = job("mail-domain", Name(query="contoso.com"), "dns_m365_domain", MAIL, tenant="contoso", interval=300)
INTRANET = job("intranet-control", Web(url="https://intranet.example.com/"), "http", CONTROL, role="control")
RESOLVERS = job("resolvers-agree", Name(query="outlook.office365.com"), "dns", RESOLVER)
IMAP = job("exchange-imap", Port(host="outlook.office365.com", port=993), "tcp", MAIL, tenant="contoso")
TEAMS = job("teams-edge", Web(url="https://teams.microsoft.com/"), "http", Place(Layer.EDGE, Workload.TEAMS), tenant="contoso")
GRAPH = job("graph-edge", Web(url="https://graph.microsoft.com/v1.0/"), "http", Place(Layer.EDGE, Workload.ENTRA))
NEW = job("onedrive-edge", Web(url="https://contoso-my.sharepoint.com/"), "http", EDGE, tenant="contoso", interval=300)

JOBS = (MX, SMTP, SHAREPOINT, LOGIN, DOMAIN, INTRANET, RESOLVERS, IMAP, TEAMS, GRAPH, NEW)


def page(job: Job, started: float, speed: float = 1.0) -> Run:
    """Return a good run of an HTTP probe."""
    phases = (("resolve", 0.0021), ("connect", 0.0078), ("tls", 0.0163), ("processing", 0.0412), ("transfer", 0.0034))
    slower = tuple((name, seconds * speed) for name, seconds in phases)
    total = sum(seconds for _, seconds in slower)
    steps = (Step("request", 0.0002, total, slower), Step("verify", total + 0.0002, 0.0003))
    measured = (
        Sample("status_code", 200),
        Sample("body_bytes", 18_211),
        Sample("certificate_expiry_timestamp_seconds", 1_785_000_000),
        Sample("tcp_rtt_seconds", 0.0069),
    )
    evidence = (("address", "198.51.100.24"), ("status", "200 OK"), ("certificate issuer", "CN=Example TLS RSA CA 2024"))
    return Run(job.name, started, total + 0.0006, Outcome.OK, steps=steps, measured=measured, evidence=evidence)


def overloaded(job: Job, started: float) -> Run:
    """Return a failed run: the service answers 503 slowly."""
    phases = (("resolve", 0.0024), ("connect", 0.0091), ("tls", 0.0177), ("processing", 2.3141), ("transfer", 0.0006))
    evidence = (
        ("status", "503 Service Unavailable"),
        ("address", "198.51.100.24"),
        ("Retry-After", "120"),
        ("request-id", "7d1f6c2a-50b1-4f0e-9a7b-1f25d3b0c9aa"),
        ("body", '{"error":{"code":"serviceNotAvailable","message":"The service is temporarily overloaded"}}'),
    )
    return Run(
        job.name, started, 2.3445, Outcome.FAILED, Reason.HTTP_5XX, "request", "expected status 200, got 503", "503",
        (Step("request", 0.0002, 2.3439, phases),), (Sample("status_code", 503),), evidence,
    )  # fmt: skip


def silent(job: Job, started: float) -> Run:
    """Return a failed run: nobody answers the connection attempt."""
    phases = (("resolve", 0.0019), ("connect", 19.9978))
    return Run(
        job.name, started, 20.0004, Outcome.FAILED, Reason.CONNECT_TIMEOUT, "connect", "no result within 20 s in phase connect", "",
        (Step("connect", 0.0002, 19.9998, phases),), (), (("address", "203.0.113.25"), ("port", "25")),
    )  # fmt: skip


def throttled(job: Job, started: float) -> Run:
    """Return an inconclusive run."""
    return Run(
        job.name, started, 0.093, Outcome.INCONCLUSIVE, Reason.THROTTLED, "request", "the service limits our calls", "429",
        (Step("request", 0.0002, 0.092, (("resolve", 0.002), ("connect", 0.008), ("tls", 0.017), ("processing", 0.061))),), (),
        (("status", "429 Too Many Requests"), ("Retry-After", "30")),
    )  # fmt: skip


def names(job: Job, started: float, speed: float = 1.0) -> Run:
    """Return a good run of a name probe with two resolvers and a followed target."""
    steps = (
        Step("resolve_system", 0.0001, 0.0042 * speed, (("processing", 0.0041 * speed),)),
        Step("resolve_192.0.2.53", 0.0001, 0.0119 * speed, (("processing", 0.0118 * speed),)),
        Step("follow", 0.0121 * speed, 0.0063 * speed, (("processing", 0.0061 * speed),)),
        Step("verify", 0.0185 * speed, 0.0001),
    )
    evidence = (("answer", "0 contoso-com.mail.protection.outlook.com."), ("resolver", "192.0.2.53, 127.0.0.53"))
    return Run(job.name, started, 0.0187 * speed, Outcome.OK, steps=steps, measured=(Sample("ttl_seconds", 3600),), evidence=evidence)


def dialogue(job: Job, started: float, speed: float = 1.0) -> Run:
    """Return a good run of a port probe."""
    steps = (
        Step("connect", 0.0001, 0.0103 * speed, (("resolve", 0.0022 * speed), ("connect", 0.0081 * speed))),
        Step("banner", 0.0105 * speed, 0.0233 * speed, (("processing", 0.0233 * speed),)),
        Step("starttls", 0.034 * speed, 0.0188 * speed, (("processing", 0.004 * speed), ("tls", 0.0147 * speed))),
    )
    banner = "220 AM0PR0402.mail.protection.outlook.com Microsoft ESMTP MAIL Service ready"
    return Run(job.name, started, 0.0531 * speed, Outcome.OK, steps=steps, evidence=(("banner", banner),))


HOSTILE = '"><script>alert(document.domain)</script><img src=x onerror=alert(1)>{{7*7}}\u202e\x00'


def hostile(job: Job, started: float) -> Run:
    """Return a failed run whose every text tries to be markup."""
    return replace(overloaded(job, started), message=HOSTILE, failed_step=HOSTILE, evidence=((HOSTILE, HOSTILE),))


@dataclass(frozen=True)
class Weather:
    """How a sample probe's last hundred minutes went: which of its runs failed or said nothing."""

    job: Job
    bad: frozenset[int] = frozenset()
    throttled: frozenset[int] = frozenset()
    slow: frozenset[int] = frozenset()
    until: int = 100


def _runs(weather: Weather) -> Iterable[Run]:
    dice = random.Random(weather.job.name)  # noqa: S311 - the same weather every time
    good = {"http": page, "tcp": dialogue}.get(weather.job.kind, names)
    bad = silent if weather.job.kind == "tcp" else overloaded
    for number in range(weather.until):
        started = NOW - (100 - number) * weather.job.interval + 30
        speed = dice.lognormvariate(0, 0.18) * (3.5 if number in weather.slow else 1)
        if number in weather.bad:
            yield bad(weather.job, started)
        elif number in weather.throttled:
            yield throttled(weather.job, started)
        else:
            yield good(weather.job, started, speed)


CALM = tuple(Weather(job) for job in JOBS[:-1])

STORM = (
    Weather(SHAREPOINT, frozenset(range(91, 100)) | {40}, slow=frozenset(range(84, 91))),
    Weather(SMTP, frozenset({97, 98, 99})),
    Weather(MX, slow=frozenset({55, 56})),
    Weather(LOGIN, frozenset({12, 13}), slow=frozenset(range(60, 72))),
    Weather(DOMAIN),
    Weather(INTRANET, frozenset({31})),
    Weather(RESOLVERS),
    Weather(IMAP, until=38),
    Weather(TEAMS),
    Weather(GRAPH, throttled=frozenset({98, 99})),
)
"""Two probes fail, one is throttled, one has gone stale, one has not run."""


def history(weathers: Iterable[Weather]) -> History:
    """Return the history such weather leaves."""
    made = History()
    for weather in weathers:
        for run in _runs(weather):
            made.record(run)
    return made
