"""What people do with a mailbox beside sending and receiving: look into it, and keep a calendar. The same by Graph and by EWS."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from probes.core.codes import known
from probes.core.context import Context
from probes.core.contract import Failed
from probes.core.needs import Permission
from probes.core.reasons import Reason
from probes.lib.graph import items, segment, text_in
from probes.lib.mail.graph_calls import GraphCalls

SUBJECT = "Fogbell calendar probe"
"""How the subjects of our events begin; the tag follows."""
BODY = "This event was made by Fogbell, which watches whether calendars work. It is removed on its own, and may be deleted at any time."
"""What our events say of themselves."""
EVENT_MINUTES = 15
"""How long they are."""

_TAG = re.compile(rf"{SUBJECT} ([0-9a-f]{{32}})")
_NEWEST = 5
_INTERVAL_MINUTES = 30
_MOST_EVENTS = 50
_STATES = re.compile(r"[0-5]+")
# learn.microsoft.com/graph/api/resources/scheduleinformation: free, tentative, busy, out of office, working elsewhere; 5 is not documented.


@dataclass(frozen=True, slots=True)
class Event:
    """One event of ours in a calendar; `created` is Unix seconds, None where the server does not tell."""

    tag: str
    key: str
    created: float | None


class Desk(Protocol):
    """One mailbox and its calendar. Times are Unix seconds."""

    async def sign_in(self, ctx: Context, needs: tuple[Permission, ...]) -> None:
        """Get ready to open it, and keep as evidence which of these permissions are missing, where that can be known."""

    async def open(self, ctx: Context) -> int:
        """Open the inbox, and return how many messages it holds."""

    async def newest(self, ctx: Context) -> int:
        """List the newest messages of the inbox, and return how many came."""

    async def free_busy(self, ctx: Context, start: float, end: float) -> str:
        """Ask when the owner is free or busy; return the answer as text for evidence."""

    async def create_event(self, ctx: Context, tag: str, start: float) -> str:
        """Put an event of ours into the calendar, to which nobody is invited, and return its key.

        Raises:
            SubmissionUncertain: where nobody can say whether the event was made.
            Failed, Inconclusive: where it was not.

        """

    async def tag_of_event(self, ctx: Context, key: str) -> str:
        """Read an event back, and return the tag it carries, "" for none."""

    async def events(self, ctx: Context) -> list[Event]:
        """Return events of ours that lie in the calendar, at least the first fifty."""

    async def remove_event(self, ctx: Context, key: str) -> None:
        """Remove an event for good. No error where it is gone already."""


def subject_of(tag: str) -> str:
    """Return the subject of an event of ours."""
    return f"{SUBJECT} {tag}"


def tag_of(subject: object) -> str:
    """Return the tag in the subject of an event, "" where it is none of ours."""
    found = _TAG.fullmatch(subject) if isinstance(subject, str) else None
    return found[1] if found else ""


class GraphDesk:
    """A mailbox through Microsoft Graph."""

    def __init__(self, owner: str) -> None:
        self._owner, self._calls = owner, GraphCalls(owner)

    async def sign_in(self, ctx: Context, needs: tuple[Permission, ...]) -> None:
        """Get a token."""
        await self._calls.sign_in(ctx, needs)

    async def open(self, ctx: Context) -> int:
        """Open the inbox."""
        data = (await self._calls.ask(ctx, "GET", "/mailFolders/inbox", query=(("$select", "id,totalItemCount"),))).data
        count = data.get("totalItemCount") if isinstance(data, dict) else None
        if not isinstance(count, int):
            raise Failed(Reason.CONTENT_MISMATCH, "the answer does not tell how many messages the inbox holds")
        return count

    async def newest(self, ctx: Context) -> int:
        """List the newest messages of the inbox."""
        query = (("$select", "id,receivedDateTime"), ("$orderby", "receivedDateTime desc"), ("$top", str(_NEWEST)))
        return len(items(await self._calls.ask(ctx, "GET", "/mailFolders/inbox/messages", query=query)))

    async def free_busy(self, ctx: Context, start: float, end: float) -> str:
        """Ask when the owner is free or busy (calendar-getschedule)."""
        body = {
            "schedules": [self._owner],
            "startTime": _zoned(start),
            "endTime": _zoned(end),
            "availabilityViewInterval": _INTERVAL_MINUTES,
        }
        found = items(await self._calls.ask(ctx, "POST", "/calendar/getSchedule", body=body))
        view = found[0].get("availabilityView") if len(found) == 1 else None
        if not isinstance(view, str) or not _STATES.fullmatch(view):
            raise _unknown_schedule(found)
        return view

    async def create_event(self, ctx: Context, tag: str, start: float) -> str:
        """Put an event into the calendar (user-post-events)."""
        body = {
            "subject": subject_of(tag),
            "body": {"contentType": "text", "content": BODY},
            "start": _zoned(start),
            "end": _zoned(start + EVENT_MINUTES * 60),
            "showAs": "free",
            "isReminderOn": False,
            "transactionId": tag,
        }
        answer = await self._calls.ask_once(ctx, "/events", body=body, accept=(201,))
        return text_in(answer.data, "id", "the answer does not name the event that was made")

    async def tag_of_event(self, ctx: Context, key: str) -> str:
        """Read an event back."""
        data = (await self._calls.ask(ctx, "GET", f"/events/{segment(key)}", query=(("$select", "id,subject"),))).data
        return tag_of(data.get("subject")) if isinstance(data, dict) else ""

    async def events(self, ctx: Context) -> list[Event]:
        """Return events of ours."""
        query = (
            ("$filter", f"startswith(subject,'{SUBJECT}')"),
            ("$select", "id,subject,createdDateTime"),
            ("$top", str(_MOST_EVENTS)),
        )
        found = items(await self._calls.ask(ctx, "GET", "/events", query=query))
        ours = [(tag_of(one.get("subject")), one.get("id"), one.get("createdDateTime")) for one in found]
        return [Event(tag, key, _moment(created)) for tag, key, created in ours if tag and isinstance(key, str)]

    async def remove_event(self, ctx: Context, key: str) -> None:
        """Remove an event for good."""
        await self._calls.remove(ctx, f"/events/{segment(key)}")


def _unknown_schedule(found: list[dict[str, Any]]) -> Failed:
    """Return what an answer without free and busy times means; it may name its own error."""
    error = found[0].get("error") if len(found) == 1 else None
    code = error.get("responseCode") if isinstance(error, dict) else None
    if not isinstance(code, str):
        return Failed(Reason.CONTENT_MISMATCH, "the answer does not tell when the owner of the mailbox is free")
    words = f"free and busy times are refused with {code[:100]}"
    return Failed(Reason.NOT_FOUND if code == "ErrorMailRecipientNotFound" else Reason.CONTENT_MISMATCH, words, code=known(code))


def _zoned(moment: float) -> dict[str, str]:
    return {"dateTime": datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S"), "timeZone": "UTC"}


def _moment(text: object) -> float | None:
    try:
        when = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return when.timestamp() if when and when.tzinfo else None
