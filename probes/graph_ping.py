"""Ask Microsoft Graph for the tenant's own entry: the smallest call that needs a token, and that every tenant answers.

It looks at the door through which all of Microsoft 365's API goes. While it is open, what another probe finds is its own service's.

```yaml
probes:
  - name: graph
    kind: graph_ping
    tenant: contoso
```

The application permission Organization.Read.All is needed.
"""

from probes.core.context import Context
from probes.core.contract import Failed, Layer, Place, Probe, Settings, Workload, always
from probes.core.needs import Cost, Permission, Service
from probes.core.reasons import Reason
from probes.lib.graph import MEASUREMENTS, call, items, sign_in
from probes.lib.tenant import tenant_of

_NEEDS = (Permission("Organization.Read.All", "read the tenant's own entry"),)


class GraphPing(Settings):
    """Nothing to set: the tenant says it all."""


async def run(ctx: Context, _: GraphPing) -> None:
    """Get a token, ask for the organization, and see that it is ours."""
    tenant = tenant_of(ctx)
    with ctx.step("token"):
        token = await sign_in(ctx, tenant, _NEEDS)
    with ctx.step("organization"):
        answer = await call(ctx, tenant, token, Service.DIRECTORY, "GET", "/organization", query=(("$select", "id,displayName"),))
        ids = [str(found.get("id")) for found in items(answer)]
        if [one.lower() for one in ids] != [tenant.tenant_id]:
            raise Failed(Reason.CONTENT_MISMATCH, f"Graph answers for {', '.join(ids) or 'no tenant'}, not for {tenant.tenant_id}")


PROBE = Probe(
    run,
    GraphPing,
    # The gateway in front of all services, as the kind http has it for the same host; what fails behind it is not seen from here.
    place=lambda _: Place(Layer.EDGE, Workload.ENTRA),
    steps=("token", "organization"),
    measurements=MEASUREMENTS,
    interval=60.0,
    floor=30.0,
    tenant=always,
    permissions=lambda _: _NEEDS,
    costs=lambda _: (Cost(Service.DIRECTORY, calls=1),),
)
