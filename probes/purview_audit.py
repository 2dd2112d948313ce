"""Have Microsoft Purview search its audit log, and see how long it takes: whoever looks into an incident waits for just that.

```yaml
probes:
  - name: audit-log
    kind: purview_audit
    tenant: contoso
```

| step | what it does |
|---|---|
| token | gets a token |
| create | asks for a search: who signed in during the last hour |
| wait | looks again and again until the search has succeeded |

What is found is not read. A search is a job that Purview does when it finds the time: in minutes as a rule, and more than an hour is known
of small tenants, too. So a run may take two hours (`timeout`), and fails with `timeout` in `wait` when the search is not done by then; the
last state it was seen in is in the evidence. It looks after 15 seconds at first, then ever more seldom, a tenth of the time passed and two
minutes at most: `look_granularity_seconds` says how precise `search_seconds` is. A search that ends as failed or cancelled is
`content_mismatch`.

Nobody can delete a search: the list of searches in Purview keeps what each run asks for, under a name that says what it is. Hence once a
day, and less than six hours only with `allow_short_interval`. `fogbell once` asks for one, too.

The application permission AuditLogsQuery-Entra.Read.All is needed, the narrowest there is, and where Purview asks for it a role that may
search the audit log (View-Only Audit Logs). A missing role (`permission`), a missing licence (`licence_missing`) and a tenant that does not
record its audit log at all (`blocked_by_policy`) are told from an outage where the answer says so in words that we know.
"""

import asyncio
import time
from collections.abc import Iterator
from time import perf_counter
from typing import Any

from probes.core.context import Context
from probes.core.contract import Failed, Layer, Measurement, Place, Probe, Settings, Workload, always
from probes.core.needs import Cost, Permission, Service
from probes.core.reasons import Reason
from probes.lib.graph import MEASUREMENTS, call, segment, sign_in, text_in, written
from probes.lib.tenant import Tenant, tenant_of
from probes.lib.tokens import Token

SEARCHES = "/security/auditLog/queries"
NAME = "Fogbell: is the audit log searchable? Nobody needs to look at this."
_HOUR = 3_600.0
_FIRST, _SHARE, _LONGEST = 15.0, 0.1, 120.0
# Seconds until the first look, part of the time passed until each later one, and seconds until a look at most.
_UNDER_WAY = frozenset({"notstarted", "running"})
_NEEDS = (Permission("AuditLogsQuery-Entra.Read.All", "search the audit log for sign-ins"),)


class PurviewAudit(Settings):
    """Nothing to set: the tenant says it all."""


async def run(ctx: Context, _: PurviewAudit) -> None:
    """Ask for a search, and wait for its end."""
    tenant = tenant_of(ctx)
    with ctx.step("token"):
        token = await sign_in(ctx, tenant, _NEEDS)
    with ctx.step("create"):
        body = searched(time.time())
        asked = perf_counter()
        answer = await call(ctx, tenant, token, Service.AUDIT_SEARCH, "POST", SEARCHES, body=body, accept=(201,))
        number = text_in(answer.data, "id", "the answer does not say by which id the search can be found")
        ctx.evidence("search", number)
    with ctx.step("wait"):
        await _succeeded(ctx, tenant, token, number, asked)


def searched(now: float) -> dict[str, Any]:
    """Return what is asked for at a moment (Unix time): sign-ins of the hour before."""
    start, end = map(written, (now - _HOUR, now))
    return {"displayName": NAME, "filterStartDateTime": start, "filterEndDateTime": end, "operationFilters": ["UserLoggedIn"]}


def pauses() -> Iterator[float]:
    """Yield the seconds to wait before each look."""
    passed = 0.0
    while True:
        pause = min(max(_FIRST, passed * _SHARE), _LONGEST)
        passed += pause
        yield pause


async def _succeeded(ctx: Context, tenant: Tenant, token: Token, number: str, asked: float) -> None:
    """Look until the search has succeeded, and measure how long that took; the run's deadline ends what never does."""
    before = asked
    for pause in pauses():
        await asyncio.sleep(pause)
        answer = await call(ctx, tenant, token, Service.AUDIT_SEARCH, "GET", f"{SEARCHES}/{segment(number)}")
        looked, status = perf_counter(), text_in(answer.data, "status", "the answer does not say how far the search is")
        ctx.evidence("search_status", status)
        if status.lower() == "succeeded":
            ctx.measure("search_seconds", looked - asked)
            ctx.measure("look_granularity_seconds", looked - before)
            return
        if status.lower() not in _UNDER_WAY:
            raise Failed(Reason.CONTENT_MISMATCH, f"the search of the audit log ended as {status}")
        before = looked


PROBE = Probe(
    run,
    PurviewAudit,
    place=lambda _: Place(Layer.FEATURE, Workload.PURVIEW),
    steps=("token", "create", "wait"),
    measurements=(
        Measurement("search_seconds", "Time from asking for the search of the audit log to the look that saw it done."),
        Measurement("look_granularity_seconds", "Time between that look and the one before: the search was done at some moment in it."),
        *MEASUREMENTS,
    ),
    interval=86_400.0,
    timeout=7_200.0,
    floor=21_600.0,
    least_timeout=600.0,
    tenant=always,
    permissions=lambda _: _NEEDS,
    # Of a search that takes five minutes.
    costs=lambda _: (Cost(Service.AUDIT_SEARCH, calls=18),),
)
