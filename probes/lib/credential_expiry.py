"""When our own secret or certificate ends, as the application's registration says; only an application that may read those can ask.

learn.microsoft.com/graph/api/application-get
"""

from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from probes.core.context import Context
from probes.core.contract import Failed
from probes.core.needs import Service
from probes.core.reasons import Reason
from probes.lib.graph import call, segment
from probes.lib.tenant import Tenant
from probes.lib.tokens import Token

READERS = frozenset({"Application.Read.All", "Application.ReadWrite.OwnedBy", "Application.ReadWrite.All", "Directory.Read.All"})
"""Application permissions any of which lets an application read its own registration."""

Kind = Literal["secret", "certificate"]

_END_OF_TIME = 253_402_300_799.0
# The last second that a date can name; .NET's greatest moment is a tenth of a microsecond before the next.

_HINT = 3
# Graph shows the first three characters of a secret.


@dataclass(slots=True)
class CredentialExpiry:
    """What was found out last: (tenant, kind of credential) to Unix seconds. A part of what runs share."""

    known: dict[tuple[str, Kind], float] = field(default_factory=dict)


async def ask_expiry(ctx: Context, tenant: Tenant, token: Token, kind: Kind) -> float:
    """Ask within an open step when the credential in use, which is of this kind, ends (Unix seconds), and remember it.

    Raises:
        Failed: as `call`; NOT_FOUND where the registration does not have our credential; CONTENT_MISMATCH.
        Inconclusive: as `call`.

    """
    path = f"/applications(appId='{segment(tenant.client_id)}')"
    query = (("$select", "passwordCredentials,keyCredentials"),)
    answer = await call(ctx, tenant, token, Service.DIRECTORY, "GET", path, query=query)
    registration = answer.data if isinstance(answer.data, dict) else {}
    found = _secrets(ctx, tenant, registration) if kind == "secret" else _certificates(ctx, tenant, registration)
    ends = sorted(map(_end, found))
    if not ends:
        raise Failed(Reason.NOT_FOUND, f"the registration does not list the {kind} in use")
    # Two secrets may begin alike; ours works, so that it is one that has not ended, and the nearest end is the one to act on.
    end = next((end for end in ends if end > token.issued), ends[-1])
    ctx.shared.part(CredentialExpiry).known[ctx.tenant, kind] = end
    return end


def kind_of(tenant: Tenant) -> Kind | None:
    """Return which kind of credential the registration knows the end of: a federated token or a managed identity has none."""
    if tenant.credential.secret is not None:
        return "secret"
    return "certificate" if tenant.credential.certificate is not None else None


def _secrets(ctx: Context, tenant: Tenant, registration: dict[str, Any]) -> Iterator[dict[str, Any]]:
    hint = ctx.secret(tenant.credential.secret)[:_HINT] if tenant.credential.secret is not None else ""
    return (entry for entry in _entries(registration, "passwordCredentials") if entry.get("hint") == hint)


def _certificates(ctx: Context, tenant: Tenant, registration: dict[str, Any]) -> Iterator[dict[str, Any]]:
    pem = ctx.secret(tenant.credential.certificate) if tenant.credential.certificate is not None else ""
    try:
        ours = {certificate.fingerprint(hashes.SHA1()) for certificate in x509.load_pem_x509_certificates(pem.encode())}  # noqa: S303 - Entra's name for it
    except ValueError as error:
        raise Failed(Reason.CREDENTIAL_INVALID, "the certificate's file cannot be read") from error
    return (entry for entry in _entries(registration, "keyCredentials") if _thumbprint(entry.get("customKeyIdentifier")) in ours)


def _entries(registration: dict[str, Any], name: str) -> Iterator[dict[str, Any]]:
    entries = registration.get(name)
    if not isinstance(entries, list):
        raise Failed(Reason.CONTENT_MISMATCH, f"the registration has no {name}")
    return (entry for entry in entries if isinstance(entry, dict))


def _thumbprint(text: object) -> bytes:
    """Return the SHA-1 thumbprint that a customKeyIdentifier is: as hexadecimal digits, or their bytes or those of the digits in Base64."""
    if not isinstance(text, str):
        return b""
    try:
        if len(text) == 40:  # noqa: PLR2004 - hexadecimal digits of SHA-1
            return bytes.fromhex(text)
        raw = b64decode(text, validate=True)
        return bytes.fromhex(raw.decode("ascii")) if len(raw) == 40 else raw  # noqa: PLR2004 - the same
    except ValueError:
        return b""


def _end(entry: dict[str, Any]) -> float:
    try:
        end = datetime.fromisoformat(entry["endDateTime"]).timestamp()
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise Failed(Reason.CONTENT_MISMATCH, "the registration does not say when the credential ends") from error
    if not 0 < end < _END_OF_TIME:
        raise Failed(Reason.CONTENT_MISMATCH, "the registration says that the credential ends when no clock can show it")
    return end
