"""TLS on an open connection: whom to trust, and what the certificate says, also when the handshake failed because of it.

Verification is never off. The certificate of a failed handshake is read from that handshake's own TLS object, not from a second connection.
"""

import asyncio
import os
import ssl
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Literal

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from pydantic import AfterValidator, Field

from probes.core.context import Context
from probes.core.contract import Failed, File, Inconclusive, Sample, Secret, Settings
from probes.core.reasons import Reason
from probes.lib.resolve import ascii_host
from probes.lib.wire import Wire, tls_stopped

EXPIRY = "certificate_expiry_timestamp_seconds"
"""Name of the measurement that every kind with TLS declares."""

_EXPIRED = {9, 10}
_WRONG_NAME = {62, 63, 64}
# X509_V_ERR_… of openssl/x509_vfy.h: not yet valid, expired; hostname, email, address mismatch. All others: no trusted chain.

_UNREADABLE = (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.InvalidVersion, x509.UnsupportedGeneralNameType)
# What cryptography says of certificates that are wrong, or only strange.

_CONTEXTS_KEPT = 64


class ClientCertificate(Settings):
    """A certificate that identifies the agent to the server."""

    certificate: File
    """PEM file with the certificate, and those between it and the root."""
    key: File | None = None
    """PEM file with the private key, where it is not in the same file."""
    password: Secret | None = None
    """Password of the private key."""


class Trust(Settings):
    """Whom to trust in TLS, and how to show who we are."""

    ca_file: File | None = None
    """PEM file with the certificates of the authorities to trust, instead of the machine's own."""
    client_certificate: ClientCertificate | None = None
    """Certificate to present when the server asks for one."""
    server_name: Annotated[str, AfterValidator(ascii_host)] | None = None
    """Name to ask for and to find in the certificate, where it is not the host of the address."""
    issuers: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Texts of which one must be in an issuer's name in the certificate's chain (letter case does not matter). Any other issuer means
    that something between reads along: `tls_intercepted`."""
    min_version: Literal["1.2", "1.3"] = "1.2"
    """Lowest TLS version to accept."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a server's certificate says.

    Names are in RFC 4514 form; times are Unix seconds; `names` are those it is for; `verified` says whether its chain, time and name
    were found right.
    """

    subject: str
    issuer: str
    chain_issuers: tuple[str, ...]
    not_before: float
    not_after: float
    names: tuple[str, ...]
    fingerprint_sha256: str
    verified: bool


class CertificateFailed(Failed):
    """A certificate that was not accepted, with what could be read of it."""

    def __init__(self, reason: Reason, message: str, certificate: Certificate | None) -> None:
        """`certificate` is None where the server's certificate could not be read."""
        super().__init__(reason, message)
        self.certificate = certificate


async def start_tls(ctx: Context, wire: Wire, trust: Trust, server_name: str, *, alpn: tuple[str, ...] = ()) -> Certificate | None:
    """Turn `wire` to TLS, timed as the phase tls, and put what the certificate says into evidence and measurement.

    `server_name` is ASCII or an address; `trust` may replace it. Returns None for a certificate that only
    OpenSSL can read.

    Raises:
        CertificateFailed: TLS_EXPIRED, TLS_WRONG_NAME, TLS_UNTRUSTED, TLS_INTERCEPTED.
        Failed: TLS_HANDSHAKE; CONNECTION_RESET where the peer broke off.
        Inconclusive: where a file that `trust` names cannot be used.

    """
    context = await _context(ctx, trust, alpn)
    name = trust.server_name or server_name
    tls = wire.wrap(context, name)
    try:
        with ctx.phase("tls"):
            await _shake(wire, tls)
    except ssl.SSLCertVerificationError as error:
        certificate = _read(tls, verified=False)
        measure_certificate(ctx, certificate)
        raise CertificateFailed(_verification_reason(error), _why(error, name, certificate), certificate) from error
    certificate = _read(tls, verified=True)
    measure_certificate(ctx, certificate)
    ctx.evidence("tls_version", tls.version())
    _check_issuer(trust, certificate)
    return certificate


def measure_certificate(ctx: Context, certificate: Certificate | None) -> None:
    """Record what a certificate says. Of several in one run the one that ends first is kept; the same twice counts once."""
    if certificate is None:
        return
    index = next((i for i, sample in enumerate(ctx.measured) if sample.name == EXPIRY), None)
    if index is None:
        ctx.measure(EXPIRY, certificate.not_after)
    elif certificate.not_after < ctx.measured[index].value:
        ctx.measured[index] = Sample(EXPIRY, certificate.not_after)
    ctx.evidence("certificate_subject", certificate.subject)
    ctx.evidence("certificate_issuer", certificate.issuer)
    ctx.evidence("certificate_not_after", _iso(certificate.not_after))
    if not certificate.verified:
        ctx.evidence("certificate_not_before", _iso(certificate.not_before))
        ctx.evidence("certificate_names", ", ".join(certificate.names))
        ctx.evidence("certificate_sha256", certificate.fingerprint_sha256)


async def _shake(wire: Wire, tls: ssl.SSLObject) -> None:
    try:
        await wire.shake(tls)
    except ssl.SSLCertVerificationError:
        raise
    except ssl.SSLError as error:
        raise Failed(Reason.TLS_HANDSHAKE, tls_stopped(error, wire.peer[0]).message) from error


def _verification_reason(error: ssl.SSLCertVerificationError) -> Reason:
    if error.verify_code in _EXPIRED:
        return Reason.TLS_EXPIRED
    return Reason.TLS_WRONG_NAME if error.verify_code in _WRONG_NAME else Reason.TLS_UNTRUSTED


