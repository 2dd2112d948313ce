"""Mail over Graph: send, list a folder, follow it, read, delete.

Pages of Microsoft's documentation: user-sendmail, mailfolder-get, mailfolder-list-messages, message-delta, message-get, message-delete,
message-permanentdelete, outlook-get-mime-message.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from agent.drill.graph.frame import Answer, Call, GraphError, Operation
from agent.drill.graph.letters import Address, Letter, author, authors_of, decoded, from_json, from_mime, in_lower_camel
from agent.drill.graph.mailbox import Folder, Mailbox, Message
from agent.drill.graph.messages import View, as_graph, folder_as_graph
from agent.drill.graph.mime import mime_of
from agent.drill.graph.odata import context, entity, matches, page, select
from agent.drill.graph.post import Post
from agent.drill.graph.sent import members
from agent.drill.world import World

_PAGE = 10
"""Messages on a page, unless `$top` says otherwise."""
_LARGEST_PAGE = 1000


def _box(world: World, call: Call) -> Mailbox:
    """Give the mailbox that a path names, or the caller's own under /me."""
    who = call.path.get("user-id") or call.caller.user_id or ""
    box = world.of(Post).mailbox(who)
    if box is None:
        raise GraphError(404, "ErrorInvalidUser", f"The requested user '{who}' is invalid.")
    if call.caller.user_id not in (None, box.owner.id):
        raise GraphError(403, "ErrorAccessDenied", "Access is denied. Check credentials and try again.")
    return box


def _folder(box: Mailbox, call: Call) -> Folder:
    folder = box.folder(call.path["mailFolder-id"])
    if folder is None:
        raise GraphError(404, "ErrorItemNotFound", "The specified object was not found in the store.")
    return folder


def _message(box: Mailbox, call: Call) -> Message:
    message = box.find(call.path["message-id"])
    if message is None:
        raise GraphError(404, "ErrorItemNotFound", "The specified object was not found in the store.")
    return message


def _view(call: Call) -> tuple[View, Mapping[str, str]]:
    """How the caller wants messages shown, and the header that says what was granted of it."""
    prefer = call.headers.get("Prefer", "")
    lasting = 'idtype="immutableid"' in prefer.lower().replace(" ", "")
    text = 'body-content-type="text"' in prefer.lower()
    expanded = frozenset(re.findall(r"\w+", re.sub(r"\([^)]*\)", "", call.query.get("$expand", ""))))
    view = View(lasting, text, call.caller.granted.isdisjoint(_READ), expanded)
    applied = [name for on, name in ((lasting, 'IdType="ImmutableId"'), (text, 'outlook.body-content-type="text"')) if on]
    return view, {"Preference-Applied": ", ".join(applied)} if applied else {}


def send(world: World, call: Call) -> Answer:
    """Accept a letter: the draft is in the mailbox, all else comes later.

    Raises:
        GraphError: 400 for a bad letter, 507 when the sender's mailbox is full.

    """
    box = _box(world, call)
    letter, save = _letter(world, call, Address(box.owner.mail, box.owner.name))
    if not letter.recipients:
        raise GraphError(400, "ErrorInvalidRecipients", "At least one recipient isn't valid.")
    if box.used + letter.size > box.quota:
        raise GraphError(507, "ErrorQuotaExceeded", "The mailbox quota has been exceeded.")
    if save:
        box.store(letter, "sentitems", world.now(), is_read=True)
    world.of(Post).send(letter)
    return Answer(status=202)


def _letter(world: World, call: Call, sender: Address) -> tuple[Letter, bool]:
    """Give the letter of a request body, and whether to keep a copy."""
    if isinstance(call.body, bytes):
        raw = decoded(call.body, "ErrorMimeContentInvalidBase64String", "Invalid base64 string for MIME content.")
        return from_mime(raw, author(authors_of(raw), sender), now=world.now(), random=world.random), True
    body = in_lower_camel(members(call.body))
    if body.get("message") is None:
        raise GraphError(400, "ErrorInvalidRequest", "The request is missing the required parameter 'Message'.")
    save = str(body.get("saveToSentItems", True)).lower() != "false"
    return from_json(members(body["message"]), sender, now=world.now(), random=world.random), save


def folder(world: World, call: Call) -> Answer:
    """One folder with how much is in it."""
    box = _box(world, call)
    return entity(call, folder_as_graph(box, _folder(box, call)))


def _refuse_inefficient(filtered: str, order: str) -> None:
    """Outlook's rule: what `$orderby` names must stand first in `$filter`, in the same order."""
    named = re.findall(r"(?:^|[\s(,])([a-zA-Z][\w/]*)(?=\s+(?:eq|ne|ge|gt|le|lt)\s|\s*,\s*')", filtered)
    by = [part.split()[0] for part in order.split(",") if part.strip()]
    if filtered and by and list(dict.fromkeys(named))[: len(by)] != by:
        raise GraphError(400, "InefficientFilter", "The restriction or sort order is too complex for this operation.")


def listed(world: World, call: Call) -> Answer:
    """Give a page of a folder's messages, newest first unless asked otherwise."""
    _refuse_inefficient(call.query.get("$filter", ""), call.query.get("$orderby", ""))
    if (top := call.query.get("$top", "")).isdecimal() and int(top) > _LARGEST_PAGE:
        raise GraphError(400, "ErrorInvalidUrlQuery", f"The value of $top must be between 1 and {_LARGEST_PAGE}.")
    box, (view, applied) = _box(world, call), _view(call)
    newest = sorted(box.within(_folder(box, call).key), key=lambda each: (each.received, each.version), reverse=True)
    items = [as_graph(box, each, view, call.query.get("$select", "")) for each in newest]
    return replace(page(call, items, _PAGE), headers=applied)


