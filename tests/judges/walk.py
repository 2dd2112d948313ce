"""One walk through the simulated tenant, over TLS, on which every operation of the slice is called with the least permission.

The calls come in an order in which each finds what it needs. Each request and each answer is judged by the slice on the way, where
it is present.
"""

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import quote

from agent.drill.graph import OPERATIONS
from agent.drill.graph.odata import value
from agent.drill.graph.sites import CANARY
from tests.drill.data import Client, data_client
from tests.drill.graph import token
from tests.judges.openapi import REFERENCE, answer_errors, request_errors, slice_

Kept = dict[str, str]
"""What the walk has come by: parameters of paths, and `graph`, the address of Graph."""


def nothing(_kept: Kept) -> object:
    return None


@dataclass(frozen=True, slots=True)
class Step:
    """One call: what it sends, what it keeps of the answer (by path), and how long nothing happens afterwards."""

    method: str
    template: str
    body: Callable[[Kept], object] = nothing
    query: Mapping[str, str] = field(default_factory=dict)
    keep: Mapping[str, str] = field(default_factory=dict)
    person: bool = False
    wait: float = 0.0


@dataclass(frozen=True, slots=True)
class Called:
    """What came of one call."""

    status: int
    body: bytes
    wrong_request: list[str]
    wrong_answer: list[str]


def member(kept: Kept, who: str) -> dict[str, Any]:
    address = f"{kept['graph']}/users('{who}')"
    return {"@odata.type": "#microsoft.graph.aadUserConversationMember", "roles": ["guest"], "user@odata.bind": address}


def letter(kept: Kept) -> object:
    to = [{"emailAddress": {"address": kept["mail"]}}]
    return {"message": {"subject": "fogbell", "body": {"contentType": "text", "content": "Hello."}, "toRecipients": to}}


def search(_kept: Kept) -> object:
    query = {"entityTypes": ["driveItem"], "query": {"queryString": "fogbell"}, "from": 0, "size": 5, "region": "NAM"}
    return {"requests": [query]}


def audit(_kept: Kept) -> object:
    return {"displayName": "fogbell", "filterStartDateTime": "2026-11-23T10:00:00Z", "filterEndDateTime": "2026-11-23T11:00:00Z"}


def meeting(_kept: Kept) -> object:
    return {"startDateTime": "2026-11-23T13:00:00Z", "endDateTime": "2026-11-23T13:30:00Z", "subject": "fogbell"}


