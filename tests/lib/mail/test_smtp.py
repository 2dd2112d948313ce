"""Sending by SMTP, against servers that take the letter and servers that do anything else."""

import asyncio
import base64
import re
from typing import Any

import pytest

from probes.core.contract import Failed, Inconclusive
from probes.core.reasons import Reason
from probes.lib.mail.ends import Accepted, SubmissionUncertain
from probes.lib.mail.letter import mime
from probes.lib.mail.smtp import stuffed
from tests.fakes import hostile, smtp
from tests.fakes.certificates import Flaw
from tests.lib.mail.submitting import PASSWORD, RECIPIENT, SENDER, letter, new_context, refused, sending, submit

# It is taken


async def test_a_letter_is_submitted_under_tls_with_a_login() -> None:
    ctx, ours = new_context(), letter()
    async with smtp.server() as mail:
        accepted = await submit(sending(mail, password=PASSWORD), ours, ctx)
    assert accepted == Accepted(None, "250 2.0.0", "4XkQ2r1Zb9z")
    ehlo = "EHLO [127.0.0.1]"
    login = "AUTH PLAIN " + base64.b64encode(b"\0probe1@contoso.example\0correct horse").decode()
    size = len(mime(ours))
    envelope = [f"MAIL FROM:<{SENDER}> SIZE={size}", f"RCPT TO:<{RECIPIENT}>", "DATA"]
    assert mail.heard == [ehlo, "STARTTLS", ehlo, login, *envelope, "QUIT"]
    assert mail.messages == [mime(ours).decode().replace("\r\n", "\n").removesuffix("\n")]
    assert [name for name, _ in ctx.steps[0].phases] == ["connect", "greeting", "tls", "login", "envelope", "transfer"]
    assert ctx.evidence_found["submission"] == "accepted"
    assert ctx.evidence_found["queue_id"] == "4XkQ2r1Zb9z"


@pytest.mark.parametrize(
    ("settings", "tls", "heard"),
    [
        pytest.param({}, False, ["EHLO", "STARTTLS", "EHLO", "MAIL"], id="starttls by default"),
        pytest.param({"security": "opportunistic"}, False, ["EHLO", "STARTTLS", "EHLO", "MAIL"], id="opportunistic where offered"),
        pytest.param({"security": "tls", "password": PASSWORD}, True, ["EHLO", "AUTH", "MAIL", "RCPT"], id="tls"),
        pytest.param({"security": "none"}, False, ["EHLO", "MAIL", "RCPT", "DATA"], id="none"),
    ],
)
async def test_tls_is_spoken_as_asked(settings: dict[str, Any], *, tls: bool, heard: list[str]) -> None:
    async with smtp.server(tls=tls) as mail:
        await submit(sending(mail, **settings), letter())
    assert [line.split(" ")[0] for line in mail.heard][:4] == heard


async def test_the_address_is_of_the_family_that_was_asked_for() -> None:
    ctx = new_context()
    async with smtp.server() as mail:
        with pytest.raises(Failed):
            await submit(sending(mail, host="localhost", family="ipv6"), letter(), ctx)
    assert ctx.evidence_found["address"] == "::1"


async def test_opportunistic_goes_on_in_the_clear_where_tls_is_not_offered() -> None:
    async with smtp.server({"EHLO": smtp.EHLO}) as mail:
        await submit(sending(mail, security="opportunistic"), letter())
    assert [line.split(" ")[0] for line in mail.heard] == ["EHLO", "MAIL", "RCPT", "DATA", "QUIT"]


@pytest.mark.parametrize(
    ("ehlo", "recipient", "parameters"),
    [
        pytest.param("250 x", RECIPIENT, "", id="nothing offered"),
        pytest.param("250-x\n250 SIZE", RECIPIENT, " SIZE=", id="SIZE"),
        pytest.param("250-x\n250-8BITMIME\n250 SMTPUTF8", RECIPIENT, "", id="not needed"),
        pytest.param("250-x\n250-8BITMIME\n250 SMTPUTF8", "prob\u00e9@contoso.example", " BODY=8BITMIME SMTPUTF8", id="SMTPUTF8"),
    ],
)
async def test_mail_from_says_what_the_server_knows_and_the_letter_needs(ehlo: str, recipient: str, parameters: str) -> None:
    async with smtp.server({"EHLO": ehlo}) as mail:
        await submit(sending(mail, security="none"), letter(recipient))
    said = next(line for line in mail.heard if line.startswith("MAIL"))
    assert re.sub(r"SIZE=\d+", "SIZE=", said) == f"MAIL FROM:<{SENDER}>{parameters}"


