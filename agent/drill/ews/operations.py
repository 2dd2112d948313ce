"""What can be asked of EWS here (learn.microsoft.com/exchange, EWS operations), in one mailbox."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from lxml import etree

from agent.drill.ews import calendar
from agent.drill.ews.items import folder_key, matches, shape_of, shown, value_of
from agent.drill.ews.soap import EwsError, element, named, refusal, response_message, text_of
from agent.drill.graph.frame import GraphError
from agent.drill.graph.letters import Address, Letter, decoded, from_mime, new_message_id
from agent.drill.graph.mailbox import Mailbox
from agent.drill.graph.post import Post
from agent.drill.world import World

_MOST_FOUND = 1000


@dataclass(frozen=True, slots=True)
class Visit:
    """One request in one mailbox."""

    world: World
    box: Mailbox
    request: etree._Element


def create_item(visit: Visit) -> etree._Element:
    """CreateItem: send a message, with or without a copy, or put an event into the calendar."""
    return _each(visit, "CreateItem", visit.request.find(named("m:Items")), _create)


def _create(visit: Visit, item: etree._Element) -> etree._Element:
    if item.tag == named("t:CalendarItem"):
        return calendar.create(visit.world, visit.box, item)
    disposition = visit.request.get("MessageDisposition")
    if item.tag != named("t:Message") or disposition not in {"SendOnly", "SendAndSaveCopy"}:
        raise EwsError("ErrorInvalidOperation", "Only messages that are sent at once are played here.")
    world, box, letter = visit.world, visit.box, _letter(visit, item)
    if not letter.recipients:
        raise EwsError("ErrorMissingRecipients", "At least one recipient must be specified.")
    if box.used + letter.size > box.quota:
        raise EwsError("ErrorQuotaExceeded", "The mailbox quota has been exceeded.")
    if disposition == "SendAndSaveCopy":
        box.store(letter, "sentitems", world.now(), is_read=True)
    world.of(Post).send(letter)
    return response_message("CreateItem", element("m:Items"))


def _letter(visit: Visit, item: etree._Element) -> Letter:
    """Read a message, from its MimeContent where it has one."""
    owner, world = visit.box.owner, visit.world
    sender = Address(owner.mail, owner.name)
    if content := text_of(item, "t:MimeContent"):
        try:
            raw = decoded(content, "ErrorMimeContentInvalidBase64String", "Invalid base64 string for MIME content.")
        except GraphError as error:
            raise EwsError(error.code, error.message) from error
        return from_mime(raw, sender, now=world.now(), random=world.random)
    to = tuple(Address(text_of(each, "t:EmailAddress")) for each in item.iterfind(f"{named('t:ToRecipients')}/{named('t:Mailbox')}"))
    number = text_of(item, "t:InternetMessageId") or new_message_id(owner.mail, world.random)
    headers = tuple(_header(each) for each in item.iterfind(named("t:ExtendedProperty")))
    return Letter(sender, to, text_of(item, "t:Subject"), text_of(item, "t:Body"), number, world.now(), headers=headers)


def _header(extended: etree._Element) -> tuple[str, str]:
    return str(extended.find(named("t:ExtendedFieldURI")).get("PropertyName")), text_of(extended, "t:Value")


def find_item(visit: Visit) -> etree._Element:
    """FindItem: a page of what is in each folder, newest first."""
    return _each(visit, "FindItem", visit.request.find(named("m:ParentFolderIds")), _find)


def _find(visit: Visit, folder: etree._Element) -> etree._Element:
    view = visit.request.find(named("m:IndexedPageItemView"))
    offset, most = int(view.get("Offset", "0")), min(int(view.get("MaxEntriesReturned", _MOST_FOUND)), _MOST_FOUND)
    found = _events(visit) if folder.get("Id") == calendar.FOLDER else _messages(visit, folder_key(visit.box, folder))
    page = found[offset : offset + most]
    facts = {"TotalItemsInView": str(len(found)), "IncludesLastItemInRange": str(offset + len(page) >= len(found)).lower()}
    return response_message(
        "FindItem", element("m:RootFolder", element("t:Items", *page), IndexedPagingOffset=str(offset + len(page)), **facts)
    )


def _messages(visit: Visit, folder: str) -> list[etree._Element]:
    rule, shape = visit.request.find(named("m:Restriction")), shape_of(visit.request)
    found = [each for each in visit.box.within(folder) if matches(partial(value_of, each), rule)]
    return [shown(each, shape) for each in sorted(found, key=lambda each: (each.received, each.version), reverse=True)]


def _events(visit: Visit) -> list[etree._Element]:
    rule, shape = visit.request.find(named("m:Restriction")), shape_of(visit.request)
    events = calendar.events_of(visit.world, visit.box)
    return [calendar.shown(each, shape) for each in events if matches(partial(calendar.value_of, each), rule)]


def get_item(visit: Visit) -> etree._Element:
    """GetItem: messages by their ids."""
    return _each(visit, "GetItem", visit.request.find(named("m:ItemIds")), _get)


def _get(visit: Visit, wanted: etree._Element) -> etree._Element:
    key, shape = str(wanted.get("Id")), shape_of(visit.request)
    message, event = visit.box.find(key), calendar.event_of(visit.world, visit.box, key)
    if message is not None:
        return response_message("GetItem", element("m:Items", shown(message, shape)))
    if event is not None:
        return response_message("GetItem", element("m:Items", calendar.shown(event, shape)))
    raise EwsError("ErrorItemNotFound", "The specified object was not found in the store.")


def get_folder(visit: Visit) -> etree._Element:
    """GetFolder: folders with how much is in them."""
    return _each(visit, "GetFolder", visit.request.find(named("m:FolderIds")), _folder)


def _folder(visit: Visit, wanted: etree._Element) -> etree._Element:
    key = folder_key(visit.box, wanted)
    known, inside = visit.box.folders[key], list(visit.box.within(key))
    shown_folder = element(
        "t:Folder",
        element("t:FolderId", Id=known.id, ChangeKey="AQAAAA=="),
        element("t:DisplayName", text=known.name),
        element("t:TotalCount", text=str(len(inside))),
        element("t:UnreadCount", text=str(sum(not each.is_read for each in inside))),
    )
    return response_message("GetFolder", element("m:Folders", shown_folder))


def delete_item(visit: Visit) -> etree._Element:
    """DeleteItem: to the deleted items, to what can be recovered, or for good."""
    return _each(visit, "DeleteItem", visit.request.find(named("m:ItemIds")), _delete)


def _delete(visit: Visit, wanted: etree._Element) -> etree._Element:
    key, kind = str(wanted.get("Id")), str(visit.request.get("DeleteType"))
    folder = {"HardDelete": "recoverableitemspurges", "SoftDelete": "recoverableitemsdeletions"}.get(kind, "deleteditems")
    message, event = visit.box.find(key), calendar.event_of(visit.world, visit.box, key)
    if message is not None:
        visit.box.move(message, folder, visit.world.now())
    elif event is not None:
        event.folder = folder
    else:
        raise EwsError("ErrorItemNotFound", "The specified object was not found in the store.")
    return response_message("DeleteItem")


def convert_id(visit: Visit) -> etree._Element:
    """ConvertId: what clients ask in order to learn the server's version; ids are not converted here."""
    refused = EwsError("ErrorInvalidIdMalformed", "The Id is invalid.")
    answers = [refusal("ConvertId", refused) for _ in visit.request.find(named("m:SourceIds"))]
    return element("m:ConvertIdResponse", element("m:ResponseMessages", *answers))


