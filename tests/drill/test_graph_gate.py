"""What Graph does for every call: token, permission, limits, headers, errors. Asked over TLS with a bare client."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from uuid import UUID

import pytest

from agent.drill.entra.keys import Keys
from agent.drill.faults import Fault, Http, Where
from agent.drill.graph import OPERATIONS
from agent.drill.graph.frame import GraphError
from agent.drill.graph.gate import AUDIENCE, _routes, find
from agent.drill.graph.throttle import LIMITS, Limit, Span, Throttle
from agent.drill.world import World
from tests.drill.graph import NOON, Client, graph_client, token

ORGANIZATION = "Organization.Read.All"
MAIL = "Mail.Read"


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with graph_client() as found:
        yield found


@dataclass(frozen=True, slots=True)
class Raw:
    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def code(self) -> str:
        return str(json.loads(self.text)["error"]["code"])


async def raw(client: Client, path: str = "/v1.0/organization", method: str = "GET", data: bytes | None = None, **headers: str) -> Raw:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    async with client.session.request(method, client.world.url("graph", path), headers=sent, data=data, ssl=client.tls) as answer:
        return Raw(answer.status, answer.headers, await answer.text())


def bearer(value: str) -> str:
    return f"Bearer {value}"


async def test_a_call_with_a_good_token_is_answered_with_what_support_asks_for(client: Client) -> None:
    mine = "0f0e0d0c-0b0a-4908-8706-050403020100"
    answer = await raw(client, Authorization=bearer(token(client.world, [ORGANIZATION])), client_request_id=mine)
    assert answer.status == 200
    assert str(UUID(answer.headers["request-id"])) == answer.headers["request-id"]
    assert answer.headers["client-request-id"] == mine
    assert answer.headers["Date"] == "Mon, 23 Nov 2026 12:00:00 GMT"
    server = json.loads(answer.headers["x-ms-ags-diagnostic"])["ServerInfo"]
    assert set(server) == {"DataCenter", "Slice", "Ring", "ScaleUnit", "RoleInstance"}
    assert answer.headers["x-ms-resource-unit"] == "1"


def forged(world: World) -> str:
    return World(clock=world.now, seed=2).of(Keys).sign({"aud": AUDIENCE, "roles": [ORGANIZATION], "nbf": NOON, "exp": NOON + 60})


def for_another(world: World) -> str:
    return world.of(Keys).sign({"aud": "https://outlook.office365.com", "roles": [ORGANIZATION], "nbf": NOON, "exp": NOON + 60})


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (lambda _: "", "Access token is empty."),
        (lambda _: "Basic abc", "Access token is empty."),
        (lambda _: "Bearer nonsense", "Access token validation failure."),
        (lambda world: bearer(forged(world)), "Access token validation failure."),
        (lambda world: bearer(for_another(world)), "Access token validation failure."),
        (lambda world: bearer(token(world, [ORGANIZATION], seconds=-1)), "Lifetime validation failed, the token is expired."),
    ],
    ids=["none", "another scheme", "no token", "signed by somebody else", "for somebody else", "over"],
)
async def test_a_wrong_token_is_refused_with_a_challenge(client: Client, header: object, said: str) -> None:
    assert callable(header)
    answer = await raw(client, Authorization=header(client.world))
    assert (answer.status, answer.code) == (401, "InvalidAuthenticationToken")
    assert json.loads(answer.text)["error"]["message"] == said
    assert answer.headers["WWW-Authenticate"].startswith('Bearer realm=""')


async def test_a_token_for_the_address_of_this_graph_is_good_too(client: Client) -> None:
    claims = {"aud": client.world.url("graph"), "appid": "a", "roles": [ORGANIZATION], "nbf": NOON, "exp": NOON + 60}
    assert (await raw(client, Authorization=bearer(client.world.of(Keys).sign(claims)))).status == 200


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/organization", "Authorization_RequestDenied"),
        ("/users/probe1@contoso.example/mailFolders/inbox", "ErrorAccessDenied"),
        ("/chats/19:x@thread.v2", "Forbidden"),
    ],
)
async def test_a_missing_permission_is_refused_in_the_words_of_the_service(client: Client, path: str, code: str) -> None:
    answer = await client.ask("GET", path, "Presence.Read.All")
    assert (answer.status, answer.code) == (403, code)


async def test_an_error_names_its_request(client: Client) -> None:
    answer = await raw(client)
    inner = json.loads(answer.text)["error"]["innerError"]
    assert inner == {"date": "2026-11-23T12:00:00", "request-id": answer.headers["request-id"], "client-request-id": inner["request-id"]}


@pytest.mark.parametrize(
    ("method", "path", "data", "refused"),
    [
        ("GET", "/v1.0/nothing", None, (404, "ResourceNotFound")),
        ("GET", "/organization", None, (404, "ResourceNotFound")),
        ("DELETE", "/v1.0/organization", None, (405, "Request_BadRequest")),
        ("POST", "/v1.0/users/probe1@contoso.example/sendMail", b"{", (400, "BadRequest")),
    ],
    ids=["unknown", "without a version", "another method", "no JSON"],
)
async def test_a_wrong_request_is_refused(client: Client, method: str, path: str, data: bytes | None, refused: tuple[int, str]) -> None:
    by = bearer(token(client.world, [ORGANIZATION, "Mail.Send"]))
    answer = await raw(client, path, method, data, Authorization=by, Content_Type="application/json")
    assert (answer.status, answer.code) == refused


@pytest.mark.parametrize(
    ("path", "template", "parameters"),
    [
        ("/v1.0/users/a%40b.example", "/users/{user-id}", {"user-id": "a@b.example"}),
        ("/beta/organization", "/organization", {}),
        ("/v1.0/sites/contoso.sharepoint.com:/sites/a%20b", "/sites/{hostname}:/{relative-path}", {"relative-path": "sites/a b"}),
        ("/v1.0/drives/d/root:/a/b.txt", "/drives/{drive-id}/root:/{item-path}", {"item-path": "a/b.txt"}),
        ("/v1.0/drives/d/root:/a/b.txt:/content", "/drives/{drive-id}/root:/{item-path}:/content", {"item-path": "a/b.txt"}),
        ("/v1.0/drives/d/items/root%3A%2Fa%2Fb.txt%3A/content", "/drives/{drive-id}/root:/{item-path}:/content", {"item-path": "a/b.txt"}),
        ("/v1.0/drives/d/root/search(q='a%20b')", "/drives/{drive-id}/root/search(q='{q}')", {"q": "a b"}),
    ],
)
def test_a_path_finds_its_operation(path: str, template: str, parameters: dict[str, str]) -> None:
    operation, found = find(_routes(OPERATIONS), "GET", path)
    assert operation.template == template
    assert parameters.items() <= found.items()


def test_no_two_operations_are_the_same() -> None:
    assert len({(operation.method, operation.template) for operation in OPERATIONS}) == len(OPERATIONS)
    assert {operation.service for operation in OPERATIONS} - {"search", "audit_search"} <= LIMITS.keys()
    with pytest.raises(GraphError):
        find(_routes(OPERATIONS), "GET", "/v1.0/drives/d/root:/a:b:/content")


@pytest.mark.parametrize("service", ["directory", "service_health", "presence"])
async def test_a_limit_throttles_until_its_span_is_over_and_refused_calls_count(client: Client, service: str) -> None:
    client.world.of(Throttle).limits[service] = Limit((Span(2, 10),))
    path = {"directory": "/organization", "service_health": "/admin/serviceAnnouncement/healthOverviews"}.get(
        service, f"/users/{client.world.people[0].id}/presence"
    )
    granted = (ORGANIZATION, "ServiceHealth.Read.All", "Presence.Read.All")
    assert [(await client.ask("GET", path, *granted)).status for _ in range(3)] == [200, 200, 429]
    client.clock.forward(4)
    refused = await client.ask("GET", path, *granted)
    assert refused.headers["Retry-After"] == "6"
    client.clock.forward(6)
    assert (await client.ask("GET", path, *granted)).status == 200


async def test_the_directory_says_whose_limit_it_is_and_how_near(client: Client) -> None:
    client.world.of(Throttle).limits["directory"] = Limit((Span(10, 10),))
    near = [(await client.ask("GET", "/organization", ORGANIZATION)).headers for _ in range(11)]
    assert "x-ms-throttle-limit-percentage" not in near[7]
    assert near[8]["x-ms-throttle-limit-percentage"] == "0.9"
    assert near[10]["x-ms-throttle-scope"] == f"Tenant_Application/Read/{client.world.app_id}/{client.world.tenant_id}"
    assert near[10]["x-ms-throttle-information"] == "ResourceUnitLimitExceeded"


async def test_another_app_has_a_limit_of_its_own(client: Client) -> None:
    client.world.of(Throttle).limits["directory"] = Limit((Span(1, 10),))
    assert [(await client.ask("GET", "/organization", ORGANIZATION)).status for _ in range(2)] == [200, 429]
    assert (await client.ask("GET", "/organization", ORGANIZATION, app_id="another")).status == 200


async def test_outlook_serves_four_at_once_and_refuses_the_fifth(client: Client) -> None:
    client.world.of(Throttle).limits["outlook"] = Limit(at_once=4, takes=0.3)
    path = "/users/probe1@contoso.example/mailFolders/inbox"
    replies = await asyncio.gather(*(client.ask("GET", path, MAIL) for _ in range(5)))
    refused = [reply for reply in replies if reply.status == 429]
    assert [(reply.code, reply.headers["Retry-After"]) for reply in refused] == [("ApplicationThrottled", "1")]
    assert (await client.ask("GET", path, MAIL)).status == 200


@pytest.mark.parametrize(
    "status", [400, 401, 402, 403, 404, 405, 406, 409, 410, 411, 412, 413, 415, 416, 422, 423, 429, 500, 501, 502, 503, 504, 507, 509]
)
async def test_every_status_of_graph_can_be_had_in_its_shape(client: Client, status: int) -> None:
    client.world.faults.set(Fault(Http((status,), 7), Where(operations=frozenset({"organization"}))))
    answer = await client.ask("GET", "/organization", ORGANIZATION)
    assert (answer.status, answer.headers["Retry-After"]) == (status, "7")
    assert set(answer.body["error"]) == {"code", "message", "innerError"}


async def test_what_is_not_simulated_says_so_in_a_header_alone(client: Client) -> None:
    unknown = await client.ask("GET", "/nothing", "User.Read.All")
    known = await client.ask("GET", "/organization", "Organization.Read.All")
    assert (unknown.status, "not simulated" in unknown.headers["x-fogbell-drill"]) == (404, True)
    assert "simulated" not in str(unknown.body)
    assert "x-fogbell-drill" not in known.headers
