"""What is asked of teams, chats and presence is what Microsoft's SDK builds, body included; what its documentation shows is understood."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kiota_abstractions.base_request_configuration import RequestConfiguration
from kiota_abstractions.request_information import RequestInformation
from msgraph.generated.models.aad_user_conversation_member import AadUserConversationMember
from msgraph.generated.models.chat import Chat
from msgraph.generated.models.chat_type import ChatType
from msgraph.generated.teams.item.channels.channels_request_builder import ChannelsRequestBuilder
from msgraph.generated.teams.item.members.members_request_builder import MembersRequestBuilder

from probes import teams_member
from probes.core.contract import Outcome, Run
from tests.fakes.graph import Asked, answer, run_kind, scripted
from tests.judges.openapi import REFERENCE, needs_slice, request_errors
from tests.judges.requests import CLIENT, by_sdk, said

TEAM = "ee0f5ae2-8bc6-4ae5-8466-7daeebbfa062"
ADELE, CAMERON = "73761f06-2ac9-469c-9f10-279a8cc267f9", "50dffbae-ad0f-428e-a86f-f53b0acfc641"
MEMBERSHIP = "ZWUwZjVhZTItOGJjNi00YWU1LTg0NjYtN2RhZWViYmZhMDYyIyM3Mzc2MWYwNi0yYWM5LTQ2OWMtOWYxMC0yNzlhOGNjMjY3Zjk/+="
CHAT = f"19:{ADELE}_{CAMERON}@unq.gbl.spaces"
Made = Callable[[str], RequestInformation]


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {"PACE_SECONDS": 0.0, "_PATIENCE": 0.0, "_RESERVE": 0.0}.items():
        monkeypatch.setattr(teams_member, name, seconds)


async def heard(kind: str, settings: dict[str, Any]) -> tuple[str, list[Asked]]:
    """Let a kind run at a Graph where all goes well, and return its address and what it heard."""
    members: list[dict[str, Any]] = []

    async def graph(asked: Asked) -> bytes:
        match asked.method, asked.path.rpartition("/")[2]:
            case "POST", "members":
                members.append({"id": MEMBERSHIP, "userId": ADELE, "roles": []})
                return answer(members[0], 201)
            case "POST", "chats":
                return answer({"id": CHAT, "chatType": "oneOnOne"}, 201)
            case "GET", "members":
                return answer({"value": members})
            case "GET", "presence":
                return answer({"id": ADELE, "availability": "Away"})
            case "DELETE", _:
                return answer(None, 204)
            case _:
                return answer({"value": [{"id": TEAM}]})

    async with scripted(graph) as script:
        run = await run_kind(kind, script.tenant, **settings)
    assert (run.outcome, run.message, run.cleanup_failed) == (Outcome.OK, "", False)
    return script.host, script.calls


def member(host: str, user: str, *roles: str) -> AadUserConversationMember:
    bind = {"user@odata.bind": f"https://{host}/v1.0/users('{user}')"}
    return AadUserConversationMember(roles=list(roles), additional_data=bind)


def _channels(_: str) -> RequestInformation:
    query = ChannelsRequestBuilder.ChannelsRequestBuilderGetQueryParameters(select=["id", "displayName"])
    made: RequestInformation = CLIENT.teams.by_team_id(TEAM).channels.to_get_request_information(
        RequestConfiguration(query_parameters=query)
    )
    return made


def _members(_: str) -> RequestInformation:
    only = f"(microsoft.graph.aadUserConversationMember/userId eq '{ADELE}')"
    query: Any = RequestConfiguration(query_parameters=MembersRequestBuilder.MembersRequestBuilderGetQueryParameters(filter=only))
    made: RequestInformation = CLIENT.teams.by_team_id(TEAM).members.to_get_request_information(query)
    return made


def _chat(host: str) -> RequestInformation:
    two = Chat(chat_type=ChatType.OneOnOne, members=[member(host, user, "owner") for user in (ADELE, CAMERON)])
    made: RequestInformation = CLIENT.chats.to_post_request_information(two)
    return made


USER = CLIENT.users.by_user_id(ADELE)
MEMBERS = CLIENT.teams.by_team_id(TEAM).members
READ, CREATE, JOIN = ("teams_read", {"user": ADELE, "team": TEAM}), ("teams_chat_create", {"users": [ADELE, CAMERON]}), (
    "teams_member", {"team": TEAM, "user": ADELE},
)  # fmt: skip
SENT = [
    pytest.param(READ, 0, lambda _: USER.joined_teams.to_get_request_information(), id="joined teams"),
    pytest.param(READ, 1, _channels, id="channels"),
    pytest.param(READ, 2, lambda _: USER.presence.to_get_request_information(), id="presence"),
    pytest.param(CREATE, 0, _chat, id="chat"),
    pytest.param(JOIN, 0, _members, id="who is a member"),
    pytest.param(JOIN, 1, lambda host: MEMBERS.to_post_request_information(member(host, ADELE)), id="add"),
    pytest.param(JOIN, 2, _members, id="see"),
    pytest.param(JOIN, 3, lambda _: MEMBERS.by_conversation_member_id(MEMBERSHIP).to_delete_request_information(), id="remove"),
]


@pytest.mark.parametrize(("kind", "number", "made"), SENT)
async def test_a_request_is_what_the_sdk_makes_of_it(kind: tuple[str, dict[str, Any]], number: int, made: Made) -> None:
    host, calls = await heard(*kind)
    expected, asked = made(host), calls[number]
    assert said(asked.method, asked.target) == by_sdk(expected)
    # The SDK leaves out an empty list of roles, which Microsoft's page shows as it is sent here.
    assert body_of(asked.body) == body_of(expected.content or b"")


def body_of(content: bytes) -> Any:
    """Return a body that can be compared: an absent list of roles is an empty one."""
    found = json.loads(content) if content else None
    for one in (found or {}).get("members", [found] if found else []):
        one.setdefault("roles", [])
    return found


@needs_slice
@pytest.mark.parametrize(("kind", "number", "made"), SENT)
async def test_a_request_is_one_of_microsofts_description(kind: tuple[str, dict[str, Any]], number: int, made: Made) -> None:
    del made
    asked = (await heard(*kind))[1][number]
    body = json.loads(asked.body) if asked.body else None
    assert request_errors(asked.method, asked.target.partition("?")[0], asked.query, body) == []


async def test_a_member_that_is_written_otherwise_is_noticed() -> None:
    host, calls = await heard(*JOIN)
    assert body_of(calls[1].body) != body_of(MEMBERS.to_post_request_information(member(host, ADELE, "owner")).content or b"")


def shown(page: str, number: int = 0) -> bytes:
    """Return an answer of Microsoft's documentation."""
    examples = json.loads((Path(REFERENCE or "") / "graph-doc-examples.json").read_text(encoding="utf-8"))["examples"]
    found = [one for one in examples if (one["page"], one["kind"]) == (page, "response") and one["body"]]
    return answer(found[number]["body"], found[number]["status"])


