"""Delivery reports in the shape of those that Postfix and Exchange send, reports in words alone, and what is no report."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.lib.mail.letter import Template, mime, new_letter
from probes.lib.mail.report import Report, report_in

TAG = "0123456789abcdef0123456789abcdef"
OURS = f"Message-ID: <fogbell.{TAG}@contoso.example>\nX-Fogbell-Id: {TAG}\nSubject: Fogbell mail probe {TAG}\n"

POSTFIX = f"""\
Return-Path: <>
From: MAILER-DAEMON@mail.example.org (Mail Delivery System)
Subject: Undelivered Mail Returned to Sender
To: probe1@example.org
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status;
\tboundary="4XkQ2r1Zb9z.1764000000/mail.example.org"

This is a MIME-encapsulated message.

--4XkQ2r1Zb9z.1764000000/mail.example.org
Content-Description: Notification
Content-Type: text/plain; charset=us-ascii

This is the mail system at host mail.example.org.

<nobody@example.org>: host 127.0.0.1[127.0.0.1] said: 550 5.1.1 no such user
    (in reply to RCPT TO command)

--4XkQ2r1Zb9z.1764000000/mail.example.org
Content-Description: Delivery report
Content-Type: message/delivery-status

Reporting-MTA: dns; mail.example.org
X-Postfix-Queue-ID: 4XkQ2r1Zb9z
Arrival-Date: Mon, 23 Nov 2026 08:00:00 +0000 (UTC)

Final-Recipient: rfc822; nobody@example.org
Original-Recipient: rfc822;nobody@example.org
Action: failed
Status: 5.1.1
Remote-MTA: dns; 127.0.0.1
Diagnostic-Code: smtp; 550 5.1.1 no such
    user

--4XkQ2r1Zb9z.1764000000/mail.example.org
Content-Description: Undelivered Message
Content-Type: message/rfc822

Return-Path: <probe1@example.org>
{OURS}
text

--4XkQ2r1Zb9z.1764000000/mail.example.org--
"""
HTML = base64.encodebytes(b"<html>The recipient could not be found. Status 5.0.0</html>").decode()
EXCHANGE_ONLINE = f"""\
From: <postmaster@contoso.example>
To: probe1@contoso.example
Subject: Undeliverable: Fogbell mail probe {TAG}
Content-Type: multipart/report; report-type=delivery-status;
\tboundary="cd7e7e21-3f0d-4f2c-8a7b-8a5d5b8f2d11"
X-MS-Exchange-Message-Is-Ndr:
In-Reply-To: <fogbell.{TAG}@contoso.example>
References: <fogbell.{TAG}@contoso.example>
MIME-Version: 1.0

--cd7e7e21-3f0d-4f2c-8a7b-8a5d5b8f2d11
Content-Type: multipart/alternative; differences=Content-Type;
\tboundary="8f2a1e0b-6a2f-47b0-9a53-2f3cf3a70c07"

--8f2a1e0b-6a2f-47b0-9a53-2f3cf3a70c07
Content-Type: text/html; charset="utf-8"
Content-Transfer-Encoding: base64

{HTML}
--8f2a1e0b-6a2f-47b0-9a53-2f3cf3a70c07--

--cd7e7e21-3f0d-4f2c-8a7b-8a5d5b8f2d11
Content-Type: message/delivery-status

Reporting-MTA: dns;FR2P281MB0001.DEUP281.PROD.OUTLOOK.COM
Received-From-MTA: dns;FR0P281MB0002.DEUP281.PROD.OUTLOOK.COM
Arrival-Date: Mon, 23 Nov 2026 08:00:00 +0000

Final-Recipient: rfc822;probe2@fabrikam.example
Action: failed
Status: 5.4.317
Diagnostic-Code: smtp;550 5.4.317 Message expired, cannot connect to remote server [Message=Sub-Protocol Error]
Remote-MTA: dns;mx.fabrikam.example
X-Display-Name: probe2

--cd7e7e21-3f0d-4f2c-8a7b-8a5d5b8f2d11
Content-Type: message/rfc822

Received: from a by b; Mon, 23 Nov 2026 08:00:00 +0000
{OURS}Content-Type: multipart/mixed; boundary="inner"

--inner
Content-Type: text/plain

text
--inner--

--cd7e7e21-3f0d-4f2c-8a7b-8a5d5b8f2d11--
"""
EXCHANGE_ON_PREMISES = f"""\
From: <postmaster@contoso.example>
Subject: Undeliverable: Fogbell mail probe {TAG}
Content-Type: multipart/report; report-type=delivery-status; boundary=_1a2b3c4d_

