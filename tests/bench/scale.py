"""Part `simulated`: what a pass costs the daemon with 100, 1,000 and 10,000 simulated guests."""

from __future__ import annotations

import json
import subprocess

from tests.bench.figures import Report, at_most
from tests.bench.ground import python

#: Guests, and seconds between polls: the same passes a second for all, so that only the number of guests differs.
SIZES = {100: 0.2, 1000: 2.0, 10_000: 20.0}
#: Seconds that the steady state is measured.
STEADY = 8.0
#: Seconds until a run of that many guests has surely ended: 20 ms a guest for the start.
PATIENCE = 60.0


def run(report: Report) -> None:
    found = {guests: _one(guests, interval, report) for guests, interval in SIZES.items()}
    least, most = min(SIZES), max(SIZES)
    report.add(
        "simulated.pass_ms",
        found[most]["pass_cpu"] * 1000,
        "ms",
        "daemon CPU of an unchanged pass, timers and all, 10,000 guests",
        at_most(1.0),
    )
    report.add(
        "simulated.growth",
        _minute(found[most], most) / _minute(found[least], least),
        "",
        "CPU a guest and minute (6 passes, its part of comparing and flushing), 10,000 guests to 100",
        at_most(1.2),
    )
    report.add(
        "simulated.compare_ms",
        found[most]["minute_cpu"] * 1000,
        "ms",
        "CPU of one full comparison and one flush of contact times, 10,000 guests",
    )
    report.add("simulated.cold_seconds", found[most]["cold_seconds"], "s", "empty store to a full map, 10,000 guests")
    report.add(
        "simulated.cold_guests_per_second",
        most / found[most]["cold_seconds"],
        "/s",
        "guests learned per second at a cold start (each asked some 15 times, and verified)",
    )
    report.add(
        "simulated.memory_mb",
        found[most]["memory_mb"] / most * 1000,
        "MB",
        "resident memory that 1,000 guests of two NICs add",
    )


def _minute(figures: dict[str, float], guests: int) -> float:
    """CPU seconds that one guest costs in a minute at poll.interval 10."""
    return 6 * figures["pass_cpu"] + figures["minute_cpu"] / guests


def _one(guests: int, interval: float, report: Report) -> dict[str, float]:
    report.say(f"{guests} simulated guests")
    program = ["-m", "tests.bench.simulated", str(guests), str(interval), str(STEADY)]
    with python(*program, quiet=True) as process:
        try:
            words, _ = process.communicate(timeout=PATIENCE + guests * 0.02)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    if process.returncode:
        raise RuntimeError(f"failed with {process.returncode}; see: python {' '.join(program)}")
    figures: dict[str, float] = json.loads(words)
    return figures
