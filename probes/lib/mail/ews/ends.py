"""The two ends of a mail round trip over EWS, made of what the process that speaks EWS can do."""

import asyncio
import time
from base64 import b64decode
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import Any

from probes.core.context import Context
from probes.core.contract import Failed, Stopped
from probes.core.reasons import Reason
from probes.lib.mail.ends import Accepted, Folder, Found, Mailbox, Outbox, SubmissionUncertain
from probes.lib.mail.ews.calls import Calls, site_of
from probes.lib.mail.ews.settings import EwsReceive, EwsSend, EwsServer
from probes.lib.mail.ews.workers import Workers
from probes.lib.mail.letter import Letter, mime, tag_in
from probes.lib.mail.looks import looks
from probes.lib.mail.report import report_in
from probes.lib.retry_after import moment

_FOLDERS = {
    Folder.INBOX: "inbox",
    Folder.JUNK: "junkemail",
    Folder.SENT: "sentitems",
    Folder.DELETED: "deleteditems",
    Folder.RECOVERABLE: "recoverableitemsdeletions",
}
_DAY = 86_400.0
_LAST_LOOK = 1.0
# Seconds before the end of waiting at which to look once more.
_ACCEPTED = "200"
_UNKNOWN = {"ErrorFolderNotFound", "ErrorItemNotFound"}


def outbox(settings: EwsSend) -> Outbox:
    """Return the end that sends."""
    return EwsOutbox(settings)


def mailbox(settings: EwsReceive) -> Mailbox:
    """Return the end that receives."""
    return EwsMailbox(settings, settings.mailbox)


def own_mailbox(settings: EwsSend) -> Mailbox:
    """Return the sender's own mailbox, where copies and delivery reports are."""
    return EwsMailbox(settings, settings.from_)


@contextmanager
def told_apart(calls: Calls) -> Iterator[None]:
    """Tell what may have been done, though the answer did not come, from what was not.

    Raises:
        SubmissionUncertain: where nobody can say.

    """
    try:
        yield
    except Stopped as stopped:
        if not (calls.handed_over or (calls.answered and stopped.reason is Reason.PROTOCOL_ERROR)):
            raise
        why = f"the request was handed over, and then: {stopped.message}"
        raise SubmissionUncertain(stopped.reason, why) from stopped


class EwsOutbox:
    """A mailbox to send from."""

    def __init__(self, settings: EwsSend) -> None:
        self._settings = settings

    async def open(self, ctx: Context) -> None:
        """Get a token, where one is needed, which is kept."""
        await Calls(ctx, site_of(ctx, self._settings)).sign_in()

    async def submit(self, ctx: Context, letter: Letter) -> Accepted:
        """Hand the letter over, once.

        Raises:
            SubmissionUncertain: where the answer to a letter that was sent did not come, or came from a gateway in between.
            Failed, Inconclusive: where the server did not take it.

        """
        site = site_of(ctx, self._settings)
        calls, text = Calls(ctx, site), mime(letter).decode("latin-1")
        with told_apart(calls):
            await ctx.shared.part(Workers).ask(
                ctx, site, self._settings.from_, "send", calls, mime=text, save_copy=self._settings.save_copy
            )
        return Accepted(moment(calls.date), _ACCEPTED)


class EwsMailbox:
    """A mailbox to look into. Nothing stays open between two calls but the process that speaks EWS."""

    def __init__(self, server: EwsServer, address: str) -> None:
        self._server, self._address = server, address

    async def open(self, ctx: Context) -> None:
        """Sign in, and see whether the inbox can be read.

        Raises:
            Failed, Inconclusive: whatever stands in the way.

        """
        await self._ask(ctx, "look", folder=_FOLDERS[Folder.INBOX])

    async def arrival(self, ctx: Context, letter: Letter, until: float) -> Found | None:
        """Look for the letter in the inbox until perf_counter says `until`; None where it did not come."""
        last = perf_counter()
        for moment_to_look in _moments(last, until):
            await asyncio.sleep(moment_to_look - perf_counter())
            looked = perf_counter()
            letters = [each for each in await self._search(ctx, Folder.INBOX, letter.tag) if not each["report"]]
            if letters:
                (found,) = await self._read(ctx, Folder.INBOX, letters[:1], seen=perf_counter(), granularity=looked - last)
                return found
            last = looked
        return None

    async def find(self, ctx: Context, tags: Collection[str], folders: Collection[Folder]) -> list[Found]:
        """Find everything that carries one of the tags; with no tags, whatever of ours is older than a day."""
        before = None if tags else time.time() - _DAY
        found: list[Found] = []
        for folder in folders:
            items = await self._search(ctx, folder, next(iter(tags)) if len(tags) == 1 else "", before)
            wanted = [item for item in items if not tags or tag_in(item["header"]) in tags]
            found += await self._read(ctx, folder, wanted, seen=perf_counter())
        return found

    async def remove(self, ctx: Context, found: Sequence[Found]) -> None:
        """Remove for good."""
        if found:
            await self._ask(ctx, "remove", keys=[each.key for each in found])

    async def close(self) -> None:
        """Nothing is open."""

    async def _search(self, ctx: Context, folder: Folder, tag: str, before: float | None = None) -> list[dict[str, Any]]:
        try:
            items: list[dict[str, Any]] = await self._ask(ctx, "find", folder=_FOLDERS[folder], tag=tag, before=before)
        except Failed as error:
            if folder is Folder.INBOX or error.code not in _UNKNOWN:
                raise
            return []
        return [item for item in items if tag_in(item["header"])]

    async def _read(
        self, ctx: Context, folder: Folder, items: Sequence[Mapping[str, Any]], *, seen: float, granularity: float = 0.0
    ) -> list[Found]:
        """Fetch the headers of letters, and the whole of reports."""
        reports = [item["key"] for item in items if item["report"]]
        letters = [item["key"] for item in items if not item["report"]]
        texts = dict(zip(reports, await self._ask(ctx, "content", keys=reports), strict=True)) if reports else {}
        headers = dict(zip(letters, await self._ask(ctx, "headers", keys=letters), strict=True)) if letters else {}
        return [
            Found(
                tag=tag_in(item["header"]),
                key=item["key"],
                folder=folder,
                headers=headers.get(item["key"]) or item["header"],
                delivered=item["delivered"],
                seen=seen,
                granularity=granularity,
                report=report_in(b64decode(texts[item["key"]])) if item["key"] in texts else None,
            )
            for item in items
        ]

    async def _ask(self, ctx: Context, do: str, **given: object) -> Any:
        site = site_of(ctx, self._server)
        return await ctx.shared.part(Workers).ask(ctx, site, self._address, do, Calls(ctx, site), **given)


def _moments(started: float, until: float) -> Iterator[float]:
    """Yield when (perf_counter) to look: as `looks` says, and once more before the end."""
    at = started
    for seconds in looks():
        if started + seconds > until - _LAST_LOOK:
            break
        at = started + seconds
        yield at
    if until - _LAST_LOOK > max(at, perf_counter()):
        yield until - _LAST_LOOK
