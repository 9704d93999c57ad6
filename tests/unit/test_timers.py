"""Timers on APScheduler: moved by their name, used again after they have run, ended, and not fooled by the clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from nicmapd.timers import Timers
from tests.unit.test_watch import run, until


@asynccontextmanager
async def running() -> AsyncIterator[Timers]:
    timers = Timers()
    timers.start()
    try:
        yield timers
    finally:
        timers.stop()


@run
async def test_a_timer_calls_back_once_for_each_time_that_it_is_started() -> None:
    async with running() as timers:
        called: list[int] = []
        for number in range(3):
            timers.once("web1", 0.01, partial(called.append, number))
            await until(partial(called.__contains__, number))
        await asyncio.sleep(0.05)
        assert called == [0, 1, 2]


@run
async def test_a_timer_that_is_started_again_moves_and_calls_the_newest_callback() -> None:
    async with running() as timers:
        called: list[str] = []
        timers.once("web1", 0.02, lambda: called.append("first"))
        timers.once("db1", 0.04, lambda: called.append("other"))
        timers.once("web1", 0.08, lambda: called.append("second"))
        await until(lambda: len(called) == 2)
        assert called == ["other", "second"]


@run
async def test_a_callback_may_start_its_own_timer_again() -> None:
    async with running() as timers:
        called: list[int] = []

        def again() -> None:
            called.append(len(called))
            if len(called) < 5:
                timers.once("web1", 0.0, again)

        timers.once("web1", 0.0, again)
        await until(lambda: called == [0, 1, 2, 3, 4])


@run
async def test_a_cancelled_timer_is_gone_and_its_name_is_free() -> None:
    async with running() as timers:
        called: list[str] = []
        timers.once("web1", 0.02, lambda: called.append("cancelled"))
        timers.cancel("web1")
        timers.cancel("web1")
        await asyncio.sleep(0.05)
        assert called == []
        timers.once("web1", 0.0, lambda: called.append("new"))
        await until(lambda: called == ["new"])
