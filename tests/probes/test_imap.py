"""The imap kind against servers whose habits the tests choose."""

from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import ValidationError

from agent.job import Job
from agent.runner import run_once
from probes.core.context import Shared
from probes.core.contract import Outcome, Run
from probes.core.needs import Api
from probes.core.reasons import Reason
from probes.imap import PROBE, ImapCheck
from tests.fakes import hostile
from tests.fakes.certificates import Flaw, ca_file
from tests.fakes.identity import given, identity
from tests.fakes.imap import EXCHANGE, Box, ImapServer
from tests.fakes.scripted import plays
from tests.probes.pages import lookup, read
from tests.probes.tenants import among, fake

NOT_CONNECTED = "BAD User is authenticated but not connected."
TRUST = {"ca_file": ca_file()}
PASSWORD: dict[str, Any] = {"username": "b@contoso.example", "password": {"env": "pass-word"}}
TOKEN: dict[str, Any] = {"username": "b@contoso.example", "oauth": True}


async def check(server: hostile.Server, shared: Shared | None = None, deadline: float = 5.0, **settings: Any) -> Run:
    """Run the kind against this server."""
    async with server as (host, port):
        checked = ImapCheck.model_validate({"host": host, "port": port, "tls": TRUST, **settings})
        job = Job("one", "imap", PROBE, checked, 60.0, deadline, PROBE.place(checked), tenant="contoso" if checked.oauth else "")
        return await run_once(job, shared or Shared(lookup, read))


def server(**habits: Any) -> ImapServer:
    box = Box()
    box.put(b"Subject: one\r\n\r\n")
    return ImapServer({"INBOX": box}, **habits)


def steps(run: Run) -> list[str]:
    return [step.name for step in run.steps]


def measured(run: Run) -> Mapping[tuple[str, ...], float]:
    return {(sample.name, *sample.labels): sample.value for sample in run.measured}


def told(run: Run) -> tuple[Reason | None, str]:
    return run.reason, run.failed_step


async def test_without_a_login_the_door_is_looked_at() -> None:
    served = server()
    run = await check(served.running(), mechanisms=["xoauth2"], capabilities=["IDLE", "LITERAL+"])
    assert (run.outcome, run.message) == (Outcome.OK, "")
    assert steps(run) == ["connect", "tls", "greeting", "capabilities"]
    assert dict(run.evidence)["mechanisms"] == "PLAIN, XOAUTH2, LOGIN"
    assert "SASL-IR" in dict(run.evidence)["capabilities"]
    assert [line.partition(" ")[2] for line in served.heard] == ["CAPABILITY", "LOGOUT"]
    assert [measured(run)["mechanism_offered", name] for name in ("PLAIN", "LOGIN", "XOAUTH2")] == [1, 1, 1]


async def test_with_a_password_the_mailbox_is_opened() -> None:
    run = await check(server().running(), **PASSWORD, capabilities=["ENABLE"])
    assert (run.outcome, run.message) == (Outcome.OK, "")
    assert steps(run) == ["connect", "tls", "greeting", "capabilities", "login", "select"]
    assert measured(run)["messages",] == 1
    assert "CLIENTACCESSRULES" in dict(run.evidence)["capabilities"], "what is offered is asked for again after the login"


async def test_with_a_token_the_mailbox_is_opened() -> None:
    async with identity(lambda _: given(claims={"roles": ["IMAP.AccessAsApp"]})) as login:
        run = await check(server().running(), among(fake(login.host)), **TOKEN)
    assert (run.outcome, run.message) == (Outcome.OK, "")
    assert measured(run)["messages",] == 1


async def test_starttls_is_agreed_on_after_the_greeting() -> None:
    heard: list[str] = []
    script = """
        S: * OK [CAPABILITY IMAP4rev1 STARTTLS] Dovecot ready.
        C: c1 CAPABILITY
        S: * CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED
        S: c1 OK Pre-login capabilities listed, post-login capabilities have more.
        C: s1 STARTTLS
        S: s1 OK Begin TLS negotiation now.
        TLS
        C: f1 CAPABILITY
        S: * CAPABILITY IMAP4rev1 AUTH=PLAIN
        S: f1 OK done
        C: z1 LOGOUT
    """
    run = await check(plays(script, heard=heard), security="starttls")
    assert (run.outcome, run.message) == (Outcome.OK, "")
    assert steps(run) == ["connect", "greeting", "tls", "capabilities"]
    assert heard[-1] == "z1 LOGOUT"


