"""Requests of mail through Graph are what the builders of Microsoft's own SDK make, and what Microsoft's description of Graph allows."""

from base64 import b64decode
from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import perf_counter
from typing import Any

import pytest
from kiota_abstractions.base_request_configuration import RequestConfiguration
from kiota_abstractions.request_information import RequestInformation
from msgraph.generated.users.item.mail_folders.item.messages.messages_request_builder import MessagesRequestBuilder
from msgraph.generated.users.item.send_mail.send_mail_post_request_body import SendMailPostRequestBody

from probes.core.context import Context
from probes.core.contract import Stopped
from probes.core.ledger import Artefact
from probes.lib.mail import graph
from probes.lib.mail.ends import Folder, Found, Mailbox
from probes.lib.mail.graph import GraphReceive, GraphSend, mailbox, outbox
from probes.lib.mail.letter import Letter, mime
from tests.fakes.graph import Asked, answer, context, error, scripted, shared
from tests.judges.openapi import needs_slice, request_errors
from tests.judges.requests import CLIENT, by_sdk, said

OWNER = "o'brien+probe@contoso.example"
TAG = "0123456789abcdef" * 2
LETTER = Letter(TAG, OWNER, OWNER, f"Fogbell {TAG}", "Hello.", 1_795_435_200.0)
SHOWN = ["id", "receivedDateTime", "internetMessageId", "subject", "from", "internetMessageHeaders"]
USER = CLIENT.users.by_user_id(OWNER)
REPORT = {"id": "A/1=+", "from": {"emailAddress": {"address": "postmaster@contoso.example"}}}
MESSAGE = USER.messages.by_message_id("A/1=+")
Query = MessagesRequestBuilder.MessagesRequestBuilderGetQueryParameters


async def asked_by(use: Callable[[Context, Mailbox], Awaitable[Any]]) -> list[Asked]:
    """Use a mailbox whose Graph knows full folders and no other call, and return what it was asked after the opening."""

    async def said_by_graph(asked: Asked) -> bytes:
        if asked.path.endswith("/messages"):
            return answer({"value": [REPORT] * int(asked.query["$top"]) if "skip" not in asked.target else []})
        return answer({"id": "inbox"}) if asked.path.endswith("/inbox") else error(404, "ErrorItemNotFound")

    async with scripted(said_by_graph) as script:
        ctx, box = context(shared(script.tenant)), mailbox(GraphReceive(via="graph", mailbox=OWNER))
        await ctx.shared.ledger.record("probe", Artefact(TAG, "letter", LETTER.created))
        await box.open(ctx)
        with suppress(Stopped):
            await use(ctx, box)
    return script.calls


def messages(folder: str, **query: Any) -> RequestInformation:
    asked: Any = RequestConfiguration(query_parameters=Query(select=SHOWN, **query))
    made: RequestInformation = USER.mail_folders.by_mail_folder_id(folder).messages.to_get_request_information(asked)
    return made


def submits(ctx: Context, _: Mailbox) -> Awaitable[Any]:
    return outbox(GraphSend(via="graph", from_=OWNER)).submit(ctx, LETTER)


def waits(ctx: Context, box: Mailbox) -> Awaitable[Any]:
    return box.arrival(ctx, LETTER, perf_counter() + 0.05)


def looks_into(*folders: Folder) -> Callable[[Context, Mailbox], Awaitable[Any]]:
    return lambda ctx, box: box.find(ctx, {TAG}, folders)


def removes(ctx: Context, box: Mailbox) -> Awaitable[Any]:
    return box.remove(ctx, [Found(TAG, "A/1=+", Folder.INBOX)])


def listed(folder: str, skip: int | None = None) -> Callable[[], RequestInformation]:
    since = "receivedDateTime ge 2026-11-23T11:45:00Z"
    return lambda: messages(folder, filter=since, orderby=["receivedDateTime desc"], top=25, skip=skip)


SENT = [
    pytest.param(submits, 1, lambda: USER.send_mail.to_post_request_information(SendMailPostRequestBody()), id="sendMail"),
    pytest.param(
        waits, 1, lambda: messages("inbox", filter=f"internetMessageId eq '<fogbell.{TAG}@contoso.example>'", top=1), id="arrival"
    ),
    pytest.param(looks_into(Folder.INBOX), 1, listed("inbox"), id="inbox"),
    pytest.param(looks_into(Folder.INBOX), 2, MESSAGE.content.to_get_request_information, id="MIME"),
    pytest.param(looks_into(Folder.JUNK), 27, listed("junkemail", 25), id="second page of junk"),
    pytest.param(looks_into(Folder.SENT), 1, listed("sentitems"), id="sent"),
    pytest.param(looks_into(Folder.DELETED), 1, listed("deleteditems"), id="deleted"),
    pytest.param(looks_into(Folder.RECOVERABLE), 1, listed("recoverableitemsdeletions"), id="recoverable"),
    pytest.param(removes, 1, MESSAGE.permanent_delete.to_post_request_information, id="permanentDelete"),
    pytest.param(removes, 2, MESSAGE.to_delete_request_information, id="DELETE"),
]


@pytest.fixture(autouse=True)
def _looks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "looks", lambda: iter([0.001]))


@pytest.mark.parametrize(("use", "number", "made"), SENT)
async def test_a_request_is_what_the_sdk_makes_of_it(
    use: Callable[[Context, Mailbox], Awaitable[Any]], number: int, made: Callable[[], RequestInformation]
) -> None:
    asked = (await asked_by(use))[number]
    assert said(asked.method, asked.target) == by_sdk(made())


@needs_slice
@pytest.mark.parametrize(("use", "number", "made"), SENT)
async def test_a_request_is_one_of_microsofts_description(
    use: Callable[[Context, Mailbox], Awaitable[Any]], number: int, made: Callable[[], RequestInformation]
) -> None:
    del made
    asked = (await asked_by(use))[number]
    target = asked.target.partition("?")[0]
    assert request_errors(asked.method, target, asked.query, asked.body or None) == _beyond_the_slice(target)


def _beyond_the_slice(target: str) -> list[str]:
    """Say what the slice, which has what a probe needs at least, lacks: a message as MIME, to read and to send."""
    if target.endswith("/$value"):
        return [f"GET {target}: no operation of the slice"]
    return ["body: bytes, where JSON is asked for"] if target.endswith("/sendMail") else []


async def test_a_letter_is_sent_as_base64_of_its_mime() -> None:
    asked = (await asked_by(submits))[1]
    assert asked.headers["content-type"] == "text/plain"
    assert b64decode(asked.body, validate=True) == mime(LETTER)


async def test_what_could_be_read_otherwise_in_an_address_is_percent_encoded() -> None:
    target = (await asked_by(waits))[1].target
    assert f"%3Cfogbell.{TAG}@contoso.example%3E" in target
    assert "/users/o%27brien%2Bprobe@contoso.example/" in target


async def test_every_call_on_a_mailbox_speaks_of_immutable_identifiers() -> None:
    calls = [*await asked_by(waits), *await asked_by(removes), *await asked_by(looks_into(*Folder))]
    assert {asked.headers.get("prefer") for asked in calls} == {'IdType="ImmutableId"'}
