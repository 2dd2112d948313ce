"""What each refusal of EWS is called: by HTTP, by SOAP, by a server of the company and by Exchange Online."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web

from agent.drill.entra.directory import EXCHANGE, Directory
from agent.drill.ews import Policy
from probes.core.codes import known
from probes.core.context import Shared
from probes.core.contract import Failed, Inconclusive, Secret, Stopped
from probes.core.ews_codes import REASONS
from probes.core.reasons import Reason
from probes.lib.mail.ends import SubmissionUncertain
from probes.lib.mail.ews import ends
from probes.lib.mail.ews.desk import EwsDesk
from probes.lib.mail.ews.settings import EwsReceive, EwsSend
from probes.lib.mail.letter import Template, new_letter
from probes.lib.tls import Trust
from tests.fakes import hostile
from tests.fakes.certificates import ca_file, server_context
from tests.fakes.exchange import RECIPIENT, SENDER, Answer, Exchange, always, answering, inbox, refuses, run, simulated, workers
from tests.judges.ews import codes, needs_schemas
from tests.lib.signing_in import shared

PASSWORD = "canary-Password&1"


def basic(url: str, **more: object) -> EwsReceive:
    return EwsReceive.model_validate(
        {
            "via": "ews",
            "mailbox": RECIPIENT,
            "url": url,
            "username": "probe",
            "password": Secret(inline=PASSWORD),
            "login": "basic",
            "tls": Trust(ca_file=ca_file()),
            **more,
        }
    )


@dataclass(slots=True)
class Trial:
    """A server that answers as a test says, and the agent's runs against it, which share one process."""

    url: str
    among: Shared
    answer: Answer

    async def stopped(self, body: str = "", status: int = 200, **headers: str) -> Stopped:
        """Open a mailbox where this is the answer, and say how that ended."""
        self.answer = always(body, status, **headers)
        with pytest.raises(Stopped) as stopped:
            await ends.EwsMailbox(basic(self.url), RECIPIENT).open(run(self.among, tenant=""))
        return stopped.value


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def trial() -> AsyncIterator[Trial]:
    made = Trial("", shared(), always())

    async def respond(request: web.BaseRequest) -> web.StreamResponse:
        return await made.answer(request)

    async with answering(respond) as made.url, workers(made.among):
        yield made


on_one_loop = pytest.mark.asyncio(loop_scope="module")


BUSY = (
    '<m:MessageXml><t:Value xmlns:t="http://schemas.microsoft.com/exchange/services/2006/types" '
    'Name="BackOffMilliseconds">90000</t:Value></m:MessageXml>'
)


@on_one_loop
@pytest.mark.parametrize(
    ("status", "headers", "kind", "reason"),
    [
        (401, {"WWW_Authenticate": "Negotiate, NTLM"}, Failed, Reason.CREDENTIAL_INVALID),
        (403, {}, Failed, Reason.PERMISSION),
        (403, {"Connection": "close"}, Failed, Reason.PERMISSION),
        (404, {}, Failed, Reason.NOT_FOUND),
        (429, {"Retry_After": "90"}, Inconclusive, Reason.THROTTLED),
        (456, {}, Inconclusive, Reason.THROTTLED),
        (302, {"Location": "https://example.com/"}, Failed, Reason.HTTP_REDIRECT),
        (500, {}, Failed, Reason.HTTP_5XX),
        (503, {"Retry_After": "90"}, Failed, Reason.HTTP_5XX),
        (200, {"Content_Type": "text/html"}, Failed, Reason.CONTENT_MISMATCH),
    ],
    ids=str,
)
async def test_a_status_of_a_server_of_the_company(
    trial: Trial, status: int, headers: dict[str, str], kind: type[Stopped], reason: Reason
) -> None:
    stopped = await trial.stopped("", status, **headers)
    assert (type(stopped), stopped.reason, stopped.code) == (kind, reason, str(status))
    assert stopped.retry_after == (90 if "Retry_After" in headers else 0)


@on_one_loop
async def test_a_refused_password_names_what_the_server_takes(trial: Trial) -> None:
    assert "Negotiate, NTLM" in (await trial.stopped("", 401, WWW_Authenticate="Negotiate, NTLM")).message


@on_one_loop
@pytest.mark.parametrize(
    ("code", "detail", "kind", "reason", "patience"),
    [
        ("ErrorServerBusy", BUSY, Inconclusive, Reason.THROTTLED, 90),
        ("ErrorServerBusy", "", Failed, Reason.HTTP_5XX, 0),
        ("ErrorTooManyObjectsOpened", "", Inconclusive, Reason.THROTTLED, 0),
        ("ErrorExceededConnectionCount", "", Inconclusive, Reason.THROTTLED, 0),
        ("ErrorInternalServerTransientError", "", Failed, Reason.HTTP_5XX, 0),
        ("ErrorQuotaExceeded", "", Failed, Reason.MAILBOX_FULL, 0),
        ("ErrorMessageSizeExceeded", "", Failed, Reason.MAIL_REJECTED, 0),
        ("ErrorAccessDenied", "", Failed, Reason.PERMISSION, 0),
        ("ErrorPasswordExpired", "", Failed, Reason.CREDENTIAL_EXPIRED, 0),
        ("ErrorNonExistentMailbox", "", Failed, Reason.APP_CONFIG, 0),
    ],
)
async def test_a_code_of_soap(trial: Trial, code: str, *, detail: str, kind: type[Stopped], reason: Reason, patience: float) -> None:
    stopped = await trial.stopped(refuses(code, detail=detail))
    assert (type(stopped), stopped.reason, stopped.code, stopped.retry_after) == (kind, reason, code, patience)
    assert known(stopped.code) == code


