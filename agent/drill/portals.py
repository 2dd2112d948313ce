"""The portals of Microsoft 365 up to where a person signs in: each sends a visitor to Entra's authorize page.

App identifiers are those of Microsoft's page "Verify first-party Microsoft applications in sign-in reports". What the first hop of each
portal answers is nowhere documented; 302 is what most do.
"""

from dataclasses import dataclass
from urllib.parse import urlencode

from aiohttp import web

from agent.drill.entra.directory import Directory
from agent.drill.entra.tokens import guid
from agent.drill.hosting import Site
from agent.drill.world import World


@dataclass(frozen=True, slots=True)
class Portal:
    """One portal: its host here, its names in the world, its app, and where Entra sends people back to."""

    host: str
    names: tuple[str, ...]
    app_id: str
    app_name: str
    redirect_uri: str


PORTALS = (
    Portal(
        "admin",
        ("admin.microsoft.com", "admin.cloud.microsoft"),
        "00000006-0000-0ff1-ce00-000000000000",
        "Microsoft Office 365 Portal",
        "https://admin.microsoft.com/landing",
    ),
    Portal(
        "purview",
        ("purview.microsoft.com",),
        "80ccca67-54bd-44ab-8625-4b79c4dc7775",
        "Microsoft 365 Security and Compliance Center",
        "https://purview.microsoft.com/",
    ),
    Portal(
        "security",
        ("security.microsoft.com",),
        "80ccca67-54bd-44ab-8625-4b79c4dc7775",
        "Microsoft 365 Security and Compliance Center",
        "https://security.microsoft.com/",
    ),
    Portal(
        "exchange-admin",
        ("admin.exchange.microsoft.com",),
        "497effe9-df71-4043-a8bb-14cf78c4b63b",
        "Exchange Admin Center",
        "https://admin.exchange.microsoft.com/",
    ),
    Portal(
        "teams-admin",
        ("admin.teams.microsoft.com",),
        "2ddfbe71-ed12-4123-b99b-d5fc8a062a79",
        "Microsoft Teams Admin Portal Service",
        "https://admin.teams.microsoft.com/",
    ),
    Portal(
        "entra",
        ("entra.microsoft.com",),
        "c44b4083-3bb0-49c1-b47d-974e53cbdf3c",
        "Azure Portal",
        "https://entra.microsoft.com/signin/index/",
    ),
    Portal(
        "office",
        ("www.office.com", "m365.cloud.microsoft"),
        "4765445b-32c6-49b0-83e6-1d93765276ca",
        "OfficeHome",
        "https://www.office.com/landingv2",
    ),
)


def portal_sites(world: World) -> tuple[Site, ...]:
    """Make the hosts of all portals, and let Entra know their apps."""
    directory = world.of(Directory)
    for portal in PORTALS:
        app = directory.apps.get(portal.app_id) or directory.add_app(portal.app_id, portal.app_name)
        app.multi_tenant, app.public_flows = True, False
        app.redirect_uris = (*app.redirect_uris, portal.redirect_uri)
    return tuple(_site(world, portal) for portal in PORTALS)


def _site(world: World, portal: Portal) -> Site:
    async def respond(request: web.BaseRequest) -> web.StreamResponse:
        if request.method not in ("GET", "HEAD"):
            return web.Response(status=405, headers={"Allow": "GET, HEAD"})
        return web.Response(status=302, headers={"Location": _authorize(world, portal), **_headers(world)})

    return Site(portal.host, respond, names=portal.names)


def _headers(world: World) -> dict[str, str]:
    return {
        "Cache-Control": "no-store, no-cache",
        "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
        "X-Content-Type-Options": "nosniff",
        "X-MSEdge-Ref": f"Ref A: {guid(world).replace('-', '').upper()} Ref B: {world.region.upper()}30EDGE0415",
    }


def _authorize(world: World, portal: Portal) -> str:
    """Write the address of the sign-in page for this portal (OpenID Connect, hybrid flow)."""
    query = {
        "client_id": portal.app_id,
        "redirect_uri": portal.redirect_uri,
        "response_type": "code id_token",
        "response_mode": "form_post",
        "scope": "openid profile",
        "state": guid(world),
        "nonce": guid(world),
    }
    return world.url("login", f"/common/oauth2/v2.0/authorize?{urlencode(query)}")
