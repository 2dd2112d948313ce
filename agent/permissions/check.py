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
from probes.core.text import shown
from probes.lib.tokens import token_for

SECONDS = 30.0
"""Longest wait for a token."""


async def comparisons(demand: Demand, shared: Shared) -> tuple[Comparison, ...]:
    """Return a comparison for each API and sort of grant: application permissions always, delegated ones where any is needed.

    A tenant need not have an API that no probe needs: then there is nothing to compare.
    """
    wanted = [(api, grant) for api in Api for grant in Grant if grant is Grant.APPLICATION or demand.of(grant, api)]
    found = [await _comparison(demand, shared, api, grant) for api, grant in wanted]
    return tuple(one for one in found if one is not None)


async def _comparison(demand: Demand, shared: Shared, api: Api, grant: Grant) -> Comparison | None:
    is_needed = api is Api.GRAPH or bool(demand.of(grant, api))
    try:
        found = compared(demand, api, grant, await _held(demand, shared, api, grant))
    except Stopped as stopped:
        is_there = stopped.reason is not Reason.APP_CONFIG
        return Comparison(api, grant, problem=f"{stopped.reason}: {shown(stopped.message)}") if is_needed or is_there else None
    return found if is_needed or not found.is_right else None


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
