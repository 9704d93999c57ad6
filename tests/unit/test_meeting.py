"""VMs that are known before their guests are asked: who waits for them, and what goes wrong meanwhile."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping

import pytest

from nicmapd.errors import Unavailable
from nicmapd.interview import PassMemory
from nicmapd.model import AgentState
from nicmapd.ports import EventKind
from tests.fakes.hypervisor import FakeHypervisor, FakeNic, FakeVm
from tests.lab.waiting import eventually
from tests.unit.test_refresh import make
from tests.unit.test_watch import run, until, watching


class Held(FakeHypervisor):
    """Reads of the XML wait for `gate`; with `broken` they fail then."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.broken = False

    def domain_xml(self, uuid: str) -> str:
        assert self.gate.wait(10)
        if self.broken:
            raise Unavailable("libvirt does not say")
        return super().domain_xml(uuid)


@run
async def test_who_waits_for_a_vm_that_cannot_be_met_is_told_so() -> None:
    hypervisor = Held()
    hypervisor.broken = True
    vm = hypervisor.add("web1")
    async with watching(hypervisor) as running:
        hypervisor.connect()
        await until(lambda: running.watcher.status().queue == 1)
        waiting = asyncio.ensure_future(running.watcher.refresh(vm.uuid))
        hypervisor.gate.set()
        with pytest.raises(Unavailable, match="libvirt does not say"):
            await asyncio.wait_for(waiting, timeout=5)
        assert running.watcher.synced, "it cannot be looked at: that is all there is"


@run
async def test_who_waits_while_the_vm_goes_is_told_so_once() -> None:
    hypervisor = FakeHypervisor()
    vm = hypervisor.add("web1")
    async with watching(hypervisor) as running:
        hypervisor.connect()
        await until(lambda: running.names(vm.uuid) == ["eth0"])
        vm.hang = threading.Event()
        calls = len(vm.calls)
        hypervisor.event(EventKind.DEVICE_ADDED, vm, "net1")
        await until(lambda: len(vm.calls) > calls)
        waiting = [asyncio.ensure_future(running.watcher.refresh(vm.uuid)) for _ in range(2)]
        await asyncio.sleep(0)  # they wait from here on
        waiting.pop().cancel()
        del hypervisor.vms[vm.uuid]
        assert (await asyncio.wait_for(waiting[0], timeout=5)).gone
        await until(lambda: running.watcher.status().queue == 0)
        with pytest.raises(Unavailable, match="not connected"):
            await running.watcher.refresh(vm.uuid)  # it is forgotten


@run
async def test_the_map_is_not_whole_where_libvirt_was_lost_in_the_middle() -> None:
    hypervisor = Held()
    hypervisor.connected = False
    vm = hypervisor.add("web1")
    async with watching(hypervisor) as running:
        hypervisor.connect()
        await until(lambda: running.watcher.status().queue == 1)
        hypervisor.disconnect()
        hypervisor.gate.set()
        await until(lambda: running.watcher.status().queue == 0)
        assert running.board.entry(vm.uuid) is None
        assert not running.watcher.synced
        hypervisor.connect()
        await until(lambda: running.watcher.synced)
        assert running.board.entry(vm.uuid) is not None


@run
async def test_after_each_connect_the_map_is_whole_only_once_it_was_compared() -> None:
    hypervisor = Held()
    hypervisor.gate.set()
    hypervisor.add("web1")
    async with watching(hypervisor) as running:
        hypervisor.connect()
        await until(lambda: running.watcher.synced)
        hypervisor.disconnect()
        hypervisor.gate.clear()
        new = hypervisor.add("defined meanwhile")
        hypervisor.connect()
        await until(lambda: not running.watcher.synced)
        await until(lambda: running.watcher.status().queue >= 1)
        assert not running.watcher.synced
        hypervisor.gate.set()
        await until(lambda: running.watcher.synced)
        assert running.board.entry(new.uuid) is not None


