"""The entra_signin kind: against a fake that answers anything, and against the simulated Entra with what goes wrong there."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from pydantic import ValidationError

from agent.drill.entra.directory import Directory
from agent.drill.entra.grants import Grants as DrillGrants
from agent.drill.entra.grants import Request
from agent.drill.entra.keys import Keys
from agent.drill.faults import Drip, Fault, Http, Tcp, Tls, Token, Where
from agent.drill.world import World
from probes.core.contract import Layer, Outcome, Place, Run, Workload
from probes.core.needs import Registration
from probes.core.reasons import Reason
from probes.entra_signin import PROBE, EntraSignin
from probes.lib.grants import Grant, Grants, grant_path
from probes.lib.tenant import Tenant
from tests.fakes.identity import CLIENT_ID, TENANT_ID, Asked, identity, refused
from tests.probes.once import once
from tests.probes.pages import measured
from tests.probes.tenants import among, fake, simulated

STEPS = ["discovery", "keys", "authorize", "device_code"]
Page = Callable[[Asked], web.Response | Awaitable[web.Response]]


def configuration(host: str, **other: Any) -> dict[str, Any]:
    here = f"https://{host}/{TENANT_ID}"
    good = {
        "issuer": f"{here}/v2.0",
        "authorization_endpoint": f"{here}/authorize",
        "token_endpoint": f"{here}/token",
        "jwks_uri": f"{here}/keys",
        "device_authorization_endpoint": f"{here}/devicecode",
    }
    return {name: value for name, value in (good | other).items() if value is not None}


@cache
def key() -> dict[str, Any]:
    """Return a key as the simulated Entra shows it."""
    return dict(World().of(Keys).key_set("x")["keys"][0])


def page(text: str = "<script>$Config={};</script>", status: int = 200, **headers: str) -> web.Response:
    return web.Response(
        text=text, status=status, content_type="text/html", headers={name.replace("_", "-"): value for name, value in headers.items()}
    )


def code() -> web.Response:
    return web.json_response({"device_code": "d", "user_code": "u", "expires_in": 900})


async def run(other: Mapping[str, Page] | None = None, named: Mapping[str, Any] | None = None, **settings: Any) -> tuple[Run, list[Asked]]:
    """Run once against a good Entra, but for the pages in `other` and what is `named` otherwise in its configuration."""

    def answer(asked: Asked) -> web.Response | Awaitable[web.Response]:
        pages: dict[str, Page] = {
            "openid-configuration": lambda _: web.json_response(configuration(served.host, **named or {})),
            "keys": lambda _: web.json_response({"keys": [key()]}),
            "authorize": lambda _: page(),
            "devicecode": lambda _: code(),
        }
        return (pages | dict(other or {}))[asked.path.partition("?")[0].rpartition("/")[2]](asked)

    async with identity(answer) as served:
        ended = await once("entra_signin", shared=among(fake(served.host)), tenant="contoso", **settings)
    return ended, served.asked


async def test_the_way_of_a_person_is_open() -> None:
    ended, asked = await run()
    assert (ended.outcome, ended.message) == (Outcome.OK, "")
    assert [step.name for step in ended.steps] == STEPS
    assert all("tls" in dict(step.phases) for step in ended.steps)
    assert measured(ended)["signing_keys"] == 1
    assert [one.path.partition("?")[0].rpartition("/")[2] for one in asked] == ["openid-configuration", "keys", "authorize", "devicecode"]
    assert f"client_id={CLIENT_ID}&response_type=code&redirect_uri=http%3A%2F%2Flocalhost&" in asked[2].path
    assert asked[3].form == {"client_id": CLIENT_ID, "scope": "openid profile"}


async def test_a_device_code_can_be_left_out() -> None:
    ended, asked = await run(named={"device_authorization_endpoint": None}, device_code=False)
    assert (ended.outcome, len(asked)) == (Outcome.OK, 3)


def each(name: str, response: Callable[[], web.Response]) -> dict[str, Page]:
    return {name: lambda _: response()}


FAILURES = [
    pytest.param(each("openid-configuration", lambda: page(status=503)), {}, "discovery", Reason.IDENTITY_FAULT, "503", id="document 503"),
    pytest.param(each("openid-configuration", lambda: page(status=404)), {}, "discovery", Reason.HTTP_4XX, "404", id="document 404"),
    pytest.param(
        each("openid-configuration", lambda: page(status=302, Location="/")), {}, "discovery", Reason.HTTP_REDIRECT, "302", id="moved"
    ),
    pytest.param(each("openid-configuration", lambda: refused(90002)), {}, "discovery", Reason.APP_CONFIG, "AADSTS90002", id="no tenant"),
    pytest.param(each("openid-configuration", page), {}, "discovery", Reason.CONTENT_MISMATCH, "", id="a page for a document"),
    pytest.param({}, {"jwks_uri": None}, "discovery", Reason.CONTENT_MISMATCH, "", id="no address of the keys"),
    pytest.param({}, {"token_endpoint": 7}, "discovery", Reason.CONTENT_MISMATCH, "", id="a number for an address"),
    pytest.param({}, {"device_authorization_endpoint": None}, "discovery", Reason.CONTENT_MISMATCH, "", id="no address for devices"),
    pytest.param({}, {"authorization_endpoint": "https://evil.example.org/"}, "discovery", Reason.CONTENT_MISMATCH, "", id="elsewhere"),
    pytest.param({}, {"token_endpoint": "http://login.microsoftonline.com/"}, "discovery", Reason.CONTENT_MISMATCH, "", id="without TLS"),
    pytest.param({}, {"issuer": "https://login.microsoftonline.com/x"}, "discovery", Reason.CONTENT_MISMATCH, "", id="another tenant"),
    pytest.param(each("keys", lambda: page(status=500)), {}, "keys", Reason.IDENTITY_FAULT, "500", id="keys 500"),
    pytest.param(each("keys", lambda: web.json_response({"keys": []})), {}, "keys", Reason.CONTENT_MISMATCH, "", id="no keys"),
    pytest.param(each("keys", lambda: web.json_response({"keys": 1})), {}, "keys", Reason.CONTENT_MISMATCH, "", id="no list of keys"),
    pytest.param(
        each(
            "keys",
            lambda: web.json_response({"keys": [7, {"kty": "EC"}, key() | {"use": "enc"}, key() | {"x5c": ["AAAA"]}, key() | {"n": 1}]}),
        ),
        {},
        "keys",
        Reason.CONTENT_MISMATCH,
        "",
        id="no key that is one",
    ),
    pytest.param(each("authorize", lambda: page(status=500)), {}, "authorize", Reason.IDENTITY_FAULT, "500", id="sign-in page 500"),
    pytest.param(each("authorize", lambda: page(status=403)), {}, "authorize", Reason.HTTP_4XX, "403", id="sign-in page 403"),
    pytest.param(each("authorize", lambda: page("<p>We'll be back")), {}, "authorize", Reason.CONTENT_MISMATCH, "", id="another page"),
    pytest.param(
        each("authorize", lambda: page("$Config AADSTS90033: A transient")),
        {},
        "authorize",
        Reason.IDENTITY_FAULT,
        "AADSTS90033",
        id="90033",
    ),
    pytest.param(
        each("authorize", lambda: page("AADSTS700016", 500)), {}, "authorize", Reason.IDENTITY_FAULT, "AADSTS700016", id="500 with a number"
    ),
    pytest.param(
        each("authorize", lambda: page("AADSTS50011: no")), {}, "authorize", Reason.APP_CONFIG, "AADSTS50011", id="not registered"
    ),
    pytest.param(
        each("authorize", lambda: page("AADSTS500021")), {}, "authorize", Reason.TENANT_RESTRICTED, "AADSTS500021", id="restricted"
    ),
    pytest.param(
        each("authorize", lambda: page(status=302, Location="http://localhost/?error=server_error&error_description=AADSTS90006%3A+x")),
        {},
        "authorize",
        Reason.IDENTITY_FAULT,
        "AADSTS90006",
        id="sent back with an error",
    ),
    pytest.param(
        each("authorize", lambda: page(status=302, Location="https://evil.example.org/")),
        {},
        "authorize",
        Reason.HTTP_REDIRECT,
        "302",
        id="sent elsewhere",
    ),
    pytest.param(
        each("authorize", lambda: page(status=302, Location="http://[")), {}, "authorize", Reason.HTTP_REDIRECT, "302", id="sent nowhere"
    ),
    pytest.param(each("authorize", lambda: page("$Config" * 200_000)), {}, "authorize", Reason.CONTENT_MISMATCH, "", id="too long"),
    pytest.param(each("devicecode", lambda: refused(50000, 500)), {}, "device_code", Reason.IDENTITY_FAULT, "500", id="devices 500"),
    pytest.param(
        each("devicecode", lambda: refused(7000218, 401)), {}, "device_code", Reason.APP_CONFIG, "AADSTS7000218", id="no public client"
    ),
    pytest.param(each("devicecode", lambda: refused(53003)), {}, "device_code", Reason.BLOCKED_BY_POLICY, "AADSTS53003", id="a policy"),
    pytest.param(
        each("devicecode", lambda: web.json_response({"user_code": "u"})), {}, "device_code", Reason.CONTENT_MISMATCH, "", id="none"
    ),
    pytest.param(each("devicecode", page), {}, "device_code", Reason.CONTENT_MISMATCH, "", id="a page for a code"),
]


@pytest.mark.parametrize(("pages", "named", "step", "reason", "code"), FAILURES)
async def test_each_step_fails_with_its_own_reason(
    pages: dict[str, Page], named: dict[str, Any], step: str, reason: Reason, code: str
) -> None:
    ended, _ = await run(pages, named)
    assert (ended.outcome, ended.failed_step, ended.reason, ended.code) == (Outcome.FAILED, step, reason, code), ended.message


@pytest.mark.parametrize(
    "pages",
    [
        each("authorize", lambda: page(status=429, Retry_After="9")),
        each("authorize", lambda: page("AADSTS7654321: slow down", 429, Retry_After="9")),
        each("devicecode", lambda: page(status=429, Retry_After="9")),
        each("authorize", lambda: page("AADSTS50196: loop")),
        each("devicecode", lambda: refused(50196)),
    ],
    ids=["page 429", "page 429 with a number", "devices 429", "loop", "loop of devices"],
)
async def test_being_limited_says_nothing_about_the_sign_in(pages: dict[str, Page]) -> None:
    ended, _ = await run(pages)
    assert (ended.outcome, ended.reason) == (Outcome.INCONCLUSIVE, Reason.THROTTLED)


async def test_a_sign_in_page_may_speak_of_errors() -> None:
    ended, _ = await run(each("authorize", lambda: page('<input name="loginfmt"> <a href="/help">What is AADSTS50011?</a>')))
    assert (ended.outcome, ended.message) == (Outcome.OK, "")


async def test_a_federation_server_of_ones_own_can_be_named() -> None:
    pages = each("authorize", lambda: page(status=302, Location="https://adfs.example.org/ls?wctx=s3cret"))
    ended, _ = await run(pages, sign_in_hosts=["adfs.example.org"])
    assert (ended.outcome, dict(ended.evidence)["redirect"]) == (Outcome.OK, "302 to adfs.example.org")
    assert "s3cret" not in repr(ended)


@pytest.mark.parametrize("step", STEPS)
async def test_the_deadline_names_the_step_it_cut(step: str) -> None:
    async def never(_: Asked) -> web.Response:
        await asyncio.Event().wait()
        return page()

    name = {"discovery": "openid-configuration", "device_code": "devicecode"}.get(step, step)
    ended, _ = await run({name: never}, deadline=1.0)
    assert (ended.failed_step, ended.reason) == (step, Reason.TIMEOUT)


@pytest.mark.parametrize("redirect_uri", ["localhost", "", "http://a b", "http://ü", "http://a/it's"])
def test_a_redirect_address_is_one(redirect_uri: str) -> None:
    with pytest.raises(ValidationError):
        EntraSignin(redirect_uri=redirect_uri)


def test_it_looks_at_the_identity_provider_and_asks_for_little() -> None:
    assert PROBE.place(EntraSignin()) == Place(Layer.IDENTITY, Workload.ENTRA)
    assert (PROBE.permissions(EntraSignin()), [one.name for one in PROBE.permissions(EntraSignin(user=True))]) == ((), ["User.Read"])


def test_the_registration_has_to_know_the_address_and_where_asked_for_device_codes() -> None:
    assert PROBE.registration(EntraSignin()) == Registration(("http://localhost",), public_flows=True)
    other = EntraSignin(redirect_uri="https://example.org/x", device_code=False)
    assert PROBE.registration(other) == Registration(("https://example.org/x",))


# The simulated tenant


async def signed_in(world: World, tenant: Tenant, folder: Path) -> None:
    """Sign the first person in with a device code, and leave the grant where `fogbell login` leaves it."""
    grants, app = world.of(DrillGrants), world.of(Directory).apps[world.app_id]
    started = grants.start_device_code(app, "https://graph.microsoft.com/User.Read offline_access openid")
    grants.finish_device_code(started.user_code, world.people[0].upn)
    form = {"grant_type": "urn:ietf:params:oauth:grant-type:device_code", "client_id": app.id, "device_code": started.value}
    token = grants.token(Request(form, app, world.tenant_id, frozenset()))
    grant = Grant(tenant.tenant_id, tenant.client_id, tenant.where.login, token["refresh_token"])
    assert await Grants().keep(grant_path(str(folder), "contoso"), grant)


async def test_a_person_can_sign_in_to_the_simulated_tenant(tmp_path: Path) -> None:
    async with simulated(tmp_path) as (world, tenant):
        await signed_in(world, tenant, tmp_path)
        ended = await once("entra_signin", shared=among(tenant, tmp_path), tenant="contoso", user=True)
    assert (ended.outcome, ended.message) == (Outcome.OK, "")
    assert [step.name for step in ended.steps] == [*STEPS, "refresh"]
    assert "ProdSlices" in dict(ended.evidence)["x-ms-ests-server"]


async def test_without_a_sign_in_the_way_to_one_is_told(tmp_path: Path) -> None:
    async with simulated(tmp_path) as (_, tenant):
        ended = await once("entra_signin", shared=among(tenant, tmp_path), tenant="contoso", user=True)
    assert (ended.outcome, ended.failed_step, ended.reason) == (Outcome.FAILED, "refresh", Reason.GRANT_DEAD)
    assert "fogbell login" in ended.message


async def test_a_sign_in_that_was_revoked_is_dead(tmp_path: Path) -> None:
    async with simulated(tmp_path) as (world, tenant):
        await signed_in(world, tenant, tmp_path)
        world.of(Directory).accounts[world.people[0].upn].valid_from = world.now() + 60
        ended = await once("entra_signin", shared=among(tenant, tmp_path), tenant="contoso", user=True)
    assert (ended.failed_step, ended.reason, ended.code) == ("refresh", Reason.GRANT_DEAD, "AADSTS50173")
    assert ended.message.endswith("; run `fogbell login contoso`")


async def test_a_stored_sign_in_that_was_damaged_is_told_with_what_helps(tmp_path: Path) -> None:
    async with simulated(tmp_path) as (world, tenant):
        await signed_in(world, tenant, tmp_path)
        path = grant_path(str(tmp_path), "contoso")
        damaged = json.loads(path.read_text()) | {"refresh_token": "edited"}
        path.write_text(json.dumps(damaged))
        ended = await once("entra_signin", shared=among(tenant, tmp_path), tenant="contoso", user=True)
    assert (ended.failed_step, ended.reason, ended.code) == ("refresh", Reason.APP_CONFIG, "AADSTS9002313")
    assert ended.message.endswith("; run `fogbell login contoso`")


@pytest.mark.parametrize(
    ("effect", "operation", "step", "reason"),
    [
        pytest.param(Http((503,)), "authorize", "authorize", Reason.IDENTITY_FAULT, id="page 503"),
        pytest.param(Token(90033), "authorize", "authorize", Reason.IDENTITY_FAULT, id="page says it is its own fault"),
        pytest.param(Drip(), "authorize", "authorize", Reason.TIMEOUT, id="page never comes"),
        pytest.param(Http((502,)), "device_code", "device_code", Reason.IDENTITY_FAULT, id="devices 502"),
        pytest.param(Token(50000), "device_code", "device_code", Reason.IDENTITY_FAULT, id="devices: its own fault"),
        pytest.param(Http((504,)), "keys", "keys", Reason.IDENTITY_FAULT, id="keys 504"),
        pytest.param(Http((500,)), "discovery", "discovery", Reason.IDENTITY_FAULT, id="document 500"),
        pytest.param(Tls("wrong_name"), "", "discovery", Reason.TLS_WRONG_NAME, id="certificate of another name"),
        pytest.param(Tcp("reset"), "", "discovery", Reason.CONNECTION_RESET, id="reset"),
    ],
)
async def test_people_cannot_sign_in_while_applications_still_get_tokens(
    effect: Any, operation: str, step: str, reason: Reason, tmp_path: Path
) -> None:
    async with simulated(tmp_path) as (world, tenant):
        world.faults.set(Fault(effect, Where(operations=frozenset({operation} - {""}))))
        ended = await once("entra_signin", shared=among(tenant), tenant="contoso", deadline=1.5 if isinstance(effect, Drip) else 10.0)
        application = await once("entra_token", shared=among(tenant), tenant="contoso") if operation else None
    assert (ended.outcome, ended.failed_step, ended.reason) == (Outcome.FAILED, step, reason), ended.message
    assert application is None or application.outcome is Outcome.OK


async def test_a_redirect_address_that_is_not_registered_is_our_configuration(tmp_path: Path) -> None:
    async with simulated(tmp_path) as (_, tenant):
        ended = await once("entra_signin", shared=among(tenant), tenant="contoso", redirect_uri="https://example.org/x")
    assert (ended.failed_step, ended.reason) == ("authorize", Reason.APP_CONFIG)
    assert "register redirect_uri" in ended.message
