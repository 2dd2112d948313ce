"""Get a new token from Entra, and read whether it is what it should be.

Tokens last an hour and more, so whoever uses one that is kept does not notice that no new ones are given. This asks for a new one in every
run (never twice at a time for one credential, and not at once again after a failure), and reads its claims: for the resource, of the
tenant, to our application, for a plausible time.

```yaml
probes:
  - name: token
    kind: entra_token
    tenant: contoso
    resource: graph
    roles: [ServiceHealth.Read.All]
```

`roles` are the application permissions the token has to carry; one that is missing is named as `permission`, before a probe that needs it
fails. What is granted beyond them is evidence and a number: least privilege is easy to lose.

No permission is needed. Where the application may read its registration (`Application.Read.All`), it is asked when the secret or
certificate in use ends; that this cannot be found out is no failure.
"""

import asyncio
from datetime import UTC, datetime
from time import perf_counter
from typing import Annotated

from pydantic import AfterValidator, Field

from probes.core.context import Context
from probes.core.contract import Failed, Layer, Measurement, Place, Probe, Settings, Stopped, Workload, always
from probes.core.needs import Cost, Service
from probes.core.reasons import Reason
from probes.lib.credential_expiry import READERS, Kind, ask_expiry, kind_of
from probes.lib.tenant import Tenant, tenant_of
from probes.lib.tls import EXPIRY
from probes.lib.tokens import Token, token_for
from probes.lib.url import parse

_IDS = {"graph": "00000003-0000-0000-c000-000000000000", "exchange": "00000002-0000-0ff1-ce00-000000000000"}
# What Microsoft's own services are called in tokens, besides their address.

_SHORTEST_LIFE, _LONGEST_LIFE = 300.0, 2 * 86_400.0
# Lifetimes that Entra can be set to begin at ten minutes; with continuous access evaluation a token lasts up to 28 hours.
_END_OF_TIME = 1e11
_EXPIRY_SECONDS = 5.0
_SPARE_SECONDS = 0.2


def _resource(text: str) -> str:
    if text not in _IDS and parse(text).scheme != "https":
        raise ValueError("must be graph, exchange, or an address that begins with https://")
    return text.rstrip("/")


class EntraToken(Settings):
    """Which token to get, and what it has to carry."""

    resource: Annotated[str, AfterValidator(_resource)] = "graph"
    """What the token is for: `graph`, `exchange`, or the address of another service, such as `https://contoso.sharepoint.com`."""
    roles: tuple[Annotated[str, Field(min_length=1)], ...] | None = None
    """Application permissions that the token has to carry. Without this, none is looked at."""


async def run(ctx: Context, settings: EntraToken) -> None:
    """Get a token and judge it."""
    tenant = tenant_of(ctx)
    resource = _address(tenant, settings.resource)
    with ctx.step("token"):
        token = await token_for(ctx, tenant, resource, fresh=True)
    ctx.measure("token_lifetime_seconds", token.expires - token.issued)
    with ctx.step("claims"):
        _judge(ctx, tenant, settings, token)
    kind = kind_of(tenant)
    if settings.resource == "graph" and kind is not None and token.roles & READERS:
        await _find_expiry(ctx, tenant, token, kind)


def _address(tenant: Tenant, resource: str) -> str:
    return {"graph": f"https://{tenant.where.graph}", "exchange": f"https://{tenant.where.exchange}"}.get(resource, resource)


def _judge(ctx: Context, tenant: Tenant, settings: EntraToken, token: Token) -> None:
    if not token.claims:
        raise _mismatch("the token cannot be read: it is no JWT")
    _tell_skew(ctx, token)
    _judge_audience(tenant, settings, token)
    if _claim(token, "tid") != tenant.tenant_id:
        raise _mismatch(f"the token is of the tenant {_claim(token, 'tid') or 'nobody'}, not of ours")
    wanted = _our_id(tenant)
    ours = _claim(token, "appid") or _claim(token, "azp")
    if wanted is not None and ours != wanted:
        raise _mismatch(f"the token is for the application {ours or 'nobody'}, not for ours")
    _judge_life(token)
    if settings.roles is not None:
        _judge_roles(ctx, frozenset(settings.roles), token)


