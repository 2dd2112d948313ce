"""Requests of messages and meetings are what the builders of Microsoft's own SDK make, and what Microsoft's description of Graph allows.

Where the reference data is, what Microsoft's documentation shows as an answer is taken for one.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from kiota_abstractions.base_request_configuration import RequestConfiguration
from kiota_abstractions.request_information import RequestInformation
from msgraph.generated.chats.item.messages.messages_request_builder import MessagesRequestBuilder
from msgraph.generated.models.body_type import BodyType
from msgraph.generated.models.chat_message import ChatMessage
from msgraph.generated.models.item_body import ItemBody
from msgraph.generated.users.item.online_meetings.create_or_get.create_or_get_post_request_body import CreateOrGetPostRequestBody

from probes import REGISTRY
from probes.core.context import Context, Shared
from probes.core.contract import Outcome, Run
from probes.core.ledger import Artefact
from probes.lib.grants import Grant, Grants, grant_path
from probes.lib.graph import segment
from tests.fakes.graph import CLIENT_ID, TENANT_ID, Asked, Script, answer, run_kind, scripted, shared
from tests.judges.openapi import REFERENCE, needs_slice, request_errors
from tests.judges.requests import CLIENT, by_sdk, said

CHAT = "19:2da4c29f6d7041eca70b638b43d45437@thread.v2"
USER = "8ea0e38b-efb3-4757-924a-5f94061cf8c2"
ME = "me-token-to-replace"
"""What the SDK's builders say for /me, until its client sends it."""
TAG = "0123456789abcdef" * 2
MESSAGE, MEETING = "1616991463150", "MSo1/+=="
NOON = 1_795_435_200.0

MESSAGES = CLIENT.chats.by_chat_id(CHAT).messages
DELETION = CLIENT.users.by_user_id(USER).chats.by_chat_id(CHAT).messages.by_chat_message_id(MESSAGE).soft_delete
OWN, ORGANISED = CLIENT.users.by_user_id(ME).online_meetings, CLIENT.users.by_user_id(USER).online_meetings
AS_APP, AS_USER = {"organiser": USER}, {"organiser": "me"}


def echoed(asked: Asked) -> bytes:
    """Answer as a Graph without memory would: what was posted was made, and is still there."""
    if asked.method == "DELETE" or asked.path.endswith("/softDelete"):
        return answer(None, 204)
    if asked.method == "POST":
        link = "https://teams.microsoft.com/l/meetup-join/1/0"
        of_user = {"from": {"user": {"id": USER}}}
        return answer(json.loads(asked.body) | {"id": MESSAGE if "/chats/" in asked.path else MEETING, "joinWebUrl": link} | of_user, 201)
    if asked.path.endswith("/messages"):
        return answer({"value": []})
    tagged = {"subject": f"[{TAG}]", "body": {"content": f"[{TAG}]"}}
    return answer(tagged | {"id": asked.path.rpartition("/")[2], "from": {"user": {"id": USER}}})


async def signed_in(script: Script, folder: Path) -> Shared:
    await Grants().keep(grant_path(str(folder), "contoso"), Grant(TENANT_ID, CLIENT_ID, script.host, "refresh"))
    return replace(shared(script.tenant), state_dir=str(folder))


Use = Callable[[Script, Shared], Any]


def runs(kind: str, **settings: Any) -> Use:
    return lambda _, among: run_kind(kind, among, **settings)


def clears(kind: str, artefact: Artefact, **settings: Any) -> Use:
    async def use(_: Script, among: Shared) -> None:
        await among.ledger.record("probe", artefact)
        probe = REGISTRY[kind]
        assert probe.clear is not None
        await probe.clear(Context("probe", among, "contoso"), probe.settings.model_validate(settings))

    return use


async def heard(use: Use, folder: Path, said_by_graph: Callable[[Asked], bytes] = echoed) -> list[Asked]:
    """Let a kind call a Graph, and return what that heard."""

    async def graph(asked: Asked) -> bytes:
        return said_by_graph(asked)

    async with scripted(graph) as script:
        await use(script, await signed_in(script, folder))
    return script.calls


