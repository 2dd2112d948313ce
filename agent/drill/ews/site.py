"""The gate of EWS: who may come in, in which mailbox, and how Exchange says no."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from agent.drill.entra.directory import EXCHANGE
from agent.drill.entra.keys import Keys
from agent.drill.ews.operations import OPERATIONS, Visit
from agent.drill.ews.soap import EwsError, all_of, envelope, fault, named, operation_of, parsed
from agent.drill.graph.post import Post
from agent.drill.hosting import Asked, Site
from agent.drill.world import Person, World

PATH = "/EWS/Exchange.asmx"
"""Where EWS is, in any case of letters."""
_DISCOVER = "/autodiscover/autodiscover.json"
_IMPERSONATE = "full_access_as_app"
_DELEGATED = "EWS.AccessAsUser.All"
_NO_OPERATION = EwsError("ErrorInvalidRequest", "The operation is not one that is played here.", whole=True)


@dataclass(slots=True)
class Policy:
    """What the organization allows (EwsEnabled, EwsAllowedAppIDs), how a refusal looks, and for how many milliseconds EWS is too busy.

    `world.of(Policy)` may be changed at any time. Here EWS is allowed to the app of the tenant, as where an administrator has seen to it.
    """

    world: World
    enabled: bool = True
    allowed: set[str] = field(default_factory=set)
    """The apps that get in, besides the tenant's own."""
    closes: bool = False
    """Whether a refusal also ends the connection, and says so."""
    status: int = 403
    busy: int = 0

    def admits(self, app: str) -> bool:
        """Say whether this app may use EWS."""
        return self.enabled and app in {self.world.app_id, *self.allowed}


class _Refused(Exception):  # noqa: N818 - an answer, not a mishap
    """A status without SOAP."""

    def __init__(self, status: int, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status)
        self.status, self.headers = status, dict(headers or {})


class _Gate:
    """EWS of one world."""

    def __init__(self, world: World) -> None:
        self._world, self._policy = world, world.of(Policy)

    async def asked(self, request: web.BaseRequest) -> Asked:
        """Tell faults what the request is for."""
        try:
            name = _name(parsed(await request.read()))
        except EwsError:
            return Asked("", "outlook")
        return Asked(OPERATIONS.get(name, ("", None))[0], "outlook")

    async def respond(self, request: web.BaseRequest) -> web.Response:
        """Answer one request."""
        if request.method == "GET" and request.path.lower() == _DISCOVER.lower():
            return self._discovered(request)
        try:
            body, status = await self._answer(request), 200
        except _Refused as refused:
            return web.Response(status=refused.status, headers=self._headers() | refused.headers)
        except EwsError as error:
            body, status = fault(error), 500
        return web.Response(body=body, status=status, headers=self._headers() | {"Content-Type": "text/xml; charset=utf-8"})

    def _discovered(self, request: web.BaseRequest) -> web.Response:
        """Tell where EWS is for a mailbox of ours (Autodiscover version 2, which asks for no login)."""
        who, protocol = request.query.get("Email", ""), request.query.get("Protocol", "")
        if protocol.upper() != "EWS":
            said = {"ErrorCode": "InvalidProtocol", "ErrorMessage": f"The given protocol value '{protocol}' is invalid."}
            return web.json_response(said, status=400, headers=self._headers())
        if self._world.of(Post).mailbox(who) is None:
            said = {"ErrorCode": "UserNotFound", "ErrorMessage": "The user is unknown."}
            return web.json_response(said, status=404, headers=self._headers())
        return web.json_response({"Protocol": "EWS", "Url": self._world.url("exchange", PATH)}, headers=self._headers())

    async def _answer(self, request: web.BaseRequest) -> bytes:
        claims = self._claims(request.headers.get("Authorization", ""))
        if request.path.lower() != PATH.lower():
            raise _Refused(404)
        self._let_in(claims)
        if request.method != "POST":
            raise _Refused(405)
        root = parsed(await request.read())
        if self._policy.busy:
            raise EwsError(
                "ErrorServerBusy", "The server cannot service this request right now. Try again later.", back_off=self._policy.busy
            )
        _, run = OPERATIONS.get(_name(root), ("", None))
        if run is None:
            raise _NO_OPERATION
        box = self._world.of(Post).mailbox(self._owner(root, claims).mail)
        if box is None:
            raise EwsError("ErrorNonExistentMailbox", "The SMTP address has no mailbox associated with it.", whole=True)
        return envelope(run(Visit(self._world, box, operation_of(root))))

    def _claims(self, authorization: str) -> dict[str, Any]:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise _Refused(401, self._challenge())
        try:
            return self._world.of(Keys).verify(token.strip(), {*EXCHANGE.names, self._world.url("exchange")})
        except ValueError:
            raise _Refused(401, self._challenge("invalid_token", "The token is invalid or has expired.")) from None

    def _let_in(self, claims: Mapping[str, Any]) -> None:
        granted = {*map(str, claims.get("roles", ())), *str(claims.get("scp", "")).split()}
        if not granted & {_IMPERSONATE, _DELEGATED}:
            raise _Refused(
                401, self._challenge("invalid_grant", "The token contains no permissions, or permissions can not be understood.")
            )
        if not self._policy.admits(str(claims.get("appid") or claims.get("azp"))):
            raise _Refused(self._policy.status, {"Connection": "close"} if self._policy.closes else {})

    def _owner(self, root: Any, claims: Mapping[str, Any]) -> Person:
        """Give whose mailbox is meant: the caller's own, or that of whom an application acts for."""
        if "scp" in claims:
            return self._person(str(claims.get("oid")))
        header = root.find(named("s:Header"))
        addresses = [each.text for each in all_of(header, "t:PrimarySmtpAddress")] if header is not None else []
        if not addresses:
            raise EwsError(
                "ErrorAccessDenied", "ExchangeImpersonation SOAP header must be present for this type of OAuth token.", whole=True
            )
        return self._person(str(addresses[0]))

    def _person(self, who: str) -> Person:
        person = next((each for each in self._world.people if who.lower() in (each.id, each.mail.lower(), each.upn.lower())), None)
        if person is None:
            raise EwsError("ErrorNonExistentMailbox", "The SMTP address has no mailbox associated with it.", whole=True)
        return person

    def _challenge(self, error: str = "", reason: str = "") -> dict[str, str]:
        login = "https://login.microsoftonline.com/common/oauth2/authorize"
        said = f', error="{error}"' if error else ""
        bearer = (
            f'Bearer client_id="{EXCHANGE.app_id}", trusted_issuers="00000001-0000-0000-c000-000000000000@*", authorization_uri="{login}"'
        )
        more = {"x-ms-diagnostics": f'2000003;reason="{reason}";error_category="{error}"'} if error else {}
        return {"WWW-Authenticate": f"{bearer}{said}"} | more

    def _headers(self) -> dict[str, str]:
        server = "AM0PR05MB1234"
        date = datetime.fromtimestamp(self._world.now(), UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
        number = f"{self._world.random.getrandbits(128):032x}"
        return {
            "request-id": number,
            "X-CalculatedBETarget": f"{server}.eurprd05.prod.outlook.com",
            "X-FEServer": "AM0PR05CA0042",
            "Date": date,
        }


def _name(root: Any) -> str:
    return str(operation_of(root).tag).partition("}")[2]


def ews_site(world: World) -> Site:
    """Exchange as a host of this world: EWS, and nothing beside."""
    gate = _Gate(world)
    return Site("exchange", gate.respond, gate.asked, names=("outlook.office365.com",))
