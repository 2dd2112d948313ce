"""What a client reads before anybody signs in: the OpenID configuration of a tenant, of `common` or of `organizations`."""

from contextlib import suppress
from typing import Any

from agent.drill.world import World

SHARED = ("common", "organizations")
"""Names that stand for whatever tenant a person belongs to."""


def openid_configuration(world: World, tenant: str) -> dict[str, Any]:
    """Make the document. Shared names have an issuer with a placeholder, as no tenant is known yet."""
    here = world.url("login", f"/{tenant}")
    shared = tenant in SHARED
    return {
        "token_endpoint": f"{here}/oauth2/v2.0/token",
        "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt", "client_secret_basic"],
        "jwks_uri": f"{here}/discovery/v2.0/keys",
        "response_modes_supported": ["query", "fragment", "form_post"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
        "scopes_supported": ["openid", "profile", "email", "offline_access"],
        "issuer": issuer(world, "{tenantid}" if shared else tenant),
        "request_uri_parameter_supported": False,
        "userinfo_endpoint": f"https://{_graph(world)}/oidc/userinfo",
        "authorization_endpoint": f"{here}/oauth2/v2.0/authorize",
        "device_authorization_endpoint": f"{here}/oauth2/v2.0/devicecode",
        "http_logout_supported": True,
        "frontchannel_logout_supported": True,
        "end_session_endpoint": f"{here}/oauth2/v2.0/logout",
        "claims_supported": _CLAIMS,
        "tenant_region_scope": None if shared else world.region.upper(),
        "cloud_instance_name": "microsoftonline.com",
        "cloud_graph_host_name": "graph.windows.net",
        "msgraph_host": _graph(world),
        "rbac_url": "https://pas.windows.net",
    }


def issuer(world: World, tenant: str) -> str:
    """Who signs ID tokens of this tenant."""
    return world.url("login", f"/{tenant}/v2.0")


def _graph(world: World) -> str:
    with suppress(KeyError):  # a world without Graph names Microsoft's
        return world.address("graph")
    return "graph.microsoft.com"


_CLAIMS = ["sub", "iss", "aud", "exp", "iat", "auth_time", "acr", "nonce", "preferred_username", "name", "tid", "ver", "at_hash", "email"]
