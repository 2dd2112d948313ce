"""Reach a portal of Microsoft 365 as far as one can without signing in: up to its first page or its redirect to the sign-in.

Nobody can sign in to a portal unattended, so this says that people get as far as being asked who they are: the name resolves, the
certificate is Microsoft's, the answer is one a portal gives, and a redirect leads to where one signs in. One request on a fresh connection,
without a retry, and no redirect is followed.

```yaml
probes:
  - name: admin-centre
    kind: portal
    portal: admin
```

A portal that is not in the table, or one at another address, has a `url`; `portal` then still says whose it is:

```yaml
probes:
  - name: sharepoint-admin
    kind: portal
    url: https://contoso-admin.sharepoint.com/
    statuses: [200, 3xx, 401, 403]
    sign_in_hosts: [adfs.example.org]
```

The certificate of a portal at Microsoft's own address has to come from Microsoft or DigiCert; any other trusted issuer means that
something between reads along, and is `tls_intercepted`. Where your company's own proxy does that with your consent, name its authority in
`tls: {issuers: [...]}`. Where `ca_file` or `url` is given, an issuer is only checked if `issuers` names some.

No permission is needed.
"""

from functools import cached_property
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from probes.core.context import Context
from probes.core.contract import Layer, Measurement, Place, Probe, Settings, Stopped, Workload
from probes.lib.connect import FAMILIES, KERNEL_MEASUREMENTS, Family, fits, measure_kernel
from probes.lib.http import Request, Wanted, fetch
from probes.lib.http_expect import Status, judge_status, status_range, tell_wrong
from probes.lib.proxy import Proxy, ProxyUrl, route_to
from probes.lib.sign_in import SignInHost, redirect_of
from probes.lib.tls import EXPIRY, Trust
from probes.lib.url import HttpUrl, Url, parse

PortalName = Literal[
    "admin", "purview", "defender", "exchange_admin", "teams_admin", "entra", "office", "intune", "azure", "outlook", "teams"
]
Cloud = Literal["worldwide", "gcc_high", "dod", "china"]

PORTALS: dict[Cloud, dict[PortalName, str]] = {
    "worldwide": {
        "admin": "https://admin.microsoft.com/",
        "purview": "https://purview.microsoft.com/",
        "defender": "https://security.microsoft.com/",
        "exchange_admin": "https://admin.exchange.microsoft.com/",
        "teams_admin": "https://admin.teams.microsoft.com/",
        "entra": "https://entra.microsoft.com/",
        "office": "https://www.office.com/",
        "intune": "https://intune.microsoft.com/",
        "azure": "https://portal.azure.com/",
        "outlook": "https://outlook.office.com/",
        "teams": "https://teams.microsoft.com/",
    },
    "gcc_high": {
        "defender": "https://security.microsoft.us/",
        "entra": "https://entra.microsoft.us/",
        "intune": "https://intune.microsoft.us/",
        "azure": "https://portal.azure.us/",
        "outlook": "https://outlook.office365.us/",
    },
    "dod": {
        "entra": "https://entra.microsoft.us/",
        "intune": "https://intune.microsoft.us/",
        "azure": "https://portal.azure.us/",
    },
    "china": {
        "azure": "https://portal.azure.cn/",
        "outlook": "https://partner.outlook.cn/",
    },
}
"""Addresses of portals by cloud. Of the national clouds only those that public tools for their administrators agree on; no tenant of them
has been seen. Any other is reached with `url`."""

ISSUERS = ("DigiCert", "Microsoft")
"""Authorities in the chains of Microsoft 365's certificates (learn.microsoft.com/purview/encryption-office-365-certificate-chains)."""

STATUSES: tuple[Status, ...] = (200, 301, 302, 303, 307, 308, 401)
"""What a portal answers to somebody who has not signed in."""

