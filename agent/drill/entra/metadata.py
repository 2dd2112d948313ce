"""The host `metadata`: where a machine in Azure asks for a token of its own identity, and the same for App Service.

Shapes from Microsoft's pages "How to use managed identities for Azure resources on an Azure VM to acquire an access token" and "Use
managed identities for App Service". Numbers are strings there.
"""

import json
from collections.abc import Mapping
from uuid import UUID, uuid5

from aiohttp import web

from agent.drill.entra.directory import EXCHANGE, GRAPH, App, Directory
from agent.drill.entra.errors import EntraError
from agent.drill.entra.tokens import app_token, guid
from agent.drill.faults import Token
from agent.drill.hosting import Asked, Site
from agent.drill.world import World

MACHINE_PATH = "/metadata/identity/oauth2/token"
APP_SERVICE_PATH = "/msi/token"
_GRANT = "managed_identity"
_MACHINE_VERSIONS = frozenset({"2018-02-01", "2018-10-01", "2019-02-01", "2019-06-04", "2019-08-01", "2019-11-01", "2021-02-01"})
_APP_SERVICE_VERSIONS = frozenset({"2019-08-01"})


class ManagedIdentity:
    """The identity of the one machine in this world: an app without credentials, with the permissions of the tenant's first app.

    `header` is the word that App Service expects as `X-IDENTITY-HEADER`.
    """

    def __init__(self, world: World) -> None:
        directory = world.of(Directory)
        self.client_id = str(uuid5(UUID(world.tenant_id), "machine"))
        self.header = guid(world)
        self.app: App = directory.add_app(self.client_id, "fogbell-machine")
        self.app.public_flows = False
        for resource in (GRAPH, EXCHANGE):
            directory.grant(self.client_id, directory.apps[world.app_id].roles[resource], resource)


class _Refused(Exception):  # noqa: N818 - it is an answer
    """An answer other than a token."""

    def __init__(self, status: int, body: Mapping[str, object]) -> None:
        super().__init__(status)
        self.status, self.body = status, body


def metadata_site(world: World) -> Site:
    """Make the host that a machine in Azure finds at 169.254.169.254."""

    async def respond(request: web.BaseRequest) -> web.StreamResponse:
        try:
            return _json(_answer(world, request))
        except _Refused as refused:
            return _json(refused.body, refused.status)
        except EntraError as failure:
            return _json({"error": failure.error, "error_description": str(failure)}, failure.status)

    return Site("metadata", respond, asked=_asked)


async def _asked(_request: web.BaseRequest) -> Asked:
    return Asked("token", grant=_GRANT)


def _json(body: Mapping[str, object], status: int = 200) -> web.Response:
    return web.Response(text=json.dumps(body), status=status, content_type="application/json", charset="utf-8")


def _answer(world: World, request: web.BaseRequest) -> dict[str, str]:
    fault = world.faults.first(Token, "metadata", operation="token", grant=_GRANT, region=world.region)
    if fault is not None:
        raise EntraError(fault.aadsts)
    if request.path == MACHINE_PATH:
        return _for_machine(world, request)
    if request.path == APP_SERVICE_PATH:
        return _for_app_service(world, request)
    raise _Refused(404, {"error": "not_found", "error_description": "Not found"})


def _for_machine(world: World, request: web.BaseRequest) -> dict[str, str]:
    if request.headers.get("Metadata", "").lower() != "true" or "X-Forwarded-For" in request.headers:
        raise _Refused(400, {"error": "invalid_request", "error_description": "Required metadata header not specified"})
    if request.query.get("api-version") not in _MACHINE_VERSIONS:
        raise _Refused(400, {"error": "bad_request", "error_description": "Required query variable 'api-version' is missing or unknown"})
    token = _token(world, request)
    seconds = world.of(Directory).settings.token_seconds
    times = {"expires_in": str(seconds), "ext_expires_in": str(seconds), "not_before": str(int(world.now()))}
    return {**token, **times}


def _for_app_service(world: World, request: web.BaseRequest) -> dict[str, str]:
    if request.headers.get("X-IDENTITY-HEADER") != world.of(ManagedIdentity).header:
        raise _Refused(403, {"statusCode": 403, "message": "The identity header is missing or wrong."})
    if request.query.get("api-version") not in _APP_SERVICE_VERSIONS:
        raise _Refused(400, {"statusCode": 400, "message": "The api-version is missing or unknown."})
    return _token(world, request)


def _token(world: World, request: web.BaseRequest) -> dict[str, str]:
    """Make what both shapes share."""
    identity, asked = world.of(ManagedIdentity), request.query.get("resource", "")
    if not asked:
        raise _Refused(400, {"error": "invalid_request", "error_description": "Required query variable 'resource' is missing"})
    if request.query.get("client_id", identity.client_id).lower() != identity.client_id:
        raise _Refused(400, {"error": "invalid_request", "error_description": "Identity not found"})
    resource = world.of(Directory).resource(asked)
    token = app_token(world, world.of(Directory).app(identity.client_id), resource, asked, "2")
    expires = str(int(world.now()) + world.of(Directory).settings.token_seconds)
    return {"access_token": token, "client_id": identity.client_id, "expires_on": expires, "resource": asked, "token_type": "Bearer"}
