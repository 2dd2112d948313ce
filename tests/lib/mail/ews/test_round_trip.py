"""Letters by EWS against the simulated Exchange, every word of both sides held against Microsoft's schemas."""

import time
from time import perf_counter

import pytest

from agent.drill.faults import Fault, Mail
from agent.drill.graph.mailbox import QUOTA
from agent.drill.graph.post import Post
from probes.core.contract import Failed
from probes.core.needs import Permission
from probes.core.reasons import Reason
from probes.lib.mail.ends import Folder, Mailbox
from probes.lib.mail.ews import ends
from probes.lib.mail.ews.desk import EwsDesk
from probes.lib.mail.ews.settings import EwsReceive, EwsSend, permissions
from probes.lib.mail.letter import Letter, Template, new_letter, tag_in
from tests.fakes.exchange import RECIPIENT, SENDER, Exchange
from tests.judges.ews import mistakes, needs_schemas

on_one_loop = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def exchange(served: Exchange) -> Exchange:
    """Let it be as if nobody had been there."""
    served.world.faults.set()
    for box in served.world.of(Post).mailboxes.values():
        box.messages.clear()
        box.quota = QUOTA
    for said in (served.heard.requests, served.heard.answers, served.heard.headers):
        said.clear()
    return served


def sending(*, save_copy: bool = False) -> EwsSend:
    return EwsSend.model_validate({"via": "ews", "from": SENDER, "save_copy": save_copy})


def receiving(address: str = RECIPIENT) -> ends.EwsMailbox:
    return ends.EwsMailbox(EwsReceive(via="ews", mailbox=address), address)


def letter(recipient: str = RECIPIENT) -> Letter:
    return new_letter("mail", SENDER, recipient, Template())


async def sent(exchange: Exchange, *, save_copy: bool = False, recipient: str = RECIPIENT) -> Letter:
    ours = letter(recipient)
    await ends.outbox(sending(save_copy=save_copy)).submit(exchange.run(), ours)
    return ours


@on_one_loop
async def test_a_letter_is_accepted_seen_read_and_removed(exchange: Exchange) -> None:
    box = receiving()
    await box.open(exchange.run())
    ours = letter()
    accepted = await ends.outbox(sending()).submit(exchange.run(), ours)
    found = await box.arrival(exchange.run(), ours, perf_counter() + 20)

    assert accepted.code == "200"
    assert accepted.at == pytest.approx(exchange.world.now(), abs=10)
    assert found is not None
    assert (found.tag, found.folder, found.report) == (ours.tag, Folder.INBOX, None)
    assert tag_in(found.headers) == ours.tag
    assert "Received: from" in found.headers
    assert found.delivered == pytest.approx(exchange.world.now(), abs=10)
    assert found.granularity > 0
    await box.remove(exchange.run(), [found])
    assert await box.find(exchange.run(), [ours.tag], list(Folder)) == []
    await box.remove(exchange.run(), [found])


@on_one_loop
async def test_a_letter_that_does_not_come_is_not_found(exchange: Exchange) -> None:
    assert await receiving().arrival(exchange.run(), letter(), perf_counter() + 0.3) is None


@pytest.mark.parametrize("save_copy", [True, False], ids=["with a copy", "without"])
@on_one_loop
async def test_a_copy_is_kept_where_it_is_wanted_and_there_alone(exchange: Exchange, *, save_copy: bool) -> None:
    ours = await sent(exchange, save_copy=save_copy)
    found = await ends.own_mailbox(sending()).find(exchange.run(), [ours.tag], [Folder.SENT])
    assert [each.folder for each in found] == [Folder.SENT] * save_copy


@on_one_loop
async def test_junk_is_told_apart_from_the_inbox(exchange: Exchange) -> None:
    exchange.world.faults.set(Fault(Mail("junk")))
    ours = await sent(exchange)
    assert [each.folder for each in await receiving().find(exchange.run(), [ours.tag], list(Folder))] == [Folder.JUNK]


@on_one_loop
async def test_a_delivery_report_is_found_by_the_letter_it_is_about_and_is_no_arrival(exchange: Exchange) -> None:
    ours = await sent(exchange, recipient="nobody@contoso.example")
    box: Mailbox = ends.own_mailbox(sending())
    (found,) = await box.find(exchange.run(), [ours.tag], [Folder.INBOX])
    assert found.report is not None
    assert (found.report.tag, found.report.status) == (ours.tag, "5.1.10")
    assert await box.arrival(exchange.run(), ours, perf_counter() + 0.3) is None


