from collections.abc import AsyncIterator
from typing import Any

import pytest

from agent.drill.entra.metadata import APP_SERVICE_PATH, MACHINE_PATH, ManagedIdentity, metadata_site
from agent.drill.faults import Fault, Token, Where
from agent.drill.world import World
from tests.drill.graph import NOON, Clock
from tests.drill.login import GRAPH, Login, serve_login

MACHINE = {"api-version": "2018-02-01", "resource": GRAPH}
APP_SERVICE = {"api-version": "2019-08-01", "resource": GRAPH}


@pytest.fixture
async def login() -> AsyncIterator[Login]:
    clock = Clock()
    world = World(clock=clock)
    async with serve_login(metadata_site(world), world=world) as login:
        yield login


async def ask(login: Login, path: str, query: dict[str, str], headers: dict[str, str]) -> Any:
    return await login.ask("GET", path, host="metadata", params=query, headers=headers)


async def test_a_machine_gets_a_token_of_its_own_without_any_credential(login: Login) -> None:
    reply = await ask(login, MACHINE_PATH, MACHINE, {"Metadata": "true"})
    assert reply.status == 200
    assert (reply.body["expires_in"], reply.body["expires_on"]) == ("3599", str(int(NOON) + 3599))
    claims = login.claims(reply)
    assert claims["appid"] == login.world.of(ManagedIdentity).client_id != login.world.app_id
    assert "Mail.Send" in claims["roles"]


async def test_an_app_service_gets_a_token_for_its_word(login: Login) -> None:
    word = {"X-IDENTITY-HEADER": login.world.of(ManagedIdentity).header}
    reply = await ask(login, APP_SERVICE_PATH, APP_SERVICE, word)
    assert reply.body.keys() == {"access_token", "client_id", "expires_on", "resource", "token_type"}
    assert login.claims(reply)["appid"] == login.world.of(ManagedIdentity).client_id


@pytest.mark.parametrize(
    ("path", "query", "headers", "status"),
    [
        pytest.param(MACHINE_PATH, MACHINE, {}, 400, id="machine without header"),
        pytest.param(MACHINE_PATH, MACHINE, {"Metadata": "true", "X-Forwarded-For": "192.0.2.1"}, 400, id="machine through a proxy"),
        pytest.param(MACHINE_PATH, {"resource": GRAPH}, {"Metadata": "true"}, 400, id="machine without version"),
        pytest.param(MACHINE_PATH, {"api-version": "2018-02-01"}, {"Metadata": "true"}, 400, id="machine without resource"),
        pytest.param(MACHINE_PATH, {**MACHINE, "client_id": "another"}, {"Metadata": "true"}, 400, id="another identity"),
        pytest.param(MACHINE_PATH, {**MACHINE, "resource": "https://x.example"}, {"Metadata": "true"}, 400, id="unknown resource"),
        pytest.param(APP_SERVICE_PATH, APP_SERVICE, {"X-IDENTITY-HEADER": "wrong"}, 403, id="app service with a wrong word"),
        pytest.param("/metadata/instance", {}, {"Metadata": "true"}, 404, id="another path"),
    ],
)
async def test_no_token_is_given(login: Login, path: str, query: dict[str, str], headers: dict[str, str], status: int) -> None:
    reply = await ask(login, path, query, headers)
    assert reply.status == status
    assert "access_token" not in reply.text


async def test_an_app_service_names_its_version(login: Login) -> None:
    word = {"X-IDENTITY-HEADER": login.world.of(ManagedIdentity).header}
    assert (await ask(login, APP_SERVICE_PATH, {"resource": GRAPH}, word)).status == 400


async def test_a_machine_whose_permissions_were_taken_has_none_in_its_token(login: Login) -> None:
    login.directory.grant(login.world.of(ManagedIdentity).client_id, [])
    assert "roles" not in login.claims(await ask(login, MACHINE_PATH, MACHINE, {"Metadata": "true"}))


async def test_entra_s_faults_reach_a_machine_through_its_metadata_service(login: Login) -> None:
    login.world.faults.set(Fault(Token(90033), Where(hosts=frozenset({"metadata"}))))
    reply = await ask(login, MACHINE_PATH, MACHINE, {"Metadata": "true"})
    assert (reply.status, reply.body["error"]) == (503, "temporarily_unavailable")
    assert (await login.app_token()).status == 200