async def test_a_name_of_other_letters_goes_over_the_wire_in_ascii() -> None:
    async with smtp.server() as mail:
        await submit(sending(mail), letter("probe@b\u00fccher.example"))
    assert "RCPT TO:<probe@xn--bcher-kva.example>" in mail.heard


@pytest.mark.parametrize(
    ("message", "wire"),
    [
        (b"a\r\n", b"a\r\n.\r\n"),
        (b"a", b"a\r\n.\r\n"),
        (b".\r\n", b"..\r\n.\r\n"),
        (b"a\r\n.b\r\n..\r\nc.\r\n", b"a\r\n..b\r\n...\r\nc.\r\n.\r\n"),
        (b"", b"\r\n.\r\n"),
    ],
    ids=["plain", "no line end", "a lone dot", "several dots", "empty"],
)
def test_dots_are_stuffed(message: bytes, wire: bytes) -> None:
    assert stuffed(message) == wire


async def test_a_recipient_that_is_forwarded_is_a_recipient() -> None:
    async with smtp.server({"RCPT": "251 2.1.5 will forward"}) as mail:
        assert (await submit(sending(mail), letter())).code == "250 2.0.0"


async def test_a_lone_dot_in_the_text_does_not_end_the_letter() -> None:
    async with smtp.server() as mail:
        await submit(sending(mail), letter(body="before\n.\nafter\n"))
    assert mail.messages[0].endswith("before\n..\nafter")


@pytest.mark.parametrize(
    ("reply", "queue_id"),
    [
        pytest.param("250 2.0.0 Ok: queued as 4XkQ2r1Zb9z", "4XkQ2r1Zb9z", id="Postfix"),
        pytest.param(
            "250 2.6.0 <fogbell.1@contoso.example> [InternalId=12345678901234, Hostname=EX01.contoso.example] Queued mail for delivery",
            "12345678901234",
            id="Exchange",
        ),
        pytest.param("250 OK id=1t5Zx2-0000000Abc-1234", "1t5Zx2-0000000Abc-1234", id="Exim"),
        pytest.param("250 2.0.0 4AN8x1Yz012345 Message accepted for delivery", "4AN8x1Yz012345", id="sendmail"),
        pytest.param("250 2.0.0 OK <fogbell.1@contoso.example> [Hostname=FR2P281MB0001.DEUP281.PROD.OUTLOOK.COM]", "", id="none told"),
        pytest.param("250 OK", "", id="no enhanced code"),
    ],
)
async def test_the_queue_id_is_read_from_the_reply(reply: str, queue_id: str) -> None:
    ctx = new_context()
    async with smtp.server({"message": reply}) as mail:
        accepted = await submit(sending(mail), letter(), ctx)
    assert (accepted.queue_id, ctx.evidence_found["smtp_reply"]) == (queue_id, reply)


# It is refused


