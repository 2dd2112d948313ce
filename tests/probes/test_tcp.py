"""The tcp kind against servers that speak as Exchange Online does, and against those that do not."""

import asyncio
import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import uvloop
from pydantic import ValidationError

from agent.job import Job
from agent.runner import run_once
from probes.core.context import Shared
from probes.core.contract import Layer, Outcome, Place, Run, Secret, Workload
from probes.core.reasons import Reason
from probes.lib.dialogue import Protocol
from probes.tcp import PROBE, TcpCheck
from tests.fakes import hostile
from tests.fakes.certificates import Flaw, ca_file
from tests.fakes.mail_scripts import (
    EHLO,
    IMAP_EXCHANGE_ONLINE,
    IMAP_GREETING_2023,
    IMAP_GREETING_2026,
    POP_EXCHANGE_ONLINE,
    POP_GREETING,
    SMTP_EXCHANGE_ONLINE,
    SMTP_GREETING,
    STARTTLS,
)
from tests.fakes.scripted import plays

TRUST = {"ca_file": ca_file()}


async def no_lookup(host: str, family: int) -> tuple[str, ...]:
    raise AssertionError((host, family))


def no_secret(secret: Secret) -> str:
    raise AssertionError(secret)


async def run(server: hostile.Server, timeout: float = 5.0, **settings: Any) -> Run:  # noqa: ASYNC109 - the job's own
    async with server as (host, port):
        job = job_of(TcpCheck.model_validate({"host": host, "port": port, **settings}), timeout)
        return await run_once(job, Shared(no_lookup, no_secret))


def job_of(settings: TcpCheck, timeout: float = 5.0) -> Job:
    return Job("a-check", "tcp", PROBE, settings, 60, timeout, PROBE.place(settings))


def steps(run: Run) -> list[str]:
    return [step.name for step in run.steps]


def phases(run: Run) -> dict[str, list[str]]:
    return {step.name: [name for name, _ in step.phases] for step in run.steps}


def evidence(run: Run) -> Mapping[str, str]:
    return dict(run.evidence)


def measured(run: Run) -> Mapping[str, float]:
    return {sample.name: sample.value for sample in run.measured}


