"""The watcher with real passes over simulated guests: who is looked at, when, and who waits for whom."""

from __future__ import annotations

import asyncio
import gc
import itertools
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import pytest

from nicmapd.board import Board
from nicmapd.clock import SystemClock
from nicmapd.config import AgentConfig, Config, PollConfig
from nicmapd.errors import AgentFailure, Unavailable
from nicmapd.keeper import Keeper
from nicmapd.logs import MAP_CHANGED
from nicmapd.meter import Meter
from nicmapd.model import AgentState, DomainState
from nicmapd.ports import Clock, EventKind
from nicmapd.refresh import Refresher
from nicmapd.watch import Watcher
from tests.fakes.brittle import BrittleStore
from tests.fakes.hypervisor import FakeHypervisor, FakeNic

#: Polls far apart, so that only events and wishes explain what happens.
SLOW = Config(poll=PollConfig(interval=3600, resync=3600), agent=AgentConfig(timeout=1, concurrency=4))


@dataclass
class Running:
    hypervisor: FakeHypervisor
    board: Board
    store: BrittleStore
    watcher: Watcher
    meter: Meter

    def names(self, uuid: str) -> list[str | None]:
        entry = self.board.entry(uuid)
        return [nic.naming.name for nic in entry.nics] if entry else []

    def count(self, name: str, **labels: str) -> float:
        return self.meter.registry.get_sample_value(name, labels) or 0.0

    def state(self, uuid: str) -> AgentState | None:
        entry = self.board.entry(uuid)
        return entry.agent.state if entry else None


@asynccontextmanager
async def watching(
    hypervisor: FakeHypervisor, config: Config = SLOW, *, clock: Clock | None = None
) -> AsyncIterator[Running]:
    clock = clock or SystemClock()
    board, store = Board(clock), BrittleStore(host=hypervisor.host)
    keeper = Keeper(store, board, clock=clock)
    numbers = itertools.count()
    refresher = Refresher(
        hypervisor, keeper, board, clock=clock, settings=config.agent, new_id=lambda: f"nic{next(numbers)}"
    )
    meter = Meter()
    watcher = Watcher(hypervisor, refresher, keeper, board, clock=clock, config=config, meter=meter)
    watcher.start()
    try:
        yield Running(hypervisor, board, store, watcher, meter)
    finally:
        await watcher.stop()


async def until(check: Callable[[], object], *, within: float = 5.0) -> None:
    """Waits until `check` is true; the loop goes on meanwhile."""
    async with asyncio.timeout(within):
        while not check():
            await asyncio.sleep(0.005)


def run(test: Callable[[], Coroutine[object, object, None]]) -> Callable[[], None]:
    """A coroutine function as a plain test."""

    def wrapper() -> None:
        asyncio.run(test())

    wrapper.__name__, wrapper.__doc__ = test.__name__, test.__doc__
    return wrapper


@run
async def test_once_connected_all_guests_are_asked() -> None:
    hypervisor = FakeHypervisor()
    hypervisor.connected = False
    vms = [hypervisor.add(f"vm{number}", nics=2) for number in range(20)]
    async with watching(hypervisor) as running:
        assert running.board.entries() == []
        hypervisor.connect()
        await until(lambda: running.watcher.synced)
        await until(lambda: all(running.names(vm.uuid) == ["eth0", "eth1"] for vm in vms))
        assert hypervisor.most_in_flight <= 4


@run
async def test_all_are_known_before_the_first_of_them_has_answered() -> None:
    hypervisor = FakeHypervisor()
    hypervisor.connected = False
    release = threading.Event()
    hung = [hypervisor.add(f"hung{number}", nics=2, hang=release) for number in range(8)]
    last = hypervisor.add("zz", nics=2)
    config = replace(SLOW, agent=AgentConfig(timeout=1, concurrency=2))
    async with watching(hypervisor, config) as running:
        hypervisor.connect()
        await until(lambda: running.watcher.synced, within=0.9)
        assert len(running.board) == 9
        assert {running.state(vm.uuid) for vm in (*hung, last)} <= {AgentState.UNKNOWN, AgentState.UNRESPONSIVE}
        assert running.names(hung[0].uuid) == [None, None]
        waiting = asyncio.ensure_future(running.watcher.refresh(last.uuid))
        release.set()
        assert (await waiting).answered, "who asks is answered by a pass, not by its being known"
        await until(lambda: all(running.names(vm.uuid) == ["eth0", "eth1"] for vm in hung))


