"""What becomes of a letter, and the server that makes it so. Postfix's log judges what was sent, and the files what is left.

| state | made by |
|---|---|
| delivered, by every pair of SMTP and IMAP or POP3 | Postfix and Dovecot |
| late, then found; late, then lost from sight | Postfix: held queue, an unreachable next server, a transport that discards |
| junked | Dovecot: Sieve |
| bounced | Postfix: a dead domain, and a next server that refuses |
| deferred, rejected, basic authentication retired, concurrency limit | Postfix: access table, with Exchange's words |
| mailbox full | Postfix: at RCPT; Dovecot: quota, after Postfix has accepted |
| duplicate | Postfix: alias to two addresses of one mailbox |
| submission uncertain | Postfix behind a line that is cut once it has the whole letter |
| wrong password | Postfix and Dovecot |
| limits on connections, sessions that die, servers that stand still or are down | Postfix and Dovecot, in test_mail_troubles.py |
| logins by token, taken and refused | Postfix and Dovecot, in test_mail_tokens.py |
| authenticated but not connected, MailboxConcurrency, Exchange's own 451 | simulated tenant: tests/probes/test_mail_roundtrip_ends.py |
| 202 and then nothing, delayed, junk, report, throttled while waiting: by Graph | simulated tenant: tests/probes/test_mail_roundtrip.py |
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from probes.core.contract import Run
from probes.lib.mail.letter import HEADER
from probes.lib.mail.outstanding import DAY
from tests.processes import eventually
from tests.real.mail.dovecot import PASSWORD
from tests.real.mail.ends import Settings, address, direct, fresh, imap, pop3, submission, told, trip
from tests.real.mail.pair import Pair
from tests.real.mail.postfix import AWAY

pytestmark = pytest.mark.real

DELIVERED = ("ok", "", "")


def log_of(mail: Pair, run: Run) -> str:
    """Return what Postfix logged of the run's letter, through all its queues."""
    message_id = re.escape(dict(run.evidence)["message_id"])
    log = mail.postfix.log()
    queues = re.findall(rf" ([0-9A-F]+): message-id={message_id}", log)
    return "\n".join(line for line in log.splitlines() if any(f" {queue}: " in line for queue in queues))


def measured(run: Run) -> dict[str, float]:
    return {"/".join((sample.name, *sample.labels)): sample.value for sample in run.measured}


def leaves_nothing(mail: Pair) -> None:
    eventually(lambda: not mail.holding(HEADER.encode()), "nothing of ours is left", said=lambda: str(mail.holding(HEADER.encode())))


@pytest.mark.parametrize(
    ("outbox", "mailbox"),
    [
        pytest.param("starttls", "imap tls", id="submission with STARTTLS, IMAP with TLS"),
        pytest.param("tls", "imap starttls", id="submission with TLS, IMAP with STARTTLS"),
        pytest.param("tls", "pop3 tls", id="submission with TLS, POP3 with TLS"),
        pytest.param("starttls", "pop3 starttls", id="submission with STARTTLS, POP3 with STARTTLS"),
        pytest.param("direct", "imap tls", id="direct to the MX, IMAP"),
        pytest.param("direct", "pop3 tls", id="direct to the MX, POP3"),
    ],
)
async def test_a_letter_arrives_and_leaves_nothing(mail: Pair, outbox: str, mailbox: str) -> None:
    receive, security = mailbox.split()
    run = await trip(
        send=direct(mail) if outbox == "direct" else submission(mail, security=outbox),
        receive={"imap": imap, "pop3": pop3}[receive](mail, security=security),
        to=address("probe2"),
    )
    assert told(run) == DELIVERED, run
    assert log_of(mail, run).count("status=sent") == 1
    assert dict(run.evidence)["queue_id"] in log_of(mail, run)
    leaves_nothing(mail)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        pytest.param("greylisted", ("mail_deferred", "450 4.2.0", "submit"), id="greylisted"),
        pytest.param("busy", ("mail_deferred", "451 4.3.2", "submit"), id="deferred: server busy"),
        pytest.param("suspect", ("mail_deferred", "451 4.7.500", "submit"), id="deferred: sender under suspicion"),
        pytest.param("crowded", ("throttled", "432 4.3.2", "submit"), id="concurrency limit"),
        pytest.param("nobody", ("mail_rejected", "550 5.1.1", "submit"), id="rejected: nobody there"),
        pytest.param("unwanted", ("mail_rejected", "550 5.7.1", "submit"), id="rejected: policy"),
        pytest.param("basic", ("blocked_by_policy", "550 5.7.30", "submit"), id="basic authentication retired"),
        pytest.param("brimful", ("mailbox_full", "552 5.2.2", "submit"), id="mailbox full, said at once"),
    ],
)
@pytest.mark.parametrize("way", ["submission", "direct"])
async def test_a_letter_that_is_not_taken_has_reason_and_code(mail: Pair, way: str, word: str, expected: tuple[str, str, str]) -> None:
    shared = fresh()
    send = submission(mail) if way == "submission" else direct(mail)
    run = await trip(shared=shared, send=send, receive=imap(mail), to=address(f"probe2+{word}"))
    assert told(run) == expected
    assert log_of(mail, run) == ""
    assert shared.ledger.outstanding("one") == ()


