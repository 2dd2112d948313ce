"""The entra_token kind: against a fake that gives any token, and against the simulated Entra and Graph."""

import asyncio
import time
from base64 import b64encode
from collections.abc import Awaitable, Mapping
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from pydantic import ValidationError

from agent.drill.entra.directory import Directory, Secret
from agent.drill.faults import Fault, Http, Token
from probes.core.contract import Layer, Outcome, Place, Run, Workload
from probes.core.contract import Secret as Where
from probes.core.reasons import Reason
from probes.entra_token import PROBE, EntraToken
from probes.lib.credential_expiry import CredentialExpiry
from probes.lib.tenant import Credential
from tests.fakes.identity import CLIENT_ID, TENANT_ID, Answer, Asked, given, identity, refused
from tests.lib.signing_in import SECRET, certificate
from tests.probes.once import once
from tests.probes.pages import measured
from tests.probes.tenants import among, fake, simulated

GRAPH = "https://graph.microsoft.com"
END = "2030-01-02T03:04:05Z"
END_SECONDS = 1893553445.0


def claims(**other: Any) -> dict[str, Any]:
    """Claims of a good token; None takes one away."""
    now = time.time()
    good = {"aud": GRAPH, "tid": TENANT_ID, "appid": CLIENT_ID, "iat": now - 300, "exp": now + 3599, "roles": ["Mail.Send"]}
    return {name: value for name, value in (good | other).items() if value is not None}


def registration(**lists: Any) -> web.Response:
    return web.json_response({"passwordCredentials": [], "keyCredentials": []} | lists)


def both(token: web.Response, application: web.Response) -> Answer:
    """Give the token to who asks for one, and the registration to who asks for that."""
    return lambda asked: application if asked.path.startswith("/v1.0/applications") else token


async def run(answer: Answer, credential: Credential | None = None, **settings: Any) -> tuple[Run, list[Asked], Mapping[Any, float]]:
    async with identity(answer) as served:
        shared = among(fake(served.host, credential))
        ended = await once("entra_token", shared=shared, tenant="contoso", **settings)
    return ended, served.asked, shared.part(CredentialExpiry).known


async def test_a_new_token_of_ours_is_well() -> None:
    ended, asked, _ = await run(lambda _: given(claims=claims()), roles=["Mail.Send"])
    assert (ended.outcome, ended.message) == (Outcome.OK, "")
    assert [step.name for step in ended.steps] == ["token", "claims"]
    assert [name for name, _ in ended.steps[0].phases] == ["connect", "tls", "processing", "transfer"]
    found = measured(ended)
    assert (round(found["token_lifetime_seconds"]), abs(found["clock_skew_seconds"]) < 60, found["excessive_roles"]) == (3599, True, 0)
    assert len(asked) == 1


async def test_each_run_asks_for_a_new_one() -> None:
    async with identity(lambda _: given(claims=claims())) as served:
        shared = among(fake(served.host))
        for _ in range(3):
            assert (await once("entra_token", shared=shared, tenant="contoso")).outcome is Outcome.OK
    assert len(served.asked) == 3


