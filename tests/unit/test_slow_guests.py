"""Guests that answer each call, but only just before its time-out: what they cost, and what is said of them."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from dataclasses import replace

from nicmapd.clock import SystemClock
from nicmapd.config import AgentConfig
from nicmapd.interview import LOOK_TIMEOUTS, PassMemory
from nicmapd.model import NicEntry, Verdict
from nicmapd.ports import EventKind
from nicmapd.watch import OVERDUE_SECONDS, OVERDUE_TIMEOUTS
from tests.fakes.clock import FakeClock
from tests.fakes.hypervisor import FakeHypervisor, FakeNic, FakeVm
from tests.unit.test_refresh import Bench, make
from tests.unit.test_watch import SLOW, run, until, watching

TIMEOUT = 2
SLOWLY = "the guest answers slowly, and not all of its interfaces could be verified yet"


class Slow(FakeHypervisor):
    """Each answer of a guest takes `delay` seconds of `clock`."""

    def __init__(self) -> None:
        super().__init__()
        self.clock: FakeClock | MovedClock = FakeClock()
        self.delay = 0.0
        self.waited = 0.0

    def _answer(self, vm: FakeVm, request: dict[str, object], timeout: int) -> str:
        assert self.delay < timeout
        self.clock.move(self.delay)
        self.waited += self.delay
        return super()._answer(vm, request, timeout)


class Restless(Slow):
    """Shows many interfaces with its NIC's MAC, under other names in each reply: a pass begins anew each time."""

    def _answer(self, vm: FakeVm, request: dict[str, object], timeout: int) -> str:
        answer = super()._answer(vm, request, timeout)
        if request["execute"] != "guest-network-get-interfaces":
            return answer
        names = [f"x{len(vm.calls)}n{number}" for number in range(40)]
        return json.dumps({"return": [{"name": name, "hardware-address": vm.nics[0].mac} for name in names]})