@pytest.mark.parametrize(
    ("to", "expected"),
    [
        pytest.param(address("probe2+junk"), ("mail_junked", "", "seen"), id="junked by Sieve"),
        pytest.param(address("probe2+dead"), ("mail_bounced", "550 5.1.2", "transit"), id="bounced: no such domain"),
        pytest.param(f"stranger@{AWAY}", ("mail_bounced", "550 5.1.1", "transit"), id="bounced: refused by the next server"),
        pytest.param(address("full"), ("mailbox_full", "552 5.2.2", "transit"), id="mailbox full, said later"),
    ],
)
async def test_a_letter_that_was_taken_and_came_to_no_good_is_found(mail: Pair, to: str, expected: tuple[str, str, str]) -> None:
    shared = fresh()
    run = await trip(shared=shared, deadline=3.0, send=submission(mail), receive=imap(mail), sent=imap(mail, "probe1"), to=to)
    assert told(run) == expected, run
    assert log_of(mail, run)
    leaves_nothing(mail)
    assert shared.ledger.outstanding("one") == ()


async def test_junk_can_be_good_enough(mail: Pair) -> None:
    run = await trip(deadline=3.0, send=submission(mail), receive=imap(mail), to=address("probe2+junk"), junk="tolerate")
    assert told(run) == DELIVERED
    leaves_nothing(mail)


async def test_a_late_letter_is_found_by_a_later_run(mail: Pair) -> None:
    shared = fresh()
    ends: Settings = {"send": submission(mail), "receive": imap(mail)}
    late = await trip(shared=shared, deadline=2.0, to=address("probe2+held"), **ends)
    assert told(late) == ("mail_late", "", "transit")
    assert len(shared.ledger.outstanding("one")) == 1
    mail.postfix.release()
    eventually(lambda: "status=sent" in log_of(mail, late), "the held letter is delivered", said=mail.postfix.log)
    later = await trip(shared=shared, to=address("probe2"), **ends)
    assert told(later) == DELIVERED
    assert measured(later)["late_seconds"] > 0
    leaves_nothing(mail)
    assert shared.ledger.outstanding("one") == ()


