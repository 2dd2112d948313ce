"""A mailbox seen through IMAP: the server tells of an arrival at once (IDLE), or is asked at growing intervals where it cannot.

A letter is found by reading the headers of what is new, or newest, which needs no index of the server; SEARCH helps only in folders with
more messages than are read. Messages are named by UIDVALIDITY and UID, so that a folder that was made anew loses nothing of others.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from time import perf_counter
from typing import Annotated, Literal, Self, TypeVar

from pydantic import AfterValidator, Field, model_validator

from probes.core.context import Context
from probes.core.contract import Failed, Secret, Settings
from probes.core.reasons import Reason
from probes.lib.mail.access import Account, Security, Server, check_login
from probes.lib.mail.ends import Folder, Found, Mailbox
from probes.lib.mail.imap_data import Fetched, search_date
from probes.lib.mail.imap_folders import SPECIAL, special_names
from probes.lib.mail.imap_session import Idle, ImapSession, Selected, sign_in
from probes.lib.mail.letter import HEADER, Letter, tag_in
from probes.lib.mail.looks import looks
from probes.lib.mail.ours import header_text, is_wanted, may_report
from probes.lib.mail.report import Report, report_in
from probes.lib.proxy import Proxy, ProxyUrl, as_proxy
from probes.lib.resolve import ascii_host
from probes.lib.tls import Trust

NEWEST = 50
"""Messages of a folder that are read whatever SEARCH says."""
MOST = 100
"""Most messages of ours that one look brings along."""
REPORT_BYTES = 1 << 16
"""Bytes of a delivery report that are read."""
IDLE_SECONDS = 30.0
"""Longest that IDLE is trusted without a look: some servers forget to tell. It is below the 29 minutes of RFC 2177 as well."""

MOST_REPORTS = 10
"""Most delivery reports that one look reads."""
HEADERS = "BODY.PEEK[HEADER]"
"""What is asked of a message that may be ours."""
MARKS = f"BODY.PEEK[HEADER.FIELDS ({HEADER} Message-ID In-Reply-To References Subject Content-Type)]"
"""What tells whose a message is."""
QUICK_LOOKS = 50
"""Looks of one wait after which there is a pause before each: a server that always has news, or ends IDLE at once, shall not busy us."""
PAUSE_SECONDS = 0.25
"""How long it is."""

_REPORTS = 'HEADER Content-Type "multipart/report"'

T = TypeVar("T")


def _mailbox_name(name: str) -> str:
    if not name.isprintable():
        raise ValueError("must be the name of a folder, without control characters")
    return name


Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_mailbox_name)]


class ImapReceive(Settings):
    """Receive through IMAP."""

    via: Literal["imap"]
    """The way."""
    host: Annotated[str, Field(min_length=1), AfterValidator(ascii_host)]
    """Name or address of the server; `outlook.office365.com` for Exchange Online."""
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """Its port; 993, or 143 without TLS from the first byte."""
    security: Security = "tls"
    """`tls` from the first byte, `starttls` after the greeting, or `none` for a server on this machine."""
    username: Annotated[str, Field(min_length=1)]
    """Whom to log in as; the mailbox's address in Exchange Online."""
    password: Secret | None = None
    """Password, where the server still takes one."""
    oauth: bool = False
    """Log in with a token of the probe's tenant (XOAUTH2)."""
    folder: Name = "INBOX"
    """Folder in which letters arrive."""
    junk: Name | None = None
    """Folder of junk mail, where the server does not say which it is."""
    sent: Name | None = None
    """Folder of sent mail, likewise."""
    deleted: Name | None = None
    """Folder of deleted mail, likewise."""
    purge: bool = False
    """Remove through Graph, for good, what Exchange Online keeps of removed mail among the recoverable items; needs `oauth`."""
    tls: Trust = Trust()
    """Whom to trust."""
    proxy: Proxy | ProxyUrl | None = None
    """Proxy to go through, which has to let us out to this port; without it the connection is direct, whatever the tenant says."""

    @model_validator(mode="after")
    def _one_login(self) -> Self:
        check_login(self.host, self.security, self.password, oauth=self.oauth, purge=self.purge)
        return self

    @property
    def server(self) -> Server:
        """Where the mailbox is."""
        return Server(self.host, self.port or (993 if self.security == "tls" else 143), self.security, self.tls, as_proxy(self.proxy))

    @property
    def account(self) -> Account:
        """Whose mailbox it is."""
        return Account(self.username, self.password)

    @property
    def named(self) -> dict[Folder, str | None]:
        """Folders by the names that were given."""
        return {Folder.INBOX: self.folder, Folder.JUNK: self.junk, Folder.SENT: self.sent, Folder.DELETED: self.deleted}


def mailbox(settings: ImapReceive) -> Mailbox:
    """Return the mailbox."""
    return ImapMailbox(settings)


