"""What tests of tokens share: tenants of a fake token server, runs that want a token, certificates to prove who we are."""

import datetime as dt
from functools import cache
from time import perf_counter
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from probes.core.context import Context, Secrets, Shared
from probes.core.contract import Secret
from probes.lib.resolve import SystemResolver
from probes.lib.tenant import Credential, Hosts, Tenant
from probes.lib.tls import Trust
from probes.lib.tokens import Token, Tokens, token_for
from tests.fakes.certificates import ca_file
from tests.fakes.identity import CLIENT_ID, TENANT_ID

SECRET = "canary-Secret/with+signs=& and space"


def inline(secret: Secret) -> str:
    return secret.inline or ""


def shared(tokens: Tokens | None = None, state_dir: str | None = None, secrets: Secrets = inline) -> Shared:
    """Return what the runs of one agent share."""
    value = Shared(SystemResolver(), secrets, state_dir=state_dir)
    if tokens is not None:
        value.parts[Tokens] = tokens
    return value


def by(**credential: Any) -> Credential:
    """Return a credential as the configuration writes it."""
    return Credential(**credential)


def tenant(host: str, credential: Credential | None = None, **more: Any) -> Tenant:
    """Return a tenant whose every host is `host`."""
    return Tenant(
        tenant_id=TENANT_ID,
        client_id=CLIENT_ID,
        hosts=Hosts(login=host, graph="graph.microsoft.com", exchange=host),
        credential=credential or by(secret=Secret(inline=SECRET)),
        tls=Trust(ca_file=ca_file()),
        **more,
    )


def run(among: Shared, seconds: float = float("inf")) -> Context:
    """Return the context of one run of a probe, which has `seconds` left."""
    return Context("probe", among, "contoso", deadline=perf_counter() + seconds)


async def want(ctx: Context, of: Tenant, resource: str = "", **how: bool) -> Token:
    """Want a token as a probe does."""
    with ctx.step("token"):
        return await token_for(ctx, of, resource, **how)


@cache
def certificate(name: str = "fogbell", bits: int = 2048, days: int = 30) -> str:
    """Return a certificate of so many days from now and its key as one PEM text, made once for each."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    plain = PrivateFormat.PKCS8, NoEncryption()
    return self_signed(key, name, days).public_bytes(Encoding.PEM).decode() + key.private_bytes(Encoding.PEM, *plain).decode()


def self_signed(key: Any, name: str, days: int = 30) -> x509.Certificate:
    """Sign a certificate of `key` with itself."""
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    end = dt.datetime.now(dt.UTC) + dt.timedelta(days=days)
    begin = min(end - dt.timedelta(days=1), dt.datetime.now(dt.UTC))
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number(), begin, end)
    return builder.sign(key, hashes.SHA256())