def _why(error: ssl.SSLCertVerificationError, name: str, certificate: Certificate | None) -> str:
    """Say what is wrong with a certificate; of one that is not trusted also who issued it, which tells a proxy of one's own at once."""
    issuer = "" if certificate is None or _verification_reason(error) is not Reason.TLS_UNTRUSTED else f", issued by {certificate.issuer}"
    return f"{name}: {error.verify_message}{issuer}"[:400]


def _check_issuer(trust: Trust, certificate: Certificate | None) -> None:
    if trust.issuers is None:
        return
    found = () if certificate is None else certificate.chain_issuers
    if not any(wanted.casefold() in issuer.casefold() for wanted in trust.issuers for issuer in found):
        issued = " / ".join(found) or "one that cannot be read"
        raise CertificateFailed(Reason.TLS_INTERCEPTED, f"the certificate's issuer is {issued}, which is none of those listed", certificate)


def _read(tls: ssl.SSLObject, *, verified: bool) -> Certificate | None:
    """Read the chain of this handshake, or None where there is none or nothing can parse it."""
    try:
        return _parse(tuple(_chain(tls, verified=verified)), verified)
    except _UNREADABLE:
        return None


def _chain(tls: ssl.SSLObject, *, verified: bool) -> Sequence[bytes]:
    """DER certificates, the server's first. Public since Python 3.13, before that one attribute further inside."""
    method = "get_verified_chain" if verified else "get_unverified_chain"
    if sys.version_info >= (3, 13):
        return list(getattr(tls, method)())
    return [certificate.public_bytes(_DER) for certificate in getattr(tls._sslobj, method)() or ()]  # type: ignore[attr-defined] # noqa: SLF001 - see above


_DER = 2
# _ssl.ENCODING_DER


@lru_cache(maxsize=1024)
def _parse(chain: tuple[bytes, ...], verified: bool) -> Certificate | None:  # noqa: FBT001 - a key of the cache
    """Parse a chain. Cached, because the same target shows the same chain for weeks."""
    if not chain:
        return None
    parsed = [x509.load_der_x509_certificate(der) for der in chain]
    leaf = parsed[0]
    return Certificate(
        subject=leaf.subject.rfc4514_string(),
        issuer=leaf.issuer.rfc4514_string(),
        chain_issuers=tuple(certificate.issuer.rfc4514_string() for certificate in parsed),
        not_before=leaf.not_valid_before_utc.timestamp(),
        not_after=leaf.not_valid_after_utc.timestamp(),
        names=_names(leaf),
        fingerprint_sha256=leaf.fingerprint(hashes.SHA256()).hex(),
        verified=verified,
    )


def _names(leaf: x509.Certificate) -> tuple[str, ...]:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(str(name.value) for name in names if isinstance(name, (x509.DNSName, x509.IPAddress)))


@lru_cache(maxsize=1024)
def _iso(timestamp: float) -> str:
    return datetime.fromtimestamp(timestamp, UTC).isoformat()


@dataclass(frozen=True, slots=True)
class _Key:
    """All that a TLS context depends on.

    `files` are the time of change and size of those it reads, looked at in each run: a rotated file is used from the next run on, and needs
    no reload. So the configuration leaves their content alone.
    """

    trust: Trust
    alpn: tuple[str, ...]
    files: tuple[tuple[int, int], ...]
    password: str


_contexts: dict[_Key, ssl.SSLContext] = {}
_builder = ThreadPoolExecutor(1, "fogbell-tls")
# Reading the machine's authorities takes some 20 ms, so a context is made once, off the loop, and again only when its files change.


async def _context(ctx: Context, trust: Trust, alpn: tuple[str, ...]) -> ssl.SSLContext:
    client = trust.client_certificate
    password = ctx.secret(client.password) if client is not None and client.password is not None else ""
    try:
        key = _Key(trust, alpn, _files(trust), password)
        if key in _contexts:
            return _contexts[key]
        return await asyncio.get_running_loop().run_in_executor(_builder, _make, key)
    except ssl.SSLError as error:
        raise Failed(Reason.CREDENTIAL_INVALID, f"the files of `tls:` cannot be used: {error.reason or error}") from error
    except OSError as error:
        raise Inconclusive(Reason.AGENT_RESOURCES, f"cannot read {error.filename or 'a file of `tls:`'}: {error.strerror}") from error


def _files(trust: Trust) -> tuple[tuple[int, int], ...]:
    client = trust.client_certificate
    named = (trust.ca_file, client and client.certificate, client and client.key)
    system = () if trust.ca_file else _system_files()
    return tuple((seen.st_mtime_ns, seen.st_size) for path in (*named, *system) if path for seen in [os.stat(path)])  # noqa: PTH116 - half the cost, on every run


def _system_files() -> tuple[str, ...]:
    paths = ssl.get_default_verify_paths()
    return tuple(path for path in (paths.cafile, paths.capath) if path)


def _make(key: _Key) -> ssl.SSLContext:
    """Make a context, unless a run that waited for the thread before us has."""
    if key in _contexts:
        return _contexts[key]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3 if key.trust.min_version == "1.3" else ssl.TLSVersion.TLSv1_2
    if key.alpn:
        context.set_alpn_protocols(list(key.alpn))
    if key.trust.ca_file:
        context.load_verify_locations(key.trust.ca_file)
    else:
        context.load_default_certs()
    client = key.trust.client_certificate
    if client is not None:
        # A password is always given: without one OpenSSL would ask for it on the terminal, and wait.
        context.load_cert_chain(client.certificate, client.key, key.password)
    while len(_contexts) >= _CONTEXTS_KEPT:
        del _contexts[next(iter(_contexts))]
    _contexts[key] = context
    return context
