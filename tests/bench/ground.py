"""What the parts stand on: one lab whose guests are booted as they are needed, daemons on it, and /proc."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from tests.bench.figures import Report
from tests.lab.definitions import Nic
from tests.lab.guest import Guest
from tests.lab.host import LabHost
from tests.lab.nicmapd import Nicmapd
from tests.lab.waiting import Deadline, eventually

#: Memory of a tiny guest with its QEMU, and what the rest of the machine keeps. MiB.
GUEST_MEMORY = 200
SPARE_MEMORY = 1500
#: Seconds for guests to boot: 2 each on two cores, and a machine may be busy.
BOOT_SECONDS = 15.0


class Ground:
    """One private libvirtd with up to `most` guests; nothing is started before somebody asks."""

    def __init__(self, report: Report, *, most: int) -> None:
        self.report = report
        self.most = min(most, max(2, (_available_memory() - SPARE_MEMORY) // GUEST_MEMORY))
        self._stack = contextlib.ExitStack()
        self._lab: LabHost | None = None
        self._guests: list[Guest] = []

    def __enter__(self) -> Ground:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()

    @property
    def lab(self) -> LabHost:
        if self._lab is None:
            self.report.say("a private libvirtd")
            self._lab = self._stack.enter_context(LabHost(name="bench"))
            self._lab.define_network()
        return self._lab

    def guests(self, wanted: int) -> list[Guest]:
        """`wanted` running guests of two NICs each on one bridge, fewer if there is no memory for so many."""
        wanted = min(wanted, self.most)
        missing = [self._define(number) for number in range(len(self._guests), wanted)]
        if missing:
            self.report.say(f"{len(missing)} guests boot")
            self.lab.boot(*missing, within=BOOT_SECONDS * (1 + len(missing)))
            self._guests += missing
        return self._guests[:wanted]

    def only(self, wanted: int) -> list[Guest]:
        """`wanted` running guests, and no other running one: those boot again when they are asked for."""
        kept = self.guests(wanted)
        for guest in self._guests[wanted:]:
            guest.destroy()
        del self._guests[wanted:]
        return kept

    def _define(self, number: int) -> Guest:
        name = f"bench{number + 1}"
        known = self.lab.guests.get(name)
        return known or self.lab.guest(name, nics=[Nic(type="network"), Nic(type="network")])

    @contextmanager
    def daemon(self, guests: list[Guest], settings: Mapping[str, str] | None = None) -> Iterator[Nicmapd]:
        """The daemon as it is installed, with all NICs of `guests` named."""
        quiet = {"log.level": "warning", **(settings or {})}
        with Nicmapd(self.lab.uri, settings=quiet) as daemon:
            eventually(lambda: all_named(daemon, guests), within=60, what="all NICs are named")
            yield daemon
            daemon.stop()


def all_named(daemon: Nicmapd, guests: list[Guest]) -> bool:
    return all(len(daemon.names(guest.name)) == len(guest.live_macs()) for guest in guests)


def virsh(uri: str, *arguments: str) -> float:
    """Runs virsh once; how many seconds that took."""
    started = time.perf_counter()
    subprocess.run(["virsh", "-c", uri, *arguments], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


def until_quiet(report: Report, *, within: float = 8.0) -> None:
    """Waits until the machine has little to do, so that a measurement is of what is measured."""
    deadline = Deadline(within)
    while (busy := _busy()) > 0.35:
        if deadline.over:
            report.say(f"the machine is busy ({busy:.0%} of its cores): figures are noisy")
            return
        time.sleep(0.5)


def _busy() -> float:
    """Which part of all cores' time was used during half a second."""

    def read() -> tuple[int, int]:
        ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        return sum(ticks), ticks[3] + ticks[4]

    total, idle = read()
    time.sleep(0.5)
    total_after, idle_after = read()
    return 1 - (idle_after - idle) / max(1, total_after - total)


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has used, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> float:
    """Resident memory of a process, in MB (10^6 bytes)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise LookupError(f"/proc/{pid}/status has no VmRSS")


def _available_memory() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) // 1024
    return 0


def python(*arguments: str, quiet: bool = False) -> subprocess.Popen[str]:
    """Another Python process of the same environment, with pipes for its input and output."""
    return subprocess.Popen(
        [sys.executable, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL if quiet else None,
        text=True,
        cwd=Path(__file__).resolve().parents[2],
    )
