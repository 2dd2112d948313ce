"""A letter arrives when its time has come, and what is wrong on its way shows where it shows in Exchange Online."""

import base64
import re
from collections.abc import AsyncIterator
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

import pytest

from agent.drill.faults import Fault, Mail
from agent.drill.graph.letters import MAILBOX_FULL, Address, Letter
from agent.drill.graph.mailbox import MOST
from agent.drill.graph.post import Post
from agent.drill.outage import find, schedule
from agent.drill.world import World
from tests.drill.data import MAIL, Client, data_client
from tests.drill.graph import NOON


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with data_client() as client:
        yield client


async def test_a_letter_is_accepted_at_once_and_arrives_later(client: Client) -> None:
    reply = await client.mail("hello")
    assert (reply.status, reply.data) == (202, b"")
    assert await client.folder(client.receiver) == []
    client.pass_mail()
    (message,) = await client.folder(client.receiver)
    assert (message["subject"], message["from"]["emailAddress"]["address"]) == ("hello", client.sender.mail)
    assert (message["sentDateTime"], message["receivedDateTime"]) == ("2026-11-23T12:00:00Z", "2026-11-23T12:00:01Z")


async def test_a_letter_is_dated_when_it_arrived_and_not_when_somebody_looked(client: Client) -> None:
    await client.mail("early")
    client.clock.forward(3600)
    (message,) = await client.folder(client.receiver)
    assert message["receivedDateTime"] == "2026-11-23T12:00:01Z"


def mime(client: Client, message_id: str) -> bytes:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"], mail["Message-ID"] = client.sender.mail, client.receiver.mail, "as MIME", message_id
    mail["X-Fogbell-Id"] = "42"
    mail.set_content("Text.")
    mail.add_attachment(b"bytes", maintype="application", subtype="octet-stream", filename="a.bin")
    return base64.encodebytes(mail.as_bytes())


async def test_a_letter_goes_as_mime_and_keeps_its_id_and_headers(client: Client) -> None:
    path = f"/users/{client.sender.id}/sendMail"
    reply = await client.ask(
        "POST", path, "Mail.Send", content=mime(client, "<me+1@contoso.example>"), headers={"Content-Type": "text/plain"}
    )
    client.pass_mail()
    (message,) = await client.folder(client.receiver, filter="internetMessageId eq '<me+1@contoso.example>'")
    assert (reply.status, message["subject"], message["hasAttachments"]) == (202, "as MIME", True)
    headers = await headers_of(client, message["id"])
    assert ("X-Fogbell-Id", "42") in headers
    (copy,) = await client.folder(client.sender, "sentitems")
    assert copy["internetMessageId"] == "<me+1@contoso.example>"


async def test_mime_that_is_no_base64_is_refused(client: Client) -> None:
    path = f"/users/{client.sender.id}/sendMail"
    reply = await client.ask("POST", path, "Mail.Send", content=b"Subject: raw\r\n\r\n!", headers={"Content-Type": "text/plain"})
    assert (reply.status, reply.code) == (400, "ErrorMimeContentInvalidBase64String")


@pytest.mark.parametrize(
    ("message", "save", "copies"),
    [
        ("message", {"saveToSentItems": False}, 0),
        ("message", {}, 1),
        ("Message", {"SaveToSentItems": False}, 0),
        ("Message", {"SaveToSentItems": "true"}, 1),
    ],
    ids=["small letters", "kept by default", "capitals", "capitals, as text"],
)
async def test_the_body_is_read_in_both_spellings(client: Client, message: str, save: dict[str, Any], copies: int) -> None:
    letter = {"subject": "x", "toRecipients": [{"emailAddress": {"address": client.receiver.mail}}]}
    await client.ask("POST", f"/users/{client.sender.upn}/sendMail", "Mail.Send", body={message: letter, **save})
    client.pass_mail()
    assert len(await client.folder(client.sender, "sentitems")) == copies
    assert len(await client.folder(client.receiver)) == 1


