"""How one gets in: NTLM, Basic and OAuth, through a proxy, with an authority of one's own; and what is said of settings."""

import hashlib
import ssl
from base64 import b64encode
from pathlib import Path

import pytest
from aiohttp import web
from pydantic import ValidationError

from agent.drill.entra.directory import EXCHANGE
from probes.core.contract import Failed, Secret
from probes.core.needs import Api, Scope
from probes.core.reasons import Reason
from probes.lib.mail.ews import ends
from probes.lib.mail.ews.desk import EwsDesk
from probes.lib.mail.ews.settings import EwsReceive, EwsSend, permissions
from probes.lib.mail.letter import Template, new_letter
from probes.lib.tls import Trust
from tests.fakes import hostile
from tests.fakes.certificates import key_pair
from tests.fakes.exchange import RECIPIENT, SENDER, NtlmServer, always, answering, inbox, run, simulated, workers
from tests.lib.mail.ews.test_meaning import PASSWORD, basic
from tests.lib.signing_in import shared


@pytest.fixture
def users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let spnego's server know one user."""
    file = tmp_path / "users"
    file.write_text(f"CONTOSO:probe:{PASSWORD}\n", encoding="utf-8")
    monkeypatch.setenv("NTLM_USER_FILE", str(file))


def server_binding() -> bytes:
    """Return what binds a login to the certificate of the tests' servers."""
    pem = Path(key_pair().certificate).read_text(encoding="ascii").split("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----\n"
    return b"tls-server-end-point:" + hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).digest()


def ntlm(url: str, password: str = PASSWORD) -> EwsReceive:
    return basic(url, login="ntlm", username="CONTOSO\\probe", password=Secret(inline=password))


async def look(settings: EwsReceive) -> int:
    async with workers(among := shared()):
        return await EwsDesk(settings).open(run(among, tenant=""))


@pytest.mark.usefixtures("users")
@pytest.mark.parametrize("bound", [False, True], ids=["free", "bound to the certificate"])
async def test_ntlm_logs_in_on_the_connection_that_it_uses(*, bound: bool) -> None:
    server = NtlmServer(inbox(3), server_binding() if bound else b"")
    async with answering(server.respond) as url:
        assert await look(ntlm(url)) == 3
    assert len(server.connections) == 1
    assert [bool(body) for body in server.bodies] == [False, True]


@pytest.mark.usefixtures("users")
async def test_a_wrong_password_is_refused_once_and_named_so() -> None:
    server = NtlmServer(inbox())
    async with answering(server.respond) as url:
        with pytest.raises(Failed) as failed:
            await look(ntlm(url, "wrong"))
    assert (failed.value.reason, failed.value.code) == (Reason.CREDENTIAL_INVALID, "401")
    assert len(server.bodies) == 2


@pytest.mark.usefixtures("users")
async def test_a_login_that_is_bound_to_another_certificate_is_refused() -> None:
    server = NtlmServer(inbox(), b"tls-server-end-point:" + bytes(32))
    async with answering(server.respond) as url:
        with pytest.raises(Failed) as failed:
            await look(ntlm(url))
    assert failed.value.reason is Reason.CREDENTIAL_INVALID


async def test_a_server_without_ntlm_says_what_it_takes() -> None:
    async with answering(always(status=401, WWW_Authenticate='Basic realm="mail"')) as url:
        with pytest.raises(Failed, match="Basic") as failed:
            await look(ntlm(url))
    assert failed.value.reason is Reason.CREDENTIAL_INVALID


async def test_a_challenge_that_is_none_is_the_servers_fault() -> None:
    async with answering(always(status=401, WWW_Authenticate="NTLM AAAA")) as url:
        with pytest.raises(Failed) as failed:
            await look(ntlm(url))
    assert failed.value.reason is Reason.PROTOCOL_ERROR


async def test_basic_shows_name_and_password() -> None:
    seen: list[str] = []

    async def respond(request: web.BaseRequest) -> web.Response:
        seen.append(request.headers["Authorization"])
        return web.Response(text=inbox(), content_type="text/xml")

    async with answering(respond) as url:
        await look(basic(url))
    assert seen == ["Basic " + b64encode(f"probe:{PASSWORD}".encode()).decode()]


async def test_a_token_is_asked_for_the_host_that_is_called(tmp_path: Path) -> None:
    async with simulated(tmp_path) as exchange:
        ctx = exchange.run()
        await ends.EwsMailbox(EwsReceive(via="ews", mailbox=RECIPIENT), RECIPIENT).open(ctx)
        assert "full_access_as_app" in ctx.evidence_found["token_roles"]
        assert exchange.heard.headers[-1]["authorization"].startswith("Bearer ")
        assert EXCHANGE.host == "exchange"


async def test_one_token_serves_many_calls(tmp_path: Path) -> None:
    async with simulated(tmp_path) as exchange:
        for address in (RECIPIENT, "probe1@contoso.example"):
            for _ in range(5):
                await ends.EwsMailbox(EwsReceive(via="ews", mailbox=address), address).open(exchange.run())
        assert exchange.heard.tokens == 1


async def test_a_proxy_is_gone_through() -> None:
    async with answering(always(inbox(3))) as url, hostile.proxy() as (host, port), workers(among := shared()):
        ctx = run(among, tenant="")
        assert await EwsDesk(basic(url, proxy=f"http://{host}:{port}")).open(ctx) == 3
        assert ctx.evidence_found["proxy"] == f"{host}:{port}"
        assert "proxy" in ctx.open_steps[-1].phases


async def test_an_authority_that_is_not_ours_is_not_trusted() -> None:
    async with answering(always(inbox())) as url:
        with pytest.raises(Failed) as failed:
            await look(basic(url, tls=Trust()))
    assert failed.value.reason is Reason.TLS_UNTRUSTED


async def test_phases_are_those_of_every_probe(tmp_path: Path) -> None:
    async with simulated(tmp_path) as exchange:
        box = EwsDesk(EwsReceive(via="ews", mailbox=RECIPIENT))
        await box.open(exchange.run())
        await box.open(ctx := exchange.run())
        assert list(ctx.open_steps[-1].phases) == ["resolve", "connect", "tls", "processing", "transfer"]


def test_the_application_needs_a_right_to_that_mailbox_alone() -> None:
    (permission,) = permissions(EwsReceive(via="ews", mailbox=RECIPIENT), RECIPIENT)
    assert (permission.name, permission.api, permission.scope) == ("full_access_as_app", Api.EXCHANGE, Scope.MAILBOXES)
    assert permission.targets == (RECIPIENT,)
    assert permissions(basic("https://mail.example.com/EWS/Exchange.asmx"), RECIPIENT) == ()


def test_a_password_does_not_go_over_plain_http() -> None:
    with pytest.raises(ValidationError, match="must begin with https"):
        basic("http://mail.example.com/EWS/Exchange.asmx")


async def test_a_letter_that_a_broken_login_kept_back_is_not_uncertain() -> None:
    async with answering(always(status=401, WWW_Authenticate="NTLM AAAA")) as url, workers(among := shared()):
        sending = EwsSend.model_validate({**ntlm(url).model_dump(exclude={"mailbox"}), "from": SENDER})
        with pytest.raises(Failed) as failed:
            await ends.outbox(sending).submit(run(among, tenant=""), new_letter("mail", SENDER, RECIPIENT, Template()))
        assert type(failed.value) is Failed
