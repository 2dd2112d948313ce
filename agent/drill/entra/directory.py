"""Who and what the simulated Entra knows: apps with their credentials and permissions, people's accounts, resources, and its settings.

All of it may be changed while it runs: that is how a drill lets a secret expire or takes a permission away. Whatever is changed holds
from the next token on.
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import UUID

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from agent.drill.entra.errors import EntraError
from agent.drill.entra.permissions import APPLICATION, DELEGATED
from agent.drill.world import World

_SECRET_SECONDS = 180 * 86400.0
"""Validity of a new secret that the portal suggests."""


@dataclass(frozen=True, slots=True)
class Resource:
    """A service that tokens are for: the app ID that Microsoft gave it, and the names under which clients ask for it."""

    app_id: str
    name: str
    names: tuple[str, ...]
    host: str
    """Its host in a world."""


GRAPH = Resource("00000003-0000-0000-c000-000000000000", "Microsoft Graph", ("https://graph.microsoft.com",), "graph")
EXCHANGE = Resource(
    "00000002-0000-0ff1-ce00-000000000000",
    "Office 365 Exchange Online",
    ("https://outlook.office365.com", "https://outlook.office.com"),
    "exchange",
)
RESOURCES = (GRAPH, EXCHANGE)


@dataclass(frozen=True, slots=True)
class Secret:
    """A client secret and its end in Unix seconds."""

    value: str = field(repr=False)
    expires: float


@dataclass(frozen=True, slots=True)
class Federation:
    """A token issuer outside that an app trusts instead of a secret (workload identity federation)."""

    issuer: str
    subject: str
    key: RSAPublicKey
    audience: str = "api://AzureADTokenExchange"


@dataclass(slots=True)
class App:
    """An app registration with its service principal in the tenant."""

    id: str
    object_id: str
    name: str
    enabled: bool = True
    public_flows: bool = True
    """Whether it may sign people in without a credential of its own, as device codes do."""
    multi_tenant: bool = False
    redirect_uris: tuple[str, ...] = ("http://localhost", "https://login.microsoftonline.com/common/oauth2/nativeclient")
    """Where people are sent back to; at first the two that the portal offers for programs without a web page."""
    secrets: list[Secret] = field(default_factory=list)
    certificates: list[x509.Certificate] = field(default_factory=list)
    federations: list[Federation] = field(default_factory=list)
    roles: dict[Resource, set[str]] = field(default_factory=dict)
    """Application permissions that an administrator granted, by resource."""
    scopes: dict[Resource, set[str]] = field(default_factory=dict)
    """Delegated permissions with consent, by resource."""
    barred: int = 0
    """AADSTS number with which each of its app-only requests is refused, such as 53003 (Conditional Access); 0 bars nothing."""


@dataclass(slots=True)
class Account:
    """A person as Entra knows them."""

    id: str
    upn: str
    name: str
    password: str = field(repr=False)
    enabled: bool = True
    second_factor: bool = False
    """Whether a password alone is not enough."""
    valid_from: float = 0.0
    """Unix seconds; grants from before are revoked."""
    barred: int = 0
    """AADSTS number with which each grant of theirs is refused; 0 bars nothing."""


@dataclass(slots=True)
class Settings:
    """What differs between tenants, or between the patient and the impatient; seconds."""

    token_seconds: int = 3599
    refresh_idle_seconds: float = 90 * 86400.0
    device_code_seconds: int = 900
    poll_seconds: float = 5
    assertion_skew_seconds: float = 300.0
    loop_requests: int = 120
    """Requests of one app and grant within `loop_seconds` that are taken for a loop (50196)."""
    loop_seconds: float = 60.0


class Directory:
    """The apps and accounts of one world; at first its one app, with all permissions the simulated services know, and its people."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.settings = Settings()
        self.apps: dict[str, App] = {}
        self.accounts = {
            person.upn.lower(): Account(person.id, person.upn, person.name, f"{world.random.getrandbits(64):016x}-Aa1!")
            for person in world.people
        }
        app = self.add_app(world.app_id, "Fogbell")
        app.secrets.append(Secret(world.secret, world.now() + _SECRET_SECONDS))
        app.roles = {GRAPH: set(APPLICATION), EXCHANGE: {"full_access_as_app", "IMAP.AccessAsApp", "POP.AccessAsApp", "SMTP.SendAsApp"}}
        app.scopes = {GRAPH: set(DELEGATED), EXCHANGE: {"IMAP.AccessAsUser.All", "SMTP.Send", "EWS.AccessAsUser.All"}}

    def add_app(self, app_id: str, name: str) -> App:
        """Register an app without credentials or permissions."""
        object_id = str(UUID(int=self._world.random.getrandbits(128), version=4))
        app = self.apps[app_id] = App(app_id, object_id, name)
        return app

    def app(self, app_id: str) -> App:
        """Find an enabled app.

        Raises:
            EntraError: 700016 where there is none, 7000112 where it is disabled.

        """
        app = self.apps.get(app_id.lower())
        if app is None:
            raise EntraError(700016, app=app_id, tenant=self._world.tenant_id)
        if not app.enabled:
            raise EntraError(7000112, app=app_id)
        return app

    def account(self, upn: str) -> Account:
        """Find an enabled account by user principal name.

        Raises:
            EntraError: 50034 where there is none, 50057 where it is disabled.

        """
        account = self.accounts.get(upn.lower())
        if account is None:
            raise EntraError(50034, tenant=self._world.tenant_id)
        if not account.enabled:
            raise EntraError(50057)
        return account

    def resource(self, name: str) -> Resource:
        """Find the resource that goes by this name: an app ID, one of its addresses, or where this world serves it.

        Raises:
            EntraError: 500011 where there is none.

        """
        asked = name.rstrip("/").lower()
        found = next((resource for resource in RESOURCES if asked in (resource.app_id, *resource.names, self._served(resource))), None)
        if found is None:
            raise EntraError(500011, resource=name, tenant=self._world.tenant_id)
        return found

    def _served(self, resource: Resource) -> str:
        """Give the address of a resource in this world; empty where nobody serves it."""
        with suppress(KeyError):
            return self._world.url(resource.host)
        return ""

    def grant(self, app_id: str, roles: Iterable[str], resource: Resource = GRAPH) -> None:
        """Let an app have exactly these application permissions."""
        self.apps[app_id].roles[resource] = set(roles)

    def revoke(self, upn: str) -> None:
        """End all grants of a person, as a new password or "revoke sessions" does."""
        self.accounts[upn.lower()].valid_from = self._world.now()