@run
async def test_the_stop_answers_who_waits() -> None:
    hypervisor = Held()
    vm = hypervisor.add("web1")
    async with watching(hypervisor) as running:
        hypervisor.connect()
        await until(lambda: running.watcher.status().queue == 1)
        waiting = asyncio.ensure_future(running.watcher.refresh(vm.uuid))
        await asyncio.sleep(0)  # it waits from here on
        hypervisor.gate.set()
        await running.watcher.stop()
        with pytest.raises(Unavailable, match="stopping"):
            await asyncio.wait_for(waiting, timeout=5)


@run
async def test_a_monitor_that_hangs_keeps_nobody_from_being_known() -> None:
    """With hints.rx_filter a pass asks the monitor first."""
    gate = threading.Event()

    class Stuck(FakeHypervisor):
        def rx_filter(self, uuid: str) -> Mapping[str, str]:
            assert gate.wait(10)
            return super().rx_filter(uuid)

    hypervisor = Stuck()
    vms = [hypervisor.add(f"web{number}") for number in range(6)]
    async with watching(hypervisor) as running:
        hypervisor.connect()
        await until(lambda: running.watcher.synced)
        assert {running.state(vm.uuid) for vm in vms} == {AgentState.UNKNOWN}
        gate.set()
        await until(lambda: all(running.names(vm.uuid) == ["eth0"] for vm in vms))


def _attach(vm: FakeVm) -> None:
    vm.nics.append(FakeNic("52:54:00:00:00:99", "eth1", 9))


def test_a_nic_that_comes_while_the_guest_of_a_new_vm_hangs_is_there() -> None:
    bench = make()
    vm = bench.hypervisor.add("web1")
    memory = PassMemory()
    bench.refresher.meet(vm.ref, memory)
    _attach(vm)
    vm.hang = threading.Event()
    thread = threading.Thread(target=bench.refresher.run, args=(vm.ref, memory))
    thread.start()
    try:
        eventually(lambda: vm.calls, within=5)
        assert bench.names(vm) == [None, None]
        assert bench.store.load() == []
    finally:
        vm.hang.set()
        thread.join()
    assert bench.names(vm) == ["eth0", "eth1"]


@pytest.mark.parametrize("stays", [True, False])
def test_a_vm_that_went_and_came_while_the_disk_was_full_is_no_ghost(stays: bool) -> None:
    bench = make()
    vm = bench.hypervisor.add("web1")
    bench.run(vm)
    bench.store.fail(Unavailable("no space"))
    bench.hypervisor.vms.pop(vm.uuid)
    assert bench.run(vm).gone
    bench.hypervisor.vms[vm.uuid] = vm
    bench.refresher.meet(vm.ref, PassMemory())
    bench.store.fail(None)
    bench.keeper.save_rest()
    assert bench.store.load() == []
    if stays:
        assert bench.run(vm).written
        assert [stored.entry for stored in bench.store.load()] == bench.board.entries()


class Cut(FakeHypervisor):
    """With `line` false the guest's files cannot be read: no new line to libvirt."""

    line = True

    def agent_command(self, uuid: str, command: str, *, timeout: int) -> str:
        if not self.line and "guest-file" in command:
            raise Unavailable("too many clients")
        return super().agent_command(uuid, command, timeout=timeout)


def test_a_pass_that_was_cut_off_is_not_the_one_before() -> None:
    """Its reply was new: the next pass with that reply has seen it nowhere."""
    hypervisor = Cut()
    bench = make(hypervisor=hypervisor)
    vm = hypervisor.add("web1")

    def at_rest() -> None:
        vm.raw = None
        vm.raw = hypervisor.agent_command(vm.uuid, '{"execute": "guest-network-get-interfaces"}', timeout=1)

    at_rest()
    for _ in range(4):
        bench.run(vm)
    vm.nics[0].name = "lan0"
    at_rest()
    hypervisor.line = False
    with pytest.raises(Unavailable):
        bench.run(vm)
    hypervisor.line = True
    bench.run(vm)
    assert bench.names(vm) == ["lan0"]
