"""Who is who in the simulated tenant, and when an app's credentials end."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa

from agent.drill.entra.directory import Directory
from agent.drill.entra.keys import self_signed
from tests.drill.data import Client, data_client


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with data_client() as client:
        yield client


async def test_me_is_who_signed_in(client: Client) -> None:
    reply = await client.ask("GET", "/me", "User.Read", by=client.receiver)
    assert reply.body["userPrincipalName"] == client.receiver.upn


async def test_an_app_is_nobody(client: Client) -> None:
    reply = await client.ask("GET", "/me", "User.Read.All")
    assert (reply.status, reply.code) == (400, "BadRequest")


@pytest.mark.parametrize("spelling", ["id", "upn", "UPN"])
async def test_a_person_is_found_by_id_and_by_name(client: Client, spelling: str) -> None:
    who = {"id": client.sender.id, "upn": client.sender.upn, "UPN": client.sender.upn.upper()}[spelling]
    reply = await client.ask("GET", f"/users/{who}", "User.ReadBasic.All")
    assert (reply.status, reply.body["id"], reply.body["mail"]) == (200, client.sender.id, client.sender.mail)


async def test_some_properties_come_only_when_asked_for(client: Client) -> None:
    path = f"/users/{client.sender.id}"
    assert "accountEnabled" not in (await client.ask("GET", path, "User.Read.All")).body
    reply = await client.ask("GET", path, "User.Read.All", query={"$select": "id,accountEnabled"})
    assert reply.body.items() >= {"id": client.sender.id, "accountEnabled": True}.items()
    assert "mail" not in reply.body


async def test_nobody_of_that_name(client: Client) -> None:
    reply = await client.ask("GET", "/users/nobody@contoso.example", "User.Read.All")
    assert (reply.status, reply.code) == (404, "Request_ResourceNotFound")


async def test_who_may_read_only_themselves_reads_nobody_else(client: Client) -> None:
    own = await client.ask("GET", f"/users/{client.sender.upn}", "User.Read", by=client.sender)
    other = await client.ask("GET", f"/users/{client.receiver.upn}", "User.Read", by=client.sender)
    assert (own.status, other.status, other.code) == (200, 403, "Authorization_RequestDenied")


@pytest.mark.parametrize("permission", ["Organization.Read.All", "Directory.Read.All"])
async def test_the_organization_has_its_domains(client: Client, permission: str) -> None:
    (tenant,) = (await client.ask("GET", "/organization", permission)).items
    assert tenant["id"] == client.world.tenant_id
    assert [each["name"] for each in tenant["verifiedDomains"] if each["isDefault"]] == [client.world.domain]


async def test_a_domain_is_called_by_its_name(client: Client) -> None:
    domains = (await client.ask("GET", "/domains", "Domain.Read.All")).items
    assert [each["id"] for each in domains if each["isDefault"]] == [client.world.domain]


async def test_an_apps_secret_has_a_hint_and_an_end_and_is_not_shown(client: Client) -> None:
    reply = await client.ask("GET", f"/applications(appId='{client.world.app_id}')", "Application.Read.All")
    (secret,) = reply.body["passwordCredentials"]
    ends = client.world.of(Directory).apps[client.world.app_id].secrets[0].expires
    assert secret["hint"] == client.world.secret[:3]
    assert datetime.fromisoformat(secret["endDateTime"]).timestamp() == int(ends)
    assert client.world.secret.encode() not in reply.data


async def test_an_apps_certificate_has_an_end_and_a_thumbprint(client: Client) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    start = datetime.fromtimestamp(client.world.now(), UTC)
    certificate = self_signed(key, "fogbell", start, start + timedelta(days=30))
    client.world.of(Directory).apps[client.world.app_id].certificates.append(certificate)
    reply = await client.ask("GET", f"/applications(appId='{client.world.app_id}')", "Application.Read.All")
    (shown,) = reply.body["keyCredentials"]
    assert shown["customKeyIdentifier"] == certificate.fingerprint(hashes.SHA1()).hex().upper()  # noqa: S303 - as Entra names certificates
    assert (shown["startDateTime"], shown["endDateTime"]) == ("2026-11-23T12:00:00Z", "2026-12-23T12:00:00Z")


@pytest.mark.parametrize(
    ("path", "permission"),
    [
        ("/organization", "Mail.Read"),
        ("/domains", "Organization.Read.All"),
        ("/users/x", "Mail.Read"),
        ("/applications(appId='x')", "User.Read.All"),
    ],
)
async def test_another_permission_does_not_open_it(client: Client, path: str, permission: str) -> None:
    reply = await client.ask("GET", path, permission)
    assert (reply.status, reply.code) == (403, "Authorization_RequestDenied")


async def test_an_unknown_app_is_not_found(client: Client) -> None:
    reply = await client.ask("GET", "/applications(appId='00000000-0000-0000-0000-000000000000')", "Application.Read.All")
    assert (reply.status, reply.code) == (404, "Request_ResourceNotFound")
