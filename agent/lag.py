"""How late the event loop is, measured all the time.

A block of the loop lengthens every measurement that is open. A ticker wakes every 10 ms; the gap since its last wake is an upper bound of
any block in between, so no block of more than `LATE` seconds goes unseen.
"""

import asyncio
from collections.abc import Callable
from time import perf_counter

TICK = 0.010
LATE = 0.020
"""A run that was open while the loop stood still for longer than this is tainted."""


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
        self._last = now
        self._timer = asyncio.get_running_loop().call_later(TICK, self._tick)
