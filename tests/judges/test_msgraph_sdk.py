"""Microsoft's SDK uses the simulated tenant as it would use the real one: every answer becomes a typed model with the right values."""

import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any

import pytest
from kiota_abstractions.base_request_configuration import RequestConfiguration
from kiota_serialization_json.json_parse_node_factory import JsonParseNodeFactory
from msgraph import GraphServiceClient
from msgraph.generated.chats.item.messages.messages_request_builder import MessagesRequestBuilder
from msgraph.generated.models.aad_user_conversation_member import AadUserConversationMember
from msgraph.generated.models.body_type import BodyType
from msgraph.generated.models.chat import Chat
from msgraph.generated.models.chat_message import ChatMessage
from msgraph.generated.models.chat_type import ChatType
from msgraph.generated.models.email_address import EmailAddress
from msgraph.generated.models.entity_type import EntityType
from msgraph.generated.models.item_body import ItemBody
from msgraph.generated.models.message import Message
from msgraph.generated.models.o_data_errors.o_data_error import ODataError
from msgraph.generated.models.online_meeting import OnlineMeeting
from msgraph.generated.models.recipient import Recipient
from msgraph.generated.models.search_query import SearchQuery
from msgraph.generated.models.search_request import SearchRequest
from msgraph.generated.models.security.audit_log_query import AuditLogQuery
from msgraph.generated.models.security.audit_log_query_status import AuditLogQueryStatus
from msgraph.generated.models.security.case_status import CaseStatus
from msgraph.generated.models.security.incident_status import IncidentStatus
from msgraph.generated.models.service_health_status import ServiceHealthStatus
from msgraph.generated.search.query.query_post_request_body import QueryPostRequestBody
from msgraph.generated.security.microsoft_graph_security_run_hunting_query.run_hunting_query_post_request_body import (
    RunHuntingQueryPostRequestBody,
)
from msgraph.generated.users.item.mail_folders.item.messages.messages_request_builder import MessagesRequestBuilder as MailRequestBuilder
from msgraph.generated.users.item.send_mail.send_mail_post_request_body import SendMailPostRequestBody

from agent.drill.faults import Fault, Http
from agent.drill.graph import OPERATIONS
from agent.drill.graph.health import SERVICES, Health
from agent.drill.graph.presence import Presences
from agent.drill.graph.sites import CANARY, CANARY_TEXT, Sites
from agent.drill.graph.teams import PROBE_TEAM, SHOWS_AFTER_SECONDS
from agent.drill.world import Person
from tests.drill.data import Client, data_client
from tests.drill.graph import token
from tests.judges.sdk import sdk
from tests.judges.walk import GIVES, called


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant, and Microsoft's client of it: as an app that may do everything, and as the first person."""

    of: Client
    app: GraphServiceClient
    person: GraphServiceClient


@pytest.fixture
async def tenant() -> AsyncIterator[Tenant]:
    application, delegated = (frozenset().union(*(getattr(each, kind) for each in OPERATIONS)) for kind in ("application", "delegated"))
    async with data_client() as client:
        app = token(client.world, application - {"Teamwork.Migrate.All"}, seconds=1e6)
        person = token(client.world, delegated, client.sender, seconds=1e6)
        async with sdk(client.world, client.tls, app) as as_app, sdk(client.world, client.tls, person) as as_person:
            yield Tenant(client, as_app, as_person)


def member(tenant: Tenant, person: Person, *roles: str) -> AadUserConversationMember:
    address = tenant.of.world.url("graph", f"/v1.0/users('{person.id}')")
    return AadUserConversationMember(roles=list(roles), additional_data={"user@odata.bind": address})


async def test_the_directory_parses(tenant: Tenant) -> None:
    person, world = tenant.of.sender, tenant.of.world
    (organization,) = (await tenant.app.organization.get()).value
    assert organization.id == world.tenant_id
    assert (await tenant.app.users.by_user_id(person.upn).get()).id == person.id
    assert (await tenant.person.me.get()).user_principal_name == person.upn
    assert world.domain in [domain.id for domain in (await tenant.app.domains.get()).value]


