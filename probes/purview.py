"""Ask Microsoft Purview for what protects data: a sensitivity label, and, where it is wanted, an eDiscovery case.

```yaml
probes:
  - name: purview
    kind: purview
    tenant: contoso
```

With eDiscovery as well:

```yaml
probes:
  - name: purview
    kind: purview
    tenant: contoso
    parts: [labels, ediscovery]
```

| part | what it does | application permission |
|---|---|---|
| labels | lists one sensitivity label | SensitivityLabel.Read |
| ediscovery | lists one eDiscovery case | eDiscovery.Read.All, and a role group of eDiscovery in Purview |

Each part is a step. Nothing is created, nothing of what is listed is kept, and a tenant without labels or cases is ok: the answer is an
empty list. It proves the API; whether the portal is there is for the kind `portal`.

eDiscovery allows an application five calls a minute, in a tenant of any size. One call is a fifth of that, which is why the part is left
out unless it is asked for. Its role group is none of Graph's permissions: without it the answer is 401 although the token is good, which is
told as `permission` where the service does not say that it is the token which it refuses.

A tenant without a licence is told from a missing permission and from an outage (`licence_missing`) where the answer says so in words that
we know. Some tenants in which Purview was never set up are known to answer with 500, saying that the service did not accept the token; that
could as well be an outage, so it stays `http_5xx`, and `hint` in the evidence says what else it may be.

Below five minutes it needs `allow_short_interval`.
"""

from typing import Annotated, Literal

from pydantic import Field

from probes.core.context import Context
from probes.core.contract import Failed, Layer, Place, Probe, Settings, Workload, always
from probes.core.needs import Cost, Permission, Service
from probes.core.reasons import Reason
from probes.lib.graph import MEASUREMENTS, call, items, sign_in, text_in
from probes.lib.tenant import Tenant, tenant_of
from probes.lib.tokens import Token

Part = Literal["labels", "ediscovery"]

_PATHS: dict[Part, str] = {
    "labels": "/security/dataSecurityAndGovernance/sensitivityLabels",
    "ediscovery": "/security/cases/ediscoveryCases",
}
_SERVICES: dict[Part, Service] = {"labels": Service.SECURITY, "ediscovery": Service.EDISCOVERY}
_NEEDS: dict[Part, Permission] = {
    "labels": Permission("SensitivityLabel.Read", "list a sensitivity label"),
    "ediscovery": Permission(
        "eDiscovery.Read.All", "list an eDiscovery case; the application has to be in a role group of eDiscovery, too"
    ),
}
_OF_NO_TOKEN = frozenset({"Unauthorized", "UnknownError"})
# Codes with which 401 is known to come where the role group is missing; a refused token has its own, InvalidAuthenticationToken.
_NO_ROLE = "the application has to be in a role group of eDiscovery in Purview, besides its permission"
_NEVER_SET_UP = "accept the auth token"
_HINT = "a tenant in which Purview was never set up is known to answer like this"


class Purview(Settings):
    """What to ask Purview for."""

    parts: Annotated[tuple[Part, ...], Field(min_length=1)] = ("labels",)
    """What to do, in this order."""


async def run(ctx: Context, settings: Purview) -> None:
    """Get a token, and do one part after the other."""
    tenant = tenant_of(ctx)
    with ctx.step("token"):
        token = await sign_in(ctx, tenant, _permissions(settings))
    for part in settings.parts:
        with ctx.step(part):
            await _list(ctx, tenant, token, part)


async def _list(ctx: Context, tenant: Tenant, token: Token, part: Part) -> None:
    """List one, and see that it is one."""
    try:
        found = items(await call(ctx, tenant, token, _SERVICES[part], "GET", _PATHS[part], query=(("$top", "1"),)))
    except Failed as failed:
        if part == "ediscovery" and failed.reason is Reason.TOKEN_REJECTED and failed.code in _OF_NO_TOKEN:
            raise Failed(Reason.PERMISSION, f"{failed.message}: {_NO_ROLE}", code=failed.code) from failed
        if _NEVER_SET_UP in ctx.evidence_found.get("error_message", ""):
            ctx.evidence("hint", _HINT)
        raise
    for one in found:
        text_in(one, "id", f"one of the {part} in the answer has no id")
    ctx.evidence(part, "listed" if found else "none")


def _permissions(settings: Purview) -> tuple[Permission, ...]:
    return tuple(_NEEDS[part] for part in dict.fromkeys(settings.parts))


PROBE = Probe(
    run,
    Purview,
    place=lambda _: Place(Layer.WORKLOAD, Workload.PURVIEW),
    steps=("token", "labels", "ediscovery"),
    measurements=MEASUREMENTS,
    interval=1_800.0,
    floor=300.0,
    tenant=always,
    permissions=_permissions,
    costs=lambda settings: tuple(Cost(_SERVICES[part], calls=1) for part in settings.parts),
)
