"""What our client sends is what the request builders of Microsoft's own SDK make: method, path and query, byte for byte once decoded.

The requests are heard by a server, over TLS, as Graph would hear them. Where the reference data is, Microsoft's description of Graph judges
the same requests.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from kiota_abstractions.base_request_configuration import RequestConfiguration
from kiota_abstractions.request_information import RequestInformation
from msgraph.generated.admin.service_announcement.issues.issues_request_builder import IssuesRequestBuilder
from msgraph.generated.applications_with_app_id.applications_with_app_id_request_builder import ApplicationsWithAppIdRequestBuilder
from msgraph.generated.organization.organization_request_builder import OrganizationRequestBuilder
from msgraph.generated.users.item.mail_folders.item.messages.messages_request_builder import MessagesRequestBuilder

from probes.core.contract import Stopped
from probes.core.needs import Service
from probes.lib.credential_expiry import ask_expiry
from probes.lib.graph import call, segment
from tests.fakes.graph import CLIENT_ID, TENANT_ID, Asked, Script, answer, context, run_kind, scripted, shared
from tests.judges.openapi import needs_slice, request_errors
from tests.judges.requests import CLIENT, by_sdk, said

FILTER = "internetMessageId eq '<20261123.a+b&c=d#e@contoso.example>'"
MESSAGE = "AAMkAGI2=/+x"
PERSON = "probe1+ü@contoso.example"


async def heard(send: Callable[[Script], Any]) -> list[Asked]:
    """Let a request be sent to a server that knows the overviews alone, and return what it heard; what becomes of it does not matter."""
    overviews = answer({"value": [{"id": "Exchange", "service": "Exchange Online", "status": "serviceOperational"}]})
    answers = {"/v1.0/admin/serviceAnnouncement/healthOverviews": overviews}
    async with scripted(answers) as script:
        with suppress(Stopped):
            await send(script)
    return script.calls


def asks(method: str, path: str, **how: Any) -> Callable[[Script], Any]:
    return lambda script: call(context(shared(script.tenant)), script.tenant, script.token, Service.OUTLOOK, method, path, **how)


def of_kind(kind: str) -> Callable[[Script], Any]:
    return lambda script: run_kind(kind, script.tenant)


def _of_organization() -> Any:
    query = OrganizationRequestBuilder.OrganizationRequestBuilderGetQueryParameters(select=["id", "displayName"])
    return CLIENT.organization.to_get_request_information(RequestConfiguration(query_parameters=query))


def _of_issues() -> Any:
    query = IssuesRequestBuilder.IssuesRequestBuilderGetQueryParameters(filter="isResolved eq false")
    return CLIENT.admin.service_announcement.issues.to_get_request_information(RequestConfiguration(query_parameters=query))


def _of_application() -> Any:
    query = ApplicationsWithAppIdRequestBuilder.ApplicationsWithAppIdRequestBuilderGetQueryParameters(
        select=["passwordCredentials", "keyCredentials"]
    )
    return CLIENT.applications_with_app_id(CLIENT_ID).to_get_request_information(RequestConfiguration(query_parameters=query))


def _of_messages() -> Any:
    query = MessagesRequestBuilder.MessagesRequestBuilderGetQueryParameters(filter=FILTER, select=["id", "receivedDateTime"], top=1)
    messages = CLIENT.users.by_user_id(PERSON).mail_folders.by_mail_folder_id("inbox").messages
    return messages.to_get_request_information(RequestConfiguration(query_parameters=query))


def _of_deletion() -> Any:
    return CLIENT.users.by_user_id(PERSON).messages.by_message_id(MESSAGE).to_delete_request_information()


OVERVIEWS, ISSUES = 0, 1
ORGANIZATION = pytest.param(of_kind("graph_ping"), 0, _of_organization, id="organization")
SENT = [
    ORGANIZATION,
    pytest.param(
        of_kind("service_health"),
        OVERVIEWS,
        CLIENT.admin.service_announcement.health_overviews.to_get_request_information,
        id="health overviews",
    ),
    pytest.param(of_kind("service_health"), ISSUES, _of_issues, id="issues"),
    pytest.param(
        lambda script: ask_expiry(context(shared(script.tenant)), script.tenant, script.token, "secret"),
        0,
        _of_application,
        id="application",
    ),
    pytest.param(
        asks(
            "GET",
            f"/users/{segment(PERSON)}/mailFolders/inbox/messages",
            query=(("$filter", FILTER), ("$select", "id,receivedDateTime"), ("$top", "1")),
        ),
        0,
        _of_messages,
        id="message by its id",
    ),
    pytest.param(asks("DELETE", f"/users/{segment(PERSON)}/messages/{segment(MESSAGE)}"), 0, _of_deletion, id="deletion"),
]


@pytest.mark.parametrize(("send", "number", "made"), SENT)
async def test_a_request_is_what_the_sdk_makes_of_it(
    send: Callable[[Script], Any], number: int, made: Callable[[], RequestInformation]
) -> None:
    asked = (await heard(send))[number]
    assert said(asked.method, asked.target) == by_sdk(made())


@needs_slice
@pytest.mark.parametrize(("send", "number", "made"), SENT)
async def test_a_request_is_one_of_microsofts_description(
    send: Callable[[Script], Any], number: int, made: Callable[[], RequestInformation]
) -> None:
    del made
    asked = (await heard(send))[number]
    # What reads our own registration is beyond the slice, which has what probes need at least.
    expected = ["GET /v1.0/applications(appId='" + CLIENT_ID + "'): no operation of the slice"] if "appId" in asked.path else []
    assert request_errors(asked.method, asked.target.partition("?")[0], asked.query) == expected


@pytest.mark.parametrize(
    ("method", "path", "query"),
    [
        ("POST", "/organization", (("$select", "id,displayName"),)),
        ("GET", "/organizations", (("$select", "id,displayName"),)),
        ("GET", f"/organization/{TENANT_ID}", (("$select", "id,displayName"),)),
        ("GET", "/organization", (("select", "id,displayName"),)),
        ("GET", "/organization", (("$select", "id, displayName"),)),
        ("GET", "/organization", ()),
    ],
    ids=["method", "path", "longer path", "name", "value", "nothing"],
)
async def test_a_request_that_differs_is_noticed(method: str, path: str, query: tuple[tuple[str, str], ...]) -> None:
    (asked,) = await heard(asks(method, path, query=query))
    assert said(asked.method, asked.target) != by_sdk(_of_organization())
