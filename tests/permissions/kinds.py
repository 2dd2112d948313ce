"""Made-up kinds that need every sort of permission, and configurations with them."""

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from agent.config import load
from agent.permissions.demand import Demand, demands
from probes.core.context import Context
from probes.core.contract import Layer, Place, Probe, Settings, Workload, always
from probes.core.needs import Api, Grant, Permission, Registration, Scope

Run = Callable[[Context, Settings], Awaitable[None]]


class Watched(Settings):
    """What the made-up kinds watch."""

    at: tuple[str, ...] = ()
    """Mailboxes, sites, teams, chats or users."""
    writes: bool = False
    """Whether a site is written to."""
    redirects: tuple[str, ...] = ()
    """Redirect URIs that have to be registered."""
    needs: str = ""
    """A permission, of a kind that needs any."""
    grant: Grant = Grant.APPLICATION
    scope: Scope = Scope.TENANT


async def _run(ctx: Context, settings: Watched) -> None:
    """Do nothing."""


def _probe(permissions: Callable[[Watched], tuple[Permission, ...]], *, public_flows: bool = False) -> Probe[Watched]:
    place = Place(Layer.WORKLOAD, Workload.EXCHANGE)
    registration = partial(_registration, public_flows=public_flows)
    return Probe(_run, Watched, place=lambda _: place, steps=(), tenant=always, permissions=permissions, registration=registration)


def _registration(settings: Watched, *, public_flows: bool) -> Registration:
    return Registration(settings.redirects, public_flows=public_flows)


def _mail(settings: Watched) -> tuple[Permission, ...]:
    return (
        Permission("Mail.Send", "sends the test mail", scope=Scope.MAILBOXES, targets=settings.at),
        Permission("Mail.ReadBasic.All", "waits for it", scope=Scope.MAILBOXES, targets=settings.at),
    )


def _chat(settings: Watched) -> tuple[Permission, ...]:
    return (
        Permission("ChatMessage.Send", "posts", Grant.DELEGATED),
        Permission("ChatMessage.Read.Chat", "reads it back", scope=Scope.TEAM, targets=settings.at),
    )


def _any(settings: Watched) -> tuple[Permission, ...]:
    return (Permission(settings.needs, f"has {settings.needs}", settings.grant, settings.scope, targets=settings.at),)


KINDS = {
    "any": _probe(_any),
    "health": _probe(lambda _: (Permission("ServiceHealth.Read.All", "reads the state of services"),)),
    "tenant": _probe(lambda _: (Permission("Organization.Read.All", "reads the organization"),)),
    "token": _probe(lambda _: ()),
    "device": _probe(lambda _: (), public_flows=True),
    "mail": _probe(_mail),
    "files": _probe(lambda s: (Permission("Sites.Selected", "fetches a file", scope=Scope.SITES, targets=s.at, writes=s.writes),)),
    "team": _probe(lambda s: (Permission("ChannelSettings.Read.Group", "lists channels", scope=Scope.TEAM, targets=s.at),)),
    "chat": _probe(_chat),
    "meeting": _probe(lambda s: (Permission("OnlineMeetings.ReadWrite.All", "makes a meeting", scope=Scope.MEETINGS, targets=s.at),)),
    "smtp": _probe(lambda _: (Permission("SMTP.SendAsApp", "submits", scope=Scope.MAILBOXES, api=Api.EXCHANGE),)),
    "imap": _probe(lambda _: (Permission("IMAP.AccessAsUser.All", "reads over IMAP", Grant.DELEGATED, api=Api.EXCHANGE),)),
    "pop": _probe(lambda s: (Permission("POP.AccessAsApp", "reads over POP3", scope=Scope.OPENED, api=Api.EXCHANGE, targets=s.at),)),
    "narrow-ews": _probe(lambda _: (Permission("full_access_as_app", "reads over EWS", scope=Scope.MAILBOXES, api=Api.EXCHANGE),)),
    "ews": _probe(lambda _: (Permission("full_access_as_app", "reads over EWS", api=Api.EXCHANGE),)),
}

CERTIFICATE = "certificate: {file: /run/secrets/fogbell.pem}"
EVERYTHING = """
  - {name: health, kind: health}
  - {name: health-again, kind: health}
  - {name: tenant, kind: tenant}
  - {name: mail, kind: mail, at: [probe1@contoso.example, "o'brien@contoso.example"]}
  - {name: files, kind: files, at: ["https://contoso.sharepoint.com/sites/Probe/"], writes: true}
  - {name: team, kind: team, at: [00000000-0000-0000-0000-0000000000aa]}
  - {name: chat, kind: chat, at: ["19:abc@thread.v2"]}
  - {name: meeting, kind: meeting, at: [00000000-0000-0000-0000-0000000000bb]}
  - {name: cases, kind: any, needs: eDiscovery.Read.All}
  - {name: smtp, kind: smtp}
  - {name: ews, kind: ews}
  - {name: sign-in, kind: token, redirects: ["http://localhost", "https://contoso.example/it's"]}
"""


def written(folder: Path, probes: str, credential: str = CERTIFICATE, cloud: str = "cloud: worldwide") -> Path:
    """Write a configuration with one tenant and these probes."""
    path = folder / "fogbell.yml"
    path.write_text(
        "tenants:\n  contoso:\n    tenant_id: 11111111-1111-1111-1111-111111111111\n    client_id: 22222222-2222-2222-2222-222222222222\n"
        f"    credential: {{{credential}}}\n    {cloud}\nprobes: {probes}\n",
        encoding="utf-8",
    )
    return path


def demand(folder: Path, probes: str, credential: str = CERTIFICATE, cloud: str = "cloud: worldwide") -> Demand:
    """Return what the tenant of such a configuration has to give."""
    configuration = load(written(folder, probes, credential, cloud), registry=KINDS, secrets=False)
    (found,) = demands(configuration.jobs, configuration.tenants)
    return found
