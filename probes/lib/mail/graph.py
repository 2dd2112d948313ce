"""Sending and receiving through Microsoft Graph.

A letter goes out as MIME, because only so its Message-ID is ours and known before it is sent (learn.microsoft.com/graph/api/user-sendmail).
202 means that a draft was stored; whatever goes wrong afterwards comes as a delivery report into the sender's inbox.
"""

import asyncio
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from time import perf_counter
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from probes.core.context import Context
from probes.core.contract import Failed, Settings
from probes.core.needs import Permission, Scope
from probes.core.reasons import Reason
from probes.lib.graph import items, segment, written
from probes.lib.mail.ends import Accepted, Folder, Found, Mailbox, Outbox
from probes.lib.mail.graph_calls import GraphCalls
from probes.lib.mail.letter import HEADER_CHARACTERS, Address, Letter, mime, tag_in, unfolded
from probes.lib.mail.looks import looks
from probes.lib.mail.report import MESSAGE_BYTES, Report, report_in
from probes.lib.retry_after import moment

FOLDERS = {
    Folder.INBOX: "inbox",
    Folder.JUNK: "junkemail",
    Folder.SENT: "sentitems",
    Folder.DELETED: "deleteditems",
    Folder.RECOVERABLE: "recoverableitemsdeletions",
}
"""Well-known names of the folders (learn.microsoft.com/graph/api/resources/mailfolder)."""

_SHOWN = "id,receivedDateTime,internetMessageId,subject,from,internetMessageHeaders"
_VALUE_CHARACTERS = 1 << 15
# The longest header of real mail is some 4 KB.
_AT_ONCE, _MOST_PAGES = 25, 20
_DAY, _SKEW = 86_400.0, 900.0
# How far our clock and the server's may be apart.
_LATER_LOOKS = 4.0
# Seconds without the letter after which a message that only carries its tag is looked for as well: a reply, a rewritten Message-ID.
_LAST_LOOK = 1.0
# Seconds before the end of waiting at which to look once more.
_REFUSED = frozenset({"ErrorMessageSizeExceeded", "ErrorInvalidRecipients", "ErrorMimeContentInvalidBase64String"})
_POSTMASTERS = ("microsoftexchange", "postmaster@", "mailer-daemon@")


class GraphSend(Settings):
    """Send through Microsoft Graph."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, populate_by_name=True)

    via: Literal["graph"]
    """Through Microsoft Graph."""
    from_: Annotated[Address, Field(alias="from")]
    """Address of the sender: a mailbox of the tenant."""

    @property
    def permissions(self) -> tuple[Permission, ...]:
        """What the tenant has to permit, the sender's own mailbox (copies, delivery reports) included."""
        return (
            Permission("Mail.Send", "sends mail", scope=Scope.MAILBOXES, targets=(self.from_,)),
            *GraphReceive(via="graph", mailbox=self.from_).permissions,
        )


class GraphReceive(Settings):
    """Read a mailbox through Microsoft Graph."""

    via: Literal["graph"]
    """Through Microsoft Graph."""
    mailbox: Address
    """Address of the mailbox."""

    @property
    def permissions(self) -> tuple[Permission, ...]:
        """What the tenant has to permit."""
        return (Permission("Mail.ReadWrite", "finds mail and removes it", scope=Scope.MAILBOXES, targets=(self.mailbox,)),)


def outbox(settings: GraphSend) -> Outbox:
    """Return the end that sends as these settings say."""
    return _GraphOutbox(settings.from_)


def mailbox(settings: GraphReceive) -> Mailbox:
    """Return the end that looks into the mailbox of these settings."""
    return _GraphMailbox(GraphCalls(settings.mailbox))


