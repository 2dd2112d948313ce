"""`fogbell login`: the probe user of a tenant signs in once with a device code (RFC 8628), and the agent keeps the refresh token.

Source: learn.microsoft.com/entra/identity-platform/v2-oauth2-device-code.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from agent.job import Job
from agent.permissions.demand import demands
from probes.core.context import Context, Shared
from probes.core.contract import Failed, Stopped
from probes.core.needs import Api
from probes.core.needs import Grant as GrantedAs
from probes.core.reasons import BLAME, Blame, Reason
from probes.core.text import shown
from probes.lib.grants import Grant, Grants, grant_path
from probes.lib.oauth import DEVICE_CODE_PATH, TOKEN_PATH, Given, claims_of, given, json_of, post, refusal
from probes.lib.tenant import Tenant

Say = Callable[[str], None]

_OK = 200
_INTERVAL, _SLOWER, _SLOWEST, _FASTEST = 5.0, 5.0, 60.0, 1.0
_LONGEST_WAIT = 1800.0
_ATTEMPT_SECONDS = 20.0
_LARGEST = 1e9
_DENIED = frozenset({"authorization_declined", "access_denied"})
_EXPIRED = frozenset({"expired_token", "code_expired"})
_PASSING = frozenset({Reason.IDENTITY_FAULT, Reason.THROTTLED, Reason.TIMEOUT})
_GRANT_TYPE = "urn:ietf:params:oauth:grant-type:device_code"
_PUBLIC = "; in the app registration, under Authentication, allow public client flows"


@dataclass(frozen=True, slots=True)
class _Code:
    """A device code. `expires` is by the loop's clock, `interval` in seconds: RFC 8628 has 5 for the default, and no floor."""

    value: str = field(repr=False)
    user_code: str
    address: str
    expires: float
    interval: float


async def login(name: str, tenant: Tenant, scopes: Iterable[str], shared: Shared, say: Say) -> Grant:
    """Let a person sign in and store the grant; `say` shows what to do, and who has signed in.

    Raises:
        Stopped: where nothing came of it, with a message for people.

    """
    path = grant_path(shared.state_dir, name)
    ctx = Context("login", shared, name)
    try:
        grant, good_for = await _grant_by_code(ctx, tenant, scopes, say)
    except Stopped as stopped:
        stopped.reword(shown(ctx.masked(stopped.message)))
        raise
    if not await shared.part(Grants).keep(path, grant):
        raise Failed(Reason.AGENT_RESOURCES, f"the sign-in could not be stored in {path}")
    say(f"Signed in as {shown(grant.user) or 'somebody whose name the token does not tell'}. {good_for}")
    say(f"Permissions: {shown(grant.scopes) or 'none'}. Stored in {path}")
    return grant


async def _grant_by_code(ctx: Context, tenant: Tenant, scopes: Iterable[str], say: Say) -> tuple[Grant, str]:
    """Let a person sign in; return the grant, and until when it is good in a sentence."""
    code = await _code(ctx, tenant, " ".join(scopes))
    say(f"To sign in as the probe user of {ctx.tenant}, open {code.address} in any browser and enter the code {code.user_code}")
    say(f"The code is good for {_minutes(code.expires - _now())}; waiting. Ctrl-C to give up.")
    answer, body = await _signed_in(ctx, tenant, code, say)
    if not answer.refresh_token:
        raise Failed(Reason.PROTOCOL_ERROR, "the answer holds no refresh token: has offline_access been consented to?")
    return _grant(tenant, answer, body), _good_for(body)


def scopes_for(tenant: Tenant, name: str, jobs: Iterable[Job]) -> tuple[str, ...]:
    """Return what to ask consent for: the delegated permissions of the tenant's probes, and what a refresh token needs.

    One request can be for one API only. Where probes need two, it is Microsoft Graph: a refresh token is good for both.
    """
    (demand,) = demands(jobs, {name: tenant})
    needed = [need for need in demand.needs if need.grant is GrantedAs.DELEGATED]
    api = Api.GRAPH if any(need.api is Api.GRAPH for need in needed) or not needed else Api.EXCHANGE
    host = tenant.where.graph if api is Api.GRAPH else tenant.where.exchange
    return "openid", "offline_access", *sorted({f"https://{host}/{need.name}" for need in needed if need.api is api})


