"""Mail through Microsoft Graph against the simulated tenant: what is sent arrives, late, elsewhere, as a report, or not at all."""

import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from time import perf_counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.drill.entra.directory import Directory
from agent.drill.faults import Fault, Http, Mail, Tcp, Where
from agent.drill.graph import letters
from agent.drill.graph.mailbox import Message
from agent.drill.graph.mime import mime_of
from agent.drill.graph.post import Post
from agent.drill.graph.reports import MAILBOX_FULL, report
from agent.drill.graph.throttle import Limit, Span, Throttle
from agent.drill.world import World
from probes.core.context import Context, OpenStep, Shared
from probes.core.contract import Failed, Inconclusive, Stopped
from probes.core.ledger import Artefact
from probes.core.reasons import Reason
from probes.lib.mail import graph
from probes.lib.mail.ends import Folder, Found, Mailbox, SubmissionUncertain
from probes.lib.mail.graph import GraphReceive, GraphSend, mailbox, outbox
from probes.lib.mail.letter import Letter, Template, mime, new_letter
from probes.lib.tenant import Tenant
from tests.drill.graph import NOON
from tests.fakes.graph import Asked, Script, answer, context, error, scripted, shared
from tests.probes.tenants import among, simulated

EVERYWHERE = tuple(Folder)
SENDING = Where(operations=frozenset({"mail_send"}))
UNTAGGED = Template(subject="A subject of the administrator's own")


@dataclass(slots=True)
class Here:
    """A tenant with two mailboxes of ours, and the run that uses them."""

    world: World
    tenant: Tenant
    shared: Shared
    ctx: Context
    receiving: Mailbox
    own: Mailbox

    @property
    def sender(self) -> str:
        return self.world.people[0].mail

    @property
    def recipient(self) -> str:
        return self.world.people[1].mail

    def letter(self, template: Template = Template()) -> Letter:  # noqa: B008 - frozen
        return new_letter("mail", self.sender, self.recipient, template)

    async def sent(self, template: Template = Template()) -> Letter:  # noqa: B008 - frozen
        """Send a letter that is on the ledger."""
        letter = self.letter(template)
        await self.shared.ledger.record("mail", Artefact(letter.tag, "letter", letter.created))
        await outbox(GraphSend(via="graph", from_=self.sender)).submit(self.ctx, letter)
        return letter

    def lying(self, person: int, folder: str) -> list[Message]:
        """Return what lies in somebody's folder, looking past Graph."""
        box = self.world.of(Post).mailbox(self.world.people[person].mail)
        return list(box.within(folder)) if box else []

    def of_ours(self) -> list[str]:
        """Return the folders in which anything is left that a person or an administrator's search could still see."""
        messages = [each for person in (0, 1) for folder in graph.FOLDERS.values() for each in self.lying(person, folder)]
        return [each.folder for each in messages]


@pytest.fixture
async def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Here]:
    monkeypatch.setattr(graph, "looks", lambda: iter([0.02 * number for number in range(1, 200)]))
    async with simulated(tmp_path) as (world, tenant):
        world.of(Post).delay = 0.0
        parts = among(tenant)
        ctx = Context("mail", parts, "contoso", deadline=perf_counter() + 30)
        ctx.open_steps.append(OpenStep("submit", perf_counter()))
        boxes = [mailbox(GraphReceive(via="graph", mailbox=world.people[number].mail)) for number in (1, 0)]
        for box in boxes:
            await box.open(ctx)
        yield Here(world, tenant, parts, ctx, *boxes)


def soon(seconds: float = 0.3) -> float:
    return perf_counter() + seconds


