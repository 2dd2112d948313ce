"""One request to whoever gives tokens, and what its answer means: a token, or a failure with a name.

Entra's token endpoint (RFC 6749; learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow) with its four ways to prove
who we are, and the managed identity of an Azure machine or App Service.
"""

import json
import re
import time
from base64 import urlsafe_b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from math import inf
from typing import Any, Literal
from urllib.parse import quote_plus, urlencode

from probes.core.aadsts import ASSERTION_TIMES, FAULTS
from probes.core.context import Context
from probes.core.contract import Failed, Inconclusive, Stopped
from probes.core.reasons import Reason
from probes.lib.assertion import assertion, signer
from probes.lib.bounded_json import loads
from probes.lib.http import Request, Response, Wanted, fetch
from probes.lib.proxy import Route, route_to
from probes.lib.retry_after import moment, retry_after
from probes.lib.tenant import ManagedIdentity, Tenant
from probes.lib.url import parse

TOKEN_PATH = "/{tenant}/oauth2/v2.0/token"  # noqa: S105 - a path, not a password
"""Where Entra gives tokens."""
DEVICE_CODE_PATH = "/{tenant}/oauth2/v2.0/devicecode"
"""Where Entra gives device codes (RFC 8628)."""
METADATA = "http://169.254.169.254/metadata/identity/oauth2/token"
"""Where the machine's own metadata service gives tokens, in Azure."""

_ANSWER = Wanted(limit=256 << 10)
_FORM = (("Content-Type", "application/x-www-form-urlencoded"), ("Accept", "application/json"))
_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_IDENTITY_HEADER = "X-IDENTITY-HEADER"
_LONGEST_LIFE = 2 * 86_400.0
_REFRESH_TOKEN = re.compile(r"[!-~]{1,65536}")
_ID = re.compile(r"[0-9A-Za-z-]{1,64}")
_TRAILER = re.compile(r"\s*(?:Trace ID|Correlation ID|Timestamp):.*", re.DOTALL)
_OK, _REDIRECT, _BAD, _UNPROVEN, _TOO_MANY, _ITS_FAULT = 200, 300, 400, 401, 429, 500
_NOT_READY = frozenset({404, 410})
# A metadata service that is being updated answers so for a minute.

_MALFORMED = "AADSTS9002313"
_NO_ANSWER = "the answer is not HTTP/1.1, its header is too long, or its body is packed in a way that was not asked for"

_FAMILIES = {
    "invalid_client": Reason.CREDENTIAL_INVALID,
    "invalid_grant": Reason.GRANT_DEAD,
    "interaction_required": Reason.INTERACTION_REQUIRED,
    "login_required": Reason.INTERACTION_REQUIRED,
    "consent_required": Reason.CONSENT,
    "server_error": Reason.IDENTITY_FAULT,
    "temporarily_unavailable": Reason.IDENTITY_FAULT,
}
# OAuth's own words, for numbers that the table does not know; any other is a matter of the registration.

_Judge = Callable[[int, Mapping[str, Any], int], Reason]
# Status, body and AADSTS number of an answer that is no token to reason.


@dataclass(frozen=True, slots=True)
class Proof:
    """What proves who we are, as it was read just now. `digest` tells one from another and is no secret."""

    kind: Literal["secret", "certificate", "federated_token", "managed_identity", "grant"]
    digest: str
    value: str = field(default="", repr=False)

    @staticmethod
    def by(kind: Literal["secret", "certificate", "federated_token"], value: str) -> "Proof":
        """Return the proof that a text is.

        Raises:
            Failed: CREDENTIAL_INVALID for one that nothing could send.

        """
        try:
            return Proof(kind, sha256(value.encode()).hexdigest(), value)
        except UnicodeEncodeError:
            message = f"the tenant's {kind.replace('_', ' ')} holds half a character (a surrogate), which cannot be sent"
            raise Failed(Reason.CREDENTIAL_INVALID, message) from None

    @staticmethod
    def of_machine(identity: ManagedIdentity | None) -> "Proof":
        """Return the proof that needs none: Azure knows the machine."""
        return Proof("managed_identity", sha256(repr(identity).encode()).hexdigest())


