"""The smtp kind against servers that offer what Exchange Online does, and against those that do not."""

from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import ValidationError

from probes.core.contract import Outcome, Run
from probes.core.reasons import Reason
from probes.smtp import PROBE, SmtpCheck
from tests.fakes import hostile, nameserver, smtp
from tests.fakes.certificates import Flaw, ca_file
from tests.fakes.mail_scripts import SMTP_EXCHANGE_ONLINE, SMTP_GREETING
from tests.fakes.scripted import plays
from tests.probes.once import once

TRUST = {"ca_file": ca_file()}
ENVELOPE = {"from": "probe@example.org", "to": "probe1@contoso.example"}


async def run(answers: Mapping[str, str] | None = None, *, flaw: Flaw = Flaw.NONE, **settings: Any) -> tuple[Run, list[str]]:
    """Return the run against a server with these answers, and what the server heard."""
    async with smtp.server(answers, flaw=flaw, tls=settings.get("security") == "tls") as mail:
        found = await once("smtp", host=mail.host, port=mail.port, tls=TRUST, **settings)
    return found, mail.heard


def steps(run_: Run) -> list[str]:
    return [step.name for step in run_.steps]


def measured(run_: Run) -> dict[tuple[str, ...], float]:
    return {(sample.name, *sample.labels): sample.value for sample in run_.measured}


async def test_the_submission_server_of_exchange_online() -> None:
    heard: list[str] = []
    async with plays(SMTP_EXCHANGE_ONLINE, heard=heard) as (host, port):
        found = await once("smtp", host=host, port=port, tls=TRUST, mechanisms=["xoauth2"], extensions=["size", "SMTPUTF8"])
    assert (found.outcome, found.message) == (Outcome.OK, "")
    assert steps(found) == ["connect", "greeting", "tls", "extensions"]
    evidence = dict(found.evidence)
    assert (evidence["greeting"], evidence["mechanisms"]) == (SMTP_GREETING, "LOGIN, XOAUTH2")
    assert "PIPELINING" in evidence["extensions"]
    values = measured(found)
    assert [values["mechanism_offered", name] for name in ("PLAIN", "LOGIN", "XOAUTH2")] == [0, 1, 1]
    assert values["size_limit_bytes",] == 157286400
    assert values["certificate_expiry_timestamp_seconds",] > found.started
    assert heard == ["EHLO [127.0.0.1]", "STARTTLS", "EHLO [127.0.0.1]", "QUIT"]


@pytest.mark.parametrize(
    ("security", "ran", "heard"),
    [
        ("starttls", ["connect", "greeting", "tls", "extensions"], ["EHLO", "STARTTLS", "EHLO", "QUIT"]),
        ("opportunistic", ["connect", "greeting", "tls", "extensions"], ["EHLO", "STARTTLS", "EHLO", "QUIT"]),
        ("tls", ["connect", "tls", "greeting", "extensions"], ["EHLO", "QUIT"]),
        ("none", ["connect", "greeting", "extensions"], ["EHLO", "QUIT"]),
    ],
)
async def test_each_way_to_secure_the_connection_has_its_steps(security: str, ran: list[str], heard: list[str]) -> None:
    found, said = await run(security=security)
    assert (found.message, steps(found), [line.split(" ")[0] for line in said]) == ("", ran, heard)


async def test_the_envelope_is_asked_for_and_taken_back() -> None:
    found, heard = await run({"RSET": "250 2.0.0 Ok"}, envelope=ENVELOPE)
    assert (found.outcome, found.message) == (Outcome.OK, "")
    assert heard[3:] == ["MAIL FROM:<probe@example.org>", "RCPT TO:<probe1@contoso.example>", "RSET", "QUIT"]
    assert dict(found.evidence)["recipient_reply"] == "250 2.1.5 Ok"


