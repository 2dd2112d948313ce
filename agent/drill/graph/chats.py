"""Chats, their members and their messages.

https://learn.microsoft.com/en-us/graph/api/resources/chat
"""

import re
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from agent.drill.graph.frame import Answer, Call, GraphError, Operation
from agent.drill.graph.members import Licences, Member, bound, membership_id, of_person, shown
from agent.drill.graph.moments import moment
from agent.drill.graph.odata import context, entity, page
from agent.drill.world import Person, World

_LARGEST_PAGE = 50
_IMPORT = "https://docs.microsoft.com/microsoftteams/platform/graph-api/import-messages/import-external-messages-to-teams"
_BODY_TYPES = frozenset({"text", "html"})
_RANGES = {"lastModifiedDateTime": ("gt", "lt"), "createdDateTime": ("lt",)}
"""How a list of messages may be filtered, by property."""


@dataclass(slots=True)
class Message:
    """A message, from its sender or imported by an app. Deleted ones stay, without their words."""

    id: str
    sender: Person | None
    app_id: str
    kind: str
    content: str
    created: float
    deleted: float | None = None


@dataclass(slots=True)
class Chat:
    """A chat of two, or of a group with a topic."""

    id: str
    kind: str
    topic: str | None
    created: float
    updated: float
    members: list[Member] = field(default_factory=list)
    messages: dict[str, Message] = field(default_factory=dict)

    def has(self, user_id: str, now: float) -> bool:
        """Whether somebody is in the chat."""
        return any(member.person.id == user_id and member.shows(now) for member in self.members)


