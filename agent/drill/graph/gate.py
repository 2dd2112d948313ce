"""What Graph does at its gate for every area: find the operation, check token and permission, throttle, answer in Graph's shape.

Headers: what Microsoft's support asks for with a ticket (`request-id`, `client-request-id`, `Date`, `x-ms-ags-diagnostic`).
"""

import inspect
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote
from uuid import UUID

from aiohttp import web

from agent.drill.entra.keys import Keys
from agent.drill.graph.consents import Consents
from agent.drill.graph.frame import Answer, Call, Caller, GraphError, Operation
from agent.drill.graph.throttle import Throttle
from agent.drill.hosting import Asked, Site
from agent.drill.world import World

AUDIENCE = "https://graph.microsoft.com"
"""Who a token for Graph is for, wherever Graph listens."""
GRAPH_APP_ID = "00000003-0000-0000-c000-000000000000"
_VERSIONS = ("/v1.0", "/beta")
_NOT_PLAYED = {"x-fogbell-drill": "this operation is not simulated; Microsoft may well have it"}
"""Told in a header, as the body is Microsoft's."""
_NO_LENGTH = frozenset({204, 304})


@dataclass(frozen=True, slots=True)
class _Route:
    pattern: re.Pattern[str]
    operation: Operation


_DEEP = frozenset({"item-path", "relative-path"})
"""Parameters that hold a whole path, with slashes."""


def _pattern(template: str) -> re.Pattern[str]:
    """Turn a template of the OpenAPI description into a pattern of the path, still percent-encoded where a slash is meant."""
    parts = re.split(r"\{([^}]+)\}", template)
    for index in range(1, len(parts), 2):
        name = parts[index]
        parts[index] = f"(?P<{_group(name)}>{'[^:]+?' if name in _DEEP else '[^/:]+' if name == 'hostname' else '[^/]+?'})"
    parts[::2] = map(re.escape, parts[::2])
    return re.compile("".join(parts), re.IGNORECASE)


def _group(name: str) -> str:
    return "p_" + name.replace("-", "_dash_").replace(".", "_dot_")


def _routes(operations: Sequence[Operation]) -> tuple[_Route, ...]:
    """Order so that the more specific template is tried first."""
    by_detail = sorted(operations, key=lambda operation: -len(re.sub(r"\{[^}]+\}", "", operation.template)))
    return tuple(_Route(_pattern(operation.template), operation) for operation in by_detail)


def _plain_path(raw: str) -> str:
    """Take the version off and decode all but encoded slashes; an item addressed as `items/root:/a/b:` becomes `root:/a/b`."""
    path = next((raw[len(version) :] for version in _VERSIONS if raw.startswith(f"{version}/")), "")
    path = "%2F".join(unquote(piece) for piece in re.split("%2[Ff]", path)).removesuffix(":")
    by_path = re.fullmatch(r"(?P<drive>.*)/items/root:(?P<item>(?:%2F|/)[^:]*)(?P<rest>:.*|)", path)
    return f"{by_path['drive']}/root:{unquote(by_path['item'])}{by_path['rest']}" if by_path else path


def find(routes: Sequence[_Route], method: str, raw_path: str) -> tuple[Operation, dict[str, str]]:
    """Find the operation of a request and its path parameters.

    Raises:
        GraphError: 404 for an unknown path, 405 for a method that this path does not have.

    """
    path = _plain_path(raw_path)
    found = [(route, match) for route in routes if (match := route.pattern.fullmatch(path))]
    for route, match in found:
        if route.operation.method == method:
            names = re.findall(r"\{([^}]+)\}", route.operation.template)
            return route.operation, {name: unquote(match[_group(name)]) for name in names}
    if found:
        raise GraphError(405, "Request_BadRequest", "Specified HTTP method is not allowed for the request target.")
    segment = unquote(raw_path).rpartition("/")[2]
    raise GraphError(404, "ResourceNotFound", f"Resource not found for the segment '{segment}'.", headers=_NOT_PLAYED)


def _verified(world: World, token: str) -> dict[str, Any]:
    """Read a token that our own Entra signed for Graph.

    Raises:
        ValueError: where it did not, or the token is over.

    """
    return world.of(Keys).verify(token, (AUDIENCE, f"{AUDIENCE}/", world.url("graph")))