--_1a2b3c4d_
Content-Type: text/plain; charset="us-ascii"
Content-Transfer-Encoding: quoted-printable

Delivery has failed to these recipients or groups:

--_1a2b3c4d_
Content-Type: message/delivery-status

Reporting-MTA: dns;EX02.contoso.example
Received-From-MTA: dns;EX01.contoso.example

Original-Recipient: rfc822;full@contoso.example
Final-Recipient: rfc822;full@contoso.example
Action: failed
Status: 5.2.2
Diagnostic-Code: smtp;554 5.2.2 mailbox full; STOREDRV.Deliver.Exception:QuotaExceededException
X-Display-Name: full

--_1a2b3c4d_
Content-Type: text/rfc822-headers

{OURS}
--_1a2b3c4d_--
"""
WORDS = f"""\
From: postmaster@contoso.example
Subject: Undeliverable: Fogbell mail probe {TAG}
Content-Type: text/plain; charset="utf-8"
Content-Transfer-Encoding: quoted-printable

Your message couldn't be delivered.

Remote server returned '550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipie=
nt not found by SMTP address lookup'

Server version 15.20.9052.13, address 5.1.1.2
"""
QMAIL = f"""\
From: MAILER-DAEMON@example.net
Subject: failure notice

Hi. This is the qmail-send program at example.net.

