"""Proof of who we are by a certificate: a signed assertion (RFC 7523) as Entra wants it, PS256 with `x5t#S256`.

Source: learn.microsoft.com/entra/identity-platform/certificate-credentials. Signing holds up the loop for one to three milliseconds.
"""

import re
import time
import uuid
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from functools import lru_cache

import jwt
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from probes.core.contract import Failed
from probes.core.reasons import Reason

LIFETIME_SECONDS = 600
"""How long an assertion is good for. Entra asks for five to ten minutes."""

_KEPT = 16
_PRIVATE_KEY = re.compile(r"-----BEGIN ([A-Z ]*PRIVATE KEY)-----.*?-----END \1-----", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Signer:
    """A certificate with its private key. `not_after` is Unix time."""

    key: RSAPrivateKey = field(repr=False)
    thumbprint: str
    not_after: float


@lru_cache(maxsize=_KEPT)
def signer(pem: str) -> Signer:
    """Read certificate and private key from one PEM text; the first certificate that belongs to the key counts.

    Raises:
        Failed: CREDENTIAL_INVALID, in words for the one who wrote the file.

    """
    key = _key(pem)
    mine = [certificate for certificate in _certificates(pem) if certificate.public_key() == key.public_key()]
    if not mine:
        raise Failed(Reason.CREDENTIAL_INVALID, "the certificate's file: no certificate in it belongs to the private key in it")
    digest = mine[0].fingerprint(hashes.SHA256())
    return Signer(key, urlsafe_b64encode(digest).rstrip(b"=").decode(), mine[0].not_valid_after_utc.timestamp())


def assertion(pem: str, client_id: str, audience: str) -> str:
    """Return a signed assertion that we are `client_id`, for the token endpoint `audience`.

    Raises:
        Failed: CREDENTIAL_INVALID.

    """
    mine = signer(pem)
    now = int(time.time())
    claims = {
        "aud": audience,
        "iss": client_id,
        "sub": client_id,
        "jti": str(uuid.uuid4()),
        "iat": now,
        "nbf": now,
        "exp": now + LIFETIME_SECONDS,
    }
    return jwt.encode(claims, mine.key, algorithm="PS256", headers={"x5t#S256": mine.thumbprint})


def _key(pem: str) -> RSAPrivateKey:
    block = _PRIVATE_KEY.search(pem)
    if block is None:
        raise Failed(Reason.CREDENTIAL_INVALID, "the certificate's file holds no whole private key; it needs both, in PEM")
    try:
        # Checking the primes would hold up the loop, and Python as a whole, for 30 ms; a key that is wrong only gets its signature refused.
        key = load_pem_private_key(block.group().encode(), password=None, unsafe_skip_rsa_key_validation=True)
    except TypeError as error:
        raise Failed(Reason.CREDENTIAL_INVALID, "the private key in the certificate's file has a password; store it without") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Failed(Reason.CREDENTIAL_INVALID, "the private key in the certificate's file cannot be read") from error
    if not isinstance(key, RSAPrivateKey):
        raise Failed(Reason.CREDENTIAL_INVALID, "the private key in the certificate's file is not RSA; Entra takes no other for PS256")
    return key


def _certificates(pem: str) -> list[x509.Certificate]:
    if "-----BEGIN CERTIFICATE-----" not in pem:
        raise Failed(Reason.CREDENTIAL_INVALID, "the certificate's file holds no certificate; it needs both, certificate and key, in PEM")
    try:
        return x509.load_pem_x509_certificates(pem.encode())
    except ValueError as error:
        raise Failed(Reason.CREDENTIAL_INVALID, "the certificate in the certificate's file cannot be read") from error