@dataclass(frozen=True, slots=True)
class Token:
    """An access token. `issued` and `expires` are Unix seconds by our own clock; `claims` are decoded and never validated.

    `came` is when it came by the clock that never jumps (time.monotonic).
    """

    value: str = field(repr=False)
    expires: float
    issued: float
    claims: Mapping[str, object] = field(default_factory=dict)
    came: float = field(default_factory=time.monotonic, compare=False)

    @property
    def age(self) -> float:
        """Seconds since it came, by whichever clock says more: one stands while the machine sleeps, the other may be set back."""
        return max(time.monotonic() - self.came, time.time() - self.issued)

    @property
    def roles(self) -> frozenset[str]:
        """Application permissions that the token carries."""
        roles = self.claims.get("roles")
        return frozenset(role for role in roles if isinstance(role, str)) if isinstance(roles, list) else frozenset()

    @property
    def scopes(self) -> frozenset[str]:
        """Delegated permissions that the token carries."""
        scopes = self.claims.get("scp")
        return frozenset(scopes.split()) if isinstance(scopes, str) else frozenset()


@dataclass(frozen=True, slots=True)
class Given:
    """What came: the token, and a new refresh token where one came with it."""

    token: Token
    refresh_token: str = field(default="", repr=False)


async def ask(ctx: Context, tenant: Tenant, proof: Proof, resource: str, path: str = TOKEN_PATH) -> Given:
    """Ask once for a token for `resource` (such as `https://graph.microsoft.com`), within an open step.

    Raises:
        Failed: with a reason of names, connections, proxies, TLS, or identity.
        Inconclusive: THROTTLED, or where this machine lacks what the run needs.

    """
    ctx.hide(proof.value)
    if proof.kind == "managed_identity":
        request = _metadata_request(ctx, tenant.credential.managed_identity or ManagedIdentity(), resource)
        sent = tuple(value for name, value in request.headers if name == _IDENTITY_HEADER)
        return _given(ctx, await _exchange(ctx, tenant, request, None), _metadata_reason, sent)
    form = _form(tenant, proof, resource, path)
    ctx.hide(form.get("client_assertion", ""))
    response = await post(ctx, tenant, path, form)
    judge = _reason if proof.kind == "grant" else _reason_of_app
    try:
        return _given(ctx, response, judge, (proof.value, form.get("client_assertion", "")))
    except Failed as failed:
        raise _about_grant(ctx, _about_certificate(failed, proof), proof) from failed


async def post(ctx: Context, tenant: Tenant, path: str, form: Mapping[str, str]) -> Response:
    """Post a form to a path of the tenant's login host.

    Raises:
        Failed: with a reason of names, connections, proxies, TLS, or of HTTP itself.
        Inconclusive: where this machine lacks what the run needs.

    """
    request = Request("POST", parse(_endpoint(tenant, path)), _FORM, urlencode(form).encode())
    return await _exchange(ctx, tenant, request, route_to(ctx, tenant.through, request.url))


def resource_of(tenant: Tenant, resource: str) -> str:
    """Return the resource in full: the tenant's Microsoft Graph where none is named."""
    return resource or f"https://{tenant.where.graph}"


