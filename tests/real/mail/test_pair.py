"""The mail system of the tests must itself do what each test will say it did."""

import imaplib
import poplib
import smtplib
import ssl
from email.message import EmailMessage

import pytest

from tests.fakes.certificates import ca_file
from tests.processes import eventually
from tests.real.mail.dovecot import DOMAIN, PASSWORD
from tests.real.mail.pair import Pair, pair
from tests.real.mail.postfix import AWAY, REFUSALS

pytestmark = pytest.mark.real


def trusting() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca_file())


def send(mail: Pair, to: str, mark: str, *, sender: str = "probe1") -> None:
    letter = EmailMessage()
    letter["From"], letter["To"], letter["Subject"] = f"{sender}@{DOMAIN}", to, mark
    letter.set_content("A message of a test.")
    with smtplib.SMTP("127.0.0.1", mail.postfix.submission, timeout=20) as client:
        client.starttls(context=trusting())
        client.login(f"{sender}@{DOMAIN}", PASSWORD)
        client.send_message(letter)


def subjects(mail: Pair, name: str, folder: str = "INBOX") -> str:
    """Return the subjects in a folder, as IMAP tells them."""
    with imaplib.IMAP4_SSL("127.0.0.1", mail.dovecot.imaps, ssl_context=trusting(), timeout=20) as client:
        client.login(f"{name}@{DOMAIN}", PASSWORD)
        client.select(folder, readonly=True)
        return repr(client.fetch("1:*", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])") if client.response("EXISTS")[1] != [b"0"] else "")


def arrives(mail: Pair, name: str, mark: str, folder: str = "INBOX") -> None:
    eventually(
        lambda: mark in subjects(mail, name, folder), f"{mark} in {folder} of {name}", said=lambda: mail.postfix.log() + mail.dovecot.log()
    )


def test_what_is_submitted_is_in_the_mailbox(mail: Pair) -> None:
    send(mail, f"probe2@{DOMAIN}", "mark-plain")
    arrives(mail, "probe2", "mark-plain")
    assert all(b"ESMTPSA" in path.read_bytes() for path in mail.holding(b"mark-plain"))


def test_a_held_message_waits_in_the_queue_until_it_is_released(mail: Pair) -> None:
    send(mail, f"probe2+held@{DOMAIN}", "mark-held")
    eventually(lambda: [path for path in mail.holding(b"mark-held") if "hold" in path.parts], "the message is held")
    mail.postfix.release()
    arrives(mail, "probe2", "mark-held")


@pytest.mark.parametrize(("word", "reply"), [pytest.param(word, reply, id=word) for word, reply in REFUSALS.items()])
def test_a_refusal_has_its_code(mail: Pair, word: str, reply: str) -> None:
    with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
        send(mail, f"probe2+{word}@{DOMAIN}", "mark-refused")
    [(code, text)] = refused.value.recipients.values()
    assert (code, text.decode().split()[0]) == (int(reply.split(maxsplit=1)[0]), reply.split()[1])
    assert reply.split(maxsplit=2)[2] in text.decode()


def test_what_comes_in_at_the_mx_needs_no_login(mail: Pair) -> None:
    with smtplib.SMTP("127.0.0.1", mail.postfix.mx, timeout=20) as client:
        client.sendmail("somebody@elsewhere.example", [f"probe2@{DOMAIN}"], b"Subject: mark-direct\r\n\r\nText.\r\n")
    arrives(mail, "probe2", "mark-direct")


def test_the_mx_relays_nothing(mail: Pair) -> None:
    with (
        smtplib.SMTP("127.0.0.1", mail.postfix.mx, timeout=20) as client,
        pytest.raises(smtplib.SMTPRecipientsRefused, match="Relay access"),
    ):
        client.sendmail(f"probe1@{DOMAIN}", ["somebody@elsewhere.example"], b"Subject: mark-relay\r\n\r\nText.\r\n")


@pytest.mark.parametrize(
    ("to", "name", "folder"),
    [
        pytest.param(f"probe2+junk@{DOMAIN}", "probe2", "Junk", id="junk by Sieve"),
        pytest.param(f"probe3@{AWAY}", "probe3", "INBOX", id="once around through the MX"),
    ],
)
def test_a_message_goes_where_its_recipient_says(mail: Pair, to: str, name: str, folder: str) -> None:
    send(mail, to, f"mark-{name}-{folder}")
    arrives(mail, name, f"mark-{name}-{folder}", folder)


@pytest.mark.parametrize(
    ("to", "status"),
    [
        pytest.param(f"probe2+dead@{DOMAIN}", "5.1.2", id="dead domain"),
        pytest.param(f"nobody@{AWAY}", "5.1.1", id="refused by the next server"),
        pytest.param(f"full@{DOMAIN}", "5.2.2", id="quota of Dovecot"),
    ],
)
def test_a_message_comes_back_with_its_status(mail: Pair, to: str, status: str) -> None:
    before = len(mail.holding(b"Status: " + status.encode()))
    send(mail, to, f"mark-{status}")
    eventually(lambda: len(mail.holding(b"Status: " + status.encode())) > before, f"a report with {status}", said=mail.postfix.log)


def test_a_message_can_arrive_twice(mail: Pair) -> None:
    send(mail, f"probe4+twice@{DOMAIN}", "mark-twice")
    eventually(lambda: subjects(mail, "probe4").count("mark-twice") == 2, "two of one", said=mail.postfix.log)


def test_a_message_can_be_lost(mail: Pair) -> None:
    send(mail, f"probe2+lost@{DOMAIN}", "mark-lost")
    eventually(lambda: "(lost on purpose)" in mail.postfix.log(), "the message is lost", said=mail.postfix.log)


def test_a_copy_of_what_was_sent_is_kept(mail: Pair) -> None:
    send(mail, f"probe2@{DOMAIN}", "mark-copy", sender="probe3")
    arrives(mail, "probe3", "mark-copy", "Sent")


def test_pop_lets_in_who_has_the_password(mail: Pair) -> None:
    client = poplib.POP3_SSL("127.0.0.1", mail.dovecot.pop3s, context=trusting(), timeout=20)
    client.user(f"probe1@{DOMAIN}")
    client.pass_(PASSWORD)
    client.quit()
    with (
        pytest.raises(imaplib.IMAP4.error),
        imaplib.IMAP4_SSL("127.0.0.1", mail.dovecot.imaps, ssl_context=trusting(), timeout=20) as refused,
    ):
        refused.login(f"probe1@{DOMAIN}", "wrong")


def test_without_root_the_servers_are_skipped_and_where_they_must_be_they_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.delenv("FOGBELL_REQUIRE_SERVERS", raising=False)
    with pytest.raises(pytest.skip.Exception, match="dovecot has to be started as root"), pair():
        pass
    monkeypatch.setenv("FOGBELL_REQUIRE_SERVERS", "1")
    with pytest.raises(pytest.fail.Exception, match="must be"), pair():
        pass
