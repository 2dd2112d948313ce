"""Logging in by SMTP: by what is offered, with a password and with a token of the tenant, and what a refusal means."""

import asyncio
import base64
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from probes.core.context import Shared
from probes.core.contract import Failed
from probes.core.reasons import Reason
from probes.lib.mail.access import Admitted
from probes.lib.tenant import Tenants
from probes.lib.tokens import Tokens
from tests.fakes import hostile, smtp
from tests.fakes.certificates import server_context
from tests.fakes.identity import Identity, given, identity
from tests.lib.mail.submitting import PASSWORD, SENDER, letter, new_context, sending, submit
from tests.lib.signing_in import inline, tenant
from tests.probes.pages import lookup


@pytest.mark.parametrize(
    ("settings", "answers", "said"),
    [
        pytest.param({"password": PASSWORD}, {}, "AUTH PLAIN", id="PLAIN first"),
        pytest.param({"password": PASSWORD}, {"EHLO under TLS": "250-x\n250 AUTH LOGIN XOAUTH2"}, "AUTH LOGIN", id="LOGIN without PLAIN"),
        pytest.param({"password": PASSWORD}, {"EHLO under TLS": "250-x\n250 AUTH=LOGIN"}, "AUTH LOGIN", id="as old servers write it"),
        pytest.param({"password": PASSWORD}, {"EHLO under TLS": "250-x\n250 auth login"}, "AUTH LOGIN", id="in small letters"),
        pytest.param({}, {}, None, id="none"),
    ],
)
async def test_the_login_is_by_what_is_offered(settings: dict[str, Any], answers: dict[str, str], said: str | None) -> None:
    async with smtp.server(answers) as mail:
        await submit(sending(mail, **settings), letter())
    logins = [line[:10] for line in mail.heard if line.startswith("AUTH")]
    assert logins == ([said] if said else [])
    if said == "AUTH LOGIN":
        first = mail.heard.index(said) + 1
        assert [base64.b64decode(line).decode() for line in mail.heard[first : first + 2]] == [SENDER, "correct horse"]


# With a token


@asynccontextmanager
async def contoso(among: Shared, claims: Mapping[str, object] | None = None) -> AsyncIterator[Identity]:
    """Put a tenant into what runs share, whose tokens say these claims."""
    async with identity(lambda _: given(claims=claims or {"roles": ["SMTP.SendAsApp"]})) as served:
        among.part(Tenants).put({"contoso": tenant(served.host)})
        yield served


async def test_a_token_logs_in_by_xoauth2() -> None:
    among = Shared(lookup, inline)
    async with contoso(among), smtp.server() as mail:
        await submit(sending(mail, oauth=True), letter(), new_context(among))
    said = mail.heard[mail.heard.index("AUTH XOAUTH2") + 1]
    assert re.fullmatch(rf"user={SENDER}\x01auth=Bearer [\w.-]+\x01\x01", base64.b64decode(said).decode())


XOAUTH2_REFUSED = {"login": "334 " + base64.b64encode(b'{"status":"400","schemes":"Bearer"}').decode(), "login refused": "535 5.7.3 No"}


@pytest.mark.parametrize(
    ("claims", "before", "reason", "named"),
    [
        pytest.param({"roles": ["SMTP.SendAsApp"]}, True, Reason.TOKEN_REJECTED, "Add-MailboxPermission", id="it was let in before"),
        pytest.param({"roles": ["SMTP.SendAsApp"]}, False, Reason.PERMISSION, "Add-MailboxPermission", id="it was never let in"),
        pytest.param({"scp": "SMTP.Send"}, False, Reason.PERMISSION, "Add-MailboxPermission", id="it is a person's"),
        pytest.param({"roles": ["Mail.Send"]}, True, Reason.PERMISSION, "SMTP.SendAsApp", id="the token lacks the permission"),
    ],
)
@pytest.mark.parametrize("answers", [XOAUTH2_REFUSED, {"login": "535 5.7.3 Authentication unsuccessful"}], ids=["challenge", "at once"])
async def test_a_refused_token_is_ours_until_it_was_once_let_in(
    answers: dict[str, str], claims: Mapping[str, object], reason: Reason, named: str, *, before: bool
) -> None:
    among = Shared(lookup, inline)
    ctx = new_context(among)
    async with contoso(among, claims), smtp.server(answers) as mail:
        among.part(Admitted).update({(mail.host, SENDER)} if before else ())
        with pytest.raises(Failed) as caught:
            await submit(sending(mail, oauth=True), letter(), ctx)
    assert (caught.value.reason, caught.value.code) == (reason, "535 5.7.3")
    assert {word in caught.value.message for word in ("token", SENDER, named)} == {True}
    assert ctx.evidence_found.get("complaint") == ("status 400, schemes Bearer" if answers is XOAUTH2_REFUSED else None)


async def test_a_refused_token_that_is_not_young_is_not_used_again() -> None:
    among, now = Shared(lookup, inline), [0.0]
    among.parts[Tokens] = Tokens(clock=lambda: now[0])
    async with contoso(among) as login, smtp.server({"login": "535 5.7.3 No"}) as mail:
        for asked in (1, 1, 1, 2):
            with pytest.raises(Failed):
                await submit(sending(mail, oauth=True), letter(), new_context(among))
            assert len(login.asked) == asked
            now[0] += 200


async def test_a_login_that_works_is_remembered() -> None:
    among = Shared(lookup, inline)
    async with contoso(among), smtp.server() as mail:
        await submit(sending(mail, oauth=True), letter(), new_context(among))
    assert among.part(Admitted) == {("127.0.0.1", SENDER)}


@pytest.mark.parametrize("settings", [{"oauth": True}, {"password": PASSWORD}], ids=["token", "password"])
async def test_a_server_that_repeats_our_secret_does_not_get_it_shown(settings: dict[str, Any]) -> None:
    among = Shared(lookup, inline)
    ctx, sent = new_context(among), ""

    def echo(said: bytes) -> bytes:
        nonlocal sent
        sent = said.split()[-1].decode()
        return b"535 5.7.8 you said " + said

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 x\r\n")
        await reader.readline()
        writer.write(b"250-x\r\n250 AUTH PLAIN XOAUTH2\r\n")
        said = await reader.readline()
        if b"XOAUTH2" in said:
            writer.write(b"334 \r\n")
            said = await reader.readline()
        writer.write(echo(said))
        await reader.read()

    async with contoso(among), hostile.serving(talk, server_context()) as (host, port):
        with pytest.raises(Failed) as caught:
            await submit(sending(smtp.Mail(host, port), security="tls", **settings), letter(), ctx)
    decoded = base64.b64decode(sent).decode()
    secret = decoded.rpartition("Bearer ")[2].rstrip("\x01") if "Bearer" in decoded else decoded.rpartition("\0")[2]
    shown = caught.value.message + repr(ctx.evidence_found)
    assert [form for form in (sent, secret, base64.b64encode(secret.encode()).decode()) if form in shown] == []
    assert "you said" in shown