class ImapMailbox:
    """One mailbox during one run. A lost connection is opened anew, once for each thing asked, and the evidence says so."""

    def __init__(self, settings: ImapReceive) -> None:
        self._settings = settings
        self._session: ImapSession | None = None
        self._idle: Idle | None = None
        self._takes_idle = True
        self._names: dict[Folder, str] | None = None
        self._validity: str | None = None
        self._new_from = 0
        # UIDVALIDITY of the inbox, and the lowest UID there that was not looked at, 0 where unknown.
        self._looked = 0.0
        self._waits: dict[str, float] = {}

    async def open(self, ctx: Context) -> None:
        """Log in, remember what is new from here on, and let the server tell of arrivals."""
        session = await self._in(ctx, self._settings.folder)
        self._looked = perf_counter()
        await self._start_idle(ctx, session)

    async def arrival(self, ctx: Context, letter: Letter, until: float) -> Found | None:
        """Wait for the letter in the inbox."""
        self._waits.setdefault(letter.tag, perf_counter())
        return await self._steadily(ctx, lambda: self._awaited(ctx, letter, until))

    async def find(self, ctx: Context, tags: Collection[str], folders: Collection[Folder]) -> list[Found]:
        """Look through folders."""
        return await self._steadily(ctx, lambda: self._found(ctx, tags, folders))

    async def remove(self, ctx: Context, found: Sequence[Found]) -> None:
        """Remove messages for good."""
        await self._steadily(ctx, lambda: self._removed(ctx, found))

    async def close(self) -> None:
        """Say good-bye and hang up."""
        session, idle = self._session, self._idle
        self._session = self._idle = None
        if idle is not None:
            idle.drop()
        if session is not None:
            session.leave(idling=idle is not None)

    async def _steadily(self, ctx: Context, act: Callable[[], Awaitable[T]]) -> T:
        """Do something, on a new connection where the old one is lost: servers drop those that idle."""
        try:
            return await act()
        except Failed as failed:
            if failed.reason is not Reason.CONNECTION_RESET:
                raise
            ctx.evidence("imap_reconnected", failed.message)
            await self.close()
            return await act()

    async def _in(self, ctx: Context, name: str) -> ImapSession:
        """Return the connection with this folder open and no IDLE under way."""
        await self._end_idle()
        if self._session is None or not self._session.usable:
            await self.close()
            self._session = await sign_in(ctx, self._settings.server, self._settings.account)
        session = self._session
        if session.selected is None or session.selected.name != name:
            selected = await session.select(name)
            if name == self._settings.folder:
                await self._enter(session, selected)
        return session

    async def _enter(self, session: ImapSession, selected: Selected) -> None:
        """Note from which UID on messages are new; of a folder that was made anew nobody knows."""
        if self._validity is None:
            last = await session.newest(1, MARKS) if not selected.next_uid else []
            self._new_from = selected.next_uid or max((message.uid + 1 for message in last), default=1)
        elif self._validity != selected.validity:
            self._new_from = 0
        self._validity = selected.validity

    async def _start_idle(self, ctx: Context, session: ImapSession) -> None:
        if "IDLE" not in session.capabilities or not self._takes_idle:
            return
        self._idle = Idle(session)
        self._takes_idle = await self._idle.accepted()
        if not self._takes_idle:
            self._idle = None
            ctx.evidence("imap_idle", "refused")

    async def _end_idle(self) -> float:
        """End IDLE where it is under way, and return when a new message was told of (perf_counter), 0 where none was."""
        idle, self._idle = self._idle, None
        return 0.0 if idle is None else await idle.end()

    async def _awaited(self, ctx: Context, letter: Letter, until: float) -> Found | None:
        # Without IDLE something may have come while we were elsewhere.
        found = None if self._idle else await self._look(ctx, letter, 0.0)
        looked = 0
        while found is None and perf_counter() < until:
            if looked > QUICK_LOOKS:
                await asyncio.sleep(PAUSE_SECONDS)
            announced = await self._occasion(ctx, letter, until)
            found = await self._look(ctx, letter, announced)
            looked += 1
        return found

    async def _occasion(self, ctx: Context, letter: Letter, until: float) -> float:
        """Wait until there is reason to look: return when the server told of something (perf_counter), 0 where it is only time."""
        if self._idle is None:
            session = await self._in(ctx, self._settings.folder)
            if session.announced:
                return 0.0
            await self._start_idle(ctx, session)
        if self._idle is not None:
            await self._idle.news(min(until, perf_counter() + IDLE_SECONDS))
            return await self._end_idle()
        started = self._waits[letter.tag]
        due = next(at for seconds in looks() if (at := started + seconds) > perf_counter())
        await asyncio.sleep(max(0.0, min(until, due) - perf_counter()))
        return 0.0

    async def _look(self, ctx: Context, letter: Letter, announced: float) -> Found | None:
        """Read the headers of what is new in the inbox."""
        session = await self._in(ctx, self._settings.folder)
        if not announced:
            await session.ask("NOOP")
        session.announced = 0.0
        before, self._looked = self._looked, perf_counter()
        came = await self._new(session)
        self._new_from = max((message.uid + 1 for message in came), default=self._new_from)
        message = next((message for message in came if _tag(message) == letter.tag and not may_report(message.body)), None)
        if message is None:
            return None
        seen = announced or session.wire.heard
        return _found(session, Folder.INBOX, message, letter.tag, seen=seen, granularity=0.0 if announced else seen - before)

    async def _new(self, session: ImapSession) -> list[Fetched]:
        if not session.exists:
            return []
        if not self._new_from:
            return await session.newest(NEWEST, HEADERS)
        # "n:*" is never empty: it has the last message, however low its UID.
        return [message for message in await session.fetch(f"{self._new_from}:*", HEADERS) if message.uid >= self._new_from]

    async def _found(self, ctx: Context, tags: Collection[str], folders: Collection[Folder]) -> list[Found]:
        found: list[Found] = []
        for folder in folders:
            if name := await self._name(ctx, folder):
                found += await self._found_in(ctx, folder, name, tags)
        return found

    async def _found_in(self, ctx: Context, folder: Folder, name: str, tags: Collection[str]) -> list[Found]:
        session = await self._in(ctx, name)
        marked = await session.newest(NEWEST, MARKS)
        if session.exists > NEWEST:
            marked += await _searched(ctx, session, tags, {message.uid for message in marked})
        ours = [message for message in marked if is_wanted(_tag(message), message.came, tags) and not may_report(message.body)]
        # What somebody else removed meanwhile has no header any more.
        whole = [message for message in await _whole(session, ours[-MOST:]) if message.body]
        found = [_found(session, folder, message, _tag(message)) for message in whole]
        reports = [
            (message, await _report(session, message)) for message in [one for one in marked if may_report(one.body)][-MOST_REPORTS:]
        ]
        wanted = ((message, report) for message, report in reports if report and is_wanted(report.tag, message.came, tags))
        return found + [_found(session, folder, message, report.tag, report=report) for message, report in wanted]

    async def _removed(self, ctx: Context, found: Sequence[Found]) -> None:
        for folder in dict.fromkeys(one.folder for one in found):
            name = await self._name(ctx, folder)
            if name is None:
                continue
            session = await self._in(ctx, name)
            theirs = [one for one in found if one.folder is folder]
            if any(not one.key.startswith(_key(session, "")) for one in theirs):
                # The folder was made anew: the UIDs we know mean others now.
                theirs = await self._found_in(ctx, folder, name, {one.tag for one in theirs})
            if theirs:
                await session.remove(int(one.key.rpartition(".")[2]) for one in theirs)

    async def _name(self, ctx: Context, folder: Folder) -> str | None:
        """Return what the server calls a folder; None where it has none."""
        if (name := self._settings.named.get(folder)) or folder not in SPECIAL:
            return name
        if self._names is None:
            await self._end_idle()
            session = self._session if self._session and self._session.usable else await self._in(ctx, self._settings.folder)
            self._names = await special_names(ctx, session)
        return self._names.get(folder)


