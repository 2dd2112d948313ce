"""Round trips through the simulated tenant: what becomes of a letter, as the probe tells it, and what is left of it."""

from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from agent.drill.faults import Drip, Fault, Http, Mail, Where
from agent.drill.graph.post import Post
from agent.drill.world import World
from agent.job import Job
from agent.runner import run_once
from agent.state import State
from probes.core.context import Shared
from probes.core.contract import Inconclusive, Outcome, Run
from probes.core.ledger import Artefact
from probes.core.needs import Service
from probes.core.reasons import Reason
from probes.lib.mail import graph, outstanding
from probes.lib.tenant import Tenants
from probes.lib.usage import Usage
from probes.mail_roundtrip import PROBE, MailRoundtrip
from tests.lib.mail.roundtrips import STEPS, measured
from tests.probes.tenants import among, simulated

SENDING = Where(operations=frozenset({"mail_send"}))
LISTING = Where(operations=frozenset({"mail_list"}))
DELETING = Where(operations=frozenset({"mail_delete"}))


@dataclass(slots=True)
class Here:
    """A tenant, and a probe that writes from the first of its people to the second."""

    world: World
    shared: Shared

    def settings(self, **more: Any) -> dict[str, Any]:
        ends = {
            "send": {"via": "graph", "from": self.world.people[0].mail},
            "receive": {"via": "graph", "mailbox": self.world.people[1].mail},
        }
        return ends | more

    async def once(self, *, timeout: float = 20.0, **more: Any) -> Run:  # noqa: ASYNC109 - the probe's setting
        checked = MailRoundtrip.model_validate(self.settings(**more))
        job = Job("mail", "mail_roundtrip", PROBE, checked, 300.0, timeout, PROBE.place(checked), tenant="contoso")
        return await run_once(job, self.shared)

    def left(self) -> list[str]:
        """Return the folders of both mailboxes in which anything lies that people or their administrator would see."""
        folders = set(graph.FOLDERS.values()) | {"drafts", "outbox"}
        boxes = [self.world.of(Post).mailbox(person.mail) for person in self.world.people[:2]]
        return [each.folder for box in boxes if box for each in box.messages.values() if each.folder in folders]

    def outstanding(self) -> list[str]:
        """Return the states of the letters on the ledger."""
        return [kept.fact("state") for kept in self.shared.ledger.outstanding("mail")]


@pytest.fixture
async def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Here]:
    monkeypatch.setattr(graph, "looks", lambda: iter([0.05 * number for number in range(1, 1000)]))
    monkeypatch.setattr(graph, "_LAST_LOOK", 0.05)
    # Letters are late soon, and a busy machine has time for the rest.
    monkeypatch.setattr(outstanding, "_RESERVED_SHARE", 0.8)
    async with simulated(tmp_path) as (world, tenant):
        world.of(Post).delay = 0.1
        yield Here(world, among(tenant))


async def test_a_letter_arrives_and_nothing_is_left_of_it_or_of_the_senders_copy(here: Here) -> None:
    run = await here.once()
    assert (run.outcome, run.reason, run.message) == (Outcome.OK, None, "")
    assert tuple(step.name for step in run.steps) == STEPS
    assert (here.left(), here.outstanding(), run.cleanup_failed) == ([], [], False)


async def test_it_measures_the_way_and_its_hops_and_names_what_helps_to_find_the_letter(here: Here) -> None:
    run = await here.once()
    found = measured(run)
    for name in ("accepted_to_delivered_seconds", "delivered_to_visible_seconds", "look_granularity_seconds", "clock_skew_seconds"):
        assert 0 <= found[name] < 20, name
    assert {name for name in found if name.startswith("hop_seconds")} <= {f"hop_seconds {hop}" for hop in ("transport", "delivery")}
    assert "hop_seconds delivery" in found
    evidence = dict(run.evidence)
    assert evidence["message_id"].startswith("<fogbell.")
    assert (evidence["reply"], evidence["folder"]) == ("202", "inbox")
    assert "prod.outlook.com" in evidence["hops"]


