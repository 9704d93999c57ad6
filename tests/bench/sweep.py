"""Part `sweep`: how many guests a second the daemon polls, against the bare agent calls and against virsh."""

from __future__ import annotations

import itertools
import json
import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import libvirt
import libvirt_qemu

from nicmapd import agent, store
from nicmapd.board import Board
from nicmapd.clock import SystemClock
from nicmapd.config import AgentConfig
from nicmapd.hypervisor import LibvirtHypervisor
from nicmapd.interview import PassMemory
from nicmapd.keeper import Keeper
from nicmapd.model import VmRef
from nicmapd.refresh import XML_SECONDS, Refresher
from tests.bench.figures import Report, at_least, median
from tests.bench.ground import Ground, python, until_quiet, virsh
from tests.lab.guest import Guest
from tests.lab.waiting import eventually

#: As agent.concurrency.
THREADS = 4
ROUNDS = 6
#: Seconds of each way in each round.
SLICE = 2.0


def run(report: Report, ground: Ground) -> None:
    guests = ground.guests(ground.most)
    uri = ground.lab.uri
    until_quiet(report)
    report.say(f"sweeping {len(guests)} guests from {THREADS} threads, {ROUNDS} rounds")
    with (
        tempfile.TemporaryDirectory() as folder,
        Flood(uri) as flood,
        bare_loop(uri, guests) as bare,
        passes(uri, guests, Path(folder, "full")) as full,
        passes(uri, guests, Path(folder, "reading"), xml_seconds=0) as reading,
    ):
        ways: dict[str, Callable[[], float]] = {
            "bare": bare,
            "reading": reading,
            "passes": full,
            "daemon": flood.slice,
        }
        for way in ways.values():
            way()  # connections, probes, translated code
        rounds = []
        for number in range(ROUNDS):
            order = list(ways)[number % len(ways) :] + list(ways)[: number % len(ways)]
            rounds.append({name: ways[name]() for name in order} | {"virsh": virsh_loop(uri, guests)})
    _tell(report, rounds)


def _tell(report: Report, rounds: Sequence[dict[str, float]]) -> None:
    def ratio(over: str, under: str) -> float:
        return median([one[over] / one[under] for one in rounds])

    for name in ("bare", "reading", "passes", "daemon", "virsh"):
        report.add(f"sweep.{name}", median([one[name] for one in rounds]), "/s", _WAYS[name])
    report.add("sweep.reading_to_bare", ratio("reading", "bare"), "", "those that read the XML each time to bare calls")
    report.add("sweep.passes_to_bare", ratio("passes", "bare"), "", "full passes to bare calls", at_least(0.95))
    report.add("sweep.daemon_to_bare", ratio("daemon", "bare"), "", "whole daemon to bare calls", at_least(0.95))
    report.add("sweep.daemon_to_virsh", ratio("daemon", "virsh"), "", "whole daemon to the virsh loop", at_least(4))


_WAYS = {
    "bare": "bare agent calls, guest-network-get-interfaces and nothing else",
    "reading": "full passes (XML, agent, join, compare) from as many threads, the XML read each time",
    "passes": "full passes from as many threads; the XML as the daemon does, once a second",
    "daemon": "passes of the whole daemon, its interval near zero",
    "virsh": "virsh domifaddr --source agent, one after the other",
}


def _spin(calls: Callable[[], Callable[[], None]]) -> float:
    """Calls a second, over THREADS threads; `calls` gives the call of one thread."""
    ready, end = threading.Barrier(THREADS + 1), threading.Event()
    counts: list[int] = []
    faults: list[BaseException] = []

    def work() -> None:
        made = 0
        try:
            call = calls()
            ready.wait()
            while not end.is_set():
                call()
                made += 1
        except BaseException as error:
            faults.append(error)
            ready.abort()
            raise
        finally:
            counts.append(made)

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    ready.wait()
    started = time.perf_counter()
    end.wait(SLICE)
    end.set()
    for thread in threads:
        thread.join()
    if faults:
        raise faults[0]
    return sum(counts) / (time.perf_counter() - started)


@contextmanager
def bare_loop(uri: str, guests: Sequence[Guest]) -> Iterator[Callable[[], float]]:
    """A way that only calls the agents, each guest by one thread at a time, on one connection."""
    connection = libvirt.open(uri)
    domains = [connection.lookupByUUIDString(guest.uuid) for guest in guests]
    turns = _Turns(len(domains))

    def call() -> None:
        with turns.next() as number:
            libvirt_qemu.qemuAgentCommand(domains[number], agent.INTERFACES_REQUEST, 5, 0)

    try:
        yield lambda: _spin(lambda: call)
    finally:
        connection.close()


@contextmanager
def passes(
    uri: str, guests: Sequence[Guest], folder: Path, *, xml_seconds: float = XML_SECONDS
) -> Iterator[Callable[[], float]]:
    """A way that runs whole passes from plain threads, without watcher and timers."""
    folder.mkdir()
    clock = SystemClock()
    hypervisor = LibvirtHypervisor(uri, host="bench", clock=clock, agent_calls=THREADS)
    hypervisor.start()
    eventually(lambda: hypervisor.status().connected, within=10, what="connection to libvirt")
    board = Board(clock)
    keeper = Keeper(store.open_store(f"sqlite:///{folder / 'map.db'}", host="bench", clock=clock), board, clock=clock)
    refresher = Refresher(
        hypervisor,
        keeper,
        board,
        clock=clock,
        settings=AgentConfig(),
        new_id=lambda: secrets.token_hex(8),
        xml_seconds=xml_seconds,
    )
    work = [(VmRef(guest.uuid, guest.name), PassMemory()) for guest in guests]
    turns = _Turns(len(work))

    def call() -> None:
        with turns.next() as number:
            outcome = refresher.run(*work[number])
            if not outcome.answered:
                raise RuntimeError(outcome.sentence)

    try:
        yield lambda: _spin(lambda: call)
    finally:
        hypervisor.stop()


def virsh_loop(uri: str, guests: Sequence[Guest]) -> float:
    """Calls a second of a shell loop over the guests."""
    taken = [virsh(uri, "domifaddr", "--source", "agent", guest.name) for guest in guests]
    return len(taken) / sum(taken)


class _Turn:
    def __init__(self, number: int, lock: threading.Lock) -> None:
        self._number, self._lock = number, lock

    def __enter__(self) -> int:
        self._lock.acquire()
        return self._number

    def __exit__(self, *_: object) -> None:
        self._lock.release()


class _Turns:
    """Numbers in turn, each used by one thread at a time."""

    def __init__(self, count: int) -> None:
        self._turns = itertools.cycle([_Turn(number, threading.Lock()) for number in range(count)])

    def next(self) -> _Turn:
        return next(self._turns)


class Flood:
    """The whole daemon in a process of its own (tests.bench.flood), which polls without a pause when told to."""

    def __init__(self, uri: str) -> None:
        self._process = python("-m", "tests.bench.flood", uri, quiet=True)

    def __enter__(self) -> Flood:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=10)

    def slice(self) -> float:
        """Passes a second, over SLICE seconds."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{SLICE}\n")
        self._process.stdin.flush()
        return float(json.loads(self._process.stdout.readline()))
