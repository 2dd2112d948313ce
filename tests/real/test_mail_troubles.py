"""Round trips while the servers are in trouble, or others have mail in the same mailboxes."""

import asyncio
import imaplib
import os
import signal
import smtplib
import socket
import ssl
from contextlib import ExitStack

import pytest

from probes.lib.mail.letter import HEADER
from tests.fakes import hostile
from tests.fakes.certificates import ca_file
from tests.processes import eventually
from tests.real.mail import dovecot, postfix
from tests.real.mail.dovecot import PASSWORD
from tests.real.mail.ends import Settings, address, direct, fresh, imap, pop3, submission, told, trip
from tests.real.mail.pair import Pair

pytestmark = pytest.mark.real

DELIVERED = ("ok", "", "")


def strangers_letter(mail: Pair, to: str, text: str) -> None:
    with smtplib.SMTP("127.0.0.1", mail.postfix.mx, timeout=20) as client:
        client.sendmail("somebody@elsewhere.example", [to], f"Subject: {text}\r\n\r\nFrom a person, about Fogbell.\r\n".encode())


async def test_letters_of_others_are_left_alone(mail: Pair) -> None:
    for n in range(60):
        strangers_letter(mail, address("probe3"), f"stranger {n}")
    for place in ("junk", "sent"):
        strangers_letter(mail, address(f"probe3+{place}"), f"stranger {place}")
    eventually(lambda: len(mail.holding(b"Subject: stranger")) == 62 and not mail.postfix.queued(), "all are there")
    for receive in (imap, pop3):
        ends: Settings = {"send": submission(mail, "probe3"), "receive": receive(mail, "probe3"), "sent": imap(mail, "probe3")}
        assert told(await trip(**ends)) == DELIVERED
    eventually(lambda: not mail.holding(HEADER.encode()), "nothing of ours is left")
    assert len(mail.holding(b"Subject: stranger")) == 62


async def test_a_session_that_dies_while_it_waits_is_opened_anew(mail: Pair) -> None:
    waiting = asyncio.create_task(trip(send=submission(mail), receive=imap(mail), to=address("probe2+held")))
    while not mail.postfix.queued():  # noqa: ASYNC110 - another process, which tells nobody
        await asyncio.sleep(0.05)
    for process in mail.dovecot.sessions():
        os.kill(process, signal.SIGKILL)
    await asyncio.to_thread(mail.postfix.release)
    run = await waiting
    assert told(run) == DELIVERED
    assert "imap_reconnected" in dict(run.evidence)


async def test_too_many_mailbox_connections_are_a_limit_of_ours(mail: Pair) -> None:
    trusting = ssl.create_default_context(cafile=ca_file())
    with ExitStack() as stack:
        for _ in range(dovecot.CONNECTIONS):
            client = stack.enter_context(imaplib.IMAP4_SSL("127.0.0.1", mail.dovecot.imaps, ssl_context=trusting, timeout=20))
            client.login(address("probe4"), PASSWORD)
        run = await trip(send=submission(mail), receive=imap(mail, "probe4"))
    assert told(run) == ("throttled", "", "sign_in")


async def test_too_many_connections_of_ours_are_no_failure_of_the_servers(mail: Pair) -> None:
    shared = fresh()
    with ExitStack() as stack:
        for _ in range(postfix.CONNECTIONS):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", mail.postfix.mx)))
            client.recv(100)
        run = await trip(shared=shared, send=direct(mail), receive=imap(mail), to=address("probe2"))
    assert told(run) == ("throttled", "421 4.7.0", "submit")
    assert shared.ledger.outstanding("one") == ()


async def test_a_server_that_stands_still_is_named_by_the_deadline(mail: Pair) -> None:
    shared, group = fresh(), mail.postfix.program.process.pid
    os.killpg(group, signal.SIGSTOP)
    try:
        run = await trip(shared=shared, deadline=2.0, send=submission(mail), receive=imap(mail))
    finally:
        os.killpg(group, signal.SIGCONT)
    assert told(run) == ("timeout", "", "submit")
    assert told(await trip(shared=shared, send=submission(mail), receive=imap(mail))) == DELIVERED
    eventually(lambda: not mail.holding(HEADER.encode()), "nothing of ours is left")


async def test_servers_that_are_down_are_refused_connections(mail: Pair) -> None:
    async with hostile.refuses() as (host, port):
        down = {"host": host, "port": port}
        assert told(await trip(send=submission(mail), receive=imap(mail) | down)) == ("connect_refused", "", "sign_in")
        assert told(await trip(send=submission(mail) | down, receive=imap(mail))) == ("connect_refused", "", "submit")