async def test_mail_parses_and_goes_round(tenant: Tenant) -> None:
    body = SendMailPostRequestBody(
        message=Message(
            subject="Fog at noon",
            body=ItemBody(content_type=BodyType.Text, content="Slow."),
            to_recipients=[Recipient(email_address=EmailAddress(address=tenant.of.receiver.mail))],
        ),
        save_to_sent_items=False,
    )
    await tenant.app.users.by_user_id(tenant.of.sender.id).send_mail.post(body)
    tenant.of.pass_mail()
    inbox = tenant.app.users.by_user_id(tenant.of.receiver.id).mail_folders.by_mail_folder_id("inbox")
    assert (await inbox.get()).total_item_count == 1
    only = MailRequestBuilder.MessagesRequestBuilderGetQueryParameters(filter="subject eq 'Fog at noon'", top=1)
    (message,) = (await inbox.messages.get(RequestConfiguration(query_parameters=only))).value
    assert message.from_.email_address.address == tenant.of.sender.mail
    assert isinstance(message.received_date_time, datetime)
    one = tenant.app.users.by_user_id(tenant.of.receiver.id).messages.by_message_id(message.id)
    assert (await one.get()).subject == "Fog at noon"
    await one.permanent_delete.post()
    assert (await inbox.messages.get()).value == []


async def test_files_parse_and_their_bytes_come_over_the_redirect(tenant: Tenant) -> None:
    site = tenant.of.world.of(Sites).probe_site
    assert (await tenant.app.sites.by_site_id(site.id).get()).web_url == site.url
    drive = await tenant.app.sites.by_site_id(site.id).drive.get()
    items = tenant.app.drives.by_drive_id(drive.id).items
    canary = await items.by_drive_item_id(f"root:/{CANARY}:").get()
    assert (canary.name, canary.size) == (CANARY.rpartition("/")[2], len(CANARY_TEXT))
    assert await items.by_drive_item_id(canary.id).content.get() == CANARY_TEXT
    put = await items.by_drive_item_id("root:/fog.txt:").content.put(b"fog")
    assert put.size == 3
    await items.by_drive_item_id(put.id).delete()


async def test_search_parses(tenant: Tenant) -> None:
    request = SearchRequest(entity_types=[EntityType.DriveItem], query=SearchQuery(query_string="fogbell"), from_=0, size=5, region="NAM")
    found = await tenant.app.search.query.post(QueryPostRequestBody(requests=[request]))
    hits = found.value[0].hits_containers[0].hits
    assert CANARY.rpartition("/")[2] in [hit.resource.name for hit in hits]


async def test_teams_parse_and_members_come_and_go(tenant: Tenant) -> None:
    joined = (await tenant.app.users.by_user_id(tenant.of.sender.id).joined_teams.get()).value
    team = tenant.app.teams.by_team_id(next(each.id for each in joined if each.display_name == PROBE_TEAM))
    assert PROBE_TEAM in [each.display_name for each in (await tenant.person.me.joined_teams.get()).value]
    assert [channel.display_name for channel in (await team.channels.get()).value] == ["General", "Weather"]
    added = await team.members.post(member(tenant, tenant.of.world.people[3]))
    assert isinstance(added, AadUserConversationMember)
    tenant.of.clock.forward(SHOWS_AFTER_SECONDS)
    assert tenant.of.world.people[3].id in [each.user_id for each in (await team.members.get()).value]
    await team.members.by_conversation_member_id(added.id).delete()
    tenant.of.clock.forward(SHOWS_AFTER_SECONDS)
    assert added.id not in [each.id for each in (await team.members.get()).value]


