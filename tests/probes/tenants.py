"""Tenants for tests of kinds: one whose hosts are a fake that says what a test wants, and the simulated one that checks what it is told."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trustme

from agent.drill import graph
from agent.drill.entra.site import login_site
from agent.drill.hosting import serve_sites
from agent.drill.world import World
from probes.core.context import Secrets, Shared
from probes.core.contract import Secret
from probes.lib.tenant import Credential, Hosts, Tenant, Tenants
from probes.lib.tls import Trust
from tests.fakes.certificates import ca_file
from tests.fakes.identity import CLIENT_ID, TENANT_ID
from tests.lib.signing_in import SECRET, inline, shared


def fake(host: str, credential: Credential | None = None, **more: Any) -> Tenant:
    """Return a tenant whose every host is `host`."""
    return Tenant(
        tenant_id=TENANT_ID,
        client_id=CLIENT_ID,
        hosts=Hosts(login=host, graph=host, exchange=host),
        credential=credential or Credential(secret=Secret(inline=SECRET)),
        tls=Trust(ca_file=ca_file()),
        **more,
    )


def among(tenant: Tenant, state_dir: Path | None = None, secrets: Secrets = inline) -> Shared:
    """Return what runs share whose tenant is this one, by the name of contoso."""
    value = shared(state_dir=None if state_dir is None else str(state_dir), secrets=secrets)
    value.part(Tenants).put({"contoso": tenant})
    return value


@asynccontextmanager
async def simulated(folder: Path, world: World | None = None) -> AsyncIterator[tuple[World, Tenant]]:
    """Serve sign-in and Graph of a simulated tenant while the block runs."""
    world = world or World()
    async with serve_sites(world, login_site(world), graph.site(world)) as authority:
        yield world, drilled(world, authority, folder)


def drilled(world: World, authority: trustme.CA, folder: Path) -> Tenant:
    """Return the tenant of a world as a configuration names it."""
    file = folder / "authority.pem"
    authority.cert_pem.write_to_path(str(file))
    return Tenant(
        tenant_id=world.tenant_id,
        client_id=world.app_id,
        hosts=Hosts(login=world.address("login"), graph=world.address("graph"), exchange=world.address("graph")),
        credential=Credential(secret=Secret(inline=world.secret)),
        tls=Trust(ca_file=str(file)),
    )