@run
async def test_an_event_is_followed_by_a_look() -> None:
    hypervisor = FakeHypervisor()
    vm = hypervisor.add("web1")
    async with watching(hypervisor) as running:
        hypervisor.connect()
        await until(lambda: running.names(vm.uuid) == ["eth0"])
        vm.nics.append(FakeNic("52:54:00:00:00:99", "eth1", 9))
        hypervisor.event(EventKind.DEVICE_ADDED, vm, "net1")
        await until(lambda: running.names(vm.uuid) == ["eth0", "eth1"])


@run
async def test_a_name_that_settles_after_the_event_is_seen_without_another() -> None:
    hypervisor = FakeHypervisor()
    vm = hypervisor.add("web1")
    async with watching(hypervisor) as running:
        hypervisor.connect()
        await until(lambda: running.names(vm.uuid) == ["eth0"])
        hypervisor.event(EventKind.LIFECYCLE, vm, "started")
        await until(lambda: running.watcher.status().passes >= 2)
        vm.nics[0].name = "enp1s0"  # what udev does 0.1 s later
        await until(lambda: running.names(vm.uuid) == ["enp1s0"])


@run
async def test_hung_guests_leave_the_healthy_ones_their_places() -> None:
    hypervisor = FakeHypervisor()
    release = threading.Event()
    hung = [hypervisor.add(f"hung{number}", hang=release) for number in range(8)]
    config = replace(SLOW, poll=PollConfig(interval=0.5, resync=3600, backoff_max=10))
    async with watching(hypervisor, config) as running:
        hypervisor.connect()
        await until(lambda: all(running.state(vm.uuid) is AgentState.UNRESPONSIVE for vm in hung), within=15)
        healthy = hypervisor.add("healthy")
        hypervisor.event(EventKind.LIFECYCLE, healthy, "started")
        await until(lambda: running.names(healthy.uuid) == ["eth0"], within=1)
        # From here on suspects hold one place at most, and the healthy guest is polled in time.
        before = len(healthy.calls)
        await until(lambda: len(healthy.calls) >= before + 6, within=5)
        assert hypervisor.most_in_flight <= 4
        release.set()


@run
async def test_who_asks_for_a_hung_guest_does_not_wait_for_all_the_others_that_hang() -> None:
    hypervisor = FakeHypervisor()
    stuck = threading.Event()
    released = threading.Event()
    hung = [hypervisor.add(f"hung{number}", hang=stuck) for number in range(6)]
    asked = hypervisor.add("asked", hang=released)
    config = replace(SLOW, poll=PollConfig(interval=0.2, resync=3600, backoff_max=0.2))
    async with watching(hypervisor, config) as running:
        hypervisor.connect()
        await until(lambda: all(running.state(vm.uuid) is AgentState.UNRESPONSIVE for vm in (*hung, asked)), within=20)
        released.set()
        # A hung call lasts a second here: one that runs may have to end, not the six that wait.
        outcome = await asyncio.wait_for(running.watcher.refresh(asked.uuid), timeout=2.5)
        assert outcome.answered
        assert running.names(asked.uuid) == ["eth0"]
        stuck.set()


@run
async def test_a_suspect_that_connects_again_is_asked_at_once() -> None:
    hypervisor = FakeHypervisor()
    release = threading.Event()
    vm = hypervisor.add("web1", hang=release)
    async with watching(hypervisor) as running:
        hypervisor.connect()
        await until(lambda: running.state(vm.uuid) is AgentState.UNRESPONSIVE)
        release.set()
        hypervisor.event(EventKind.AGENT, vm, "connected")
        await until(lambda: running.names(vm.uuid) == ["eth0"], within=2)


@run
async def test_one_pass_per_vm_at_a_time_whatever_comes() -> None:
    hypervisor = FakeHypervisor()
    vm = hypervisor.add("web1")
    async with watching(hypervisor) as running:
        hypervisor.connect()
        await until(lambda: running.names(vm.uuid) == ["eth0"])
        overlapping = []
        lock = vm.lock

        class Watched:
            def __enter__(self) -> None:
                if not lock.acquire(blocking=False):
                    overlapping.append(1)
                    lock.acquire()

            def __exit__(self, *_: object) -> None:
                lock.release()

        vm.lock = Watched()  # type: ignore[assignment]
        for _ in range(50):
            hypervisor.event(EventKind.DEVICE_ADDED, vm, "net0")
        outcomes = await asyncio.gather(*(running.watcher.refresh(vm.uuid) for _ in range(20)))
        assert all(outcome.answered for outcome in outcomes)
        assert not overlapping