async def test_a_letter_arrives_with_its_own_message_id_its_header_and_the_servers_times(here: Here) -> None:
    letter = here.letter()
    accepted = await outbox(GraphSend(via="graph", from_=here.sender)).submit(here.ctx, letter)
    found = await here.receiving.arrival(here.ctx, letter, soon(5))
    submission = here.ctx.evidence_found["submission_request_id"]
    assert submission
    assert submission != here.ctx.evidence_found["request_id"], "waiting has asked since"
    assert (accepted.code, accepted.at is not None and abs(accepted.at - time.time()) < 60) == ("202", True)
    assert found is not None
    assert (found.tag, found.folder, found.report) == (letter.tag, Folder.INBOX, None)
    assert f"Message-ID: {letter.message_id}\r\n" in found.headers
    assert f"X-Fogbell-Id: {letter.tag}\r\n" in found.headers
    assert found.headers.count("Received: ") == 3
    (message,) = here.lying(1, "inbox")
    assert found.delivered == int(message.received)
    assert 0 < found.granularity < 5


async def test_what_is_accepted_and_lost_is_nowhere(here: Here) -> None:
    here.world.faults.set(Fault(Mail("lost")))
    letter = await here.sent()
    assert await here.receiving.arrival(here.ctx, letter, soon()) is None
    assert await here.receiving.find(here.ctx, {letter.tag}, EVERYWHERE) == []


async def test_a_delayed_letter_is_found_when_it_has_come_and_waiting_may_go_on(here: Here) -> None:
    here.world.of(Post).delay = 1.2
    letter = await here.sent()
    assert await here.receiving.arrival(here.ctx, letter, soon(0.1)) is None
    found = await here.receiving.arrival(here.ctx, letter, soon(5))
    assert found is not None
    assert found.granularity < 1


