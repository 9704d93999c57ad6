"""Part `hung`: what hung agents cost the healthy guests, and other users of the same libvirtd.

The same quarter of the guests stays healthy all the time; with none, a quarter and three quarters of the guests hung,
their ages are read from the API as any client sees them, and virsh is timed as an operator would feel it.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Sequence
from functools import partial

from tests.bench.figures import Report, at_most, median, percentile
from tests.bench.ground import Ground, until_quiet, virsh
from tests.lab.guest import Guest
from tests.lab.nicmapd import Nicmapd
from tests.lab.waiting import eventually

INTERVAL = 1.0
SETTINGS = {"poll.interval": f"{INTERVAL:g}"}
#: Seconds in which ages are read, and virsh is called.
MEASURED = 12.0
PAUSE = 0.02
SHARES = (0, 25, 75)


def run(report: Report, ground: Ground) -> None:
    guests = ground.guests(ground.most)
    healthy = guests[: max(1, len(guests) // 4)]
    others = guests[len(healthy) :]
    until_quiet(report)
    report.say(f"virsh with no daemon, {MEASURED / 2:g} s")
    idle = [_virsh(ground, healthy, MEASURED / 2)]
    onset: list[float] = []
    ages: dict[int, list[float]] = {}
    times: dict[int, dict[str, list[float]]] = {}
    try:
        with ground.daemon(guests, SETTINGS) as daemon:
            for share in SHARES:
                with _Ages(daemon, healthy) as reader:
                    _hang(others[: len(guests) * share // 100], daemon)
                onset += reader.seen
                report.say(f"{share} % of {len(guests)} guests hung, {MEASURED:g} s")
                with _Ages(daemon, healthy) as reader:
                    times[share] = _virsh(ground, healthy, MEASURED)
                ages[share] = reader.seen
                report.add(f"hung.age_{share}_p50", median(ages[share]), "s", f"age of healthy guests, {share} % hung")
                report.add(f"hung.age_{share}_p99", percentile(ages[share], 99), "s", f"age p99, {share} % hung")
            daemon.stop()
    finally:
        for guest in others:
            guest.run("killall -CONT qemu-ga")
    until_quiet(report)
    idle.append(_virsh(ground, healthy, MEASURED / 2))
    report.add("hung.age_onset_worst", max(onset), "s", "the oldest while half the guests hang at the same moment")
    _tell(report, ages, times, {name: idle[0][name] + idle[1][name] for name in idle[0]})


def _hang(guests: Sequence[Guest], daemon: Nicmapd) -> None:
    """Hangs the agents, and waits until the daemon knows of all."""
    for guest in guests:
        if daemon.vm(guest.name)["agent"]["state"] == "ok":
            guest.hang_agent()
    for guest in guests:
        eventually(partial(_unresponsive, daemon, guest.name), within=120, what=f"{guest.name} unresponsive")


def _unresponsive(daemon: Nicmapd, name: str) -> bool:
    return bool(daemon.vm(name)["agent"]["state"] == "unresponsive")


class _Ages:
    """Reads the ages of some guests from the API, again and again, in a thread."""

    def __init__(self, daemon: Nicmapd, guests: Sequence[Guest]) -> None:
        self.seen: list[float] = []
        self._daemon, self._guests = daemon, guests
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._read)

    def __enter__(self) -> _Ages:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _read(self) -> None:
        for guest in itertools.cycle(self._guests):
            if self._end.wait(PAUSE):
                return
            self.seen.append(float(self._daemon.vm(guest.name)["age"]))


def _virsh(ground: Ground, guests: Sequence[Guest], seconds: float) -> dict[str, list[float]]:
    """Seconds that `virsh list` and `virsh dumpxml` took, in turn, as processes of their own."""
    taken: dict[str, list[float]] = {"list": [], "dumpxml": []}
    ends, turn = time.monotonic() + seconds, itertools.cycle(guests)
    while time.monotonic() < ends:
        taken["list"].append(virsh(ground.lab.uri, "list"))
        taken["dumpxml"].append(virsh(ground.lab.uri, "dumpxml", next(turn).name))
        time.sleep(PAUSE)
    return taken


def _tell(
    report: Report,
    ages: dict[int, list[float]],
    times: dict[int, dict[str, list[float]]],
    idle: dict[str, list[float]],
) -> None:
    for share in SHARES[1:]:
        aim = at_most(1.2) if share == SHARES[-1] else None
        ratio = percentile(ages[share], 99) / percentile(ages[0], 99)
        report.add(f"hung.age_{share}_ratio", ratio, "", f"age p99 with {share} % hung to none hung", aim)
    for command in ("list", "dumpxml"):
        base = percentile(idle[command], 99)
        report.add(f"hung.{command}_idle_p99_ms", base * 1000, "ms", f"virsh {command}, no daemon")
        for share in (SHARES[0], SHARES[-1]):
            aim = at_most(2) if command == "dumpxml" else None
            ratio = percentile(times[share][command], 99) / base
            report.add(
                f"hung.{command}_{share}_ratio", ratio, "", f"virsh {command} p99 with {share} % hung to no daemon", aim
            )