@run
async def test_a_refresh_sees_what_happened_before_it() -> None:
    hypervisor = FakeHypervisor()
    vm = hypervisor.add("web1")
    async with watching(hypervisor) as running:
        hypervisor.connect()
        await until(lambda: running.names(vm.uuid) == ["eth0"])
        for number in range(20):
            vm.nics[0].name = f"n{number}"
            outcome = await running.watcher.refresh(vm.uuid)
            assert running.names(vm.uuid) == [f"n{number}"], outcome.sentence


@run
async def test_an_event_that_was_lost_is_repaired_by_the_comparison() -> None:
    hypervisor = FakeHypervisor()
    vm, other = hypervisor.add("web1"), hypervisor.add("db1")
    async with watching(hypervisor) as running:
        hypervisor.connect()
        await until(lambda: running.names(other.uuid) == ["eth0"] == running.names(vm.uuid))
        vm.state = DomainState.OFF
        del hypervisor.vms[other.uuid]
        new = hypervisor.add("new1")
        running.watcher.resync()
        await until(lambda: running.names(new.uuid) == ["eth0"])
        await until(lambda: running.state(vm.uuid) is AgentState.OFF)
        await until(lambda: running.board.entry(other.uuid) is None)
        assert running.names(vm.uuid) == ["eth0"]


@run
async def test_while_libvirt_is_away_nothing_is_lost_and_refresh_says_so() -> None:
    hypervisor = FakeHypervisor()
    vm = hypervisor.add("web1")
    async with watching(hypervisor) as running:
        hypervisor.connect()
        await until(lambda: running.names(vm.uuid) == ["eth0"])
        hypervisor.disconnect()
        with pytest.raises(Unavailable, match="libvirt"):
            await running.watcher.refresh(vm.uuid)
        running.watcher.resync()
        assert running.names(vm.uuid) == ["eth0"]
        vm.nics[0].name = "eth9"
        hypervisor.connect()
        await until(lambda: running.names(vm.uuid) == ["eth9"])


@run
async def test_a_store_that_fails_is_written_as_soon_as_it_works_again() -> None:
    hypervisor = FakeHypervisor()
    vm = hypervisor.add("web1")
    async with watching(hypervisor) as running:
        hypervisor.connect()
        await until(lambda: running.names(vm.uuid) == ["eth0"])
        running.store.fail(Unavailable("database or disk is full"))
        vm.nics[0].name = "eth5"
        await running.watcher.refresh(vm.uuid)
        assert running.names(vm.uuid) == ["eth5"]
        vm.nics[0].name = "eth6"
        await running.watcher.refresh(vm.uuid)
        running.store.fail(None)
        await until(lambda: [s.entry.nics[0].naming.name for s in running.store.load()] == ["eth6"], within=8)
        kinds = [item.change.sentence for item in running.store.feed(after=0)]
        assert any("eth5" in sentence for sentence in kinds)


@run
async def test_the_stop_does_not_wait_for_a_hung_guest() -> None:
    hypervisor = FakeHypervisor()
    release = threading.Event()
    vm = hypervisor.add("web1", hang=release)
    config = replace(SLOW, agent=AgentConfig(timeout=30))
    async with watching(hypervisor, config) as running:
        hypervisor.connect()
        await until(lambda: bool(vm.calls))
        loop = asyncio.get_running_loop()
        begun = loop.time()
        await running.watcher.stop(seconds=0.2)
        assert loop.time() - begun < 2
        release.set()


# -- what is counted, and said in the log


