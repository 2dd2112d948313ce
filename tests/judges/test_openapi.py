"""The judge refuses what is wrong, or it would be none."""

from typing import Any

import pytest

from tests.judges.openapi import answer_errors, needs_slice, operations, request_errors, template_of

pytestmark = needs_slice
BIND = {"@odata.type": "#microsoft.graph.aadUserConversationMember", "roles": ["owner"], "user@odata.bind": "https://x/v1.0/users('a')"}


def test_the_slice_has_all_operations_once() -> None:
    found = list(operations())
    assert len(found) == len(set(found)) == 59


@pytest.mark.parametrize(
    ("address", "template"),
    [
        ("https://localhost:1/v1.0/me", "/me"),
        ("/users/a/mailFolders/inbox/messages/delta", "/users/{user-id}/mailFolders/{mailFolder-id}/messages/delta"),
        ("/users/a/messages/b", "/users/{user-id}/messages/{message-id}"),
        ("/sites/contoso.example:/sites/probe", "/sites/{hostname}:/{relative-path}"),
        ("/sites/contoso.example,1,2", "/sites/{site-id}"),
        ("/drives/d/root:/a/b.txt", "/drives/{drive-id}/root:/{item-path}"),
        ("/drives/d/root:/a/b.txt:/content", "/drives/{drive-id}/root:/{item-path}:/content"),
        ("/drives/d/root/search(q='canary')", "/drives/{drive-id}/root/search(q='{q}')"),
        ("/drives/d/root/search%28q%3D'canary'%29", None),
        ("/chats/19%3Aab%40thread.v2/messages", "/chats/{chat-id}/messages"),
        ("/chats/19:ab@thread.v2/messages", "/chats/{chat-id}/messages"),
        ("/security/microsoft.graph.security.runHuntingQuery", "/security/runHuntingQuery"),
        ("/teams", None),
        ("/me/messages", None),
    ],
)
def test_an_address_is_known_by_its_template(address: str, template: str | None) -> None:
    assert template_of(address) == template


@pytest.mark.parametrize(
    ("method", "path", "query", "body"),
    [
        ("GET", "/organization", {"$select": "id,displayName"}, None),
        ("GET", "/admin/serviceAnnouncement/issues", {"$filter": "isResolved eq false", "$top": "100"}, None),
        ("POST", "/chats", {}, {"chatType": "oneOnOne", "members": [BIND, BIND]}),
        ("PUT", "/drives/d/root:/a.txt:/content", {}, b"text"),
        ("POST", "/security/runHuntingQuery", {}, {"query": "print 1", "timespan": "P1D"}),
    ],
)
def test_a_right_request_passes(method: str, path: str, query: dict[str, str], body: object) -> None:
    assert request_errors(method, path, query, body) == []


@pytest.mark.parametrize(
    ("method", "path", "query", "body", "word"),
    [
        ("PATCH", "/organization", {}, None, "no operation"),
        ("GET", "/organisation", {}, None, "no operation"),
        ("GET", "/organization", {"$top": "1"}, None, "$top is none of"),
        ("GET", "/security/incidents", {"$top": "one"}, None, "query $top"),
        ("GET", "/security/incidents", {"$count": "yes"}, None, "query $count"),
        ("GET", "/organization", {}, {"id": "1"}, "this operation has none"),
        ("POST", "/chats", {}, None, "body: required"),
        ("POST", "/chats", {}, {"chatType": "oneOnOne", "members": [BIND]}, "body.members"),
        ("POST", "/chats", {}, {"chatType": "pair", "members": [BIND, BIND]}, "body.chatType"),
        ("POST", "/chats", {}, {"chatType": "group", "members": [BIND, {"roles": []}]}, "user@odata.bind"),
        ("POST", "/chats", {}, b"{}", "bytes"),
        ("PUT", "/drives/d/root:/a.txt:/content", {}, {"a": 1}, "JSON, where bytes"),
        ("POST", "/me/onlineMeetings", {}, {"startDateTime": "tomorrow"}, "body.startDateTime"),
        ("POST", "/me/onlineMeetings", {}, {"startDateTime": "2026-13-01T00:00:00Z"}, "body.startDateTime"),
    ],
)
def test_a_wrong_request_is_refused(method: str, path: str, query: dict[str, str], body: object, word: str) -> None:
    assert word in " ".join(request_errors(method, path, query, body))


ERROR = {"error": {"code": "Forbidden", "message": "No."}}
HEALTHY: dict[str, Any] = {"value": [{"id": "Exchange", "service": "Exchange Online", "status": "serviceOperational"}]}
OVERVIEWS = "/admin/serviceAnnouncement/healthOverviews"


@pytest.mark.parametrize(
    ("method", "path", "status", "body"),
    [("GET", OVERVIEWS, 200, HEALTHY), ("GET", OVERVIEWS, 403, ERROR), ("GET", OVERVIEWS, 429, ERROR), ("DELETE", "/chats/c", 204, None)],
)
def test_a_right_answer_passes(method: str, path: str, status: int, body: object) -> None:
    assert answer_errors(method, path, status, body) == []


@pytest.mark.parametrize(
    ("method", "path", "status", "body", "word"),
    [
        ("GET", "/nowhere", 200, {}, "no operation"),
        ("GET", OVERVIEWS, 201, HEALTHY, "status: 201"),
        ("GET", OVERVIEWS, 200, None, "missing"),
        ("GET", OVERVIEWS, 200, {"value": [{"id": 1}]}, "body.value[0].id"),
        ("GET", OVERVIEWS, 200, {"value": [{"status": "ServiceOperational"}]}, "body.value[0].status"),
        ("GET", OVERVIEWS, 200, {"value": {}}, "body.value"),
        ("GET", OVERVIEWS, 500, {"message": "no"}, "'error' is a required property"),
        ("DELETE", "/chats/c", 204, {}, "has none"),
    ],
)
def test_a_wrong_answer_is_refused(method: str, path: str, status: int, body: object, word: str) -> None:
    assert word in " ".join(answer_errors(method, path, status, body))
