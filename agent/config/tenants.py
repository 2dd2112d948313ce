"""A Microsoft 365 tenant as it is written: who we are there, and how we prove it."""

import re
from datetime import date
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from probes.core.contract import Secret, Settings

_GUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_HOST = re.compile(r"(?=.{1,253}$)(?!-)[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})*(?::[0-9]{1,5})?")
_VARIANTS = ("certificate", "secret", "federated_token", "managed_identity")


def _guid(text: str) -> str:
    if not _GUID.fullmatch(text):
        raise ValueError("must be an identifier like 00000000-0000-0000-0000-000000000000")
    return text.lower()


def _host(text: str) -> str:
    if not _HOST.fullmatch(text):
        raise ValueError("must be a host name, such as login.microsoftonline.com, without https:// and path")
    return text.lower()


Guid = Annotated[str, AfterValidator(_guid), Field(json_schema_extra={"pattern": _GUID.pattern.join("^$")})]
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

    @model_validator(mode="after")
    def _one_cloud(self) -> Self:
        if self.cloud is not None and self.hosts is not None:
            raise ValueError("cloud and hosts exclude each other; give one of them")
        return self
