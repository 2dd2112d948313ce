"""Online meetings.

An app alone needs an application access policy beside its permission, and names the organiser by object id:
https://learn.microsoft.com/en-us/graph/cloud-communication-online-meeting-application-access-policy
"""

import base64
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote
from uuid import UUID

from agent.drill.graph.frame import Answer, Call, GraphError, Operation
from agent.drill.graph.members import Licences, caller
from agent.drill.graph.moments import moment, seconds_of
from agent.drill.graph.odata import entity
from agent.drill.world import Person, World

_DEFAULT_SECONDS = 3600.0
EVERYBODY = "*"


@dataclass(frozen=True, slots=True)
class Meeting:
    """A meeting that somebody called."""

    id: str
    organizer: Person
    subject: str | None
    created: float
    start: float
    end: float
    thread: str
    number: str
    external: str | None = None
    """What the caller calls it, where `createOrGet` made it."""


class Meetings:
    """All meetings of a world, and who may call them. The world's own app may for everybody at first."""

    def __init__(self, world: World) -> None:
        self.meetings: dict[str, Meeting] = {}
        self.policies: set[tuple[str, str]] = {(world.app_id, EVERYBODY)}
        """Application access policies: (app id, user id or `EVERYBODY`)."""


def _organizer(world: World, call: Call) -> Person:
    """Find whose meetings a call is about.

    Raises:
        GraphError: 404 where the path does not hold the object id of a person; 403 to another person, to an app without a policy, and for
            somebody without a licence.

    """
    if "user-id" not in call.path:
        return _licensed(world, caller(world, call))
    person = next((each for each in world.people if each.id == call.path["user-id"].lower()), None)
    if person is None:
        raise GraphError(404, "NotFound", "User not found: the organiser is named by object id.")
    if call.caller.user_id and call.caller.user_id != person.id:
        raise GraphError(403, "Forbidden", "The user may only reach meetings of their own.")
    granted = world.of(Meetings).policies & {(call.caller.app_id, EVERYBODY), (call.caller.app_id, person.id)}
    if call.caller.user_id is None and not granted:
        raise GraphError(403, "Forbidden", "No application access policy found for this app.")
    return _licensed(world, person)


def _licensed(world: World, person: Person) -> Person:
    world.of(Licences).check(person)
    return person


def _times(world: World, body: dict[str, Any]) -> tuple[float, float]:
    """Read when a meeting begins and ends; from now for an hour where it does not say.

    Raises:
        GraphError: 400 where a moment is none, or the end is not after the start.

    """
    try:
        start = seconds_of(body["startDateTime"]) if body.get("startDateTime") else world.now()
        end = seconds_of(body["endDateTime"]) if body.get("endDateTime") else start + _DEFAULT_SECONDS
    except (TypeError, ValueError):
        raise GraphError(400, "BadRequest", "Invalid startDateTime or endDateTime.") from None
    if end <= start:
        raise GraphError(400, "BadRequest", "The meeting end time must be after the start time.")
    return start, end


def _teams(world: World) -> str:
    """Where a meeting is joined: at this world's Teams, and at Microsoft's where none was started."""
    return world.url("teams") if world.has("teams") else "https://teams.microsoft.com"


def _shown(world: World, meeting: Meeting) -> dict[str, Any]:
    organizer = {"user": {"id": meeting.organizer.id, "displayName": meeting.organizer.name}}
    about = quote(f'{{"Tid":"{world.tenant_id}","Oid":"{meeting.organizer.id}"}}', safe="")
    return {
        "id": meeting.id,
        "creationDateTime": moment(meeting.created),
        "startDateTime": moment(meeting.start),
        "endDateTime": moment(meeting.end),
        "joinWebUrl": f"{_teams(world)}/l/meetup-join/{quote(meeting.thread, safe='')}/0?context={about}",
        "subject": meeting.subject,
        "meetingType": "scheduled",
        "isBroadcast": False,
        "isEntryExitAnnounced": True,
        "allowedPresenters": "everyone",
        "allowMeetingChat": "enabled",
        "videoTeleconferenceId": None,
        "externalId": meeting.external,
        "audioConferencing": None,
        "participants": {
            "organizer": {"upn": meeting.organizer.upn, "role": "presenter", "identity": organizer},
            "attendees": [],
        },
        "lobbyBypassSettings": {"scope": "organization", "isDialInBypassEnabled": False},
        "chatInfo": {"threadId": meeting.thread, "messageId": "0", "replyChainMessageId": None},
        "joinMeetingIdSettings": {"isPasscodeRequired": False, "joinMeetingId": meeting.number, "passcode": None},
    }