ONE = {"$top": "1"}
PUT = Step("PUT", "/drives/{drive-id}/root:/{item-path}:/content", lambda _: b"fogbell", keep={"driveItem-id": "id"})
INBOX = "/users/{user-id}/mailFolders/{mailFolder-id}"
HEALTH = "/admin/serviceAnnouncement"
WALK = (
    Step("GET", "/me", query={"$select": "id"}, person=True),
    Step("GET", "/users/{user-id}", keep={"mail": "mail"}),
    Step("GET", "/organization", query={"$select": "id,displayName"}),
    Step("GET", "/domains"),
    Step("POST", "/users/{user-id}/sendMail", letter, wait=600),
    Step("POST", "/users/{user-id}/sendMail", letter, wait=600),
    Step("GET", INBOX),
    Step("GET", f"{INBOX}/messages/delta"),
    Step("GET", f"{INBOX}/messages", query=ONE, keep={"message-id": "value/0/id"}),
    Step("GET", "/users/{user-id}/messages/{message-id}", query={"$select": "subject,internetMessageHeaders"}),
    Step("DELETE", "/users/{user-id}/messages/{message-id}"),
    Step("GET", f"{INBOX}/messages", query=ONE, keep={"message-id": "value/0/id"}),
    Step("POST", "/users/{user-id}/messages/{message-id}/permanentDelete"),
    Step("GET", "/sites/{hostname}:/{relative-path}", keep={"site-id": "id"}),
    Step("GET", "/sites/{site-id}"),
    Step("GET", "/users/{user-id}/drive"),
    Step("GET", "/sites/{site-id}/drive", keep={"drive-id": "id"}),
    Step("GET", "/drives/{drive-id}/root:/{item-path}", keep={"driveItem-id": "id"}),
    Step("GET", "/drives/{drive-id}/items/{driveItem-id}", query={"$select": "id,size,file"}),
    Step("GET", "/drives/{drive-id}/root:/{item-path}:/content"),
    Step("GET", "/drives/{drive-id}/items/{driveItem-id}/content"),
    Step("GET", "/drives/{drive-id}/root/search(q='{q}')", query={"$select": "id,name,webUrl", "$top": "5"}),
    Step("POST", "/search/query", search),
    PUT,
    Step("DELETE", "/drives/{drive-id}/items/{driveItem-id}"),
    PUT,
    Step("POST", "/drives/{drive-id}/items/{driveItem-id}/permanentDelete"),
    Step("POST", "/drives/{drive-id}/root:/{item-path}:/createUploadSession", lambda _: {"item": {"name": "fogbell-canary.txt"}}),
    Step("GET", "/users/{user-id}/joinedTeams", keep={"team-id": "value/0/id"}),
    Step("GET", "/me/joinedTeams", person=True, wait=1),
    Step("GET", "/teams/{team-id}"),
    Step("GET", "/teams/{team-id}/channels"),
    Step("POST", "/teams/{team-id}/members", lambda kept: member(kept, kept["other"]), keep={"conversationMember-id": "id"}, wait=5),
    Step("GET", "/teams/{team-id}/members"),
    Step("DELETE", "/teams/{team-id}/members/{conversationMember-id}"),
    Step(
        "POST",
        "/chats",
        lambda kept: {"chatType": "group", "topic": "fogbell", "members": [member(kept, kept[who]) for who in ("user-id", "second")]},
        keep={"chat-id": "id"},
    ),
    Step("GET", "/chats/{chat-id}", query={"$expand": "members"}),
    Step(
        "POST",
        "/chats/{chat-id}/messages",
        lambda _: {"body": {"contentType": "text", "content": "fogbell"}},
        keep={"chatMessage-id": "id"},
        person=True,
    ),
    Step("GET", "/chats/{chat-id}/messages", query=ONE),
    Step("GET", "/chats/{chat-id}/messages/{chatMessage-id}", person=True),
    Step("POST", "/users/{user-id}/chats/{chat-id}/messages/{chatMessage-id}/softDelete", person=True),
    Step("POST", "/chats/{chat-id}/members", lambda kept: member(kept, kept["other"]), keep={"conversationMember-id": "id"}),
    Step("DELETE", "/chats/{chat-id}/members/{conversationMember-id}"),
    Step("DELETE", "/chats/{chat-id}"),
    Step("POST", "/me/onlineMeetings", meeting, person=True),
    Step("POST", "/users/{user-id}/onlineMeetings", meeting, keep={"onlineMeeting-id": "id"}),
    Step("GET", "/users/{user-id}/onlineMeetings/{onlineMeeting-id}"),
    Step("DELETE", "/users/{user-id}/onlineMeetings/{onlineMeeting-id}"),
    Step("GET", "/users/{user-id}/presence"),
    Step("GET", f"{HEALTH}/healthOverviews", query={"$expand": "issues"}, keep={"serviceHealth-id": "value/0/id"}),
    Step("GET", f"{HEALTH}/healthOverviews/{{serviceHealth-id}}"),
    Step("GET", f"{HEALTH}/issues", query={"$filter": "isResolved eq true"}),
    Step("GET", f"{HEALTH}/messages"),
    Step("GET", "/security/incidents", query=ONE),
    Step("GET", "/security/alerts_v2", query=ONE),
    Step("POST", "/security/runHuntingQuery", lambda _: {"query": "print ok=1", "timespan": "P1D"}),
    Step("GET", "/security/secureScores", query=ONE),
    Step("GET", "/security/dataSecurityAndGovernance/sensitivityLabels", query=ONE),
    Step("GET", "/security/labels/retentionLabels", person=True),
    Step("GET", "/security/cases/ediscoveryCases", query=ONE),
    Step("POST", "/security/auditLog/queries", audit, keep={"auditLogQuery-id": "id"}),
    Step("GET", "/security/auditLog/queries/{auditLogQuery-id}"),
)


