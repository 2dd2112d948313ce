"""azure-identity, with which most Python programs sign in, gets its tokens from the simulated Entra, and is refused where it must be."""

from pathlib import Path
from typing import Any

import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity.aio import CertificateCredential, ClientSecretCredential, ManagedIdentityCredential

from agent.drill.entra.directory import Directory
from agent.drill.entra.keys import Keys
from agent.drill.entra.metadata import APP_SERVICE_PATH, ManagedIdentity
from agent.drill.world import World
from tests.judges.entra import OwnCertificate, entra, numbers, own_certificate

GRAPH = "https://graph.microsoft.com"


def _where(world: World, authority: str) -> dict[str, Any]:
    """Point a credential at the simulated tenant, and let it ask once."""
    login = world.url("login")
    return {"authority": login, "disable_instance_discovery": True, "connection_verify": authority, "retry_total": 0}


async def _claims(world: World, credential: ClientSecretCredential | CertificateCredential | ManagedIdentityCredential) -> dict[str, Any]:
    async with credential:
        token = await credential.get_token(f"{GRAPH}/.default")
    return world.of(Keys).verify(token.token, GRAPH)


def _certificate(world: World, authority: str, own: OwnCertificate) -> CertificateCredential:
    pem = own.key_pem + own.certificate_pem
    return CertificateCredential(world.tenant_id, world.app_id, certificate_data=pem, **_where(world, authority))


async def test_azure_identity_gets_a_token_with_a_secret(tmp_path: Path) -> None:
    async with entra(tmp_path) as (world, authority):
        credential = ClientSecretCredential(world.tenant_id, world.app_id, world.secret, **_where(world, authority))
        assert (await _claims(world, credential))["appid"] == world.app_id


async def test_azure_identity_is_refused_with_a_wrong_secret(tmp_path: Path) -> None:
    async with entra(tmp_path) as (world, authority):
        credential = ClientSecretCredential(world.tenant_id, world.app_id, "wrong", **_where(world, authority))
        with pytest.raises(ClientAuthenticationError) as refused:
            await _claims(world, credential)
        assert numbers(str(refused.value)) == {7000215}


async def test_azure_identity_gets_a_token_with_a_certificate(tmp_path: Path) -> None:
    own = own_certificate()
    async with entra(tmp_path) as (world, authority):
        world.of(Directory).apps[world.app_id].certificates.append(own.certificate)
        assert (await _claims(world, _certificate(world, authority, own)))["appidacr"] == "2"


async def test_azure_identity_is_refused_with_a_certificate_that_nobody_registered(tmp_path: Path) -> None:
    async with entra(tmp_path) as (world, authority):
        with pytest.raises(ClientAuthenticationError) as refused:
            await _claims(world, _certificate(world, authority, own_certificate()))
        assert numbers(str(refused.value)) == {700027}


async def test_azure_identity_gets_a_token_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with entra(tmp_path) as (world, _):
        monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", world.url("metadata"))
        assert (await _claims(world, ManagedIdentityCredential()))["appid"] == world.of(ManagedIdentity).client_id


async def test_azure_identity_gets_a_token_of_an_app_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with entra(tmp_path) as (world, _):
        monkeypatch.setenv("IDENTITY_ENDPOINT", world.url("metadata", APP_SERVICE_PATH))
        monkeypatch.setenv("IDENTITY_HEADER", world.of(ManagedIdentity).header)
        assert (await _claims(world, ManagedIdentityCredential()))["appid"] == world.of(ManagedIdentity).client_id
        monkeypatch.setenv("IDENTITY_HEADER", "wrong")
        with pytest.raises(ClientAuthenticationError):
            await _claims(world, ManagedIdentityCredential())
