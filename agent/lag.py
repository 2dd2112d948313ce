"""How late the event loop is, measured all the time.

A block of the loop lengthens every measurement that is open. A ticker wakes every 10 ms; the gap since its last wake is an upper bound of
any block in between, so no block of more than `LATE` seconds goes unseen.
"""

import asyncio
import logging
from collections.abc import Callable
from time import perf_counter

log = logging.getLogger("fogbell.machine")

TICK = 0.010
LATE = 0.020
"""A run that was open while the loop stood still for longer than this is tainted."""
STOOD_STILL = 1.0
"""From so many seconds on it is logged: the process was stopped, or the machine starved it."""


class Lag:
    """The loop's lag: the latest late moment, and every gap handed to `observe` in seconds beyond the tick."""

    def __init__(self, observe: Callable[[float], None]) -> None:
        self._observe = observe
        self._latest_late = float("-inf")
        self._last = perf_counter()
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to tick on the running loop."""
        self._last = perf_counter()
        self._timer = asyncio.get_running_loop().call_later(TICK, self._tick)

    def stop(self) -> None:
        """Stop ticking."""
        if self._timer is not None:
            self._timer.cancel()

    def late_since(self, moment: float) -> bool:
        """Tell whether the loop was late at any time since `moment` (perf_counter), the present gap included."""
        return self._latest_late >= moment or self._stands_still(perf_counter())

    def _stands_still(self, now: float) -> bool:
        return now - self._last > LATE

    def _tick(self) -> None:
        now = perf_counter()
        self._observe(max(0.0, now - self._last - TICK))
        if self._stands_still(now):
            self._latest_late = now
            if now - self._last > STOOD_STILL:
                log.warning("the agent stood still for %.1f s; the runs of that time are tainted", now - self._last)
        self._last = now
        self._timer = asyncio.get_running_loop().call_later(TICK, self._tick)