@pytest.mark.parametrize(
    ("wrong", "settings", "reason"),
    [
        pytest.param({"aud": "https://outlook.office365.com"}, {}, Reason.CONTENT_MISMATCH, id="for another service"),
        pytest.param({"aud": "00000002-0000-0ff1-ce00-000000000000"}, {}, Reason.CONTENT_MISMATCH, id="for another service by number"),
        pytest.param({"aud": None}, {}, Reason.CONTENT_MISMATCH, id="for nothing"),
        pytest.param({"aud": [GRAPH]}, {}, Reason.CONTENT_MISMATCH, id="for a list"),
        pytest.param({"aud": GRAPH}, {"resource": "https://x.example.org"}, Reason.CONTENT_MISMATCH, id="for Graph instead"),
        pytest.param({"tid": CLIENT_ID}, {}, Reason.CONTENT_MISMATCH, id="of another tenant"),
        pytest.param({"appid": TENANT_ID}, {}, Reason.CONTENT_MISMATCH, id="for another application"),
        pytest.param({"appid": None}, {}, Reason.CONTENT_MISMATCH, id="for no application"),
        pytest.param({"exp": None}, {}, Reason.CONTENT_MISMATCH, id="without end"),
        pytest.param({"exp": 10**400}, {}, Reason.CONTENT_MISMATCH, id="for longer than a number can say"),
        pytest.param({"iat": "now"}, {}, Reason.CONTENT_MISMATCH, id="from a word on"),
        pytest.param({"iat": 1000.0, "exp": 1060.0}, {}, Reason.CONTENT_MISMATCH, id="for a minute"),
        pytest.param({"iat": 1000.0, "exp": 865000.0}, {}, Reason.CONTENT_MISMATCH, id="for ten days"),
        pytest.param({"roles": None}, {"roles": ["Mail.Send"]}, Reason.PERMISSION, id="without a role"),
        pytest.param({}, {"roles": ["Mail.Send", "Mail.Read"]}, Reason.PERMISSION, id="without one of two roles"),
    ],
)
async def test_a_token_that_is_not_what_it_should_be_has_its_reason(
    wrong: dict[str, Any], settings: dict[str, Any], reason: Reason
) -> None:
    ended, _, _ = await run(lambda _: given(claims=claims(**wrong)), **settings)
    assert (ended.outcome, ended.failed_step, ended.reason) == (Outcome.FAILED, "claims", reason), ended.message


async def test_a_token_that_nobody_can_read_is_a_mismatch() -> None:
    ended, _, _ = await run(lambda _: given(access_token="opaque"))
    assert (ended.failed_step, ended.reason) == ("claims", Reason.CONTENT_MISMATCH)
    assert "opaque" not in repr(ended)


@pytest.mark.parametrize(
    ("answer", "outcome", "reason", "code"),
    [
        pytest.param(
            lambda _: refused(7000222, 401, "invalid_client"), Outcome.FAILED, Reason.CREDENTIAL_EXPIRED, "AADSTS7000222", id="over"
        ),
        pytest.param(
            lambda _: refused(7000215, 401, "invalid_client"), Outcome.FAILED, Reason.CREDENTIAL_INVALID, "AADSTS7000215", id="wrong"
        ),
        pytest.param(lambda _: refused(700016), Outcome.FAILED, Reason.APP_CONFIG, "AADSTS700016", id="no such application"),
        pytest.param(lambda _: refused(90033, 503), Outcome.FAILED, Reason.IDENTITY_FAULT, "503", id="Entra itself"),
        pytest.param(lambda _: web.Response(status=500), Outcome.FAILED, Reason.IDENTITY_FAULT, "500", id="500"),
        pytest.param(lambda _: web.Response(text="hello"), Outcome.FAILED, Reason.PROTOCOL_ERROR, "200", id="no token"),
        pytest.param(lambda _: web.Response(status=429), Outcome.INCONCLUSIVE, Reason.THROTTLED, "429", id="limited"),
    ],
)
async def test_a_refusal_has_the_reason_that_entra_gives(answer: Answer, outcome: Outcome, reason: Reason, code: str) -> None:
    ended, _, _ = await run(answer)
    assert (ended.outcome, ended.failed_step, ended.reason, ended.code) == (outcome, "token", reason, code), ended.message


async def test_the_deadline_names_the_step_it_cut() -> None:
    async def never(_: Asked) -> web.Response:
        await asyncio.Event().wait()
        return web.Response()

    ended, _, _ = await run(never, deadline=0.4)
    assert (ended.failed_step, ended.reason) == ("token", Reason.TIMEOUT)


async def test_a_tenant_that_a_reload_took_away_is_our_configuration() -> None:
    ended = await once("entra_token", tenant="contoso")
    assert (ended.outcome, ended.reason) == (Outcome.FAILED, Reason.APP_CONFIG)