async def test_looks_begin_a_second_after_acceptance(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    letter, began = await here.sent(), perf_counter()
    found = await here.receiving.arrival(here.ctx, letter, soon(10))
    assert found is not None
    assert found.seen - began >= 1


async def test_the_end_of_waiting_has_a_look_of_its_own(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "looks", lambda: iter([60.0]))
    monkeypatch.setattr(graph, "_LAST_LOOK", 0.1)
    assert await here.receiving.arrival(here.ctx, await here.sent(), soon(0.3)) is not None


async def test_a_reply_is_an_arrival_although_its_message_id_is_another(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "_LATER_LOOKS", 0.0)
    asked = here.letter(UNTAGGED)
    reply = new_letter("other", here.sender, here.recipient, UNTAGGED)
    await _put(here, 1, reply, (("In-Reply-To", asked.message_id),))
    found = await here.receiving.arrival(here.ctx, asked, soon(5))
    assert found is not None
    assert found.tag == asked.tag
    assert "Message-ID: <of-others@elsewhere.example>" in found.headers


async def test_a_junked_letter_is_in_junk_and_not_in_the_inbox(here: Here) -> None:
    here.world.faults.set(Fault(Mail("junk")))
    letter = await here.sent()
    assert await here.receiving.arrival(here.ctx, letter, soon()) is None
    (found,) = await here.receiving.find(here.ctx, {letter.tag}, {Folder.INBOX, Folder.JUNK})
    assert (found.folder, found.tag) == (Folder.JUNK, letter.tag)


@pytest.mark.parametrize("template", [Template(), UNTAGGED], ids=["tag in the subject", "tag in the headers alone"])
@pytest.mark.parametrize("status", ["5.4.316", "5.2.2", "5.7.1"])
async def test_the_report_of_a_letter_that_came_back_is_read(here: Here, status: str, template: Template) -> None:
    here.world.faults.set(Fault(Mail("bounce", status=status)))
    letter = await here.sent(template)
    (found,) = await here.own.find(here.ctx, {letter.tag}, {Folder.INBOX})
    assert found.report is not None
    assert (found.report.tag, found.report.action, found.report.status) == (letter.tag, "failed", status)


async def test_a_report_that_exchange_made_without_headers_is_known_by_its_content() -> None:
    letter = new_letter("mail", "probe1@contoso.example", "probe2@contoso.example", UNTAGGED)
    message = {
        "id": "A1",
        "receivedDateTime": "2026-11-23T12:00:01Z",
        "internetMessageId": "<3f@contoso.example>",
        "subject": "Unzustellbar: etwas",
        "from": {"emailAddress": {"address": "MicrosoftExchange329e71ec@contoso.example"}},
    }
    bounced = report(_at_exchange(letter), letter.recipient, MAILBOX_FULL, domain="contoso.example", now=NOON, random=Random(1))  # noqa: S311
    (found,), _ = await _scripted_find(
        {f"{INBOX}/messages": answer({"value": [message]}), f"{VALUE}": answer(mime_of(bounced))}, letter.tag
    )
    assert (found.tag, found.delivered, found.report and found.report.status) == (letter.tag, NOON + 1, "5.2.2")


async def test_nothing_is_left_behind_on_either_side_and_removing_twice_is_no_error(here: Here) -> None:
    letter = await here.sent()
    assert here.of_ours() == ["sentitems", "inbox"]
    for box in (here.receiving, here.own):
        found = await box.find(here.ctx, {letter.tag}, EVERYWHERE)
        assert len(found) == 1
        await box.remove(here.ctx, found)
        await box.remove(here.ctx, found)
    assert here.of_ours() == []


@pytest.mark.parametrize("folder", ["inbox", "junkemail", "deleteditems", "recoverableitemsdeletions"])
async def test_a_letter_is_removed_from_wherever_it_lies(here: Here, folder: str) -> None:
    letter = here.letter()
    await _put(here, 1, letter, folder=folder)
    await here.receiving.remove(here.ctx, await here.receiving.find(here.ctx, {letter.tag}, EVERYWHERE))
    assert here.of_ours() == []


@pytest.mark.parametrize("status", [400, 404, 405, 501])
async def test_permanent_deletion_that_is_not_offered_falls_back_to_deletion_until_it_is_gone(status: int) -> None:
    left = ["A1 in the inbox", "A1 in the deleted items"]

    async def said(asked: Asked) -> bytes:
        if asked.method == "DELETE":
            return answer(status=204) if left and left.pop() else error(404, "ErrorItemNotFound")
        return answer({"id": "inbox"}) if asked.method == "GET" else error(status, "BadRequest")

    async with scripted(said) as script:
        box, ctx = await _opened(script)
        await box.remove(ctx, [Found("0" * 32, "A1", Folder.INBOX)])
    calls = [(asked.method, asked.path.removeprefix(MAILBOX)) for asked in script.calls[1:]]
    assert calls == [("POST", "/messages/A1/permanentDelete"), *[("DELETE", "/messages/A1")] * 3]


async def test_litter_is_what_carries_a_tag_and_is_older_than_a_day(here: Here) -> None:
    yesterday, today = here.letter(), here.letter()
    await _put(here, 1, yesterday, age=90_000)
    await _put(here, 1, today)
    await _put(here, 1, here.letter(), tagged=False, age=90_000)
    assert [found.tag for found in await here.receiving.find(here.ctx, (), EVERYWHERE)] == [yesterday.tag]


async def test_somebody_elses_mail_is_never_found(here: Here) -> None:
    for age in (0, 90_000):
        await _put(here, 1, here.letter(UNTAGGED), tagged=False, age=age)
    letter = await here.sent()
    found = await here.receiving.find(here.ctx, {letter.tag}, EVERYWHERE)
    assert [one.tag for one in found] == [letter.tag]


async def test_a_letter_of_an_earlier_run_is_found_behind_pages_of_others(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "_AT_ONCE", 2)
    letter = await here.sent()
    for _ in range(5):
        await _put(here, 1, here.letter(UNTAGGED), tagged=False)
    assert len(await here.receiving.find(here.ctx, {letter.tag}, {Folder.INBOX})) == 1


@pytest.mark.parametrize(("status", "code"), [(413, "ErrorMessageSizeExceeded"), (400, "ErrorInvalidRecipients")])
async def test_a_letter_that_graph_does_not_want_is_rejected(status: int, code: str) -> None:
    async with scripted({f"{MAILBOX}/sendMail": error(status, code)}) as script:
        letter = new_letter("mail", "probe1@contoso.example", "probe2@contoso.example", Template())
        with pytest.raises(Failed) as caught:
            await outbox(GraphSend(via="graph", from_=letter.sender)).submit(context(shared(script.tenant)), letter)
    assert (caught.value.reason, caught.value.code) == (Reason.MAIL_REJECTED, code)


MAILBOX = "/v1.0/users/probe1@contoso.example"
INBOX, VALUE = f"{MAILBOX}/mailFolders/inbox", f"{MAILBOX}/messages/A1/$value"


async def _opened(script: Script) -> tuple[Mailbox, Context]:
    box, ctx = mailbox(GraphReceive(via="graph", mailbox="probe1@contoso.example")), context(shared(script.tenant))
    await box.open(ctx)
    return box, ctx


async def _scripted_find(answers: dict[str, bytes], tag: str) -> tuple[list[Found], list[Asked]]:
    """Look for a tag in an inbox by script."""
    async with scripted({INBOX: answer({"id": "inbox"}), **answers}) as script:
        box, ctx = await _opened(script)
        return await box.find(ctx, {tag}, {Folder.INBOX}), script.calls


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"id": 7, "receivedDateTime": 7, "internetMessageHeaders": 7, "from": 7, "subject": None},
        {"id": "A1", "receivedDateTime": "yesterday", "internetMessageHeaders": [7, {"name": None}, {"name": "X", "value": "\r\n\r\n"}]},
        {"id": "A1", "from": {"emailAddress": {"address": None}}, "internetMessageHeaders": [{"value": "x"}]},
        {"id": "\ud800", "subject": "\ud800", "from": {"emailAddress": {"address": "postmaster@\ud800"}}},
        {"id": "A1", "internetMessageHeaders": [{"name": "Subject", "value": "x" * 1_000_000}] * 3},
    ],
    ids=["empty", "numbers", "odd headers", "no address", "half a letter", "long headers"],
)
async def test_whatever_a_message_is_like_it_is_not_ours_and_no_error(message: dict[str, Any]) -> None:
    assert (await _scripted_find({f"{INBOX}/messages": answer({"value": [message]})}, "0" * 32))[0] == []


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "value", "address", "emailAddress"]), inner),
    max_leaves=8,
)
MESSAGES = st.lists(st.dictionaries(st.sampled_from([*graph._SHOWN.split(",")]), ANYTHING), max_size=4)


