"""What proves who we are in a tenant, as it is at this moment: secrets rotate, and so do refresh tokens."""

from probes.core.context import Context
from probes.core.contract import Failed
from probes.core.reasons import Reason
from probes.lib.grants import Grants, grant_path
from probes.lib.oauth import Proof
from probes.lib.tenant import Tenant


async def proof_of(ctx: Context, tenant: Tenant, *, delegated: bool) -> Proof:
    """Return what proves who we are, read just now; `delegated` is in the name of the user of `fogbell login`.

    Raises:
        Failed: CREDENTIAL_INVALID, or as `grant_of`.
        Inconclusive: AGENT_RESOURCES where it cannot be read.

    """
    credential = tenant.credential
    if delegated:
        return await grant_of(ctx, tenant)
    if credential.certificate is not None:
        return Proof.by("certificate", ctx.secret(credential.certificate))
    if credential.secret is not None:
        return Proof.by("secret", ctx.secret(credential.secret))
    if credential.federated_token is not None:
        return Proof.by("federated_token", ctx.secret(credential.federated_token))
    return Proof.of_machine(credential.managed_identity)


async def grant_of(ctx: Context, tenant: Tenant) -> Proof:
    """Return the refresh token of the tenant's sign-in.

    Raises:
        Failed: GRANT_DEAD where there is none for this tenant and application, APP_CONFIG where there is no place for one.
        Inconclusive: AGENT_RESOURCES where it cannot be read.

    """
    grant = await ctx.shared.part(Grants).read(grant_path(ctx.shared.state_dir, ctx.tenant))
    if grant is None:
        raise Failed(Reason.GRANT_DEAD, f"nobody has signed in for the tenant {ctx.tenant}; run `fogbell login {ctx.tenant}`")
    if (grant.tenant_id, grant.client_id, grant.login) != (tenant.tenant_id, tenant.client_id, tenant.where.login):
        message = f"the sign-in for the tenant {ctx.tenant} was to another tenant or application; run `fogbell login {ctx.tenant}` again"
        raise Failed(Reason.GRANT_DEAD, message)
    ctx.hide(grant.refresh_token)
    return Proof("grant", grant.id, grant.refresh_token)