async def test_what_is_granted_beyond_need_is_told_and_no_failure() -> None:
    ended, _, _ = await run(lambda _: given(claims=claims(roles=["Mail.Send", "Mail.Read", "User.Read.All"])), roles=["Mail.Send"])
    assert ended.outcome is Outcome.OK
    assert (measured(ended)["excessive_roles"], dict(ended.evidence)["roles_beyond_need"]) == (2, "Mail.Read User.Read.All")
    ended, _, _ = await run(lambda _: given(claims=claims()))
    assert "excessive_roles" not in measured(ended)


async def test_our_clock_is_compared_with_that_of_entra() -> None:
    ended, _, _ = await run(lambda _: given(claims=claims(iat=time.time() - 900, exp=time.time() + 3599 - 600)))
    assert (ended.outcome, round(measured(ended)["clock_skew_seconds"], -1)) == (Outcome.OK, 600)


READER = claims(roles=["Application.Read.All"])
SECRETS = [
    {"hint": "zzz", "endDateTime": "2027-01-01T00:00:00Z"},
    {"hint": SECRET[:3], "endDateTime": "2020-01-01T00:00:00Z"},
    {"hint": SECRET[:3], "endDateTime": "2031-01-01T00:00:00Z"},
    {"hint": SECRET[:3], "endDateTime": END},
    {"hint": None, "endDateTime": None},
]


async def test_the_end_of_our_secret_is_asked_of_the_registration() -> None:
    ended, asked, known = await run(both(given(claims=READER), registration(passwordCredentials=SECRETS)))
    assert (ended.outcome, [step.name for step in ended.steps]) == (Outcome.OK, ["token", "claims", "expiry"])
    assert asked[1].path == f"/v1.0/applications(appId='{CLIENT_ID}')?$select=passwordCredentials,keyCredentials"
    assert known == {("contoso", "secret"): END_SECONDS}
    assert dict(ended.evidence)["credential_expires"] == "2030-01-02T03:04:05+00:00"


def thumbprint() -> bytes:
    return x509.load_pem_x509_certificate(certificate().encode()).fingerprint(hashes.SHA1())  # noqa: S303 - Entra's name for it


@pytest.mark.parametrize("form", ["digits", "bytes", "digits as bytes"])
async def test_the_end_of_our_certificate_is_found_by_its_thumbprint(form: str) -> None:
    digits = thumbprint().hex().upper()
    written = {"digits": digits, "bytes": b64encode(thumbprint()).decode(), "digits as bytes": b64encode(digits.encode()).decode()}[form]
    others = [{"customKeyIdentifier": other, "endDateTime": "2027-01-01T00:00:00Z"} for other in ("AAAA", "!", None)]
    keys = [*others, {"customKeyIdentifier": written, "endDateTime": END}]
    credential = Credential(certificate=Where(inline=certificate()))
    ended, _, known = await run(both(given(claims=READER), registration(keyCredentials=keys)), credential)
    assert (ended.outcome, known) == (Outcome.OK, {("contoso", "certificate"): END_SECONDS})


@pytest.mark.parametrize(
    ("application", "words"),
    [
        pytest.param(web.Response(status=503), "503", id="Graph is down"),
        pytest.param(web.Response(status=403), "403", id="not allowed after all"),
        pytest.param(registration(), "does not list the secret in use", id="not registered"),
        pytest.param(registration(passwordCredentials=None), "has no passwordCredentials", id="no list"),
        pytest.param(registration(passwordCredentials=[{"hint": SECRET[:3], "endDateTime": "soon"}]), "does not say when", id="no date"),
        *(
            pytest.param(registration(passwordCredentials=[{"hint": SECRET[:3], "endDateTime": date}]), words, id=date)
            for date, words in (
                ("9999-12-31T23:59:59.9999999Z", "no clock can show"),
                ("9999-12-31T23:59:59-01:00", "no clock can show"),
                ("0001-01-01T00:00:00+01:00", "registration"),
            )
        ),
        pytest.param(web.json_response([]), "has no passwordCredentials", id="no object"),
    ],
)
async def test_an_end_that_cannot_be_found_out_is_no_failure(application: web.Response, words: str) -> None:
    ended, _, known = await run(both(given(claims=READER), application))
    assert (ended.outcome, known) == (Outcome.OK, {})
    assert words in dict(ended.evidence)["credential_expires"]


