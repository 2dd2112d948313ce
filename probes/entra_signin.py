"""Go the way of a person who signs in, as far as one can without being one: what tokens of applications cannot see.

In January 2025 people could not sign in while applications went on getting their tokens. So this asks for what a browser and a device need:
the OpenID configuration of the tenant, the keys that its tokens are signed with, the sign-in page, a device code; and, where somebody has
signed in with `fogbell login`, a new token in that person's name. Each is a step, and the first that fails gives the reason.

```yaml
probes:
  - name: sign-in-of-people
    kind: entra_signin
    tenant: contoso
    user: true
```

The sign-in page is asked for in the name of the tenant's application, so `redirect_uri` has to be registered there (as one of a mobile or
desktop application); AADSTS50011 says that it is not. Device codes need public client flows; AADSTS7000218 says that they are not allowed.
`fogbell permissions` has the commands for both. Where the tenant's policies forbid device codes and nobody needs them, write
`device_code: false`.

No permission is needed. With `user: true` the delegated permission User.Read is.
"""

import re
from base64 import b64decode, urlsafe_b64decode
from dataclasses import replace
from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import parse_qs, urlencode, urlsplit
from uuid import uuid4

from cryptography import x509
from pydantic import AfterValidator

from probes.core.aadsts import FAULTS
from probes.core.context import Context
from probes.core.contract import Failed, Inconclusive, Layer, Measurement, Place, Probe, Settings, Stopped, Workload, always
from probes.core.needs import Cost, Grant, Permission, Registration, Service
from probes.core.reasons import Reason
from probes.lib.http import Request, Response, Wanted, fetch
from probes.lib.http_expect import judge_status
from probes.lib.oauth import json_of, refusal
from probes.lib.proxy import route_to
from probes.lib.sign_in import SignInHost, is_sign_in_host, redirect_of
from probes.lib.tenant import Tenant, tenant_of
from probes.lib.tls import EXPIRY
from probes.lib.tokens import token_for
from probes.lib.url import Url, parse
from probes.lib.usage import Usage

_ONLY_OK = ((200, 200),)
_SERVER_FAULT = 500
_DOCUMENT = Wanted(limit=1 << 20)
_JSON = (("Accept", "application/json"),)
_FORM = (*_JSON, ("Content-Type", "application/x-www-form-urlencoded"))
_PAGE = (("Accept", "text/html,application/xhtml+xml"), ("Accept-Language", "en"))
_TRACE = ("x-ms-request-id", "x-ms-ests-server")
_ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri")
_NUMBER = re.compile(rb"AADSTS([0-9]{4,9})")
_USER_NAME = b"loginfmt"
_SIGN_IN_PAGE = (b"$Config", _USER_NAME)
# What the script of Entra's page is made from, and the field for the user's name.
_NOT_PUBLIC = "AADSTS7000218"
_LONGEST_ADDRESS = 2048
_NOT_IN_REDIRECTS = frozenset("!$'(),;")
# learn.microsoft.com/entra/identity-platform/reply-url


def _web_address(text: str) -> str:
    parts = urlsplit(text)
    if not parts.scheme or not (parts.netloc or parts.path) or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("must be an address, such as http://localhost")
    if not _NOT_IN_REDIRECTS.isdisjoint(text):
        raise ValueError(f"must have none of {' '.join(sorted(_NOT_IN_REDIRECTS))}, which Entra does not register")
    return text


class EntraSignin(Settings):
    """How far to go."""

    redirect_uri: Annotated[str, AfterValidator(_web_address)] = "http://localhost"
    """Where the application wants people sent back to; one that is registered with it. Nobody goes there."""
    device_code: bool = True
    """Ask for a device code too; nobody uses it, and it ends by itself."""
    user: bool = False
    """Get a token in the name of who has signed in with `fogbell login` too."""
    sign_in_hosts: tuple[SignInHost, ...] = ()
    """Hosts to which the sign-in page may send people at once, such as a federation server of your own."""


async def run(ctx: Context, settings: EntraSignin) -> None:
    """Take one step after the other."""
    tenant = tenant_of(ctx)
    with ctx.step("discovery"):
        found = await _discover(ctx, tenant, device_code=settings.device_code)
    with ctx.step("keys"):
        await _look_at_keys(ctx, tenant, found["jwks_uri"])
    with ctx.step("authorize"):
        await _ask_for_the_page(ctx, tenant, settings, found["authorization_endpoint"])
    if settings.device_code:
        with ctx.step("device_code"):
            await _ask_for_a_code(ctx, tenant, found["device_authorization_endpoint"])
    if settings.user:
        with ctx.step("refresh"):
            await token_for(ctx, tenant, delegated=True, fresh=True)


