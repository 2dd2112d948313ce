import base64
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa

from agent.drill.entra.directory import EXCHANGE, Federation, Secret
from agent.drill.entra.keys import Keys, base64url, self_signed
from agent.drill.world import World
from tests.drill.graph import NOON
from tests.drill.login import DEFAULT, GRAPH, Login, serve_login

ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@pytest.fixture
async def login() -> AsyncIterator[Login]:
    async with serve_login() as login:
        yield login


@cache
def key(name: str) -> rsa.RSAPrivateKey:
    """Make the key pair of this name once: it takes a while."""
    assert name
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@cache
def certificate(name: str = "own", days: float = 90) -> x509.Certificate:
    noon = datetime.fromtimestamp(NOON, UTC)
    return self_signed(key(name), "Fogbell", noon - timedelta(days=100), noon + timedelta(days=days))


def assertion(login: Login, algorithm: str = "PS256", signer: str = "own", header: dict[str, str] | None = None, **claims: object) -> str:
    """Write an assertion as Microsoft's page "Certificate credentials" says, but for what the test says otherwise."""
    world = login.world
    good = {
        "aud": world.url("login", f"/{world.tenant_id}/oauth2/v2.0/token"),
        "iss": world.app_id,
        "sub": world.app_id,
        "jti": "7f4b3a52-4d7d-4bf1-9e93-1f6a7a0a6d3c",
        "nbf": int(login.clock()),
        "exp": int(login.clock()) + 600,
    }
    names = header or {"x5t#S256": base64url(certificate().fingerprint(hashes.SHA256()))}
    return jwt.encode({**good, **claims}, key(signer), algorithm, names)


async def ask_with(login: Login, text: str) -> Any:
    return await login.token("client_credentials", scope=DEFAULT, client_assertion_type=ASSERTION, client_assertion=text)


async def test_a_secret_gets_a_token_for_what_it_asked(login: Login) -> None:
    reply = await login.app_token()
    assert (reply.status, reply.body["token_type"], reply.body["expires_in"]) == (200, "Bearer", 3599)
    assert reply.body.keys() == {"token_type", "expires_in", "ext_expires_in", "access_token"}
    claims = login.claims(reply)
    assert (claims["aud"], claims["appid"], claims["tid"]) == (GRAPH, login.world.app_id, login.world.tenant_id)
    assert {"Mail.Send", "ServiceHealth.Read.All"} <= set(claims["roles"])
    assert "scp" not in claims
    assert claims["nbf"] <= NOON < claims["exp"] == NOON + 3599


async def test_a_secret_in_the_header_gets_a_token(login: Login) -> None:
    pair = base64.b64encode(f"{login.world.app_id}:{login.world.secret}".encode()).decode()
    reply = await login.post(
        "oauth2/v2.0/token", headers={"Authorization": f"Basic {pair}"}, grant_type="client_credentials", scope=DEFAULT, client_id=""
    )
    assert login.claims(reply)["appid"] == login.world.app_id


async def test_a_token_carries_the_permissions_of_the_moment(login: Login) -> None:
    login.directory.grant(login.world.app_id, ["Mail.Send"])
    assert login.claims(await login.app_token())["roles"] == ["Mail.Send"]
    login.directory.grant(login.world.app_id, [])
    assert "roles" not in login.claims(await login.app_token())


async def test_a_token_for_exchange_is_for_exchange(login: Login) -> None:
    reply = await login.app_token(scope="https://outlook.office365.com/.default")
    assert set(login.claims(reply, "https://outlook.office365.com")["roles"]) == login.app.roles[EXCHANGE]


async def test_a_token_ends_when_the_settings_say(login: Login) -> None:
    login.directory.settings.token_seconds = 60
    reply = await login.app_token()
    login.clock.forward(59)
    assert login.claims(reply)
    login.clock.forward(1)
    with pytest.raises(ValueError, match="expired"):
        login.claims(reply)


def expire_secret(login: Login) -> None:
    login.app.secrets[:] = [Secret(login.world.secret, NOON - 1)]


def disable(login: Login) -> None:
    login.app.enabled = False


def bar(login: Login) -> None:
    login.app.barred = 53003


def nothing(_login: Login) -> None:
    pass


