"""The whole simulated tenant at once: every host, name server, mail server, and a configuration that watches them."""

import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from string import Template

import trustme
from aiohttp import web

from agent.drill import graph
from agent.drill.endpoints import endpoints_site
from agent.drill.entra.metadata import metadata_site
from agent.drill.entra.site import login_site
from agent.drill.ews import ews_site
from agent.drill.faults import Dns
from agent.drill.graph import transfer
from agent.drill.hosting import Site, serve_site
from agent.drill.imap import serve_imap
from agent.drill.join import join_site
from agent.drill.mail import SUBMISSION, Door, serve_smtp
from agent.drill.nameserver import serve_names
from agent.drill.outage import Outage, schedule
from agent.drill.portals import portal_sites
from agent.drill.relay import serve_relay
from agent.drill.signed_in import chat_of_probes, leave_sign_in
from agent.drill.world import World
from agent.drill.zone import MAIL_HOST, zone_of

_OWNER_ALONE = 0o600


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant that runs: its world, its files, and the ports of what is no HTTP host."""

    world: World
    ca_file: Path
    secret_file: Path
    config: Path
    dns: int
    mx: int
    submission: int
    imap: int
    relay: int


async def _control_page(_request: web.BaseRequest) -> web.Response:
    return web.Response(text="I am not Microsoft, and I am here.\n")


def _sites(world: World) -> tuple[Site, ...]:
    return (
        login_site(world),
        graph.site(world),
        *portal_sites(world),
        join_site(),
        endpoints_site(world),
        metadata_site(world),
        transfer.site(world),
        ews_site(world),
        Site("control", _control_page),
    )


@asynccontextmanager
async def tenant(folder: Path, world: World | None = None) -> AsyncIterator[Tenant]:
    """Run a tenant while the block runs. Its authority, client secret and ready configuration are files in `folder`, which must be there.

    Raises:
        OSError: where the folder cannot be written.

    """
    here = world or World()
    authority = trustme.CA(organization_name="Fogbell drill")
    async with AsyncExitStack() as stack:
        for site in _sites(here):
            await stack.enter_async_context(serve_site(here, site, authority))
        dns = await stack.enter_async_context(serve_names(zone_of(here), lambda name: here.faults.first(Dns, "dns", name=name)))
        mx = await stack.enter_async_context(serve_smtp(here, Door(MAIL_HOST), authority))
        submission = await stack.enter_async_context(serve_smtp(here, SUBMISSION, authority))
        imap = await stack.enter_async_context(serve_imap(here, authority))
        relay = await stack.enter_async_context(serve_relay(here))
        made = Tenant(here, folder / "authority.pem", folder / "client_secret", folder / "tenant.yml", dns, mx, submission, imap, relay)
        _write_files(made, authority, folder)
        yield made


def _write_files(made: Tenant, authority: trustme.CA, folder: Path) -> None:
    """Write authority, secret, the sign-in of a person, and configuration."""
    authority.cert_pem.write_to_path(str(made.ca_file))
    made.secret_file.unlink(missing_ok=True)
    with os.fdopen(os.open(made.secret_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ALONE), "w", encoding="utf-8") as file:
        file.write(made.world.secret)
    leave_sign_in(made.world, folder / "state", "contoso")
    template = Template((resources.files("agent.drill") / "tenant.yml").read_text(encoding="utf-8"))
    made.config.write_text(template.substitute(_words(made, folder)), encoding="utf-8")


def _words(made: Tenant, folder: Path) -> Mapping[str, str | int]:
    """Give what the words of the template stand for."""
    world = made.world
    urls = ("admin", "purview", "security", "exchange-admin", "teams-admin", "entra", "office", "endpoints", "control")
    return {
        "state_dir": _quoted(folder / "state"),
        "ca_file": _quoted(made.ca_file),
        "secret_file": _quoted(made.secret_file),
        "tenant_id": world.tenant_id,
        "client_id": world.app_id,
        "dns": made.dns,
        "mx": made.mx,
        "submission": made.submission,
        "imap": made.imap,
        "relay": made.relay,
        "chat": chat_of_probes(world).id,
        "organiser": world.people[0].id,
        "control_port": world.address("control").rpartition(":")[2],
        **{host: world.address(host) for host in ("login", "graph", "exchange")},
        **{host.replace("-", "_"): world.url(host) for host in urls},
    }


def _quoted(path: Path) -> str:
    """Write a path so that YAML reads it as it is, whatever is in it: JSON is YAML."""
    return json.dumps(path.as_posix())


def play(world: World, outage: Outage, start: float, speed: float) -> None:
    """Let an outage begin at `start` (Unix seconds), `speed` times as fast as it was, where it was."""
    world.region = outage.region
    world.faults.set(*schedule(outage, start, speed))
