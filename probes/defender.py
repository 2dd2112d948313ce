"""Ask Microsoft Defender XDR as a security team's tools do: list an incident, and run a hunting query of constant cost.

```yaml
probes:
  - name: defender
    kind: defender
    tenant: contoso
```

With `parts` there is more of it, or less:

```yaml
probes:
  - name: defender
    kind: defender
    tenant: contoso
    parts: [incidents, alerts, hunting, secure_scores]
```

| part | what it does | application permission |
|---|---|---|
| incidents | lists one incident | SecurityIncident.Read.All |
| alerts | lists one alert | SecurityAlert.Read.All |
| hunting | runs a query that prints a new word, and looks whether just this word is the answer | ThreatHunting.Read.All |
| secure_scores | lists one secure score | SecurityEvents.Read.All |

Each part is a step. What incidents and alerts say is asked for as little as can be and kept nowhere. A tenant without any is ok: the answer
is an empty list. Nothing is created, and the query reads no table.

A tenant without a licence of Defender, or one in which nobody ever opened its portal, is told from a missing permission and from an outage
(`licence_missing`), where the answer says so in words that we know; Microsoft documents none. Hunting has a quota of calls and of computing
time for the whole tenant: where other queries have used it up, the run is inconclusive (`throttled`), and says nothing about Defender.

Below five minutes it needs `allow_short_interval`: security teams share these limits, and need them more than we do.
"""

from secrets import token_hex
from typing import Annotated, Any, Literal

from pydantic import Field

from probes.core.context import Context
from probes.core.contract import Failed, Layer, Place, Probe, Settings, Workload, always
from probes.core.needs import Cost, Permission, Service
from probes.core.reasons import Reason
from probes.lib.graph import MEASUREMENTS, call, items, sign_in, text_in
from probes.lib.tenant import Tenant, tenant_of
from probes.lib.tokens import Token

Part = Literal["incidents", "alerts", "hunting", "secure_scores"]
Query = tuple[tuple[str, str], ...]

HUNTING = "/security/runHuntingQuery"
_COLUMN = "fogbell"
_ONE = ("$top", "1")
_LISTS: dict[Part, tuple[str, Query]] = {
    "incidents": ("/security/incidents", (_ONE, ("$select", "id,status,severity,lastUpdateDateTime"))),
    "alerts": ("/security/alerts_v2", (_ONE,)),
    "secure_scores": ("/security/secureScores", (_ONE,)),
}
_NEEDS: dict[Part, Permission] = {
    "incidents": Permission("SecurityIncident.Read.All", "list an incident"),
    "alerts": Permission("SecurityAlert.Read.All", "list an alert"),
    "hunting": Permission("ThreatHunting.Read.All", "run a hunting query"),
    "secure_scores": Permission("SecurityEvents.Read.All", "list a secure score"),
}


class Defender(Settings):
    """What to ask Defender for."""

    parts: Annotated[tuple[Part, ...], Field(min_length=1)] = ("incidents", "hunting")
    """What to do, in this order."""


async def run(ctx: Context, settings: Defender) -> None:
    """Get a token, and do one part after the other."""
    tenant = tenant_of(ctx)
    with ctx.step("token"):
        token = await sign_in(ctx, tenant, _permissions(settings))
    for part in settings.parts:
        with ctx.step(part):
            await (_hunt(ctx, tenant, token) if part == "hunting" else _list(ctx, tenant, token, part))


async def _list(ctx: Context, tenant: Tenant, token: Token, part: Part) -> None:
    """List one, and see that it is one."""
    path, query = _LISTS[part]
    found = items(await call(ctx, tenant, token, Service.SECURITY, "GET", path, query=query))
    for one in found:
        text_in(one, "id", f"one of the {part} in the answer has no id")
    ctx.evidence(part, "listed" if found else "none")


async def _hunt(ctx: Context, tenant: Tenant, token: Token) -> None:
    """Have a word printed that no query before had, so that no kept answer can pass for a new one."""
    word = token_hex(8)
    body = {"query": f'print {_COLUMN}="{word}"', "timespan": "P1D"}
    answer = await call(ctx, tenant, token, Service.HUNTING, "POST", HUNTING, body=body)
    match _folded(answer.data).get("results"):
        case [row] if _folded(row).get(_COLUMN) == word:
            return
    raise Failed(Reason.CONTENT_MISMATCH, "the answer of the hunting query is not the one word that it prints")


def _folded(value: Any) -> dict[str, Any]:
    """Return an object by names in small letters: documentation and service do not agree on capitals. Anything else is empty."""
    return {str(name).lower(): content for name, content in value.items()} if isinstance(value, dict) else {}


def _permissions(settings: Defender) -> tuple[Permission, ...]:
    return tuple(_NEEDS[part] for part in dict.fromkeys(settings.parts))


def _costs(settings: Defender) -> tuple[Cost, ...]:
    hunts = settings.parts.count("hunting")
    lists = len(settings.parts) - hunts
    return tuple(Cost(service, calls) for service, calls in ((Service.SECURITY, lists), (Service.HUNTING, hunts)) if calls)


PROBE = Probe(
    run,
    Defender,
    place=lambda _: Place(Layer.WORKLOAD, Workload.DEFENDER),
    steps=("token", "incidents", "alerts", "hunting", "secure_scores"),
    measurements=MEASUREMENTS,
    interval=900.0,
    timeout=60.0,
    floor=300.0,
    tenant=always,
    permissions=_permissions,
    costs=_costs,
)
