"""Calls on one mailbox of Microsoft Graph, all by immutable identifiers: they stay the same while a thing moves between folders."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from probes.core.context import Context
from probes.core.contract import Failed
from probes.core.needs import Permission, Service
from probes.lib.graph import Answer, call, segment, sign_in
from probes.lib.mail.ends import SubmissionUncertain
from probes.lib.mail.opened import clearer, opened
from probes.lib.tenant import Tenant, tenant_of
from probes.lib.tokens import Token

_LASTING = ("Prefer", 'IdType="ImmutableId"')
_LIST_BYTES = 16 << 20
# Headers of one message are some 10 KB.
_NOT_OFFERED = (400, 405, 501)
_PERHAPS_DONE = frozenset({"500", "502", "504"})
_DELETIONS = 3
# To the deleted items, to the recoverable ones, for good.


@dataclass(slots=True)
class GraphCalls:
    """A mailbox, by the address of its `owner`, and who signed in to it."""

    owner: str
    _signed_in: tuple[Tenant, Token] | None = None

    async def sign_in(self, ctx: Context, needs: tuple[Permission, ...] = ()) -> None:
        """Get a token, and keep as evidence which of these permissions it lacks. Call it first."""
        tenant = tenant_of(ctx)
        self._signed_in = (tenant, await sign_in(ctx, tenant, needs))

    async def ask(self, ctx: Context, method: str, path: str, *, headers: tuple[tuple[str, str], ...] = (), **how: Any) -> Answer:
        """Make one call; `path` begins behind the user, and the rest is as for `probes.lib.graph.call`.

        Raises:
            Failed: APP_CONFIG where there is no such mailbox and never was, as far as we know; what `call` raises.

        """
        if self._signed_in is None:
            raise RuntimeError("nobody has signed in to the mailbox")
        where, more = f"/users/{segment(self.owner)}{path}", (_LASTING, *headers)
        try:
            answer = await call(ctx, *self._signed_in, Service.OUTLOOK, method, where, headers=more, limit=_LIST_BYTES, **how)
        except Failed as failed:
            raise clearer(ctx, ctx.tenant, self.owner, failed) from failed
        if answer.status < HTTPStatus.BAD_REQUEST:
            opened(ctx, ctx.tenant, self.owner)
        return answer

    async def ask_once(self, ctx: Context, path: str, **how: Any) -> Answer:
        """POST something that would be there twice if it were asked for again.

        Raises:
            SubmissionUncertain: where Graph broke off, or a gateway gave up, after the request had been sent.
            Failed, Inconclusive: where it was not done.

        """
        before = ctx.open_steps[-1].phases.get("processing")
        try:
            return await self.ask(ctx, "POST", path, **how)
        except Failed as error:
            is_sent = ctx.open_steps[-1].phases.get("processing") != before
            if is_sent and (not error.code or ctx.evidence_found.get("status") in _PERHAPS_DONE):
                why = f"{error.message}; nobody can say whether it was done"
                raise SubmissionUncertain(error.reason, why) from error
            raise

    async def remove(self, ctx: Context, path: str) -> None:
        """Delete a message or an event for good. No error where it is gone already.

        Where a cloud does not offer that (learn.microsoft.com/graph/api/message-permanentdelete lists those that do), it goes through the
        folders of what was deleted.
        """
        accept = (204, 404, *_NOT_OFFERED)
        if (await self.ask(ctx, "POST", f"{path}/permanentDelete", accept=accept, raw=True)).status == HTTPStatus.NO_CONTENT:
            return
        for _ in range(_DELETIONS):
            if (await self.ask(ctx, "DELETE", path, accept=(204, 404), raw=True)).status != HTTPStatus.NO_CONTENT:
                return
