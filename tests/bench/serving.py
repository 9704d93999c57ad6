"""Part `api`: GET of a NIC by its name over the Unix socket, from another process, at rest and while sweeping."""

from __future__ import annotations

import json
from types import TracebackType

from tests.bench.figures import Report, at_least, at_most, median
from tests.bench.ground import Ground, cpu_seconds, python, until_quiet
from tests.lab.nicmapd import Nicmapd

ROUNDS = 3
SLICE = 2.0
#: Seconds between polls in a sweep: the shortest that the configuration takes.
SWEEPING = "0.5"
#: Seconds between two requests of a client that only looks.
LOOKING = 0.005


class Client:
    """tests.bench.client in a process of its own."""

    def __init__(self, daemon: Nicmapd, target: str) -> None:
        self._process = python("-m", "tests.bench.client", str(daemon.socket), target)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=10)

    def measure(self, seconds: float, *, connections: int = 1, pause: float = 0.0) -> dict[str, float]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{seconds} {connections} {pause}\n")
        self._process.stdin.flush()
        found: dict[str, float] = json.loads(self._process.stdout.readline())
        return found


def run(report: Report, ground: Ground) -> None:
    guests = ground.guests(ground.most)
    target = f"/vms/{guests[0].name}/interfaces/eth0"
    until_quiet(report)
    with ground.daemon(guests, {"poll.interval": "60"}) as daemon, Client(daemon, target) as client:
        assert daemon.process is not None
        pid = daemon.process.pid
        full, per_cpu = [], []
        for _ in range(ROUNDS):
            before = cpu_seconds(pid)
            found = client.measure(SLICE, connections=4)
            full.append(found)
            per_cpu.append(found["per_second"] * SLICE / (cpu_seconds(pid) - before))
        still = [client.measure(SLICE, pause=LOOKING) for _ in range(ROUNDS)]
    with ground.daemon(guests, {"poll.interval": SWEEPING}) as daemon, Client(daemon, target) as client:
        sweeping = [client.measure(SLICE, pause=LOOKING) for _ in range(ROUNDS)]
        busy = [client.measure(SLICE, connections=4) for _ in range(ROUNDS)]
    report.add(
        "api.per_second",
        median([one["per_second"] for one in full]),
        "/s",
        "GET by name, 4 kept connections, the daemon at rest",
        at_least(2000),
    )
    report.add("api.per_core_second", median(per_cpu), "/s", "the same per CPU second of the daemon", at_least(2000))
    report.add(
        "api.sweep_per_second",
        median([one["per_second"] for one in busy]),
        "/s",
        "the same during sweeps (and emulation)",
    )
    report.add("api.rest_p99_ms", median([one["p99"] for one in still]) * 1000, "ms", "one request at a time, at rest")
    report.add(
        "api.sweep_p99_ms",
        median([one["p99"] for one in sweeping]) * 1000,
        "ms",
        f"one request at a time while {len(guests)} guests are swept every {SWEEPING} s",
        at_most(10),
    )
    report.add("api.sweep_worst_ms", max(one["worst"] for one in sweeping) * 1000, "ms", "the slowest of these")