@pytest.mark.parametrize(
    ("habits", "settings", "reason", "step"),
    [
        pytest.param({}, {"mechanisms": ["GSSAPI"]}, Reason.CONTENT_MISMATCH, "capabilities", id="no such mechanism"),
        pytest.param({}, {"capabilities": ["CONDSTORE"]}, Reason.CONTENT_MISMATCH, "capabilities", id="no such capability"),
        pytest.param({}, PASSWORD | {"capabilities": ["CONDSTORE"]}, Reason.CONTENT_MISMATCH, "login", id="none after the login, too"),
        pytest.param({}, PASSWORD | {"folder": "Elsewhere"}, Reason.NOT_FOUND, "select", id="no such folder"),
        pytest.param(
            {"refuses": {"AUTHENTICATE": "NO [AUTHENTICATIONFAILED] no"}}, PASSWORD, Reason.CREDENTIAL_INVALID, "login", id="wrong password"
        ),
        pytest.param(
            {"refuses": {"SELECT": NOT_CONNECTED}},
            PASSWORD,
            Reason.PERMISSION,
            "select",
            id="not connected",
        ),
        pytest.param(
            {"before": "IMAP4rev1 AUTH=XOAUTH2 LOGINDISABLED"}, PASSWORD, Reason.BLOCKED_BY_POLICY, "login", id="no passwords are taken"
        ),
        pytest.param({"refuses": {"CAPABILITY": "HANG UP"}}, {}, Reason.CONNECTION_RESET, "capabilities", id="hangs up"),
    ],
)
async def test_what_can_be_wrong(habits: dict[str, Any], settings: dict[str, Any], reason: Reason, step: str) -> None:
    run = await check(server(**habits).running(), **settings)
    assert told(run) == (reason, step)
    assert "pass-word" not in str(run)


@pytest.mark.parametrize(
    ("script", "settings", "reason", "step"),
    [
        pytest.param("S: * BYE overloaded", {"security": "none"}, Reason.CONNECTION_RESET, "greeting", id="good-bye"),
        pytest.param("S: 220 smtp", {"security": "none"}, Reason.PROTOCOL_ERROR, "greeting", id="another protocol"),
        pytest.param(
            "S: * OK hi\nC: c1 CAPABILITY\nS: * CAPABILITY IMAP4rev1\nS: c1 OK done",
            {"security": "starttls"},
            Reason.CONTENT_MISMATCH,
            "greeting",
            id="no STARTTLS",
        ),
    ],
)
async def test_what_a_greeting_can_be(script: str, settings: dict[str, Any], reason: Reason, step: str) -> None:
    assert told(await check(plays(script), **settings)) == (reason, step)


async def test_a_certificate_that_has_expired() -> None:
    run = await check(plays("S: * OK hi", tls=True, flaw=Flaw.EXPIRED))
    assert told(run) == (Reason.TLS_EXPIRED, "tls")


async def test_a_server_that_keeps_silent() -> None:
    run = await check(hostile.says_nothing(), deadline=0.2, security="none")
    assert told(run) == (Reason.TIMEOUT, "greeting")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        pytest.param({"username": "me"}, "exactly one of password and oauth", id="no proof"),
        pytest.param({"oauth": True}, "username is needed", id="nobody"),
        pytest.param({"username": "me", "oauth": True, "security": "none"}, "in the clear", id="in the clear"),
        pytest.param({"host": "127.0.0.1", "family": "ipv6"}, "family: ipv6 excludes", id="another family"),
        pytest.param({"capabilities": ["a b"]}, "capabilities", id="no word"),
    ],
)
def test_settings_that_contradict_each_other(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        ImapCheck.model_validate({"host": "mail.example.org", **settings})


def test_only_a_token_needs_a_tenant_and_a_permission() -> None:
    door, mailbox = ImapCheck(host="h"), ImapCheck(host="h", username="me@x.example", oauth=True)
    assert (PROBE.tenant(door), PROBE.permissions(door)) == (False, ())
    assert PROBE.tenant(mailbox)
    assert [(need.name, need.api, need.targets) for need in PROBE.permissions(mailbox)] == [
        ("IMAP.AccessAsApp", Api.EXCHANGE, ("me@x.example",))
    ]


@pytest.mark.parametrize(("security", "port"), [("tls", 993), ("starttls", 143), ("none", 143)])
def test_the_usual_port(security: str, port: int) -> None:
    assert ImapCheck.model_validate({"host": "h", "security": security}).at == port


def test_the_fake_offers_what_exchange_online_does() -> None:
    assert {"AUTH=XOAUTH2", "SASL-IR", "UIDPLUS", "IDLE"} <= set(EXCHANGE.split())
