from collections.abc import AsyncIterator
from typing import Any

import pytest

from agent.drill.entra.directory import GRAPH as GRAPH_RESOURCE
from tests.drill.login import CHAT, DEVICE, GRAPH, Login, serve_login

PASSWORD = {"scope": f"{GRAPH}/User.Read openid offline_access"}


@pytest.fixture
async def login() -> AsyncIterator[Login]:
    async with serve_login() as login:
        yield login


async def start(login: Login) -> dict[str, Any]:
    return (await login.post("oauth2/v2.0/devicecode", scope=CHAT)).body


async def test_a_device_code_says_where_to_type_what(login: Login) -> None:
    code = await start(login)
    assert code.keys() == {"user_code", "device_code", "verification_uri", "expires_in", "interval", "message"}
    assert (code["expires_in"], code["interval"]) == (900, 5)
    assert code["user_code"] in code["message"]
    assert code["verification_uri"] in code["message"]


async def test_a_device_is_signed_in_once_the_person_is(login: Login) -> None:
    code = await start(login)
    poll = {"device_code": code["device_code"]}
    assert (await login.token(DEVICE, **poll)).refused == (400, "authorization_pending", 70016)
    assert (await login.token(DEVICE, **poll)).refused == (400, "slow_down", 70016)
    login.clock.forward(5)
    assert (await login.token(DEVICE, **poll)).refused == (400, "authorization_pending", 70016)
    assert "You have signed in to Fogbell" in (await login.person_signs_in(code["user_code"].lower())).text
    reply = await login.token(DEVICE, **poll)
    claims = login.claims(reply)
    assert (claims["upn"], claims["oid"]) == (login.world.people[0].upn, login.world.people[0].id)
    assert "ChatMessage.Send" in claims["scp"].split()
    assert "roles" not in claims
    assert f"{GRAPH}/ChatMessage.Send" in reply.body["scope"].split()
    assert reply.body.keys() >= {"refresh_token", "id_token"}
    assert (await login.token(DEVICE, **poll)).refused == (400, "invalid_grant", 70000)


async def test_a_device_code_ends(login: Login) -> None:
    code = await start(login)
    login.clock.forward(900)
    assert (await login.person_signs_in(code["user_code"])).numbers == {70019}
    assert (await login.token(DEVICE, device_code=code["device_code"])).refused == (400, "expired_token", 70020)


async def test_a_person_may_decline(login: Login) -> None:
    code = await start(login)
    assert "declined" in (await login.person_signs_in(code["user_code"], "cancel")).text
    assert (await login.token(DEVICE, device_code=code["device_code"])).refused == (400, "authorization_declined", 65004)


async def test_a_code_that_no_device_shows_is_not_known(login: Login) -> None:
    await start(login)
    assert (await login.person_signs_in("BCDFGHJKL")).numbers == {70018}


async def test_the_page_for_codes_lists_the_people(login: Login) -> None:
    page = (await login.ask("GET", "/common/oauth2/deviceauth")).text
    assert all(person.upn in page for person in login.world.people)


async def test_an_app_without_public_flows_gets_no_device_code(login: Login) -> None:
    login.app.public_flows = False
    assert (await login.post("oauth2/v2.0/devicecode", scope=CHAT)).refused == (401, "invalid_client", 7000218)


async def test_a_refresh_gives_a_new_refresh_token_and_the_old_one_goes_on(login: Login) -> None:
    first = await login.refresh_token()
    second = (await login.token("refresh_token", refresh_token=first)).body["refresh_token"]
    assert second != first
    assert [(await login.token("refresh_token", refresh_token=value)).status for value in (first, second)] == [200, 200]


async def test_a_refresh_may_ask_for_another_scope(login: Login) -> None:
    reply = await login.token("refresh_token", refresh_token=await login.refresh_token(), scope="User.Read")
    assert "User.Read" in reply.body["scope"].split()
    assert login.claims(reply)["aud"] == GRAPH


async def test_a_refresh_token_dies_of_disuse_but_lives_on_in_its_successor(login: Login) -> None:
    first = await login.refresh_token()
    login.clock.forward(60 * 86_400)
    second = (await login.token("refresh_token", refresh_token=first)).body["refresh_token"]
    login.clock.forward(31 * 86_400)
    refused = await login.token("refresh_token", refresh_token=first)
    assert refused.refused == (400, "invalid_grant", 700082)
    assert "inactive for 90.00:00:00" in refused.body["error_description"]
    assert (await login.token("refresh_token", refresh_token=second)).status == 200


