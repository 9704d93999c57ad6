"""Deadlines and waits: every wait of the lab ends, in success or in an error that says what did not happen."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

# A compromise: well under what a person or a test budget notices, far above what would load two cores.
POLL_PAUSE = 0.02


class LabTimeout(AssertionError):
    """Something did not happen in time. An AssertionError, so that pytest shows it as a failed test."""


class Deadline:
    """A point in time, made from seconds from now."""

    def __init__(self, within: float) -> None:
        self.within = within
        self._end = time.monotonic() + within

    @property
    def left(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self._end - time.monotonic())

    @property
    def over(self) -> bool:
        return time.monotonic() >= self._end


def eventually(check: Callable[[], T], *, within: float = 5.0, what: str = "") -> T:
    """Return the first true value of `check`, asking again until `within` seconds have passed.

    An AssertionError raised by `check` counts as "not yet". Raises LabTimeout, which names `what` (or the check),
    the last value seen and the last assertion.
    """
    deadline = Deadline(within)
    while True:
        last: object
        try:
            value = check()
            if value:
                return value
            last = value
        except AssertionError as error:
            last = error
        if deadline.over:
            name = what or getattr(check, "__qualname__", repr(check))
            raise LabTimeout(f"not within {within:g} s: {name}; last seen: {last!r}")
        time.sleep(min(POLL_PAUSE, deadline.left))
