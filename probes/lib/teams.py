"""What probes of Teams share: how a member is written, and what it means that something is not there."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from probes.core.contract import Failed
from probes.core.reasons import Reason
from probes.lib.tenant import Tenant

MEMBER = "#microsoft.graph.aadUserConversationMember"
"""Type of a member of a team or chat who has an account in Entra."""


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
