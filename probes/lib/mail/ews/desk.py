"""A mailbox and its calendar over EWS, as people use them all day."""

from typing import Any

from probes.core.context import Context
from probes.core.contract import Failed
from probes.core.needs import Permission
from probes.core.reasons import Reason
from probes.lib.mail.desk import BODY, EVENT_MINUTES, SUBJECT, Event, subject_of, tag_of
from probes.lib.mail.ews.calls import Calls, site_of
from probes.lib.mail.ews.ends import told_apart
from probes.lib.mail.ews.settings import EwsReceive
from probes.lib.mail.ews.workers import Workers

_NEWEST = 5


class EwsDesk:
    """A mailbox through EWS. Times are Unix seconds."""

    def __init__(self, settings: EwsReceive) -> None:
        self._settings = settings

    async def sign_in(self, ctx: Context, needs: tuple[Permission, ...]) -> None:
        """Get a token, where one is needed, and note which of these permissions it lacks, for the case of a refusal."""
        token = await Calls(ctx, site_of(ctx, self._settings)).sign_in()
        ctx.lacking = " ".join(one.name for one in needs if token is not None and one.name not in token.roles | token.scopes)

    async def open(self, ctx: Context) -> int:
        """Open the inbox, and return how many messages it holds."""
        found: dict[str, int] = await self._ask(ctx, "look", folder="inbox")
        return found["total"]

    async def newest(self, ctx: Context) -> int:
        """List the newest messages of the inbox, and return how many came."""
        count: int = await self._ask(ctx, "recent", folder="inbox", most=_NEWEST)
        return count

    async def free_busy(self, ctx: Context, start: float, end: float) -> str:
        """Ask when the owner is free or busy: a digit for each half hour."""
        view: str = await self._ask(ctx, "free_busy", whose=self._settings.mailbox, start=start, end=end)
        if not view.isdecimal():
            raise Failed(Reason.CONTENT_MISMATCH, "the answer does not tell when the owner of the mailbox is free")
        return view

    async def create_event(self, ctx: Context, tag: str, start: float) -> str:
        """Put an event of ours into the calendar, to which nobody is invited, and return its key.

        Raises:
            SubmissionUncertain: where nobody can say whether the event was made.
            Failed, Inconclusive: where it was not.

        """
        calls = Calls(ctx, site_of(ctx, self._settings))
        with told_apart(calls):
            key: str = await self._with(ctx, calls, "create_event", subject=subject_of(tag), body=BODY, start=start, minutes=EVENT_MINUTES)
        return key

    async def tag_of_event(self, ctx: Context, key: str) -> str:
        """Read an event back, and return the tag it carries, "" for none."""
        return tag_of(await self._ask(ctx, "event_subject", key=key))

    async def events(self, ctx: Context) -> list[Event]:
        """Return events of ours that lie in the calendar."""
        found = await self._ask(ctx, "events", subject=SUBJECT)
        return [Event(tag, key, created) for key, subject, created in found if (tag := tag_of(subject))]

    async def remove_event(self, ctx: Context, key: str) -> None:
        """Remove an event for good. No error where it is gone already."""
        await self._ask(ctx, "remove", keys=[key])

    async def _ask(self, ctx: Context, do: str, **given: object) -> Any:
        return await self._with(ctx, Calls(ctx, site_of(ctx, self._settings)), do, **given)

    async def _with(self, ctx: Context, calls: Calls, do: str, **given: object) -> Any:
        return await ctx.shared.part(Workers).ask(ctx, site_of(ctx, self._settings), self._settings.mailbox, do, calls, **given)
