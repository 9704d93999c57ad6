"""The `Clock` port on this machine's clocks."""

from __future__ import annotations

import time
from datetime import UTC, datetime


class SystemClock:
    """`monotonic` is CLOCK_BOOTTIME: unlike time.monotonic it goes on while the host sleeps, so that ages are honest
    after a suspend."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)