async def test_somebody_signed_in_sends_from_their_own_mailbox_only(client: Client) -> None:
    body = {"message": {"subject": "x", "toRecipients": [{"emailAddress": {"address": client.receiver.mail}}]}}
    own = await client.ask("POST", "/me/sendMail", "Mail.Send", by=client.sender, body=body)
    other = await client.ask("POST", f"/users/{client.receiver.id}/sendMail", "Mail.Send", by=client.sender, body=body)
    assert (own.status, other.status, other.code) == (202, 403, "ErrorAccessDenied")


@pytest.mark.parametrize(
    ("members", "status", "code"),
    [
        ({"toRecipients": []}, 400, "ErrorInvalidRecipients"),
        ({"toRecipients": [{"emailAddress": {"address": "nowhere"}}]}, 400, "ErrorInvalidRecipients"),
        ({"internetMessageHeaders": [{"name": "Message-ID", "value": "<a@b>"}]}, 400, "InvalidInternetMessageHeader"),
        ({"internetMessageHeaders": [{"name": f"x-{n}", "value": "1"} for n in range(6)]}, 400, "InvalidInternetMessageHeaderCollection"),
        ({"from": {"emailAddress": {"address": "boss@contoso.example"}}}, 403, "ErrorSendAsDenied"),
        ({"attachments": [{"name": "a", "contentBytes": "*"}]}, 400, "ErrorInvalidProperty"),
    ],
    ids=["to nobody", "no address", "a header of its own", "too many headers", "as somebody else", "broken attachment"],
)
async def test_a_bad_letter_is_refused_at_once(client: Client, members: dict[str, object], status: int, code: str) -> None:
    reply = await client.mail("x", **members)
    assert (reply.status, reply.code) == (status, code)
    client.pass_mail()
    assert await client.folder(client.receiver) == []


async def test_a_body_without_a_message_is_refused(client: Client) -> None:
    reply = await client.ask("POST", f"/users/{client.sender.id}/sendMail", "Mail.Send", body={"saveToSentItems": True})
    assert (reply.status, reply.code) == (400, "ErrorInvalidRequest")


async def headers_of(client: Client, message_id: str) -> list[tuple[str, str]]:
    path = f"/users/{client.receiver.id}/messages/{quote(message_id, safe='')}"
    reply = await client.ask("GET", path, "Mail.Read", query={"$select": "internetMessageHeaders"})
    return [(each["name"], each["value"]) for each in reply.body["internetMessageHeaders"]]


async def test_headers_come_only_when_selected_with_the_custom_ones_in_them(client: Client) -> None:
    await client.mail("x", internetMessageHeaders=[{"name": "x-fogbell-id", "value": "7"}])
    client.pass_mail()
    (message,) = await client.folder(client.receiver)
    assert "internetMessageHeaders" not in message
    headers = await headers_of(client, message["id"])
    assert ("x-fogbell-id", "7") in headers
    assert ("Message-ID", message["internetMessageId"]) in headers


async def test_the_received_chain_is_newest_first_and_shows_where_the_time_went(client: Client) -> None:
    client.world.of(Post).delay = 90
    await client.mail("slow")
    client.pass_mail()
    (message,) = await client.folder(client.receiver)
    received = [value for name, value in await headers_of(client, message["id"]) if name == "Received"]
    times = [parsedate_to_datetime(value.rpartition(";")[2].strip()).timestamp() - NOON for value in received]
    assert times == [90, 89, 0]
    by, source = [[str(re.search(rf"{word} (\S+)", value)[1]) for value in received] for word in ("by", "from")]  # type: ignore[index]
    assert source[0] == by[1]


@pytest.fixture
async def filled(client: Client) -> Client:
    for number in range(1, 13):
        await client.mail(f"letter {number}")
        client.clock.forward(60)
    return client


async def test_a_folder_comes_newest_first_in_pages_of_ten(filled: Client) -> None:
    first = await filled.ask("GET", f"/users/{filled.receiver.id}/mailFolders/inbox/messages", "Mail.Read")
    assert [each["subject"] for each in first.items] == [f"letter {number}" for number in range(12, 2, -1)]
    rest = await filled.ask("GET", first.body["@odata.nextLink"], "Mail.Read")
    assert ([each["subject"] for each in rest.items], rest.body.get("@odata.nextLink")) == (["letter 2", "letter 1"], None)