@pytest.mark.parametrize(
    ("answers", "settings", "step", "reason", "code"),
    [
        pytest.param({"greeting": "421 4.3.2 not now"}, {}, "greeting", Reason.MAIL_DEFERRED, "421 4.3.2", id="greeting defers"),
        pytest.param({"greeting": "554 5.7.1 not you"}, {}, "greeting", Reason.MAIL_REJECTED, "554 5.7.1", id="greeting rejects"),
        pytest.param({"greeting": smtp.HANGS_UP}, {}, "greeting", Reason.CONNECTION_RESET, "", id="hangs up"),
        pytest.param({"greeting": "hello"}, {}, "greeting", Reason.PROTOCOL_ERROR, "", id="no SMTP"),
        pytest.param({"greeting": smtp.SAYS_NOTHING}, {}, "greeting", Reason.TIMEOUT, "", id="silent"),
        pytest.param({"EHLO": "550 5.7.1 no"}, {}, "greeting", Reason.MAIL_REJECTED, "550 5.7.1", id="EHLO rejected"),
        pytest.param({"EHLO": smtp.EHLO}, {}, "tls", Reason.CONTENT_MISMATCH, "", id="no STARTTLS"),
        pytest.param({"STARTTLS": "454 4.7.0 no"}, {}, "tls", Reason.MAIL_DEFERRED, "454 4.7.0", id="STARTTLS refused"),
        pytest.param({}, {"greeting": "Exchange"}, "extensions", Reason.CONTENT_MISMATCH, "", id="another greeting"),
        pytest.param({}, {"extensions": ["DSN"]}, "extensions", Reason.CONTENT_MISMATCH, "", id="no such extension"),
        pytest.param({}, {"mechanisms": ["NTLM"]}, "extensions", Reason.CONTENT_MISMATCH, "", id="no such login"),
        pytest.param(
            {"RCPT": "451 4.3.2 Temporary server error"},
            {"envelope": ENVELOPE},
            "envelope",
            Reason.MAIL_DEFERRED,
            "451 4.3.2",
            id="451 4.3.2",
        ),
        pytest.param(
            {"RCPT": "451 4.7.500 Server busy"}, {"envelope": ENVELOPE}, "envelope", Reason.MAIL_DEFERRED, "451 4.7.500", id="451 4.7.500"
        ),
        pytest.param({"RCPT": "550 5.1.1 no"}, {"envelope": ENVELOPE}, "envelope", Reason.MAIL_REJECTED, "550 5.1.1", id="no such user"),
        pytest.param({"RCPT": "552 5.2.2 full"}, {"envelope": ENVELOPE}, "envelope", Reason.MAILBOX_FULL, "552 5.2.2", id="mailbox full"),
    ],
)
async def test_what_is_wrong_has_its_step_reason_and_code(
    answers: Mapping[str, str], settings: dict[str, Any], step: str, reason: Reason, code: str
) -> None:
    async with smtp.server(answers) as mail:
        found = await once("smtp", deadline=0.5, host=mail.host, port=mail.port, tls=TRUST, **settings)
    assert (found.outcome, found.failed_step, found.reason, found.code) == (Outcome.FAILED, step, reason, code)


async def test_too_many_connections_of_ours_are_no_outage() -> None:
    found, _ = await run({"greeting": "432 4.3.2 Concurrent connections limit exceeded."})
    assert (found.outcome, found.reason, found.code) == (Outcome.INCONCLUSIVE, Reason.THROTTLED, "432 4.3.2")


@pytest.mark.parametrize(
    ("flaw", "reason"),
    [(Flaw.EXPIRED, Reason.TLS_EXPIRED), (Flaw.WRONG_NAME, Reason.TLS_WRONG_NAME), (Flaw.UNTRUSTED, Reason.TLS_UNTRUSTED)],
)
@pytest.mark.parametrize("security", ["starttls", "tls", "opportunistic"])
async def test_a_bad_certificate_fails_and_is_measured(security: str, flaw: Flaw, reason: Reason) -> None:
    found, _ = await run(flaw=flaw, security=security)
    assert (found.failed_step, found.reason) == ("tls", reason)
    assert (measured(found)["certificate_expiry_timestamp_seconds",] < found.started) == (flaw is Flaw.EXPIRED)