_WORKLOADS: dict[PortalName, Workload] = {
    "admin": Workload.ADMIN,
    "purview": Workload.PURVIEW,
    "defender": Workload.DEFENDER,
    "exchange_admin": Workload.EXCHANGE,
    "teams_admin": Workload.TEAMS,
    "entra": Workload.ENTRA,
    "office": Workload.ADMIN,
    "intune": Workload.ADMIN,
    "azure": Workload.ADMIN,
    "outlook": Workload.EXCHANGE,
    "teams": Workload.TEAMS,
}
_TOLD = ("location", "server", "date", "retry-after", "x-ms-request-id", "x-ms-correlation-id", "x-msedge-ref", "x-azure-ref", "request-id")
_BEGINNING = Wanted(keep=False)


class Portal(Settings):
    """Which portal to reach."""

    portal: PortalName | None = None
    """One of Microsoft's portals; it stands for an address and says whose portal it is."""
    cloud: Cloud = "worldwide"
    """Microsoft's cloud that the portal is of (`worldwide` also for GCC). Not every portal has a known address in each."""
    url: HttpUrl | None = None
    """Address, where it is not the one known for `portal`."""
    statuses: Annotated[tuple[Status, ...], Field(min_length=1)] = STATUSES
    """Statuses that are right, such as `[200, 3xx, 401-403]`."""
    sign_in_hosts: tuple[SignInHost, ...] = ()
    """Hosts to which a redirect may lead besides the portal's own site, Microsoft's sign-in and `*.cloud.microsoft`."""
    proxy: Proxy | ProxyUrl | None = None
    """Proxy to go through: `http://host:port`, `environment`, or a block with a login. Without it the connection is direct, whatever the
    environment says."""
    family: Family = "any"
    """Kind of address to connect to: `any` takes the first that the resolver gives."""
    tls: Trust = Trust()
    """Whom to trust, and how to show who we are."""

    @model_validator(mode="after")
    def _has_an_address(self) -> Self:
        if self.url is None and self.portal is None:
            raise ValueError("needs portal or url")
        if self.url is None and self.portal is not None and self.portal not in PORTALS[self.cloud]:
            raise ValueError(f"no address of {self.portal} is known in the cloud {self.cloud}; give url")
        if self.proxy is None and not fits(self.address.host, FAMILIES[self.family]):
            raise ValueError(f"family: {self.family} excludes the address {self.address.host}; leave family out")
        return self

    @property
    def address(self) -> Url:
        """Where to ask."""
        return parse(self.url or PORTALS[self.cloud][self.portal or "admin"])

    @cached_property
    def trust(self) -> Trust:
        """Whom to trust, with the issuers that Microsoft's own addresses have."""
        if self.url is not None or self.tls.issuers is not None or self.tls.ca_file is not None:
            return self.tls
        return self.tls.model_copy(update={"issuers": ISSUERS})

    @property
    def through(self) -> Proxy | None:
        """The proxy to go through."""
        return Proxy(url=self.proxy) if isinstance(self.proxy, str) else self.proxy


async def run(ctx: Context, settings: Portal) -> None:
    """Ask once, and judge status and redirect."""
    url = settings.address
    with ctx.step("request"):
        route = route_to(ctx, settings.through, url)
        family = FAMILIES[settings.family]
        request = Request("GET", url, (("Accept", "text/html"),))
        response = await fetch(ctx, request, trust=settings.trust, route=route, family=family, wanted=_BEGINNING)
    ctx.evidence("status", response.status)
    ctx.measure("status", response.status)
    measure_kernel(ctx, response.kernel)
    with ctx.step("verify"):
        try:
            judge_status(response, tuple(status_range(status) for status in settings.statuses))
            target = redirect_of(response, url, settings.sign_in_hosts)
        except Stopped:
            tell_wrong(ctx, response, _TOLD)
            raise
        if target is not None:
            ctx.evidence("redirect", f"{response.status} to {target.host}")


def place(settings: Portal) -> Place:
    """Return the front of the workload that the portal is for."""
    return Place(Layer.EDGE, Workload.ADMIN if settings.portal is None else _WORKLOADS[settings.portal])


PROBE = Probe(
    run,
    Portal,
    place=place,
    steps=("request", "verify"),
    measurements=(
        Measurement("status", "Status of the answer."),
        *KERNEL_MEASUREMENTS,
        Measurement(EXPIRY, "When the server's certificate expires, in Unix time."),
    ),
    interval=300.0,
    floor=60.0,
)
