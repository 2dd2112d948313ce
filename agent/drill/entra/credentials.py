"""How an app proves who it is: a secret, an assertion signed with its certificate, or a token of an issuer that it trusts.

Assertions are verified for real: signature, certificate, audience, issuer, subject and time, as Microsoft's page "Certificate
credentials" and RFC 7523 section 3 describe.
"""

import hmac
from collections.abc import Mapping
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt.types import Options

from agent.drill.entra.directory import App, Directory, Federation
from agent.drill.entra.errors import EntraError, stamp
from agent.drill.entra.keys import base64url
from agent.drill.world import World

_ALGORITHMS = ["PS256", "RS256"]
_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_UNTIMED: Options = {"verify_exp": False, "verify_nbf": False, "verify_iat": False, "verify_aud": False, "verify_jti": False}


def authenticate(world: World, app: App, form: Mapping[str, str], audiences: frozenset[str]) -> None:
    """Check the credential in the form of a token request; `audiences` are the names of this token endpoint.

    Raises:
        EntraError: where there is none, or it does not hold.

    """
    if "client_assertion" in form:
        if form.get("client_assertion_type") != _ASSERTION_TYPE:
            raise EntraError(900144, parameter="client_assertion_type")
        _check_assertion(world, app, form["client_assertion"], audiences)
    elif "client_secret" in form:
        _check_secret(world, app, form["client_secret"])
    else:
        raise EntraError(7000218)


def identify(world: World, app: App, form: Mapping[str, str], audiences: frozenset[str]) -> None:
    """Check the credential of an app that may sign people in without one, where it sends one all the same.

    Raises:
        EntraError: where it needs one and there is none, or one that is there does not hold.

    """
    if app.public_flows and not {"client_secret", "client_assertion"} & form.keys():
        return
    authenticate(world, app, form, audiences)


def _check_secret(world: World, app: App, given: str) -> None:
    if not app.secrets and not app.certificates and not app.federations:
        raise EntraError(700025)
    matching = [secret for secret in app.secrets if hmac.compare_digest(secret.value.encode(), given.encode())]
    if not matching:
        raise EntraError(7000215, app=app.id)
    if all(secret.expires <= world.now() for secret in matching):
        raise EntraError(7000222, app=app.id)


def _check_assertion(world: World, app: App, assertion: str, audiences: frozenset[str]) -> None:
    try:
        header: dict[str, Any] = jwt.get_unverified_header(assertion)
        claims: dict[str, Any] = jwt.decode(assertion, options={**_UNTIMED, "verify_signature": False})
    except jwt.InvalidTokenError as error:
        raise EntraError(50027) from error
    if claims.get("iss") == app.id:
        _verify(assertion, _certificate_key(world, app, header), "Client assertion contains an invalid signature.")
        _check_own_claims(app, claims, audiences)
    else:
        federation = _federation(app, claims)
        _verify(assertion, federation.key, "The signature of the federated token is invalid.")
    _check_time(world, claims)


def _verify(assertion: str, key: RSAPublicKey, reason: str) -> None:
    try:
        jwt.decode(assertion, key, _ALGORITHMS, _UNTIMED)
    except jwt.InvalidTokenError as error:
        raise EntraError(700027, reason=reason) from error


def _thumbprint(certificate: x509.Certificate, name: str) -> str:
    """Give the thumbprint as a header of this name carries it."""
    # SHA-1 is a name here, not a protection.
    digest = certificate.fingerprint(hashes.SHA256() if name == "x5t#S256" else hashes.SHA1())  # noqa: S303 - see above
    return base64url(digest)


def _certificate_key(world: World, app: App, header: Mapping[str, Any]) -> RSAPublicKey:
    """Find the public key of the app's certificate that the header names."""
    name = "x5t#S256" if "x5t#S256" in header else "x5t"
    wanted = str(header.get(name, "")).rstrip("=")
    found = next((certificate for certificate in app.certificates if _thumbprint(certificate, name) == wanted), None)
    if found is None:
        raise EntraError(700027, reason="The key was not found.")
    if not found.not_valid_before_utc.timestamp() <= world.now() < found.not_valid_after_utc.timestamp():
        raise EntraError(700027, reason="The key used is expired.")
    key = found.public_key()
    if not isinstance(key, RSAPublicKey):
        raise EntraError(700027, reason="The key is not an RSA key.")
    return key


def _check_own_claims(app: App, claims: Mapping[str, Any], audiences: frozenset[str]) -> None:
    if claims.get("sub") != app.id:
        raise EntraError(700021)
    if claims.get("aud") not in audiences:
        raise EntraError(700023)


def _federation(app: App, claims: Mapping[str, Any]) -> Federation:
    """Find whom the app trusts to say this; Entra names the first thing that does not match."""
    issuers = [federation for federation in app.federations if federation.issuer == claims.get("iss")]
    if not issuers:
        raise EntraError(700211, issuer=claims.get("iss"))
    subjects = [federation for federation in issuers if federation.subject == claims.get("sub")]
    if not subjects:
        raise EntraError(700213, subject=claims.get("sub"))
    audiences = claims.get("aud")
    given = audiences if isinstance(audiences, list) else [audiences]
    found = next((federation for federation in subjects if federation.audience in given), None)
    if found is None:
        raise EntraError(700212, audience=audiences)
    return found


def _check_time(world: World, claims: Mapping[str, Any]) -> None:
    """Refuse an assertion before or after its time, with the tolerance of the directory's settings."""
    now, skew = world.now(), world.of(Directory).settings.assertion_skew_seconds
    start, end = claims.get("nbf", now), claims.get("exp", 0)
    if not isinstance(start, int | float) or not isinstance(end, int | float):
        raise EntraError(50027)
    if not start - skew <= now < end + skew:
        raise EntraError(700024, now=stamp(now), start=stamp(start), end=stamp(end))
