"""What the judges of the simulated Entra need: the tenant on real TLS, the authority as a file, and a certificate for an app."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509 import Certificate

from agent.drill.entra.keys import self_signed
from agent.drill.entra.metadata import metadata_site
from agent.drill.entra.site import login_site
from agent.drill.hosting import serve_sites
from agent.drill.world import World


@dataclass(frozen=True, slots=True)
class OwnCertificate:
    """A key pair with its certificate, as an administrator would make it."""

    key_pem: bytes
    certificate_pem: bytes
    certificate: Certificate


def own_certificate() -> OwnCertificate:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    now = datetime.now(UTC)
    certificate = self_signed(key, "Fogbell", now - timedelta(days=1), now + timedelta(days=90))
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return OwnCertificate(private, certificate.public_bytes(serialization.Encoding.PEM), certificate)


@asynccontextmanager
async def entra(folder: Path) -> AsyncIterator[tuple[World, str]]:
    """Serve a new tenant's sign-in while the block runs; gives it and the file of the authority to trust."""
    world = World()
    async with serve_sites(world, login_site(world), metadata_site(world)) as authority:
        file = folder / "authority.pem"
        await asyncio.to_thread(authority.cert_pem.write_to_path, str(file))
        yield world, str(file)


def numbers(text: str) -> set[int]:
    """AADSTS numbers in a text."""
    return {int(found) for found in re.findall(r"AADSTS(\d+)", text)}