def _judge_audience(tenant: Tenant, settings: EntraToken, token: Token) -> None:
    audience = _claim(token, "aud").rstrip("/")
    known = {_address(tenant, settings.resource).lower(), _IDS.get(settings.resource, "")}
    if settings.resource == "graph":
        # A tenant that names a Graph of its own in `hosts` may still get tokens in Microsoft's name.
        known.add("https://graph.microsoft.com")
    if not audience or audience not in known:
        raise _mismatch(f"the token is for {audience or 'nothing'}, not for {_address(tenant, settings.resource)}")


def _judge_life(token: Token) -> None:
    begins, ends = _moment(token, "iat"), _moment(token, "exp")
    if begins is None or ends is None:
        raise _mismatch("the token does not say from when until when it is good")
    if not _SHORTEST_LIFE <= ends - begins <= _LONGEST_LIFE:
        raise _mismatch(f"the token is good for {ends - begins:g} s, which is not plausible")


def _judge_roles(ctx: Context, wanted: frozenset[str], token: Token) -> None:
    beyond = sorted(token.roles - wanted)
    ctx.measure("excessive_roles", len(beyond))
    if beyond:
        ctx.evidence("roles_beyond_need", " ".join(beyond))
    missing = sorted(wanted - token.roles)
    if missing:
        raise Failed(Reason.PERMISSION, f"the application lacks {', '.join(missing)}")


def _tell_skew(ctx: Context, token: Token) -> None:
    """Measure how far our clock is ahead: the answer says how long the token lasts, the token until when by Entra's clock."""
    ends = _moment(token, "exp")
    if ends is not None:
        ctx.measure("clock_skew_seconds", token.expires - ends)


def _our_id(tenant: Tenant) -> str | None:
    """Return the client id a token of ours names; None where Azure gives the machine an identity of its choice."""
    identity = tenant.credential.managed_identity
    return tenant.client_id if identity is None else identity.client_id


def _claim(token: Token, name: str) -> str:
    value = token.claims.get(name)
    return value[:100].lower() if isinstance(value, str) else ""


def _moment(token: Token, name: str) -> float | None:
    """Return a claim that is Unix seconds; None for what no clock shows."""
    value = token.claims.get(name)
    return float(value) if isinstance(value, int | float) and 0 < value < _END_OF_TIME else None


def _mismatch(message: str) -> Failed:
    return Failed(Reason.CONTENT_MISMATCH, message)


async def _find_expiry(ctx: Context, tenant: Tenant, token: Token, kind: Kind) -> None:
    """Find out when our credential ends. Whatever goes wrong here is no outage of the sign-in, and must not take the run's time."""
    try:
        async with asyncio.timeout(min(_EXPIRY_SECONDS, ctx.deadline - perf_counter() - _SPARE_SECONDS)):
            with ctx.step("expiry"):
                end = await ask_expiry(ctx, tenant, token, kind)
    except Stopped as stopped:
        ctx.evidence("credential_expires", f"unknown: {stopped.message}")
    except TimeoutError:
        ctx.evidence("credential_expires", "unknown: no answer in time")
    else:
        ctx.evidence("credential_expires", datetime.fromtimestamp(end, UTC).isoformat(timespec="seconds"))


def costs(settings: EntraToken) -> tuple[Cost, ...]:
    """Count a token, and a look at the registration where that is allowed."""
    return (Cost(Service.LOGIN, 1), Cost(Service.DIRECTORY, 1)) if settings.resource == "graph" else (Cost(Service.LOGIN, 1),)


PROBE = Probe(
    run,
    EntraToken,
    place=lambda _: Place(Layer.IDENTITY, Workload.ENTRA),
    steps=("token", "claims", "expiry"),
    measurements=(
        Measurement("token_lifetime_seconds", "For how long the new token is good."),
        Measurement("clock_skew_seconds", "How far our clock is ahead of Entra's."),
        Measurement("excessive_roles", "Application permissions in the token beyond those of `roles`."),
        Measurement(EXPIRY, "When the certificate of Microsoft Graph's server expires, where it was asked, in Unix time."),
    ),
    interval=300.0,
    floor=60.0,
    tenant=always,
    costs=costs,
)
