"""The key with which a simulated tenant signs its tokens, never written down."""

import base64
import hashlib
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from jwt.types import Options

from agent.drill.world import World

_KEY_BITS = 2048
_KEY_LIFETIME = timedelta(days=1825)
"""Of the certificate that the key set shows; Entra's own are five years."""
_KEY_AGE = timedelta(days=30)


def base64url(data: bytes) -> str:
    """Encode as a JWT does: URL alphabet, no padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def self_signed(key: rsa.RSAPrivateKey, name: str, start: datetime, end: datetime) -> x509.Certificate:
    """Make a certificate that vouches for itself, as apps and token signers use."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number(), start, end)
    return builder.sign(key, hashes.SHA256())


@cache
def _signing_key(_seed: int) -> rsa.RSAPrivateKey:
    """Make the key of worlds of this seed once per process: that takes a tenth of a second, and tests make many worlds."""
    return rsa.generate_private_key(public_exponent=65537, key_size=_KEY_BITS)


class Keys:
    """Signs and verifies the tokens of one world: RS256, as Entra signs."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._key = _signing_key(world.seed)
        start = datetime.fromtimestamp(world.now(), UTC) - _KEY_AGE
        certificate = self_signed(self._key, "accounts.accesscontrol.windows.net", start, start + _KEY_LIFETIME)
        self._der = certificate.public_bytes(serialization.Encoding.DER)
        self.kid = base64url(hashlib.sha1(self._der, usedforsecurity=False).digest())
        """Name of the key: the SHA-1 thumbprint of its certificate, which Entra gives as `x5t` too."""

    def sign(self, claims: Mapping[str, Any]) -> str:
        """Make a signed token with these claims, unchanged."""
        return jwt.encode(dict(claims), self._key, algorithm="RS256", headers={"x5t": self.kid, "kid": self.kid})

    def verify(self, token: str, audience: str | Collection[str]) -> dict[str, Any]:
        """Give the claims of a token of this world, for this audience or any one of these.

        Raises:
            ValueError: where it was not signed with this key, is for another audience, has ended or has not begun.

        """
        options: Options = {"verify_exp": False, "verify_nbf": False, "verify_iat": False, "require": ["aud", "exp", "nbf"]}
        try:
            claims: dict[str, Any] = jwt.decode(token, self._key.public_key(), ["RS256"], options, audience=audience)
        except jwt.InvalidTokenError as error:
            raise ValueError(f"not a token of this tenant: {error}") from error
        if not claims["nbf"] <= self._world.now() < claims["exp"]:
            raise ValueError("Lifetime validation failed, the token is expired.")
        return claims

    def key_set(self, issuer: str) -> dict[str, Any]:
        """Give the public half as a JSON Web Key Set (RFC 7517)."""
        numbers = self._key.public_key().public_numbers()
        modulus = numbers.n.to_bytes(_KEY_BITS // 8, "big")
        exponent = numbers.e.to_bytes(3, "big")
        chain = [base64.b64encode(self._der).decode()]
        names = {"kty": "RSA", "use": "sig", "kid": self.kid, "x5t": self.kid}
        return {"keys": [{**names, "n": base64url(modulus), "e": base64url(exponent), "x5c": chain, "issuer": issuer}]}