def caller(world: World, authorization: str) -> Caller:
    """Read who calls from the Authorization header.

    Raises:
        GraphError: 401 for a token that is missing, forged, over, or meant for somebody else.

    """
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise _unauthorized(world, "Access token is empty.")
    try:
        claims = _verified(world, token.strip())
    except ValueError as error:
        reason = (
            "Lifetime validation failed, the token is expired." if "expired" in str(error).lower() else "Access token validation failure."
        )
        raise _unauthorized(world, reason) from None
    app = str(claims.get("appid") or claims.get("azp") or "")
    if scopes := claims.get("scp"):
        return Caller(app, str(claims.get("oid")), frozenset(str(scopes).split()))
    return Caller(app, None, frozenset(map(str, claims.get("roles", ()))))


def _unauthorized(world: World, message: str) -> GraphError:
    login = (
        world.url("login", "/common/oauth2/authorize")
        if world.has("login")
        else "https://login.microsoftonline.com/common/oauth2/authorize"
    )
    challenge = f'Bearer realm="", authorization_uri="{login}", client_id="{GRAPH_APP_ID}"'
    return GraphError(401, "InvalidAuthenticationToken", message, headers={"WWW-Authenticate": challenge})


_DENIED = {
    "outlook": ("ErrorAccessDenied", "Access is denied. Check credentials and try again."),
    "files": ("accessDenied", "Either scp or roles claim need to be present in the token."),
    "teams": ("Forbidden", "Missing role permissions on the request."),
    "service_health": ("UnknownError", "Either scp or roles claim need to be present in the token."),
}
"""Code and message of a refused permission, by service; the rest says what the directory says."""


def _permit(operation: Operation, by: Caller) -> None:
    """Refuse a caller without any of the permissions that the operation takes.

    Raises:
        GraphError: 403 in the words of that service.

    """
    wanted = operation.delegated if by.user_id else operation.application
    if operation.service == "teams" and not wanted:
        raise GraphError(412, "PreconditionFailed", "Requested API is not supported in application-only context")
    if not by.granted & wanted:
        directory = ("Authorization_RequestDenied", "Insufficient privileges to complete the operation.")
        code, message = _DENIED.get(operation.service, directory)
        said = _of_teams(message, by, wanted) if operation.service == "teams" else message
        raise GraphError(403, code, said)


def _of_teams(message: str, by: Caller, wanted: frozenset[str]) -> str:
    """Say as Teams does what would have sufficed and what there was; it says "scope" to people and "role" to apps."""
    kind = "Scopes" if by.user_id else "Roles"
    what = message.replace("role", "scope") if by.user_id else message
    return f"{what} API requires one of '{', '.join(sorted(wanted))}'. {kind} on the request '{', '.join(sorted(by.granted))}'."


async def _body(request: web.BaseRequest) -> Any:
    """Read JSON where it says JSON, else bytes; None where nothing was sent."""
    data = await request.read()
    if not data:
        return None
    if request.content_type != "application/json":
        return data
    try:
        return json.loads(data)
    except ValueError:
        raise GraphError(400, "BadRequest", "Unable to read JSON request payload.") from None


class Gate:
    """Graph of one world."""

    def __init__(self, world: World, operations: Sequence[Operation]) -> None:
        self._world, self._routes, self._throttle = world, _routes(operations), world.of(Throttle)

    async def asked(self, request: web.BaseRequest) -> Asked:
        """Tell faults what the request is for."""
        try:
            operation, _ = find(self._routes, request.method, request.rel_url.raw_path)
        except GraphError:
            return Asked()
        return Asked(operation.name, operation.service)

    async def respond(self, request: web.BaseRequest) -> web.Response:
        """Answer one request."""
        request_id = str(UUID(int=self._world.random.getrandbits(128)))
        try:
            answer = await self._perform(request, request_id)
        except GraphError as error:
            answer = error_answer(self._world, request, error, request_id)
        return _response(self._world, request, answer, request_id)

    async def _perform(self, request: web.BaseRequest, request_id: str) -> Answer:
        by = caller(self._world, request.headers.get("Authorization", ""))
        operation, parameters = find(self._routes, request.method, request.rel_url.raw_path)
        if by.user_id is None:
            by = replace(by, granted=by.granted | self._world.of(Consents).of(by.app_id, parameters))
        _permit(operation, by)
        url = self._world.url("graph", request.rel_url.raw_path)
        call = Call(request.method, parameters, dict(request.query), request.headers, await _body(request), by, request_id, url)
        async with self._throttle.admitted(operation, call) as headers:
            answer = operation.run(self._world, call)
            done = await answer if inspect.isawaitable(answer) else answer
        return replace(done, headers={**headers, **done.headers})

    def failure(self, request: web.BaseRequest, status: int, headers: Mapping[str, str]) -> web.Response:
        """Answer with a status that a fault wants."""
        request_id = str(UUID(int=self._world.random.getrandbits(128)))
        code, message = _FAULTS.get(status, ("UnknownError", "An unknown error occurred."))
        error = GraphError(status, code, message, headers=headers)
        return _response(self._world, request, error_answer(self._world, request, error, request_id), request_id)


