"""A letter is sent, found, followed, read and deleted as over Microsoft's Graph."""

import base64
from collections.abc import AsyncIterator
from email.message import EmailMessage
from typing import Any

import pytest

from agent.drill.graph.letters import Address, Letter
from agent.drill.graph.mailbox import MOST
from agent.drill.graph.post import Post
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
    headers = await client.mail_headers(client.receiver, message["id"])
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


async def test_headers_come_only_when_selected_with_the_custom_ones_in_them(client: Client) -> None:
    await client.mail("x", internetMessageHeaders=[{"name": "x-fogbell-id", "value": "7"}])
    client.pass_mail()
    (message,) = await client.folder(client.receiver)
    assert "internetMessageHeaders" not in message
    headers = await client.mail_headers(client.receiver, message["id"])
    assert ("x-fogbell-id", "7") in headers
    assert ("Message-ID", message["internetMessageId"]) in headers


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