GIVES = {
    ("GET", "/me"): "user",
    ("GET", "/users/{user-id}"): "user",
    ("GET", "/organization"): "organization",
    ("GET", "/domains"): "domain",
    ("GET", "/users/{user-id}/mailFolders/{mailFolder-id}"): "mailFolder",
    ("GET", "/users/{user-id}/mailFolders/{mailFolder-id}/messages"): "message",
    ("GET", "/users/{user-id}/mailFolders/{mailFolder-id}/messages/delta"): "message",
    ("GET", "/users/{user-id}/messages/{message-id}"): "message",
    ("GET", "/sites/{site-id}"): "site",
    ("GET", "/sites/{hostname}:/{relative-path}"): "site",
    ("GET", "/sites/{site-id}/drive"): "drive",
    ("GET", "/users/{user-id}/drive"): "drive",
    ("GET", "/drives/{drive-id}/items/{driveItem-id}"): "driveItem",
    ("GET", "/drives/{drive-id}/root:/{item-path}"): "driveItem",
    ("PUT", "/drives/{drive-id}/root:/{item-path}:/content"): "driveItem",
    ("POST", "/drives/{drive-id}/root:/{item-path}:/createUploadSession"): "uploadSession",
    ("GET", "/drives/{drive-id}/root/search(q='{q}')"): "driveItem",
    ("POST", "/search/query"): "searchResponse",
    ("GET", "/users/{user-id}/joinedTeams"): "team",
    ("GET", "/me/joinedTeams"): "team",
    ("GET", "/teams/{team-id}"): "team",
    ("GET", "/teams/{team-id}/channels"): "channel",
    ("GET", "/teams/{team-id}/members"): "aadUserConversationMember",
    ("POST", "/teams/{team-id}/members"): "aadUserConversationMember",
    ("POST", "/chats"): "chat",
    ("GET", "/chats/{chat-id}"): "chat",
    ("POST", "/chats/{chat-id}/messages"): "chatMessage",
    ("GET", "/chats/{chat-id}/messages"): "chatMessage",
    ("GET", "/chats/{chat-id}/messages/{chatMessage-id}"): "chatMessage",
    ("POST", "/chats/{chat-id}/members"): "aadUserConversationMember",
    ("POST", "/me/onlineMeetings"): "onlineMeeting",
    ("POST", "/users/{user-id}/onlineMeetings"): "onlineMeeting",
    ("GET", "/users/{user-id}/onlineMeetings/{onlineMeeting-id}"): "onlineMeeting",
    ("GET", "/users/{user-id}/presence"): "presence",
    ("GET", "/admin/serviceAnnouncement/healthOverviews"): "serviceHealth",
    ("GET", "/admin/serviceAnnouncement/healthOverviews/{serviceHealth-id}"): "serviceHealth",
    ("GET", "/admin/serviceAnnouncement/issues"): "serviceHealthIssue",
    ("GET", "/admin/serviceAnnouncement/messages"): "serviceUpdateMessage",
    ("GET", "/security/incidents"): "security.incident",
    ("GET", "/security/alerts_v2"): "security.alert",
    ("POST", "/security/runHuntingQuery"): "security.huntingQueryResults",
    ("GET", "/security/secureScores"): "secureScore",
    ("GET", "/security/dataSecurityAndGovernance/sensitivityLabels"): "sensitivityLabel",
    ("GET", "/security/labels/retentionLabels"): "security.retentionLabel",
    ("GET", "/security/cases/ediscoveryCases"): "security.ediscoveryCase",
    ("POST", "/security/auditLog/queries"): "security.auditLogQuery",
    ("GET", "/security/auditLog/queries/{auditLogQuery-id}"): "security.auditLogQuery",
}
"""The type of Graph that an operation answers with, or a list of; the others answer without JSON."""