async def _discover(ctx: Context, tenant: Tenant, *, device_code: bool) -> dict[str, Url]:
    """Read the OpenID configuration (OpenID Connect Discovery 1.0, section 3), and return its addresses."""
    url = parse(f"https://{tenant.where.login}/{tenant.tenant_id}/v2.0/.well-known/openid-configuration")
    document = await _json(ctx, tenant, Request("GET", url, _JSON), "the OpenID configuration")
    wanted = (*_ENDPOINTS, "device_authorization_endpoint") if device_code else _ENDPOINTS
    found = {name: _endpoint(tenant, document, name) for name in wanted}
    if tenant.tenant_id not in _endpoint(tenant, document, "issuer").target.lower():
        raise _mismatch("the OpenID configuration is of another tenant, says its issuer")
    return found


def _endpoint(tenant: Tenant, document: dict[str, Any], name: str) -> Url:
    """Return an address of the configuration. What people and programs are told to trust must not be elsewhere."""
    text = document.get(name)
    try:
        url = parse(text if isinstance(text, str) and len(text) <= _LONGEST_ADDRESS else "")
    except ValueError as error:
        raise _mismatch(f"the OpenID configuration has no {name}") from error
    if url.origin != parse(f"https://{tenant.where.login}").origin and not (url.scheme == "https" and is_sign_in_host(url.host)):
        raise _mismatch(f"the OpenID configuration has a {name} at {url.scheme}://{url.authority}, which is no sign-in host")
    return url


async def _look_at_keys(ctx: Context, tenant: Tenant, url: Url) -> None:
    """Read the key set (RFC 7517)."""
    document = await _json(ctx, tenant, Request("GET", url, _JSON), "the key set")
    keys = document.get("keys")
    count = sum(map(_signs, keys)) if isinstance(keys, list) else 0
    ctx.measure("signing_keys", count)
    if not count:
        raise _mismatch("the key set has no RSA key that can be read, with its certificate")


def _signs(key: object) -> bool:
    """Say whether this is an RSA key to check signatures with, and its certificate can be read (RFC 7517 4.7)."""
    if not isinstance(key, dict) or key.get("kty") != "RSA" or key.get("use", "sig") != "sig":
        return False
    try:
        numbers = [urlsafe_b64decode(key[name] + "==") for name in ("n", "e")]
        x509.load_der_x509_certificate(b64decode(key["x5c"][0], validate=True))
    except (KeyError, IndexError, TypeError, ValueError, x509.InvalidVersion):
        return False
    return all(numbers)


async def _ask_for_the_page(ctx: Context, tenant: Tenant, settings: EntraSignin, endpoint: Url) -> None:
    """Ask for the page on which people sign in, as a browser does that was sent there (RFC 6749 4.1.1)."""
    query = {
        "client_id": tenant.client_id,
        "response_type": "code",
        "redirect_uri": settings.redirect_uri,
        "response_mode": "query",
        "scope": "openid profile",
        "state": str(uuid4()),
    }
    # Not by `parse`, which would remember every one of these addresses.
    url = replace(endpoint, target=f"{endpoint.target}{'&' if '?' in endpoint.target else '?'}{urlencode(query)}")
    response = await _fetch(ctx, tenant, Request("GET", url, _PAGE))
    location = response.header("location") or ""
    if response.status == HTTPStatus.TOO_MANY_REQUESTS:
        judge_status(response, _ONLY_OK)
    if response.status == HTTPStatus.OK and _USER_NAME in response.body:
        return
    refused = _NUMBER.search(response.body) or _NUMBER.search(_error_in(location).encode())
    if refused is not None:
        raise _refused_page(int(refused[1]), response)
    if redirect_of(response, url, settings.sign_in_hosts) is not None:
        ctx.evidence("redirect", f"{response.status} to {urlsplit(location).hostname or url.host}")
        return
    _judge(ctx, response, "the sign-in page")
    if not any(mark in response.body for mark in _SIGN_IN_PAGE):
        ctx.evidence("body_begins", " ".join(response.body[:300].decode("utf-8", "replace").split()))
        raise _mismatch("the answer is no sign-in page")


