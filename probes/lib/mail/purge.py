"""What IMAP and POP3 remove, Exchange Online keeps among the recoverable items, which neither shows: Graph finds it there and removes it.

`permanentDelete` puts it among the purges, which no mail program shows and which are emptied as the mailbox's retention says; where a hold
covers the mailbox, nothing ever leaves them (learn.microsoft.com/graph/api/message-permanentdelete).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from probes.core.context import Context
from probes.core.needs import Permission, Scope
from probes.lib.mail import graph
from probes.lib.mail.ends import Folder, Found, Mailbox
from probes.lib.mail.letter import Letter

CALLS = 4
"""Calls of Graph that a good run asks for on top: to open the mailbox, two looks, one removal."""


def permissions(mailbox: str) -> tuple[Permission, ...]:
    """Return what the tenant has to permit."""
    why = "removes from among the recoverable items what IMAP and POP3 leave there"
    return (Permission("Mail.ReadWrite", why, scope=Scope.MAILBOXES, targets=(mailbox,)),)


def purging(mailbox: Mailbox, owner: str) -> Mailbox:
    """Return the mailbox of this owner, with the recoverable items in reach."""
    return _Purging(mailbox, graph.mailbox(graph.GraphReceive(via="graph", mailbox=owner)))


@dataclass(slots=True)
class _Purging:
    """A mailbox, and Graph's view of it, which is opened when it is first needed: a run does not fail for it before its letter is there."""

    mailbox: Mailbox
    behind: Mailbox
    is_open: bool = False

    async def open(self, ctx: Context) -> None:
        """Sign in."""
        await self.mailbox.open(ctx)

    async def arrival(self, ctx: Context, letter: Letter, until: float) -> Found | None:
        """Wait for the letter."""
        return await self.mailbox.arrival(ctx, letter, until)

    async def find(self, ctx: Context, tags: Collection[str], folders: Collection[Folder]) -> list[Found]:
        """Look through folders, the recoverable items among them."""
        found = await self.mailbox.find(ctx, tags, folders)
        return found + (await self._recoverable(ctx, tags) if Folder.RECOVERABLE in folders else [])

    async def remove(self, ctx: Context, found: Sequence[Found]) -> None:
        """Remove, and remove again what that has moved among the recoverable items."""
        there = [one for one in found if one.folder is not Folder.RECOVERABLE]
        recoverable = [one for one in found if one.folder is Folder.RECOVERABLE]
        await self.mailbox.remove(ctx, there)
        if there:
            recoverable = await self._recoverable(ctx, {one.tag for one in found})
        if recoverable:
            await self.behind.remove(ctx, recoverable)

    async def close(self) -> None:
        """Hang up."""
        await self.mailbox.close()
        await self.behind.close()

    async def _recoverable(self, ctx: Context, tags: Collection[str]) -> list[Found]:
        if not self.is_open:
            await self.behind.open(ctx)
            self.is_open = True
        return await self.behind.find(ctx, tags, {Folder.RECOVERABLE})
