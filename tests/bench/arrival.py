"""How soon after a server's EXISTS a letter is seen: by us (IDLE), and by a loop that asks every five seconds, as most others do."""

import asyncio
import random
from contextlib import suppress
from dataclasses import dataclass, field
from time import perf_counter

from probes.core.context import Context, Shared
from probes.lib.mail.imap import ImapReceive, mailbox
from probes.lib.mail.letter import Letter, Template, mime, new_letter
from tests.bench.inbox import Inboxes
from tests.probes.pages import lookup, read

POLLING_SECONDS = 5.0
_LETTERS = 40


@dataclass(slots=True)
class Seen:
    """Seconds from EXISTS until each letter was seen, and until its headers had been read as well, by us; until it was seen by polling."""

    told: list[float] = field(default_factory=list)
    read: list[float] = field(default_factory=list)
    polled: list[float] = field(default_factory=list)


async def arrivals() -> Seen:
    """Let letters arrive at random moments, each in an inbox of its own that both wait for."""
    seen, inboxes = Seen(), Inboxes()
    async with inboxes.serving() as (_, port):
        moments = [random.uniform(0.5, 0.5 + 2 * POLLING_SECONDS) for _ in range(_LETTERS)]  # noqa: S311 - no secret
        async with asyncio.TaskGroup() as all_of_them:
            for n, moment in enumerate(moments):
                all_of_them.create_task(_both(seen, inboxes, port, f"user{n}", moment))
    return seen


async def _both(seen: Seen, inboxes: Inboxes, port: int, user: str, moment: float) -> None:
    letter = new_letter("bench", "probe1@contoso.example", "probe2@contoso.example", Template())
    async with asyncio.TaskGroup() as both:
        both.create_task(_ours(seen, inboxes, port, user, letter))
        both.create_task(_polling(seen, inboxes, port, user))
        await asyncio.sleep(moment)
        inboxes.of(user).put(mime(letter))


async def _ours(seen: Seen, inboxes: Inboxes, port: int, user: str, letter: Letter) -> None:
    settings = ImapReceive(via="imap", host="127.0.0.1", port=port, security="none", username=user, password={"env": "any"})
    ctx, box = Context("bench", Shared(lookup, read)), mailbox(settings)
    with ctx.step("sign_in"):
        await box.open(ctx)
    with ctx.step("transit"):
        found = await box.arrival(ctx, letter, perf_counter() + 60)
    if found is None:
        raise RuntimeError("a letter that arrived was not seen; the figure would be worth nothing")
    seen.read.append(perf_counter() - inboxes.of(user).told)
    seen.told.append(found.seen - inboxes.of(user).told)
    await box.close()


async def _polling(seen: Seen, inboxes: Inboxes, port: int, user: str) -> None:
    """Ask every five seconds, from a random moment on."""
    await asyncio.sleep(random.uniform(0, POLLING_SECONDS))  # noqa: S311 - no secret
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"a LOGIN {user} any\r\nb SELECT INBOX\r\n".encode())
    while True:
        writer.write(b"c NOOP\r\n")
        if b"* 1 EXISTS" in await reader.readuntil(b"c OK"):
            break
        await asyncio.sleep(POLLING_SECONDS)
    seen.polled.append(perf_counter() - inboxes.of(user).told)
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()
