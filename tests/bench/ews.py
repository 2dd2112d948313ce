"""Memory of the process that speaks EWS over 2,000 runs, and the requests for tokens that they make.

A run opens the mailbox and looks for a letter that is not there; each hundredth is refused, as where EWS is switched off.
"""

from contextlib import suppress
from pathlib import Path

from agent.drill.ews import Policy
from probes.core.contract import Failed
from probes.lib.mail.ends import Folder
from probes.lib.mail.ews import ends
from probes.lib.mail.ews.settings import EwsReceive
from probes.lib.mail.ews.workers import Limits
from tests.bench.figures import Figure
from tests.fakes.exchange import RECIPIENT, Exchange, simulated

RUNS, WARM, EVERY = 2_000, 200, 100
_LEVEL = 1.05


async def measure(folder: Path, _seconds: float) -> list[Figure]:
    """Return the memory after all runs against that after some, and the requests for tokens."""
    async with simulated(folder, Limits(runs=10 * RUNS)) as exchange:
        warm = await _ran(exchange, WARM)
        end = await _ran(exchange, RUNS - WARM)
        tokens = exchange.heard.tokens
    return [
        Figure("ews", f"memory of the process after {RUNS:,} runs", end / 1024, warm / 1024, f"after {WARM} runs", "MiB", _LEVEL),
        Figure("ews", f"requests for tokens in {RUNS:,} runs, 1 in {EVERY} refused", tokens, 1, "one token", "requests"),
    ]


async def _ran(exchange: Exchange, runs: int) -> int:
    """Run so often, and return the memory in KiB."""
    policy, box = exchange.world.of(Policy), ends.EwsMailbox(EwsReceive(via="ews", mailbox=RECIPIENT), RECIPIENT)
    for number in range(runs):
        policy.enabled = number % EVERY != EVERY - 1
        with suppress(Failed):
            await box.open(exchange.run())
            await box.find(exchange.run(), ["0" * 32], [Folder.INBOX])
        for noted in (exchange.heard.requests, exchange.heard.answers, exchange.heard.headers):
            noted.clear()
    return next(iter(exchange.workers._kept.values())).kib