async def _searched(ctx: Context, session: ImapSession, tags: Collection[str], known: Collection[int]) -> list[Fetched]:
    """Read the marks of what a search finds beyond what is known. Searches may be refused, late or wrong: they only ever add."""
    uids: set[int] = set()
    for criteria in _criteria(tags):
        found = await session.search(criteria)
        if found is None:
            ctx.evidence("imap_search", "refused")
            break
        uids.update(found)
    wanted = sorted(uids.difference(known))[-MOST:]
    return await session.fetch(",".join(map(str, wanted)), MARKS) if wanted else []


def _criteria(tags: Collection[str]) -> Iterator[str]:
    for tag in tuple(tags)[:MOST]:
        name = f'"fogbell.{tag}"'
        yield f'OR OR HEADER {HEADER} "{tag}" HEADER Message-ID {name} OR HEADER In-Reply-To {name} HEADER References {name}'
        yield f"{_REPORTS} TEXT {name}"
    if not tags:
        yield f'BEFORE {search_date(time.time())} HEADER {HEADER} ""'
        yield f'BEFORE {search_date(time.time())} {_REPORTS} TEXT "fogbell."'


async def _whole(session: ImapSession, messages: Sequence[Fetched]) -> list[Fetched]:
    return await session.fetch(",".join(str(message.uid) for message in messages), HEADERS) if messages else []


async def _report(session: ImapSession, message: Fetched) -> Report | None:
    told = await session.fetch(str(message.uid), f"BODY.PEEK[]<0.{REPORT_BYTES}>")
    return report_in(told[0].body) if told else None


def _tag(message: Fetched) -> str:
    return tag_in(header_text(message.body))


def _found(
    session: ImapSession,
    folder: Folder,
    message: Fetched,
    tag: str,
    *,
    seen: float | None = None,
    granularity: float = 0.0,
    report: Report | None = None,
) -> Found:
    key = _key(session, str(message.uid))
    when = session.wire.heard if seen is None else seen
    return Found(tag, key, folder, header_text(message.body), message.came, when, granularity, report)


def _key(session: ImapSession, uid: str) -> str:
    return f"{session.selected.validity if session.selected else ''}.{uid}"
