"""What can be asked of EWS here (learn.microsoft.com/exchange, EWS operations), in one mailbox."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from lxml import etree

from agent.drill.ews.items import folder_key, item_id, matches, moment, seconds_of, shape_of, shown
from agent.drill.ews.soap import EwsError, all_of, element, named, refusal, response_message, text_of
from agent.drill.graph.frame import GraphError
from agent.drill.graph.letters import Address, Letter, decoded, from_mime, new_message_id
from agent.drill.graph.mailbox import Mailbox, new_id
from agent.drill.graph.post import Post
from agent.drill.world import World

_MOST_FOUND = 1000
_EVENTS_KEPT = 1000


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a calendar, in Unix seconds. `busy` is a LegacyFreeBusyStatus."""

    id: str
    subject: str
    start: float
    end: float
    busy: str


@dataclass(slots=True)
class Calendars:
    """The events of all people that were made through EWS, by mail address."""

    world: World
    events: dict[str, dict[str, Event]] = field(default_factory=dict)

    def of(self, address: str) -> dict[str, Event]:
        """Give one person's events, by id."""
        return self.events.setdefault(address.lower(), {})


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
        return _create_event(visit, item)
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


def _create_event(visit: Visit, item: etree._Element) -> etree._Element:
    events = visit.world.of(Calendars).of(visit.box.owner.mail)
    start, end = (seconds_of(text_of(item, name)) for name in ("t:Start", "t:End"))
    if end < start:
        raise EwsError("ErrorCalendarEndDateIsEarlierThanStartDate", "EndDate is earlier than StartDate")
    key = new_id("AAMkAG", visit.world.random)
    events[key] = Event(key, text_of(item, "t:Subject"), start, end, text_of(item, "t:LegacyFreeBusyStatus") or "Busy")
    for old in list(events)[:-_EVENTS_KEPT]:
        del events[old]
    return response_message("CreateItem", element("m:Items", element("t:CalendarItem", item_id(key, len(events)))))


def find_item(visit: Visit) -> etree._Element:
    """FindItem: a page of what is in each folder, newest first."""
    return _each(visit, "FindItem", visit.request.find(named("m:ParentFolderIds")), _find)


def _find(visit: Visit, folder: etree._Element) -> etree._Element:
    view = visit.request.find(named("m:IndexedPageItemView"))
    offset, most = int(view.get("Offset", "0")), min(int(view.get("MaxEntriesReturned", _MOST_FOUND)), _MOST_FOUND)
    inside = visit.box.within(folder_key(visit.box, folder))
    rule, shape = visit.request.find(named("m:Restriction")), shape_of(visit.request)
    all_found = sorted((each for each in inside if matches(each, rule)), key=lambda each: (each.received, each.version), reverse=True)
    page = all_found[offset : offset + most]
    last = offset + len(page) >= len(all_found)
    items = element("t:Items", *(shown(each, shape) for each in page))
    facts = {"TotalItemsInView": str(len(all_found)), "IncludesLastItemInRange": str(last).lower()}
    return response_message("FindItem", element("m:RootFolder", items, IndexedPagingOffset=str(offset + len(page)), **facts))


def get_item(visit: Visit) -> etree._Element:
    """GetItem: messages by their ids."""
    return _each(visit, "GetItem", visit.request.find(named("m:ItemIds")), _get)


def _get(visit: Visit, wanted: etree._Element) -> etree._Element:
    message = visit.box.find(str(wanted.get("Id")))
    if message is None:
        raise EwsError("ErrorItemNotFound", "The specified object was not found in the store.")
    return response_message("GetItem", element("m:Items", shown(message, shape_of(visit.request))))


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
    key, now = str(wanted.get("Id")), visit.world.now()
    message = visit.box.find(key)
    if message is None and visit.world.of(Calendars).of(visit.box.owner.mail).pop(key, None) is None:
        raise EwsError("ErrorItemNotFound", "The specified object was not found in the store.")
    if message is not None:
        folder = {"HardDelete": "recoverableitemspurges", "SoftDelete": "recoverableitemsdeletions"}
        visit.box.move(message, folder.get(str(visit.request.get("DeleteType")), "deleteditems"), now)
    return response_message("DeleteItem")


def convert_id(visit: Visit) -> etree._Element:
    """ConvertId: what clients ask in order to learn the server's version; ids are not converted here."""
    refused = EwsError("ErrorInvalidIdMalformed", "The Id is invalid.")
    answers = [refusal("ConvertId", refused) for _ in visit.request.find(named("m:SourceIds"))]
    return element("m:ConvertIdResponse", element("m:ResponseMessages", *answers))


def free_busy(visit: Visit) -> etree._Element:
    """GetUserAvailability: the times at which people of this tenant are not free."""
    window = next(all_of(visit.request, "t:TimeWindow"))
    start, end = seconds_of(text_of(window, "t:StartTime")), seconds_of(text_of(window, "t:EndTime"))
    whose = [
        text_of(each, "t:Email/t:Address") for each in visit.request.iterfind(f"{named('m:MailboxDataArray')}/{named('t:MailboxData')}")
    ]
    answers = (_free_busy(visit.world, address, start, end) for address in whose)
    return element("m:GetUserAvailabilityResponse", element("m:FreeBusyResponseArray", *answers))


def _free_busy(world: World, address: str, start: float, end: float) -> etree._Element:
    if world.of(Post).mailbox(address) is None:
        error = EwsError("ErrorMailRecipientNotFound", "Unable to resolve e-mail address to an Active Directory object.")
        refused = refusal("FindItem", error)
        refused.tag = named("m:ResponseMessage")
        return element("m:FreeBusyResponse", refused)
    busy = [each for each in world.of(Calendars).of(address).values() if each.start < end and each.end > start]
    view = element("m:FreeBusyView", element("t:FreeBusyViewType", text="FreeBusy"), _events(busy))
    good = response_message("FindItem")
    good.tag = named("m:ResponseMessage")
    return element("m:FreeBusyResponse", good, view)


def _events(events: Iterable[Event]) -> etree._Element | None:
    made = [
        element(
            "t:CalendarEvent",
            element("t:StartTime", text=moment(each.start).rstrip("Z")),
            element("t:EndTime", text=moment(each.end).rstrip("Z")),
            element("t:BusyType", text=each.busy),
        )
        for each in events
    ]
    return element("t:CalendarEventArray", *made) if made else None


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
