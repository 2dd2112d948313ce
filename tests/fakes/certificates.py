"""Certificates for tests: one throw-away authority for a whole run of pytest, and every way a server's certificate can be wrong."""

import atexit
import datetime as dt
import ipaddress
import ssl
import tempfile
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NAMES = ("localhost", "127.0.0.1", "::1")
"""Whom a certificate is for, unless it is for the wrong name."""


class Flaw(StrEnum):
    """What is wrong with a server's certificate."""

    NONE = "none"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    WRONG_NAME = "wrong_name"
    SELF_SIGNED = "self_signed"
    UNTRUSTED = "untrusted"
    """Signed by an authority that nobody knows."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """Paths of a PEM certificate (chain) and its private key."""

    certificate: str
    key: str


def ca_file() -> str:
    """Path of the PEM certificate of the authority that good certificates come from."""
    path = _folder() / "ca.pem"
    if not path.exists():
        _authority().cert_pem.write_to_path(path)
    return str(path)


@cache
def key_pair(flaw: Flaw = Flaw.NONE) -> KeyPair:
    """Certificate and key of a server on loopback, with one flaw; made once."""
    chain, key = _self_signed() if flaw is Flaw.SELF_SIGNED else _issued(flaw)
    return _written(f"server-{flaw}", chain, key)


@cache
def client_key_pair(name: str = "probe@example.com") -> KeyPair:
    """Certificate and key with which a client proves who it is; the same authority signs it."""
    leaf = _authority().issue_cert(name)
    return _written(f"client-{name}", b"".join(pem.bytes() for pem in leaf.cert_chain_pems), leaf.private_key_pem.bytes())


def server_context(flaw: Flaw = Flaw.NONE, *, wants_client_certificate: bool = False) -> ssl.SSLContext:
    """Make the server's side of TLS with a certificate that has one flaw."""
    pair = key_pair(flaw)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pair.certificate, pair.key)
    if wants_client_certificate:
        context.load_verify_locations(ca_file())
        context.verify_mode = ssl.CERT_REQUIRED
    return context


@cache
def _folder() -> Path:
    folder = tempfile.TemporaryDirectory(prefix="fogbell-certificates-")
    atexit.register(folder.cleanup)
    return Path(folder.name)


@cache
def _authority() -> trustme.CA:
    return trustme.CA(organization_name="Fogbell Test Authority")


def _issued(flaw: Flaw) -> tuple[bytes, bytes]:
    authority = trustme.CA(organization_name="Nobody Knows Me") if flaw is Flaw.UNTRUSTED else _authority()
    names = ("other.example.com",) if flaw is Flaw.WRONG_NAME else NAMES
    leaf = authority.issue_cert(*names, common_name=names[0], not_before=_from(flaw), not_after=_until(flaw))
    return b"".join(pem.bytes() for pem in leaf.cert_chain_pems), leaf.private_key_pem.bytes()


def _from(flaw: Flaw) -> dt.datetime:
    now = dt.datetime.now(dt.UTC)
    return now + dt.timedelta(days=30 if flaw is Flaw.NOT_YET_VALID else -400)


def _until(flaw: Flaw) -> dt.datetime:
    now = dt.datetime.now(dt.UTC)
    return now + dt.timedelta(days=-30 if flaw is Flaw.EXPIRED else 90)


def _self_signed() -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), _from(Flaw.NONE), _until(Flaw.NONE))
    certificate = builder.add_extension(names, critical=False).sign(key, hashes.SHA256())
    encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    return certificate.public_bytes(encoding), key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain)


def _written(name: str, chain: bytes, key: bytes) -> KeyPair:
    certificate_path, key_path = _folder() / f"{name}.pem", _folder() / f"{name}.key"
    certificate_path.write_bytes(chain)
    key_path.write_bytes(key)
    return KeyPair(str(certificate_path), str(key_path))
