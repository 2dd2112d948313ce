"""What becomes of a letter, told apart: each state with its step, reason and code, and nothing left behind."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from time import time
from typing import Any

import pytest

from probes.core.contract import Failed, Inconclusive, Outcome, Run
from probes.core.ledger import Artefact, MemoryLedger
from probes.core.reasons import Reason
from probes.lib.mail import outstanding
from probes.lib.mail.ends import Folder, SubmissionUncertain
from probes.lib.mail.letter import Letter
from probes.lib.mail.outstanding import DAY
from probes.lib.mail.report import Report
from probes.lib.mail.trip import Judgement
from tests.fakes.letterbox import Box, Office, older
from tests.lib.mail.roundtrips import STEPS, Mail, letter, measured

RECEIVED = (
    "Received: from mx.example (10.0.0.1) by box.example with LMTP id 3; Mon, 23 Nov 2026 10:00:07 +0000\r\n"
    "Received: from sub.example by mx.example with ESMTPS id 2; Mon, 23 Nov 2026 10:00:05 +0000\r\n"
    "Received: from [10.0.0.9] by sub.example with ESMTPSA id 1; Mon, 23 Nov 2026 10:00:00 +0000\r\n"
)


@pytest.fixture(autouse=True)
def much_of_the_time_is_for_clearing_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let letters be late soon, and leave a busy machine time for the rest."""
    monkeypatch.setattr(outstanding, "_RESERVED_SHARE", 0.85)


def lost(_: Office, __: Letter) -> None:
    """Let the letter vanish."""


def junked(office: Office, sent: Letter) -> None:
    office.to.put(sent, Folder.JUNK)


def doubled(office: Office, sent: Letter) -> None:
    office.to.put(sent)
    office.to.put(sent)


def travelled(office: Office, sent: Letter) -> None:
    office.to.put(sent, received=RECEIVED)


def reported(action: str, status: str, diagnostic: str) -> Callable[[Office, Letter], None]:
    def fate(office: Office, sent: Letter) -> None:
        office.of.put(sent, report=Report(sent.tag, action, status, diagnostic))

    return fate


def is_clean(mail: Mail) -> bool:
    return not mail.office.to.kept and not mail.office.of.kept and not mail.outstanding()


async def test_a_letter_that_arrives_is_ok_with_all_steps_and_leaves_nothing() -> None:
    mail = Mail(Office(copies=True))
    run = await mail.once()
    assert (run.outcome, run.reason, run.message) == (Outcome.OK, None, "")
    assert tuple(step.name for step in run.steps) == STEPS
    assert is_clean(mail)
    assert not run.cleanup_failed
    assert dict(run.evidence)["queue_id"] == "4Q1"
    assert (mail.office.to.closed, mail.office.of.closed) == (1, 1)


async def test_a_letter_is_on_the_ledger_before_it_is_handed_over() -> None:
    mail = Mail(Office())
    known: list[str] = []

    def handed(office: Office, sent: Letter) -> None:
        known.extend(kept.id for kept in mail.outstanding())
        office.to.put(sent)

    mail.office.fate = handed
    await mail.once()
    assert known == [mail.office.letters[0].tag]


async def test_a_ledger_that_cannot_be_written_sends_nothing() -> None:
    class Full(MemoryLedger):
        async def record(self, probe: str, artefact: Artefact) -> None:
            raise Inconclusive(Reason.AGENT_RESOURCES, f"no room for {artefact.id} of {probe}")

    mail = Mail(Office(), Full())
    run = await mail.once()
    assert (run.outcome, run.reason) == (Outcome.INCONCLUSIVE, Reason.AGENT_RESOURCES)
    assert mail.office.letters == []


async def test_it_tells_where_the_time_went_by_the_servers_clocks() -> None:
    mail = Mail(Office(fate=travelled))
    found = measured(await mail.once())
    assert {name: found[f"hop_seconds {name}"] for name in ("transport", "delivery")} == {"transport": 5.0, "delivery": 2.0}
    assert "hop_seconds submission" not in found
    assert found["accepted_to_delivered_seconds"] == 0.0
    assert found["clock_skew_seconds"] >= 0.0
    assert {"delivered_to_visible_seconds", "look_granularity_seconds"} <= found.keys()


