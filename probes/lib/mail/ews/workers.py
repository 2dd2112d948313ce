"""One process for each mailbox, kept between runs: `ctx.shared.part(Workers)`.

It is killed when a run is cancelled in the middle of something, whatever it was doing, and another is started when next one is needed. One
that has done much, or has grown, is replaced as well: libraries leak.
"""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from probes.core.context import Context
from probes.core.contract import Inconclusive, Stopped
from probes.core.reasons import Reason
from probes.lib.http import USER_AGENT
from probes.lib.mail.ews.calls import Calls, Site
from probes.lib.mail.ews.meaning import told
from probes.lib.mail.ews.process import Process, start
from probes.lib.mail.opened import clearer, opened

_QUEUE, _WORKER = "queue", "worker"
_START_SECONDS, _START_SHARE = 30.0, 0.8
_LONGEST_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What a process may come to."""

    runs: int = 2_000
    """Operations after which it is replaced."""
    kib: int = 256 << 10
    """Memory above which it is replaced, in KiB."""
    idle_seconds: float = 7_200.0
    """Time without anything to do after which it ends."""


class Workers:
    """The agent's processes that speak EWS."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ews")
        self._kept: dict[str, Process] = {}
        self._turns: dict[str, asyncio.Lock] = {}

    async def ask(self, ctx: Context, site: Site, mailbox: str, do: str, calls: Calls, **given: object) -> Any:
        """Have the mailbox's process do one thing, within an open step, and return what came of it.

        Raises:
            Failed, Inconclusive: whatever stands in the way.

        """
        who = _who(ctx, site, mailbox, self.limits)
        key = key_of(who)
        async with _turn(ctx, self._turns.setdefault(key, asyncio.Lock())):
            process = await self._process(ctx, key, who)
            try:
                answer = await _attempt(ctx, process, do, given, calls)
            except BaseException:
                if not process.free:
                    self._drop(key)
                raise
            finally:
                calls.close()
            if process.runs >= self.limits.runs or process.kib > self.limits.kib:
                self._drop(key)
        if "error" in answer:
            refusal = told(answer["error"], calls.without_secrets(answer["message"]), calls.back_off)
            raise clearer(ctx, site.url.authority, mailbox, refusal)
        opened(ctx, site.url.authority, mailbox)
        return answer["done"]

    def close(self) -> None:
        """End all processes at once."""
        for key in tuple(self._kept):
            self._drop(key)

    async def _process(self, ctx: Context, key: str, who: Mapping[str, object]) -> Process:
        process = self._kept.get(key)
        if process is not None and process.alive:
            return process
        for name in [name for name, kept in self._kept.items() if not kept.alive]:
            self._drop(name)
        ctx.tainted = True
        with ctx.phase(_WORKER):
            try:
                async with asyncio.timeout(min(_START_SECONDS, _START_SHARE * _left(ctx))):
                    process = self._kept[key] = await start(who, self._thread)
            except TimeoutError as error:
                raise Inconclusive(Reason.AGENT_RESOURCES, "the process that speaks EWS did not start in time") from error
        return process

    def _drop(self, key: str) -> None:
        if (process := self._kept.pop(key, None)) is not None:
            process.kill()


async def _attempt(ctx: Context, process: Process, do: str, given: Mapping[str, object], calls: Calls) -> dict[str, Any]:
    """Have one thing done. Where a call failed for a reason that is not of EWS, the process hears of it and is free again."""
    try:
        await calls.sign_in()
        return await process.ask(do, _left(ctx), given, calls.carry, lambda step: ctx.evidence("call", step))
    except Stopped:
        if process.alive and not process.free:
            await process.unwind()
        raise


def key_of(who: Mapping[str, object]) -> str:
    """Return what a process is kept under: one for each server, mailbox and login."""
    return hashlib.sha256(json.dumps(who).encode()).hexdigest()


def _left(ctx: Context) -> float:
    return max(min(ctx.deadline - perf_counter(), _LONGEST_SECONDS), 0.1)


def _who(ctx: Context, site: Site, mailbox: str, limits: Limits) -> dict[str, object]:
    """Say what the process has to know. A secret is among it only where the login is a talk that it has to lead: NTLM."""
    server = site.server
    ntlm = not server.with_token and server.login == "ntlm"
    return {
        "url": str(site.url),
        "mailbox": mailbox,
        "access": server.access,
        "ntlm": ntlm,
        "username": server.username,
        "password": ctx.secret(server.password) if ntlm and server.password else "",
        "user_agent": USER_AGENT,
        "idle_seconds": limits.idle_seconds,
    }


@asynccontextmanager
async def _turn(ctx: Context, lock: asyncio.Lock) -> AsyncIterator[None]:
    """Wait for other runs that use the same mailbox."""
    if lock.locked():
        ctx.tainted = True
    with ctx.phase(_QUEUE) if lock.locked() else nullcontext():
        await lock.acquire()
    try:
        yield
    finally:
        lock.release()