class Chats:
    """All chats of a world, none at first."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.chats: dict[str, Chat] = {}
        self._latest = 0

    def opened(self, call: Call) -> Chat:
        """Give the chat that a call is about.

        Raises:
            GraphError: 404 where there is none; 403 to a person outside it, or without a licence.

        """
        by = self._world.person(call.caller.user_id or "")
        if by is not None:
            self._world.of(Licences).check(by)
        chat = self.chats.get(call.path["chat-id"])
        if chat is None:
            raise GraphError(404, "NotFound", "Chat does not exist.")
        if call.caller.user_id and not chat.has(call.caller.user_id, self._world.now()):
            raise GraphError(403, "Forbidden", "The initiator is not a member of this chat.")
        return chat

    def between(self, first: Person, second: Person) -> Chat:
        """Give the one chat that these two have, made where there is none yet."""
        low, high = sorted((first.id, second.id))
        return self._kept(f"19:{low}_{high}@unq.gbl.spaces", "oneOnOne", None, ((first, ("owner",)), (second, ("owner",))))

    def group(self, topic: str | None, people: tuple[tuple[Person, tuple[str, ...]], ...]) -> Chat:
        """Make a group chat."""
        return self._kept(f"19:{UUID(int=self._world.random.getrandbits(128)).hex}@thread.v2", "group", topic, people)

    def _kept(self, name: str, kind: str, topic: str | None, people: tuple[tuple[Person, tuple[str, ...]], ...]) -> Chat:
        now = self._world.now()
        if name not in self.chats:
            chat = self.chats[name] = Chat(name, kind, topic, now, now)
            chat.members.extend(_member(self._world, chat, person, roles) for person, roles in people)
        return self.chats[name]

    def message_id(self) -> str:
        """Make the name of a message: its moment in milliseconds, never the same twice."""
        self._latest = max(self._latest + 1, int(self._world.now() * 1000))
        return str(self._latest)


def _member(world: World, chat: Chat, person: Person, roles: tuple[str, ...]) -> Member:
    return Member(membership_id("0", world.tenant_id, chat.id, person.id), person, roles, world.now())


def _shown_chat(world: World, chat: Chat) -> dict[str, Any]:
    return {
        "id": chat.id,
        "topic": chat.topic,
        "createdDateTime": moment(chat.created),
        "lastUpdatedDateTime": moment(chat.updated),
        "chatType": chat.kind,
        "webUrl": f"https://teams.microsoft.com/l/chat/{chat.id}/0?tenantId={world.tenant_id}",
        "tenantId": world.tenant_id,
        "onlineMeetingInfo": None,
        "viewpoint": None,
    }


def create_chat(world: World, call: Call) -> Answer:
    """Make a chat; for two who have one already, answer with that one."""
    body = call.body if isinstance(call.body, dict) else {}
    members = body.get("members")
    if not isinstance(members, list):
        raise _bad("Members should be specified in the chat creation request.")
    people = tuple(bound(world, member) for member in members)
    _check_people(call, people)
    for person, _ in people:
        world.of(Licences).check(person)
    chats = world.of(Chats)
    match body.get("chatType"), body.get("topic"):
        case "oneOnOne", None if len(people) == 2:  # noqa: PLR2004 - as the type says
            chat = chats.between(people[0][0], people[1][0])
        case "group", (str() | None) as topic:
            chat = chats.group(topic, people)
        case _:
            raise _bad("A chat of type oneOnOne has two members and no topic; the only other type is group.")
    return entity(call, _shown_chat(world, chat), status=201)


def _check_people(call: Call, people: tuple[tuple[Person, tuple[str, ...]], ...]) -> None:
    """Refuse members named twice, without a role, or without the caller among them."""
    if len({person.id for person, _ in people}) != len(people):
        raise _bad("Duplicate chat members are specified in the request body.")
    if not all(roles for _, roles in people):
        raise _bad("Member roles should be specified in the chat creation request.")
    if call.caller.user_id and call.caller.user_id not in {person.id for person, _ in people}:
        raise _bad("The caller must be one of the members specified in the request body.")


def _bad(message: str) -> GraphError:
    return GraphError(400, "BadRequest", message)


def get_chat(world: World, call: Call) -> Answer:
    """Answer with one chat, and its members where `$expand` asks for them."""
    chat, now = world.of(Chats).opened(call), world.now()
    answer = entity(call, _shown_chat(world, chat))
    if call.query.get("$expand", "").lower().startswith("members"):
        answer.body["members"] = [shown(world, member) for member in chat.members if member.shows(now)]
    return answer


def delete_chat(world: World, call: Call) -> Answer:
    """Delete a chat."""
    chats = world.of(Chats)
    del chats.chats[chats.opened(call).id]
    return Answer(status=204)


def list_members(world: World, call: Call) -> Answer:
    """Answer with the members of a chat."""
    chat, now = world.of(Chats).opened(call), world.now()
    return page(call, [shown(world, member) for member in chat.members if member.shows(now)])


def add_member(world: World, call: Call) -> Answer:
    """Take somebody into a group chat, and say where the membership is."""
    chat = world.of(Chats).opened(call)
    if chat.kind == "oneOnOne":
        raise GraphError(403, "Forbidden", "Roster changes are not allowed in a chat of type oneOnOne.")
    person, roles = bound(world, call.body)
    member = of_person(chat.members, person, world.now())
    if member is None:
        member = _member(world, chat, person, roles)
        chat.members.append(member)
    member.roles = roles
    place = f"/chats('{chat.id}')/members('{member.id}')"
    return Answer({"@odata.context": context(call, single=True), **shown(world, member)}, 201, {"Location": place})


def remove_member(world: World, call: Call) -> Answer:
    """Put somebody out of a group chat."""
    chat = world.of(Chats).opened(call)
    member = next((each for each in chat.members if each.id == call.path["conversationMember-id"] and each.until == float("inf")), None)
    if member is None:
        raise GraphError(404, "NotFound", "Membership does not exist.")
    member.until = world.now()
    return Answer(status=204)


def _shown_message(chat: Chat, message: Message) -> dict[str, Any]:
    app = {"id": message.app_id, "displayName": "Fogbell", "applicationIdentityType": "aadApplication"}
    user = message.sender and {"id": message.sender.id, "displayName": message.sender.name, "userIdentityType": "aadUser"}
    return {
        "id": message.id,
        "replyToId": None,
        "etag": message.id,
        "messageType": "message",
        "createdDateTime": moment(message.created),
        "lastModifiedDateTime": moment(message.deleted or message.created),
        "lastEditedDateTime": None,
        "deletedDateTime": moment(message.deleted) if message.deleted else None,
        "subject": None,
        "summary": None,
        "chatId": chat.id,
        "importance": "normal",
        "locale": "en-us",
        "webUrl": None,
        "channelIdentity": None,
        "policyViolation": None,
        "from": {"user": user, "application": None if user else app, "device": None},
        "body": {"contentType": message.kind, "content": "" if message.deleted else message.content},
        "attachments": [],
        "mentions": [],
        "reactions": [],
    }


def send_message(world: World, call: Call) -> Answer:
    """Post a message as the person behind the token; an app alone may only import."""
    if call.caller.user_id is None and "Teamwork.Migrate.All" not in call.caller.granted:
        raise GraphError(
            401,
            "Unauthorized",
            f"Message POST is allowed in application-only context only for import purposes. Refer to {_IMPORT} for more details.",
        )
    chats = world.of(Chats)
    chat = chats.opened(call)
    kind, content = _words(call.body)
    sender = world.person(call.caller.user_id) if call.caller.user_id else None
    message = Message(chats.message_id(), sender, call.caller.app_id, kind, content, world.now())
    chat.messages[message.id] = message
    chat.updated = message.created
    return entity(call, _shown_message(chat, message), status=201)


def _words(body: object) -> tuple[str, str]:
    """Read the type and the content of a message.

    Raises:
        GraphError: 400 where it says nothing.

    """
    given = body.get("body") if isinstance(body, dict) else None
    if not isinstance(given, dict) or not given.get("content"):
        raise _bad("Missing body content.")
    kind = str(given.get("contentType", "text")).lower()
    if kind not in _BODY_TYPES:
        raise _bad(f"Requested value '{kind}' was not found.")
    return kind, str(given["content"])


def list_messages(world: World, call: Call) -> Answer:
    """Answer with the messages of a chat, the latest first."""
    chat = world.of(Chats).opened(call)
    if call.query.get("$top", "0").isdecimal() and int(call.query.get("$top", "0")) > _LARGEST_PAGE:
        raise _bad(f"Invalid page size specified: {call.query['$top']}. Must be between 1-{_LARGEST_PAGE} inclusive.")
    return page(_by_its_order(call), [_shown_message(chat, message) for message in reversed(chat.messages.values())], 20)


def _by_its_order(call: Call) -> Call:
    """Give the call without a filter that counts for nothing: one by another property than it is ordered by.

    Raises:
        GraphError: 400 where the filter compares in a way that this list does not.

    """
    for term in re.split(r"\s+and\s+", call.query.get("$filter", "").strip()):
        name, _, rest = term.partition(" ")
        if name != call.query.get("$orderby", "").partition(" ")[0]:
            return replace(call, query={key: value for key, value in call.query.items() if key != "$filter"})
        if name and rest.partition(" ")[0] not in _RANGES.get(name, ()):
            raise _bad(f"The entity property '{name}' and operationKind '{rest.partition(' ')[0]}' is not allowed in $filter query.")
    return call


def _message(chat: Chat, call: Call) -> Message:
    message = chat.messages.get(call.path["chatMessage-id"])
    if message is None:
        raise GraphError(404, "NotFound", "Message does not exist in the thread.")
    return message


def get_message(world: World, call: Call) -> Answer:
    """Answer with one message."""
    chat = world.of(Chats).opened(call)
    return entity(call, _shown_message(chat, _message(chat, call)))


def delete_message(world: World, call: Call) -> Answer:
    """Take the words out of a message of the caller's own."""
    chat = world.of(Chats).opened(call)
    message = _message(chat, call)
    owner = message.sender.id if message.sender else ""
    if not owner == call.caller.user_id == call.path["user-id"].lower():
        raise GraphError(403, "Forbidden", "Only the sender may delete a message.")
    message.deleted = world.now()
    return Answer(status=204)


