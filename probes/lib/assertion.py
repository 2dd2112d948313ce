"""Proof of who we are by a certificate: a signed assertion (RFC 7523) as Entra wants it, PS256 with `x5t#S256`.

Source: learn.microsoft.com/entra/identity-platform/certificate-credentials. Signing holds up the loop for one to three milliseconds.
"""

import re
import time
import uuid
from base64 import urlsafe_b64encode
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache

import jwt
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from probes.core.contract import Failed
from probes.core.reasons import Reason

LIFETIME_SECONDS = 600
"""How long an assertion is good for. Entra asks for five to ten minutes."""

_KEPT = 16
_FEWEST_BITS = 2048
# RFC 7518 3.5.
_PRIVATE_KEY = re.compile(r"-----BEGIN ([A-Z ]*PRIVATE KEY)-----[^-]*+(?:-(?!----)[^-]*+)*+-----END \1-----")
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----[^-]*+-----END CERTIFICATE-----")
# None of them goes twice over a text: a file may be large, and full of beginnings.
_UNREADABLE = (ValueError, UnsupportedAlgorithm, x509.InvalidVersion)
# What a key or certificate raises that is broken, or of a kind that the library does not know.


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
    mine = next((certificate for certificate, public in _certificates(pem) if public == key.public_key()), None)
    if mine is None:
        raise Failed(Reason.CREDENTIAL_INVALID, "the certificate's file: no certificate in it belongs to the private key in it")
    digest = mine.fingerprint(hashes.SHA256())
    return Signer(key, urlsafe_b64encode(digest).rstrip(b"=").decode(), mine.not_valid_after_utc.timestamp())


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
    try:
        return jwt.encode(claims, mine.key, algorithm="PS256", headers={"x5t#S256": mine.thumbprint})
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Failed(Reason.CREDENTIAL_INVALID, "nothing can be signed with the private key in the certificate's file") from error


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
    if key.key_size < _FEWEST_BITS:
        message = f"the private key in the certificate's file has {key.key_size} bits; PS256 needs {_FEWEST_BITS} or more"
        raise Failed(Reason.CREDENTIAL_INVALID, message)
    return key


def _certificates(pem: str) -> list[tuple[x509.Certificate, PublicKeyTypes]]:
    """Return the certificates that can be read, with their public keys: those of a chain may be of kinds that we need not know."""
    blocks = _CERTIFICATE.findall(pem)
    if not blocks:
        raise Failed(Reason.CREDENTIAL_INVALID, "the certificate's file holds no certificate; it needs both, certificate and key, in PEM")
    found: list[tuple[x509.Certificate, PublicKeyTypes]] = []
    for block in blocks:
        with suppress(*_UNREADABLE):
            certificate = x509.load_pem_x509_certificate(block.encode())
            found.append((certificate, certificate.public_key()))
    if not found:
        raise Failed(Reason.CREDENTIAL_INVALID, "the certificate in the certificate's file cannot be read")
    return found
