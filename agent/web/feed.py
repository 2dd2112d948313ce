"""Finished runs on their way to those who listen. A listener that is too slow loses runs and is told how many; it never holds them up."""

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

QUEUED_RUNS = 1000
"""Runs kept for one listener."""


class Subscription:
    """One listener's queue."""

    def __init__(self) -> None:
        self._records: deque[bytes] = deque()
        self._lost = 0
        self._arrived = asyncio.Event()
        self.closed = False

    def put(self, record: bytes) -> None:
        """Queue a record, or count it as lost."""
        if len(self._records) < QUEUED_RUNS:
            self._records.append(record)
        else:
            self._lost += 1
        self._arrived.set()

    def close(self) -> None:
        """Say that nothing more will come."""
        self.closed = True
        self._arrived.set()

    async def take(self, seconds: float) -> bytes:
        """Return what came as lines of JSON, or one empty line when nothing came within `seconds`.

        Where runs were lost, the last line counts them: `{"lost":17}`.
        """
        try:
            async with asyncio.timeout(seconds):
                await self._arrived.wait()
        except TimeoutError:
            return b"\n"
        self._arrived.clear()
        lines = [*self._records, *([b'{"lost":%d}' % self._lost] if self._lost else [])]
        self._records.clear()
        self._lost = 0
        return b"".join([line + b"\n" for line in lines])


class Feed:
    """All listeners of one agent."""

    def __init__(self) -> None:
        self._subscriptions: list[Subscription] = []
        self._closed = False

    def __len__(self) -> int:
        return len(self._subscriptions)

    def publish(self, record: bytes) -> None:
        """Hand a finished run, as `agent.record.encode` made it, to every listener."""
        for subscription in self._subscriptions:
            subscription.put(record)

    @contextmanager
    def subscribe(self) -> Iterator[Subscription]:
        """Listen as long as the block runs."""
        subscription = Subscription()
        subscription.closed = self._closed
        self._subscriptions.append(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.remove(subscription)

    def close(self) -> None:
        """Let all listeners go: the agent ends."""
        self._closed = True
        for subscription in self._subscriptions:
            subscription.close()