@pytest.mark.parametrize(
    ("query", "subjects"),
    [
        ({"filter": "subject eq 'letter 3'"}, ["letter 3"]),
        ({"filter": "startswith(subject,'letter 1')", "top": "2"}, ["letter 12", "letter 11"]),
        ({"filter": "receivedDateTime ge 2026-11-23T12:10:00Z", "orderby": "receivedDateTime"}, ["letter 11", "letter 12"]),
        ({"orderby": "receivedDateTime asc", "top": "1"}, ["letter 1"]),
        ({"filter": "isRead eq false and subject eq 'letter 5'"}, ["letter 5"]),
        ({"filter": "from/emailAddress/address eq 'nobody@contoso.example'"}, []),
    ],
)
async def test_a_folder_is_searched(filled: Client, query: dict[str, str], subjects: list[str]) -> None:
    assert [each["subject"] for each in await filled.folder(filled.receiver, **query)] == subjects


@pytest.mark.parametrize(
    ("filtered", "order", "status"),
    [
        ("subject eq 'x'", "receivedDateTime desc", 400),
        ("subject eq 'x' and receivedDateTime ge 2026-01-01T00:00:00Z", "receivedDateTime desc", 400),
        ("receivedDateTime ge 2026-01-01T00:00:00Z and subject eq 'x'", "receivedDateTime desc", 200),
        ("receivedDateTime ge 2026-01-01T00:00:00Z and startswith(subject,'x')", "receivedDateTime,subject", 200),
    ],
)
async def test_what_orders_must_stand_first_in_the_filter(client: Client, filtered: str, order: str, status: int) -> None:
    path = f"/users/{client.receiver.id}/mailFolders/inbox/messages"
    reply = await client.ask("GET", path, "Mail.Read", query={"$filter": filtered, "$orderby": order})
    assert reply.status == status
    assert status == 200 or reply.code == "InefficientFilter"


async def test_basic_permission_shows_who_and_when_and_no_content(filled: Client) -> None:
    path = f"/users/{filled.receiver.id}/mailFolders/inbox/messages"
    message = (await filled.ask("GET", path, "Mail.ReadBasic.All")).items[0]
    assert message["subject"] == "letter 12"
    assert message.keys().isdisjoint({"body", "bodyPreview", "uniqueBody"})


async def test_a_folder_is_known_by_name_and_by_id(filled: Client) -> None:
    by_name = (await filled.ask("GET", f"/users/{filled.receiver.id}/mailFolders/Inbox", "Mail.ReadBasic.All")).body
    by_id = (await filled.ask("GET", f"/users/{filled.receiver.id}/mailFolders/{by_name['id']}", "Mail.ReadBasic.All")).body
    assert (by_id["displayName"], by_id["totalItemCount"], by_id["unreadItemCount"]) == ("Inbox", 12, 12)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/users/nobody@contoso.example/mailFolders/inbox", "ErrorInvalidUser"),
        ("/users/{}/mailFolders/attic", "ErrorItemNotFound"),
        ("/users/{}/messages/AAMkAGnone", "ErrorItemNotFound"),
    ],
)
async def test_what_is_not_there_is_not_found(client: Client, path: str, code: str) -> None:
    reply = await client.ask("GET", path.format(client.receiver.id), "Mail.Read")
    assert (reply.status, reply.code) == (404, code)


async def test_the_changes_of_a_folder_are_followed(filled: Client) -> None:
    inbox = f"/users/{filled.receiver.id}/mailFolders/inbox/messages"
    first = await filled.ask("GET", f"{inbox}/delta", "Mail.Read", headers={"Prefer": "odata.maxpagesize=9"})
    second = await filled.ask("GET", first.body["@odata.nextLink"], "Mail.Read", headers={"Prefer": "odata.maxpagesize=9"})
    assert [len(first.items), len(second.items)] == [9, 3]
    await filled.mail("letter 13")
    filled.pass_mail()
    await filled.ask("DELETE", f"/users/{filled.receiver.id}/messages/{first.items[0]['id']}", *MAIL)
    third = await filled.ask("GET", second.body["@odata.deltaLink"], "Mail.Read")
    assert [each.get("subject", each.get("@removed")) for each in third.items] == ["letter 13", {"reason": "deleted"}]
    fourth = await filled.ask("GET", third.body["@odata.deltaLink"], "Mail.Read")
    assert fourth.items == []


