"""A Microsoft 365 tenant as it is written: who we are there, how we prove it, and the way to it."""

import re
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from probes.core.context import Context
from probes.core.contract import Failed, Secret, Settings
from probes.core.reasons import Reason
from probes.lib.proxy import Proxy, ProxyUrl
from probes.lib.tls import Trust
from probes.lib.url import HttpUrl

GUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
"""How Entra writes identifiers."""

_HOST = re.compile(r"(?=.{1,253}$)(?!-)[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})*(?::[0-9]{1,5})?")
_VARIANTS = ("certificate", "secret", "federated_token", "managed_identity")


def _guid(text: str) -> str:
    if not GUID.fullmatch(text):
        an_address = ", not an address: of a user it is the object id" if "@" in text else ""
        raise ValueError(f"must be an identifier like 00000000-0000-0000-0000-000000000000{an_address}")
    return text.lower()


def _host(text: str) -> str:
    if not _HOST.fullmatch(text):
        raise ValueError("must be a host name, such as login.microsoftonline.com, without https:// and path")
    return text.lower()


Guid = Annotated[str, AfterValidator(_guid), Field(json_schema_extra={"pattern": GUID.pattern.join("^$")})]
Host = Annotated[str, AfterValidator(_host)]


class Hosts(Settings):
    """Hosts of a cloud that has no name here."""

    login: Host
    """Where to sign in."""
    graph: Host
    """Microsoft Graph."""
    exchange: Host
    """Exchange Web Services, IMAP and POP3."""


class ManagedIdentity(Settings):
    """The identity that Azure gives the machine."""

    client_id: Guid | None = None
    """Which one, where the machine has several."""
    endpoint: HttpUrl | None = None
    """Where App Service and its like give tokens (their `IDENTITY_ENDPOINT`); without it the virtual machine's own service is asked."""
    header: Secret | None = None
    """What the endpoint wants to see (`{env: IDENTITY_HEADER}`)."""


class Credential(Settings):
    """How we prove who we are: exactly one of these."""

    certificate: Secret | None = None
    """PEM file with certificate and private key."""
    secret: Secret | None = None
    """Client secret."""
    federated_token: Secret | None = None
    """File with a token of another identity provider, as Kubernetes mounts it."""
    managed_identity: ManagedIdentity | None = None
    """The machine's own identity in Azure; `{}` where it has one."""
    expires: date | None = None
    """Day on which the client secret expires, such as 2027-01-31; nothing else tells."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        given = [name for name in _VARIANTS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"needs exactly one of {', '.join(_VARIANTS)}" + (f"; given are {' and '.join(given)}" if given else ""))
        if self.expires is not None and given != ["secret"]:
            raise ValueError("expires belongs to a client secret; a certificate says itself when it expires")
        return self


class Tenant(Settings):
    """One tenant."""

    tenant_id: Guid
    """Directory (tenant) ID."""
    cloud: Literal["worldwide", "gcc_high", "dod", "china"] | None = None
    """Microsoft's cloud the tenant is in; `worldwide` (also for GCC) where neither this nor `hosts` is given."""
    hosts: Hosts | None = None
    """Hosts, in place of `cloud`, where the cloud is another one."""
    client_id: Guid
    """Application (client) ID."""
    credential: Credential
    """How the application proves who it is."""
    tls: Trust = Trust()
    """Whom to trust in connections to this tenant; `issuers` finds a proxy that reads along."""
    proxy: Proxy | ProxyUrl | None = None
    """Proxy to go through: `http://host:port`, `environment`, or a block with a login. Without it the connection is direct."""

    @model_validator(mode="after")
    def _one_cloud(self) -> Self:
        if self.cloud is not None and self.hosts is not None:
            raise ValueError("cloud and hosts exclude each other; give one of them")
        return self

    @property
    def where(self) -> Hosts:
        """Hosts of the tenant's cloud."""
        return self.hosts or CLOUDS[self.cloud or "worldwide"]

    @property
    def through(self) -> Proxy | None:
        """The proxy to go through."""
        return Proxy(url=self.proxy) if isinstance(self.proxy, str) else self.proxy


CLOUDS: dict[str, Hosts] = {
    "worldwide": Hosts(login="login.microsoftonline.com", graph="graph.microsoft.com", exchange="outlook.office365.com"),
    "gcc_high": Hosts(login="login.microsoftonline.us", graph="graph.microsoft.us", exchange="outlook.office365.us"),
    "dod": Hosts(login="login.microsoftonline.us", graph="dod-graph.microsoft.us", exchange="outlook-dod.office365.us"),
    "china": Hosts(login="login.partner.microsoftonline.cn", graph="microsoftgraph.chinacloudapi.cn", exchange="partner.outlook.cn"),
}
"""Hosts of Microsoft's clouds (learn.microsoft.com/graph/deployments). GCC uses the worldwide ones."""


class Tenants(Mapping[str, Tenant]):
    """The tenants of the configuration in force, by name. The agent keeps it current; runs read it at the time of use."""

    def __init__(self) -> None:
        self._tenants: dict[str, Tenant] = {}

    def __getitem__(self, name: str) -> Tenant:
        return self._tenants[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tenants)

    def __len__(self) -> int:
        return len(self._tenants)

    def put(self, tenants: Mapping[str, Tenant]) -> None:
        """Replace all of them."""
        self._tenants = dict(tenants)


def tenant_of(ctx: Context) -> Tenant:
    """Return the tenant that the probe belongs to.

    Raises:
        Failed: APP_CONFIG, where a reload has taken it away under a run.

    """
    tenants = ctx.shared.part(Tenants)
    if ctx.tenant not in tenants:
        raise Failed(Reason.APP_CONFIG, f"the configuration has no tenant {ctx.tenant!r}")
    return tenants[ctx.tenant]