async def test_chats_parse_and_messages_are_sent_and_deleted(tenant: Tenant) -> None:
    first, second = tenant.of.sender, tenant.of.receiver
    made = await tenant.app.chats.post(
        Chat(chat_type=ChatType.OneOnOne, members=[member(tenant, person, "owner") for person in (first, second)])
    )
    assert made.chat_type is ChatType.OneOnOne
    messages = tenant.person.chats.by_chat_id(made.id).messages
    sent = await messages.post(ChatMessage(body=ItemBody(content_type=BodyType.Text, content="Fog at noon")))
    assert sent.from_.user.id == first.id
    one = MessagesRequestBuilder.MessagesRequestBuilderGetQueryParameters(top=1)
    assert [each.body.content for each in (await messages.get(RequestConfiguration(query_parameters=one))).value] == ["Fog at noon"]
    here = tenant.person.users.by_user_id(first.id).chats.by_chat_id(made.id).messages.by_chat_message_id(sent.id)
    await here.soft_delete.post()
    assert isinstance((await messages.by_chat_message_id(sent.id).get()).deleted_date_time, datetime)
    await tenant.app.chats.by_chat_id(made.id).delete()


async def test_group_chats_take_members(tenant: Tenant) -> None:
    people = [member(tenant, person, "owner") for person in tenant.of.world.people[:2]]
    made = await tenant.app.chats.post(Chat(chat_type=ChatType.Group, topic="Fog", members=people))
    members = tenant.app.chats.by_chat_id(made.id).members
    added = await members.post(member(tenant, tenant.of.world.people[3], "owner"))
    assert added.display_name == tenant.of.world.people[3].name
    assert len((await members.get()).value) == 3
    await members.by_conversation_member_id(added.id).delete()
    assert len((await members.get()).value) == 2


async def test_meetings_parse(tenant: Tenant) -> None:
    start = datetime(2026, 11, 23, 13, tzinfo=UTC)
    meetings = tenant.app.users.by_user_id(tenant.of.sender.id).online_meetings
    made = await meetings.post(OnlineMeeting(subject="Fog", start_date_time=start, end_date_time=start + timedelta(minutes=30)))
    assert (made.subject, made.start_date_time) == ("Fog", start)
    assert made.participants.organizer.identity.user.id == tenant.of.sender.id
    assert "/l/meetup-join/" in (await meetings.by_online_meeting_id(made.id).get()).join_web_url
    await meetings.by_online_meeting_id(made.id).delete()


async def test_presence_parses(tenant: Tenant) -> None:
    tenant.of.world.of(Presences).change(tenant.of.sender, "Busy", "InAMeeting")
    presence = await tenant.app.users.by_user_id(tenant.of.sender.id).presence.get()
    assert (presence.availability, presence.activity) == ("Busy", "InAMeeting")


async def test_service_health_parses(tenant: Tenant) -> None:
    issue = tenant.of.world.of(Health).declare("Exchange", "serviceDegradation", title="Mail is late")
    announcement = tenant.app.admin.service_announcement
    overviews = (await announcement.health_overviews.get()).value
    assert [each.service for each in overviews] == [service.name for service in SERVICES]
    assert next(each for each in overviews if each.id == "Exchange").status is ServiceHealthStatus.ServiceDegradation
    shown = next(each for each in (await announcement.issues.get()).value if each.id == issue.id)
    assert (shown.title, shown.is_resolved) == ("Mail is late", False)
    assert shown.posts[0].created_date_time == datetime.fromtimestamp(issue.posts[0].created, UTC)
    assert (await announcement.health_overviews.by_service_health_id("Exchange").get()).service == "Exchange Online"
    assert len((await announcement.messages.get()).value) == 2


async def test_defender_parses(tenant: Tenant) -> None:
    security = tenant.app.security
    incidents = (await security.incidents.get()).value
    assert {incident.status for incident in incidents} == {IncidentStatus.Active, IncidentStatus.Resolved}
    assert all(alert.tenant_id == tenant.of.world.tenant_id for alert in (await security.alerts_v2.get()).value)
    assert (await security.secure_scores.get()).value[0].max_score == 697.0
    found = await security.microsoft_graph_security_run_hunting_query.post(RunHuntingQueryPostRequestBody(query="print ok=1"))
    assert [(column.name, column.type) for column in found.schema] == [("ok", "Int64")]
    assert [row.additional_data for row in found.results] == [{"ok": 1}]


