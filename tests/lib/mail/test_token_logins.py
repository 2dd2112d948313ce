"""IMAP and POP3 with a token of the tenant: what is said, and what each refusal means."""

import base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from probes.core.context import Context, Shared
from probes.core.contract import Failed
from probes.core.reasons import Reason
from probes.lib.mail.ends import Mailbox
from probes.lib.mail.imap import ImapReceive
from probes.lib.mail.imap import mailbox as imap_mailbox
from probes.lib.mail.pop import PopReceive
from probes.lib.mail.pop import mailbox as pop_mailbox
from probes.lib.tenant import Tenants
from tests.fakes.certificates import ca_file
from tests.fakes.identity import Identity, given, identity
from tests.fakes.imap import Box, ImapServer
from tests.fakes.pop import PopServer
from tests.lib.signing_in import inline
from tests.probes.pages import lookup
from tests.probes.tenants import fake

USER = "b@contoso.example"
ROLES = {"roles": ["IMAP.AccessAsApp", "POP.AccessAsApp"]}
Server = ImapServer | PopServer
WHO: dict[str, Any] = {"username": USER, "oauth": True, "tls": {"ca_file": ca_file()}}


@dataclass(frozen=True, slots=True)
class Tried:
    """One login: the run, who gave the token, and what stopped it."""

    ctx: Context
    login: Identity
    failed: Failed | None


async def log_in(server: Server, shared: Shared | None = None, **token: Any) -> Tried:
    """Log in at the server with a token that says what `given` makes of `token`, by default with all permissions."""
    async with identity(lambda _: given(**{"claims": ROLES} | token)) as login, server.running() as (host, port):
        ctx = Context("p", shared or Shared(lookup, inline), "contoso")
        ctx.shared.part(Tenants).put({"contoso": fake(login.host)})
        box = _mailbox(server, host, port)
        try:
            with ctx.step("sign_in"):
                await box.open(ctx)
        except Failed as failed:
            return Tried(ctx, login, failed)
        finally:
            await box.close()
    return Tried(ctx, login, None)


def _mailbox(server: Server, host: str, port: int) -> Mailbox:
    at = {"host": host, "port": port, **WHO}
    if isinstance(server, ImapServer):
        return imap_mailbox(ImapReceive.model_validate({"via": "imap", **at}))
    return pop_mailbox(PopReceive.model_validate({"via": "pop3", **at}))


def imap() -> ImapServer:
    return ImapServer({"INBOX": Box()})


async def test_imap_logs_in_with_a_token_for_exchange_in_one_line() -> None:
    server = imap()
    tried = await log_in(server)
    method, response = server.heard[1].split(" ")[2:]
    user, bearer, *rest = base64.b64decode(response).split(b"\x01")
    assert (method, user, bearer.split(b" ")[0], rest) == ("XOAUTH2", b"user=b@contoso.example", b"auth=Bearer", [b"", b""])
    assert [asked.form["scope"] for asked in tried.login.asked] == [f"https://{tried.login.host}/.default"]


async def test_imap_without_sasl_ir_says_the_token_when_asked_to() -> None:
    server = imap()
    server.before = "IMAP4rev1 AUTH=XOAUTH2"
    assert (await log_in(server)).failed is None
    assert server.heard[1] == "f2 AUTHENTICATE XOAUTH2"
    assert base64.b64decode(server.heard[2]).startswith(b"user=b@contoso.example\x01auth=Bearer ")


async def test_pop3_says_the_token_when_asked_to() -> None:
    server = PopServer()
    assert (await log_in(server)).failed is None
    assert server.heard[1] == "AUTH XOAUTH2"
    assert base64.b64decode(server.heard[2]).startswith(b"user=b@contoso.example\x01auth=Bearer ")


REFUSING: dict[str, Callable[[], Server]] = {
    "imap": lambda: ImapServer({"INBOX": Box()}, refuses={"AUTHENTICATE": "NO AUTHENTICATE failed."}),
    "pop3": lambda: PopServer(refuses={"AUTH": "-ERR Authentication failure: unknown user name or bad password."}),
}
WITHOUT: dict[str, Callable[[], Server]] = {
    "imap": lambda: ImapServer({"INBOX": Box()}, before="IMAP4rev1 AUTH=PLAIN"),
    "pop3": lambda: PopServer(offers=("SASL PLAIN", "USER")),
}


@pytest.mark.parametrize(
    ("token", "words"),
    [
        pytest.param({}, "(Add-MailboxPermission) is missing", id="with the permission"),
        pytest.param({"access_token": "opaque"}, "(Add-MailboxPermission) is missing", id="that nobody can read"),
        pytest.param({"claims": {"roles": ["Mail.Send"]}}, "which lacks the application permission", id="without the permission"),
    ],
)
@pytest.mark.parametrize("server", REFUSING.values(), ids=REFUSING)
async def test_a_token_never_taken_here_is_a_matter_of_rights(server: Callable[[], Server], token: dict[str, Any], words: str) -> None:
    tried = await log_in(server(), **token)
    assert tried.failed is not None
    assert tried.failed.reason is Reason.PERMISSION
    assert words in tried.failed.message


@pytest.mark.parametrize("server", REFUSING.values(), ids=REFUSING)
async def test_a_token_that_was_taken_here_before_is_the_servers_fault(server: Callable[[], Server]) -> None:
    served = server()
    refusals, served.refuses = served.refuses, {}
    first = await log_in(served)
    served.refuses = refusals
    second = await log_in(served, shared=first.ctx.shared)
    assert second.failed is not None
    assert second.failed.reason is Reason.TOKEN_REJECTED


@pytest.mark.parametrize("server", REFUSING.values(), ids=REFUSING)
async def test_the_complaint_is_answered_and_evidence(server: Callable[[], Server]) -> None:
    served = server()
    tried = await log_in(served)
    assert "" in served.heard
    assert [text for name, text in tried.ctx.evidence_found.items() if "login_refused" in name and "status 400, schemes bearer" in text]


@pytest.mark.parametrize("server", WITHOUT.values(), ids=WITHOUT)
async def test_a_server_that_takes_no_token_is_not_sent_one(server: Callable[[], Server]) -> None:
    served = server()
    tried = await log_in(served)
    assert tried.failed is not None
    assert tried.failed.reason is Reason.CONTENT_MISMATCH
    assert "PLAIN" in tried.failed.message
    assert not [line for line in served.heard if "AUTH" in line]