<nobody@example.net>:
Sorry, no mailbox here by that name. (#5.1.1)

--- Below this line is a copy of the message.

{OURS}
"""
DELAYED = POSTFIX.replace("Action: failed", "Action: delayed").replace("Status: 5.1.1", "Status: 4.4.1")
TWO_RECIPIENTS = POSTFIX.replace(
    "Final-Recipient: rfc822; nobody@example.org",
    "Final-Recipient: rfc822; other@example.org\nAction: delivered\nStatus: 2.0.0\n\nFinal-Recipient: rfc822; nobody@example.org",
)
OTHER_CLASS = POSTFIX.replace("Status: 5.1.1", "Status: 4.0.0")
_END = "--4XkQ2r1Zb9z.1764000000/mail.example.org"
EPILOGUE = DELAYED[: DELAYED.rindex(f"{_END}\nContent-Description: Undelivered")] + f"{_END}--\n\nAction: failed\nStatus: 5.9.9\n"
GENERAL = POSTFIX.replace("Status: 5.1.1", "Status: 5.0.0").replace("550 5.1.1 no such", "550 5.7.1 no such")


@pytest.mark.parametrize(
    ("message", "report"),
    [
        pytest.param(POSTFIX, Report(TAG, "failed", "5.1.1", "550 5.1.1 no such user (said by 127.0.0.1)"), id="Postfix"),
        pytest.param(
            EXCHANGE_ONLINE,
            Report(
                TAG,
                "failed",
                "5.4.317",
                "550 5.4.317 Message expired, cannot connect to remote server [Message=Sub-Protocol Error] (said by mx.fabrikam.example)",
            ),
            id="Exchange Online",
        ),
        pytest.param(
            EXCHANGE_ON_PREMISES,
            Report(TAG, "failed", "5.2.2", "554 5.2.2 mailbox full; STOREDRV.Deliver.Exception:QuotaExceededException"),
            id="Exchange on premises",
        ),
        pytest.param(
            WORDS,
            Report(
                TAG,
                "failed",
                "5.1.10",
                "Remote server returned '550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup'",
            ),
            id="words of Exchange",
        ),
        pytest.param(QMAIL, Report(TAG, "failed", "5.1.1", "Sorry, no mailbox here by that name. (#5.1.1)"), id="words of qmail"),
        pytest.param(DELAYED, Report(TAG, "delayed", "4.4.1", "550 5.1.1 no such user (said by 127.0.0.1)"), id="delayed"),
        pytest.param(
            OTHER_CLASS, Report(TAG, "failed", "4.0.0", "550 5.1.1 no such user (said by 127.0.0.1)"), id="status of another class"
        ),
        pytest.param(EPILOGUE, Report("", "delayed", "4.4.1", "550 5.1.1 no such user (said by 127.0.0.1)"), id="words behind the end"),
        pytest.param(
            TWO_RECIPIENTS, Report(TAG, "failed", "5.1.1", "550 5.1.1 no such user (said by 127.0.0.1)"), id="the one that failed"
        ),
        pytest.param(
            GENERAL, Report(TAG, "failed", "5.7.1", "550 5.7.1 no such user (said by 127.0.0.1)"), id="a status that says nothing"
        ),
        pytest.param(
            f"Subject: Unzustellbar: Fogbell {TAG}\n\nDas ging nicht.", Report(TAG, "failed", "", ""), id="words without a status"
        ),
        pytest.param(
            f"Subject: Delivery Status Notification (Delay)\n\nStill trying <fogbell.{TAG}@x>: 4.4.1",
            Report(TAG, "delayed", "4.4.1", f"Still trying <fogbell.{TAG}@x>: 4.4.1"),
            id="a delay in words",
        ),
        pytest.param("Subject: Undeliverable: your offer\n\n550 5.1.1", Report("", "failed", "5.1.1", "550 5.1.1"), id="somebody else's"),
    ],
)
@pytest.mark.parametrize("line_end", ["\n", "\r\n"], ids=["LF", "CRLF"])
def test_a_report_tells_whose_letter_what_and_why(message: str, report: Report, line_end: str) -> None:
    assert report_in(message.replace("\n", line_end).encode()) == report


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(mime(new_letter("p", "a@b.example", "c@d.example", Template())).decode(), id="our own letter"),
        pytest.param(f"In-Reply-To: <fogbell.{TAG}@x>\nSubject: Re: Fogbell mail probe {TAG}\n\nWhat is 5.1.1?", id="a person's reply"),
        pytest.param(f"Subject: Automatic reply: Fogbell mail probe {TAG}\n\nI am away.", id="a holiday note"),
        pytest.param(
            "Content-Type: multipart/report; report-type=disposition-notification; boundary=b\n\n--b\n"
            "Content-Type: message/disposition-notification\n\nDisposition: manual-action; displayed\n--b--",
            id="a read receipt",
        ),
        pytest.param("", id="nothing"),
    ],
)
def test_what_is_no_report(message: str) -> None:
    assert report_in(message.encode()) is None


@pytest.mark.parametrize(("before", "found"), [(90, True), (100, False)])
def test_a_report_has_a_hundred_parts_at_most(before: int, *, found: bool) -> None:
    empty = "--b\nContent-Type: image/png\n\n" * before
    message = f"Content-Type: multipart/report; boundary=b\n\n{empty}--b\nContent-Type: message/delivery-status\n\nStatus: 5.1.1\n--b--\n"
    assert (report_in(message.encode()) is not None) is found


def test_a_report_that_was_cut_off_still_tells_its_status() -> None:
    cut = POSTFIX[: POSTFIX.index("Diagnostic-Code")]
    assert report_in(cut.encode()) == Report("", "failed", "5.1.1", "(said by 127.0.0.1)")


def test_what_strangers_wrote_is_bounded_and_can_be_shown() -> None:
    evil = POSTFIX.replace("550 5.1.1 no such\n    user", "550 5.1.1 \x1b[2J\u202e" + "x" * 5000)
    report = report_in(evil.encode())
    assert report is not None
    assert len(report.diagnostic) == 300
    assert report.diagnostic.isprintable()


SEEDS = [POSTFIX, EXCHANGE_ONLINE, EXCHANGE_ON_PREMISES, WORDS, QMAIL]


@given(st.binary() | st.tuples(st.sampled_from(SEEDS), st.integers(0, 2500), st.integers(0, 80), st.binary(max_size=40)))
def test_any_bytes_are_a_report_or_not(data: bytes | tuple[str, int, int, bytes]) -> None:
    if isinstance(data, tuple):
        seed, start, length, put = data
        whole = seed.encode()
        data = whole[:start] + put + whole[start + length :]
    report = report_in(data)
    assert report is None or (
        report.diagnostic.isprintable() and report.action in {"failed", "delayed", "delivered", "relayed", "expanded"}
    )


_NESTED = "".join(f"--b{n}\nContent-Type: multipart/mixed; boundary=b{n + 1}\n\n" for n in range(5000))


@pytest.mark.parametrize(
    "message",
    [
        "Content-Type: multipart/mixed; boundary=b0\n\n" + _NESTED,
        "Content-Type: multipart/report; boundary=b\n\n" + "--b\n" * 60_000,
        "Subject: Undeliverable:\n\n" + "5." * 120_000,
        "Subject: Undeliverable:\nContent-Transfer-Encoding: base64\n\n" + "!" * 250_000,
        "boundary=" * 28_000,
        "Content-Type: message/delivery-status\n\n" + "Action: x\n\n" * 20_000,
    ],
    ids=["nested", "parts", "numbers", "no base64", "boundaries", "recipients"],
)
@pytest.mark.timeout(5)
def test_an_unlucky_message_takes_no_longer(message: str) -> None:
    report = report_in(message.encode())
    assert report is None or report.tag == ""