@dataclass(frozen=True, slots=True)
class _GraphOutbox:
    sender: str

    async def open(self, ctx: Context) -> None:
        """Get a token, which is kept."""
        await GraphCalls(self.sender).sign_in(ctx)

    async def submit(self, ctx: Context, letter: Letter) -> Accepted:
        """Hand the letter over, once.

        Raises:
            SubmissionUncertain: where Graph broke off, or a gateway gave up, after the letter had been sent.
            Failed: MAIL_REJECTED where Graph refuses the letter itself, else with any reason of `probes.lib.graph.call`.
            Inconclusive: THROTTLED, or where this machine lacks what the run needs.

        """
        calls, kind = GraphCalls(self.sender), (("Content-Type", "text/plain"),)
        await calls.sign_in(ctx)
        try:
            answer = await calls.ask_once(ctx, "/sendMail", body=b64encode(mime(letter)), headers=kind, accept=(202,), raw=True)
        except Failed as error:
            if error.code in _REFUSED:
                raise Failed(Reason.MAIL_REJECTED, error.message, code=error.code) from error
            raise
        # The evidence has the last call's, and waiting makes many: support finds a letter by that of its submission.
        ctx.evidence("submission_request_id", answer.header("request-id") or "")
        return Accepted(moment(answer.header("date")), str(answer.status))


@dataclass(slots=True)
class _Watch:
    """When (perf_counter) waiting for a letter began, and when it was last looked for."""

    began: float
    looked: float


@dataclass(slots=True)
class _GraphMailbox:
    _calls: GraphCalls
    _watches: dict[str, _Watch] = field(default_factory=dict)

    async def open(self, ctx: Context) -> None:
        """Get a token, and see that the inbox may be read before anything is sent."""
        await self._calls.sign_in(ctx)
        await self._calls.ask(ctx, "GET", "/mailFolders/inbox", query=(("$select", "id"),))

    async def arrival(self, ctx: Context, letter: Letter, until: float) -> Found | None:
        """Look as often as `looks` says; at first for the Message-ID, later for the tag as well."""
        now = perf_counter()
        watch = self._watches.setdefault(letter.tag, _Watch(now, now))
        for at in _times(watch, until):
            await asyncio.sleep(at - perf_counter())
            before, found = watch.looked, await self._look(ctx, letter, watch)
            watch.looked = perf_counter()
            if found is not None:
                return _seen(found, Folder.INBOX, letter.tag, granularity=watch.looked - before)
        await asyncio.sleep(until - perf_counter())
        return None

    async def find(self, ctx: Context, tags: Collection[str], folders: Collection[Folder]) -> list[Found]:
        """List what came since the oldest of the letters, and keep what is ours; delivery reports are read."""
        found: list[Found] = []
        for folder in (each for each in Folder if each in folders):
            listed = self._listed(ctx, folder, _since(ctx, tags))
            found.extend([one async for message in listed if (one := await self._ours(ctx, message, folder, tags))])
        return found

    async def remove(self, ctx: Context, found: Sequence[Found]) -> None:
        """Delete for good."""
        for key in dict.fromkeys(one.key for one in found):
            await self._calls.remove(ctx, f"/messages/{segment(key)}")

    async def close(self) -> None:
        """Nothing is held between calls."""

    async def _look(self, ctx: Context, letter: Letter, watch: _Watch) -> dict[str, Any] | None:
        quoted = letter.message_id.replace("'", "''")
        query = (("$filter", f"internetMessageId eq '{quoted}'"), ("$select", _SHOWN), ("$top", "1"))
        if found := items(await self._calls.ask(ctx, "GET", "/mailFolders/inbox/messages", query=query)):
            return found[0]
        if perf_counter() - watch.began < _LATER_LOOKS:
            return None
        carries = [one async for one in self._listed(ctx, Folder.INBOX, letter.created - _SKEW) if _is_letter(one, letter.tag)]
        return carries[-1] if carries else None

    async def _listed(self, ctx: Context, folder: Folder, since: float | None) -> AsyncIterator[dict[str, Any]]:
        """Yield messages of a folder, newest first: those since a time (Unix seconds), or, without one, those of more than a day ago."""
        bound = f"receivedDateTime lt {written(time.time() - _DAY)}" if since is None else f"receivedDateTime ge {written(since)}"
        path = f"/mailFolders/{FOLDERS[folder]}/messages"
        for page in range(_MOST_PAGES):
            query = (
                ("$filter", bound),
                ("$orderby", "receivedDateTime desc"),
                ("$select", _SHOWN),
                ("$top", str(_AT_ONCE)),
                *((("$skip", str(page * _AT_ONCE)),) if page else ()),
            )
            answer = await self._calls.ask(ctx, "GET", path, query=query, accept=(200, 404))
            found = items(answer) if answer.status == HTTPStatus.OK else []
            for message in found:
                yield message
                # Reading a header takes up to half a millisecond: others get their turn in between.
                await asyncio.sleep(0)
            if len(found) < _AT_ONCE:
                return

    async def _ours(self, ctx: Context, message: dict[str, Any], folder: Folder, tags: Collection[str]) -> Found | None:
        """Return a message that carries one of the tags, or any of ours without tags; None for all others."""
        header = _headers(message)
        tag = tag_in(header)
        if tag and tags and tag not in tags:
            return None
        report = await self._report(ctx, message) if _may_report(message, header) else None
        tag = tag or (report.tag if report else "")
        return _seen(message, folder, tag, report=report) if tag and (not tags or tag in tags) else None

    async def _report(self, ctx: Context, message: dict[str, Any]) -> Report | None:
        path, accept = f"/messages/{segment(_text(message, 'id'))}/$value", ("Accept", "*/*")
        answer = await self._calls.ask(ctx, "GET", path, accept=(200, 404), headers=(accept,), raw=True)
        return report_in(answer.body[:MESSAGE_BYTES]) if answer.status == HTTPStatus.OK else None


