"""The token client against the simulated Entra, which knows nothing of it: all five ways, its faults, and its people."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import jwt
import pytest
from cryptography import x509

from agent.drill.entra.directory import App, Directory, Federation
from agent.drill.entra.directory import Secret as Known
from agent.drill.entra.metadata import APP_SERVICE_PATH, ManagedIdentity
from agent.drill.faults import Drip, Fault, Http, Latency, Tcp, Tls, Token, Where
from agent.drill.world import World
from agent.login import login
from probes.core.contract import Failed, Inconclusive, Secret, Stopped
from probes.core.reasons import Reason
from probes.lib.assertion import signer
from probes.lib.tenant import Credential, Hosts, Tenant
from probes.lib.tls import Trust
from tests.judges.entra import entra
from tests.lib.signing_in import by, certificate, run, shared, want

EXCHANGE = "https://outlook.office365.com"


@dataclass(frozen=True, slots=True)
class Place:
    """A simulated tenant, and the file of the authority to trust there."""

    world: World
    authority: str

    @property
    def app(self) -> App:
        return self.world.of(Directory).apps[self.world.app_id]

    def tenant(self, credential: Credential | None = None) -> Tenant:
        return Tenant(
            tenant_id=self.world.tenant_id,
            client_id=self.world.app_id,
            hosts=Hosts(login=self.world.address("login"), graph="graph.microsoft.com", exchange="outlook.office365.com"),
            credential=credential or by(secret=Secret(inline=self.world.secret)),
            tls=Trust(ca_file=self.authority),
        )

    async def reason(self, credential: Credential | None = None) -> Reason | None:
        """Why a run gets no token."""
        try:
            await want(run(shared()), self.tenant(credential))
        except Stopped as stopped:
            return stopped.reason
        return None


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with entra(tmp_path) as (world, authority):
        yield Place(world, authority)


async def test_by_secret_with_evidence_and_roles(place: Place) -> None:
    ctx = run(shared())
    token = await want(ctx, place.tenant())
    assert "Organization.Read.All" in token.roles
    assert token.claims["aud"] == "https://graph.microsoft.com"
    assert "ProdSlices" in ctx.evidence_found["x-ms-ests-server"]
    assert ctx.evidence_found["x-ms-request-id"]


async def test_for_another_resource(place: Place) -> None:
    token = await want(run(shared()), place.tenant(), EXCHANGE)
    assert "IMAP.AccessAsApp" in token.roles


async def test_by_certificate(place: Place) -> None:
    place.app.certificates.append(x509.load_pem_x509_certificate(certificate().encode()))
    assert await place.reason(by(certificate=Secret(inline=certificate()))) is None


async def test_a_certificate_that_was_never_registered_is_refused(place: Place) -> None:
    assert await place.reason(by(certificate=Secret(inline=certificate()))) is Reason.CREDENTIAL_INVALID


async def test_by_a_token_of_another_issuer(place: Place) -> None:
    key = signer(certificate()).key
    place.app.federations.append(Federation("https://cluster.example", "system:serviceaccount:fogbell", key.public_key()))
    now = int(place.world.now())
    claims = {
        "iss": "https://cluster.example",
        "sub": "system:serviceaccount:fogbell",
        "aud": "api://AzureADTokenExchange",
        "iat": now,
        "nbf": now,
        "exp": now + 600,
    }
    signed = jwt.encode(claims, key, algorithm="RS256")
    assert await place.reason(by(federated_token=Secret(inline=f"{signed}\n"))) is None


async def test_by_the_machines_own_identity(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("probes.lib.oauth.METADATA", place.world.url("metadata", "/metadata/identity/oauth2/token"))
    assert await place.reason(by(managed_identity={})) is None


async def test_by_the_identity_of_an_app_service(place: Place) -> None:
    header = place.world.of(ManagedIdentity).header
    found = {"endpoint": place.world.url("metadata", APP_SERVICE_PATH), "header": {"inline": header}}
    assert await place.reason(by(managed_identity=found)) is None
    assert await place.reason(by(managed_identity=found | {"header": {"inline": "wrong"}})) is Reason.APP_CONFIG


async def person(place: Place, told: asyncio.Queue[str], action: str) -> None:
    """Type the code that `fogbell login` shows."""
    code = (await told.get()).rpartition(" ")[2]
    fields = {"otc": code, "user": place.world.people[0].upn, "action": action}
    url = place.world.url("login", "/common/oauth2/deviceauth")
    async with aiohttp.ClientSession() as session, session.post(url, data=fields, ssl=False) as answer:
        assert answer.status == 200


async def sign_in(place: Place, folder: Path, action: str = "continue") -> list[str]:
    """Sign a person in, and return what they were told after typing the code."""
    place.world.of(Directory).settings.poll_seconds = 0.05
    told: asyncio.Queue[str] = asyncio.Queue()
    scopes = "openid", "offline_access", "https://graph.microsoft.com/ChatMessage.Send"
    waiting = login("contoso", place.tenant(), scopes, shared(state_dir=str(folder)), told.put_nowait)
    await asyncio.gather(waiting, person(place, told, action))
    return [told.get_nowait() for _ in range(told.qsize())]


async def test_a_person_signs_in_and_then_the_agent_acts_for_them(place: Place, tmp_path: Path) -> None:
    said = await sign_in(place, tmp_path)
    agent = shared(state_dir=str(tmp_path))
    first = await want(run(agent), place.tenant(), delegated=True)
    second = await want(run(agent), place.tenant(), fresh=True, delegated=True)
    assert any(f"Signed in as {place.world.people[0].upn}." in line for line in said)
    assert "ChatMessage.Send" in first.scopes
    assert first.value != second.value


async def test_a_person_may_decline(place: Place, tmp_path: Path) -> None:
    with pytest.raises(Failed, match="declined"):
        await sign_in(place, tmp_path, "cancel")


async def test_a_sign_in_that_was_revoked_is_dead(place: Place, tmp_path: Path) -> None:
    await sign_in(place, tmp_path)
    account = place.world.of(Directory).accounts[place.world.people[0].upn]
    account.valid_from = place.world.now() + 60
    with pytest.raises(Failed, match="AADSTS50173") as failed:
        await want(run(shared(state_dir=str(tmp_path))), place.tenant(), delegated=True)
    assert failed.value.reason is Reason.GRANT_DEAD


@pytest.mark.parametrize(
    ("effect", "reason"),
    [
        pytest.param(Http((503,)), Reason.IDENTITY_FAULT, id="503"),
        pytest.param(Http((500,)), Reason.IDENTITY_FAULT, id="500"),
        pytest.param(Http((429,), retry_after=30), Reason.THROTTLED, id="429"),
        pytest.param(Latency(0.05), None, id="slow"),
        pytest.param(Drip(20_000), None, id="drip by drip"),
        pytest.param(Tcp("reset"), Reason.CONNECTION_RESET, id="reset"),
        pytest.param(Tls("handshake_fail"), Reason.TLS_HANDSHAKE, id="no handshake"),
        pytest.param(Tls("wrong_name"), Reason.TLS_WRONG_NAME, id="wrong name"),
        pytest.param(Tls("intercepted"), Reason.TLS_UNTRUSTED, id="intercepted"),
        pytest.param(Token(90033), Reason.IDENTITY_FAULT, id="90033"),
        pytest.param(Token(7000222), Reason.CREDENTIAL_EXPIRED, id="7000222"),
        pytest.param(Token(50196), Reason.THROTTLED, id="50196"),
        pytest.param(Token(500021), Reason.TENANT_RESTRICTED, id="500021"),
        pytest.param(Token(65001), Reason.CONSENT, id="65001"),
        pytest.param(Token(53003), Reason.BLOCKED_BY_POLICY, id="53003"),
    ],
)
async def test_faults(place: Place, effect: Http | Latency | Drip | Tcp | Tls | Token, reason: Reason | None) -> None:
    place.world.faults.set(Fault(effect, Where(hosts=frozenset({"login"}))))
    assert await place.reason() == reason
    place.world.faults.set()
    assert await place.reason() is None


async def test_what_an_administrator_can_do_wrong(place: Place) -> None:
    assert await place.reason(by(secret=Secret(inline="wrong"))) is Reason.CREDENTIAL_INVALID
    place.app.secrets[:] = [Known(place.world.secret, place.world.now() - 1)]
    assert await place.reason() is Reason.CREDENTIAL_EXPIRED
    place.app.enabled = False
    assert await place.reason() is Reason.APP_CONFIG
    del place.world.of(Directory).apps[place.world.app_id]
    assert await place.reason() is Reason.APP_CONFIG


async def test_a_clock_ten_minutes_off_is_named(tmp_path: Path) -> None:
    async with ahead(tmp_path) as place:
        place.app.certificates.append(x509.load_pem_x509_certificate(certificate().encode()))
        ctx = run(shared())
        with pytest.raises(Failed, match="clock") as failed:
            await want(ctx, place.tenant(by(certificate=Secret(inline=certificate()))))
    assert failed.value.reason is Reason.CREDENTIAL_EXPIRED
    assert "clock_skew" in ctx.evidence_found


@asynccontextmanager
async def ahead(folder: Path) -> AsyncIterator[Place]:
    """Serve a tenant whose clock is twenty minutes ahead: our assertions, good for ten, are over there."""
    async with entra(folder) as (world, authority):
        real = world.now
        world.now = lambda: real() + 1200
        yield Place(world, authority)


async def test_a_loop_of_requests_is_throttling_of_our_own(place: Place) -> None:
    place.world.of(Directory).settings.loop_requests = 2
    reasons = [await place.reason() for _ in range(3)]
    assert reasons[-1] is Reason.THROTTLED
    with pytest.raises(Inconclusive):
        await want(run(shared()), place.tenant())
