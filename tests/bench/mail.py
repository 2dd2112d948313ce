"""Goals of mail: how soon an arrival is seen, and what a round trip costs beside prometheus-mailexporter with the same servers.

Mailexporter submits as we do, with STARTTLS and a login, and then watches a Maildir on the same machine; we log in to IMAP, wait with IDLE,
read the headers and remove the letter, and keep a ledger on disk. The ratio says what that costs.
"""

import asyncio
import statistics
import time
from pathlib import Path

import aiohttp

from probes.core.context import Context
from probes.lib.mail.imap import ImapReceive
from probes.lib.mail.imap import mailbox as imap_mailbox
from probes.lib.mail.letter import Template, new_letter
from probes.lib.mail.smtp import SmtpSend, outbox
from tests.bench.arrival import POLLING_SECONDS, arrivals
from tests.bench.cost import runs_ok, still_true
from tests.bench.figures import Figure
from tests.bench.mailexporter import delivered, in_full_swing, mailexporter
from tests.bench.processes import agent, program
from tests.real.mail.ends import Settings, address, fresh, imap, submission, write_configuration
from tests.real.mail.pair import Pair, pair

_NAMES = ["probe1", "probe2", "probe3", "probe4"]
_INTERVAL = 2.0
_DOVECOT_LETTERS = 15
_CPU_LIMIT, _MEMORY_LIMIT = 10.0, 10.0


async def measure(folder: Path, seconds: float) -> list[Figure]:
    """Return the figures of arrivals and of costs."""
    for name in ("postfix", "dovecot", "mailexporter"):
        program(name)
    seen = await arrivals()
    told, read, polled = (statistics.median(values) for values in (seen.told, seen.read, seen.polled))
    with pair() as mail:
        behind = await _behind_dovecot(mail)
        costs = await _costs(folder, mail, seconds)
    return [
        Figure("9 mail", "EXISTS until seen, median", told * 1000, 5.0, "bound", "ms"),
        Figure("9 mail", "EXISTS until its headers are read as well, median", read * 1000, 5.0, "bound", "ms"),
        Figure("9 mail", f"EXISTS until seen, against polling at {POLLING_SECONDS:g} s", told * 1000, polled * 1000, "polling", "ms", 0.01),
        Figure("9 mail", "Dovecot's log until seen, worst", behind, 0.6, "bound", "s"),
        *costs,
    ]


async def _behind_dovecot(mail: Pair) -> float:
    """Return the longest time in seconds from Dovecot's own word that a letter is stored until it was seen."""
    await asyncio.gather(*(_letter_behind_dovecot(mail, name) for name in _NAMES))
    return max([await _letter_behind_dovecot(mail, _NAMES[n % len(_NAMES)]) for n in range(_DOVECOT_LETTERS)])


async def _letter_behind_dovecot(mail: Pair, name: str) -> float:
    ctx, letter = Context("bench", fresh()), new_letter("bench", address(name), address(name), Template())
    box = imap_mailbox(ImapReceive.model_validate(imap(mail, name)))
    with ctx.step("sign_in"):
        await box.open(ctx)
    with ctx.step("submit"):
        await outbox(SmtpSend.model_validate(submission(mail, name))).submit(ctx, letter)
    with ctx.step("transit"):
        found = await box.arrival(ctx, letter, time.perf_counter() + 10)
    if found is None:
        raise RuntimeError("a letter did not arrive; the figure would be worth nothing")
    seen = time.time() - (time.perf_counter() - found.seen)
    await box.remove(ctx, [found])
    await box.close()
    stored = next(line for line in mail.dovecot.log().splitlines() if letter.message_id in line and "stored mail into" in line)
    return seen - float(stored.split()[0])


async def _costs(folder: Path, mail: Pair, seconds: float) -> list[Figure]:
    """Return CPU per round trip and memory, ours first, because that makes the folders that the peer watches."""
    ours, our_memory = await _ours(folder, mail, seconds)
    peer, peer_memory = await _peer(folder, mail, seconds)
    return [
        Figure("9 mail", "CPU per round trip, SMTP to IMAP", ours, peer, "mailexporter", "ms", _CPU_LIMIT),
        Figure("9 mail", "memory after these round trips", our_memory, peer_memory, "mailexporter", "MB", _MEMORY_LIMIT),
    ]


async def _ours(folder: Path, mail: Pair, seconds: float) -> tuple[float, float]:
    config = folder / "mail.yml"
    probes: dict[str, Settings] = {name: {"send": submission(mail, name), "receive": imap(mail, name)} for name in _NAMES}
    write_configuration(config, probes, f"{{interval: {_INTERVAL}s, timeout: {_INTERVAL}s}}")
    with agent(config, folder) as (process, url):
        async with aiohttp.ClientSession() as session:
            await asyncio.sleep(2 * _INTERVAL)
            runs, before = await runs_ok(session, url), process.cpu_seconds()
            await asyncio.sleep(seconds)
            spent, done = process.cpu_seconds() - before, await runs_ok(session, url) - runs
            memory = process.rss_bytes()
    still_true(done + 1, len(_NAMES) / _INTERVAL * seconds)
    return spent / done * 1e3, memory / 1e6


async def _peer(folder: Path, mail: Pair, seconds: float) -> tuple[float, float]:
    with mailexporter(folder, mail, _NAMES, _INTERVAL) as (process, url):
        await in_full_swing(url, len(_NAMES))
        found, before = sum(await delivered(url)), process.cpu_seconds()
        await asyncio.sleep(seconds)
        spent, done = process.cpu_seconds() - before, sum(await delivered(url)) - found
        memory = process.rss_bytes()
    still_true(done + 1, len(_NAMES) / _INTERVAL * seconds)
    return spent / done * 1e3, memory / 1e6
