"""Delivery straight to the mail exchanger, and the settings of sending by SMTP."""

from typing import Any

import pytest
from pydantic import ValidationError

from probes.core.context import Context
from probes.core.contract import Failed
from probes.core.reasons import Reason
from probes.lib.mail.smtp import SmtpSend
from tests.fakes import nameserver, smtp
from tests.lib.mail.submitting import PASSWORD, SENDER, TRUST, letter, new_context, submit

# Straight to the mail exchanger


async def delivered(zone: nameserver.Behaviour, **settings: Any) -> Context:
    """Deliver a letter to the mail exchanger of contoso.example as this zone names it, and return the run."""
    ctx = new_context()
    async with smtp.server() as mail, nameserver.name_server(zone) as names:
        direct = {"via": "smtp", "direct": True, "from": "probe@sender.example", "port": mail.port, "resolver": names.udp, "tls": TRUST}
        await submit(SmtpSend.model_validate(direct | settings), letter(), ctx)
    assert len(mail.messages) == 1
    assert not any(line.startswith("AUTH") for line in mail.heard)
    return ctx


@pytest.mark.parametrize(
    ("records", "settings", "exchanger"),
    [
        pytest.param(
            "contoso.example. 60 MX 20 other.test.\ncontoso.example. 60 MX 10 localhost.", {}, "localhost", id="the lowest preference"
        ),
        pytest.param("contoso.example. 60 MX 10 other.test.", {"host": "localhost"}, None, id="a host that was given"),
    ],
)
async def test_a_letter_goes_to_the_mail_exchanger(records: str, settings: dict[str, Any], exchanger: str | None) -> None:
    ctx = await delivered(nameserver.zone(records), **settings)
    assert ctx.evidence_found.get("mail_exchanger") == exchanger
    asked = ["request"] if exchanger else []
    assert [name for name, _ in ctx.steps[0].phases] == [*asked, "resolve", "connect", "greeting", "tls", "envelope", "transfer"]


@pytest.mark.parametrize(
    ("zone", "reason", "code"),
    [
        pytest.param(nameserver.rcode("NXDOMAIN"), Reason.DNS_NXDOMAIN, "NXDOMAIN", id="no such domain"),
        pytest.param(nameserver.rcode("SERVFAIL"), Reason.DNS_SERVFAIL, "SERVFAIL", id="resolver fails"),
        pytest.param(nameserver.zone("contoso.example. 60 MX 0 ."), Reason.MAIL_REJECTED, "556 5.1.10", id="takes no mail"),
        pytest.param(nameserver.zone("contoso.example. 60 MX 0 gone.test."), Reason.DNS_NXDOMAIN, "", id="exchanger does not resolve"),
        pytest.param(nameserver.zone("contoso.example. 60 MX 0 a\\032b.test."), Reason.DNS_MISMATCH, "", id="exchanger with a blank"),
        pytest.param(nameserver.zone("contoso.example. 60 TXT x"), Reason.DNS_NXDOMAIN, "", id="no MX: the domain itself"),
    ],
)
async def test_a_mail_exchanger_that_cannot_be_found_is_named(zone: nameserver.Behaviour, reason: Reason, code: str) -> None:
    with pytest.raises(Failed) as caught:
        await delivered(zone)
    assert (caught.value.reason, caught.value.code) == (reason, code)


# Settings


@pytest.mark.parametrize(
    ("written", "mistake"),
    [
        ({}, "host is needed"),
        ({"host": "x.test", "password": PASSWORD, "oauth": True}, "exclude each other"),
        ({"direct": True, "password": PASSWORD}, "no login"),
        ({"host": "x.test", "username": "u"}, "needs password or oauth"),
        ({"host": "x.test", "password": PASSWORD, "security": "none"}, "in the clear"),
        ({"host": "x.test", "password": PASSWORD, "security": "opportunistic"}, "in the clear"),
        ({"host": "x.test", "from": "nobody"}, "no mail address"),
        ({"host": "x.test", "from": "a@b.test>\r\nRCPT TO:<c@d.test"}, "no mail address"),
    ],
    ids=["no host", "two logins", "direct with login", "user alone", "in the clear", "perhaps in the clear", "no address", "injection"],
)
def test_settings_that_cannot_be_meant(written: dict[str, Any], mistake: str) -> None:
    with pytest.raises(ValidationError, match=mistake):
        SmtpSend.model_validate({"via": "smtp", "from": SENDER, **written})


@pytest.mark.parametrize(
    ("written", "security", "port"),
    [
        ({"host": "x.test"}, "starttls", 587),
        ({"host": "x.test", "security": "tls"}, "tls", 465),
        ({"host": "x.test", "security": "none"}, "none", 25),
        ({"direct": True}, "opportunistic", 25),
        ({"direct": True, "security": "starttls"}, "starttls", 25),
        ({"host": "x.test", "port": 2525}, "starttls", 2525),
    ],
    ids=["submission", "tls", "relay", "direct", "direct with TLS", "own port"],
)
def test_ports_and_security_are_the_usual_ones(written: dict[str, Any], security: str, port: int) -> None:
    settings = SmtpSend.model_validate({"via": "smtp", "from": SENDER, **written})
    assert (settings.secured, settings.at) == (security, port)


def test_a_token_needs_one_permission() -> None:
    settings = SmtpSend.model_validate({"via": "smtp", "from": SENDER, "host": "smtp.office365.com", "oauth": True})
    assert [(need.name, need.api, need.targets) for need in settings.permissions] == [("SMTP.SendAsApp", "exchange", (SENDER,))]
