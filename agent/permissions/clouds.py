"""What the administrators' tools call Microsoft's clouds."""

from dataclasses import dataclass

from probes.lib.tenant import Tenant


@dataclass(frozen=True, slots=True)
class Cloud:
    """One cloud. A name is empty where a tool needs none there, `azure` also where Azure CLI speaks to another Graph than the tenant's.

    Sources: learn.microsoft.com, Get-MgEnvironment, Connect-ExchangeOnline (ExchangeEnvironmentName), Connect-MicrosoftTeams
    (TeamsEnvironmentName), `az cloud list`, and workload identity federation for the audiences.
    """

    graph: str
    azure: str
    exchange: str
    teams: str
    audience: str
    has_team_consent: bool = True
    """Whether Graph installs apps in teams there, by which resource-specific consent is given."""


_CLOUDS = {
    "worldwide": Cloud("Global", "AzureCloud", "", "", "api://AzureADTokenExchange"),
    "gcc_high": Cloud("USGov", "AzureUSGovernment", "O365USGovGCCHigh", "TeamsGCCH", "api://AzureADTokenExchangeUSGov"),
    "dod": Cloud("USGovDoD", "", "O365USGovDoD", "TeamsDOD", "api://AzureADTokenExchangeUSGov"),
    "china": Cloud("China", "AzureChinaCloud", "O365China", "TeamsChina", "api://AzureADTokenExchangeChina", has_team_consent=False),
}
_NAMED_BY_HOSTS = Cloud("Fogbell", "", "", "", "api://AzureADTokenExchange")


def cloud_of(tenant: Tenant) -> Cloud:
    """Return the cloud that the tenant is in."""
    return _NAMED_BY_HOSTS if tenant.hosts is not None else _CLOUDS[tenant.cloud or "worldwide"]