def _error_in(location: str) -> str:
    """Return what a redirect back to the application says is wrong (RFC 6749 4.1.2.1)."""
    try:
        parts = urlsplit(location)
        told = parse_qs(parts.query) | parse_qs(parts.fragment)
    except ValueError:
        return ""
    return " ".join(told.get("error_description", ()))


def _refused_page(number: int, response: Response) -> Stopped:
    reason = FAULTS[number].reason if number in FAULTS else Reason.APP_CONFIG
    if response.status >= _SERVER_FAULT:
        reason = Reason.IDENTITY_FAULT
    if reason is Reason.THROTTLED:
        return Inconclusive(reason, f"the sign-in page says AADSTS{number}: too many requests of ours", code=f"AADSTS{number}")
    hint = "; register redirect_uri with the application" if number == 50011 else ""  # noqa: PLR2004 - AADSTS50011: no such redirect URI
    return Failed(reason, f"the sign-in page says AADSTS{number} instead of asking who one is{hint}", code=f"AADSTS{number}")


async def _ask_for_a_code(ctx: Context, tenant: Tenant, url: Url) -> None:
    """Ask for a device code (RFC 8628 3.1), which nobody will use."""
    form = urlencode({"client_id": tenant.client_id, "scope": "openid profile"}).encode()
    try:
        answer = await _json(ctx, tenant, Request("POST", url, _FORM, form), "the device code")
    except Failed as failed:
        raise _about_device_codes(failed) from failed
    if not all(isinstance(answer.get(name), str) and answer[name] for name in ("device_code", "user_code")):
        raise _mismatch("the answer holds no device code")


def _about_device_codes(failed: Failed) -> Failed:
    """Say what some refusals mean here, where nobody has signed in yet."""
    if failed.code == _NOT_PUBLIC:
        return Failed(Reason.APP_CONFIG, "the application's registration does not allow public client flows", code=failed.code)
    if failed.reason is Reason.INTERACTION_REQUIRED:
        message = f"a policy forbids device codes; write `device_code: false` where nobody needs them: {failed.message}"
        return Failed(Reason.BLOCKED_BY_POLICY, message, code=failed.code)
    return failed


async def _json(ctx: Context, tenant: Tenant, request: Request, what: str) -> dict[str, Any]:
    response = await _fetch(ctx, tenant, request)
    _judge(ctx, response, what)
    document = json_of(response)
    if not document:
        raise _mismatch(f"{what} is no JSON object")
    return document


async def _fetch(ctx: Context, tenant: Tenant, request: Request) -> Response:
    ctx.shared.part(Usage).count(ctx.tenant, tenant, Service.LOGIN)
    response = await fetch(ctx, request, trust=tenant.tls, route=route_to(ctx, tenant.through, request.url), wanted=_DOCUMENT)
    ctx.evidence("status", response.status)
    for name in _TRACE:
        if (value := response.header(name)) is not None:
            ctx.evidence(name, value[:100])
    return response


def _judge(ctx: Context, response: Response, what: str) -> None:
    """Say no to any status but 200: with Entra's own words where it gives them."""
    if response.status >= _SERVER_FAULT or (response.status != _ONLY_OK[0][0] and "error" in json_of(response)):
        stopped = refusal(ctx, response)
        message = f"{what}: {stopped.message.removeprefix('no token, ')}"
        raise type(stopped)(stopped.reason, message, code=stopped.code, retry_after=stopped.retry_after)
    judge_status(response, _ONLY_OK)


def _mismatch(message: str) -> Failed:
    return Failed(Reason.CONTENT_MISMATCH, message)


def permissions(settings: EntraSignin) -> tuple[Permission, ...]:
    """Name the least that somebody who signs in has to consent to."""
    return (Permission("User.Read", "sign in as the probe user", Grant.DELEGATED),) if settings.user else ()


PROBE = Probe(
    run,
    EntraSignin,
    place=lambda _: Place(Layer.IDENTITY, Workload.ENTRA),
    steps=("discovery", "keys", "authorize", "device_code", "refresh"),
    measurements=(
        Measurement("signing_keys", "RSA keys in the tenant's key set that can be read, with their certificate."),
        Measurement(EXPIRY, "When the certificate of the sign-in's server expires, in Unix time."),
    ),
    interval=300.0,
    timeout=30.0,
    floor=60.0,
    tenant=always,
    remembers=lambda settings: settings.user,
    permissions=permissions,
    registration=lambda settings: Registration((settings.redirect_uri,), public_flows=settings.device_code),
    costs=lambda settings: (Cost(Service.LOGIN, 3 + settings.device_code + settings.user),),
)