def free_busy(visit: Visit) -> etree._Element:
    """GetUserAvailability: when people of this tenant are not free."""
    return calendar.free_busy(visit.world, visit.request)


def _each(
    visit: Visit, operation: str, asked: "etree._Element | None", run: Callable[[Visit, etree._Element], etree._Element]
) -> etree._Element:
    """Answer for each item or folder of a request by itself.

    Raises:
        EwsError: ErrorSchemaValidation, where there is none.

    """
    if asked is None or not len(asked):
        raise EwsError("ErrorSchemaValidation", "The request failed schema validation.", whole=True)
    answers = [_one(visit, operation, each, run) for each in asked]
    return element(f"m:{operation}Response", element("m:ResponseMessages", *answers))


def _one(visit: Visit, operation: str, asked: etree._Element, run: Callable[[Visit, etree._Element], etree._Element]) -> etree._Element:
    try:
        return run(visit, asked)
    except EwsError as error:
        if error.whole:
            raise
        return refusal(operation, error)


OPERATIONS: dict[str, tuple[str, Callable[[Visit], etree._Element]]] = {
    "CreateItem": ("mail_send", create_item),
    "FindItem": ("mail_list", find_item),
    "GetItem": ("mail_read", get_item),
    "GetFolder": ("mail_folder", get_folder),
    "DeleteItem": ("mail_delete", delete_item),
    "ConvertId": ("mail_folder", convert_id),
    "GetUserAvailabilityRequest": ("calendar", free_busy),
}
"""Operation by its element, with the word by which faults select it."""