@pytest.mark.parametrize(
    ("refusal", "reason", "code"),
    [
        (Failed(Reason.MAIL_DEFERRED, "not now", code="451 4.3.2"), Reason.MAIL_DEFERRED, "451 4.3.2"),
        (Failed(Reason.MAIL_DEFERRED, "greylisted", code="451 4.7.500"), Reason.MAIL_DEFERRED, "451 4.7.500"),
        (Failed(Reason.MAIL_REJECTED, "never", code="550 5.7.1"), Reason.MAIL_REJECTED, "550 5.7.1"),
        (Failed(Reason.MAILBOX_FULL, "no room", code="554 5.2.2"), Reason.MAILBOX_FULL, "554 5.2.2"),
        (Failed(Reason.BLOCKED_BY_POLICY, "basic authentication is gone", code="550 5.7.30"), Reason.BLOCKED_BY_POLICY, "550 5.7.30"),
        (Inconclusive(Reason.THROTTLED, "too many connections", code="432 4.3.2"), Reason.THROTTLED, "432 4.3.2"),
    ],
    ids=lambda value: value.code if isinstance(value, Failed | Inconclusive) else "",
)
async def test_what_the_server_refuses_fails_at_submit_and_is_nowhere(refusal: Failed | Inconclusive, reason: Reason, code: str) -> None:
    mail = Mail(Office(refusal=refusal))
    run = await mail.once()
    assert (run.failed_step, run.reason, run.code) == ("submit", reason, code)
    assert run.outcome is (Outcome.FAILED if isinstance(refusal, Failed) else Outcome.INCONCLUSIVE)
    assert is_clean(mail)


async def test_a_sender_who_cannot_sign_in_is_no_matter_of_the_submission() -> None:
    mail = Mail(Office(closed_to_us=Failed(Reason.CREDENTIAL_EXPIRED, "the secret has expired", code="7000222")))
    run = await mail.once()
    assert (run.failed_step, run.reason) == ("sign_in", Reason.CREDENTIAL_EXPIRED)
    assert (mail.office.letters, mail.outstanding()) == ([], ())


async def test_an_uncertain_submission_fails_and_stays_known_until_the_letter_is_found() -> None:
    mail = Mail(Office(refusal=SubmissionUncertain(Reason.CONNECTION_RESET, "the connection was lost after the letter was handed over")))
    run = await mail.once()
    assert (run.failed_step, run.reason, run.code) == ("submit", Reason.CONNECTION_RESET, "uncertain")
    assert dict(run.evidence)["submission"] == "uncertain"
    assert [kept.fact("state") for kept in mail.outstanding()] == ["uncertain"]
    mail.office.to.put(mail.office.letters[0])
    mail.office.refusal = None
    mail.restart()
    run = await mail.once()
    assert run.outcome is Outcome.OK
    assert dict(run.evidence)["arrived_all_the_same"] == mail.office.letters[0].tag
    assert "late_seconds" not in measured(run)
    assert is_clean(mail)


async def test_a_letter_that_was_seen_is_never_lost_though_nothing_of_it_is_found_after_a_kill() -> None:
    mail, seen = Mail(Office()), letter()
    facts = (("state", "arrived"), ("accepted", repr(seen.created)))
    await mail.ledger.record("mail", Artefact(seen.tag, "message", seen.created, facts))
    run = await mail.once()
    assert (run.outcome, "lost_total" in measured(run), mail.outstanding()) == (Outcome.OK, False, ())


async def test_an_uncertain_submission_that_never_shows_is_forgotten_after_a_day_and_is_no_loss() -> None:
    mail = Mail(Office(refusal=SubmissionUncertain(Reason.CONNECTION_RESET, "gone")))
    await mail.once()
    mail.office.refusal = None
    await mail.age(DAY + 1)
    run = await mail.once()
    assert "lost_total" not in measured(run)
    assert mail.outstanding() == ()


