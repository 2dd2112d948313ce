"""The four grants of the token endpoint, and what Entra remembers between requests: refresh tokens, device codes, who asked how often."""

import json
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from agent.drill.entra.consent import Wanted, app_scope, consented, user_scopes
from agent.drill.entra.credentials import authenticate, identify
from agent.drill.entra.directory import Account, App, Directory
from agent.drill.entra.errors import EntraError, stamp
from agent.drill.entra.keys import base64url
from agent.drill.entra.tokens import app_token, id_token, success, user_token
from agent.drill.world import World

_USER_CODE_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
"""No vowels, no digits: a code shall be no word and easy to type (RFC 8628 section 6.1)."""
_USER_CODE_LENGTH = 9
_REFRESH_TOKEN_BYTES = 384
_PATIENCE = 0.9
"""Part of the interval after which a poll is not called too early: clocks differ."""


@dataclass(frozen=True, slots=True)
class Request:
    """A token request: the form, the app it is from, which tenant its address names, and the names of this endpoint."""

    form: Mapping[str, str]
    app: App
    tenant: str
    audiences: frozenset[str]


@dataclass(frozen=True, slots=True)
class Refresh:
    """What a refresh token stands for; times in Unix seconds."""

    app_id: str
    upn: str
    scope: str
    issued: float


@dataclass(slots=True)
class DeviceCode:
    """A sign-in that a person finishes elsewhere. `upn` is empty until they have; `declined` where they would not."""

    value: str
    user_code: str
    app_id: str
    scope: str
    expires: float
    asked: float = 0.0
    upn: str = ""
    declined: bool = False


@dataclass(slots=True)
class _Memory:
    refresh: dict[str, Refresh] = field(default_factory=dict)
    codes: dict[str, DeviceCode] = field(default_factory=dict)
    asked: dict[tuple[str, str], deque[float]] = field(default_factory=lambda: defaultdict(deque))


