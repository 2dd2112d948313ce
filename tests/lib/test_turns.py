"""Blocking work in threads that nobody has to wait for."""

import asyncio
import threading

import pytest

from probes.lib.turns import MOST_WAITING, Turns


async def test_work_on_one_thing_is_done_in_order_and_work_on_another_beside_it() -> None:
    turns, first, done = Turns("test"), threading.Event(), list[str]()

    def beside() -> None:
        done.append("beside")
        first.set()

    def second() -> None:
        done.append("second")

    await asyncio.gather(turns.take("a", first.wait, None), turns.take("a", second, None), turns.take("b", beside, None))
    assert done == ["beside", "second"]


async def test_an_error_comes_to_who_waits_and_spoils_no_later_turn() -> None:
    turns = Turns("test")
    with pytest.raises(ZeroDivisionError):
        await turns.take("a", lambda: 1 // 0, None)
    assert await turns.take("a", lambda: 5, None) == 5


async def test_behind_work_that_hangs_only_so_much_may_wait() -> None:
    turns, end = Turns("test"), threading.Event()
    waiting = [asyncio.create_task(turns.take("a", end.wait, None)) for _ in range(MOST_WAITING)]
    await asyncio.sleep(0)
    with pytest.raises(TimeoutError):
        await turns.take("a", end.wait, None)
    end.set()
    await asyncio.gather(*waiting)
    assert await turns.take("a", end.wait, None)
