"""Calendars over Graph: free and busy times, and events that somebody makes for themselves, reads, lists and deletes.

Pages of Microsoft's documentation: calendar-getschedule, user-post-events, user-list-events, event-get, event-delete,
event-permanentdelete.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from agent.drill.graph.frame import Answer, Call, GraphError, Operation
from agent.drill.graph.letters import in_lower_camel
from agent.drill.graph.mailbox import Mailbox, new_id
from agent.drill.graph.messages import to_the_second
from agent.drill.graph.moments import seconds_of
from agent.drill.graph.odata import entity, page
from agent.drill.graph.post import Post
from agent.drill.graph.sent import members
from agent.drill.world import World

_MOST = 1000
_LONGEST = 62 * 86_400.0
_BUSY = {"free": "0", "tentative": "1", "busy": "2", "oof": "3", "workingElsewhere": "4"}
"""What each state is in an availabilityView."""
_AFTER = {"calendar": "deleteditems", "deleteditems": "recoverableitemsdeletions"}
"""Where an event goes when it is deleted."""


@dataclass(slots=True)
class Event:
    """One event, in Unix seconds. `id` changes when it moves, `lasting_id` (ImmutableId) does not; `folder` is where it lies."""

    id: str
    lasting_id: str
    subject: str
    body: str
    start: float
    end: float
    created: float
    shown_as: str = "busy"
    transaction: str | None = None
    folder: str = "calendar"


@dataclass(slots=True)
class Calendars:
    """The events of all people of a world, by mail address."""

    world: World
    events: dict[str, list[Event]] = field(default_factory=dict)

    def of(self, box: Mailbox) -> list[Event]:
        """Give the events of one mailbox, the oldest first."""
        return self.events.setdefault(box.owner.mail.lower(), [])


def _box(world: World, call: Call) -> Mailbox:
    """Give the mailbox that a path names."""
    who = call.path.get("user-id") or call.caller.user_id or ""
    box = world.of(Post).mailbox(who)
    if box is None:
        raise GraphError(404, "ErrorInvalidUser", f"The requested user '{who}' is invalid.")
    if call.caller.user_id not in (None, box.owner.id):
        raise GraphError(403, "ErrorAccessDenied", "Access is denied. Check credentials and try again.")
    return box


def _moment(given: object) -> float:
    """Read a dateTimeTimeZone (Unix seconds); times are in UTC here."""
    said = members(given)
    try:
        when = seconds_of(str(said.get("dateTime")))
    except ValueError:
        raise GraphError(400, "ErrorPropertyValidationFailure", "At least one property failed validation.") from None
    if str(said.get("timeZone", "UTC")).upper() not in {"UTC", "ETC/GMT"}:
        raise GraphError(400, "TimeZoneNotSupportedException", "A valid TimeZone value must be specified.")
    return when


def _zoned(moment: float) -> dict[str, str]:
    return {"dateTime": datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S.0000000"), "timeZone": "UTC"}


def _as_graph(call: Call, box: Mailbox, event: Event) -> dict[str, Any]:
    lasting = 'idtype="immutableid"' in call.headers.get("Prefer", "").lower().replace(" ", "")
    return {
        "@odata.etag": f'W/"{event.id[-16:]}"',
        "id": event.lasting_id if lasting else event.id,
        "createdDateTime": to_the_second(event.created),
        "lastModifiedDateTime": to_the_second(event.created),
        "transactionId": event.transaction,
        "subject": event.subject,
        "bodyPreview": event.body[:255],
        "body": {"contentType": "text", "content": event.body},
        "start": _zoned(event.start),
        "end": _zoned(event.end),
        "showAs": event.shown_as,
        "isReminderOn": False,
        "isCancelled": False,
        "isOrganizer": True,
        "type": "singleInstance",
        "attendees": [],
        "organizer": {"emailAddress": {"name": box.owner.name, "address": box.owner.mail}},
    }


def create(world: World, call: Call) -> Answer:
    """Make an event; the same transactionId again gives the event that is there."""
    box, body = _box(world, call), members(call.body)
    events, transaction = world.of(Calendars).of(box), body.get("transactionId")
    known = next((each for each in events if transaction and each.transaction == transaction and each.folder == "calendar"), None)
    if known is None:
        start, end = _moment(body.get("start")), _moment(body.get("end"))
        if end < start:
            raise GraphError(400, "ErrorPropertyValidationFailure", "At least one property failed validation.")
        text, shown = members(body.get("body")), str(body.get("showAs") or "busy")
        ids = new_id("AAMkAG", box.random), new_id("AAkALgAAAAAAHYQDEapmEc2byACqAC-EWg0A", box.random, 12)
        known = Event(
            *ids, str(body.get("subject") or ""), str(text.get("content") or ""), start, end, world.now(), shown, _text(transaction)
        )
        events.append(known)
        del events[:-_MOST]
    return entity(call, _as_graph(call, box, known), status=201)


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def listed(world: World, call: Call) -> Answer:
    """Give a page of the events of the calendar."""
    box = _box(world, call)
    return page(call, [_as_graph(call, box, each) for each in world.of(Calendars).of(box) if each.folder == "calendar"], 10)


def _event(world: World, call: Call) -> tuple[Mailbox, Event]:
    box, wanted = _box(world, call), call.path["event-id"]
    found = next((each for each in world.of(Calendars).of(box) if wanted in (each.id, each.lasting_id)), None)
    if found is None:
        raise GraphError(404, "ErrorItemNotFound", "The specified object was not found in the store.")
    return box, found


def read(world: World, call: Call) -> Answer:
    """One event."""
    box, event = _event(world, call)
    return entity(call, _as_graph(call, box, event))


def delete(world: World, call: Call) -> Answer:
    """Delete as a person does: to Deleted Items, from there to Recoverable Items, and from there for good."""
    box, event = _event(world, call)
    if event.folder not in _AFTER:
        return permanently_delete(world, call)
    event.id, event.folder = new_id("AAMkAG", box.random), _AFTER[event.folder]
    return Answer(status=204)


def permanently_delete(world: World, call: Call) -> Answer:
    """Delete for good."""
    box, event = _event(world, call)
    world.of(Calendars).of(box).remove(event)
    return Answer(status=204)


def schedule(world: World, call: Call) -> Answer:
    """Tell when people are free or busy; whom nobody knows has an error of their own in the answer."""
    _box(world, call)
    body = in_lower_camel(members(call.body))
    start, end = _moment(body.get("startTime")), _moment(body.get("endTime"))
    interval = body.get("availabilityViewInterval") or 30
    if not isinstance(interval, int) or not 5 <= interval <= 1440 or not start < end <= start + _LONGEST:  # noqa: PLR2004 - minutes, as documented
        raise GraphError(400, "ErrorInvalidParameter", "The time window or the interval is not valid.")
    whose = body.get("schedules")
    if not isinstance(whose, list) or not whose:
        raise GraphError(400, "ErrorInvalidParameter", "The schedules to look up are missing.")
    found = [_schedule(world, str(each), start, end, interval * 60.0) for each in whose]
    return Answer({"@odata.context": f"{call.url}/$metadata#Collection(microsoft.graph.scheduleInformation)", "value": found})


def _schedule(world: World, who: str, start: float, end: float, step: float) -> dict[str, Any]:
    box = world.of(Post).mailbox(who)
    if box is None:
        message = f"Unable to resolve e-mail address {who} to an Active Directory object."
        return {"scheduleId": who, "error": {"message": message, "responseCode": "ErrorMailRecipientNotFound"}}
    events = [each for each in world.of(Calendars).of(box) if each.folder == "calendar" and each.start < end and each.end > start]
    starts = [start + step * number for number in range(math.ceil((end - start) / step))]
    view = [
        max((_BUSY.get(each.shown_as, "2") for each in events if each.start < at + step and each.end > at), default="0") for at in starts
    ]
    shown = [{"status": each.shown_as, "start": _zoned(each.start), "end": _zoned(each.end)} for each in events]
    return {"scheduleId": who, "availabilityView": "".join(view), "scheduleItems": shown}


_WRITE = frozenset({"Calendars.ReadWrite"})
_READ = _WRITE | {"Calendars.Read"}


def _both(method: str, rest: str, run: Callable[[World, Call], Answer], name: str, permissions: frozenset[str]) -> tuple[Operation, ...]:
    """Give an operation on a named user's calendar, and the same on the caller's own."""
    return (
        Operation(method, f"/users/{{user-id}}{rest}", run, "outlook", name, permissions, permissions),
        Operation(method, f"/me{rest}", run, "outlook", name, frozenset(), permissions),
    )


OPERATIONS: tuple[Operation, ...] = (
    *_both("POST", "/calendar/getSchedule", schedule, "free_busy", _READ),
    *_both("GET", "/events", listed, "event_list", _READ),
    *_both("POST", "/events", create, "event_create", _WRITE),
    *_both("GET", "/events/{event-id}", read, "event_read", _READ),
    *_both("DELETE", "/events/{event-id}", delete, "event_delete", _WRITE),
    *_both("POST", "/events/{event-id}/permanentDelete", permanently_delete, "event_delete", _WRITE),
)
"""Calendars over Graph."""