def _newest() -> Any:
    query = MessagesRequestBuilder.MessagesRequestBuilderGetQueryParameters(
        top=50, orderby=["lastModifiedDateTime desc"], filter="lastModifiedDateTime gt 2026-11-22T12:00:00.000Z"
    )
    return MESSAGES.to_get_request_information(RequestConfiguration(query_parameters=query))


SENDS, MEETS, MEETS_AS_USER = runs("teams_message", chat=CHAT), runs("teams_meeting", **AS_APP), runs("teams_meeting", **AS_USER)
LEFT = Artefact(TAG, "message", NOON, (("chat", CHAT), ("message", MESSAGE), ("sender", USER)))
LEFT_MEETING = Artefact(TAG, "meeting", NOON, (("organiser", USER), ("meeting", MEETING)))
LOOKS = clears("teams_message", Artefact(TAG, "message", NOON, (("chat", CHAT),)), chat=CHAT)
REMOVES = clears("teams_message", LEFT, chat=CHAT)
CALLS_OFF = clears("teams_meeting", LEFT_MEETING, **AS_APP)
CALLS_OFF_OWN = clears("teams_meeting", replace(LEFT_MEETING, facts=(("organiser", "me"), ("meeting", MEETING))), **AS_USER)

SENT = [
    pytest.param(SENDS, 0, lambda: MESSAGES.to_post_request_information(ChatMessage()), id="send"),
    pytest.param(SENDS, 1, lambda: MESSAGES.by_chat_message_id(MESSAGE).to_get_request_information(), id="read back"),
    pytest.param(REMOVES, 1, DELETION.to_post_request_information, id="softDelete"),
    pytest.param(LOOKS, 0, _newest, id="look for a tag"),
    pytest.param(MEETS, 0, lambda: ORGANISED.create_or_get.to_post_request_information(CreateOrGetPostRequestBody()), id="meeting"),
    pytest.param(MEETS, 1, lambda: ORGANISED.by_online_meeting_id(MEETING).to_get_request_information(), id="read a meeting"),
    pytest.param(CALLS_OFF, 1, lambda: ORGANISED.by_online_meeting_id(MEETING).to_delete_request_information(), id="remove a meeting"),
    pytest.param(
        MEETS_AS_USER, 0, lambda: OWN.create_or_get.to_post_request_information(CreateOrGetPostRequestBody()), id="meeting of one's own"
    ),
    pytest.param(MEETS_AS_USER, 1, lambda: OWN.by_online_meeting_id(MEETING).to_get_request_information(), id="read one's own"),
    pytest.param(CALLS_OFF_OWN, 1, lambda: OWN.by_online_meeting_id(MEETING).to_delete_request_information(), id="remove one's own"),
]


@pytest.mark.parametrize(("use", "number", "made"), SENT)
async def test_a_request_is_what_the_sdk_makes_of_it(tmp_path: Path, use: Use, number: int, made: Callable[[], RequestInformation]) -> None:
    asked = (await heard(use, tmp_path))[number]
    assert said(asked.method, asked.target.replace("/me/", f"/users/{ME}/")) == by_sdk(made())


@needs_slice
@pytest.mark.parametrize(("use", "number", "made"), SENT)
async def test_a_request_is_one_of_microsofts_description(
    tmp_path: Path, use: Use, number: int, made: Callable[[], RequestInformation]
) -> None:
    del made
    asked = (await heard(use, tmp_path))[number]
    target = asked.target.partition("?")[0]
    body = json.loads(asked.body) if asked.body else None
    # The slice makes meetings without a name of the caller's own, and of one's own it has the making alone.
    is_beyond = "/me/onlineMeetings/" in target or target.endswith("/createOrGet")
    beyond = [f"{asked.method} {target}: no operation of the slice"] if is_beyond else []
    assert request_errors(asked.method, target, asked.query, body) == beyond