_FAULTS = {
    400: ("BadRequest", "The request is malformed or incorrect."),
    401: ("InvalidAuthenticationToken", "Access token validation failure."),
    402: ("PaymentRequired", "The payment requirements for the API have not been met."),
    403: ("Forbidden", "The request is forbidden."),
    404: ("ResourceNotFound", "The resource could not be found."),
    409: ("Conflict", "The current state conflicts with what the request expects."),
    410: ("Gone", "The resource is no longer available."),
    412: ("PreconditionFailed", "A precondition does not match the current state."),
    413: ("RequestEntityTooLarge", "The request is too large."),
    423: ("Locked", "The resource is locked."),
    429: ("TooManyRequests", "Too many requests."),
    500: ("InternalServerError", "There was an internal server error while processing the request."),
    501: ("NotImplemented", "The requested feature isn't implemented."),
    502: ("BadGateway", "Bad gateway."),
    503: ("ServiceUnavailable", "Service is temporarily unavailable. Please wait and try again."),
    504: ("GatewayTimeout", "The gateway did not receive a timely response."),
    507: ("InsufficientStorage", "The maximum storage quota has been reached."),
    509: ("BandwidthLimitExceeded", "The bandwidth cap has been exceeded."),
}
"""Code and message of each status that a fault can cause."""


def error_answer(world: World, request: web.BaseRequest, error: GraphError, request_id: str) -> Answer:
    """Put an error into Graph's shape."""
    date = datetime.fromtimestamp(world.now(), UTC).strftime("%Y-%m-%dT%H:%M:%S")
    inner = {"code": error.inner} if error.inner else {}
    inner |= {"date": date, "request-id": request_id, "client-request-id": request.headers.get("client-request-id", request_id)}
    return Answer({"error": {"code": error.code, "message": error.message, "innerError": inner}}, error.status, error.headers)


_PLACES = {"na": "East US", "emea": "West Europe", "apac": "Southeast Asia"}


def _diagnostic(region: str) -> str:
    """Say which gateway answered, as Graph does."""
    place = {"DataCenter": _PLACES.get(region, region), "Slice": "E", "Ring": "5", "ScaleUnit": "001", "RoleInstance": "DRILL000001"}
    return json.dumps({"ServerInfo": place}, separators=(",", ":"))


def _response(world: World, request: web.BaseRequest, answer: Answer, request_id: str) -> web.Response:
    """Write an answer for the wire."""
    headers = {
        "request-id": request_id,
        "client-request-id": request.headers.get("client-request-id", request_id),
        "x-ms-ags-diagnostic": _diagnostic(world.region),
        "Date": datetime.fromtimestamp(world.now(), UTC).strftime("%a, %d %b %Y %H:%M:%S GMT"),
    }
    if answer.body is None or answer.status in _NO_LENGTH:
        return web.Response(status=answer.status, headers=headers | dict(answer.headers))
    if isinstance(answer.body, bytes):
        return web.Response(
            body=answer.body, status=answer.status, headers={"Content-Type": "application/octet-stream"} | headers | dict(answer.headers)
        )
    json_type = {"Content-Type": "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;charset=utf-8"}
    return web.Response(body=json.dumps(answer.body).encode(), status=answer.status, headers=json_type | headers | dict(answer.headers))


def site(world: World, operations: Sequence[Operation]) -> Site:
    """Make the host of these operations."""
    gate = Gate(world, operations)
    return Site("graph", gate.respond, gate.asked, gate.failure, ("graph.microsoft.com",))