async def _code(ctx: Context, tenant: Tenant, scope: str) -> _Code:
    with ctx.step("device_code"):
        async with asyncio.timeout(_ATTEMPT_SECONDS):
            response = await post(ctx, tenant, DEVICE_CODE_PATH, {"client_id": tenant.client_id, "scope": scope})
        if response.status != _OK:
            raise refusal(ctx, response)
        body = json_of(response)
    texts = [body.get(key) for key in ("device_code", "user_code", "verification_uri")]
    if not all(isinstance(text, str) and text for text in texts):
        raise Failed(Reason.PROTOCOL_ERROR, "the answer is no device code")
    value, user_code, address = map(str, texts)
    ctx.hide(value)
    life, interval = _number(body, "expires_in", 900.0), _number(body, "interval", _INTERVAL)
    return _Code(value, shown(user_code), shown(address), _now() + min(life, _LONGEST_WAIT), max(_FASTEST, min(interval, _SLOWEST)))


async def _signed_in(ctx: Context, tenant: Tenant, code: _Code, say: Say) -> tuple[Given, Mapping[str, Any]]:
    """Ask at the interval that the server names until the person has signed in."""
    interval = code.interval
    while _now() + interval < code.expires:
        await asyncio.sleep(interval)
        try:
            answer, body = await _asked(ctx, tenant, code)
        except TimeoutError:
            say("no answer; going on")
            continue
        except Stopped as stopped:
            if not _is_passing(stopped):
                raise
            say(f"{shown(ctx.masked(stopped.message))}; going on")
            interval = min(interval + _SLOWER, _SLOWEST)
            continue
        if answer is not None:
            return answer, body
        interval = min(interval + _SLOWER, _SLOWEST) if body.get("error") == "slow_down" else interval
    raise Failed(Reason.INTERACTION_REQUIRED, "nobody signed in before the code expired")


async def _asked(ctx: Context, tenant: Tenant, code: _Code) -> tuple[Given | None, Mapping[str, Any]]:
    """Ask once. No token yet is None."""
    form = {"grant_type": _GRANT_TYPE, "client_id": tenant.client_id, "device_code": code.value}
    with ctx.step("token"):
        async with asyncio.timeout(_ATTEMPT_SECONDS):
            response = await post(ctx, tenant, TOKEN_PATH, form)
        body = json_of(response)
        error = str(body.get("error"))
        if error in {"authorization_pending", "slow_down"}:
            return None, body
        if error in _DENIED:
            raise Failed(Reason.INTERACTION_REQUIRED, "the sign-in was declined in the browser")
        if error in _EXPIRED:
            raise Failed(Reason.INTERACTION_REQUIRED, "nobody signed in before the code expired")
        return _result(ctx, response, code), body


def _result(ctx: Context, response: Any, code: _Code) -> Given:
    try:
        return given(ctx, response, (code.value,))
    except Failed as failed:
        if failed.code == "AADSTS7000218":
            raise Failed(failed.reason, failed.message + _PUBLIC, code=failed.code) from None
        raise


def _is_passing(stopped: Stopped) -> bool:
    """Tell whether asking again may help: the network, or the provider itself."""
    return stopped.reason in _PASSING or (BLAME[stopped.reason] is not Blame.OURS and stopped.reason is not Reason.PROTOCOL_ERROR)


def _grant(tenant: Tenant, answer: Given, body: Mapping[str, Any]) -> Grant:
    now = time.time()
    who = claims_of(str(body.get("id_token", ""))) | dict(answer.token.claims)
    user = next((who[name] for name in ("upn", "preferred_username", "unique_name", "email", "oid") if isinstance(who.get(name), str)), "")
    return Grant(
        tenant_id=tenant.tenant_id,
        client_id=tenant.client_id,
        login=tenant.where.login,
        refresh_token=answer.refresh_token,
        user=str(user)[:200],
        scopes=" ".join(sorted(answer.token.scopes)) or str(body.get("scope", ""))[:1000],
        signed_in=now,
        rotated=now,
    )


def _good_for(body: Mapping[str, Any]) -> str:
    """Say until when: Entra seldom tells, and ends a sign-in that is not used for 90 days."""
    life = _number(body, "refresh_token_expires_in", 0.0)
    if life:
        return f"The sign-in is good until {datetime.fromtimestamp(time.time() + life, UTC):%Y-%m-%d %H:%M} UTC."
    return "The sign-in is good until the password changes or an administrator revokes it, and while it is used within 90 days."


def _number(body: Mapping[str, Any], name: str, default: float) -> float:
    value = body.get(name)
    return float(value) if isinstance(value, int | float) and 0 < value < _LARGEST else default


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes"


def _now() -> float:
    return asyncio.get_running_loop().time()