@pytest.mark.parametrize(
    ("fault", "outcome", "reason", "step"),
    [
        (Fault(Mail("lost")), Outcome.FAILED, Reason.MAIL_LATE, "transit"),
        (Fault(Mail("delay", seconds=1e6)), Outcome.FAILED, Reason.MAIL_LATE, "transit"),
        (Fault(Mail("junk")), Outcome.FAILED, Reason.MAIL_JUNKED, "seen"),
        (Fault(Mail("bounce", status="5.4.316")), Outcome.FAILED, Reason.MAIL_BOUNCED, "transit"),
        (Fault(Http((503,)), SENDING), Outcome.FAILED, Reason.HTTP_5XX, "submit"),
        (Fault(Http((429,), 10), SENDING), Outcome.INCONCLUSIVE, Reason.THROTTLED, "submit"),
        (Fault(Http((429,), 10), LISTING), Outcome.INCONCLUSIVE, Reason.THROTTLED, "transit"),
        (Fault(Http((504,)), SENDING), Outcome.FAILED, Reason.HTTP_5XX, "submit"),
    ],
    ids=["lost", "delayed", "junk", "bounced", "503", "throttled", "throttled while waiting", "uncertain"],
)
async def test_what_became_of_a_letter_is_told_apart(here: Here, fault: Fault, outcome: Outcome, reason: Reason, step: str) -> None:
    here.world.faults.set(fault)
    run = await here.once(timeout=4)
    assert (run.outcome, run.reason, run.failed_step) == (outcome, reason, step)
    here.world.faults.set()
    assert (await here.once()).outcome is Outcome.OK
    assert here.left() == []


async def test_what_is_told_of_a_request_is_that_of_the_one_that_failed_and_not_of_clearing_away(here: Here) -> None:
    here.world.faults.set(Fault(Http((503,)), SENDING))
    evidence = dict((await here.once()).evidence)
    assert evidence["status"] == "503"


async def test_a_bounce_has_the_reports_status_as_its_code(here: Here) -> None:
    here.world.faults.set(Fault(Mail("bounce", status="5.7.1")))
    run = await here.once(timeout=4)
    assert run.code.endswith(" 5.7.1")
    assert "5.7.1" in dict(run.evidence)["report"]
    assert "lost_total" not in measured(run)
    assert (here.left(), here.outstanding()) == ([], [])


async def test_a_full_mailbox_is_told_apart_from_a_bounce(here: Here) -> None:
    box = here.world.of(Post).mailbox(here.world.people[1].mail)
    assert box is not None
    box.quota = 10
    run = await here.once(timeout=4)
    assert (run.reason, run.failed_step, run.code) == (Reason.MAILBOX_FULL, "transit", "554 5.2.2")
    assert (here.left(), here.outstanding()) == ([], [])


async def test_a_sender_whose_mailbox_is_full_sends_nothing(here: Here) -> None:
    box = here.world.of(Post).mailbox(here.world.people[0].mail)
    assert box is not None
    box.quota = 10
    run = await here.once(timeout=4)
    assert (run.reason, run.failed_step, here.outstanding()) == (Reason.MAILBOX_FULL, "submit", [])


async def test_junk_can_be_tolerated(here: Here) -> None:
    here.world.faults.set(Fault(Mail("junk")))
    run = await here.once(timeout=4, junk="tolerate")
    assert (run.outcome, dict(run.evidence)["folder"], here.left()) == (Outcome.OK, "junk", [])


async def test_an_uncertain_submission_says_so_and_is_looked_for(here: Here) -> None:
    here.world.faults.set(Fault(Http((504,)), SENDING))
    run = await here.once()
    assert dict(run.evidence)["submission"] == "uncertain"
    assert here.outstanding() == ["uncertain"]


async def test_a_late_letter_is_found_by_a_later_run_also_after_a_restart(here: Here) -> None:
    here.world.of(Post).delay = 2.0
    late = await here.once(timeout=4)
    assert (late.reason, here.outstanding()) == (Reason.MAIL_LATE, ["late"])
    here.world.of(Post).delay = 0.1
    here.shared = replace(here.shared, parts={Tenants: here.shared.part(Tenants)})
    while "late_seconds" not in measured(run := await here.once()):
        assert run.outcome is Outcome.OK
    assert 1 <= measured(run)["late_seconds"] < 10
    assert (here.left(), here.outstanding()) == ([], [])


async def test_on_a_full_disk_nothing_is_sent_until_there_is_room_again(here: Here, tmp_path: Path) -> None:
    state = State(tmp_path / "state")
    await state.open()
    assert state._database is not None
    (pages,) = state._database.execute("PRAGMA page_count").fetchone()
    state._database.execute(f"PRAGMA max_page_count={pages}")  # SQLite's own way to be full
    with suppress(Inconclusive):
        for number in count():
            await state.record("another", Artefact(f"{number}", "message", 1.0, (("folder", "x" * 50),)))
    here.shared = replace(here.shared, ledger=state)
    run = await here.once()
    assert (run.outcome, run.reason) == (Outcome.INCONCLUSIVE, Reason.AGENT_RESOURCES)
    assert (here.left(), here.outstanding()) == ([], [])
    state._database.execute("PRAGMA max_page_count=100000")
    assert (await here.once()).outcome is Outcome.OK
    await state.close()