@pytest.mark.parametrize(
    ("change", "tenant", "form", "refused"),
    [
        pytest.param(nothing, "", {"client_secret": "wrong"}, (401, "invalid_client", 7000215), id="wrong secret"),
        pytest.param(expire_secret, "", {}, (401, "invalid_client", 7000222), id="expired secret"),
        pytest.param(disable, "", {}, (400, "unauthorized_client", 7000112), id="disabled app"),
        pytest.param(bar, "", {}, (400, "invalid_grant", 53003), id="conditional access"),
        pytest.param(nothing, "", {"client_id": "0" * 8}, (400, "unauthorized_client", 700016), id="unknown app"),
        pytest.param(nothing, "", {"client_id": ""}, (400, "invalid_request", 900144), id="no app"),
        pytest.param(nothing, "nobody.example", {}, (400, "invalid_request", 90002), id="unknown tenant"),
        pytest.param(nothing, "common", {}, (400, "invalid_request", 50194), id="no tenant"),
        pytest.param(nothing, "", {"scope": ""}, (400, "invalid_request", 900144), id="no scope"),
        pytest.param(nothing, "", {"scope": f"{GRAPH}/Mail.Send"}, (400, "invalid_scope", 1002012), id="scope without default"),
        pytest.param(nothing, "", {"scope": f"{DEFAULT} openid"}, (400, "invalid_scope", 70011), id="two scopes"),
        pytest.param(nothing, "", {"scope": "https://x.example/.default"}, (400, "invalid_resource", 500011), id="unknown resource"),
        pytest.param(nothing, "", {"grant_type": "implicit"}, (400, "unsupported_grant_type", 70003), id="unknown grant"),
        pytest.param(nothing, "", {"grant_type": ""}, (400, "invalid_request", 900144), id="no grant"),
    ],
)
async def test_an_app_is_refused(login: Login, change: Any, tenant: str, form: dict[str, str], refused: tuple[int, str, int]) -> None:
    change(login)
    fields: dict[str, Any] = {"grant_type": "client_credentials", "client_secret": login.world.secret, "scope": DEFAULT, **form}
    assert (await login.post("oauth2/v2.0/token", tenant, **fields)).refused == refused


async def test_an_app_without_any_credential_is_asked_for_one(login: Login) -> None:
    assert (await login.token("client_credentials", scope=DEFAULT)).refused == (401, "invalid_client", 7000218)


async def test_a_public_app_may_not_have_a_secret(login: Login) -> None:
    login.app.secrets.clear()
    assert (await login.app_token()).refused == (401, "invalid_client", 700025)


async def test_a_refusal_has_the_form_of_entra(login: Login) -> None:
    header = {"client-request-id": "5a3c2f1e-0b64-4d8e-9a43-0c1f9f6d2b10", "return-client-request-id": "true"}
    reply = await login.post(
        "oauth2/v2.0/token",
        headers=header,
        grant_type="client_credentials",
        client_secret=login.world.secret,
        scope="https://x.example/.default",
    )
    body = reply.body
    first, *rest = body["error_description"].split("\r\n")
    assert first.startswith("AADSTS500011: The resource principal named https://x.example was not found")
    assert rest == [f"Trace ID: {body['trace_id']}", f"Correlation ID: {header['client-request-id']}", "Timestamp: 2026-11-23 12:00:00Z"]
    assert body["timestamp"] == "2026-11-23 12:00:00Z"
    assert body["error_uri"] == "https://login.microsoftonline.com/error?code=500011"
    assert reply.headers["x-ms-request-id"] == body["trace_id"]
    assert reply.headers["client-request-id"] == body["correlation_id"]
    assert "ProdSlices" in reply.headers["x-ms-ests-server"]
    assert reply.headers["Cache-Control"] == "no-store, no-cache"
    assert login.world.secret not in reply.text


async def test_a_token_endpoint_wants_post(login: Login) -> None:
    assert (await login.get("oauth2/v2.0/token")).refused == (400, "invalid_request", 900561)


@pytest.mark.parametrize("algorithm", ["PS256", "RS256"])
@pytest.mark.parametrize(("name", "digest"), [("x5t#S256", hashes.SHA256()), ("x5t", hashes.SHA1())])  # noqa: S303 - a name of the key
async def test_a_certificate_gets_a_token(login: Login, algorithm: str, name: str, digest: hashes.HashAlgorithm) -> None:
    login.app.certificates.append(certificate())
    header = {name: base64url(certificate().fingerprint(digest))}
    assert login.claims(await ask_with(login, assertion(login, algorithm, header=header)))["appidacr"] == "2"


@pytest.mark.parametrize(
    ("claims", "refused"),
    [
        pytest.param({"signer": "other"}, (401, "invalid_client", 700027), id="another key"),
        pytest.param({"header": {"x5t": "AAAA"}}, (401, "invalid_client", 700027), id="another certificate"),
        pytest.param({"header": {"kid": "1"}}, (401, "invalid_client", 700027), id="no certificate named"),
        pytest.param({"aud": "https://login.example/token"}, (401, "invalid_client", 700023), id="another endpoint"),
        pytest.param({"sub": "somebody"}, (401, "invalid_client", 700021), id="another app"),
        pytest.param({"iss": "https://issuer.example"}, (401, "invalid_client", 700211), id="an issuer that nobody trusts"),
        pytest.param({"nbf": NOON + 301}, (401, "invalid_client", 700024), id="our clock is fast"),
        pytest.param({"exp": NOON - 301}, (401, "invalid_client", 700024), id="our clock is slow"),
        pytest.param({"exp": "soon"}, (400, "invalid_request", 50027), id="no time"),
    ],
)
async def test_an_assertion_is_refused(login: Login, claims: dict[str, Any], refused: tuple[int, str, int]) -> None:
    login.app.certificates.append(certificate())
    assert (await ask_with(login, assertion(login, **claims))).refused == refused


@pytest.mark.parametrize("claims", [{"nbf": NOON + 299}, {"exp": NOON - 299}])
async def test_clocks_may_differ_by_five_minutes(login: Login, claims: dict[str, Any]) -> None:
    login.app.certificates.append(certificate())
    assert (await ask_with(login, assertion(login, **claims))).status == 200


