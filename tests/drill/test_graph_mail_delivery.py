"""What becomes of a letter on its way shows where it shows in Exchange Online: in its dates, its headers, a folder, a report."""

import re
from collections.abc import AsyncIterator
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from agent.drill.faults import Fault, Mail
from agent.drill.graph.post import Post
from agent.drill.graph.reports import MAILBOX_FULL
from agent.drill.outage import find, schedule
from tests.drill.data import Client, data_client
from tests.drill.graph import NOON


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with data_client() as client:
        yield client


async def test_a_letter_is_dated_when_it_arrived_and_not_when_somebody_looked(client: Client) -> None:
    await client.mail("early")
    client.clock.forward(3600)
    (message,) = await client.folder(client.receiver)
    assert message["receivedDateTime"] == "2026-11-23T12:00:01Z"


async def test_the_received_chain_is_newest_first_and_shows_where_the_time_went(client: Client) -> None:
    client.world.of(Post).delay = 90
    await client.mail("slow")
    client.pass_mail()
    (message,) = await client.folder(client.receiver)
    received = [value for name, value in await client.mail_headers(client.receiver, message["id"]) if name == "Received"]
    times = [parsedate_to_datetime(value.rpartition(";")[2].strip()).timestamp() - NOON for value in received]
    assert times == [90, 89, 0]
    by, source = [[str(re.search(rf"{word} (\S+)", value)[1]) for value in received] for word in ("by", "from")]  # type: ignore[index]
    assert source[0] == by[1]


@pytest.mark.parametrize(
    ("how", "inbox", "junk", "reports"), [("lost", 0, 0, 0), ("junk", 0, 1, 0), ("bounce", 0, 0, 1)], ids=["lost", "junk", "bounced"]
)
async def test_a_fault_decides_where_a_letter_ends(client: Client, how: Any, inbox: int, junk: int, reports: int) -> None:
    client.world.faults.set(Fault(Mail(how)))
    assert (await client.mail("x")).status == 202
    client.clock.forward(86_400)
    found = [
        len(await client.folder(person, name))
        for person, name in ((client.receiver, "inbox"), (client.receiver, "junkemail"), (client.sender, "inbox"))
    ]
    assert found == [inbox, junk, reports]


async def test_delayed_mail_is_late_by_about_what_the_fault_says(client: Client) -> None:
    client.world.faults.set(Fault(Mail("delay", 3600)))
    for number in range(9):
        await client.mail(str(number))
    client.clock.forward(60)
    assert await client.folder(client.receiver) == []
    client.clock.forward(86_400)
    box = client.world.of(Post).mailbox(client.receiver.mail)
    late = sorted(each.received - each.letter.sent for each in box.within("inbox")) if box else []
    assert 1800 < late[4] < 7200
    assert len(set(late)) == 9


@pytest.mark.parametrize(
    ("recipient", "quota", "status"),
    [("nobody@contoso.example", None, "5.1.10"), (None, 1000, MAILBOX_FULL.status)],
    ids=["unknown", "full"],
)
async def test_what_cannot_be_delivered_comes_back_with_a_status_code(
    client: Client, recipient: str | None, quota: int | None, status: str
) -> None:
    if quota:
        client.world.of(Post).mailboxes[client.receiver.mail].quota = quota
    await client.mail("x", recipient or client.receiver.mail)
    client.pass_mail()
    (report,) = await client.folder(client.sender)
    assert report["subject"] == "Undeliverable: x"
    assert f"Status: {status}" in report["body"]["content"]
    headers = dict(await client.mail_headers(client.sender, report["id"]))
    assert headers["Content-Type"].startswith("multipart/report")
    assert headers["In-Reply-To"].endswith(".prod.outlook.com>")


async def test_who_has_no_room_cannot_send(client: Client) -> None:
    client.world.of(Post).mailboxes[client.sender.mail].quota = 0
    reply = await client.mail("x")
    assert (reply.status, reply.code) == (507, "ErrorQuotaExceeded")


async def test_mail_for_another_domain_leaves_the_tenant(client: Client) -> None:
    await client.mail("out", "friend@elsewhere.example")
    client.pass_mail()
    assert await client.folder(client.sender) == []
    assert [letter.subject for letter in client.world.of(Post).outside] == ["out"]


@pytest.mark.parametrize(("name", "reports"), [("L06", 1), ("R01", 0)], ids=["it comes back", "it is late"])
async def test_an_outage_that_people_wrote_reaches_the_mail(client: Client, name: str, reports: int) -> None:
    faults = [fault for fault in schedule(find(name), NOON) if isinstance(fault.effect, Mail)]
    client.world.faults.set(*faults)
    client.clock.time = faults[0].first
    await client.mail("x")
    client.pass_mail()
    assert (len(await client.folder(client.receiver)), len(await client.folder(client.sender))) == (0, reports)


async def test_an_outage_says_with_which_code_mail_comes_back(client: Client) -> None:
    client.world.faults.set(*[fault for fault in schedule(find("L06"), NOON) if isinstance(fault.effect, Mail)])
    client.clock.time = NOON + 1
    await client.mail("x")
    client.pass_mail()
    (report,) = await client.folder(client.sender)
    assert f"Status: {MAILBOX_FULL.status}" in report["body"]["content"]