async def test_clearing_away_that_fails_is_counted_and_mended_by_the_next_run(here: Here) -> None:
    here.world.faults.set(Fault(Http((500,)), DELETING))
    run = await here.once()
    assert (run.outcome, run.cleanup_failed) == (Outcome.OK, True)
    assert here.outstanding() == ["arrived"]
    here.world.faults.set()
    run = await here.once()
    assert (run.outcome, run.cleanup_failed, here.left(), here.outstanding()) == (Outcome.OK, False, [], [])


async def test_a_service_that_hangs_ends_at_the_deadline_in_the_step_that_was_open(here: Here) -> None:
    here.world.faults.set(Fault(Drip(0), LISTING))
    run = await here.once(timeout=2)
    assert (run.reason, run.failed_step, here.outstanding()) == (Reason.TIMEOUT, "transit", ["accepted"])


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"send": {"via": "pigeon", "from": "a@b.example"}}, "pigeon"),
        ({"send": {"from": "a@b.example"}}, "via"),
        ({"receive": {"via": "imap", "host": "imap.example", "username": "bob", "password": {"env": "X"}}}, "to is needed"),
        ({"junk": "ignore"}, "tolerate"),
        ({"message": {"subject": "hello {name}"}}, "{name}"),
        ({"to": "nobody"}, "to"),
        ({"autodiscover": True}, "autodiscover is for ends via ews"),
    ],
    ids=["unknown way", "no way", "no address", "junk", "placeholder", "no recipient", "nothing to discover"],
)
def test_settings_that_cannot_be_are_refused(changed: dict[str, Any], word: str) -> None:
    ends = {"send": {"via": "graph", "from": "a@contoso.example"}, "receive": {"via": "graph", "mailbox": "b@contoso.example"}}
    with pytest.raises(ValidationError, match=word.replace("{", r"\{")):
        MailRoundtrip.model_validate(ends | changed)


WAYS_TO_SEND: dict[str, dict[str, Any]] = {
    "graph": {"via": "graph", "from": "a@contoso.example"},
    "smtp": {"via": "smtp", "host": "smtp.office365.com", "from": "a@contoso.example", "oauth": True},
    "password": {"via": "smtp", "host": "mail.example.org", "from": "a@example.org", "password": {"env": "PASSWORD"}},
    "direct": {"via": "smtp", "direct": True, "from": "a@example.org"},
    "ews": {"via": "ews", "from": "a@contoso.example"},
}
WAYS_TO_RECEIVE: dict[str, dict[str, Any]] = {
    "graph": {"via": "graph", "mailbox": "b@contoso.example"},
    "imap": {"via": "imap", "host": "outlook.office365.com", "username": "b@contoso.example", "oauth": True},
    "pop3": {"via": "pop3", "host": "outlook.office365.com", "username": "b@contoso.example", "oauth": True},
    "purged": {"via": "pop3", "host": "outlook.office365.com", "username": "b@contoso.example", "oauth": True, "purge": True},
    "password": {"via": "imap", "host": "imap.example.org", "username": "b@example.org", "password": {"env": "PASSWORD"}},
    "ews": {"via": "ews", "mailbox": "b@contoso.example"},
}
NEEDS = {
    "graph": {("Mail.Send", "a@contoso.example"), ("Mail.ReadWrite", "a@contoso.example")},
    "smtp": {("SMTP.SendAsApp", "a@contoso.example")},
    "ews": {("full_access_as_app", "a@contoso.example")},
    "to graph": {("Mail.ReadWrite", "b@contoso.example")},
    "to imap": {("IMAP.AccessAsApp", "b@contoso.example")},
    "to pop3": {("POP.AccessAsApp", "b@contoso.example")},
    "to purged": {("POP.AccessAsApp", "b@contoso.example"), ("Mail.ReadWrite", "b@contoso.example")},
    "to ews": {("full_access_as_app", "b@contoso.example")},
}