async def test_what_is_no_token_is_refused_as_an_assertion(login: Login) -> None:
    assert (await ask_with(login, "secret")).refused == (400, "invalid_request", 50027)


async def test_an_assertion_signed_with_a_public_word_is_refused(login: Login) -> None:
    login.app.certificates.append(certificate())
    text = jwt.encode({"iss": login.world.app_id, "exp": NOON + 60}, "a word of thirty-two letters, more", "HS256", {"x5t": "AAAA"})
    assert (await ask_with(login, text)).refused == (401, "invalid_client", 700027)


async def test_a_certificate_that_has_ended_is_refused(login: Login) -> None:
    ended = certificate("own", -1)
    login.app.certificates.append(ended)
    header = {"x5t#S256": base64url(ended.fingerprint(hashes.SHA256()))}
    assert (await ask_with(login, assertion(login, header=header))).refused == (401, "invalid_client", 700027)


def federated(login: Login, signer: str = "other", **claims: object) -> str:
    good = {"iss": "https://issuer.example", "sub": "system:serviceaccount:fogbell", "aud": "api://AzureADTokenExchange"}
    return jwt.encode({**good, "exp": int(login.clock()) + 600, **claims}, key(signer), "RS256")


@pytest.mark.parametrize(
    ("claims", "number"),
    [
        pytest.param({}, 0, id="trusted"),
        pytest.param({"iss": "https://else.example"}, 700211, id="issuer"),
        pytest.param({"aud": ["api://else"]}, 700212, id="audience"),
        pytest.param({"sub": "somebody"}, 700213, id="subject"),
        pytest.param({"signer": "own"}, 700027, id="signature"),
        pytest.param({"exp": NOON - 301}, 700024, id="time"),
    ],
)
async def test_a_federated_token_is_taken_from_whom_the_app_trusts(login: Login, claims: dict[str, Any], number: int) -> None:
    trusted = Federation("https://issuer.example", "system:serviceaccount:fogbell", key("other").public_key())
    login.app.federations.append(trusted)
    reply = await ask_with(login, federated(login, **claims))
    assert reply.body.get("error_codes", [0]) == [number]


async def test_an_app_in_a_loop_is_stopped_until_it_calms_down(login: Login) -> None:
    login.directory.settings.loop_requests = 3
    first = [(await login.app_token()).status for _ in range(3)]
    assert first == [200, 200, 200]
    assert (await login.app_token()).refused == (400, "invalid_grant", 50196)
    login.clock.forward(60)
    assert (await login.app_token()).status == 200


async def test_an_assertion_without_its_type_is_incomplete(login: Login) -> None:
    reply = await login.token("client_credentials", scope=DEFAULT, client_assertion=assertion(login))
    assert reply.refused == (400, "invalid_request", 900144)


async def test_a_header_that_is_no_name_and_password_is_malformed(login: Login) -> None:
    reply = await login.post("oauth2/v2.0/token", headers={"Authorization": "Basic !"}, grant_type="client_credentials")
    assert reply.refused == (400, "invalid_request", 9002313)


async def test_a_token_for_somebody_else_is_none_for_graph(login: Login) -> None:
    reply = await login.app_token(scope="https://outlook.office365.com/.default")
    with pytest.raises(ValueError, match="not a token of this tenant"):
        login.claims(reply)


async def test_a_token_of_another_world_is_none_here(login: Login) -> None:
    reply = await login.app_token()
    with pytest.raises(ValueError, match="not a token of this tenant"):
        World(seed=2).of(Keys).verify(reply.body["access_token"], GRAPH)


async def test_a_secret_that_was_replaced_may_overlap_with_its_successor(login: Login) -> None:
    login.app.secrets.append(Secret("the next one", NOON + 86_400))
    assert [(await login.app_token(client_secret=value)).status for value in (login.world.secret, "the next one")] == [200, 200]


async def test_graph_can_be_asked_for_by_its_address_in_this_world(login: Login) -> None:
    login.world.listens("graph", 4443)
    reply = await login.app_token(scope="https://localhost:4443/.default")
    assert "Mail.Send" in login.claims(reply, "https://localhost:4443")["roles"]


@pytest.mark.parametrize("end", ["oauth2/v2.0/token", "v2.0"])
async def test_an_assertion_may_name_the_tenant_otherwise_than_the_address_does(login: Login, end: str) -> None:
    login.app.certificates.append(certificate())
    text = assertion(login, aud=login.world.url("login", f"/{login.world.tenant_id}/{end}"))
    form = {"scope": DEFAULT, "client_assertion_type": ASSERTION, "client_assertion": text}
    assert (await login.token("client_credentials", login.world.domain, **form)).status == 200


async def test_an_app_that_goes_on_looping_stays_stopped(login: Login) -> None:
    login.directory.settings.loop_requests = 2
    statuses = []
    for _ in range(6):
        statuses.append((await login.app_token()).status)
        login.clock.forward(20)
    assert statuses == [200, 200, 400, 400, 400, 400]
