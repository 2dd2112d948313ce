"""The directory over Graph: who one is, who somebody is, the organization, its domains, an app's credentials and when they end.

Pages of Microsoft's documentation: user-get, organization-list, domain-list, application-get.
"""

import hashlib
from datetime import UTC, datetime
from typing import Any
from uuid import NAMESPACE_OID, uuid5

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from agent.drill.entra.directory import App, Directory, Secret
from agent.drill.graph.frame import Answer, Call, GraphError, Operation
from agent.drill.graph.messages import to_the_second
from agent.drill.graph.odata import entity, page
from agent.drill.world import Person, World

_ONLY_SELECTED = frozenset({"accountEnabled", "userType"})
"""Properties of a user that come only when `$select` names them."""
_HINT = 3
"""First characters of a secret that Entra shows to tell secrets apart. Source: the Graph page of passwordCredential."""
_SECRET_LIFE = 180 * 86_400.0
_SINCE = "2020-03-01T09:00:00Z"


def _person(world: World, person: Person, selected: str) -> dict[str, Any]:
    """Show a person, by default without what only `$select` brings."""
    first, _, last = person.name.partition(" ")
    account = world.of(Directory).accounts.get(person.upn.lower())
    shown: dict[str, Any] = {
        "businessPhones": [],
        "displayName": person.name,
        "givenName": first,
        "jobTitle": None,
        "mail": person.mail,
        "mobilePhone": None,
        "officeLocation": None,
        "preferredLanguage": None,
        "surname": last or None,
        "userPrincipalName": person.upn,
        "id": person.id,
        "accountEnabled": account is not None and account.enabled,
        "userType": "Member",
    }
    wanted = {name.strip() for name in selected.split(",")}
    return {name: value for name, value in shown.items() if name not in _ONLY_SELECTED or name in wanted}


def _shown(world: World, call: Call, who: str) -> Answer:
    person = world.person(who)
    if person is None:
        missing = f"Resource '{who}' does not exist or one of its queried reference-property objects are not present."
        raise GraphError(404, "Request_ResourceNotFound", missing)
    return entity(call, _person(world, person, call.query.get("$select", "")))


def me(world: World, call: Call) -> Answer:
    """Show who is signed in."""
    if call.caller.user_id is None:
        raise GraphError(400, "BadRequest", "/me request is only valid with delegated authentication flow.")
    return _shown(world, call, call.caller.user_id)


def user(world: World, call: Call) -> Answer:
    """Show somebody, by id or user principal name; who may only read themselves may read nobody else."""
    person = world.person(call.path["user-id"])
    if call.caller.user_id and call.caller.granted.isdisjoint(_USERS) and (person is None or person.id != call.caller.user_id):
        raise GraphError(403, "Authorization_RequestDenied", "Insufficient privileges to complete the operation.")
    return _shown(world, call, call.path["user-id"])


def organization(world: World, call: Call) -> Answer:
    """Show the tenant, the only one there is."""
    domains = [
        {
            "capabilities": "Email, OfficeCommunicationsOnline",
            "isDefault": default,
            "isInitial": not default,
            "name": name,
            "type": "Managed",
        }
        for name, default in _domains(world)
    ]
    tenant = {
        "id": world.tenant_id,
        "countryLetterCode": "US",
        "createdDateTime": _SINCE,
        "defaultUsageLocation": None,
        "displayName": "Contoso",
        "onPremisesSyncEnabled": None,
        "tenantType": "AAD",
        "verifiedDomains": domains,
    }
    return page(call, [tenant])


def _domains(world: World) -> tuple[tuple[str, bool], ...]:
    """Each domain, and whether it is the default one: the tenant's own and the one it was born with."""
    return (world.domain, True), ("contoso.onmicrosoft.example", False)


def domains(world: World, call: Call) -> Answer:
    """List the domains, whose id is their name."""
    found = [
        {
            "authenticationType": "Managed",
            "id": name,
            "isAdminManaged": True,
            "isDefault": default,
            "isInitial": not default,
            "isRoot": True,
            "isVerified": True,
            "supportedServices": ["Email", "OfficeCommunicationsOnline"],
        }
        for name, default in _domains(world)
    ]
    return page(call, found)


def application(world: World, call: Call) -> Answer:
    """Show an app registration with its credentials: a hint of each secret and its end, never the secret."""
    app = world.of(Directory).apps.get(call.path["appId"].lower())
    if app is None:
        missing = f"Resource '{call.path['appId']}' does not exist or one of its queried reference-property objects are not present."
        raise GraphError(404, "Request_ResourceNotFound", missing)
    return entity(call, _app(app))


def _app(app: App) -> dict[str, Any]:
    return {
        "id": app.object_id,
        "appId": app.id,
        "displayName": app.name,
        "createdDateTime": _SINCE,
        "signInAudience": "AzureADMultipleOrgs" if app.multi_tenant else "AzureADMyOrg",
        "passwordCredentials": [_secret(each) for each in app.secrets],
        "keyCredentials": [_certificate(each) for each in app.certificates],
    }


def _secret(secret: Secret) -> dict[str, Any]:
    digest = hashlib.sha256(secret.value.encode()).hexdigest()
    return {
        "customKeyIdentifier": None,
        "displayName": "fogbell",
        "endDateTime": to_the_second(secret.expires),
        "hint": secret.value[:_HINT],
        "keyId": str(uuid5(NAMESPACE_OID, digest)),
        "secretText": None,
        "startDateTime": to_the_second(secret.expires - _SECRET_LIFE),
    }


def _certificate(certificate: x509.Certificate) -> dict[str, Any]:
    thumbprint = certificate.fingerprint(hashes.SHA1())  # noqa: S303 - Entra names certificates by their SHA-1 thumbprint
    return {
        "customKeyIdentifier": thumbprint.hex().upper(),
        "displayName": certificate.subject.rfc4514_string(),
        "endDateTime": _utc(certificate.not_valid_after_utc),
        "key": None,
        "keyId": str(uuid5(NAMESPACE_OID, thumbprint.hex())),
        "startDateTime": _utc(certificate.not_valid_before_utc),
        "type": "AsymmetricX509Cert",
        "usage": "Verify",
    }


def _utc(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


_DIRECTORY = frozenset({"Directory.Read.All", "Directory.ReadWrite.All"})
_USERS = _DIRECTORY | {"User.ReadBasic.All", "User.Read.All", "User.ReadWrite.All"}
_SELF = _USERS | {"User.Read", "User.ReadWrite"}
_ORGANIZATION = _DIRECTORY | {"DeviceManagementServiceConfig.Read.All", "Organization.Read.All", "Organization.ReadWrite.All"}
_DOMAINS = _DIRECTORY | {"Domain.Read.All", "Domain.ReadWrite.All"}
_APPLICATIONS = _DIRECTORY | {"Application.Read.All", "Application.ReadWrite.All"}

OPERATIONS: tuple[Operation, ...] = (
    Operation("GET", "/me", me, "directory", "user", _USERS, _SELF),
    Operation("GET", "/users/{user-id}", user, "directory", "user", _USERS, _SELF),
    Operation("GET", "/organization", organization, "directory", "organization", _ORGANIZATION, _ORGANIZATION | {"User.Read"}),
    Operation("GET", "/domains", domains, "directory", "domains", _DOMAINS, _DOMAINS),
    Operation("GET", "/applications(appId='{appId}')", application, "directory", "application", _APPLICATIONS, _APPLICATIONS),
)
"""The directory."""