@on_one_loop
async def test_litter_is_what_is_ours_and_older_than_a_day(exchange: Exchange) -> None:
    old, new = await sent(exchange), await sent(exchange)
    box = exchange.world.of(Post).mailbox(RECIPIENT)
    assert box is not None
    next(each for each in box.within("inbox") if each.letter.message_id == old.message_id).received -= 90_000
    found = await receiving().find(exchange.run(), [], [Folder.INBOX])
    assert [each.tag for each in found] == [old.tag]
    assert {each.tag for each in await receiving().find(exchange.run(), [old.tag, new.tag], [Folder.INBOX])} == {old.tag, new.tag}


def desk(address: str = RECIPIENT) -> EwsDesk:
    return EwsDesk(EwsReceive(via="ews", mailbox=address))


@on_one_loop
async def test_a_mailbox_can_be_counted_and_listed(exchange: Exchange) -> None:
    await sent(exchange)
    assert await desk().open(exchange.run()) == await desk().newest(exchange.run()) == 1


@on_one_loop
async def test_an_event_is_made_read_back_found_and_removed_and_takes_nobodys_time(exchange: Exchange) -> None:
    used, tag, now = desk(), "0123456789abcdef" * 2, time.time()
    key = await used.create_event(exchange.run(), tag, now + 600)
    assert await used.tag_of_event(exchange.run(), key) == tag
    assert await used.free_busy(exchange.run(), now, now + 7200) == "0000"
    (found,) = await used.events(exchange.run())
    assert (found.tag, found.key) == (tag, key)
    assert found.created == pytest.approx(now, abs=10)
    for _ in range(2):
        await used.remove_event(exchange.run(), key)
    assert await used.events(exchange.run()) == []


@on_one_loop
async def test_rights_that_a_token_lacks_are_noted(exchange: Exchange) -> None:
    lacking = Permission("Calendars.Imagined", "is not there")
    await desk().sign_in(ctx := exchange.run(), (*permissions(EwsReceive(via="ews", mailbox=RECIPIENT), RECIPIENT), lacking))
    assert (ctx.lacking, "missing_permissions" in ctx.evidence_found) == ("Calendars.Imagined", False)


@needs_schemas
@on_one_loop
async def test_all_that_is_said_fits_microsofts_schemas(exchange: Exchange) -> None:
    ours, box = await sent(exchange, save_copy=True), receiving()
    await box.open(exchange.run())
    key = await desk().create_event(exchange.run(), ours.tag, time.time())
    await desk().free_busy(exchange.run(), time.time(), time.time() + 7200)
    await desk().tag_of_event(exchange.run(), key)
    await desk().events(exchange.run())
    await desk().newest(exchange.run())
    await box.remove(exchange.run(), await box.find(exchange.run(), [ours.tag], list(Folder)))
    await box.find(exchange.run(), [], list(Folder))
    await desk().remove_event(exchange.run(), key)
    said = [*exchange.heard.requests, *exchange.heard.answers]
    assert len(said) > 20
    assert [mistakes(each) for each in said if mistakes(each)] == []


@on_one_loop
async def test_each_call_names_the_mailbox_so_that_the_right_server_answers(exchange: Exchange) -> None:
    await receiving().open(exchange.run())
    assert exchange.heard.headers[-1]["x-anchormailbox"] == RECIPIENT
    assert exchange.heard.headers[-1]["user-agent"].startswith("fogbell/")
    assert RECIPIENT.encode() in exchange.heard.requests[-1]


@on_one_loop
async def test_a_full_mailbox_takes_no_letter_of_its_owner(exchange: Exchange) -> None:
    box = exchange.world.of(Post).mailbox(SENDER)
    assert box is not None
    box.quota = 0
    with pytest.raises(Failed) as failed:
        await ends.outbox(sending()).submit(exchange.run(), letter())
    assert (failed.value.reason, failed.value.code) == (Reason.MAILBOX_FULL, "ErrorQuotaExceeded")


@on_one_loop
async def test_a_mailbox_that_does_not_exist_is_named_so(exchange: Exchange) -> None:
    with pytest.raises(Failed) as failed:
        await receiving("nobody@contoso.example").open(exchange.run())
    assert (failed.value.reason, failed.value.code) == (Reason.APP_CONFIG, "ErrorNonExistentMailbox")