@on_one_loop
async def test_a_code_that_nobody_knows_is_no_label(trial: Trial) -> None:
    stopped = await trial.stopped(refuses("ErrorCalendarDurationIsTooLong"))
    assert (stopped.reason, known(stopped.code)) == (Reason.CONTENT_MISMATCH, "other")


@on_one_loop
async def test_what_a_server_says_of_our_password_is_not_repeated(trial: Trial) -> None:
    assert PASSWORD not in (await trial.stopped(refuses("ErrorAccessDenied", PASSWORD.replace("&", "&amp;")))).message


@needs_schemas
def test_every_code_is_one_of_microsofts() -> None:
    assert REASONS.keys() <= codes()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def online(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Exchange]:
    async with simulated(tmp_path_factory.mktemp("exchange")) as exchange:
        yield exchange


@on_one_loop
@pytest.mark.parametrize("closes", [False, True], ids=["the connection stays", "the connection closes"])
@pytest.mark.parametrize("status", [403, 404, 410])
async def test_ews_that_is_switched_off_is_a_policy_and_says_what_to_do(online: Exchange, status: int, *, closes: bool) -> None:
    policy = online.world.of(Policy)
    policy.enabled, policy.status, policy.closes = False, status, closes
    with pytest.raises(Failed) as failed:
        await ends.EwsMailbox(EwsReceive(via="ews", mailbox=RECIPIENT), RECIPIENT).open(online.run())
    assert (failed.value.reason, failed.value.code) == (Reason.BLOCKED_BY_POLICY, str(status))
    assert all(words in failed.value.message for words in ("October 2026", "April 2027", "via: graph", "EwsAllowedAppIDs"))


async def test_ews_that_is_switched_off_makes_no_storm_of_token_requests(tmp_path: Path) -> None:
    async with simulated(tmp_path) as exchange:
        exchange.world.of(Policy).enabled = False
        for _ in range(20):
            with pytest.raises(Failed):
                await ends.EwsMailbox(EwsReceive(via="ews", mailbox=RECIPIENT), RECIPIENT).open(exchange.run())
        assert exchange.heard.tokens == 1
        assert len(exchange.heard.requests) == 20


async def test_a_tenant_that_is_busy_holds_the_next_run_back(tmp_path: Path) -> None:
    async with simulated(tmp_path) as exchange:
        exchange.world.of(Policy).busy = 90_000
        with pytest.raises(Inconclusive) as busy:
            await ends.EwsMailbox(EwsReceive(via="ews", mailbox=RECIPIENT), RECIPIENT).open(exchange.run())
        assert (busy.value.reason, busy.value.retry_after) == (Reason.THROTTLED, 90)


async def test_a_token_that_was_just_issued_and_is_refused_says_both_that_may_be(tmp_path: Path) -> None:
    async with simulated(tmp_path) as exchange:
        exchange.world.of(Directory).app(exchange.world.app_id).roles[EXCHANGE].clear()
        with pytest.raises(Failed) as failed:
            await ends.EwsMailbox(EwsReceive(via="ews", mailbox=RECIPIENT), RECIPIENT).open(exchange.run())
        assert failed.value.reason is Reason.TOKEN_REJECTED
        assert "just issued" in failed.value.message
        assert "full_access_as_app" in failed.value.message


@pytest.mark.parametrize(
    "server",
    [
        pytest.param(lambda: hostile.resets_after(b"", tls=server_context()), id="reset"),
        pytest.param(lambda: hostile.closes_after(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n<", tls=server_context()), id="half"),
        pytest.param(lambda: hostile.page(b"", b"504 Gateway Timeout", tls=server_context()), id="a gateway's 504"),
        pytest.param(lambda: hostile.page(b"<a/>", headers=b"Content-Type: text/xml\r\n", tls=server_context()), id="strange XML"),
    ],
)
async def test_a_letter_whose_answer_did_not_come_is_uncertain(server: object) -> None:
    assert callable(server)
    async with server() as (host, port), workers(among := shared()):
        with pytest.raises(SubmissionUncertain):
            await submit(f"https://{host}:{port}/EWS/Exchange.asmx", among)


async def test_a_letter_that_was_refused_is_not_uncertain() -> None:
    async with answering(always(status=503)) as url, workers(among := shared()):
        with pytest.raises(Failed) as failed:
            await submit(url, among)
        assert not isinstance(failed.value, SubmissionUncertain)


async def test_a_letter_for_which_there_was_no_connection_is_not_uncertain() -> None:
    async with hostile.refuses() as (host, port), workers(among := shared()):
        with pytest.raises(Failed) as failed:
            await submit(f"https://{host}:{port}/EWS/Exchange.asmx", among)
        assert failed.value.reason is Reason.CONNECT_REFUSED
        assert not isinstance(failed.value, SubmissionUncertain)


async def submit(url: str, among: Shared) -> None:
    sending = EwsSend.model_validate({**basic(url).model_dump(exclude={"mailbox"}), "from": SENDER})
    await ends.outbox(sending).submit(run(among, tenant=""), new_letter("mail", SENDER, RECIPIENT, Template()))


async def test_a_server_that_is_right_is_right() -> None:
    async with answering(always(inbox(3))) as url, workers(among := shared()):
        assert await EwsDesk(basic(url)).open(run(among, tenant="")) == 3