@pytest.mark.parametrize(
    ("word", "logged"),
    [
        pytest.param("lost", "lost on purpose", id="discarded on the way"),
        pytest.param("stuck", "status=deferred", id="waits for the next server"),
    ],
)
async def test_a_letter_that_was_taken_and_is_nowhere_is_late_and_after_a_day_lost(mail: Pair, word: str, logged: str) -> None:
    shared = fresh()
    run = await trip(shared=shared, deadline=2.0, send=submission(mail), receive=imap(mail), to=address(f"probe2+{word}"))
    assert told(run) == ("mail_late", "", "transit")
    assert logged in log_of(mail, run)
    [letter] = shared.ledger.outstanding("one")
    assert letter.id in log_of(mail, run)
    mail.postfix.drop()
    await shared.ledger.record("one", replace(letter, created=letter.created - DAY))
    a_day_later = await trip(shared=shared, send=submission(mail), receive=imap(mail))
    assert told(a_day_later) == DELIVERED
    assert measured(a_day_later)["lost_total"] == 1
    assert shared.ledger.outstanding("one") == ()


async def test_a_letter_that_comes_twice_is_counted(mail: Pair) -> None:
    run = await trip(send=submission(mail), receive=imap(mail, "probe4"), to=address("probe4+twice"), deadline=5.0)
    assert told(run) == DELIVERED
    assert measured(run)["duplicates_total"] == 1
    assert log_of(mail, run).count("status=sent") == 2
    leaves_nothing(mail)


async def test_the_copy_of_what_was_sent_is_removed(mail: Pair) -> None:
    run = await trip(send=submission(mail, "probe3"), receive=imap(mail), sent=imap(mail, "probe3"))
    assert told(run) == DELIVERED
    assert log_of(mail, run).count("status=sent") == 2
    leaves_nothing(mail)


async def test_each_server_on_the_way_is_a_hop(mail: Pair) -> None:
    run = await trip(send=submission(mail), receive=imap(mail), to=f"probe2@{AWAY}")
    assert told(run) == DELIVERED
    hops = dict(run.evidence)["hops"].split(" > ")
    assert [hop.split()[0] for hop in hops] == ["submission", "transport", "delivery"]
    assert {"hop_seconds/transport", "hop_seconds/delivery", "accepted_to_delivered_seconds"} <= measured(run).keys()


async def test_a_wrong_password_is_the_credential_of_ours(mail: Pair) -> None:
    wrong = {"password": {"env": "not the password"}}
    sending = await trip(send=submission(mail) | wrong, receive=imap(mail))
    assert told(sending) == ("credential_invalid", "535 5.7.8", "submit")
    receiving = await trip(send=submission(mail), receive=imap(mail) | wrong)
    assert told(receiving)[::2] == ("credential_invalid", "sign_in")
    assert "not the password" not in repr((sending, receiving))
    assert PASSWORD not in repr((sending, receiving))


@asynccontextmanager
async def cut_after_the_letter(port: int) -> AsyncIterator[int]:
    """Pass everything on to the port, and hang up on the client as soon as the server has said that it has the whole letter."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind_reader, behind = await asyncio.open_connection("127.0.0.1", port)
        handed_over = asyncio.Event()

        async def there() -> None:
            while data := await reader.read(65536):
                if data.endswith(b"\r\n.\r\n"):
                    handed_over.set()
                behind.write(data)

        sending = asyncio.create_task(there())
        while (data := await behind_reader.read(65536)) and not handed_over.is_set():
            writer.write(data)
        sending.cancel()
        behind.close()
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


async def test_a_letter_whose_fate_was_cut_off_is_uncertain_and_found_later(mail: Pair) -> None:
    shared = fresh()
    async with cut_after_the_letter(mail.postfix.mx) as port:
        cut = await trip(shared=shared, send=direct(mail) | {"port": port, "security": "none"}, receive=imap(mail), to=address("probe2"))
    assert told(cut) == ("connection_reset", "uncertain", "submit")
    assert dict(cut.evidence)["submission"] == "uncertain"
    eventually(lambda: "status=sent" in log_of(mail, cut), "it was delivered all the same", said=mail.postfix.log)
    assert told(await trip(shared=shared, send=direct(mail), receive=imap(mail), to=address("probe2"))) == DELIVERED
    leaves_nothing(mail)
    assert shared.ledger.outstanding("one") == ()