def json_of(response: Response) -> dict[str, Any]:
    """Return the object that an answer holds, empty where it holds none."""
    try:
        found = loads(response.body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def refusal(ctx: Context, response: Response, sent: tuple[str, ...] = ()) -> Stopped:
    """Return what Entra's answer to a form means where it is no token, and keep its trace as evidence.

    `sent` are the secrets of the form; a server may send them back, and they must not be shown.
    """
    return _refusal(ctx, response, _reason, sent)


def given(ctx: Context, response: Response, sent: tuple[str, ...] = ()) -> Given:
    """Return the token that Entra's answer to a form holds; `sent` as in `refusal`.

    Raises:
        Failed: with a reason of identity, or PROTOCOL_ERROR.
        Inconclusive: THROTTLED.

    """
    return _given(ctx, response, _reason, sent)


async def _exchange(ctx: Context, tenant: Tenant, request: Request, route: Route | None) -> Response:
    try:
        return await fetch(ctx, request, trust=tenant.tls, route=route, wanted=_ANSWER)
    except Failed as failed:
        if failed.reason is not Reason.PROTOCOL_ERROR:
            raise
        # What is wrong with an answer may be what it repeats of the request.
        raise Failed(Reason.PROTOCOL_ERROR, f"{request.url.authority}: {_NO_ANSWER}", code=failed.code) from None


def _endpoint(tenant: Tenant, path: str) -> str:
    return f"https://{tenant.where.login}{path.format(tenant=tenant.tenant_id)}"


def _about_certificate(failed: Failed, proof: Proof) -> Failed:
    """Say that our certificate has ended where that is why: Entra says the same of one that was never registered."""
    if failed.reason is not Reason.CREDENTIAL_INVALID or proof.kind != "certificate":
        return failed
    end = signer(proof.value).not_after
    if end > time.time():
        return failed
    message = f"our certificate has ended on {time.strftime('%Y-%m-%d', time.gmtime(end))}; {failed.message}"
    return Failed(Reason.CREDENTIAL_EXPIRED, message, code=failed.code)


def _about_grant(ctx: Context, failed: Failed, proof: Proof) -> Failed:
    """Say what helps where the stored sign-in is over, or is damaged, which Entra takes for a request that is malformed."""
    if proof.kind != "grant" or not (failed.reason is Reason.GRANT_DEAD or failed.code == _MALFORMED):
        return failed
    return Failed(failed.reason, f"{failed.message}; run `fogbell login {ctx.tenant}`", code=failed.code)


def _form(tenant: Tenant, proof: Proof, resource: str, path: str) -> dict[str, str]:
    form = {"client_id": tenant.client_id, "grant_type": "client_credentials", "scope": f"{resource}/.default"}
    match proof.kind:
        case "secret":
            return form | {"client_secret": proof.value}
        case "grant":
            more = {"grant_type": "refresh_token", "refresh_token": proof.value, "scope": f"{resource}/.default openid offline_access"}
            return form | more
        case "certificate":
            signed = assertion(proof.value, tenant.client_id, _endpoint(tenant, path))
        case _:
            signed = proof.value.strip()
    return form | {"client_assertion_type": _ASSERTION_TYPE, "client_assertion": signed}


def _metadata_request(ctx: Context, identity: ManagedIdentity, resource: str) -> Request:
    """Ask the machine's own service. It is never reached through a proxy."""
    hosted = identity.endpoint is not None
    query = {"api-version": "2019-08-01" if hosted else "2018-02-01", "resource": resource}
    if identity.client_id is not None:
        query["client_id"] = identity.client_id
    url = parse(f"{identity.endpoint or METADATA}?{urlencode(query)}")
    secret = () if identity.header is None else ((_IDENTITY_HEADER, ctx.secret(identity.header)),)
    return Request("GET", url, (*secret, ("Accept", "application/json")) if hosted else (("Metadata", "true"),))


def _given(ctx: Context, response: Response, judge: _Judge, sent: tuple[str, ...] = ()) -> Given:
    _keep_trace(ctx, response, sent)
    if response.status != _OK:
        raise _refusal(ctx, response, judge, sent)
    body = json_of(response)
    value = body.get("access_token")
    if not isinstance(value, str) or not re.fullmatch(r"[!-~]+", value):
        raise Failed(Reason.PROTOCOL_ERROR, "the answer is no token: it has no access_token that could be sent", code=str(response.status))
    ctx.hide(value)
    now = time.time()
    life = _life(body, now)
    if not 0 < life < inf:
        raise Failed(Reason.PROTOCOL_ERROR, "the answer is no token: it does not say how long it lives", code=str(response.status))
    refresh = body.get("refresh_token")
    token = Token(value, now + min(life, _LONGEST_LIFE), now, claims_of(value))
    # One that could not be sent must not take the place of the one that has just been good.
    return Given(token, refresh if isinstance(refresh, str) and _REFRESH_TOKEN.fullmatch(refresh) else "")


def _keep_trace(ctx: Context, response: Response, sent: tuple[str, ...]) -> None:
    """Keep what Microsoft's support asks for."""
    for name in ("x-ms-request-id", "x-ms-ests-server"):
        if (value := response.header(name)) is not None:
            ctx.evidence(name, _scrubbed(value, sent)[:100])


def _refusal(ctx: Context, response: Response, judge: _Judge, sent: tuple[str, ...]) -> Stopped:
    body = json_of(response)
    for name in ("trace_id", "correlation_id"):
        if isinstance(body.get(name), str) and _ID.fullmatch(body[name]):
            ctx.evidence(name, _scrubbed(body[name], sent))
    number = _number(body)
    reason = judge(response.status, body, number)
    code = f"AADSTS{number}" if number and response.status < _ITS_FAULT else str(response.status)
    if number in ASSERTION_TIMES:
        _tell_skew(ctx, response)
    ctx.evidence("token_status", response.status)
    message = _message(response, body, number, sent)
    if reason is Reason.THROTTLED:
        return Inconclusive(reason, message, code=code, retry_after=retry_after(response.header("retry-after"), response.header("date")))
    return Failed(reason, message, code=code)


def _scrubbed(text: str, sent: tuple[str, ...]) -> str:
    """Take secrets out of what a server sent back, as they are and as a form writes them."""
    for secret in sent:
        for written in {secret, quote_plus(secret), secret.strip()} - {""}:
            text = text.replace(written, "***")
    return text


def _life(body: Mapping[str, Any], now: float) -> float:
    """Seconds that the token lives. App Service says only until when, and the metadata service writes numbers as text."""
    for name, since in (("expires_in", 0.0), ("expires_on", now)):
        try:
            return float(body[name]) - since
        except (KeyError, TypeError, ValueError, OverflowError):
            continue
    return 0.0


def claims_of(token: str) -> dict[str, object]:
    """Return what a token says, unchecked; nothing where it is no JWT: its form is Microsoft's own affair."""
    parts = token.split(".")
    if len(parts) < 3:  # noqa: PLR2004 - header, claims, signature (RFC 7515 7.1)
        return {}
    try:
        claims = json.loads(urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}


def _number(body: Mapping[str, Any]) -> int:
    """Return the AADSTS number, 0 where there is none."""
    codes = body.get("error_codes")
    if isinstance(codes, list) and codes and isinstance(codes[0], int):
        return codes[0]
    described = re.match(r"AADSTS([0-9]{2,9})\b", str(body.get("error_description", "")))
    return int(described.group(1)) if described else 0


def _reason(status: int, body: Mapping[str, Any], number: int) -> Reason:
    if status == _TOO_MANY:
        return Reason.THROTTLED
    if status >= _ITS_FAULT:
        return Reason.IDENTITY_FAULT
    if _REDIRECT <= status < _BAD:
        return Reason.HTTP_REDIRECT
    error = body.get("error")
    if status < _BAD or not isinstance(error, str):
        return Reason.PROTOCOL_ERROR
    if number in FAULTS:
        return FAULTS[number].reason
    # RFC 6749 5.2: 401 is for who could not prove who they are.
    return _FAMILIES.get(error, Reason.CREDENTIAL_INVALID if status == _UNPROVEN else Reason.APP_CONFIG)


def _reason_of_app(status: int, body: Mapping[str, Any], number: int) -> Reason:
    """Judge what an application is told: nobody can ask it for a second factor, so what asks for one is a policy that blocks it."""
    reason = _reason(status, body, number)
    return Reason.BLOCKED_BY_POLICY if reason is Reason.INTERACTION_REQUIRED else reason


def _metadata_reason(status: int, _body: Mapping[str, Any], _number: int) -> Reason:
    if status == _TOO_MANY:
        return Reason.THROTTLED
    if status >= _ITS_FAULT or status in _NOT_READY:
        return Reason.IDENTITY_FAULT
    return Reason.APP_CONFIG if status >= _BAD else Reason.PROTOCOL_ERROR


def _message(response: Response, body: Mapping[str, Any], number: int, sent: tuple[str, ...]) -> str:
    described = _TRAILER.sub("", _scrubbed(str(body.get("error_description") or body.get("error") or ""), sent))[:300]
    clock = "; look at this machine's clock (evidence clock_skew) and at the certificate" if number in ASSERTION_TIMES else ""
    return f"no token, status {response.status}" + (f": {described}" if described else "") + clock


def _tell_skew(ctx: Context, response: Response) -> None:
    """Keep how far our clock is ahead of the server's, in seconds."""
    if server := moment(response.header("date")):
        ctx.evidence("clock_skew", f"{time.time() - server:+.0f} s against the server's clock")