@pytest.mark.parametrize(
    ("stage", "reply", "reason", "code"),
    [
        pytest.param("greeting", "421 4.3.2 Service not available", Reason.MAIL_DEFERRED, "421 4.3.2", id="greeting deferred"),
        pytest.param("greeting", "554 5.7.1 No SMTP service here", Reason.MAIL_REJECTED, "554 5.7.1", id="greeting rejected"),
        pytest.param("greeting", "SSH-2.0-OpenSSH_9.2", Reason.PROTOCOL_ERROR, "", id="no SMTP"),
        pytest.param("EHLO", "550 5.7.1 go away", Reason.MAIL_REJECTED, "550 5.7.1", id="EHLO rejected"),
        pytest.param("EHLO", smtp.EHLO, Reason.CONTENT_MISMATCH, "", id="STARTTLS not offered"),
        pytest.param("STARTTLS", "454 4.7.0 TLS not available", Reason.MAIL_DEFERRED, "454 4.7.0", id="STARTTLS refused"),
        pytest.param("EHLO under TLS", smtp.EHLO, Reason.CONTENT_MISMATCH, "", id="no login offered"),
        pytest.param("login", "535 5.7.8 Error: authentication failed", Reason.CREDENTIAL_INVALID, "535 5.7.8", id="wrong password"),
        pytest.param(
            "login", "535 5.7.3 Authentication unsuccessful", Reason.CREDENTIAL_INVALID, "535 5.7.3", id="wrong password, Exchange"
        ),
        pytest.param(
            "login",
            "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant.",
            Reason.BLOCKED_BY_POLICY,
            "535 5.7.139",
            id="SMTP AUTH disabled",
        ),
        pytest.param(
            "login",
            "550 5.7.30 Basic authentication is not supported for Client Submission.",
            Reason.BLOCKED_BY_POLICY,
            "550 5.7.30",
            id="basic authentication retired",
        ),
        pytest.param(
            "MAIL", "550 5.7.30 Basic authentication is not supported", Reason.BLOCKED_BY_POLICY, "550 5.7.30", id="retired, late"
        ),
        pytest.param("login", "538 5.7.11 Encryption required", Reason.BLOCKED_BY_POLICY, "538 5.7.11", id="needs TLS, it says"),
        pytest.param("login", "454 4.7.0 Temporary authentication failure", Reason.MAIL_DEFERRED, "454 4.7.0", id="login deferred"),
        pytest.param("MAIL", "451 4.3.2 Temporary server error", Reason.MAIL_DEFERRED, "451 4.3.2", id="451 4.3.2"),
        pytest.param("MAIL", "451 4.7.500 Server busy", Reason.MAIL_DEFERRED, "451 4.7.500", id="451 4.7.500"),
        pytest.param("MAIL", "552 5.3.4 Message too big", Reason.MAIL_REJECTED, "552 5.3.4", id="too big"),
        pytest.param("MAIL", "530 5.7.57 Client not authenticated to send mail", Reason.MAIL_REJECTED, "530 5.7.57", id="not logged in"),
        pytest.param("RCPT", "450 4.2.0 Greylisted", Reason.MAIL_DEFERRED, "450 4.2.0", id="greylisted"),
        pytest.param("RCPT", "550 5.1.1 User unknown", Reason.MAIL_REJECTED, "550 5.1.1", id="no such user"),
        pytest.param("RCPT", "552 5.2.2 Mailbox full", Reason.MAILBOX_FULL, "552 5.2.2", id="recipient's mailbox full"),
        pytest.param("RCPT", "452 4.2.2 Over quota", Reason.MAILBOX_FULL, "452 4.2.2", id="over quota for now"),
        pytest.param("DATA", "451 4.3.0 Queue file write error", Reason.MAIL_DEFERRED, "451 4.3.0", id="DATA deferred"),
        pytest.param("DATA", "250 what?", Reason.PROTOCOL_ERROR, "250", id="DATA without 354"),
        pytest.param("message", "550 5.7.1 Spam", Reason.MAIL_REJECTED, "550 5.7.1", id="message rejected"),
        pytest.param("message", "451 4.7.1 Try later", Reason.MAIL_DEFERRED, "451 4.7.1", id="message deferred"),
        pytest.param(
            "message",
            "554 5.2.2 mailbox full; STOREDRV.Submission.Exception:QuotaExceededException.MapiExceptionShutoffQuotaExceeded",
            Reason.MAILBOX_FULL,
            "554 5.2.2",
            id="sender's mailbox full",
        ),
        pytest.param(
            "message",
            "554 5.2.0 STOREDRV.Submission.Exception:QuotaExceededException",
            Reason.MAILBOX_FULL,
            "554 5.2.0",
            id="full, in words",
        ),
    ],
)
async def test_a_refusal_has_its_name_and_code(stage: str, reply: str, reason: Reason, code: str) -> None:
    stopped, ctx = await refused({stage: reply})
    assert isinstance(stopped, Failed)
    assert (stopped.reason, stopped.code) == (reason, code)
    assert not isinstance(stopped, SubmissionUncertain)
    assert ctx.evidence_found.get("submission", "refused") == "refused"


@pytest.mark.parametrize(
    ("stage", "reply", "code"),
    [
        pytest.param("greeting", "432 4.3.2 Concurrent connections limit exceeded.", "432 4.3.2", id="at the greeting"),
        pytest.param("login", "432 4.3.2 Concurrent connections limit exceeded.", "432 4.3.2", id="at the login"),
        pytest.param("message", "432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded", "432 4.3.2", id="threads"),
        pytest.param(
            "message", "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException", "554 5.2.0", id="a day's limit"
        ),
    ],
)
async def test_our_own_limits_are_no_outage(stage: str, reply: str, code: str) -> None:
    stopped, _ = await refused({stage: reply})
    assert isinstance(stopped, Inconclusive)
    assert (stopped.reason, stopped.code) == (Reason.THROTTLED, code)