async def test_a_registration_that_never_comes_does_not_take_the_run() -> None:
    async def slowly(asked: Asked) -> web.Response:
        if asked.path.startswith("/v1.0"):
            await asyncio.Event().wait()
        return given(claims=READER)

    ended, _, _ = await run(slowly, deadline=1.0)
    assert (ended.outcome, dict(ended.evidence)["credential_expires"]) == (Outcome.OK, "unknown: no answer in time")


async def test_a_credential_without_an_end_is_not_looked_up() -> None:
    ended, asked, _ = await run(lambda _: given(claims=READER), Credential(federated_token=Where(inline="token")))
    assert (ended.outcome, len(asked)) == (Outcome.OK, 1)


async def test_a_certificate_that_is_gone_by_then_is_no_failure() -> None:
    asked: list[str] = []

    def answer(one: Asked) -> web.Response | Awaitable[web.Response]:
        asked.append(one.path)
        return both(given(claims=READER), registration())(one)

    def read(secret: Where) -> str:
        assert secret.file == "fogbell.pem"
        return certificate() if len(asked) < 2 else "half a file"

    async with identity(answer) as served:
        tenant = fake(served.host, Credential(certificate=Where(file="fogbell.pem")))
        ended = await once("entra_token", shared=among(tenant, secrets=read), tenant="contoso")
    assert (ended.outcome, dict(ended.evidence)["credential_expires"]) == (Outcome.OK, "unknown: the certificate's file cannot be read")


@pytest.mark.parametrize(("resource", "calls"), [("graph", 2), ("exchange", 1)])
def test_what_it_costs_is_a_token_and_a_look_at_the_registration(resource: str, calls: int) -> None:
    assert sum(cost.calls for cost in PROBE.costs(EntraToken(resource=resource))) == calls


@pytest.mark.parametrize("resource", ["http://x.example.org", "mail", ""])
def test_a_resource_is_graph_exchange_or_an_address(resource: str) -> None:
    with pytest.raises(ValidationError):
        EntraToken(resource=resource)


def test_it_looks_at_the_identity_provider() -> None:
    assert PROBE.place(EntraToken()) == Place(Layer.IDENTITY, Workload.ENTRA)


async def test_the_simulated_tenant_gives_a_token_and_tells_when_our_secret_ends(tmp_path: Path) -> None:
    async with simulated(tmp_path) as (world, tenant):
        shared = among(tenant)
        ended = await once("entra_token", shared=shared, tenant="contoso", roles=["Mail.Send"])
        [secret] = world.of(Directory).apps[world.app_id].secrets
    assert (ended.outcome, ended.message) == (Outcome.OK, "")
    assert shared.part(CredentialExpiry).known == {("contoso", "secret"): pytest.approx(secret.expires, abs=1.0)}
    assert measured(ended)["excessive_roles"] > 10


async def test_a_secret_that_ends_in_the_simulated_tenant_is_ours_and_a_fault_of_its_own_is_not(tmp_path: Path) -> None:
    async with simulated(tmp_path) as (world, tenant):
        world.of(Directory).apps[world.app_id].secrets[:] = [Secret(world.secret, world.now() - 60)]
        ours = await once("entra_token", shared=among(tenant), tenant="contoso")
        world.faults.set(Fault(Token(90033)))
        theirs = await once("entra_token", shared=among(tenant), tenant="contoso")
        world.faults.set(Fault(Http((502,))))
        edge = await once("entra_token", shared=among(tenant), tenant="contoso")
    assert [(one.reason, one.code) for one in (ours, theirs, edge)] == [
        (Reason.CREDENTIAL_EXPIRED, "AADSTS7000222"),
        (Reason.IDENTITY_FAULT, "503"),
        (Reason.IDENTITY_FAULT, "502"),
    ]
