"""What `fogbell permissions` shows of one tenant: the table, the commands, or with --check what is granted otherwise."""

from collections.abc import Iterable

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from agent.permissions.compare import Comparison
from agent.permissions.demand import Demand, Need
from agent.permissions.script import RESOURCES, ROLE_GROUP, azure, leftover, powershell
from agent.permissions.shell import Shell
from probes.core.needs import Grant, Scope

NARROWED = {
    Scope.TENANT: "not at all: it is for the whole tenant",
    Scope.MAILBOXES: "RBAC for Applications: {}",
    Scope.OPENED: "full access in Exchange: {}",
    Scope.SITES: "grant for each site: {}",
    Scope.TEAM: "resource-specific consent: {}",
    Scope.MEETINGS: "application access policy: {}",
}
WIDE = 120
"""Columns of a console from which on an identifier stays whole, too; on a narrower one the rest would be unreadable for it."""
_GUID = 36
_UNNAMED = {
    Scope.MAILBOXES: "the probes' mailboxes",
    Scope.OPENED: "the probes' mailboxes",
    Scope.SITES: "the probes' sites",
    Scope.TEAM: "the probes' team",
    Scope.MEETINGS: "the probes' users",
}


def title(demand: Demand) -> str:
    """Return the line above the table."""
    count = len(demand.needs)
    what = "1 permission" if count == 1 else f"{count or 'no'} permissions"
    return f"tenant {demand.name} ({demand.tenant.tenant_id}): {what}, for {_counted(demand.probes)}"


def _counted(probes: tuple[str, ...]) -> str:
    return "1 probe" if len(probes) == 1 else f"{len(probes) or 'no'} probes"


def table(demand: Demand, width: int) -> Table:
    """Return the permissions as a table, for a console of so many columns."""
    grid = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), title=Text(title(demand), style="bold"), title_justify="left")
    # A name that is to be found in Entra, or copied, stays whole.
    grid.add_column("permission", overflow="fold", width=max((len(need.name) for need in demand.needs), default=None))
    for name in ("API", "granted as", "needed by", "for"):
        grid.add_column(name, overflow="fold")
    grid.add_column("narrowed by", overflow="fold", width=max(_GUID, width // 4) if width >= WIDE else None)
    for need in demand.needs:
        api = RESOURCES[need.api][0]
        grid.add_row(need.name, api, str(need.grant), ", ".join(need.probes), "; ".join(need.whys), narrowed(need))
    grid.caption, grid.caption_justify = Text(besides(demand)) if besides(demand) else None, "left"
    return grid


def besides(demand: Demand) -> str:
    """Say what is needed that is no permission: of the registration, and of Purview; or nothing."""
    redirects = [f"the redirect URI {redirect} (mobile and desktop)" for redirect in demand.registration.redirects]
    wanted = [*redirects, "public client flows"] if demand.registration.public_flows else redirects
    said = [f"the registration needs besides: {', '.join(wanted)}"] if wanted else []
    said += (
        [f"eDiscovery needs besides: the application's service principal in the role group {ROLE_GROUP}"] if demand.in_ediscovery else []
    )
    return "\n".join(said)


def narrowed(need: Need) -> str:
    """Say what narrows a permission."""
    if need.grant is Grant.DELEGATED:
        return "consent for one user, and what that user may do"
    return NARROWED[need.scope].format(", ".join(need.targets) or _UNNAMED.get(need.scope, ""))


def commands(demand: Demand, shell: Shell) -> str:
    """Return the commands for one tenant."""
    if shell is Shell.POWERSHELL:
        return powershell(demand)
    if shell is Shell.AZ:
        return _joined((azure(demand), leftover(demand)))
    return _joined((powershell(demand), azure(demand)))


def _joined(scripts: Iterable[str]) -> str:
    return "\n\n".join(text for text in scripts if text)


def told(comparison: Comparison) -> list[str]:
    """Say what a token may do beside what is needed, in lines."""
    what = f"{RESOURCES[comparison.api][0]}, {comparison.grant}"
    if comparison.problem:
        return [f"{what}: cannot be looked at: {comparison.problem}"]
    if comparison.is_right:
        return [f"{what}: exactly what is needed"]
    missing = [f"{what}: missing {name}" for name in comparison.missing]
    return missing + [f"{what}: beyond need {name}: {why}" for name, why in comparison.excessive]


def unseen(demand: Demand) -> list[str]:
    """Say which grants no token shows."""
    hidden = [need.name for need in demand.needs if not need.in_entra]
    where = "Exchange and Teams hold these grants; see the last step of the commands"
    role = [f"no token shows whether the application is in the role group {ROLE_GROUP}"] if demand.in_ediscovery else []
    return [*([f"no token shows {', '.join(hidden)}: {where}"] if hidden else []), *role]