def revoke(login: Login) -> None:
    login.clock.forward(1)
    login.directory.revoke(login.world.people[0].upn)


def disable(login: Login) -> None:
    login.directory.account(login.world.people[0].upn).enabled = False


def need_second_factor(login: Login) -> None:
    login.directory.account(login.world.people[0].upn).barred = 50076


def take_consent(login: Login) -> None:
    login.app.scopes[GRAPH_RESOURCE].discard("ChatMessage.Send")


def forget(login: Login) -> None:
    login.directory.accounts.clear()


@pytest.mark.parametrize(
    ("change", "number", "suberror"),
    [
        pytest.param(revoke, 50173, "bad_token", id="revoked"),
        pytest.param(disable, 50057, None, id="disabled"),
        pytest.param(forget, 50034, None, id="deleted"),
        pytest.param(need_second_factor, 50076, "basic_action", id="second factor"),
        pytest.param(take_consent, 65001, "consent_required", id="consent withdrawn"),
    ],
)
async def test_a_refresh_is_refused(login: Login, change: Any, number: int, suberror: str | None) -> None:
    value = await login.refresh_token()
    change(login)
    reply = await login.token("refresh_token", refresh_token=value)
    assert (reply.refused, reply.body.get("suberror")) == ((400, "invalid_grant", number), suberror)


async def test_a_refresh_token_is_of_one_app(login: Login) -> None:
    value = await login.refresh_token()
    other = login.directory.add_app("11111111-2222-4333-8444-555555555555", "Other")
    assert (await login.token("refresh_token", client_id=other.id, refresh_token=value)).refused == (400, "invalid_grant", 70000)


async def test_what_is_no_refresh_token_is_malformed(login: Login) -> None:
    assert (await login.token("refresh_token", refresh_token="x")).refused == (400, "invalid_grant", 9002313)
    assert (await login.token("refresh_token")).refused == (400, "invalid_request", 900144)


async def test_a_confidential_app_shows_its_secret_to_refresh(login: Login) -> None:
    value = await login.refresh_token()
    login.app.public_flows = False
    assert (await login.token("refresh_token", refresh_token=value)).refused == (401, "invalid_client", 7000218)
    assert (await login.token("refresh_token", refresh_token=value, client_secret=login.world.secret)).status == 200


async def sign_in(login: Login, tenant: str = "", **form: str) -> Any:
    account = login.directory.account(login.world.people[1].upn)
    return await login.token("password", tenant, **{"username": account.upn, "password": account.password, **PASSWORD, **form})


async def test_a_password_gets_a_token_for_its_person(login: Login) -> None:
    reply = await sign_in(login, tenant="organizations")
    assert login.claims(reply)["upn"] == login.world.people[1].upn
    assert "refresh_token" in reply.body


@pytest.mark.parametrize(
    ("form", "number"),
    [
        pytest.param({"password": "wrong"}, 50126, id="wrong password"),
        pytest.param({"username": "nobody@contoso.example"}, 50034, id="nobody"),
        pytest.param({"tenant": "common"}, 9001023, id="no tenant"),
        pytest.param({"scope": f"{GRAPH}/Policy.Read.All"}, 65001, id="no consent"),
        pytest.param({"scope": f"{GRAPH}/User.Read https://outlook.office.com/SMTP.Send"}, 700022, id="two resources"),
        pytest.param({"scope": ""}, 900144, id="no scope"),
    ],
)
async def test_a_password_is_refused(login: Login, form: dict[str, str], number: int) -> None:
    assert (await sign_in(login, **form)).body["error_codes"] == [number]


async def test_a_password_alone_is_not_enough_where_a_second_factor_is_asked(login: Login) -> None:
    login.directory.account(login.world.people[1].upn).second_factor = True
    assert (await sign_in(login)).refused == (400, "invalid_grant", 50076)


async def test_without_offline_access_there_is_no_refresh_token(login: Login) -> None:
    assert (await sign_in(login, scope="User.Read")).body.keys() == {"token_type", "scope", "expires_in", "ext_expires_in", "access_token"}


async def test_a_code_is_typed_once(login: Login) -> None:
    code = await start(login)
    await login.person_signs_in(code["user_code"])
    assert (await login.person_signs_in(code["user_code"], "cancel")).numbers == {70018}
    assert (await login.token(DEVICE, device_code=code["device_code"])).status == 200
