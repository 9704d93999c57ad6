"""Part `simulated`: what a pass costs the daemon with 100, 1,000 and 10,000 simulated guests.

They start one after the other, the cold starts being measured; then they poll in turns, the others being stopped: side
by side they would take the caches from each other, and the largest, which needs them most, would pay for all.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess

from tests.bench.figures import Report, at_most, median
from tests.bench.ground import python

#: Guests, and seconds between polls: the same passes a second for all, so that only the number of guests differs.
SIZES = {100: 0.2, 1000: 2.0, 10_000: 20.0}
ROUNDS = 3
#: Seconds of each round.
STEADY = 4.0


def run(report: Report) -> None:
    with contextlib.ExitStack() as stack:
        runs = {}
        for guests, interval in SIZES.items():
            report.say(f"{guests} simulated guests start")
            runs[guests] = stack.enter_context(_Simulation(guests, interval))
            runs[guests].answer()  # the first one, of the settling series that follows a start
            runs[guests].stop()
        report.say("they poll in turns")
        rounds = [{guests: simulation.turn() for guests, simulation in runs.items()} for _ in range(ROUNDS)]
    _tell(report, rounds, runs[max(SIZES)].cold)


def _tell(report: Report, rounds: list[dict[int, dict[str, float]]], cold: dict[str, float]) -> None:
    least, most = min(SIZES), max(SIZES)
    for guests in SIZES:
        report.add(
            f"simulated.pass_{guests}_ms",
            median([one[guests]["pass_cpu"] for one in rounds]) * 1000,
            "ms",
            f"daemon CPU of an unchanged pass, timers and all, {guests} guests",
            at_most(1.0) if guests == most else None,
        )
    report.add(
        "simulated.growth",
        median([_minute(one[most], most) / _minute(one[least], least) for one in rounds]),
        "",
        f"CPU a guest and minute (6 passes, its part of comparing and flushing), {most} guests to {least}",
        at_most(1.2),
    )
    report.add(
        "simulated.compare_ms",
        median([one[most]["minute_cpu"] for one in rounds]) * 1000,
        "ms",
        f"CPU of one full comparison and one flush of contact times, {most} guests",
    )
    report.add("simulated.cold_seconds", cold["cold_seconds"], "s", f"empty store to a full map, {most} guests")
    report.add(
        "simulated.cold_guests_per_second",
        most / cold["cold_seconds"],
        "/s",
        "guests learned per second at a cold start (each asked some 15 times, and verified)",
    )
    report.add(
        "simulated.memory_mb",
        rounds[-1][most]["memory_mb"] / most * 1000,
        "MB",
        "resident memory that 1,000 guests of two NICs add",
    )


def _minute(figures: dict[str, float], guests: int) -> float:
    """CPU seconds that one guest costs in a minute at poll.interval 10."""
    return 6 * figures["pass_cpu"] + figures["minute_cpu"] / guests


class _Simulation:
    """tests.bench.simulated in a process of its own, started cold."""

    def __init__(self, guests: int, interval: float) -> None:
        self._program = ["-m", "tests.bench.simulated", str(guests), str(interval)]
        self._process = python(*self._program, quiet=True)
        self.cold = self.answer()
        self.ask(1.0)

    def __enter__(self) -> _Simulation:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGCONT)
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def stop(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def turn(self) -> dict[str, float]:
        """The figures of one turn, once what had waited for it is done."""
        self._process.send_signal(signal.SIGCONT)
        self.ask(STEADY)
        found = self.answer()
        self.stop()
        return found

    def ask(self, seconds: float) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{seconds}\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, float]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"it ended; see: python {' '.join(self._program)}")
        found: dict[str, float] = json.loads(line)
        return found