async def test_purview_parses(tenant: Tenant) -> None:
    security, start = tenant.app.security, datetime(2026, 11, 23, 10, tzinfo=UTC)
    labels = (await security.data_security_and_governance.sensitivity_labels.get()).value
    assert "Confidential" in [label.name for label in labels]
    assert (await tenant.person.security.labels.retention_labels.get()).value[0].is_in_use
    assert (await security.cases.ediscovery_cases.get()).value[0].status is CaseStatus.Active
    asked = await security.audit_log.queries.post(
        AuditLogQuery(display_name="fog", filter_start_date_time=start, filter_end_date_time=start + timedelta(hours=1))
    )
    assert asked.status is AuditLogQueryStatus.NotStarted
    tenant.of.clock.forward(3600)
    assert (await security.audit_log.queries.by_audit_log_query_id(asked.id).get()).status is AuditLogQueryStatus.Succeeded


async def test_a_refusal_raises_with_the_code_that_the_tenant_gave(tenant: Tenant) -> None:
    with pytest.raises(ODataError) as refused:
        await tenant.app.teams.by_team_id("00000000-0000-0000-0000-000000000000").get()
    assert (refused.value.response_status_code, refused.value.error.code) == (404, "NotFound")
    assert refused.value.error.inner_error.request_id


@pytest.mark.parametrize(("status", "code"), [(429, "TooManyRequests"), (500, "InternalServerError"), (503, "ServiceUnavailable")])
async def test_a_fault_raises_in_the_sdk(tenant: Tenant, status: int, code: str) -> None:
    tenant.of.world.faults.set(Fault(Http((status,), retry_after=1)))
    with pytest.raises(ODataError) as refused:
        await tenant.app.organization.get()
    assert (refused.value.response_status_code, refused.value.error.code) == (status, code)


async def test_a_token_that_was_tampered_with_is_refused_in_the_sdk(tenant: Tenant) -> None:
    header, claims, signature = token(tenant.of.world, ["Organization.Read.All"]).split(".")
    forged = f"{header}.{claims}.{signature[::-1]}"
    async with sdk(tenant.of.world, tenant.of.tls, forged) as stranger:
        with pytest.raises(ODataError) as refused:
            await stranger.organization.get()
    assert (refused.value.response_status_code, refused.value.error.code) == (401, "InvalidAuthenticationToken")


def model(name: str) -> Any:
    """Give the SDK's class for a type of Graph, such as `security.incident`."""
    namespace, _, short = name.rpartition(".")
    module = re.sub(r"(?<!^)(?=[A-Z])", "_", short).lower()
    return getattr(import_module(".".join(filter(None, ("msgraph.generated.models", namespace, module)))), short[0].upper() + short[1:])


def unknown(parsed: Any, place: str = "") -> Iterator[str]:
    """Name each property that the models have no place for, annotations aside."""
    if isinstance(parsed, list):
        for number, each in enumerate(parsed):
            yield from unknown(each, f"{place}[{number}]")
    if hasattr(parsed, "get_field_deserializers"):
        yield from (f"{place}.{name}" for name in getattr(parsed, "additional_data", {}) if "@" not in name)
        for one in fields(parsed):
            if one.name not in ("additional_data", "backing_store"):
                yield from unknown(getattr(parsed, one.name), f"{place}.{one.name}")


OPEN = re.compile(r".*\.(userIdentityType|applicationIdentityType|owner\.group|results\[0\]\.ok)")
"""What Graph itself sends beyond the declared type: kinds of identity, the group that owns a library, the columns of a hunting query."""


@pytest.mark.parametrize(("method", "template"), GIVES)
def test_every_answer_fits_the_models_of_the_sdk(method: str, template: str) -> None:
    root, kind = (
        JsonParseNodeFactory().get_root_parse_node("application/json", called()[method, template].body),
        model(GIVES[method, template]),
    )
    values = root.get_child_node("value")
    parsed = [root.get_object_value(kind)] if values is None else values.get_collection_of_object_values(kind)
    assert parsed
    assert [each for each in unknown(parsed) if not OPEN.fullmatch(each)] == []


def test_a_property_that_no_model_has_is_found() -> None:
    root = JsonParseNodeFactory().get_root_parse_node("application/json", b'{"id": "1", "displayname": "wrong", "@odata.context": ""}')
    assert list(unknown(root.get_object_value(model("team")))) == [".displayname"]