async def test_the_address_is_of_the_family_that_was_asked_for() -> None:
    async with smtp.server() as mail:
        found = await once("smtp", host="localhost", port=mail.port, family="ipv6")
    assert (found.failed_step, dict(found.evidence)["address"]) == ("connect", "::1")


async def test_what_the_kernel_measured_is_told_also_when_the_run_fails() -> None:
    found, _ = await run({"EHLO": "550 5.7.1 no"})
    assert ("kernel_rtt_seconds",) in measured(found)


async def test_nothing_listens() -> None:
    async with hostile.refuses() as (host, port):
        found = await once("smtp", host=host, port=port)
    assert (found.failed_step, found.reason) == ("connect", Reason.CONNECT_REFUSED)


async def test_the_mail_exchanger_of_a_domain_is_looked_up() -> None:
    zone = nameserver.zone("contoso.example. 60 MX 10 localhost.\ncontoso.example. 60 MX 20 other.test.")
    async with smtp.server() as mail, nameserver.name_server(zone) as names:
        found = await once("smtp", mx_of="contoso.example", port=mail.port, resolver=names.udp, tls=TRUST)
    assert (found.outcome, found.message) == (Outcome.OK, "")
    assert dict(found.evidence)["mail_exchanger"] == "localhost"
    assert [name for name, _ in found.steps[0].phases] == ["request", "resolve", "connect"]


async def test_a_domain_that_does_not_exist() -> None:
    async with nameserver.name_server(nameserver.rcode("NXDOMAIN")) as names:
        found = await once("smtp", mx_of="contoso.example", resolver=names.udp)
    assert (found.failed_step, found.reason, found.code) == ("connect", Reason.DNS_NXDOMAIN, "NXDOMAIN")


@pytest.mark.parametrize(
    ("size", "bytes_"), [("SIZE", None), ("SIZE 0", 0.0), ("SIZE many", None), (f"SIZE {'9' * 400}", 99999999999999999999.0)]
)
async def test_the_size_is_measured_where_it_is_told(size: str, bytes_: float | None) -> None:
    found, _ = await run({"EHLO": f"250-x\n250 {size}"}, security="none")
    assert measured(found).get(("size_limit_bytes",)) == bytes_


@pytest.mark.parametrize(
    ("written", "mistake"),
    [
        ({}, "one of host and mx_of"),
        ({"host": "a.test", "mx_of": "b.test"}, "one of host and mx_of"),
        ({"host": "192.0.2.1", "family": "ipv6"}, "excludes the address"),
        ({"host": "a.test", "extensions": ["SIZE 5"]}, "must be one word that a server offers"),
        ({"host": "a.test", "envelope": {"from": "x", "to": "a@b.test"}}, "no mail address"),
    ],
    ids=["nothing", "both", "family", "parameters", "address"],
)
def test_settings_that_cannot_be_meant(written: dict[str, Any], mistake: str) -> None:
    with pytest.raises(ValidationError, match=mistake):
        SmtpCheck.model_validate(written)


@pytest.mark.parametrize(
    ("written", "port"),
    [
        ({"host": "a.test"}, 587),
        ({"host": "a.test", "security": "tls"}, 465),
        ({"host": "a.test", "security": "none"}, 25),
        ({"mx_of": "a.test"}, 25),
        ({"mx_of": "a.test", "security": "tls"}, 465),
        ({"mx_of": "a.test", "port": 2525}, 2525),
    ],
    ids=["submission", "tls", "plain", "exchanger", "exchanger, tls", "given"],
)
def test_ports_are_the_usual_ones(written: dict[str, Any], port: int) -> None:
    assert SmtpCheck.model_validate(written).at == port


def test_it_is_about_mail_transport() -> None:
    place = PROBE.place(SmtpCheck(host="a.test"))
    assert (place.layer, place.workload) == ("mail_transport", "exchange")