async def test_nothing_goes_on_in_the_clear_where_tls_is_wanted() -> None:
    for answers in ({"EHLO": smtp.EHLO}, {"STARTTLS": "454 4.7.0 not now"}):
        async with smtp.server(answers) as mail:
            with pytest.raises(Failed):
                await submit(sending(mail, password=PASSWORD), letter())
        assert {line.split(" ")[0] for line in mail.heard} <= {"EHLO", "STARTTLS"}


@pytest.mark.parametrize(
    ("flaw", "reason"),
    [
        (Flaw.EXPIRED, Reason.TLS_EXPIRED),
        (Flaw.WRONG_NAME, Reason.TLS_WRONG_NAME),
        (Flaw.SELF_SIGNED, Reason.TLS_UNTRUSTED),
        (Flaw.UNTRUSTED, Reason.TLS_UNTRUSTED),
    ],
)
@pytest.mark.parametrize("security", ["starttls", "tls", "opportunistic"])
async def test_a_bad_certificate_gets_neither_login_nor_letter(security: str, flaw: Flaw, reason: Reason) -> None:
    async with smtp.server(flaw=flaw, tls=security == "tls") as mail:
        with pytest.raises(Failed) as caught:
            await submit(sending(mail, security=security), letter())
    assert caught.value.reason is reason
    assert "MAIL" not in {line.split(" ")[0] for line in mail.heard}


async def test_bytes_sent_before_tls_do_not_pass_for_an_answer() -> None:
    stopped, _ = await refused({"STARTTLS": "220 2.0.0 go\n250 injected"})
    assert stopped.reason is Reason.PROTOCOL_ERROR


async def test_an_address_that_the_server_cannot_carry() -> None:
    stopped, _ = await refused({"EHLO under TLS": "250-x\n250 AUTH PLAIN"}, letter("prob\u00e9@contoso.example"))
    assert (stopped.reason, "SMTPUTF8" in stopped.message) == (Reason.MAIL_REJECTED, True)


# Nobody knows


@pytest.mark.parametrize(
    ("answer", "reason"),
    [(smtp.HANGS_UP, Reason.CONNECTION_RESET), ("hm", Reason.PROTOCOL_ERROR), ("250-and\n", Reason.PROTOCOL_ERROR)],
    ids=["hangs up", "no reply", "half a reply"],
)
async def test_a_connection_lost_after_the_last_dot_leaves_it_uncertain(answer: str, reason: Reason) -> None:
    stopped, ctx = await refused({"message": answer})
    assert isinstance(stopped, SubmissionUncertain)
    assert (stopped.reason, stopped.code, ctx.evidence_found["submission"]) == (reason, "uncertain", "uncertain")


@pytest.mark.parametrize("stage", ["greeting", "EHLO", "STARTTLS", "login", "MAIL", "RCPT", "DATA"])
async def test_a_connection_lost_before_is_no_submission(stage: str) -> None:
    stopped, ctx = await refused({stage: smtp.HANGS_UP})
    assert not isinstance(stopped, SubmissionUncertain)
    assert (stopped.reason, stopped.code, ctx.evidence_found.get("submission")) == (Reason.CONNECTION_RESET, "", None)


@pytest.mark.parametrize(
    ("stage", "phase"),
    [
        ("greeting", "greeting"),
        ("EHLO", "greeting"),
        ("login", "login"),
        ("MAIL", "envelope"),
        ("RCPT", "envelope"),
        ("message", "transfer"),
    ],
)
async def test_at_the_deadline_the_open_phase_tells_where_it_hung(stage: str, phase: str) -> None:
    ctx = new_context()
    async with smtp.server({stage: smtp.SAYS_NOTHING}) as mail:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await submit(sending(mail, password=PASSWORD), letter(), ctx)
    assert ctx.blamed is not None
    assert ctx.blamed.open_phases == [phase]
    assert ctx.evidence_found.get("submission") == ("uncertain" if stage == "message" else None)


@pytest.mark.parametrize("server", [hostile.garbage, hostile.resets_at_once], ids=["garbage", "reset"])
async def test_a_hostile_server_is_named(server: Any) -> None:
    async with server() as (host, port):
        with pytest.raises(Failed) as caught:
            await submit(sending(smtp.Mail(host, port)), letter())
    assert caught.value.reason in {Reason.PROTOCOL_ERROR, Reason.CONNECTION_RESET}
