"""msal, Microsoft's own client, signs in at the simulated Entra, and is refused where it must be."""

import asyncio
import ssl
from pathlib import Path
from typing import Any

import aiohttp
import msal
import pytest
import requests
from cryptography.hazmat.primitives import hashes

from agent.drill.entra.directory import Directory
from agent.drill.entra.keys import Keys
from agent.drill.world import World
from tests.judges.entra import OwnCertificate, entra, own_certificate

GRAPH = "https://graph.microsoft.com"
SCOPE = [f"{GRAPH}/.default"]


async def _app_token(world: World, authority: str, credential: object) -> dict[str, Any]:
    """Sign in as the app alone, with msal's own discovery of the tenant's endpoints."""

    def ask() -> dict[str, Any]:
        with _session(authority) as session:
            where = {"authority": _tenant(world), "instance_discovery": False, "http_client": session}
            client = msal.ConfidentialClientApplication(world.app_id, credential, **where)
            answer: dict[str, Any] = client.acquire_token_for_client(SCOPE)
        return answer

    return await asyncio.to_thread(ask)


def _session(authority: str) -> requests.Session:
    """Make what msal sends its requests with, so that we can close it."""
    session = requests.Session()
    session.trust_env = False  # a bundle named in the environment would go before `verify`
    session.verify = authority
    return session


def _tenant(world: World) -> str:
    return world.url("login", f"/{world.tenant_id}")


def _sha256(own: OwnCertificate) -> dict[str, str]:
    """Name the certificate in full; msal then signs with PS256."""
    return {"private_key": own.key_pem.decode(), "public_certificate": own.certificate_pem.decode()}


def _sha1(own: OwnCertificate) -> dict[str, str]:
    """Name only the old thumbprint; msal then signs with RS256."""
    return {"private_key": own.key_pem.decode(), "thumbprint": own.certificate.fingerprint(hashes.SHA1()).hex()}  # noqa: S303 - a name


async def test_msal_gets_a_token_with_a_secret(tmp_path: Path) -> None:
    async with entra(tmp_path) as (world, authority):
        answer = await _app_token(world, authority, world.secret)
        claims = world.of(Keys).verify(answer["access_token"], GRAPH)
        assert (claims["appid"], claims["tid"], claims["idtyp"]) == (world.app_id, world.tenant_id, "app")
        assert "Mail.Send" in claims["roles"]


async def test_msal_is_refused_with_a_wrong_secret(tmp_path: Path) -> None:
    async with entra(tmp_path) as (world, authority):
        answer = await _app_token(world, authority, "wrong")
        assert (answer["error"], answer["error_codes"]) == ("invalid_client", [7000215])


@pytest.mark.parametrize("credential", [_sha256, _sha1], ids=["PS256", "RS256"])
async def test_msal_gets_a_token_with_a_certificate(tmp_path: Path, credential: Any) -> None:
    own = own_certificate()
    async with entra(tmp_path) as (world, authority):
        world.of(Directory).apps[world.app_id].certificates.append(own.certificate)
        answer = await _app_token(world, authority, credential(own))
        assert world.of(Keys).verify(answer["access_token"], GRAPH)["appidacr"] == "2"


async def test_msal_is_refused_with_a_certificate_that_nobody_registered(tmp_path: Path) -> None:
    registered, other = own_certificate(), own_certificate()
    async with entra(tmp_path) as (world, authority):
        world.of(Directory).apps[world.app_id].certificates.append(registered.certificate)
        answer = await _app_token(world, authority, _sha256(other))
        assert (answer["error"], answer["error_codes"]) == ("invalid_client", [700027])


async def test_msal_is_refused_with_the_right_thumbprint_and_another_key(tmp_path: Path) -> None:
    registered, other = own_certificate(), own_certificate()
    forged = OwnCertificate(other.key_pem, registered.certificate_pem, registered.certificate)
    async with entra(tmp_path) as (world, authority):
        world.of(Directory).apps[world.app_id].certificates.append(registered.certificate)
        answer = await _app_token(world, authority, _sha256(forged))
        assert (answer["error"], answer["error_codes"]) == ("invalid_client", [700027])


async def test_msal_signs_a_person_in_by_device_code_and_refreshes(tmp_path: Path) -> None:
    async with entra(tmp_path) as (world, authority), aiohttp.ClientSession() as browser:
        with _session(authority) as session:
            where = {"authority": _tenant(world), "instance_discovery": False, "http_client": session}
            client = await asyncio.to_thread(msal.PublicClientApplication, world.app_id, **where)
            flow = await asyncio.to_thread(client.initiate_device_flow, [f"{GRAPH}/ChatMessage.Send"])
            person = world.people[0]
            fields = {"otc": flow["user_code"], "user": person.upn, "action": "continue"}
            async with browser.post(flow["verification_uri"], data=fields, ssl=_trust(authority)) as page:
                assert "You have signed in" in await page.text()
            first = await asyncio.to_thread(client.acquire_token_by_device_flow, flow)
            second = await asyncio.to_thread(client.acquire_token_by_refresh_token, first["refresh_token"], [f"{GRAPH}/ChatMessage.Send"])
            (account,) = client.get_accounts()
    for answer in (first, second):
        claims = world.of(Keys).verify(answer["access_token"], GRAPH)
        assert (claims["oid"], "ChatMessage.Send" in claims["scp"].split()) == (person.id, True)
    assert first["refresh_token"] != second["refresh_token"]
    assert account["username"] == person.upn


def _trust(authority: str) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=authority)