_CREATE = frozenset({"Chat.Create", "Chat.ReadWrite.All", "Teamwork.Migrate.All"})
_CREATE_AS = frozenset({"Chat.Create", "Chat.ReadWrite"})
_READ = frozenset(
    {
        "Chat.ReadBasic.All",
        "Chat.Read.All",
        "Chat.ReadWrite.All",
        "ChatSettings.Read.Chat",
        "ChatSettings.ReadWrite.Chat",
        "Chat.Manage.Chat",
    }
)
_READ_AS = frozenset({"Chat.ReadBasic", "Chat.Read", "Chat.ReadWrite"})
_DELETE = frozenset({"Chat.ManageDeletion.Chat", "Chat.ManageDeletion.All"})
_SEND = _READ | _CREATE | frozenset({"ChatMessage.Read.Chat", "ChatMember.ReadWrite.All"})
"""Wide on purpose: an app that may do something with chats hears from Teams why it may not send; only import is allowed."""
_SEND_AS = frozenset({"ChatMessage.Send", "Chat.ReadWrite", "Group.ReadWrite.All"})
_MESSAGES = frozenset({"ChatMessage.Read.Chat", "Chat.Read.All", "Chat.ReadWrite.All"})
_MESSAGES_AS = frozenset({"Chat.Read", "Chat.ReadWrite"})
_MEMBERS = frozenset({"ChatMember.ReadWrite.All", "Chat.ReadWrite.All", "Chat.Manage.Chat"})
_MEMBERS_AS = frozenset({"ChatMember.ReadWrite", "Chat.ReadWrite"})
_LIST_MEMBERS = _MEMBERS | frozenset({"ChatMember.Read.All", "ChatMember.Read.Chat", "Chat.ReadBasic.All", "Chat.Read.All"})
_LIST_MEMBERS_AS = _MEMBERS_AS | frozenset({"ChatMember.Read", "Chat.ReadBasic", "Chat.Read"})