async def test_an_unknown_delta_token_means_to_begin_anew(client: Client) -> None:
    path = f"/users/{client.receiver.id}/mailFolders/inbox/messages/delta"
    reply = await client.ask("GET", path, "Mail.Read", query={"$deltatoken": "yesterday"})
    assert (reply.status, reply.code) == (410, "SyncStateNotFound")


async def test_deleting_twice_leads_to_recoverable_items_under_a_new_id_each_time(client: Client) -> None:
    await client.mail("x")
    client.pass_mail()
    ids = []
    for name in ("inbox", "deleteditems"):
        (message,) = await client.folder(client.receiver, name)
        ids.append(message["id"])
        assert (await client.ask("DELETE", f"/users/{client.receiver.id}/messages/{message['id']}", *MAIL)).status == 204
    (message,) = await client.folder(client.receiver, "recoverableitemsdeletions")
    assert len({*ids, message["id"]}) == 3
    assert (await client.ask("GET", f"/users/{client.receiver.id}/messages/{ids[0]}", "Mail.Read")).status == 404


async def test_an_immutable_id_outlives_a_move(client: Client) -> None:
    await client.mail("x")
    client.pass_mail()
    prefer = {"Prefer": 'IdType="ImmutableId"'}
    inbox = f"/users/{client.receiver.id}/mailFolders/inbox/messages"
    listed = await client.ask("GET", inbox, "Mail.Read", headers=prefer)
    assert listed.headers["Preference-Applied"] == 'IdType="ImmutableId"'
    path = f"/users/{client.receiver.id}/messages/{listed.items[0]['id']}"
    await client.ask("DELETE", path, *MAIL, headers=prefer)
    assert (await client.ask("GET", path, "Mail.Read", headers=prefer)).body["id"] == listed.items[0]["id"]


async def test_permanently_deleted_mail_is_in_no_folder_people_see(client: Client) -> None:
    await client.mail("x")
    client.pass_mail()
    (message,) = await client.folder(client.receiver)
    path = f"/users/{client.receiver.id}/messages/{message['id']}"
    assert (await client.ask("POST", f"{path}/permanentDelete", *MAIL)).status == 204
    assert (await client.ask("GET", path, "Mail.Read")).status == 404
    seen = [await client.folder(client.receiver, name) for name in ("inbox", "deleteditems", "recoverableitemsdeletions")]
    assert seen == [[], [], []]
    assert len(await client.folder(client.receiver, "recoverableitemspurges")) == 1


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
    path = f"/users/{client.sender.id}/messages/{report['id']}"
    full = (await client.ask("GET", path, "Mail.Read", query={"$select": "internetMessageHeaders"})).body
    headers = {each["name"]: each["value"] for each in full["internetMessageHeaders"]}
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


@pytest.mark.parametrize(
    ("method", "rest", "permission"),
    [
        ("POST", "sendMail", "Mail.ReadWrite"),
        ("GET", "mailFolders/inbox/messages", "Mail.Send"),
        ("GET", "messages/x", "Mail.ReadBasic.All"),
        ("DELETE", "messages/x", "Mail.Read"),
        ("POST", "messages/x/permanentDelete", "Mail.Read"),
    ],
)
async def test_another_permission_does_not_open_it(client: Client, method: str, rest: str, permission: str) -> None:
    reply = await client.ask(method, f"/users/{client.sender.id}/{rest}", permission)
    assert (reply.status, reply.code) == (403, "ErrorAccessDenied")