def _times(watch: _Watch, until: float) -> Iterator[float]:
    """Yield when (perf_counter) to look next: as `looks` says, and once more before the end."""
    for at in (watch.began + after for after in looks()):
        if at > until:
            break
        if at > watch.looked:
            yield at
    last = until - _LAST_LOOK
    if last > max(watch.looked + _LAST_LOOK, perf_counter()):
        yield last


def _since(ctx: Context, tags: Collection[str]) -> float | None:
    """Return since when (Unix seconds) letters with these tags may have come; the ledger knows their age. None without tags."""
    created = {letter.id: letter.created for letter in ctx.shared.ledger.outstanding(ctx.probe)}
    unknown = time.time() - 2 * _DAY
    return min(created.get(tag, unknown) for tag in tags) - _SKEW if tags else None


def _seen(message: dict[str, Any], folder: Folder, tag: str, *, granularity: float = 0.0, report: Report | None = None) -> Found:
    delivered = _moment(_text(message, "receivedDateTime"))
    return Found(tag, _text(message, "id"), folder, _headers(message), delivered, perf_counter(), granularity, report)


def _is_letter(message: dict[str, Any], tag: str) -> bool:
    header = _headers(message)
    return tag_in(header) == tag and not _may_report(message, header)


def _may_report(message: dict[str, Any], header: str) -> bool:
    """Say whether a message may be a delivery report; only its content tells for sure. What Exchange makes itself may have no headers."""
    fields = dict(unfolded(header))
    sender = message.get("from")
    address = sender.get("emailAddress") if isinstance(sender, dict) else None
    author = _text(address, "address") if isinstance(address, dict) else fields.get("from", "").rpartition("<")[2]
    is_marked = "x-ms-exchange-message-is-ndr" in fields or "x-failed-recipients" in fields
    return is_marked or fields.get("content-type", "").lower().startswith("multipart/report") or author.lower().startswith(_POSTMASTERS)


def _headers(message: dict[str, Any]) -> str:
    """Return the header as text: what transport wrote, and, where it wrote nothing (copies of what was sent), what Graph knows itself."""
    listed = message.get("internetMessageHeaders")
    fields = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    lines = [(_text(one, "name"), _text(one, "value")) for one in fields]
    names = {name.lower() for name, _ in lines}
    known = (("Message-ID", _text(message, "internetMessageId")), ("Subject", _text(message, "subject")))
    lines += [(name, value) for name, value in known if value and name.lower() not in names]
    return "".join(f"{name}: {' '.join(value[:_VALUE_CHARACTERS].split())}\r\n" for name, value in lines if name)[:HEADER_CHARACTERS]


def _text(thing: dict[str, Any], name: str) -> str:
    found = thing.get(name)
    return found if isinstance(found, str) else ""


def _moment(text: str) -> float | None:
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return None
    return when.timestamp() if when.tzinfo else None
