"""The commands for one tenant, from the templates beside this file: scripts with the tenant's own words in them."""

import json
import re
import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any
from urllib.parse import urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined

from agent.permissions.clouds import Cloud, cloud_of
from agent.permissions.demand import Demand, Need
from probes.core.needs import Api, Grant, Scope
from probes.core.text import shown
from probes.lib.tenant import Tenant

RESOURCES = {
    Api.GRAPH: ("Microsoft Graph", "00000003-0000-0000-c000-000000000000"),
    Api.EXCHANGE: ("Office 365 Exchange Online", "00000002-0000-0ff1-ce00-000000000000"),
}
"""Name and application ID of each API, the same in every tenant
(learn.microsoft.com/troubleshoot/entra/entra-id/governance/verify-first-party-apps-sign-in)."""

ROLE_GROUP = "eDiscovery Manager (Purview portal: Settings, Roles and scopes, Role groups)"
"""What an application that uses eDiscovery has to be a member of, and where."""

_INSTEAD = {
    Scope.MAILBOXES: "PROBE-MAILBOX@YOUR-DOMAIN",
    Scope.OPENED: "PROBE-MAILBOX@YOUR-DOMAIN",
    Scope.SITES: "https://YOUR-DOMAIN.sharepoint.com/sites/PROBE",
    Scope.TEAM: "TEAM-OR-CHAT-ID",
    Scope.MEETINGS: "USER-OBJECT-ID",
}
# What stands where the settings name nothing.

_ROLES = {"full_access_as_app": "EWS.AccessAsApp"}

_TO_SIGN_IN = ("openid", "offline_access")

_COLOUR_ICON = (
    "iVBORw0KGgoAAAANSUhEUgAAAMAAAADAAQMAAABoEv5EAAAABlBMVEUkO1P///82rfEmAAAAHElEQVR42u3BMQEAAADCoPVP"
    "bQ0PoAAAAADg1wASwAABzDtabAAAAABJRU5ErkJggg=="
)
_OUTLINE_ICON = (
    "iVBORw0KGgoAAAANSUhEUgAAACAAAAAgAQMAAABJtOi3AAAABlBMVEX///////9VfPVsAAAAAnRSTlMAAHaTzTgAAAAMSURBVHjaY2AY3AAAAKAA"
    "AY77sbQAAAAASUVORK5CYII="
)
# The icons that an app of Teams must have, 192 and 32 pixels wide: plain ones.

_QUOTES = re.compile("(['\u2018\u2019\u201a\u201b])")
# PowerShell takes each of these for a single quote.


@dataclass(frozen=True, slots=True)
class _Resource:
    """An API and the permissions that Entra has to grant for it."""

    name: str
    app_id: str
    permissions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Consent:
    """One team or chat and what the app may do there."""

    where: str
    target: str
    permissions: tuple[str, ...]


def quoted(word: str) -> str:
    """Return a word in single quotes for PowerShell."""
    return "'" + _QUOTES.sub(r"\1\1", word) + "'"


def listed(words: Iterable[str]) -> str:
    """Return words as a list for PowerShell."""
    return ", ".join(map(quoted, words))


_TEMPLATES = Environment(
    loader=PackageLoader("agent.permissions"),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    autoescape=False,  # noqa: S701 - shell scripts, not HTML; words are quoted by the filters
)
_TEMPLATES.filters |= {"ps": quoted, "ps_list": listed, "sh": shlex.quote, "sh_list": shlex.join, "in_a_line": shown}


def powershell(demand: Demand) -> str:
    """Return the commands for Microsoft Graph PowerShell, and for the modules that narrow."""
    return _TEMPLATES.get_template("app.ps1").render(_words(demand))


def azure(demand: Demand) -> str:
    """Return the commands for Azure CLI, and after them those for PowerShell that it has no equal of."""
    if not cloud_of(demand.tenant).azure:
        host = demand.tenant.where.graph
        return f"# Tenant {demand.name}: Azure CLI does not speak to {host}. Use the commands for PowerShell.\n"
    return _TEMPLATES.get_template("app.sh").render(_words(demand))


def leftover(demand: Demand) -> str:
    """Return the commands for PowerShell that Azure CLI has no equal of, or ""."""
    is_owed = demand.in_ediscovery or any(demand.narrowed(scope) for scope in _INSTEAD)
    return _TEMPLATES.get_template("rest.ps1").render(_words(demand)) if is_owed and cloud_of(demand.tenant).azure else ""


def _words(demand: Demand) -> dict[str, Any]:
    """Return all that the templates put in."""
    tenant = demand.tenant
    identity = tenant.credential.managed_identity
    return {
        "demand": demand,
        "tenant": tenant,
        "cloud": cloud_of(tenant),
        "credential": tenant.credential,
        "machine": "" if identity is None else identity.client_id or tenant.client_id,
        "step": _steps(),
        "new_environment": _new_environment(tenant, cloud_of(tenant)),
        "to_graph": partial(_to_graph, tenant, cloud_of(tenant)),
        "rights": _rights(demand),
        "registration": demand.registration,
        "role_group": ROLE_GROUP,
        "application": _resources(demand, Grant.APPLICATION),
        "delegated": _resources(demand, Grant.DELEGATED),
        **_narrowing(demand),
    }