@pytest.mark.parametrize(
    "body",
    [
        [],
        {"message": "text"},
        {"message": {"toRecipients": "me"}},
        {"message": {"toRecipients": ["me"]}},
        {"message": {"toRecipients": [{"emailAddress": "me"}]}},
        {"message": {"body": "text"}},
        {"message": {"internetMessageHeaders": {"x-a": "b"}}},
        {"message": {"attachments": [1]}},
    ],
    ids=str,
)
async def test_a_body_of_another_shape_is_the_callers_mistake(client: Client, body: object) -> None:
    reply = await client.ask("POST", f"/users/{client.sender.id}/sendMail", "Mail.Send", body=body)
    assert (reply.status, reply.code) == (400, "BadRequest")


async def test_attachments_and_the_message_class_come_with_expand(client: Client) -> None:
    await client.mail("x", attachments=[{"name": "a.txt", "contentType": "text/plain", "contentBytes": "aGk="}])
    await client.mail("y", "nobody@contoso.example")
    client.pass_mail()
    (message,) = await client.folder(client.receiver, expand="attachments")
    assert [(each["name"], each["contentBytes"]) for each in message["attachments"]] == [("a.txt", "aGk=")]
    (report,) = await client.folder(client.sender, expand="singleValueExtendedProperties($filter=id eq 'String 0x1a')")
    assert report["singleValueExtendedProperties"] == [{"id": "String 0x1a", "value": "REPORT.IPM.Note.NDR"}]


async def test_a_reader_may_prefer_plain_text(client: Client) -> None:
    await client.mail("x", body={"contentType": "HTML", "content": "<p>Hello <b>you</b></p>"})
    client.pass_mail()
    inbox = f"/users/{client.receiver.id}/mailFolders/inbox/messages"
    html = await client.ask("GET", inbox, "Mail.Read")
    text = await client.ask("GET", inbox, "Mail.Read", headers={"Prefer": 'outlook.body-content-type="text"'})
    assert html.items[0]["body"] == {"contentType": "html", "content": "<p>Hello <b>you</b></p>"}
    assert text.items[0]["body"] == {"contentType": "text", "content": "Hello you"}
    assert text.headers["Preference-Applied"] == 'outlook.body-content-type="text"'


async def test_changes_are_followed_under_the_name_that_microsofts_client_uses(client: Client) -> None:
    reply = await client.ask("GET", f"/users/{client.receiver.id}/mailFolders/inbox/messages/delta()", "Mail.ReadBasic.All")
    assert (reply.status, "@odata.deltaLink" in reply.body) == (200, True)


async def test_more_than_a_thousand_messages_are_not_asked_for_at_once(client: Client) -> None:
    reply = await client.ask("GET", f"/users/{client.receiver.id}/mailFolders/inbox/messages", "Mail.Read", query={"$top": "1001"})
    assert (reply.status, reply.code) == (400, "ErrorInvalidUrlQuery")


async def test_a_folder_keeps_the_newest_and_does_not_grow_for_ever(client: Client) -> None:
    box = client.world.of(Post).mailboxes[client.receiver.mail]
    letter = Letter(Address("a@b.example"), (), "x", "", "<1@b.example>", NOON)
    for number in range(MOST + 3):
        box.store(letter, "inbox", NOON + number)
    assert sorted(each.received for each in box.within("inbox")) == [NOON + number for number in range(3, MOST + 3)]


def test_folders_are_called_the_same_in_every_run() -> None:
    first, second = (World().of(Post).mailboxes["probe1@contoso.example"] for _ in range(2))
    assert first.folders == second.folders


@pytest.mark.parametrize(("name", "reports"), [("L06", 1), ("R01", 0)], ids=["it comes back", "it is late"])
async def test_an_outage_that_people_wrote_reaches_the_mail(client: Client, name: str, reports: int) -> None:
    faults = [fault for fault in schedule(find(name), NOON) if isinstance(fault.effect, Mail)]
    client.world.faults.set(*faults)
    client.clock.time = faults[0].first
    await client.mail("x")
    client.pass_mail()
    assert (len(await client.folder(client.receiver)), len(await client.folder(client.sender))) == (0, reports)
