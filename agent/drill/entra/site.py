"""The host `login`: which path is what, and the headers, bodies and pages around it."""

import base64
import json
from binascii import Error as NotBase64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus, urlencode, urlsplit

from aiohttp import web

from agent.drill.entra import pages
from agent.drill.entra.directory import App, Directory
from agent.drill.entra.discovery import SHARED, issuer, openid_configuration
from agent.drill.entra.errors import EntraError, body, stamp
from agent.drill.entra.grants import Grants, Request
from agent.drill.entra.keys import Keys
from agent.drill.entra.tokens import guid
from agent.drill.faults import Token
from agent.drill.hosting import Asked, Site
from agent.drill.world import World

NAMES = ("login.microsoftonline.com", "login.microsoft.com")
_GRANTS = {"urn:ietf:params:oauth:grant-type:device_code": "device_code"}
_HEADERS = {
    "Cache-Control": "no-store, no-cache",
    "Pragma": "no-cache",
    "Expires": "-1",
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
    "X-Content-Type-Options": "nosniff",
    "P3P": 'CP="DSP CUR OTPi IND OTRi ONL FIN"',
}
_KEPT_A_DAY = {"Cache-Control": "max-age=86400, private"}
_REGIONS = {"na": "EUS", "eu": "WEULR1", "apac": "SEASLR1", "gb": "UKSLR1"}
_AUDIENCES = ("oauth2/v2.0/token", "oauth2/token", "v2.0", "")
"""What an assertion may call us, behind the tenant: the token endpoint, or the issuer."""
_BUILD = "2.1.22204.4"


@dataclass(frozen=True, slots=True)
class _Call:
    """One request with what is known of it: tenant as its address names it, form, and the two identifiers of its answer."""

    request: web.BaseRequest
    operation: str
    tenant: str
    form: Mapping[str, str]
    trace_id: str
    correlation_id: str


def login_site(world: World) -> Site:
    """Make the host where people and apps sign in."""
    login = _Login(world)
    return Site("login", login.respond, asked=_asked, names=NAMES)


async def _form(request: web.BaseRequest) -> dict[str, str]:
    """Read the fields of a form; a body of another type has none."""
    return {name: value for name, value in (await request.post()).items() if isinstance(value, str)}


async def _asked(request: web.BaseRequest) -> Asked:
    operation, _ = _place(request.path)
    grant = (await _form(request)).get("grant_type", "") if operation == "token" else ""
    return Asked(operation, grant=_GRANTS.get(grant, grant))


def _place(path: str) -> tuple[str, str]:
    """Tell what a path is for, and which tenant it names; both empty where it is nothing."""
    tenant, _, rest = path.removeprefix("/").partition("/")
    return (_OPERATIONS[rest], tenant.lower()) if rest in _OPERATIONS else ("", "")


def _with_basic(request: web.BaseRequest, form: dict[str, str]) -> dict[str, str]:
    """Add a client ID and secret sent as HTTP Basic authentication (RFC 6749 section 2.3.1)."""
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return form
    try:
        name, _, secret = base64.b64decode(value, validate=True).decode().partition(":")
    except (NotBase64, UnicodeDecodeError) as error:
        raise EntraError(9002313) from error
    return {**form, "client_id": unquote_plus(name), "client_secret": unquote_plus(secret)}


