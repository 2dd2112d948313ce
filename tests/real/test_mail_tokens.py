"""Tokens of the simulated Entra open real servers: XOAUTH2 as Postfix and Dovecot read it."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from agent.drill.entra.keys import Keys
from agent.drill.world import World
from agent.job import Job
from agent.runner import run_once
from probes.core.context import Shared
from probes.core.contract import Run
from probes.lib.tenant import Hosts, Tenant
from probes.mail_roundtrip import PROBE
from tests.probes.tenants import among, simulated
from tests.real.mail.dovecot import PEOPLE
from tests.real.mail.ends import Settings, address, imap, pop3, submission, told
from tests.real.mail.judge import token_judge
from tests.real.mail.pair import Pair, pair

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]

EXCHANGE = "outlook.office365.com"
NEEDED = {"SMTP.SendAsApp", "IMAP.AccessAsApp", "POP.AccessAsApp"}


@dataclass(frozen=True, slots=True)
class Servers:
    """A tenant, and a mail system that takes its tokens for the mailbox of the first of `users`."""

    mail: Pair
    tenant: Tenant
    users: list[str]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def servers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Servers]:
    """Run them, with a judge that verifies tokens."""
    users: list[str] = []
    async with simulated(tmp_path_factory.mktemp("tenant")) as (world, tenant), token_judge(judged(world, users)) as judge:
        hosts = Hosts(login=tenant.where.login, graph=tenant.where.graph, exchange=EXCHANGE)
        with pair(judge) as mail:
            yield Servers(mail, tenant.model_copy(update={"hosts": hosts}), users)


@pytest.fixture
def here(servers: Servers) -> Servers:
    """Let the first of the people be who tokens are for."""
    servers.users[:] = [PEOPLE[0]]
    return servers


def judged(world: World, users: list[str]) -> Callable[[str], str]:
    """Return who says whose a token is: nobody's, unless it was made for Exchange, carries the rights, and `users` has somebody."""

    def owner(token: str) -> str:
        try:
            claims = world.of(Keys).verify(token, {f"https://{EXCHANGE}", "https://outlook.office.com"})
        except ValueError:
            return ""
        return users[0] if users and set(claims["roles"]) >= NEEDED else ""

    return owner


def with_token(settings: Settings) -> Settings:
    """Log in with a token instead."""
    return {name: value for name, value in settings.items() if name != "password"} | {"oauth": True}


async def trip(tenant: Tenant, shared: Shared | None = None, **settings: Any) -> Run:
    checked = PROBE.settings.model_validate(settings)
    job = Job("one", "mail_roundtrip", PROBE, checked, 60.0, 10.0, PROBE.place(checked), tenant="contoso")
    return await run_once(job, shared or among(tenant))


@pytest.mark.parametrize("receive", [imap, pop3])
async def test_a_token_submits_and_receives(here: Servers, receive: Callable[..., Settings]) -> None:
    mail = here.mail
    run = await trip(here.tenant, send=with_token(submission(mail)), receive=with_token(receive(mail, "probe1")))
    log = mail.postfix.log() + mail.dovecot.log()
    assert told(run) == ("ok", "", ""), run
    assert "sasl_method=XOAUTH2" in log
    assert "method=XOAUTH2" in log


async def test_a_token_opens_no_mailbox_of_somebody_else(here: Servers) -> None:
    mail, tenant = here.mail, here.tenant
    reading = await trip(tenant, send=with_token(submission(mail)), receive=with_token(imap(mail, "probe2")))
    sending = await trip(
        tenant, send=with_token(submission(mail, "probe2")), receive=with_token(imap(mail, "probe1")), to=address("probe1")
    )
    assert told(reading) == ("permission", "", "sign_in")
    assert told(sending) == ("permission", "535 5.7.8", "submit")
    assert "Add-MailboxPermission" in reading.message


async def test_a_token_that_opened_the_mailbox_before_and_does_no_more_is_rejected(here: Servers) -> None:
    shared, ends = among(here.tenant), {"send": with_token(submission(here.mail)), "receive": with_token(imap(here.mail, "probe1"))}
    assert told(await trip(here.tenant, shared, **ends)) == ("ok", "", "")
    here.users.clear()
    assert told(await trip(here.tenant, shared, **ends)) == ("token_rejected", "", "sign_in")
