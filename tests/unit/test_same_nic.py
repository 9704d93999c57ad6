"""Which NIC of before a NIC of now is, across stops, edits and starts; and what it may keep of a name."""

from __future__ import annotations

import copy

import pytest

from nicmapd.model import ChangeKind, DomainState, NicEntry, Verdict
from tests.fakes.hypervisor import FakeNic, FakeVm
from tests.fakes.libvirt import FakeLibvirt
from tests.unit.test_refresh import Bench, make

NEW = "52:54:00:99:99:99"


@pytest.fixture
def bench() -> Bench:
    return make()


def stopped(bench: Bench) -> FakeVm:
    """A VM that has run with eth0 and eth1, and is off."""
    vm = bench.hypervisor.add("web1", nics=2)
    bench.run(vm)
    vm.state = DomainState.OFF
    bench.event(vm)
    bench.run(vm)
    return vm


def second(bench: Bench, vm: FakeVm) -> NicEntry:
    entry = bench.board.entry(vm.uuid)
    assert entry is not None
    return entry.nics[1]


@pytest.mark.parametrize(("network", "model"), [("storage", "virtio"), ("default", "e1000")])
def test_another_nic_in_the_place_of_one_that_was_taken_out_has_no_name(bench: Bench, network: str, model: str) -> None:
    """virsh detach-interface --config, attach-interface --config: libvirt gives the new one the free PCI address."""
    vm = stopped(bench)
    before = second(bench, vm)
    vm.nics[1] = FakeNic(NEW, "not seen yet", vm.nics[1].slot, network=network, model=model)
    bench.event(vm)
    outcome = bench.run(vm)
    now = second(bench, vm)
    assert (now.nic.mac, now.naming.name, now.naming.verdict) == (NEW, None, Verdict.NEVER)
    assert now.id != before.id
    assert {ChangeKind.NIC_ATTACHED, ChangeKind.NIC_DETACHED} <= {change.kind for change in outcome.changes}


def test_it_has_none_either_when_the_vm_starts_and_its_agent_does_not_answer(bench: Bench) -> None:
    vm = stopped(bench)
    vm.nics[1] = FakeNic(NEW, "eth1", vm.nics[1].slot, network="storage")
    bench.event(vm)
    bench.run(vm)
    vm.state, vm.connected = DomainState.RUNNING, False
    bench.memories[vm.uuid].guest_booted()
    bench.run(vm)
    assert bench.names(vm) == ["eth0", None]


def test_a_nic_whose_mac_was_changed_is_the_same_but_its_name_is_not_certain(bench: Bench) -> None:
    """All else is equal: it may as well be another one of the same make, so the guest must show it first."""
    vm = stopped(bench)
    before = second(bench, vm)
    vm.nics[1] = FakeNic(NEW, "not seen yet", vm.nics[1].slot)
    bench.event(vm)
    outcome = bench.run(vm)
    now = second(bench, vm)
    assert (now.id, now.naming.name) == (before.id, None)
    assert before.nic.mac in now.naming.reason
    kinds = [change.kind for change in outcome.changes]
    assert kinds == [ChangeKind.NIC_MAC, ChangeKind.NIC_UNNAMED, ChangeKind.NIC_ADDRESSES]
    vm.nics[1].name = "eth1"
    vm.state = DomainState.RUNNING
    bench.memories[vm.uuid].guest_booted()
    bench.event(vm)
    bench.run(vm)
    assert (bench.names(vm), second(bench, vm).id) == (["eth0", "eth1"], before.id)


def test_a_nic_of_the_next_boot_does_not_inherit_from_one_that_only_the_running_vm_had() -> None:
    """attach --live of one NIC, attach --config of another (the same free PCI address in both XMLs), shutdown."""
    libvirt = FakeLibvirt()
    bench = make(hypervisor=libvirt)
    vm = libvirt.add("web1", nics=1)
    bench.run(vm)
    vm.nics.append(FakeNic("52:54:00:00:01:aa", "eth1", 5, alias="net1", target="vnet1"))
    bench.event(vm)
    bench.run(vm)
    assert bench.names(vm) == ["eth0", "eth1"]
    # Nothing tells of this (libvirt has no event for it), and the configuration is read once a minute.
    libvirt.config[vm.uuid].append(FakeNic(NEW, "?", 5, network="storage"))
    vm.state, vm.nics = DomainState.OFF, [copy.copy(one) for one in libvirt.config[vm.uuid]]
    bench.event(vm)
    outcome = bench.run(vm)
    now = second(bench, vm)
    assert (now.nic.mac, now.naming.verdict) == (NEW, Verdict.NEVER)
    assert ChangeKind.NIC_DETACHED in [change.kind for change in outcome.changes]
