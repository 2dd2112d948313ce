"""Autodiscover, asked in a step of its own: right, wrong, redirected, strange."""

from pathlib import Path

import pytest
from aiohttp import web
from pydantic import ValidationError

from probes import REGISTRY
from probes.core.contract import Failed
from probes.core.reasons import Reason
from probes.lib.mail.ews.autodiscover import discover
from probes.lib.mail.ews.settings import EwsReceive
from tests.fakes.exchange import RECIPIENT, always, answering, run, simulated
from tests.lib.mail.ews.test_meaning import basic
from tests.lib.signing_in import shared
from tests.probes.once import once


async def test_the_address_of_the_tenant_is_the_one_that_clients_are_told(tmp_path: Path) -> None:
    async with simulated(tmp_path) as exchange:
        await discover(ctx := exchange.run(), EwsReceive(via="ews", mailbox=RECIPIENT), RECIPIENT)
        assert ctx.evidence_found["autodiscover_url"] == exchange.world.url("exchange", "/EWS/Exchange.asmx")
        assert exchange.heard.tokens == 0


async def test_a_mailbox_that_is_unknown_has_none(tmp_path: Path) -> None:
    async with simulated(tmp_path) as exchange:
        with pytest.raises(Failed) as failed:
            await discover(exchange.run(), EwsReceive(via="ews", mailbox=RECIPIENT), "nobody@contoso.example")
        assert (failed.value.reason, failed.value.code) == (Reason.HTTP_4XX, "404")


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        ('{"Protocol": "EWS", "Url": "https://elsewhere.example/EWS/Exchange.asmx"}', 200, Reason.CONTENT_MISMATCH),
        ('{"Protocol": "EWS", "Url": 7}', 200, Reason.CONTENT_MISMATCH),
        ("[" * 60_000, 200, Reason.CONTENT_MISMATCH),
        ("<html>", 200, Reason.CONTENT_MISMATCH),
        ("x" * 70_000, 200, Reason.CONTENT_MISMATCH),
        ("", 302, Reason.HTTP_REDIRECT),
        ("", 503, Reason.HTTP_5XX),
    ],
    ids=["another address", "no address", "depth", "a page", "too long", "a redirect", "no service"],
)
async def test_what_else_may_be_said(body: str, status: int, reason: Reason) -> None:
    async with answering(always(body, status)) as url:
        with pytest.raises(Failed) as failed:
            await discover(run(shared(), tenant=""), basic(url), RECIPIENT)
        assert failed.value.reason is reason


async def test_no_password_goes_to_autodiscover() -> None:
    seen: list[str] = []

    async def respond(request: web.BaseRequest) -> web.Response:
        seen.append(f"{request.path_qs} {'Authorization' in request.headers}")
        return web.json_response({"Url": f"https://{request.host}/ews/exchange.asmx"})

    async with answering(respond) as url:
        await discover(run(shared(), tenant=""), basic(url), RECIPIENT)
    assert seen == [f"/autodiscover/autodiscover.json?Email={RECIPIENT.replace('@', '%40')}&Protocol=EWS&RedirectCount=1 False"]


async def test_a_mailbox_probe_asks_first_and_in_a_step_of_its_own(tmp_path: Path) -> None:
    async with simulated(tmp_path) as exchange:
        account = {"via": "ews", "mailbox": RECIPIENT}
        ended = await once("mailbox", deadline=20.0, shared=exchange.shared, tenant="contoso", account=account, parts=["autodiscover"])
        assert (ended.message, [step.name for step in ended.steps]) == ("", ["autodiscover", "sign_in", "open"])


def test_autodiscover_is_not_for_graph() -> None:
    with pytest.raises(ValidationError, match="part of mailboxes via ews"):
        REGISTRY["mailbox"].settings.model_validate({"account": {"via": "graph", "mailbox": RECIPIENT}, "parts": ["autodiscover"]})