class MovedClock(SystemClock):
    """Goes on, and can be moved."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead

    def move(self, seconds: float) -> None:
        self.ahead += seconds


def slow_bench(hypervisor: Slow) -> Bench:
    bench = make(hypervisor=hypervisor, settings=AgentConfig(timeout=TIMEOUT))
    hypervisor.clock = bench.clock
    return bench


def nics(bench: Bench, vm: FakeVm) -> tuple[NicEntry, ...]:
    entry = bench.board.entry(vm.uuid)
    assert entry is not None
    return entry.nics


def test_a_pass_over_a_slow_guest_has_an_end() -> None:
    hypervisor = Restless()
    bench = slow_bench(hypervisor)
    vm = hypervisor.add("hostile")
    hypervisor.delay = 0.99 * TIMEOUT
    outcome = bench.run(vm)
    assert outcome.answered
    # The interfaces, the commands, the sysfs; then a file is closed and the interfaces are asked for once more.
    assert hypervisor.waited < (2 + LOOK_TIMEOUTS + 3) * TIMEOUT
    assert bench.names(vm) == [None]
    assert bench.memories[vm.uuid].slow


def test_what_was_not_asked_in_one_pass_is_asked_in_the_next() -> None:
    hypervisor = Slow()
    bench = slow_bench(hypervisor)
    vm = hypervisor.add("web1", nics=3)
    hypervisor.delay = 0.45 * TIMEOUT  # a NIC behind a root port costs six calls
    bench.run(vm)
    assert bench.names(vm) == ["eth0", None, None]
    assert [nic.naming.reason for nic in nics(bench, vm)[1:]] == [SLOWLY] * 2
    assert nics(bench, vm)[1].naming.candidates == ("eth1",)
    for _ in range(8):
        bench.run(vm)
        assert bench.names(vm)[0] == "eth0"
    assert bench.names(vm) == ["eth0", "eth1", "eth2"]
    assert bench.memories[vm.uuid].slow is False, "all that was to be asked has been asked"


def test_a_slow_guest_s_files_are_closed_all_the_same() -> None:
    for hundredths in range(5, 100, 5):
        hypervisor = Slow()
        bench = slow_bench(hypervisor)
        vm = hypervisor.add("web1", nics=4)
        hypervisor.delay = hundredths / 100 * TIMEOUT
        assert bench.run(vm).answered
        calls = Counter(vm.calls)
        assert calls["guest-file-open"] == calls["guest-file-close"], hundredths


class _Pair(Slow):
    """The guest has two interfaces at the place of the one NIC, with its MAC: the master of a failover pair shows the
    device of its standby."""

    def domain_xml(self, uuid: str) -> str:
        vm = self.vms[uuid]
        return vm.xml_of(vm.nics[:1], active=True)


def test_a_nic_is_not_named_after_the_only_one_of_its_claimants_that_could_be_asked() -> None:
    hypervisor = _Pair()
    bench = slow_bench(hypervisor)
    vm = hypervisor.add("web1")
    vm.nics.append(FakeNic(vm.nics[0].mac, "eth0nsby", vm.nics[0].slot))
    hypervisor.delay = 0.45 * TIMEOUT
    bench.run(vm)
    naming = nics(bench, vm)[0].naming
    assert (naming.verdict, naming.reason) == (Verdict.AMBIGUOUS, SLOWLY)
    assert naming.candidates == ("eth0", "eth0nsby")
    hypervisor.delay = 0.0
    for _ in range(3):
        bench.run(vm)
        assert bench.names(vm) == [None]


def test_a_name_that_is_proved_stays_while_a_new_claimant_could_not_be_asked() -> None:
    hypervisor = _Pair()
    bench = slow_bench(hypervisor)
    vm = hypervisor.add("web1")
    for _ in range(2):
        bench.run(vm)
    vm.nics.append(FakeNic(vm.nics[0].mac, "lan5", 9))
    hypervisor.delay = 0.99 * TIMEOUT
    for _ in range(3):
        bench.run(vm)
        assert bench.names(vm) == ["eth0"]


def test_a_quick_guest_is_not_slow() -> None:
    hypervisor = Slow()
    bench = slow_bench(hypervisor)
    vm = hypervisor.add("web1", nics=4)
    hypervisor.delay = 0.005
    bench.memories[vm.uuid] = PassMemory()
    bench.run(vm)
    assert bench.names(vm) == ["eth0", "eth1", "eth2", "eth3"]
    assert not bench.memories[vm.uuid].slow


@run
async def test_slow_guests_share_one_place() -> None:
    hypervisor = Slow()
    hypervisor.clock = clock = MovedClock()
    config = replace(SLOW, agent=AgentConfig(timeout=30, concurrency=4))
    healthy = hypervisor.add("healthy")
    slow = [hypervisor.add(f"slow{number}") for number in range(4)]
    release = threading.Event()
    async with watching(hypervisor, config, clock=clock) as running:
        hypervisor.connect()
        await until(lambda: all(running.names(vm.uuid) == ["eth0"] for vm in (healthy, *slow)))
        hypervisor.delay = 29.0
        for vm in slow:
            vm.nics[0].name = "eth9"  # is verified anew
            await running.watcher.refresh(vm.uuid)
        hypervisor.delay = 0.0
        calls = sum(len(vm.calls) for vm in slow)
        for vm in slow:
            vm.hang = release
            hypervisor.event(EventKind.DEVICE_ADDED, vm)
        await until(lambda: sum(len(vm.calls) for vm in slow) > calls)
        assert (await asyncio.wait_for(running.watcher.refresh(healthy.uuid), 5.0)).answered
        assert sum(len(vm.calls) for vm in slow) == calls + 1
        release.set()


@run
async def test_passes_are_stuck_only_after_longer_than_one_may_take() -> None:
    hypervisor = FakeHypervisor()
    clock, release = MovedClock(), threading.Event()
    config = replace(SLOW, agent=AgentConfig(timeout=60, concurrency=1))
    hung, other = hypervisor.add("hung"), hypervisor.add("other")
    async with watching(hypervisor, config, clock=clock) as running:
        hypervisor.connect()
        await until(lambda: running.names(hung.uuid) == ["eth0"] == running.names(other.uuid))
        hung.hang, calls = release, len(hung.calls)
        hypervisor.event(EventKind.DEVICE_ADDED, hung)
        await until(lambda: len(hung.calls) > calls)
        hypervisor.event(EventKind.DEVICE_ADDED, other)
        await until(lambda: running.watcher.status().queue == 2)
        clock.move(OVERDUE_SECONDS + OVERDUE_TIMEOUTS * 60 - 5)
        assert not running.watcher.status().overdue
        clock.move(10)
        assert running.watcher.status().overdue
        release.set()