UNLISTED = {
    "/me": {"application": [], "delegated": ["User.Read"]},
    "/drives/{drive-id}/items/{driveItem-id}/permanentDelete": {
        "application": ["Files.ReadWrite.All"],
        "delegated": ["Files.ReadWrite.All"],
    },
}
"""Permissions of operations for which Microsoft's table has none."""


def permissions(method: str, template: str, kind: str) -> list[str]:
    """Give the permissions of Microsoft's table, `application` or `delegated`, that suffice alone; none where it is not supported."""
    listed = slice_()["paths"][template][method.lower()].get("x-m365-permissions", UNLISTED.get(template))[kind]
    return [] if listed == "not supported" else list(listed)


def path_of(template: str, kept: Kept) -> str:
    """Fill a template in, as a client encodes it."""
    return re.sub(r"\{([^}]+)\}", lambda found: quote(kept[found[1]], safe="/" if found[1] == "item-path" else ","), template)


def least(method: str, template: str, kind: str) -> list[str]:
    """Give the one permission that Microsoft's table has first; without the table, all that the tenant takes."""
    if REFERENCE:
        return permissions(method, template, kind)[:1]
    operation = next(each for each in OPERATIONS if (each.method, each.template) == (method, template))
    return sorted(getattr(operation, kind))


async def take(client: Client, step: Step, kept: Kept) -> Called:
    """Take one step, and judge it."""
    path, body = path_of(step.template, kept), step.body(kept)
    granted = least(step.method, step.template, "delegated" if step.person else "application")
    sent = {"Authorization": f"Bearer {token(client.world, granted, client.sender if step.person else None)}"}
    payload: dict[str, Any] = {"data": body} if isinstance(body, bytes) else {"json": body}
    url = client.world.url("graph", f"/v1.0{path}")
    async with client.session.request(
        step.method, url, params=step.query, headers=sent, allow_redirects=False, ssl=client.tls, **payload
    ) as answer:
        data = await answer.read()
    found = json.loads(data) if data else None
    for name, place in step.keep.items():
        kept[name] = str(picked(found, place))
    client.clock.forward(step.wait)
    if not REFERENCE:
        return Called(answer.status, data, [], [])
    wrong = request_errors(step.method, path, step.query, body)
    return Called(answer.status, data, wrong, answer_errors(step.method, path, answer.status, found))


def picked(body: Any, place: str) -> Any:
    """Give a part of an answer by its path, such as `value/0/id`."""
    first, _, rest = place.partition("/")
    if first != "value":
        return value(body, place)
    number, _, name = rest.partition("/")
    return body["value"][int(number)][name]


async def _walk() -> dict[tuple[str, str], Called]:
    """Take all steps in a new tenant."""
    called = {}
    async with data_client() as client:
        kept = {
            "graph": client.world.url("graph", "/v1.0"),
            "user-id": client.sender.id,
            "second": client.receiver.id,
            "other": client.world.people[3].id,
            "mailFolder-id": "inbox",
            "hostname": "contoso.sharepoint.com",
            "relative-path": "sites/Probe",
            "item-path": CANARY,
            "q": "fogbell",
        }
        for step in WALK:
            called[step.method, step.template] = await take(client, step, kept)
    return called


@cache
def called() -> Mapping[tuple[str, str], Called]:
    """Walk, once for all tests; what came of each operation, by method and template."""
    return asyncio.run(_walk())