@pytest.mark.parametrize(
    ("fate", "reason", "step", "code"),
    [
        (reported("failed", "5.1.1", "smtp; 550 5.1.1 no such user"), Reason.MAIL_BOUNCED, "transit", "550 5.1.1"),
        (reported("failed", "5.4.4", "Host not found"), Reason.MAIL_BOUNCED, "transit", "550 5.4.4"),
        (reported("failed", "", "nobody knows"), Reason.MAIL_BOUNCED, "transit", ""),
        (reported("failed", "5.2.2", "smtp; 552 5.2.2 over quota"), Reason.MAILBOX_FULL, "transit", "552 5.2.2"),
        (reported("failed", "5.2.0", "554 5.2.0 STOREDRV; QuotaExceededException"), Reason.MAILBOX_FULL, "transit", "554 5.2.0"),
        (junked, Reason.MAIL_JUNKED, "seen", ""),
        (lost, Reason.MAIL_LATE, "transit", ""),
        (reported("delayed", "4.4.1", "connection timed out"), Reason.MAIL_LATE, "transit", ""),
    ],
    ids=["bounced", "bounced without a reply", "bounced without a status", "full", "over quota", "junk", "late", "held up"],
)
async def test_what_became_of_an_accepted_letter_is_told_apart(
    fate: Callable[[Office, Letter], None], reason: Reason, step: str, code: str
) -> None:
    mail = Mail(Office(fate=fate, copies=True))
    run = await mail.once(timeout=2.0)
    assert (run.outcome, run.reason, run.failed_step, run.code) == (Outcome.FAILED, reason, step, code)
    assert (mail.office.to.kept, mail.office.of.kept) == ({}, {})
    assert [kept.fact("state") for kept in mail.outstanding()] == (["late"] if reason is Reason.MAIL_LATE else [])
    assert not run.cleanup_failed


async def test_junk_can_be_tolerated() -> None:
    mail = Mail(Office(fate=junked))
    run = await mail.once(timeout=2.0, judgement=Judgement(tolerates_junk=True))
    assert (run.outcome, dict(run.evidence)["folder"]) == (Outcome.OK, "junk")
    assert "delivered_to_visible_seconds" in measured(run)
    assert measured(run)["look_granularity_seconds"] > 0
    assert is_clean(mail)


async def test_a_letter_slower_than_expected_is_too_slow_and_still_measured() -> None:
    run = await Mail(Office()).once(judgement=Judgement(within=1e-9))
    assert (run.reason, run.failed_step) == (Reason.TOO_SLOW, "transit")
    assert "accepted_to_delivered_seconds" in measured(run)


async def test_a_letter_that_arrives_twice_is_ok_and_counted() -> None:
    mail = Mail(Office(fate=doubled))
    run = await mail.once()
    assert (run.outcome, measured(run)["duplicates_total"]) == (Outcome.OK, 1)
    assert is_clean(mail)


async def test_a_letter_that_comes_again_after_its_run_is_counted_by_the_next_and_removed() -> None:
    mail = Mail(Office())
    await mail.once()
    mail.office.to.put(mail.office.letters[0])
    run = await mail.once()
    assert (run.outcome, measured(run)["duplicates_total"]) == (Outcome.OK, 1)
    assert is_clean(mail)
    assert "duplicates_total" not in measured(await mail.once())


async def test_a_letter_that_comes_again_while_it_is_cleared_away_is_counted_once() -> None:
    mail = Mail(Office())

    def comes_again(box: Box) -> None:
        if len(box.asked) == 2:
            box.put(mail.office.letters[0])

    mail.office.to.before_find = comes_again
    run = await mail.once()
    assert measured(run)["duplicates_total"] == 1
    assert is_clean(mail)


async def test_a_letter_that_could_not_be_removed_has_not_come_again() -> None:
    mail = Mail(Office())
    mail.office.to.broken_to_remove = Failed(Reason.HTTP_5XX, "no")
    await mail.once()
    mail.office.to.broken_to_remove = None
    assert "duplicates_total" not in measured(await mail.once())


async def test_a_letter_found_late_by_a_later_run_is_told_with_its_seconds_and_removed() -> None:
    mail = Mail(Office(fate=lost))
    await mail.once(timeout=2.0)
    mail.office.fate = None
    await mail.age(500)
    mail.office.to.put(mail.office.letters[0])
    mail.restart()
    run = await mail.once()
    assert run.outcome is Outcome.OK
    assert 500 <= measured(run)["late_seconds"] < 560
    assert is_clean(mail)


async def test_looking_for_earlier_letters_is_no_part_of_the_way_of_this_one() -> None:
    mail = Mail(Office(fate=lost))
    await mail.once(timeout=2.0)
    mail.office.fate = None
    mail.office.to.asked.clear()
    await mail.once()
    early, mine = (sent.tag for sent in mail.office.letters)
    assert [early in tags for tags, _ in mail.office.to.asked if tags] == [False, True]
    assert all(mine in tags for tags, _ in mail.office.to.asked if tags)


async def test_a_letter_that_has_not_come_within_a_day_is_lost_and_counted_once() -> None:
    mail = Mail(Office(fate=lost))
    await mail.once(timeout=2.0)
    mail.office.fate = None
    await mail.age(DAY + 1)
    assert measured(await mail.once())["lost_total"] == 1
    assert mail.outstanding() == ()
    assert "lost_total" not in measured(await mail.once())