class _Login:
    """Answers the requests of one world."""

    def __init__(self, world: World) -> None:
        self._world = world
        world.of(Keys)  # takes a while to make, which the first to sign in should not see
        self._answers: Mapping[str, Callable[[_Call], web.Response]] = {
            "discovery": self._discovery,
            "keys": self._keys,
            "authorize": self._authorize,
            "device_code": self._device_code,
            "device_page": self._device_page,
            "token": self._token,
        }

    async def respond(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, or refuse it as Entra does: people see a page, programs an object."""
        operation, tenant = _place(request.path)
        correlation_id = request.headers.get("client-request-id") or guid(self._world)
        call = _Call(request, operation, tenant, await _form(request), guid(self._world), correlation_id)
        if not operation:
            return self._finish(call, web.Response(status=404, text="<!DOCTYPE html><title>Not found</title>\n", content_type="text/html"))
        try:
            self._check(call)
            answer = self._answers[operation](call)
        except EntraError as failure:
            answer = self._refuse(call, failure)
        return self._finish(call, answer)

    def _check(self, call: _Call) -> None:
        """Refuse what the faults, a company's proxy or the address itself rule out."""
        grant = call.form.get("grant_type", "")
        fault = self._world.faults.first(
            Token,
            "login",
            operation=call.operation,
            grant=_GRANTS.get(grant, grant),
            region=self._world.region,
            source=call.request.remote or "",
        )
        words: dict[str, Any] = {"app": call.form.get("client_id", ""), "tenant": call.tenant, "scope": call.form.get("scope", "")}
        if fault is not None:
            raise EntraError(fault.aadsts, **words)
        own = (self._world.tenant_id, self._world.domain)
        allowed = call.request.headers.get("Restrict-Access-To-Tenants")
        if allowed is not None and not {one.strip().lower() for one in allowed.split(",")} & set(own):
            raise EntraError(500021, **words)
        if call.tenant not in (*own, *SHARED):
            raise EntraError(90002, **words)

    def _tenant(self, call: _Call) -> str:
        """Give the tenant's identifier, also where the address has its domain."""
        return call.tenant if call.tenant in SHARED else self._world.tenant_id

    def _app(self, form: Mapping[str, str]) -> App:
        if not form.get("client_id"):
            raise EntraError(900144, parameter="client_id")
        return self._world.of(Directory).app(form["client_id"])

    def _discovery(self, call: _Call) -> web.Response:
        return _json(openid_configuration(self._world, self._tenant(call)), headers=_KEPT_A_DAY)

    def _keys(self, call: _Call) -> web.Response:
        whose = "{tenantid}" if call.tenant in SHARED else self._world.tenant_id
        return _json(self._world.of(Keys).key_set(issuer(self._world, whose)), headers=_KEPT_A_DAY)

    def _authorize(self, call: _Call) -> web.Response:
        asked = {**call.request.query, **call.form}
        app = self._app(asked)
        for parameter in ("response_type", "scope"):
            if not asked.get(parameter):
                raise EntraError(900144, parameter=parameter)
        if not _registered(app, asked.get("redirect_uri", "")):
            raise EntraError(50011, redirect=asked.get("redirect_uri", ""), app=app.id)
        wrong = _wrong_for_the_app(asked)
        if wrong is not None:
            return _back(asked, wrong)
        return _html(pages.sign_in(app.name, f"/{call.tenant}/login"))

    def _device_code(self, call: _Call) -> web.Response:
        code = self._world.of(Grants).start_device_code(self._app(call.form), call.form.get("scope", ""))
        settings, page = self._world.of(Directory).settings, self._world.url("login", pages.DEVICE_PAGE)
        return _json(
            {
                "user_code": code.user_code,
                "device_code": code.value,
                "verification_uri": page,
                "expires_in": settings.device_code_seconds,
                "interval": settings.poll_seconds,
                "message": f"To sign in, use a web browser to open the page {page} and enter the code {code.user_code} to authenticate.",
            }
        )

    def _device_page(self, call: _Call) -> web.Response:
        accounts, said = self._world.of(Directory).accounts.values(), "Enter the code displayed on your app or device."
        if call.request.method == "POST":
            decline = call.form.get("action") == "cancel"
            app = self._world.of(Grants).finish_device_code(call.form.get("otc", ""), call.form.get("user", ""), decline=decline)
            said = f"You have {'declined to sign' if decline else 'signed'} in to {app.name} on your device. You may now close this window."
        return _html(pages.device(accounts, said))

    def _token(self, call: _Call) -> web.Response:
        if call.request.method != "POST":
            raise EntraError(900561, method=call.request.method)
        if not call.form.get("grant_type"):
            raise EntraError(900144, parameter="grant_type")
        form = _with_basic(call.request, dict(call.form))
        names = (call.tenant, self._world.tenant_id)
        audiences = frozenset(self._world.url("login", f"/{name}/{end}") for name in names for end in _AUDIENCES)
        request = Request(form, self._app(form), self._tenant(call), audiences)
        return _json(self._world.of(Grants).token(request))

    def _refuse(self, call: _Call, failure: EntraError) -> web.Response:
        """People get a page, always with 200; programs an object."""
        now = self._world.now()
        if call.operation in ("authorize", "device_page"):
            return _html(pages.refusal(failure, call.trace_id, call.correlation_id, stamp(now)))
        return _json(body(failure, call.trace_id, call.correlation_id, now), failure.status)

    def _finish(self, call: _Call, answer: web.Response) -> web.Response:
        """Put the headers on that every answer of Entra has."""
        for name, value in _HEADERS.items():
            answer.headers.setdefault(name, value)
        answer.headers["x-ms-request-id"] = call.trace_id
        answer.headers["x-ms-ests-server"] = f"{_BUILD} - {_REGIONS.get(self._world.region, 'EUS')} ProdSlices"
        answer.headers["x-ms-srs"] = "1.P"
        if call.request.headers.get("return-client-request-id", "").lower() == "true":
            answer.headers["client-request-id"] = call.correlation_id
        return answer


def _wrong_for_the_app(asked: Mapping[str, str]) -> EntraError | None:
    """Tell what the application, not the person, hears of (RFC 6749 section 4.1.2.1, OpenID Connect Core section 3.1.2.6)."""
    if asked["response_type"] not in ("code", "id_token", "code id_token"):
        return EntraError(700054, response_type=asked["response_type"])
    return EntraError(50058) if asked.get("prompt") == "none" else None


def _back(asked: Mapping[str, str], wrong: EntraError) -> web.Response:
    """Send the browser back to the application with what is wrong."""
    told = {"error": wrong.error, "error_description": str(wrong), **({"state": asked["state"]} if "state" in asked else {})}
    mark = "?" if asked["response_type"] == "code" and asked.get("response_mode", "query") == "query" else "#"
    return web.Response(status=302, headers={"Location": f"{asked['redirect_uri']}{mark}{urlencode(told)}"})


def _registered(app: App, redirect: str) -> bool:
    """Whether the app may be sent back there; the port of localhost is free (RFC 8252 section 7.3)."""
    if redirect in app.redirect_uris:
        return True
    parts = urlsplit(redirect)
    return parts.hostname == "localhost" and f"{parts.scheme}://localhost{parts.path.rstrip('/')}" in app.redirect_uris


def _json(data: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(text=json.dumps(data), status=status, headers=headers, content_type="application/json", charset="utf-8")


def _html(text: str) -> web.Response:
    return web.Response(text=text, content_type="text/html", charset="utf-8")


_OPERATIONS: Mapping[str, str] = {
    "v2.0/.well-known/openid-configuration": "discovery",
    "discovery/v2.0/keys": "keys",
    "discovery/keys": "keys",
    "oauth2/v2.0/authorize": "authorize",
    "oauth2/v2.0/devicecode": "device_code",
    "oauth2/deviceauth": "device_page",
    "oauth2/v2.0/token": "token",
}
