"""Events by EWS, in the same calendars as Graph's."""

from collections.abc import Callable, Iterator

from lxml import etree

from agent.drill.ews.items import Shape, item_id, moment, seconds_of
from agent.drill.ews.soap import EwsError, all_of, element, named, refusal, response_message, text_of
from agent.drill.graph.calendar import Calendars, Event
from agent.drill.graph.mailbox import Mailbox, new_id
from agent.drill.graph.post import Post
from agent.drill.world import World

FOLDER = "calendar"
"""Name of the folder, which is none of mail."""
_MOST = 1000
_SHOWN_AS = {"Free": "free", "Tentative": "tentative", "Busy": "busy", "OOF": "oof", "WorkingElsewhere": "workingElsewhere"}
_DIGITS = {"free": "0", "tentative": "1", "busy": "2", "oof": "3", "workingElsewhere": "4"}
"""What each state is in a MergedFreeBusy."""
_BUSY_TYPES = {"free": "Free", "tentative": "Tentative", "oof": "OOF", "workingElsewhere": "WorkingElsewhere"}


def events_of(world: World, box: Mailbox) -> list[Event]:
    """Give the events that lie in the calendar."""
    return [each for each in world.of(Calendars).of(box) if each.folder == FOLDER]


def event_of(world: World, box: Mailbox, key: str) -> Event | None:
    """Give an event of the calendar by its id."""
    return next((each for each in events_of(world, box) if key in (each.id, each.lasting_id)), None)


def create(world: World, box: Mailbox, item: etree._Element) -> etree._Element:
    """Put an event into the calendar.

    Raises:
        EwsError: ErrorCalendarEndDateIsEarlierThanStartDate.

    """
    start, end = (seconds_of(text_of(item, name)) for name in ("t:Start", "t:End"))
    if end < start:
        raise EwsError("ErrorCalendarEndDateIsEarlierThanStartDate", "EndDate is earlier than StartDate")
    ids = new_id("AAMkAG", box.random), new_id("AAkALgAAAAAAHYQDEapmEc2byACqAC-EWg0A", box.random, 12)
    shown_as = _SHOWN_AS.get(text_of(item, "t:LegacyFreeBusyStatus"), "busy")
    event = Event(*ids, text_of(item, "t:Subject"), text_of(item, "t:Body"), start, end, world.now(), shown_as)
    kept = world.of(Calendars).of(box)
    kept.append(event)
    del kept[:-_MOST]
    return response_message("CreateItem", element("m:Items", element("t:CalendarItem", item_id(event.id, len(kept)))))


_PROPERTIES: dict[str, Callable[[Event], str]] = {
    "item:Subject": lambda event: event.subject,
    "item:DateTimeCreated": lambda event: moment(event.created),
    "calendar:Start": lambda event: moment(event.start),
    "calendar:End": lambda event: moment(event.end),
}
"""Property by its FieldURI, in the order of the schema."""


def shown(event: Event, shape: Shape) -> etree._Element:
    """Make the element of one event."""
    named_fields = (element(f"t:{name.partition(':')[2]}", text=read(event)) for name, read in _PROPERTIES.items() if name in shape.fields)
    return element("t:CalendarItem", item_id(event.id, 1), *named_fields)


def value_of(event: Event, path: etree._Element) -> str:
    """Give a property that a restriction asks for.

    Raises:
        EwsError: ErrorUnsupportedPathForQuery.

    """
    read = _PROPERTIES.get(str(path.get("FieldURI")))
    if read is None:
        raise EwsError("ErrorUnsupportedPathForQuery", "The property can not be used with this type of restriction.")
    return read(event)


def free_busy(world: World, request: etree._Element) -> etree._Element:
    """GetUserAvailability: the times at which people of this tenant are not free."""
    window = next(all_of(request, "t:TimeWindow"))
    start, end = seconds_of(text_of(window, "t:StartTime")), seconds_of(text_of(window, "t:EndTime"))
    minutes = int(request.findtext(f".//{named('t:MergedFreeBusyIntervalInMinutes')}", "30"))
    if not start < end or minutes <= 0:
        raise EwsError("ErrorInvalidTimeInterval", "The time interval is invalid.", whole=True)
    whose = [text_of(each, "t:Email/t:Address") for each in request.iterfind(f"{named('m:MailboxDataArray')}/{named('t:MailboxData')}")]
    answers = (_free_busy(world, address, start, end, minutes * 60) for address in whose)
    return element("m:GetUserAvailabilityResponse", element("m:FreeBusyResponseArray", *answers))


def _free_busy(world: World, address: str, start: float, end: float, interval: int) -> etree._Element:
    box = world.of(Post).mailbox(address)
    if box is None:
        error = EwsError("ErrorMailRecipientNotFound", "Unable to resolve e-mail address to an Active Directory object.")
        return element("m:FreeBusyResponse", _plain(refusal("FindItem", error)))
    within = [each for each in events_of(world, box) if each.start < end and each.end > start]
    merged = "".join(_states(within, start, end, interval))
    view = element(
        "m:FreeBusyView",
        element("t:FreeBusyViewType", text="FreeBusyMerged"),
        element("t:MergedFreeBusy", text=merged),
        element("t:CalendarEventArray", *map(_calendar_event, within)) if within else None,
    )
    return element("m:FreeBusyResponse", _plain(response_message("FindItem")), view)


def _states(events: list[Event], start: float, end: float, interval: int) -> Iterator[str]:
    at = start
    while at < end:
        yield max((_DIGITS.get(each.shown_as, "2") for each in events if each.start < at + interval and each.end > at), default="0")
        at += interval


def _calendar_event(event: Event) -> etree._Element:
    return element(
        "t:CalendarEvent",
        element("t:StartTime", text=moment(event.start).rstrip("Z")),
        element("t:EndTime", text=moment(event.end).rstrip("Z")),
        element("t:BusyType", text=_BUSY_TYPES.get(event.shown_as, "Busy")),
    )


def _plain(message: etree._Element) -> etree._Element:
    """Give an answer the name it has where there is no operation's own."""
    message.tag = named("m:ResponseMessage")
    return message
