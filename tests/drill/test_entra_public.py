from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest

from agent.drill.entra.errors import FAILURES
from agent.drill.faults import Fault, Http, Token, Where
from tests.drill.login import CHAT, Login, serve_login

PAGE = {"response_type": "code", "redirect_uri": "http://localhost:1234", "scope": "openid"}


@pytest.fixture
async def login() -> AsyncIterator[Login]:
    async with serve_login() as login:
        yield login


async def authorize(login: Login, **asked: str) -> Any:
    return await login.get("oauth2/v2.0/authorize", **{"client_id": login.world.app_id, **PAGE, **asked})


async def test_discovery_names_the_places_of_its_tenant(login: Login) -> None:
    found = await login.get("v2.0/.well-known/openid-configuration")
    here = login.world.url("login", f"/{login.world.tenant_id}")
    assert found.body["issuer"] == f"{here}/v2.0"
    assert found.body["token_endpoint"] == f"{here}/oauth2/v2.0/token"
    assert found.body["device_authorization_endpoint"] == f"{here}/oauth2/v2.0/devicecode"
    assert found.headers["Cache-Control"] == "max-age=86400, private"


async def test_discovery_by_domain_names_the_tenant_by_its_id(login: Login) -> None:
    found = await login.ask("GET", f"/{login.world.domain}/v2.0/.well-known/openid-configuration")
    assert found.body["issuer"] == login.world.url("login", f"/{login.world.tenant_id}/v2.0")


@pytest.mark.parametrize("shared", ["common", "organizations"])
async def test_discovery_without_a_tenant_leaves_a_place_for_one(login: Login, shared: str) -> None:
    found = (await login.ask("GET", f"/{shared}/v2.0/.well-known/openid-configuration")).body
    assert found["issuer"] == login.world.url("login", "/{tenantid}/v2.0")
    assert f"/{shared}/" in found["token_endpoint"]


async def test_the_published_keys_verify_a_token(login: Login) -> None:
    keys = jwt.PyJWKSet.from_dict((await login.get("discovery/v2.0/keys")).body)
    token = (await login.app_token()).body["access_token"]
    key = keys[jwt.get_unverified_header(token)["kid"]]
    claims = jwt.decode(
        token,
        key,
        ["RS256"],
        audience="https://graph.microsoft.com",
        options={"verify_exp": False, "verify_nbf": False, "verify_iat": False},
    )
    assert claims["tid"] == login.world.tenant_id


async def test_the_authorize_page_asks_who_signs_in(login: Login) -> None:
    page = await authorize(login)
    assert (page.status, page.numbers) == (200, set())
    assert "<title>Sign in to your account</title>" in page.text
    assert 'name="loginfmt"' in page.text


@pytest.mark.parametrize(
    ("asked", "number"),
    [
        pytest.param({"client_id": "nobody"}, 700016, id="unknown app"),
        pytest.param({"client_id": ""}, 900144, id="no app"),
        pytest.param({"redirect_uri": "https://evil.example"}, 50011, id="elsewhere"),
        pytest.param({"redirect_uri": "http://localhost.evil.example"}, 50011, id="almost here"),
        pytest.param({"response_type": ""}, 900144, id="no response type"),
    ],
)
async def test_the_authorize_page_says_what_is_wrong(login: Login, asked: dict[str, str], number: int) -> None:
    page = await authorize(login, **asked)
    assert (page.status, page.numbers) == (200, {number})
    assert "having trouble signing you in" in page.text
    assert 'name="loginfmt"' not in page.text


@pytest.mark.parametrize(
    ("asked", "error", "number"),
    [
        pytest.param({"prompt": "none", "state": "s"}, "login_required", "AADSTS50058", id="nobody is signed in"),
        pytest.param({"response_type": "token"}, "unsupported_response_type", "AADSTS700054", id="wrong response type"),
    ],
)
async def test_the_authorize_page_sends_the_app_its_own_errors(login: Login, asked: dict[str, str], error: str, number: str) -> None:
    reply = await authorize(login, **asked)
    back = urlsplit(reply.headers["Location"])
    told = parse_qs(back.query or back.fragment)
    assert (reply.status, back.netloc, told["error"]) == (302, "localhost:1234", [error])
    assert told["error_description"][0].startswith(number)
    assert told.get("state") == ([asked["state"]] if "state" in asked else None)


async def test_a_page_does_not_run_what_it_was_asked(login: Login) -> None:
    page = await authorize(login, redirect_uri="</script><script>alert(1)</script>")
    assert "<script>alert" not in page.text


async def test_an_unknown_tenant_is_not_found_anywhere(login: Login) -> None:
    discovery = await login.ask("GET", "/nobody.example/v2.0/.well-known/openid-configuration")
    assert discovery.refused == (400, "invalid_request", 90002)


async def test_a_path_of_nothing_is_not_found(login: Login) -> None:
    assert (await login.get("nothing")).status == 404


async def test_a_proxy_that_allows_other_tenants_alone_shuts_ours_out(login: Login) -> None:
    shut_out = await login.post("oauth2/v2.0/token", headers={"Restrict-Access-To-Tenants": "fabrikam.example"}, grant_type="password")
    assert shut_out.refused == (400, "access_denied", 500021)
    allowed = {"Restrict-Access-To-Tenants": f"fabrikam.example, {login.world.domain}"}
    form = {"grant_type": "client_credentials", "client_secret": login.world.secret, "scope": "https://graph.microsoft.com/.default"}
    assert (await login.post("oauth2/v2.0/token", headers=allowed, **form)).status == 200


async def test_any_number_can_be_played(login: Login) -> None:
    replies = {}
    for number in FAILURES:
        login.world.faults.set(Fault(Token(number), Where(hosts=frozenset({"login"}))))
        replies[number] = await login.app_token()
    assert {number: reply.refused for number, reply in replies.items()} == {
        number: (failure.status, failure.error, number) for number, failure in FAILURES.items()
    }
    assert not [number for number, reply in replies.items() if "{" in reply.body["error_description"]]


async def test_a_number_that_no_table_knows_can_be_played_too(login: Login) -> None:
    login.world.faults.set(Fault(Token(987654)))
    assert (await login.app_token()).refused == (400, "invalid_grant", 987654)


async def test_a_fault_of_one_grant_leaves_the_others_alone(login: Login) -> None:
    value = await login.refresh_token()
    login.world.faults.set(Fault(Token(90033), Where(grants=frozenset({"refresh_token"}))))
    assert (await login.app_token()).status == 200
    assert (await login.token("refresh_token", refresh_token=value)).refused == (503, "temporarily_unavailable", 90033)


@pytest.mark.parametrize("operation", ["discovery", "keys", "authorize", "device_code", "token"])
async def test_a_fault_hits_the_operation_it_names(login: Login, operation: str) -> None:
    login.world.faults.set(Fault(Http((502,)), Where(operations=frozenset({operation}))))
    statuses = {
        "discovery": (await login.get("v2.0/.well-known/openid-configuration")).status,
        "keys": (await login.get("discovery/v2.0/keys")).status,
        "authorize": (await authorize(login)).status,
        "device_code": (await login.post("oauth2/v2.0/devicecode", scope=CHAT)).status,
        "token": (await login.app_token()).status,
    }
    assert {name for name, status in statuses.items() if status == 502} == {operation}
    assert {status for name, status in statuses.items() if name != operation} == {200}


async def test_a_page_shows_the_fault_that_hits_it(login: Login) -> None:
    login.world.faults.set(Fault(Token(90033), Where(operations=frozenset({"authorize"}))))
    page = await authorize(login)
    assert (page.status, page.numbers) == (200, {90033})
