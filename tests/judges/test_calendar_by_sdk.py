"""Calendars through Graph: the tenant's answers as Microsoft's client reads them, and what a probe asks beside what it would."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from kiota_abstractions.base_request_configuration import RequestConfiguration
from kiota_abstractions.request_information import RequestInformation
from msgraph import GraphServiceClient
from msgraph.generated.models.body_type import BodyType
from msgraph.generated.models.date_time_time_zone import DateTimeTimeZone
from msgraph.generated.models.event import Event
from msgraph.generated.models.free_busy_status import FreeBusyStatus
from msgraph.generated.models.item_body import ItemBody
from msgraph.generated.models.o_data_errors.o_data_error import ODataError
from msgraph.generated.users.item.calendar.get_schedule.get_schedule_post_request_body import GetSchedulePostRequestBody
from msgraph.generated.users.item.events.events_request_builder import EventsRequestBuilder
from msgraph.generated.users.item.events.item.event_item_request_builder import EventItemRequestBuilder
from msgraph.generated.users.item.mail_folders.item.mail_folder_item_request_builder import MailFolderItemRequestBuilder
from msgraph.generated.users.item.mail_folders.item.messages.messages_request_builder import MessagesRequestBuilder

from agent.drill.graph.calendar import Calendars
from agent.drill.graph.post import Post
from probes.core.context import Context
from probes.core.contract import Stopped
from probes.lib.mail.desk import BODY, GraphDesk
from tests.drill.data import Client, data_client
from tests.drill.graph import NOON, token
from tests.fakes.graph import Asked, answer, context, error, scripted, shared
from tests.judges.requests import CLIENT, by_sdk, said
from tests.judges.sdk import sdk

OWNER = "o'brien+probe@contoso.example"
TAG = "0123456789abcdef" * 2
USER = CLIENT.users.by_user_id(OWNER)
Query = EventsRequestBuilder.EventsRequestBuilderGetQueryParameters


def at(moment: float) -> DateTimeTimeZone:
    return DateTimeTimeZone(date_time=datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S"), time_zone="UTC")


def event_of_ours() -> Event:
    return Event(
        subject=f"Fogbell calendar probe {TAG}",
        body=ItemBody(content_type=BodyType.Text, content=BODY),
        start=at(NOON),
        end=at(NOON + 900),
        show_as=FreeBusyStatus.Free,
        is_reminder_on=False,
        transaction_id=TAG,
    )


def schedule_of(*whose: str) -> GetSchedulePostRequestBody:
    return GetSchedulePostRequestBody(schedules=list(whose), start_time=at(NOON), end_time=at(NOON + 7200), availability_view_interval=30)


async def asked_by(use: Callable[[GraphDesk, Context], Any]) -> list[Asked]:
    """Use a mailbox whose Graph knows nothing, and return what it was asked."""

    async def nothing(asked: Asked) -> bytes:
        return answer({}) if asked.method == "GET" else error(404, "ErrorItemNotFound")

    async with scripted(nothing) as script:
        desk, ctx = GraphDesk(OWNER), context(shared(script.tenant))
        await desk.sign_in(ctx, ())
        with suppress(Stopped):
            await use(desk, ctx)
    return script.calls


def shown(builder: Any, query: Any) -> RequestInformation:
    made: RequestInformation = builder.to_get_request_information(RequestConfiguration(query_parameters=query))
    return made


def inbox() -> RequestInformation:
    query = MailFolderItemRequestBuilder.MailFolderItemRequestBuilderGetQueryParameters(select=["id", "totalItemCount"])
    return shown(USER.mail_folders.by_mail_folder_id("inbox"), query)


def newest() -> RequestInformation:
    query = MessagesRequestBuilder.MessagesRequestBuilderGetQueryParameters(
        select=["id", "receivedDateTime"], orderby=["receivedDateTime desc"], top=5
    )
    return shown(USER.mail_folders.by_mail_folder_id("inbox").messages, query)


def ours() -> RequestInformation:
    begins = "startswith(subject,'Fogbell calendar probe')"
    return shown(USER.events, Query(filter=begins, select=["id", "subject", "createdDateTime"], top=50))


def one() -> RequestInformation:
    query = EventItemRequestBuilder.EventItemRequestBuilderGetQueryParameters(select=["id", "subject"])
    return shown(USER.events.by_event_id("A/1=+"), query)


@pytest.mark.parametrize(
    ("use", "number", "made"),
    [
        pytest.param(GraphDesk.open, 0, inbox, id="open"),
        pytest.param(GraphDesk.newest, 0, newest, id="list"),
        pytest.param(
            lambda desk, ctx: desk.free_busy(ctx, NOON, NOON + 7200),
            0,
            lambda: USER.calendar.get_schedule.to_post_request_information(schedule_of(OWNER)),
            id="getSchedule",
        ),
        pytest.param(
            lambda desk, ctx: desk.create_event(ctx, TAG, NOON),
            0,
            lambda: USER.events.to_post_request_information(event_of_ours()),
            id="event",
        ),
        pytest.param(lambda desk, ctx: desk.tag_of_event(ctx, "A/1=+"), 0, one, id="read back"),
        pytest.param(GraphDesk.events, 0, ours, id="events of ours"),
        pytest.param(
            lambda desk, ctx: desk.remove_event(ctx, "A/1=+"),
            0,
            USER.events.by_event_id("A/1=+").permanent_delete.to_post_request_information,
            id="permanentDelete",
        ),
        pytest.param(
            lambda desk, ctx: desk.remove_event(ctx, "A/1=+"),
            1,
            USER.events.by_event_id("A/1=+").to_delete_request_information,
            id="DELETE",
        ),
    ],
)
async def test_a_request_is_what_the_sdk_makes_of_it(
    use: Callable[[GraphDesk, Context], Any], number: int, made: Callable[[], RequestInformation]
) -> None:
    asked, wanted = (await asked_by(use))[number], made()
    assert said(asked.method, asked.target) == by_sdk(wanted)
    assert _content(asked.body) == _content(wanted.content or b"")


def _content(body: bytes) -> Any:
    """Read a body as JSON, without the names of types that the SDK adds; it writes parameters of an action with a capital letter."""

    def plain(members: dict[str, Any]) -> dict[str, Any]:
        return {name[0].lower() + name[1:]: one for name, one in members.items() if name != "@odata.type"}

    return json.loads(body, object_hook=plain) if body else {}


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with data_client() as client:
        yield client


@pytest.fixture
async def app(client: Client) -> AsyncIterator[GraphServiceClient]:
    granted = token(client.world, {"Calendars.ReadWrite", "Mail.ReadWrite", "Mail.Send"}, seconds=1e6)
    async with sdk(client.world, client.tls, granted) as made:
        yield made


async def test_an_event_parses_and_is_there_until_it_is_deleted(client: Client, app: GraphServiceClient) -> None:
    events = app.users.by_user_id(client.sender.mail).events
    made, again = await events.post(event_of_ours()), await events.post(event_of_ours())
    assert made.id == again.id, "the same transactionId makes one event"
    assert (made.subject, made.show_as, made.transaction_id) == (f"Fogbell calendar probe {TAG}", FreeBusyStatus.Free, TAG)
    assert made.created_date_time.timestamp() == NOON
    assert (made.start.date_time, made.organizer.email_address.address) == ("2026-11-23T12:00:00.0000000", client.sender.mail)
    assert [one.id for one in (await events.get()).value] == [made.id]
    await events.by_event_id(made.id).permanent_delete.post()
    assert (await events.get()).value == []
    with pytest.raises(ODataError) as caught:
        await events.by_event_id(made.id).get()
    assert (caught.value.response_status_code, caught.value.error.code) == (404, "ErrorItemNotFound")


async def test_a_deleted_event_goes_to_the_deleted_items_first_and_stays_known_by_its_immutable_id(client: Client) -> None:
    path, lasting = f"/users/{client.sender.mail}/events", {"Prefer": 'IdType="ImmutableId"'}
    body = {"subject": "x", "start": {"dateTime": "2026-11-23T12:00:00"}, "end": {"dateTime": "2026-11-23T13:00:00"}}
    made = await client.ask("POST", path, "Calendars.ReadWrite", body=body, headers=lasting)
    one = f"{path}/{made.body['id']}"
    box = client.world.of(Post).mailbox(client.sender.mail)
    events = client.world.of(Calendars).of(box) if box else []
    for folder in ("deleteditems", "recoverableitemsdeletions"):
        assert (await client.ask("DELETE", one, "Calendars.ReadWrite")).status == 204
        assert [event.folder for event in events] == [folder]
    assert (await client.ask("DELETE", one, "Calendars.ReadWrite")).status == 204
    assert (await client.ask("DELETE", one, "Calendars.ReadWrite")).status == 404
    assert events == []


async def test_free_and_busy_times_parse_and_show_what_is_in_the_calendar(client: Client, app: GraphServiceClient) -> None:
    user = app.users.by_user_id(client.sender.mail)
    await user.events.post(Event(subject="Lunch", start=at(NOON + 1800), end=at(NOON + 3600)))
    await user.events.post(event_of_ours())
    found = await user.calendar.get_schedule.post(schedule_of(client.sender.mail, "nobody@contoso.example"))
    known, unknown = found.value
    assert (known.availability_view, [item.status for item in known.schedule_items]) == ("0200", [FreeBusyStatus.Busy, FreeBusyStatus.Free])
    assert unknown.error.response_code == "ErrorMailRecipientNotFound"


async def test_mime_of_a_message_is_read_as_it_came(client: Client, app: GraphServiceClient) -> None:
    await client.mail("As it came")
    client.pass_mail()
    (message,) = await client.folder(client.receiver)
    raw = await app.users.by_user_id(client.receiver.mail).messages.by_message_id(message["id"]).content.get()
    header, _, text = raw.decode().partition("\r\n\r\n")
    assert "\r\nSubject: As it came\r\n" in header
    assert text.strip() == "Hello."


@pytest.mark.parametrize(
    ("method", "rest", "body", "status"),
    [
        ("POST", "/events", {"start": {"dateTime": "soon"}, "end": {"dateTime": "later"}}, 400),
        ("POST", "/events", {"start": {"dateTime": "2026-11-23T13:00:00"}, "end": {"dateTime": "2026-11-23T12:00:00"}}, 400),
        ("POST", "/events", {"start": {"dateTime": "2026-11-23T12:00:00", "timeZone": "Mars"}}, 400),
        (
            "POST",
            "/calendar/getSchedule",
            {"startTime": {"dateTime": "2026-11-23T12:00:00"}, "endTime": {"dateTime": "2026-11-23T13:00:00"}},
            400,
        ),
        ("GET", "/events/nothing", None, 404),
        ("POST", "/events/nothing/permanentDelete", None, 404),
    ],
    ids=["no times", "backwards", "time zone", "nobody's schedule", "unknown event", "unknown deletion"],
)
async def test_what_makes_no_sense_is_refused(client: Client, method: str, rest: str, body: object, status: int) -> None:
    path = f"/users/{client.sender.mail}{rest}"
    assert (await client.ask(method, path, "Calendars.ReadWrite", body=body)).status == status
    assert (await client.ask(method, path, "Mail.ReadWrite", body=body)).status == 403