def _narrowing(demand: Demand) -> dict[str, Any]:
    mailboxes = _targets(demand.narrowed(Scope.MAILBOXES), Scope.MAILBOXES)
    return {
        "mail": tuple(dict.fromkeys(_role(need) for need in demand.narrowed(Scope.MAILBOXES))),
        "mailboxes": mailboxes,
        "mailbox_filter": " -or ".join(f"EmailAddresses -eq {quoted(mailbox)}" for mailbox in mailboxes),
        "opened": _targets(demand.narrowed(Scope.OPENED), Scope.OPENED),
        "sites": tuple(map(_site, _targets(demand.narrowed(Scope.SITES), Scope.SITES))),
        "site_role": "write" if any(need.writes for need in demand.narrowed(Scope.SITES)) else "read",
        "consents": _consents(demand),
        "manifest": _manifest(demand),
        "colour_icon": _COLOUR_ICON,
        "outline_icon": _OUTLINE_ICON,
        "meetings": _targets(demand.narrowed(Scope.MEETINGS), Scope.MEETINGS),
    }


def _steps() -> Callable[[], int]:
    numbers = count(1)
    return lambda: next(numbers)


def _new_environment(tenant: Tenant, cloud: Cloud) -> str:
    """Return the command that makes the hosts of a cloud known that Microsoft Graph PowerShell has no name for, or ""."""
    login, graph = quoted(f"https://{tenant.where.login}"), quoted(f"https://{tenant.where.graph}")
    return f"Add-MgEnvironment -Name {cloud.graph} -AzureADEndpoint {login} -GraphEndpoint {graph}" if tenant.hosts else ""


def _to_graph(tenant: Tenant, cloud: Cloud, rights: Iterable[str]) -> str:
    """Return the command that signs the administrator in to Microsoft Graph with these rights of his own."""
    return f"Connect-MgGraph -NoWelcome -TenantId {quoted(tenant.tenant_id)} -Environment {cloud.graph} -Scopes {listed(rights)}"


def _rights(demand: Demand) -> list[str]:
    rights = ["Application.ReadWrite.All", "AppRoleAssignment.ReadWrite.All"]
    delegated = any(need.grant is Grant.DELEGATED for need in demand.needs)
    return [*rights, "DelegatedPermissionGrant.ReadWrite.All", "User.ReadBasic.All"] if delegated else rights


def _resources(demand: Demand, grant: Grant) -> tuple[_Resource, ...]:
    """Return the APIs of which something is needed. To sign in and to stay so, delegated probes need two permissions of Graph besides."""
    is_delegated = grant is Grant.DELEGATED and any(need.grant is grant for need in demand.needs)
    found = []
    for api, (name, app_id) in RESOURCES.items():
        to_sign_in = _TO_SIGN_IN if is_delegated and api is Api.GRAPH else ()
        permissions = (*to_sign_in, *dict.fromkeys(need.name for need in demand.of(grant, api)))
        if permissions:
            found.append(_Resource(name, app_id, permissions))
    return tuple(found)


def _targets(needs: tuple[Need, ...], scope: Scope) -> tuple[str, ...]:
    named = tuple(dict.fromkeys(target for need in needs for target in need.targets))
    return named or ((_INSTEAD[scope],) if needs else ())


def _role(need: Need) -> str:
    """Return the role of Exchange that is this permission: its name is Graph's, without the `.All` that some have there, except for EWS.

    Source: learn.microsoft.com/exchange/permissions-exo/application-rbac, supported application roles.
    """
    return f"Application {_ROLES.get(need.name, need.name.removesuffix('.All'))}"


def _site(url: str) -> str:
    """Return a site as Graph finds it by its URL (learn.microsoft.com/graph/api/site-getbypath)."""
    parts = urlsplit(url)
    path = parts.path.rstrip("/")
    return f"{parts.netloc}:{path}" if path else parts.netloc


def _consents(demand: Demand) -> tuple[_Consent, ...]:
    """Return the teams, then the chats; a permission for chats ends in .Chat."""
    needs = demand.narrowed(Scope.TEAM)
    of_chats = tuple(need for need in needs if need.name.endswith(".Chat"))
    of_teams = tuple(need for need in needs if need not in of_chats)
    return tuple(
        _Consent(where, target, tuple(need.name for need in group))
        for where, group in (("Team", of_teams), ("Chat", of_chats))
        for target in _targets(group, Scope.TEAM)
    )


def _manifest(demand: Demand) -> str:
    """Return the manifest of an app that does nothing but ask (schema 1.16, developer.microsoft.com/json-schemas/teams)."""
    permissions = [{"name": need.name, "type": "Application"} for need in demand.narrowed(Scope.TEAM)]
    site = "https://www.example.org"
    manifest = {
        "$schema": "https://developer.microsoft.com/json-schemas/teams/v1.16/MicrosoftTeams.schema.json",
        "manifestVersion": "1.16",
        "version": "1.0.0",
        "id": "APP-ID",
        "developer": {"name": "Fogbell", "websiteUrl": site, "privacyUrl": site, "termsOfUseUrl": site},
        "name": {"short": "Fogbell", "full": "Fogbell, synthetic monitoring"},
        "description": {"short": "Watches this team or chat.", "full": "Does here what its probes need, and nothing elsewhere."},
        "icons": {"color": "color.png", "outline": "outline.png"},
        "accentColor": "#243B53",
        "webApplicationInfo": {"id": "APP-ID", "resource": "https://RscBasedStoreApp"},
        "authorization": {"permissions": {"resourceSpecific": permissions}},
    }
    return json.dumps(manifest, indent=2)
