"""What probes of Teams share: how a member is written, and what it means that something is not there."""

from typing import Any

from probes.lib.tenant import Tenant

UNKNOWN_USER = "`user` must be the object id of somebody who may use Teams"
UNKNOWN_TEAM = "`team` must be the id of a team that still exists"
"""What it means that something is not there: a wrong id is more often the cause than something that vanished."""
MEMBER = "#microsoft.graph.aadUserConversationMember"
"""Type of a member of a team or chat who has an account in Entra."""


def member(tenant: Tenant, user: str, *roles: str) -> dict[str, Any]:
    """Return a member as Graph wants it: the user by an address in the tenant's own cloud."""
    return {"@odata.type": MEMBER, "roles": list(roles), "user@odata.bind": f"https://{tenant.where.graph}/v1.0/users('{user}')"}