async def ran(kind: str, answers: Callable[[Asked], bytes], **settings: Any) -> Run:
    async def graph(asked: Asked) -> bytes:
        return answers(asked)

    async with scripted(graph) as script:
        return await run_kind(kind, script.tenant, **settings)


@needs_slice
async def test_what_the_documentation_shows_of_teams_is_understood() -> None:
    pages = {"joinedTeams": "user-list-joinedteams", "channels": "channel-list", "presence": "presence-get"}
    run = await ran("teams_read", lambda asked: shown(pages[asked.path.rpartition("/")[2]]), user="66825e03-7ef5-42da-9069-724602c31f6b")
    assert (run.message, dict(run.evidence)["presence"]) == ("", "DoNotDisturb")
    assert dict(run.evidence)["team"] == "31aa74dd-dd65-43ac-8c4e-0ec1ae5a8ee1"


@needs_slice
async def test_what_the_documentation_shows_of_a_chat_is_understood() -> None:
    two = ["82fe7758-5bb3-4f0d-a43f-e555fd399c6f", "8c0a1a67-50ce-4114-bb6c-da9c5dbcf6ca"]
    assert (await ran("teams_chat_create", lambda _: shown("chat-post"), users=two)).message == ""
    assert (await ran("teams_chat_create", lambda _: shown("chat-post", 1), users=two)).message == "the answer is no chat of two"


@needs_slice
async def test_what_the_documentation_shows_of_members_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    """In its examples somebody is added who is in none of its lists, so that each is tried with its own user."""
    monkeypatch.setattr(teams_member, "_RESERVE", 3_600.0)
    lists = iter([answer({"value": []})])

    def answers(asked: Asked) -> bytes:
        return shown("team-post-members") if asked.method == "POST" else next(lists, shown("team-list-members"))

    added = await ran("teams_member", answers, team=TEAM, user=CAMERON)
    assert added.failed_step == "seen"
    assert "is not among the members" in added.message
    listed = await ran("teams_member", lambda _: shown("team-list-members", 1), team=TEAM, user=ADELE)
    assert (listed.failed_step, "is in the team already" in listed.message) == ("look", True)