class Grants:
    """The grants of one world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._memory = _Memory()

    def token(self, request: Request) -> dict[str, Any]:
        """Answer a token request.

        Raises:
            EntraError: the refusal.

        """
        grant = request.form.get("grant_type", "")
        run = _GRANTS.get(grant)
        if run is None:
            raise EntraError(70003, grant=grant)
        self._count(request.app.id, grant)
        return run(self, request)

    def start_device_code(self, app: App, scope: str) -> DeviceCode:
        """Begin a sign-in on another device.

        Raises:
            EntraError: where the app may not, or the scope is not one.

        """
        if not app.public_flows:
            raise EntraError(7000218)
        user_scopes(self._world, scope)
        chance, now = self._world.random, self._world.now()
        self._memory.codes = {value: code for value, code in self._memory.codes.items() if code.expires > now}
        user_code = "".join(chance.choices(_USER_CODE_LETTERS, k=_USER_CODE_LENGTH))
        expires = now + self._world.of(Directory).settings.device_code_seconds
        code = DeviceCode(base64url(chance.randbytes(96)), user_code, app.id, scope, expires)
        self._memory.codes[code.value] = code
        return code

    def finish_device_code(self, user_code: str, upn: str, *, decline: bool = False) -> App:
        """Sign a person in for the app that showed them this code.

        Raises:
            EntraError: 70018 where no app did, 70019 where that was too long ago, 50034 or 50057 where they cannot sign in.

        """
        typed = user_code.strip().upper().replace("-", "")
        code = next((code for code in self._memory.codes.values() if code.user_code == typed), None)
        if code is None or code.upn:
            raise EntraError(70018)
        if code.expires <= self._world.now():
            raise EntraError(70019)
        directory = self._world.of(Directory)
        code.upn, code.declined = directory.account(upn).upn, decline
        return directory.app(code.app_id)

    def give_refresh_token(self, app: App, account: Account, scope: str) -> str:
        """Make a refresh token, as any sign-in of this person with `offline_access` does."""
        value = f"1.A{base64url(self._world.random.randbytes(_REFRESH_TOKEN_BYTES))}"
        self._memory.refresh[value] = Refresh(app.id, account.upn, scope, self._world.now())
        return value

    def _count(self, app_id: str, grant: str) -> None:
        """Refuse an app that asks as often as only a loop does."""
        settings, now = self._world.of(Directory).settings, self._world.now()
        times = self._memory.asked[app_id, grant]
        while times and times[0] <= now - settings.loop_seconds:
            times.popleft()
        times.append(now)
        if len(times) > settings.loop_requests:
            raise EntraError(50196)

    def client_credentials(self, request: Request) -> dict[str, Any]:
        """Give a token to an app alone."""
        if request.tenant != self._world.tenant_id and not request.app.multi_tenant:
            raise EntraError(50194, app=request.app.id)
        resource, audience = app_scope(self._world, request.form.get("scope", ""))
        authenticate(self._world, request.app, request.form, request.audiences)
        if request.app.barred:
            raise EntraError(request.app.barred, app=request.app.id, tenant=self._world.tenant_id, resource=resource.app_id)
        kind = "2" if "client_assertion" in request.form else "1"
        return success(self._world, app_token(self._world, request.app, resource, audience, kind))

    def refresh_token(self, request: Request) -> dict[str, Any]:
        """Renew tokens; the old refresh token stays valid, as Entra's do."""
        identify(self._world, request.app, request.form, request.audiences)
        grant = self._memory.refresh.get(_needed(request.form, "refresh_token"))
        if grant is None:
            raise EntraError(9002313, error="invalid_grant")
        if grant.app_id != request.app.id:
            raise EntraError(70000)
        account = self._world.of(Directory).account(grant.upn)
        self._check_age(grant, account)
        return self._user_tokens(request, account, request.form.get("scope") or grant.scope, keep=True)

    def _check_age(self, grant: Refresh, account: Account) -> None:
        idle = self._world.of(Directory).settings.refresh_idle_seconds
        if grant.issued < account.valid_from:
            raise EntraError(50173, start=stamp(grant.issued), end=stamp(account.valid_from))
        if self._world.now() - grant.issued > idle:
            raise EntraError(700082, start=stamp(grant.issued), period=f"{idle / 86400:.0f}.00:00:00")

    def device_code(self, request: Request) -> dict[str, Any]:
        """Give tokens once the person has signed in."""
        identify(self._world, request.app, request.form, request.audiences)
        code = self._memory.codes.get(request.form.get("device_code") or _needed(request.form, "code"))
        if code is None or code.app_id != request.app.id:
            raise EntraError(70000)
        now, interval = self._world.now(), self._world.of(Directory).settings.poll_seconds
        early, code.asked = now - code.asked < interval * _PATIENCE, now
        if code.expires <= now:
            raise EntraError(70020)
        if code.declined:
            raise EntraError(65004, error="authorization_declined", status=400)
        if not code.upn:
            raise EntraError(70016, error="slow_down" if early else "")
        answer = self._user_tokens(request, self._world.of(Directory).account(code.upn), code.scope)
        del self._memory.codes[code.value]
        return answer

    def password(self, request: Request) -> dict[str, Any]:
        """Give tokens for a name and a password, where nothing more is asked of that person."""
        if request.tenant == "common":
            raise EntraError(9001023)
        identify(self._world, request.app, request.form, request.audiences)
        account = self._world.of(Directory).account(_needed(request.form, "username"))
        if account.password != _needed(request.form, "password"):
            raise EntraError(50126)
        scope = request.form.get("scope", "")
        if account.second_factor:
            raise EntraError(50076, resource=user_scopes(self._world, scope).resource.app_id)
        return self._user_tokens(request, account, scope)

    def _user_tokens(self, request: Request, account: Account, scope: str, *, keep: bool = False) -> dict[str, Any]:
        """Make the answer for a person who has shown who they are. `keep` where they had a refresh token before."""
        world = self._world
        wanted = user_scopes(world, scope)
        if account.barred:
            raise EntraError(account.barred, app=request.app.id, tenant=world.tenant_id, resource=wanted.resource.app_id)
        granted = consented(request.app, wanted)
        more = {"scope": wanted.written(granted)}
        answer = success(world, user_token(world, request.app, account, wanted.audience, granted), more)
        if keep or "offline_access" in wanted.openid:
            answer["refresh_token"] = self.give_refresh_token(request.app, account, scope)
        return {**answer, **_about(world, request, account, wanted)}


def _needed(form: Mapping[str, str], name: str) -> str:
    if not form.get(name):
        raise EntraError(900144, parameter=name)
    return form[name]


def _about(world: World, request: Request, account: Account, wanted: Wanted) -> dict[str, str]:
    """Tell who signed in: as ID token, and as `client_info`, which Microsoft's clients ask for."""
    found = {"id_token": id_token(world, request.app, account)} if "openid" in wanted.openid else {}
    if request.form.get("client_info") == "1":
        info = json.dumps({"uid": account.id, "utid": world.tenant_id})
        found["client_info"] = base64url(info.encode())
    return found


_GRANTS: Mapping[str, Callable[[Grants, Request], dict[str, Any]]] = {
    "client_credentials": Grants.client_credentials,
    "refresh_token": Grants.refresh_token,
    "urn:ietf:params:oauth:grant-type:device_code": Grants.device_code,
    "device_code": Grants.device_code,
    "password": Grants.password,
}