@pytest.mark.parametrize("receive", WAYS_TO_RECEIVE)
@pytest.mark.parametrize("send", WAYS_TO_SEND)
def test_any_way_of_sending_goes_with_any_way_of_receiving(send: str, receive: str) -> None:
    settings = MailRoundtrip.model_validate({"send": WAYS_TO_SEND[send], "receive": WAYS_TO_RECEIVE[receive]})
    needs = {(need.name, target) for need in PROBE.permissions(settings) for target in need.targets}
    # The sender's copies of what is submitted by SMTP are looked for as the receiving mailbox is opened.
    own = {
        (name, "a@contoso.example") for name, _ in NEEDS.get(f"to {receive}", set()) if send == "smtp" and receive not in {"pop3", "purged"}
    }
    assert needs == NEEDS.get(send, set()) | NEEDS.get(f"to {receive}", set()) | own
    assert PROBE.tenant(settings) is bool(needs)
    assert bool(PROBE.costs(settings)) is (not {send, receive}.isdisjoint({"graph", "purged"}))
    assert settings.recipient == ("b@example.org" if receive == "password" else "b@contoso.example")


SUBMITTED = WAYS_TO_SEND["smtp"]
RETIRING = {"via": "smtp", "host": "smtp.office365.com", "from": "a@contoso.example", "password": {"env": "PASSWORD"}}
SAME = {"via": "imap", "host": "imap.example.org", "username": "A@contoso.example", "password": {"env": "PASSWORD"}, "junk": "Spam"}
IMAP = {"via": "imap", "host": "outlook.office365.com", "username": "b@contoso.example", "oauth": True, "folder": "Probe", "junk": "Spam"}


@pytest.mark.parametrize(
    ("send", "receive", "own"),
    [
        pytest.param(SUBMITTED, WAYS_TO_RECEIVE["graph"], {"via": "graph", "mailbox": "a@contoso.example"}, id="as Graph opens the other"),
        pytest.param(SUBMITTED, WAYS_TO_RECEIVE["ews"], {"via": "ews", "mailbox": "a@contoso.example"}, id="as EWS opens the other"),
        pytest.param(SUBMITTED, IMAP, {**WAYS_TO_RECEIVE["imap"], "username": "a@contoso.example"}, id="as IMAP does, its own folders"),
        pytest.param(
            {**SUBMITTED, "from": "shared@contoso.example", "username": "a@contoso.example"},
            IMAP,
            WAYS_TO_RECEIVE["imap"] | {"username": "a@contoso.example"},
            id="who logs in",
        ),
        pytest.param(RETIRING, SAME, SAME, id="the same mailbox"),
        pytest.param(SUBMITTED, WAYS_TO_RECEIVE["pop3"], None, id="POP3 shows no sent items"),
        pytest.param(SUBMITTED, WAYS_TO_RECEIVE["password"], None, id="a mailbox elsewhere"),
        pytest.param(RETIRING, WAYS_TO_RECEIVE["password"], None, id="Exchange with a password"),
        pytest.param(WAYS_TO_SEND["password"], SAME, None, id="a server that keeps no copies"),
        pytest.param(WAYS_TO_SEND["direct"], WAYS_TO_RECEIVE["graph"], None, id="direct"),
    ],
)
def test_copies_of_what_is_submitted_are_looked_for_where_they_can_be(
    send: dict[str, Any], receive: dict[str, Any], own: dict[str, Any] | None
) -> None:
    settings = MailRoundtrip.model_validate({"send": send, "receive": receive})
    assert settings.own == (None if own is None else MailRoundtrip.model_validate({"send": send, "receive": receive, "sent": own}).sent)
    left = send in (SUBMITTED, RETIRING) and own is None
    told = PROBE.warnings(settings)
    assert bool(told) is left
    assert all("`sent: {via: graph, mailbox: a@contoso.example}`" in sentence for sentence in told)


def test_what_is_said_of_the_senders_mailbox_counts() -> None:
    said = {"send": SUBMITTED, "receive": WAYS_TO_RECEIVE["graph"], "sent": IMAP}
    settings = MailRoundtrip.model_validate(said)
    assert settings.own == settings.sent
    assert PROBE.warnings(MailRoundtrip.model_validate(said | {"receive": WAYS_TO_RECEIVE["password"]})) == ()


async def test_a_good_run_asks_no_more_of_graph_than_it_is_said_to_cost(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    asked = []
    for _ in range(2):
        await here.once()
        asked += [count for _, service, count in here.shared.part(Usage).calls() if service is Service.OUTLOOK]
    (cost,) = PROBE.costs(MailRoundtrip.model_validate(here.settings()))
    assert cost.calls / 2 < asked[1] - asked[0] <= cost.calls