async def test_two_lines_check_the_submission_server_of_exchange_online() -> None:
    heard: list[str] = []
    run_ = await run(plays(SMTP_EXCHANGE_ONLINE, heard=heard), starttls="smtp", tls=TRUST)
    assert (run_.outcome, run_.message) == (Outcome.OK, "")
    assert phases(run_) == {"connect": ["connect"], "greeting": [], "starttls": [], "tls": ["tls"], "dialogue": []}
    assert evidence(run_)["greeting"] == SMTP_GREETING
    assert "AUTH LOGIN XOAUTH2" in evidence(run_)["capabilities"]
    assert heard == ["EHLO [127.0.0.1]", "STARTTLS", "EHLO [127.0.0.1]", "QUIT"]


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_both_event_loops_say_farewell_and_name_failures_alike(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    heard: list[str] = []

    async def all_three() -> list[Reason | None]:
        good = await run(plays(SMTP_EXCHANGE_ONLINE, heard=heard), starttls="smtp", tls=TRUST)
        expired = await run(plays(SMTP_EXCHANGE_ONLINE, flaw=Flaw.EXPIRED), starttls="smtp", tls=TRUST)
        reset = await run(hostile.tls_resets_in_record(), tls=TRUST, dialogue=[{"send": "hi", "expect": "."}])
        return [good.reason, expired.reason, reset.reason]

    with asyncio.Runner(loop_factory=loop) as runner:
        assert runner.run(all_three()) == [None, Reason.TLS_EXPIRED, Reason.CONNECTION_RESET]
    assert heard[-1] == "QUIT"


@pytest.mark.parametrize("greeting", [IMAP_GREETING_2023, IMAP_GREETING_2026], ids=["2023", "2026"])
async def test_imap_of_exchange_online(greeting: str) -> None:
    heard: list[str] = []
    run_ = await run(plays(IMAP_EXCHANGE_ONLINE.format(greeting=greeting), tls=True, heard=heard), tls=TRUST, greeting="imap")
    assert (run_.outcome, run_.message) == (Outcome.OK, "")
    assert steps(run_) == ["connect", "tls", "greeting", "dialogue"]
    assert evidence(run_)["greeting"] == greeting
    assert "AUTH=XOAUTH2" in evidence(run_)["capabilities"]
    assert heard[-1] == "z1 LOGOUT"


async def test_pop3_of_exchange_online() -> None:
    run_ = await run(plays(POP_EXCHANGE_ONLINE, tls=True), tls=TRUST, greeting="pop3")
    assert (run_.outcome, run_.message) == (Outcome.OK, "")
    assert evidence(run_)["greeting"] == POP_GREETING
    assert "SASL PLAIN XOAUTH2" in evidence(run_)["capabilities"]


@pytest.mark.parametrize(
    ("regex", "greeting", "other"),
    [
        pytest.param("^220 ([^ ]+) ESMTP (.+)$", SMTP_GREETING, "220 mail.example.com ESMTP Postfix", id="smtp_starttls"),
        pytest.param("OK.*STARTTLS", IMAP_GREETING_2023, "* OK [CAPABILITY IMAP4rev1 STARTTLS] Dovecot ready.", id="imap_starttls 2023"),
        pytest.param("OK.*STARTTLS", IMAP_GREETING_2026, "* OK [CAPABILITY IMAP4rev1 STARTTLS] Dovecot ready.", id="imap_starttls 2026"),
    ],
)
def test_what_blackbox_exporter_ships_as_an_example_does_not_fit_exchange_online(regex: str, greeting: str, other: str) -> None:
    assert re.search(regex, other)
    assert not re.search(regex, greeting)


@pytest.mark.parametrize("protocol", STARTTLS)
async def test_starttls(protocol: str) -> None:
    run_ = await run(plays(STARTTLS[protocol]), starttls=protocol, tls=TRUST)
    assert (run_.outcome, run_.message) == (Outcome.OK, "")
    assert steps(run_) == ["connect", "greeting", "starttls", "tls", "dialogue"]
    assert measured(run_)["certificate_expiry_timestamp_seconds"] > run_.started


@pytest.mark.parametrize(
    ("flaw", "reason"),
    [
        (Flaw.EXPIRED, Reason.TLS_EXPIRED),
        (Flaw.NOT_YET_VALID, Reason.TLS_EXPIRED),
        (Flaw.WRONG_NAME, Reason.TLS_WRONG_NAME),
        (Flaw.SELF_SIGNED, Reason.TLS_UNTRUSTED),
        (Flaw.UNTRUSTED, Reason.TLS_UNTRUSTED),
    ],
)
@pytest.mark.parametrize("starttls", ["smtp", "imap", "pop3", None])
async def test_a_bad_certificate_fails_and_is_measured(flaw: Flaw, reason: Reason, starttls: str | None) -> None:
    server = plays(STARTTLS[starttls], flaw=flaw) if starttls else hostile.tls_page(flaw)
    run_ = await run(server, starttls=starttls, tls=TRUST)
    assert (run_.failed_step, run_.reason) == ("tls", reason)
    assert (measured(run_)["certificate_expiry_timestamp_seconds"] < run_.started) == (flaw is Flaw.EXPIRED)
    assert evidence(run_)["certificate_sha256"]


async def test_an_issuer_that_is_not_on_the_list_reads_along() -> None:
    run_ = await run(hostile.tls_page(), tls={**TRUST, "issuers": ["DigiCert"]})
    assert (run_.failed_step, run_.reason) == ("tls", Reason.TLS_INTERCEPTED)


async def test_a_connection_alone_is_a_check() -> None:
    run_ = await run(hostile.says_nothing())
    assert run_.outcome is Outcome.OK
    assert steps(run_) == ["connect"]
    assert set(measured(run_)) == {"kernel_rtt_seconds", "kernel_retransmissions"}
    assert 0 < measured(run_)["kernel_rtt_seconds"] < 1


def half_a_reply() -> hostile.Server:
    return hostile.resets_after(b"220-x\r\n220", waits_for_request=False)


def deferred(script: str) -> Callable[[], hostile.Server]:
    return lambda: plays(script)


SMTP, IMAP, POP3 = {"greeting": "smtp"}, {"greeting": "imap"}, {"greeting": "pop3"}
HELLO = f"S: {SMTP_GREETING}\n{EHLO}\nS: 250-STARTTLS\nS: 250 SMTPUTF8\n"


@pytest.mark.parametrize(
    ("server", "settings", "step", "reason"),
    [
        pytest.param(hostile.refuses, {}, "connect", Reason.CONNECT_REFUSED, id="refuses"),
        pytest.param(hostile.drops, {}, "connect", Reason.CONNECT_TIMEOUT, id="drops"),
        pytest.param(hostile.says_nothing, SMTP, "greeting", Reason.TIMEOUT, id="silent"),
        pytest.param(lambda: hostile.drips(b"220 mail", 0.05), SMTP, "greeting", Reason.TIMEOUT, id="drips"),
        pytest.param(hostile.resets_at_once, SMTP, "greeting", Reason.CONNECTION_RESET, id="resets at once"),
        pytest.param(half_a_reply, SMTP, "greeting", Reason.CONNECTION_RESET, id="resets"),
        pytest.param(hostile.garbage, SMTP, "greeting", Reason.PROTOCOL_ERROR, id="garbage for SMTP"),
        pytest.param(hostile.garbage, IMAP, "greeting", Reason.PROTOCOL_ERROR, id="garbage for IMAP"),
        pytest.param(hostile.garbage, POP3, "greeting", Reason.PROTOCOL_ERROR, id="garbage for POP3"),
        pytest.param(hostile.garbage, {"tls": TRUST}, "tls", Reason.TLS_HANDSHAKE, id="garbage for TLS"),
        pytest.param(hostile.garbage, {"greeting": "^SSH-2"}, "greeting", Reason.PROTOCOL_ERROR, id="garbage for a line"),
        pytest.param(lambda: hostile.endless(b"", b"220-more\r\n" * 100), SMTP, "greeting", Reason.PROTOCOL_ERROR, id="endless greeting"),
        pytest.param(lambda: hostile.endless(b"220 ", b"x" * 1000), SMTP, "greeting", Reason.PROTOCOL_ERROR, id="endless line"),
        pytest.param(hostile.tls_stalls, {"tls": TRUST}, "tls", Reason.TLS_TIMEOUT, id="handshake stalls"),
        pytest.param(hostile.tls_resets_in_handshake, {"tls": TRUST}, "tls", Reason.CONNECTION_RESET, id="handshake is reset"),
        pytest.param(
            hostile.tls_resets_in_record,
            {"tls": TRUST, "dialogue": [{"send": "hi", "expect": "."}]},
            "dialogue",
            Reason.CONNECTION_RESET,
            id="record is reset",
        ),
        pytest.param(deferred("S: 421 4.3.2 Service not available"), SMTP, "greeting", Reason.MAIL_DEFERRED, id="greeting defers"),
        pytest.param(deferred("S: 554 5.7.1 No"), SMTP, "greeting", Reason.MAIL_REJECTED, id="greeting rejects"),
        pytest.param(deferred("S: * BYE overloaded"), IMAP, "greeting", Reason.CONNECTION_RESET, id="BYE"),
        pytest.param(deferred("S: -ERR overloaded"), POP3, "greeting", Reason.CONTENT_MISMATCH, id="-ERR"),
        pytest.param(
            deferred(f"S: {SMTP_GREETING}\n{EHLO}\nS: 250 XXXXXXXA"),
            {"starttls": "smtp"},
            "starttls",
            Reason.CONTENT_MISMATCH,
            id="STARTTLS is stripped",
        ),
        pytest.param(
            deferred(f"{HELLO}C: STARTTLS\nS: 454 4.7.0 TLS not available"),
            {"starttls": "smtp"},
            "starttls",
            Reason.MAIL_DEFERRED,
            id="STARTTLS is refused",
        ),
        pytest.param(
            deferred(f"{HELLO}C: STARTTLS\nS: 220 2.0.0 ready\nS: 250 injected"),
            {"starttls": "smtp"},
            "starttls",
            Reason.PROTOCOL_ERROR,
            id="bytes behind STARTTLS",
        ),
        pytest.param(
            deferred(f"{HELLO}C: STARTTLS\nS: 220 2.0.0 ready"), {"starttls": "smtp"}, "tls", Reason.TLS_TIMEOUT, id="silent after STARTTLS"
        ),
        pytest.param(
            deferred(f"{HELLO}C: STARTTLS\nS: 220 2.0.0 ready\nCLOSE"),
            {"starttls": "smtp"},
            "tls",
            Reason.CONNECTION_RESET,
            id="closed after STARTTLS",
        ),
        pytest.param(
            deferred(f"{HELLO}C: STARTTLS\nS: 220 2.0.0 ready\nTLS\nC: EHLO\nS: 451 4.3.2 later"),
            {"starttls": "smtp", "tls": TRUST},
            "dialogue",
            Reason.MAIL_DEFERRED,
            id="EHLO is deferred under TLS",
        ),
    ],
)
async def test_bad_weather(server: Callable[[], hostile.Server], settings: Mapping[str, Any], step: str, reason: Reason) -> None:
    run_ = await run(server(), timeout=0.4, **settings)
    assert (run_.outcome, run_.failed_step, run_.reason) == (Outcome.FAILED, step, reason)


async def test_the_code_of_a_refusal_is_kept() -> None:
    run_ = await run(plays("S: 451 4.3.2 Temporary server error. Please try again later ATTR3.1 [BL02]"), greeting="smtp")
    assert run_.code == "451 4.3.2"
    assert "Temporary server error" in run_.message


async def test_the_certificate_of_a_greeting_that_fails_is_still_measured() -> None:
    run_ = await run(plays("S: * BYE overloaded", tls=True), tls=TRUST, greeting="imap")
    assert (run_.failed_step, run_.reason) == ("greeting", Reason.CONNECTION_RESET)
    assert set(measured(run_)) >= {"certificate_expiry_timestamp_seconds", "kernel_rtt_seconds"}


# Dialogues of one's own


async def test_a_greeting_by_regular_expression() -> None:
    run_ = await run(plays("S: SSH-2.0-OpenSSH_9.2"), greeting="^SSH-2")
    assert run_.outcome is Outcome.OK
    assert evidence(run_)["greeting"] == "SSH-2.0-OpenSSH_9.2"


async def test_a_greeting_that_does_not_match() -> None:
    run_ = await run(plays("S: \x1b[31mSSH-1.5"), greeting="^SSH-2")
    assert (run_.failed_step, run_.reason) == ("greeting", Reason.CONTENT_MISMATCH)
    assert evidence(run_)["greeting"] == r"\x1b[31mSSH-1.5"


async def test_what_is_caught_becomes_evidence_and_can_be_said_again() -> None:
    script = "S: PING :a1b2\nC: PONG a1b2 ${HOME}\nS: NOTICE one\nS: 001 welcome to net7"
    dialogue = [
        {"expect": "^PING :(?P<token>.+)$"},
        {"send": "PONG ${token} ${HOME}"},
        {"until": r"^001 welcome to (?P<network>\S+)(?P<more> .*)?"},
    ]
    heard: list[str] = []
    run_ = await run(plays(script, heard=heard), dialogue=dialogue)
    assert (run_.outcome, run_.message) == (Outcome.OK, "")
    assert heard == ["PONG a1b2 ${HOME}"]
    assert {"token": "a1b2", "network": "net7", "more": ""}.items() <= evidence(run_).items()


@pytest.mark.parametrize(
    ("script", "dialogue", "reason"),
    [
        pytest.param(
            "C: PING\nS: -NOAUTH", [{"send": "PING", "expect": r"^\+PONG"}], Reason.CONTENT_MISMATCH, id="the next line is another"
        ),
        pytest.param("C: PING\nS: -NOAUTH", [{"send": "PING", "until": r"^\+PONG"}], Reason.TIMEOUT, id="the line does not come"),
        pytest.param("S: one\n" * 201, [{"until": "two"}], Reason.CONTENT_MISMATCH, id="it does not come among 200"),
        pytest.param("S: one\nCLOSE", [{"until": "two"}], Reason.CONNECTION_RESET, id="the server hangs up"),
    ],
)
async def test_a_line_that_is_not_heard(script: str, dialogue: list[dict[str, str]], reason: Reason) -> None:
    run_ = await run(plays(script), timeout=0.3, dialogue=dialogue)
    assert (run_.failed_step, run_.reason) == ("dialogue", reason)
    assert evidence(run_)["heard"] in {"-NOAUTH", "one"}


@pytest.mark.parametrize("verb", ["expect", "until"])
async def test_a_dialogue_with_a_mail_server_names_its_refusal(verb: str) -> None:
    script = f"{HELLO}C: MAIL\nS: 530 5.7.57 Client not authenticated to send mail."
    run_ = await run(plays(script), greeting="smtp", dialogue=[{"send": "MAIL FROM:<a@example.com>", verb: "^250 OK$"}])
    assert (run_.failed_step, run_.reason, run_.code) == ("dialogue", Reason.MAIL_REJECTED, "530 5.7.57")


# Settings


@pytest.mark.parametrize(
    ("settings", "port"),
    [
        ({"starttls": "smtp"}, 587),
        ({"greeting": "smtp"}, 25),
        ({"greeting": "smtp", "tls": True}, 465),
        ({"starttls": "imap"}, 143),
        ({"greeting": "imap", "tls": True}, 993),
        ({"starttls": "pop3", "tls": {}}, 110),
        ({"greeting": "pop3", "tls": True}, 995),
    ],
)
def test_a_mail_protocol_knows_its_port(settings: Mapping[str, Any], port: int) -> None:
    assert TcpCheck.model_validate({"host": "mail.example.com", **settings}).usual_port == port


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param({}, "port is needed", id="no port"),
        pytest.param({"greeting": "^SSH"}, "port is needed", id="no port, other protocol"),
        pytest.param({"port": 0}, "greater than or equal to 1", id="port 0"),
        pytest.param({"port": 1, "host": "::1", "family": "ipv4"}, "family: ipv4 excludes the address ::1", id="family"),
        pytest.param({"starttls": "smtp", "tls": True}, "excludes starttls", id="both ways of TLS"),
        pytest.param({"starttls": "smtp", "greeting": "^220"}, "implies it", id="greeting twice"),
        pytest.param({"port": 1, "greeting": "("}, r"not a regular expression \(RE2 syntax\): missing \)", id="regular expression"),
        pytest.param({"port": 1, "dialogue": [{}]}, "one of send, expect, until is needed", id="empty turn"),
        pytest.param({"port": 1, "dialogue": [{"expect": "a", "until": "b"}]}, "exclude each other", id="both waits"),
    ],
)
def test_settings_that_cannot_be(settings: Mapping[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TcpCheck.model_validate({"host": "mail.example.com", **settings})


@pytest.mark.parametrize(
    ("settings", "place"),
    [
        ({"starttls": "smtp"}, Place(Layer.MAIL_TRANSPORT, Workload.EXCHANGE)),
        ({"greeting": "imap"}, Place(Layer.WORKLOAD, Workload.EXCHANGE)),
        ({"greeting": "^SSH", "port": 22}, Place(Layer.PATH, Workload.NETWORK)),
    ],
)
def test_where_it_looks(settings: Mapping[str, Any], place: Place) -> None:
    assert PROBE.place(TcpCheck.model_validate({"host": "mail.example.com", **settings})) == place


@pytest.mark.parametrize("protocol", Protocol)
def test_starttls_implies_the_greeting(protocol: Protocol) -> None:
    assert TcpCheck(host="mail.example.com", starttls=protocol).protocol is protocol
