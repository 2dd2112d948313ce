"""The imap kind at a real Dovecot: what it offers, whom it lets in, and what it opens."""

from typing import Any

import pytest

from agent.job import Job
from agent.runner import run_once
from probes.core.contract import Run
from probes.imap import PROBE
from tests.fakes.certificates import ca_file
from tests.real.mail.dovecot import PASSWORD
from tests.real.mail.ends import Settings, address, fresh, told
from tests.real.mail.pair import Pair

pytestmark = pytest.mark.real

OK = ("ok", "", "")
OFFERED: Settings = {"mechanisms": ["PLAIN"], "capabilities": ["IMAP4rev1", "IDLE", "SASL-IR"]}
LOGIN: Settings = {"username": address("probe2"), "password": {"env": PASSWORD}}


async def run(mail: Pair, *, security: str = "tls", **settings: Any) -> Run:
    port = mail.dovecot.imaps if security == "tls" else mail.dovecot.imap
    at = {"host": "127.0.0.1", "port": port, "security": security, "tls": {"ca_file": ca_file()}}
    checked = PROBE.settings.model_validate(at | settings)
    return await run_once(Job("door", "imap", PROBE, checked, 60.0, 5.0, PROBE.place(checked)), fresh())


@pytest.mark.parametrize("security", ["tls", "starttls"])
async def test_the_door_offers_a_login_under_tls(mail: Pair, security: str) -> None:
    assert told(await run(mail, security=security, **OFFERED)) == OK


@pytest.mark.parametrize("security", ["tls", "starttls"])
async def test_a_login_opens_the_mailbox_and_shows_more_of_what_is_offered(mail: Pair, security: str) -> None:
    answer = await run(mail, security=security, **LOGIN, capabilities=["UIDPLUS", "SPECIAL-USE"])
    there = [path for path in mail.dovecot.letters() if path.parts[-4:-2] == ("probe2", "Maildir")]
    assert told(answer) == OK
    assert [sample.value for sample in answer.measured if sample.name == "messages"] == [len(there)]


@pytest.mark.parametrize(
    ("settings", "answer"),
    [
        pytest.param({"password": {"env": "wrong"}}, ("credential_invalid", "", "login"), id="wrong password"),
        pytest.param({"folder": "Elsewhere"}, ("not_found", "", "select"), id="no such folder"),
        pytest.param({"capabilities": ["XLIST"]}, ("content_mismatch", "", "login"), id="not offered"),
        pytest.param({"tls": {}}, ("tls_untrusted", "", "tls"), id="a certificate that nobody vouches for"),
    ],
)
async def test_what_is_wrong_has_a_name(mail: Pair, settings: Settings, answer: tuple[str, str, str]) -> None:
    assert told(await run(mail, **LOGIN | settings)) == answer