@settings(max_examples=40, deadline=None)
@given(MESSAGES)
async def test_no_mailbox_of_strangers_breaks_a_look_into_it(messages: list[dict[str, Any]]) -> None:
    assert (await _scripted_find({f"{INBOX}/messages": answer({"value": messages})}, "0" * 32))[0] == []


async def test_a_folder_that_is_not_there_is_empty() -> None:
    assert (await _scripted_find({}, "0" * 32))[0] == []


def _at_exchange(letter: Letter) -> letters.Letter:
    return letters.from_mime(mime(letter), letters.Address(letter.sender), now=time.time(), random=Random(1))  # noqa: S311


async def _put(
    here: Here,
    person: int,
    letter: Letter,
    headers: tuple[tuple[str, str], ...] = (),
    folder: str = "inbox",
    *,
    age: float = 0,
    tagged: bool = True,
) -> None:
    """Put a letter into a folder as if it had come `age` seconds ago; with headers of its own in place of our mark where they are given."""
    box = here.world.of(Post).mailbox(here.world.people[person].mail)
    written = _at_exchange(letter)
    if headers or not tagged:
        written = replace(written, headers=headers, message_id="<of-others@elsewhere.example>", subject="Lunch")
    if box:
        box.store(written, folder, here.world.now() - age)


async def _refused(here: Here) -> Stopped:
    letter = here.letter()
    with pytest.raises(Stopped) as caught:
        await outbox(GraphSend(via="graph", from_=here.sender)).submit(here.ctx, letter)
    assert here.of_ours() == []
    return caught.value