@run
async def test_the_time_from_event_to_map_is_measured_once_for_the_events_that_one_pass_follows() -> None:
    hypervisor = FakeHypervisor()
    vm = hypervisor.add("web1")
    async with watching(hypervisor) as running:
        hypervisor.connect()
        await until(lambda: running.names(vm.uuid) == ["eth0"])
        assert running.count("nicmap_event_lag_seconds_count") == 0
        with vm.lock:  # the pass after the first event waits here, and cannot follow the others
            asked = len(hypervisor.asked)
            hypervisor.event(EventKind.DEVICE_ADDED, vm, "net1")
            await until(lambda: len(hypervisor.asked) > asked)
            vm.nics[0].name = "lan0"
            hypervisor.event(EventKind.DEVICE_ADDED, vm, "net2")
            hypervisor.event(EventKind.AGENT, vm, "connected")
            await until(lambda: running.count("nicmap_events_total", kind="agent") == 1)
        await until(lambda: running.count("nicmap_event_lag_seconds_count") == 2)
        assert running.names(vm.uuid) == ["lan0"]
        assert running.count("nicmap_changes_total", kind="nic.renamed") == 1
        assert 0 < running.count("nicmap_event_lag_seconds_sum") < 5


@run
async def test_an_event_of_a_guest_that_does_not_answer_counts_as_not_followed() -> None:
    hypervisor = FakeHypervisor()
    failure = AgentFailure("no answer", state=AgentState.UNRESPONSIVE.value)
    vm = hypervisor.add("hung", failure=failure)
    async with watching(hypervisor) as running:
        hypervisor.connect()
        await until(lambda: running.count("nicmap_poll_total", result="unanswered") >= 1)
        assert running.watcher.status().suspects == {vm.uuid}
        hypervisor.event(EventKind.DEVICE_ADDED, vm, "net1")
        await until(lambda: running.count("nicmap_poll_total", result="unanswered") >= 2)
        assert running.count("nicmap_event_lag_seconds_count") == 0
        vm.failure = None
        hypervisor.event(EventKind.AGENT, vm, "connected")
        await until(lambda: running.count("nicmap_event_lag_seconds_count") == 1)
        assert running.watcher.status().suspects == frozenset()


def test_a_line_about_a_vm_says_so_to_the_journal(caplog: pytest.LogCaptureFixture) -> None:
    async def rename() -> None:
        hypervisor = FakeHypervisor()
        vm = hypervisor.add("web1")
        async with watching(hypervisor) as running:
            hypervisor.connect()
            await until(lambda: running.names(vm.uuid) == ["eth0"])
            vm.nics[0].name = "lan0"
            await running.watcher.refresh(vm.uuid)

    with caplog.at_level("DEBUG", logger="nicmapd.watch"):
        asyncio.run(rename())
    about_vms = [vars(record) for record in caplog.records if record.getMessage().startswith("web1: ")]
    assert {record.get("vm") for record in about_vms} == {"web1"}
    (renamed,) = [record for record in about_vms if "nic.renamed" in record.get("kind", ())]
    assert renamed["mac"] == ["52:54:00:00:01:00"]
    assert renamed["message_id"] == MAP_CHANGED


class _Line:
    """What a call works with."""


class _Held(FakeHypervisor):
    """Remembers what its failing calls worked with, as far as that is alive."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[weakref.ref[_Line]] = []
        self.broken = False

    def agent_command(self, uuid: str, command: str, *, timeout: int) -> str:
        line = _Line()
        self.lines.append(weakref.ref(line))
        return super().agent_command(uuid, command, timeout=timeout)

    def domain_xml(self, uuid: str) -> str:
        line = _Line()
        self.lines.append(weakref.ref(line))
        if self.broken:
            raise Unavailable("it broke off")
        return super().domain_xml(uuid)


@run
async def test_a_failed_pass_lets_go_of_what_it_worked_with() -> None:
    """Not when the garbage collector comes by: each broken connection to libvirt holds descriptors until then."""
    hypervisor = _Held()
    release = threading.Event()
    vm = hypervisor.add("web1", hang=release)
    gc.disable()
    try:
        async with watching(hypervisor) as running:
            hypervisor.connect()
            await until(lambda: running.state(vm.uuid) is AgentState.UNRESPONSIVE)
            vm.failure = AgentFailure("the command is disabled", state="disabled")
            release.set()
            await running.watcher.refresh(vm.uuid)
            vm.failure = None
            hypervisor.broken = True
            with pytest.raises(Unavailable):
                await running.watcher.refresh(vm.uuid)
            await until(lambda: running.watcher.status().queue == 0)
            assert len(hypervisor.lines) > 4
            assert [line for line in hypervisor.lines if line() is not None] == []
    finally:
        gc.enable()
