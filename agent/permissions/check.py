"""Compare what is granted with what is needed, by the tokens that the tenant gives us now."""

import asyncio
from collections.abc import Collection
from time import perf_counter

from agent.permissions.compare import Comparison, compared
from agent.permissions.demand import Demand
from probes.core.context import Context, Shared
from probes.core.contract import Failed, Stopped
from probes.core.needs import Api, Grant
from probes.core.reasons import Reason
from probes.lib.tokens import token_for

SECONDS = 30.0
"""Longest wait for a token."""


async def comparisons(demand: Demand, shared: Shared) -> tuple[Comparison, ...]:
    """Return a comparison for each API and sort of grant: application permissions always, delegated ones where any is needed.

    Raises:
        Stopped: where there is no token to look at.

    """
    found = []
    for api in Api:
        for grant in Grant:
            is_needed = bool(demand.of(grant, api))
            if is_needed or (api, grant) == (Api.GRAPH, Grant.APPLICATION):
                found.append(compared(demand, api, grant, await _held(demand, shared, api, grant)))
            elif grant is Grant.APPLICATION and (held := await _looked_at(demand, shared, api, grant)):
                found.append(compared(demand, api, grant, held))
    return tuple(found)


async def _looked_at(demand: Demand, shared: Shared, api: Api, grant: Grant) -> Collection[str]:
    """Return what an API that nothing needs lets us do, which should be nothing; a tenant without that API gives no token for it."""
    try:
        return await _held(demand, shared, api, grant)
    except Stopped:
        return ()


async def _held(demand: Demand, shared: Shared, api: Api, grant: Grant) -> Collection[str]:
    hosts = demand.tenant.where
    resource = "" if api is Api.GRAPH else f"https://{hosts.exchange}"
    ctx = Context("permissions", shared, demand.name, deadline=perf_counter() + SECONDS)
    try:
        async with asyncio.timeout(SECONDS):
            with ctx.step("token"):
                token = await token_for(ctx, demand.tenant, resource, delegated=grant is Grant.DELEGATED)
    except TimeoutError as error:
        raise Failed(Reason.TIMEOUT, f"no token within {SECONDS:g} s") from error
    if not token.claims:
        raise Failed(Reason.CONTENT_MISMATCH, "the token cannot be read, so that nothing can be said of its permissions")
    return token.scopes if grant is Grant.DELEGATED else token.roles
