"""Blocking work on things that may hang, such as files of a dead network share, in threads that nobody has to wait for.

Work on one thing is done in order, each piece in a daemon thread of its own; work on another does not wait for it. At the end of the
process what is still being done has a second.
"""

import asyncio
import atexit
from collections.abc import Callable, Hashable
from functools import partial
from threading import Thread
from time import monotonic
from types import TracebackType
from typing import Any, Generic, TypeVar
from weakref import WeakSet

from probes.core.contract import Inconclusive
from probes.core.reasons import Reason

MOST_WAITING = 50
"""Pieces of work that may wait behind one that hangs."""

_LAST_SECONDS = 1.0

T = TypeVar("T")

_threads: WeakSet[Thread] = WeakSet()


class Turns:
    """Turns at things. `name` is that of the threads."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._last: dict[Hashable, asyncio.Task[Any]] = {}
        self._waiting: dict[Hashable, int] = {}

    async def take(self, thing: Hashable, work: Callable[[], T], seconds: float | None) -> T:
        """Do the work when it is its turn, and return what it returns. After `seconds`, if any, it goes on alone.

        Raises:
            TimeoutError: where that was too long, or too much waits already.
            Inconclusive: AGENT_RESOURCES where there is no thread to be had.

        """
        if self._waiting.get(thing, 0) >= MOST_WAITING:
            raise TimeoutError
        task = asyncio.get_running_loop().create_task(self._after(self._last.get(thing), work))
        self._last[thing] = task
        self._waiting[thing] = self._waiting.get(thing, 0) + 1
        task.add_done_callback(partial(self._end, thing))
        done, _ = await asyncio.wait({task}, timeout=seconds)
        if not done:
            raise TimeoutError
        return task.result()

    async def _after(self, before: "asyncio.Task[Any] | None", work: Callable[[], T]) -> T:
        if before is not None:
            await asyncio.wait({before})
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[_Done[T]] = loop.create_future()
        thread = Thread(target=_do, args=(work, partial(_tell, loop, ended)), name=self._name, daemon=True)
        _threads.add(thread)
        try:
            thread.start()
        except RuntimeError as error:
            raise Inconclusive(Reason.AGENT_RESOURCES, "no thread can be started") from error
        return (await ended).outcome()

    def _end(self, thing: Hashable, task: "asyncio.Task[Any]") -> None:
        if not task.cancelled():
            # Whoever waited may have gone; nothing is to be said of it then.
            task.exception()
        self._waiting[thing] -= 1
        if not self._waiting[thing]:
            del self._last[thing], self._waiting[thing]


class _Done(Generic[T]):
    """What came of work: its result, or its error."""

    result: T
    error: BaseException | None = None

    def __enter__(self) -> "_Done[T]":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        self.error = error
        return True

    def outcome(self) -> T:
        if self.error is not None:
            raise self.error
        return self.result


def _do(work: Callable[[], T], tell: Callable[["_Done[T]"], None]) -> None:
    with _Done[T]() as done:
        done.result = work()
    tell(done)


def _tell(loop: asyncio.AbstractEventLoop, ended: "asyncio.Future[_Done[T]]", done: "_Done[T]") -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(_settle, ended, done)


def _settle(ended: "asyncio.Future[_Done[T]]", done: "_Done[T]") -> None:
    if not ended.done():
        ended.set_result(done)


@atexit.register
def _let_finish() -> None:
    """Give what is being written a moment: a refresh token may be good only once."""
    until = monotonic() + _LAST_SECONDS
    for thread in tuple(_threads):
        if thread.is_alive():
            thread.join(max(until - monotonic(), 0.0))