OPERATIONS = (
    Operation("POST", "/chats", create_chat, "teams", "chat_create", _CREATE, _CREATE_AS),
    Operation("GET", "/chats/{chat-id}", get_chat, "teams", "chat_get", _READ, _READ_AS),
    Operation("DELETE", "/chats/{chat-id}", delete_chat, "teams", "chat_delete", _DELETE, frozenset({"Chat.ManageDeletion.All"})),
    Operation("POST", "/chats/{chat-id}/messages", send_message, "teams", "message_send", _SEND, _SEND_AS),
    Operation("GET", "/chats/{chat-id}/messages", list_messages, "teams", "message_list", _MESSAGES, _MESSAGES_AS),
    Operation("GET", "/chats/{chat-id}/messages/{chatMessage-id}", get_message, "teams", "message_get", _MESSAGES, _MESSAGES_AS),
    Operation(
        "POST",
        "/users/{user-id}/chats/{chat-id}/messages/{chatMessage-id}/softDelete",
        delete_message,
        "teams",
        "message_delete",
        delegated=frozenset({"Chat.ReadWrite"}),
    ),
    Operation("GET", "/chats/{chat-id}/members", list_members, "teams", "member_list", _LIST_MEMBERS, _LIST_MEMBERS_AS),
    Operation("POST", "/chats/{chat-id}/members", add_member, "teams", "member_add", _MEMBERS, _MEMBERS_AS),
    Operation("DELETE", "/chats/{chat-id}/members/{conversationMember-id}", remove_member, "teams", "member_remove", _MEMBERS, _MEMBERS_AS),
)
"""What this area answers."""