async def test_an_accepted_letter_whose_run_was_killed_is_lost_after_a_day() -> None:
    handed = asyncio.Event()
    mail = Mail(Office(fate=lambda _, __: handed.set()))
    running = asyncio.create_task(mail.once(timeout=30))
    while [kept.fact("state") for kept in mail.outstanding()] != ["accepted"]:
        await handed.wait()
        await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    mail.office.fate = None
    await mail.age(DAY + 1)
    assert measured(await mail.once())["lost_total"] == 1


async def test_a_late_letter_that_comes_back_after_its_run_is_lost() -> None:
    mail = Mail(Office(fate=lost))
    await mail.once(timeout=2.0)
    mail.office.fate = None
    first = mail.office.letters[0]
    mail.office.of.put(first, report=Report(first.tag, "failed", "4.4.7", "expired"))
    assert measured(await mail.once())["lost_total"] == 1
    assert is_clean(mail)


async def test_no_more_than_twenty_earlier_letters_are_looked_for_in_one_run_and_each_gets_its_turn() -> None:
    mail = Mail(Office())
    for _ in range(30):
        earlier = letter()
        await mail.ledger.record("mail", Artefact(earlier.tag, "letter", time(), (("state", "late"), ("accepted", repr(time())))))
    waiting = {kept.id for kept in mail.outstanding()}
    await mail.once()
    await mail.once()
    looks = [tags & waiting for tags, folders in mail.office.to.asked if Folder.DELETED in folders and tags]
    assert [len(look) for look in looks] == [20, 20]
    assert looks[0] | looks[1] == waiting


async def test_the_first_run_of_a_process_clears_away_what_no_ledger_knows_and_the_next_does_not_look_again() -> None:
    mail = Mail(Office())
    stray = letter()
    for folder in (Folder.INBOX, Folder.DELETED):
        mail.office.to.put(stray, folder)
    mail.office.of.put(stray, Folder.SENT)
    older(mail.office.to, DAY + 1)
    older(mail.office.of, DAY + 1)
    run = await mail.once()
    assert dict(run.evidence)["swept"].startswith("3 messages")
    assert is_clean(mail)
    mail.office.to.asked.clear()
    await mail.once()
    assert all(tags for tags, _ in mail.office.to.asked)


@pytest.mark.parametrize(
    "headers",
    [
        "Subject: FW: Fogbell mail probe {tag} - why do I see these?\r\nMessage-ID: <a@example.org>",
        "Subject: Re: hello\r\nMessage-ID: <b@example.org>\r\nIn-Reply-To: <fogbell.{tag}@contoso.example>",
        "Subject: Re: Re: hello\r\nMessage-ID: <c@example.org>\r\nReferences: <x@y> <fogbell.{tag}@contoso.example>",
    ],
    ids=["a forward", "a reply", "a thread"],
)
async def test_what_people_write_about_our_letters_stays_theirs_however_old(headers: str) -> None:
    mail = Mail(Office())
    key = mail.office.to.put(letter())
    stored = mail.office.to.kept[key]
    mail.office.to.kept[key] = replace(stored, headers=headers.format(tag=stored.tag))
    older(mail.office.to, 3 * DAY)
    await mail.once()
    assert list(mail.office.to.kept) == [key]


async def test_letters_of_others_that_are_younger_than_a_day_stay() -> None:
    mail = Mail(Office())
    mail.office.to.put(letter())
    await mail.once()
    assert len(mail.office.to.kept) == 1


@pytest.mark.parametrize(
    "breaks",
    [{"broken_to_remove": Failed(Reason.HTTP_5XX, "no answer")}, {"broken_to_remove": Inconclusive(Reason.THROTTLED, "slow down")}],
    ids=["failed", "throttled"],
)
async def test_what_cannot_be_cleared_away_is_counted_and_is_no_reason(breaks: dict[str, Any]) -> None:
    mail = Mail(Office())
    for name, value in breaks.items():
        setattr(mail.office.to, name, value)
    run = await mail.once()
    assert (run.outcome, run.cleanup_failed, len(mail.outstanding())) == (Outcome.OK, True, 1)
    mail.office.to.broken_to_remove = None
    mail.restart()
    run = await mail.once()
    assert (run.outcome, run.cleanup_failed) == (Outcome.OK, False)
    assert is_clean(mail)


