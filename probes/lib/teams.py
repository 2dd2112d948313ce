"""What probes of Teams share: the token and what it lacks, how a member is written, and what it means that something is not there."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from probes.core.context import Context
from probes.core.contract import Failed
from probes.core.needs import Permission, Scope
from probes.core.reasons import Reason
from probes.lib.graph import tell_missing
from probes.lib.tenant import Tenant
from probes.lib.tokens import Token, token_for

MEMBER = "#microsoft.graph.aadUserConversationMember"
"""Type of a member of a team or chat who has an account in Entra."""


async def sign_in(ctx: Context, tenant: Tenant, needs: Iterable[Permission]) -> Token:
    """Return a token of the application, and keep as evidence what it lacks. Call it within an open step.

    What was consented to for one team alone stands in no token, so only permissions for the whole tenant are looked for.

    Raises:
        Failed, Inconclusive: as `token_for`.

    """
    token = await token_for(ctx, tenant)
    tell_missing(ctx, token, [need for need in needs if need.scope is Scope.TENANT])
    return token


def member(tenant: Tenant, user: str, *roles: str) -> dict[str, Any]:
    """Return a member as Graph wants it: the user by an address in the tenant's own cloud."""
    return {"@odata.type": MEMBER, "roles": list(roles), "user@odata.bind": f"https://{tenant.where.graph}/v1.0/users('{user}')"}


@contextmanager
def names(what: str) -> Iterator[None]:
    """Say beside a 404 what the settings name: a wrong id is more often the cause than something that vanished."""
    try:
        yield
    except Failed as failed:
        if failed.reason is Reason.NOT_FOUND:
            failed.reword(f"{failed.message}; {what}")
        raise
