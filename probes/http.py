"""Ask a web server, time every phase, and judge status, headers, body and certificate.

One request on a fresh connection to the first address of the host, without a retry, so that nothing is hidden:

```yaml
probes:
  - name: intranet
    kind: http
    url: https://intranet.example.org/
```

With more to say about the answer:

```yaml
probes:
  - name: api
    kind: http
    url: https://api.example.org/health
    headers: {Accept: application/json}
    bearer: {env: API_TOKEN}
    expect:
      status: [200]
      headers: {Content-Type: ^application/json}
      body:
        json_path: [{path: status, equals: ok}]
    tls:
      issuers: [DigiCert]
    max_seconds: 2
```

The phases are resolve, connect, tls, processing (request sent until the first byte of the answer) and transfer (until the last). Where
redirects are followed they are summed. Behind a proxy, resolve and connect are those of the proxy, and `proxy` is its answer to CONNECT.
The expiry of the certificate is measured also when the handshake fails because of it. Verification cannot be turned off: name a private
authority in `tls: {ca_file: …}`.

No permission is needed.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from time import perf_counter
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from probes.core.context import Context
from probes.core.contract import Failed, Layer, Measurement, Place, Probe, Secret, Settings, Stopped, Workload
from probes.core.reasons import Reason
from probes.lib.connect import FAMILIES, KERNEL_MEASUREMENTS, Family, fits, measure_kernel
from probes.lib.durations import Duration
from probes.lib.http import BODY_BYTES, Headers, Request, Response, Wanted, fetch
from probes.lib.http_expect import Expect, FieldName, judge_content, judge_status, status_range, tell_wrong
from probes.lib.proxy import Proxy, ProxyUrl, basic, route_to
from probes.lib.tls import EXPIRY, Trust
from probes.lib.url import HttpUrl, Url, join, parse

_REDIRECTS = {301, 302, 303, 307, 308}
_OURS = {"connection", "content-length", "transfer-encoding", "upgrade", "proxy-authorization"}
_PERSONAL = {"authorization", "cookie", "host"}
_RATE_BYTES = 65536
_OF_HTTP = ("server", "via", "date", "retry-after", "www-authenticate", "location", "content-type")
_OF_MICROSOFT = ("request-id", "x-ms-request-id", "x-ms-diagnostics", "x-msedge-ref", "x-azure-ref", "x-feserver", "x-beserver")
_TOLD = (*_OF_HTTP, *_OF_MICROSOFT, "cf-ray", "x-cache", "x-request-id")
# Header fields that help in a ticket, and hold no secrets.


def _printable(value: str) -> str:
    if not value.isprintable() or not value.isascii():
        raise ValueError("a header value is printable ASCII")
    return value


def _ours(name: str) -> str:
    if name.lower() in _OURS:
        raise ValueError(f"Fogbell itself sets {name}")
    return name


class BasicAuth(Settings):
    """A user name and a password, sent with the first request."""

    username: str
    """User name; a colon cannot be in it."""
    password: Secret
    """Password."""


_ANY_ANSWER = Expect()
# One for all probes: pydantic copies a default that holds a dict for each of them.


class HttpCheck(Settings):
    """What to ask, and what to expect."""

    url: HttpUrl
    """Address to ask, http or https."""
    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] = "GET"
    """Method of the request."""
    headers: dict[Annotated[FieldName, AfterValidator(_ours)], Secret | Annotated[str, AfterValidator(_printable)]] = Field(
        default_factory=dict
    )
    """Header fields to send. A secret is not carried on to another host by a redirect."""
    body: str | None = None
    """Body to send, as UTF-8. Say what it is with a Content-Type header."""
    basic_auth: BasicAuth | None = None
    """Log in with a user name and password."""
    bearer: Secret | None = None
    """Token to send as `Authorization: Bearer`."""
    expect: Expect = Field(default_factory=lambda: _ANY_ANSWER)
    """What the answer has to be like."""
    redirects: Literal["follow", "judge"] = "follow"
    """Follow redirects and judge the last answer, or judge the first as it is (its target with `expect: {headers: {Location: …}}`)."""
    max_redirects: Annotated[int, Field(ge=0, le=50)] = 10
    """Redirects to follow; one more is a failure."""
    proxy: Proxy | ProxyUrl | None = None
    """Proxy to go through: `http://host:port`, `environment`, or a block with a login. Without it the connection is direct, whatever the
    environment says."""
    family: Family = "any"
    """Kind of address to connect to: `any` takes the first that the resolver gives."""
    tls: Trust = Trust()
    """Whom to trust, and how to show who we are."""
    compression: bool = False
    """Ask for a packed body (gzip, deflate). A packed one is unpacked in any case."""
    body_limit: Annotated[int, Field(ge=0, le=1 << 30)] = BODY_BYTES
    """Bytes of body, after unpacking, at which the run ends as `content_mismatch`."""
    max_seconds: Duration | None = None
    """A right answer that took longer than this is `too_slow`: seconds, or a text such as 500ms."""

    @model_validator(mode="after")
    def _one_login(self) -> Self:
        named = [name for name in self.headers if name.lower() == "authorization"]
        if len([one for one in (self.basic_auth, self.bearer, *named) if one]) > 1:
            raise ValueError("basic_auth, bearer and a header Authorization exclude each other; give one of them")
        return self

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        host = parse(self.url).host
        if self.proxy is None and not fits(host, FAMILIES[self.family]):
            raise ValueError(f"family: {self.family} excludes the address {host}; leave family out")
        return self

    @cached_property
    def plan(self) -> "Plan":
        """What follows from the settings, found once."""
        return _plan(self)


@dataclass(frozen=True)
class Plan:
    """What every run of one probe needs and none has to find out again. `secrets` are header names, and what each is made of."""

    request: Request
    secrets: tuple[tuple[str, Secret], ...]
    allowed: tuple[tuple[int, int], ...]
    wanted: Wanted
    proxy: Proxy | None
    family: int


async def run(ctx: Context, settings: HttpCheck) -> None:
    """Ask, follow redirects where wanted, and judge the answer."""
    plan = settings.plan
    started = perf_counter()
    with ctx.step("request"):
        response = await _answer(ctx, settings, plan)
    seconds = perf_counter() - started
    _measure(ctx, response)
    with ctx.step("verify"):
        try:
            judge_status(response, plan.allowed)
            judge_content(response, settings.expect)
        except Stopped:
            tell_wrong(ctx, response, _TOLD)
            raise
        if settings.max_seconds is not None and seconds > settings.max_seconds:
            raise Failed(Reason.TOO_SLOW, f"took {seconds:.3f} s, more than {settings.max_seconds:g} s", step="request")


async def _answer(ctx: Context, settings: HttpCheck, plan: Plan) -> Response:
    """Make the exchanges that lead to the answer to be judged."""
    request = _with_secrets(ctx, settings, plan)
    for count in range(settings.max_redirects + 1):
        route = route_to(ctx, plan.proxy, request.url)
        response = await fetch(ctx, request, trust=settings.tls, route=route, family=plan.family, wanted=plan.wanted)
        location = response.header("location") if response.status in _REDIRECTS else None
        if location is None or settings.redirects == "judge":
            ctx.measure("redirects", count)
            return response
        request = _redirected(request, response.status, _target(request.url, location), plan)
        ctx.evidence(f"redirect_{count + 1}", f"{response.status} to {replace(request.url, target=request.url.target.partition('?')[0])}")
    raise Failed(Reason.HTTP_REDIRECT, f"more than {settings.max_redirects} redirects", code=str(response.status))


def _target(base: Url, location: str) -> Url:
    try:
        url = join(base, location)
    except ValueError as error:
        raise Failed(Reason.HTTP_REDIRECT, f"redirected to a place that is no web address: {error}") from error
    if base.scheme == "https" and url.scheme == "http":
        raise Failed(Reason.HTTP_REDIRECT, f"redirected from https to http, on {url.host}")
    return url


def _redirected(request: Request, status: int, url: Url, plan: Plan) -> Request:
    """Return the next request (RFC 9110 15.4). What is personal stays with the host it was meant for."""
    headers = request.headers
    if url.origin != request.url.origin:
        kept_back = _PERSONAL | {name.lower() for name, _ in plan.secrets}
        headers = tuple(field for field in headers if field[0].lower() not in kept_back)
    if request.method == "HEAD" or status in {307, 308} or (status != 303 and request.method != "POST"):  # noqa: PLR2004 - see other
        return replace(request, url=url, headers=headers)
    return Request("GET", url, tuple(field for field in headers if not field[0].lower().startswith("content-")))


def _with_secrets(ctx: Context, settings: HttpCheck, plan: Plan) -> Request:
    """Return the first request with the secrets as they are now."""
    if not plan.secrets:
        return plan.request
    return replace(plan.request, headers=plan.request.headers + tuple(_secret_field(ctx, settings, *secret) for secret in plan.secrets))


def _secret_field(ctx: Context, settings: HttpCheck, name: str, secret: Secret) -> tuple[str, str]:
    value = ctx.secret(secret)
    if name == "Authorization" and settings.basic_auth is not None:
        return name, basic(settings.basic_auth.username, value)
    if not value.isprintable() or not value.isascii():
        raise Failed(
            Reason.CREDENTIAL_INVALID, f"the secret for the header {name} holds what no header may: line ends or letters beyond ASCII"
        )
    return name, f"Bearer {value}" if settings.bearer is not None and secret is settings.bearer else value


def _measure(ctx: Context, response: Response) -> None:
    ctx.evidence("status", response.status)
    ctx.measure("status", response.status)
    ctx.measure("body_bytes", response.body_bytes)
    if response.wire_bytes >= _RATE_BYTES and response.transfer > 0:
        ctx.measure("transfer_bytes_per_second", response.wire_bytes / response.transfer)
    measure_kernel(ctx, response.kernel)


def _plan(settings: HttpCheck) -> Plan:
    body = settings.expect.body
    allowed = settings.expect.status or ("3xx" if settings.redirects == "judge" else "2xx",)
    proxy = settings.proxy
    return Plan(
        request=Request(settings.method, parse(settings.url), _open_headers(settings), (settings.body or "").encode()),
        secrets=_secrets(settings),
        allowed=tuple(status_range(text) for text in allowed),
        wanted=Wanted(settings.body_limit, keep=body.reads, digest=body.sha256 is not None, half=True),
        proxy=Proxy(url=proxy) if isinstance(proxy, str) else proxy,
        family=FAMILIES[settings.family],
    )


def _open_headers(settings: HttpCheck) -> Headers:
    """Header fields that are no secret."""
    packed = (("Accept-Encoding", "gzip, deflate"),) if settings.compression else ()
    return (*packed, *((name, value) for name, value in settings.headers.items() if isinstance(value, str)))


def _secrets(settings: HttpCheck) -> tuple[tuple[str, Secret], ...]:
    login = settings.basic_auth.password if settings.basic_auth is not None else settings.bearer
    named = tuple((name, value) for name, value in settings.headers.items() if isinstance(value, Secret))
    return named if login is None else (*named, ("Authorization", login))


_PLACES = (
    ("login.microsoftonline.com", Place(Layer.IDENTITY, Workload.ENTRA)),
    ("login.microsoft.com", Place(Layer.IDENTITY, Workload.ENTRA)),
    ("graph.microsoft.com", Place(Layer.EDGE, Workload.ENTRA)),
    ("outlook.office365.com", Place(Layer.EDGE, Workload.EXCHANGE)),
    ("outlook.office.com", Place(Layer.EDGE, Workload.EXCHANGE)),
    ("outlook.cloud.microsoft", Place(Layer.EDGE, Workload.EXCHANGE)),
    ("-my.sharepoint.com", Place(Layer.EDGE, Workload.ONEDRIVE)),
    ("sharepoint.com", Place(Layer.EDGE, Workload.SHAREPOINT)),
    ("teams.microsoft.com", Place(Layer.EDGE, Workload.TEAMS)),
    ("teams.cloud.microsoft", Place(Layer.EDGE, Workload.TEAMS)),
    ("purview.microsoft.com", Place(Layer.EDGE, Workload.PURVIEW)),
    ("security.microsoft.com", Place(Layer.EDGE, Workload.DEFENDER)),
    ("status.cloud.microsoft", Place(Layer.STATUS, Workload.ADMIN)),
    ("admin.microsoft.com", Place(Layer.EDGE, Workload.ADMIN)),
)
# End of a host name to place; the first that fits counts.


def place(settings: HttpCheck) -> Place:
    """Tell Microsoft's well-known hosts by name; anything else is a look along the network path."""
    host = settings.plan.request.url.host
    return next((place for end, place in _PLACES if host.endswith(end)), Place(Layer.PATH, Workload.NETWORK))


PROBE = Probe(
    run,
    HttpCheck,
    place=place,
    steps=("request", "verify"),
    measurements=(
        Measurement("status", "Status of the last answer."),
        Measurement("redirects", "Redirects that were followed."),
        Measurement("body_bytes", "Size of the last body after unpacking."),
        Measurement(
            "transfer_bytes_per_second", "Bytes of the last body as transferred, by the transfer time; for bodies of 64 KiB and more."
        ),
        *KERNEL_MEASUREMENTS,
        Measurement(EXPIRY, "When the server's certificate expires; of several met in one run, the first to."),
    ),
)