_TOKEN = re.compile(r"v(\d+)(?:p(\d+))?")
_LINK_LASTS = ("changeType", "$select", "$filter", "$top")


def _state(call: Call, box: Mailbox) -> tuple[int, int]:
    """From which change on, and after which one already shown, a delta call asks.

    Raises:
        GraphError: 410 for a token that is none of ours or too old to follow.

    """
    token = call.query.get("$deltatoken") or call.query.get("$skiptoken")
    if token is None:
        return 0, 0
    match = _TOKEN.fullmatch(token)
    if match is None or 0 < int(match[1]) < box.forgotten:
        raise GraphError(410, "SyncStateNotFound", "The sync state generation is not found; begin anew without a token.")
    return int(match[1]), int(match[2] or match[1])


def delta(world: World, call: Call) -> Answer:
    """Give what changed in a folder since the token, in pages; the last one ends with the next token."""
    box, (view, applied) = _box(world, call), _view(call)
    since, after = _state(call, box)
    changes = [each for each in _changes(box, _folder(box, call).key, since, view, call) if each[0] > after]
    size = _page_size(call)
    shown, more = changes[:size], len(changes) > size
    token = ("$skiptoken", f"v{since}p{shown[-1][0]}") if more else ("$deltatoken", f"v{box.version}")
    kept = [(name, call.query[name]) for name in _LINK_LASTS if name in call.query]
    link = f"{call.url}?{urlencode([*kept, token])}"
    body = {"@odata.context": context(call), "@odata.nextLink" if more else "@odata.deltaLink": link}
    return Answer(body | {"value": [item for _, item in shown]}, headers=applied)


def _page_size(call: Call) -> int:
    asked = re.search(r"odata\.maxpagesize=(\d+)", call.headers.get("Prefer", ""))
    text = asked[1] if asked else call.query.get("$top", "")
    return min(int(text), _LARGEST_PAGE) if text.isdecimal() and int(text) else _PAGE


def _changes(box: Mailbox, key: str, since: int, view: View, call: Call) -> list[tuple[int, dict[str, Any]]]:
    """Give changes of a folder after a version, oldest first; removals only for those who have seen what was removed."""
    wanted, selected = call.query.get("changeType", ""), call.query.get("$select", "")
    there = [(each.version, as_graph(box, each, view, selected)) for each in box.within(key) if each.version > since]
    kept = [(version, select(item, selected)) for version, item in there if matches(item, call.query.get("$filter", ""))]
    gone = [
        (each.version, {"id": each.lasting_id if view.lasting_ids else each.id, "@removed": {"reason": "deleted"}})
        for each in box.removals
        if since and each.folder == key and each.version > since
    ]
    return sorted([*(kept if wanted != "deleted" else []), *(gone if wanted in ("", "deleted") else [])], key=lambda each: each[0])


def read(world: World, call: Call) -> Answer:
    """One message; its headers only where `$select` names them."""
    box, (view, applied) = _box(world, call), _view(call)
    return replace(entity(call, as_graph(box, _message(box, call), view, call.query.get("$select", ""))), headers=applied)


def read_mime(world: World, call: Call) -> Answer:
    """One message as it came over the wire (outlook-get-mime-message)."""
    message = _message(_box(world, call), call)
    return Answer(mime_of(message.letter), headers={"Content-Type": "text/plain"})


def delete(world: World, call: Call) -> Answer:
    """Move a message to Deleted Items, or from there to Recoverable Items."""
    box = _box(world, call)
    message = _message(box, call)
    if message.folder.startswith("recoverable"):
        box.purge(message, world.now())
    else:
        box.delete(message, world.now())
    return Answer(status=204)


def permanently_delete(world: World, call: Call) -> Answer:
    """Move a message to Purges, where no mail program looks."""
    box = _box(world, call)
    box.purge(_message(box, call), world.now())
    return Answer(status=204)


_SEND = frozenset({"Mail.Send"})
_WRITE = frozenset({"Mail.ReadWrite"})
_READ = frozenset({"Mail.Read", "Mail.ReadWrite"})
_FOLDER = "/mailFolders/{mailFolder-id}"


def _both(
    method: str, rest: str, run: Callable[[World, Call], Answer], name: str, permissions: frozenset[str], *, basic: bool = False
) -> tuple[Operation, ...]:
    """Give an operation on a named user's mailbox, and the same on the caller's own; `basic` where Mail.ReadBasic is enough."""
    app = permissions | {"Mail.ReadBasic.All"} if basic else permissions
    delegated = permissions | {"Mail.ReadBasic"} if basic else permissions
    return (
        Operation(method, f"/users/{{user-id}}{rest}", run, "outlook", name, app, delegated),
        Operation(method, f"/me{rest}", run, "outlook", name, frozenset(), delegated),
    )


OPERATIONS: tuple[Operation, ...] = (
    *_both("POST", "/sendMail", send, "mail_send", _SEND),
    *_both("GET", _FOLDER, folder, "mail_folder", _READ, basic=True),
    *_both("GET", f"{_FOLDER}/messages", listed, "mail_list", _READ, basic=True),
    *_both("GET", f"{_FOLDER}/messages/delta", delta, "mail_list", _READ, basic=True),
    *_both("GET", f"{_FOLDER}/messages/delta()", delta, "mail_list", _READ, basic=True),  # as Microsoft's own client writes it
    *_both("GET", "/messages/{message-id}", read, "mail_read", _READ),
    *_both("GET", "/messages/{message-id}/$value", read_mime, "mail_read", _READ),
    *_both("DELETE", "/messages/{message-id}", delete, "mail_delete", _WRITE),
    *_both("POST", "/messages/{message-id}/permanentDelete", permanently_delete, "mail_delete", _WRITE),
)
"""Mail over Graph."""
