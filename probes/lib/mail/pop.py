"""A mailbox seen through POP3: one short session for each look, because only a new session shows what came since.

There is the inbox and nothing else, and no search: the headers of what is new, or newest, are read with TOP.
"""

import asyncio
from collections.abc import Collection, Sequence
from contextlib import AbstractAsyncContextManager
from time import perf_counter
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from probes.core.context import Context
from probes.core.contract import Inconclusive, Secret, Settings
from probes.lib.mail.access import Account, Security, Server, check_login
from probes.lib.mail.ends import Folder, Found, Mailbox
from probes.lib.mail.letter import Letter, tag_in
from probes.lib.mail.looks import looks
from probes.lib.mail.ours import header_text, is_wanted, may_report
from probes.lib.mail.pop_session import PopSession, session
from probes.lib.mail.received import trail
from probes.lib.mail.report import Report, report_in
from probes.lib.proxy import Proxy, ProxyUrl, as_proxy
from probes.lib.resolve import ascii_host
from probes.lib.tls import Trust

NEWEST = 50
"""Messages whose headers one look reads; of litter the oldest as many besides."""
MOST_REPORTS = 10
"""Most delivery reports that one look reads."""
REPORT_LINES = 500
"""Lines of a delivery report that are read."""


class PopReceive(Settings):
    """Receive through POP3."""

    via: Literal["pop3"]
    """The way."""
    host: Annotated[str, Field(min_length=1), AfterValidator(ascii_host)]
    """Name or address of the server; `outlook.office365.com` for Exchange Online."""
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """Its port; 995, or 110 without TLS from the first byte."""
    security: Security = "tls"
    """`tls` from the first byte, `starttls` after the greeting, or `none` for a server on this machine."""
    username: Annotated[str, Field(min_length=1)]
    """Whom to log in as; the mailbox's address in Exchange Online."""
    password: Secret | None = None
    """Password, where the server still takes one."""
    oauth: bool = False
    """Log in with a token of the probe's tenant (XOAUTH2)."""
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
        return Server(self.host, self.port or (995 if self.security == "tls" else 110), self.security, self.tls, as_proxy(self.proxy))

    @property
    def account(self) -> Account:
        """Whose mailbox it is."""
        return Account(self.username, self.password)


def mailbox(settings: PopReceive) -> Mailbox:
    """Return the mailbox."""
    return PopMailbox(settings)


class PopMailbox:
    """One mailbox during one run."""

    def __init__(self, settings: PopReceive) -> None:
        self._settings = settings
        self._known: set[str] = set()
        # Unique ids of what was there before, or was looked at.
        self._looked = 0.0
        self._waits: dict[str, float] = {}

    async def open(self, ctx: Context) -> None:
        """Log in once, and remember what is there already."""
        async with self._session(ctx) as pop:
            self._known = set(await pop.messages())
            self._looked = perf_counter()

    async def arrival(self, ctx: Context, letter: Letter, until: float) -> Found | None:
        """Look again and again."""
        started = self._waits.setdefault(letter.tag, perf_counter())
        while (now := perf_counter()) < until:
            due = next(at for seconds in looks() if (at := started + seconds) > now)
            await asyncio.sleep(min(until, due) - now)
            if found := await self._looked_again(ctx, letter, until):
                return found
        return None

    async def find(self, ctx: Context, tags: Collection[str], folders: Collection[Folder]) -> list[Found]:
        """Look through the inbox, the only folder that POP3 shows."""
        if Folder.INBOX not in folders:
            return []
        async with self._session(ctx) as pop:
            return await _ours(pop, tags)

    async def remove(self, ctx: Context, found: Sequence[Found]) -> None:
        """Remove messages for good."""
        keys = {one.key for one in found}
        if not keys:
            return
        async with self._session(ctx) as pop:
            for key, number in (await pop.messages()).items():
                if key in keys:
                    await pop.delete(number)

    async def close(self) -> None:
        """Nothing stays open between looks."""

    def _session(self, ctx: Context) -> AbstractAsyncContextManager[PopSession]:
        return session(ctx, self._settings.server, self._settings.account)

    async def _looked_again(self, ctx: Context, letter: Letter, until: float) -> Found | None:
        """Look once. A mailbox that somebody else has open at the moment is looked at next time, if there is one."""
        try:
            async with self._session(ctx) as pop:
                return await self._look(pop, letter)
        except Inconclusive as stopped:
            if perf_counter() >= until:
                raise
            ctx.evidence("pop3_look_refused", stopped.message)
            return None

    async def _look(self, pop: PopSession, letter: Letter) -> Found | None:
        there = await pop.messages()
        before, self._looked = self._looked, perf_counter()
        for key, number in [(key, number) for key, number in there.items() if key not in self._known][-NEWEST:]:
            header = await pop.top(number)
            self._known.add(key)
            if tag_in(header_text(header)) == letter.tag and not may_report(header):
                return _found(letter.tag, key, header, seen=self._looked, granularity=self._looked - before)
        return None


async def _ours(pop: PopSession, tags: Collection[str]) -> list[Found]:
    there = list((await pop.messages()).items())
    looked_at = there[-NEWEST:] if tags else [*there[:NEWEST], *there[NEWEST:][-NEWEST:]]
    found: list[Found] = []
    reports = 0
    for key, number in reversed(looked_at):
        header = await pop.top(number)
        report = None
        if may_report(header):
            reports += 1
            report = report_in(await pop.top(number, REPORT_LINES)) if reports <= MOST_REPORTS else None
            if report is None:
                continue
        tag = report.tag if report else tag_in(header_text(header))
        if is_wanted(tag, _came(header), tags):
            found.append(_found(tag, key, header, seen=pop.wire.heard, report=report))
    return found[::-1]


def _found(tag: str, key: str, header: bytes, *, seen: float, granularity: float = 0.0, report: Report | None = None) -> Found:
    return Found(tag, key, Folder.INBOX, header_text(header), _came(header), seen, granularity, report)


def _came(header: bytes) -> float | None:
    """Return when the last server took the message (Unix seconds), which is the nearest to delivery that POP3 tells."""
    hops = trail(header_text(header)).hops
    return hops[-1].when if hops else None
