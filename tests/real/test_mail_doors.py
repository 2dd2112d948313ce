"""The dialogue probe at the doors of Postfix: what each offers, and what it says to a recipient, with no mail sent."""

import pytest

from agent.job import Job
from agent.runner import run_once
from probes.core.contract import Run
from probes.smtp import PROBE
from tests.fakes.certificates import ca_file
from tests.processes import eventually
from tests.real.mail.ends import Settings, address, fresh, told
from tests.real.mail.pair import Pair
from tests.real.mail.postfix import REFUSALS

pytestmark = pytest.mark.real

OK = ("ok", "", "")


def door(mail: Pair, name: str) -> Settings:
    """Return where a door is, and how it speaks."""
    ports = {"submission": mail.postfix.submission, "submissions": mail.postfix.submissions, "mx": mail.postfix.mx}
    security = {"submission": "starttls", "submissions": "tls", "mx": "opportunistic"}
    return {"host": "127.0.0.1", "port": ports[name], "security": security[name], "tls": {"ca_file": ca_file()}}


async def run(settings: Settings) -> Run:
    checked = PROBE.settings.model_validate(settings)
    return await run_once(Job("door", "smtp", PROBE, checked, 60.0, 5.0, PROBE.place(checked)), fresh())


@pytest.mark.parametrize("name", ["submission", "submissions"])
async def test_submission_offers_a_login_under_tls(mail: Pair, name: str) -> None:
    offered = {"mechanisms": ["PLAIN"], "extensions": ["SIZE", "8BITMIME", "PIPELINING"], "greeting": "ESMTP Postfix"}
    assert told(await run(door(mail, name) | offered)) == OK


async def test_a_login_that_is_not_offered_is_missed(mail: Pair) -> None:
    assert told(await run(door(mail, "submission") | {"mechanisms": ["XOAUTH2"]})) == ("content_mismatch", "", "extensions")
    assert told(await run(door(mail, "mx") | {"mechanisms": ["PLAIN"]})) == ("content_mismatch", "", "extensions")


async def test_a_certificate_that_nobody_vouches_for_is_seen(mail: Pair) -> None:
    assert told(await run(door(mail, "submission") | {"tls": {}})) == ("tls_untrusted", "", "tls")


@pytest.mark.parametrize("word", ["", *REFUSALS])
async def test_the_mx_tells_whom_it_takes_mail_for_and_gets_none(mail: Pair, word: str) -> None:
    to, before = address(f"probe2+{word}" if word else "probe2"), mail.postfix.log().count("queue active")
    answer = await run(door(mail, "mx") | {"envelope": {"from": "somebody@elsewhere.example", "to": to}})
    code = " ".join(REFUSALS[word].split()[:2]) if word else ""
    assert (answer.code, answer.failed_step or "") == (code, "envelope" if word else "")
    if word:
        eventually(lambda: f"to=<{to}>" in mail.postfix.log(), "Postfix was asked")
    assert mail.postfix.log().count("queue active") == before


async def test_the_mx_is_told_good_bye(mail: Pair) -> None:
    before = mail.postfix.log().count("quit=1")
    assert told(await run(door(mail, "mx"))) == OK
    eventually(lambda: mail.postfix.log().count("quit=1") > before, "Postfix heard QUIT", said=mail.postfix.log)
