"""Part `idle`: what the installed daemon costs when nothing happens, with two guests at poll.interval 10."""

from __future__ import annotations

import time

from tests.bench.figures import Report, at_most
from tests.bench.ground import Ground, cpu_seconds, resident_mb

#: Seconds until the settling series of the start is over, and seconds that are measured: whole polls.
SETTLING = 12.0
MEASURED = 30.0


def run(report: Report, ground: Ground) -> None:
    guests = ground.only(2)
    with ground.daemon(guests, {"poll.interval": "10", "log.level": "info"}) as daemon:
        assert daemon.process is not None
        pid = daemon.process.pid
        time.sleep(SETTLING)
        report.say(f"{MEASURED:g} s of nothing")
        before, started = cpu_seconds(pid), time.monotonic()
        time.sleep(MEASURED)
        spent, took = cpu_seconds(pid) - before, time.monotonic() - started
        resident = resident_mb(pid)
    report.add("idle.cpu", spent / took * 100, "%", "of one core, 2 guests, poll.interval 10", at_most(1.0))
    report.add("idle.memory_mb", resident, "MB", "resident memory of the daemon", at_most(130))