async def test_a_full_mailbox_of_the_sender_is_told(here: Here) -> None:
    here.world.of(Post).mailboxes[here.sender].quota = 0
    error = await _refused(here)
    assert (error.reason, error.code) == (Reason.MAILBOX_FULL, "ErrorQuotaExceeded")


async def test_a_full_mailbox_of_the_recipient_comes_back_as_a_report(here: Here) -> None:
    here.world.of(Post).mailboxes[here.recipient].quota = 0
    letter = await here.sent()
    (found,) = await here.own.find(here.ctx, {letter.tag}, {Folder.INBOX})
    assert found.report is not None
    assert found.report.status == "5.2.2"


@pytest.mark.parametrize("limit", [Limit((Span(1, 600),)), Limit(at_once=0)], ids=["too many in ten minutes", "MailboxConcurrency"])
async def test_throttling_of_our_own_is_inconclusive(here: Here, limit: Limit) -> None:
    here.world.of(Throttle).limits["outlook"] = limit
    with suppress(Inconclusive):
        await here.own.open(here.ctx)
    error = await _refused(here)
    assert isinstance(error, Inconclusive)
    assert (error.reason, error.code, error.retry_after > 0) == (Reason.THROTTLED, "ApplicationThrottled", True)


async def test_sending_for_somebody_else_is_a_permission_that_lacks(here: Here) -> None:
    letter = new_letter("mail", here.recipient, here.recipient, Template())
    with pytest.raises(Failed) as caught:
        await outbox(GraphSend(via="graph", from_=here.sender)).submit(here.ctx, letter)
    assert (caught.value.reason, caught.value.code) == (Reason.PERMISSION, "ErrorSendAsDenied")


async def test_an_application_without_mail_send_is_told_so(here: Here) -> None:
    here.world.of(Directory).grant(here.world.app_id, ["Mail.ReadWrite"])
    fresh = Context("mail", among(here.tenant), "contoso")
    fresh.open_steps.append(OpenStep("submit", perf_counter()))
    here.ctx = fresh
    assert (await _refused(here)).reason is Reason.PERMISSION


async def test_a_mailbox_that_may_not_be_read_is_told_before_anything_is_sent(here: Here) -> None:
    with pytest.raises(Failed) as caught:
        await mailbox(GraphReceive(via="graph", mailbox="nobody@contoso.example")).open(here.ctx)
    assert (caught.value.reason, caught.value.code) == (Reason.APP_CONFIG, "ErrorInvalidUser")
    assert "probably misspelt" in caught.value.message


async def test_a_mailbox_that_was_there_before_and_is_gone_is_the_services_to_explain(here: Here) -> None:
    box = mailbox(GraphReceive(via="graph", mailbox=here.recipient))
    await box.open(here.ctx)
    del here.world.of(Post).mailboxes[here.recipient]
    with pytest.raises(Failed) as caught:
        await box.open(here.ctx)
    assert (caught.value.reason, caught.value.code) == (Reason.NOT_FOUND, "ErrorInvalidUser")
    assert "was open to us before" in caught.value.message


@pytest.mark.parametrize(
    ("effect", "where", "uncertain"),
    [
        (Http((502,)), SENDING, True),
        (Http((504,)), SENDING, True),
        (Tcp("reset"), SENDING, True),
        (Http((503,)), SENDING, False),
        (Http((400,)), SENDING, False),
        (Tcp("reset"), Where(hosts=frozenset({"graph"})), False),
    ],
    ids=["502", "504", "reset after the request", "503", "400", "reset before the request"],
)
async def test_only_what_may_have_been_taken_is_uncertain(here: Here, effect: Any, where: Where, uncertain: bool) -> None:  # noqa: FBT001
    here.world.faults.set(Fault(effect, where))
    assert isinstance(await _refused(here), SubmissionUncertain) is uncertain
