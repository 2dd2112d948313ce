"""Mail through an HTTP proxy (CONNECT): sent and read all the same, and what the proxy says is told as its own word."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from probes.core.context import Context, Shared
from probes.core.contract import Failed, Stopped
from probes.core.reasons import Reason
from probes.lib.mail import imap, pop, smtp
from tests.fakes import hostile
from tests.fakes import smtp as fake_smtp
from tests.fakes.certificates import ca_file
from tests.fakes.imap import Box, ImapServer
from tests.fakes.pop import PopServer
from tests.lib.mail.submitting import SENDER, letter
from tests.probes.pages import lookup, read

LOGIN: dict[str, Any] = {"password": {"env": "pass-word"}, "tls": {"ca_file": ca_file()}}
Use = Callable[[Context, dict[str, Any]], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def submitting(ctx: Context, more: dict[str, Any]) -> AsyncIterator[None]:
    async with fake_smtp.server() as server:
        at = {"via": "smtp", "host": server.host, "port": server.port, "from": SENDER}
        await smtp.outbox(smtp.SmtpSend.model_validate({**at, **LOGIN, **more})).submit(ctx, letter())
        assert len(server.messages) == 1
        yield


@asynccontextmanager
async def by_imap(ctx: Context, more: dict[str, Any]) -> AsyncIterator[None]:
    server = ImapServer({"INBOX": Box()})
    async with server.running() as (host, port):
        box = imap.mailbox(imap.ImapReceive.model_validate({"via": "imap", "host": host, "port": port, "username": "me", **LOGIN, **more}))
        await box.open(ctx)
        await box.close()
        yield


@asynccontextmanager
async def by_pop(ctx: Context, more: dict[str, Any]) -> AsyncIterator[None]:
    async with PopServer().running() as (host, port):
        await pop.mailbox(
            pop.PopReceive.model_validate({"via": "pop3", "host": host, "port": port, "username": "me", **LOGIN, **more})
        ).open(ctx)
        yield


def context() -> Context:
    return Context("p", Shared(lookup, read))


on_every_way = pytest.mark.parametrize("use", [submitting, by_imap, by_pop], ids=["SMTP", "IMAP", "POP3"])


@on_every_way
@pytest.mark.parametrize("login", ["", "probe:s3cret"], ids=["open to all", "with a login"])
async def test_mail_goes_through_a_proxy(use: Use, login: str) -> None:
    ctx = context()
    async with hostile.proxy(login) as (host, port):
        said: dict[str, Any] = {"url": f"http://{host}:{port}"} | ({"username": "probe", "password": {"env": "s3cret"}} if login else {})
        with ctx.step("sign_in"):
            async with use(ctx, {"proxy": said if login else said["url"]}):
                pass
    assert ctx.evidence_found["proxy"] == f"{host}:{port}"
    assert ctx.evidence_found["proxy_status"] == "200"
    assert "proxy" in dict(ctx.steps[0].phases)


@on_every_way
@pytest.mark.parametrize(
    ("proxy", "reason", "code"),
    [
        pytest.param(hostile.proxy_refuses, Reason.PROXY_REFUSED, "403", id="lets nobody out to this port"),
        pytest.param(lambda: hostile.proxy("a:b"), Reason.PROXY_AUTH, "407", id="asks for a login"),
        pytest.param(hostile.proxy_breaks_off, Reason.PROXY_UNREACHABLE, "", id="breaks off"),
        pytest.param(hostile.garbage, Reason.PROXY_UNREACHABLE, "", id="speaks something else"),
        pytest.param(hostile.refuses, Reason.PROXY_UNREACHABLE, "", id="is not there"),
    ],
)
async def test_what_the_proxy_says_is_its_own_word(use: Use, proxy: Callable[[], hostile.Server], reason: Reason, code: str) -> None:
    ctx = context()
    async with proxy() as (host, port):
        with pytest.raises(Failed) as caught, ctx.step("sign_in"):
            async with use(ctx, {"proxy": f"http://{host}:{port}"}):
                pass
    assert (caught.value.reason, caught.value.code) == (reason, code)


async def test_a_greeting_that_comes_with_the_proxys_answer_is_not_lost() -> None:
    async def talk(reader: Any, writer: Any) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 200 OK\r\nVia: them\r\n\r\n-ERR [IN-USE] too many sessions\r\n")

    ctx = context()
    async with hostile.serving(talk) as (host, port):
        settings = {"via": "pop3", "host": "127.0.0.1", "username": "me", "security": "none", "proxy": f"http://{host}:{port}", **LOGIN}
        with pytest.raises(Stopped, match="too many sessions"), ctx.step("sign_in"):
            await pop.mailbox(pop.PopReceive.model_validate(settings)).open(ctx)