def create_meeting(world: World, call: Call) -> Answer:
    """Call a meeting."""
    organizer, body = _organizer(world, call), call.body if isinstance(call.body, dict) else {}
    if body.get("externalId"):
        raise GraphError(400, "BadRequest", "ExternalId can only be set by createOrGet.")
    return entity(call, _shown(world, _called(world, organizer, body)), status=201)


def create_or_get(world: World, call: Call) -> Answer:
    """Call a meeting under a name of the caller's own, or answer with the one that this organiser has of that name."""
    organizer, body = _organizer(world, call), call.body if isinstance(call.body, dict) else {}
    name = body.get("externalId")
    if not isinstance(name, str) or not name:
        raise GraphError(400, "BadRequest", "ExternalId is required.")
    there = (each for each in world.of(Meetings).meetings.values() if (each.organizer, each.external) == (organizer, name))
    found = next(there, None)
    return entity(call, _shown(world, found or _called(world, organizer, body)), status=200 if found else 201)


def _called(world: World, organizer: Person, body: dict[str, Any]) -> Meeting:
    """Make a meeting as the body says.

    Raises:
        GraphError: 400 where it says something else.

    """
    start, end = _times(world, body)
    subject = body.get("subject")
    if not isinstance(subject, str | None):
        raise GraphError(400, "BadRequest", "Invalid subject.")
    thread = f"19:meeting_{UUID(int=world.random.getrandbits(128)).hex}@thread.v2"
    name = base64.b64encode(f"1*{organizer.id}*0**{thread}".encode()).decode()
    number = str(world.random.randrange(10**11, 10**12))
    made = Meeting(name, organizer, subject, world.now(), start, end, thread, number, body.get("externalId"))
    world.of(Meetings).meetings[name] = made
    return made


def _found(world: World, call: Call) -> Meeting:
    organizer = _organizer(world, call)
    meeting = world.of(Meetings).meetings.get(call.path["onlineMeeting-id"])
    if meeting is None or meeting.organizer != organizer:
        raise GraphError(404, "NotFound", "Meeting not found.")
    return meeting


def get_meeting(world: World, call: Call) -> Answer:
    """Answer with one meeting."""
    return entity(call, _shown(world, _found(world, call)))


def delete_meeting(world: World, call: Call) -> Answer:
    """Call a meeting off."""
    del world.of(Meetings).meetings[_found(world, call).id]
    return Answer(status=204)


_WRITE = frozenset({"OnlineMeetings.ReadWrite.All"})
_READ = _WRITE | {"OnlineMeetings.Read.All"}
_WRITE_AS = frozenset({"OnlineMeetings.ReadWrite"})
_READ_AS = _WRITE_AS | {"OnlineMeetings.Read"}

OPERATIONS = (
    Operation("POST", "/me/onlineMeetings", create_meeting, "meetings", "meeting_create", delegated=_WRITE_AS),
    Operation("POST", "/users/{user-id}/onlineMeetings", create_meeting, "meetings", "meeting_create", _WRITE, _WRITE_AS),
    Operation("POST", "/me/onlineMeetings/createOrGet", create_or_get, "meetings", "meeting_create", delegated=_WRITE_AS),
    Operation("POST", "/users/{user-id}/onlineMeetings/createOrGet", create_or_get, "meetings", "meeting_create", _WRITE, _WRITE_AS),
    Operation("GET", "/me/onlineMeetings/{onlineMeeting-id}", get_meeting, "meetings", "meeting_get", delegated=_READ_AS),
    Operation("GET", "/users/{user-id}/onlineMeetings/{onlineMeeting-id}", get_meeting, "meetings", "meeting_get", _READ, _READ_AS),
    Operation("DELETE", "/me/onlineMeetings/{onlineMeeting-id}", delete_meeting, "meetings", "meeting_delete", delegated=_WRITE_AS),
    Operation(
        "DELETE", "/users/{user-id}/onlineMeetings/{onlineMeeting-id}", delete_meeting, "meetings", "meeting_delete", _WRITE, _WRITE_AS
    ),
)
"""What this area answers."""