async def test_bodies_are_what_the_sdk_writes(tmp_path: Path) -> None:
    (message, *_), (meeting, *_) = await heard(SENDS, tmp_path), await heard(MEETS, tmp_path)
    written, held = json.loads(message.body), json.loads(meeting.body)
    text = ItemBody(content_type=BodyType.Text, content=written["body"]["content"])
    assert written == _by_sdk(MESSAGES.to_post_request_information(ChatMessage(body=text)))
    wanted = CreateOrGetPostRequestBody(
        external_id=held["externalId"],
        subject=held["subject"],
        start_date_time=datetime.fromisoformat(held["startDateTime"]),
        end_date_time=datetime.fromisoformat(held["endDateTime"]),
    )
    assert _with_moments(held) == _with_moments(_by_sdk(ORGANISED.create_or_get.to_post_request_information(wanted)))


def _with_moments(body: dict[str, Any]) -> dict[str, Any]:
    return {name: datetime.fromisoformat(value) if name.endswith("DateTime") else value for name, value in body.items()}


def _by_sdk(request: RequestInformation) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(request.content or b"{}")
    return {name: value for name, value in found.items() if name != "@odata.type"}


def _shown(page: str, number: int = 0) -> dict[str, Any]:
    """Return an answer that the documentation shows on a page."""
    examples = json.loads((Path(str(REFERENCE)) / "graph-doc-examples.json").read_text(encoding="utf-8"))["examples"]
    found = [one["body"] for one in examples if one["page"] == page and one["kind"] == "response"]
    return dict(found[number])


async def by_documentation(kind: str, folder: Path, shown: dict[str, Any], name: str, **settings: Any) -> Run:
    """Run a kind at a Graph that answers with an example of the documentation, in which only our own words are put."""
    posted: dict[str, Any] = {}

    def graph(asked: Asked) -> bytes:
        if asked.method == "POST" and asked.body:
            posted[name] = json.loads(asked.body)[name]
        return (
            answer({**shown, **posted}, 201 if asked.method == "POST" and asked.body else 200)
            if asked.method != "DELETE"
            else echoed(asked)
        )

    async def said_by_graph(asked: Asked) -> bytes:
        return echoed(asked) if asked.path.endswith("/softDelete") else graph(asked)

    async with scripted(said_by_graph) as script:
        found: Run = await run_kind(kind, await signed_in(script, folder), **settings)
    return found


@needs_slice
@pytest.mark.parametrize("page", ["chat-post-messages", "chatmessage-get"])
async def test_a_message_of_the_documentation_is_taken_for_one(page: str, tmp_path: Path) -> None:
    run = await by_documentation("teams_message", tmp_path, _shown(page), "body", chat=CHAT)
    assert (run.outcome, run.message, run.cleanup_failed) == (Outcome.OK, "", False)


@needs_slice
async def test_in_a_list_of_the_documentation_our_own_message_is_found_and_no_other(tmp_path: Path) -> None:
    ours, other = _shown("chat-list-messages")["value"]
    ours = {**ours, "body": {"contentType": "text", "content": f"A test message [{TAG}]"}}
    calls = await heard(LOOKS, tmp_path, lambda asked: answer({"value": [other, ours]}) if asked.method == "GET" else echoed(asked))
    whose, which = ours["from"]["user"]["id"], ours["id"]
    assert [asked.target for asked in calls[1:]] == [f"/v1.0/users/{whose}/chats/{segment(CHAT)}/messages/{which}/softDelete"]


@needs_slice
@pytest.mark.parametrize(("page", "number"), [("application-post-onlinemeetings", 0), ("onlinemeeting-get", 1)], ids=["post", "get"])
async def test_a_meeting_of_the_documentation_is_taken_for_one(page: str, number: int, tmp_path: Path) -> None:
    shown = _shown(page, number)
    run = await by_documentation("teams_meeting", tmp_path, shown, "subject", join_hosts=["teams.microsoft.com"], **AS_APP)
    # Its link leads to the real Teams, whose name nobody knows here.
    assert (run.failed_step, [step.name for step in run.steps]) == ("join", ["token", "create", "read", "join"])
