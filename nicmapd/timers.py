"""Timers on APScheduler: one-shot per VM, periodic for the host. They only call back; they never do the work.

What shapes this (APScheduler 3.11): its default grace of 1 s skips late runs silently, so there is none here; its usual
executors are a thread pool, which a few hung calls would exhaust, and a task for each run, which costs more than all
that is done in it, so jobs run where they fall due and only hand their callback to the event loop; it computes with
wall-clock times, so a clock that is set back would stop all polling until the old time has come again, and
`_watch_clock` moves the jobs back with it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from apscheduler.executors.debug import DebugExecutor
from apscheduler.job import Job
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.interval import IntervalTrigger

_log = logging.getLogger(__name__)

#: How often the wall clock is compared with the monotonic one, and which step back counts. Seconds.
CLOCK_CHECK_SECONDS = 2.0
CLOCK_STEP_SECONDS = 0.5

#: Far enough away for a job that waits to be given its next time, and near enough to be shifted.
_NEVER = datetime(9000, 1, 1, tzinfo=UTC)


class _Parking(BaseTrigger):  # type: ignore[misc]
    """Keeps a job that has run, for its next time: to make a new one costs more than all the rest of a timer."""

    def get_next_fire_time(self, _previous: datetime | None, _now: datetime) -> datetime:
        return _NEVER


class _Scheduler(AsyncIOScheduler):  # type: ignore[misc]
    """Looks for what is due once in a turn of the loop, however many timers were moved in it. APScheduler would look,
    and wake the loop by a system call, for each of them."""

    _woken = False

    def wakeup(self) -> None:
        if not self._woken and self._eventloop is not None:
            self._woken = True
            self._eventloop.call_soon(self._look)

    def _look(self) -> None:
        self._woken = False
        if self._eventloop is not None:  # else it was shut down in this turn
            self._stop_timer()
            self._start_timer(self._process_jobs())


class Timers:
    """Named timers; starting one again under its name moves it. Use from the event loop's thread only."""

    def __init__(self) -> None:
        # Its INFO lines tell of every job added and run: noise here.
        logging.getLogger("apscheduler").setLevel(logging.WARNING)
        self._scheduler = _Scheduler(
            timezone=UTC,
            executors={"default": DebugExecutor()},
            job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1},
        )
        self._loop = asyncio.get_running_loop()
        self._once: dict[str, Job] = {}
        self._callbacks: dict[str, Callable[[], None]] = {}
        self._clock_check: asyncio.TimerHandle | None = None
        self._offset = 0.0

    def start(self) -> None:
        self._scheduler.start()
        self._offset = self._wall_minus_monotonic()
        self._watch_clock()

    def stop(self) -> None:
        """Ends all timers, for good. No error if that has been done."""
        if self._clock_check is not None:
            self._clock_check.cancel()
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)

    def once(self, name: str, seconds: float, callback: Callable[[], None]) -> None:
        """Calls back after `seconds`."""
        when = datetime.now(UTC) + timedelta(seconds=max(0.0, seconds))
        self._callbacks[name] = callback
        job = self._once.get(name)
        if job is not None:
            job.modify(next_run_time=when)
            return
        self._once[name] = self._scheduler.add_job(
            self._fire,
            _Parking(),
            args=(name,),
            id=name,
            name=name,
            next_run_time=when,
            replace_existing=True,
        )

    def _fire(self, name: str) -> None:
        # Not called here: it may start its own timer anew, and APScheduler still has to park it.
        self._loop.call_soon(self._call_once, name)

    def _call_once(self, name: str) -> None:
        callback = self._callbacks.pop(name, None)
        if callback is not None:
            callback()

    def every(self, name: str, seconds: float, callback: Callable[[], None]) -> None:
        """Calls back every `seconds`, the first time after that long."""
        self._scheduler.add_job(
            self._loop.call_soon,
            IntervalTrigger(seconds=max(1, round(seconds))),
            args=(callback,),
            id=name,
            name=name,
            replace_existing=True,
        )

    def cancel(self, name: str) -> None:
        """Ends a timer. No error if there is none of that name."""
        self._once.pop(name, None)
        self._callbacks.pop(name, None)
        if self._scheduler.get_job(name) is not None:
            self._scheduler.remove_job(name)

    @staticmethod
    def _wall_minus_monotonic() -> float:
        return datetime.now(UTC).timestamp() - asyncio.get_running_loop().time()

    def _watch_clock(self) -> None:
        offset = self._wall_minus_monotonic()
        step = offset - self._offset
        if step < -CLOCK_STEP_SECONDS:
            _log.warning("the clock was set back by %.1f s; timers follow", -step)
            for job in self._scheduler.get_jobs():
                self._shift(job, step)
        self._offset = offset
        self._clock_check = asyncio.get_running_loop().call_later(CLOCK_CHECK_SECONDS, self._watch_clock)

    @staticmethod
    def _shift(job: Any, seconds: float) -> None:
        if job.next_run_time is not None:
            job.modify(next_run_time=job.next_run_time + timedelta(seconds=seconds))