async def test_a_sender_who_cannot_be_looked_into_leaves_the_letter_on_the_ledger_until_he_can() -> None:
    mail = Mail(Office(copies=True))
    mail.office.of.broken = Failed(Reason.PERMISSION, "may not")
    run = await mail.once()
    assert (run.outcome, run.cleanup_failed) == (Outcome.OK, True)
    assert [kept.fact("state") for kept in mail.outstanding()] == ["copy"]
    mail.office.of.broken = None
    await mail.age(100)
    assert not (await mail.once()).cleanup_failed
    assert is_clean(mail)


async def test_a_copy_that_shows_later_than_the_letter_is_waited_for() -> None:
    def without_copy(office: Office, sent: Letter) -> None:
        office.of.kept.clear()
        office.to.put(sent)

    mail = Mail(Office(copies=True, fate=without_copy))
    await mail.once()
    assert [kept.fact("state") for kept in mail.outstanding()] == ["copy"]
    mail.office.of.put(mail.office.letters[0], Folder.SENT)
    mail.office.fate = None
    await mail.once()
    assert is_clean(mail)


async def test_a_mailbox_that_hangs_while_clearing_away_never_makes_a_run_a_timeout() -> None:
    mail = Mail(Office(copies=True))
    mail.office.of.hangs = True
    run = await mail.once(timeout=2.0)
    assert (run.outcome, run.cleanup_failed) == (Outcome.OK, True)


async def test_a_late_letter_is_late_also_where_junk_cannot_be_looked_into() -> None:
    mail = Mail(Office(fate=lost))
    mail.office.of.broken = Failed(Reason.PERMISSION, "may not read the sender's mailbox")
    run = await mail.once(timeout=2.0)
    assert (run.reason, run.failed_step, run.cleanup_failed) == (Reason.MAIL_LATE, "transit", True)
    assert "may not" in dict(run.evidence)["elsewhere"]


async def test_a_mailbox_that_fails_under_the_wait_is_to_blame_and_the_letter_stays_known() -> None:
    mail = Mail(Office())

    def breaks(office: Office, sent: Letter) -> None:
        office.to.put(sent)
        office.to.broken = Failed(Reason.CONNECTION_RESET, "gone")

    mail.office.fate = breaks
    run = await mail.once()
    assert (run.reason, run.failed_step) == (Reason.CONNECTION_RESET, "transit")
    assert [kept.fact("state") for kept in mail.outstanding()] == ["accepted"]
    mail.office.to.broken, mail.office.fate = None, None
    run = await mail.once()
    assert "late_seconds" not in measured(run)
    assert is_clean(mail)


async def test_who_is_asked_to_stay_away_does_and_clears_away_later() -> None:
    mail = Mail(Office())

    def slows_down(office: Office, sent: Letter) -> None:
        office.to.put(sent)
        office.to.broken = Inconclusive(Reason.THROTTLED, "slow down", retry_after=9)

    mail.office.fate = slows_down
    run = await mail.once()
    assert (run.outcome, run.failed_step, run.retry_after, run.cleanup_failed) == (Outcome.INCONCLUSIVE, "transit", 9, False)
    assert mail.office.to.asked == []
    mail.office.to.broken, mail.office.fate = None, None
    await mail.once()
    assert is_clean(mail)


async def test_a_letter_accepted_at_the_last_moment_is_a_slow_submission_and_no_late_letter() -> None:
    mail = Mail(Office(takes=0.5))
    run = await mail.once(timeout=2.0)
    assert (run.reason, run.failed_step) == (Reason.TIMEOUT, "submit")
    assert is_clean(mail)


async def test_nothing_is_sent_where_the_mailbox_cannot_be_opened() -> None:
    mail = Mail(Office())
    mail.office.to.broken = Failed(Reason.PERMISSION, "no")
    run: Run = await mail.once()
    assert (run.reason, run.failed_step, mail.office.letters) == (Reason.PERMISSION, "sign_in", [])
    assert mail.outstanding() == ()


async def test_a_run_that_is_cancelled_leaves_its_letter_on_the_ledger_and_closes_the_mailboxes() -> None:
    handed = asyncio.Event()
    mail = Mail(Office(fate=lambda _, __: handed.set()))
    running = asyncio.create_task(mail.once(timeout=30))
    await handed.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert [kept.fact("state") for kept in mail.outstanding()] == ["accepted"]
    assert mail.office.to.closed == 1
    mail.office.to.put(mail.office.letters[0])
    mail.office.fate = None
    mail.restart()
    await mail.once()
    assert is_clean(mail)
