"""Names where nothing can be probed, which is the default of RHEL and its kin: a NIC that is plugged, or comes into
sight, is not taken for one that has gone out of sight. And replies that are made up."""

from __future__ import annotations

import copy
import json

import pytest

from tests.fakes.changeable import ChangeableHost
from tests.fakes.hypervisor import FakeNic, FakeVm
from tests.unit.test_change import detach
from tests.unit.test_refresh import Bench, make

NEW = "52:54:00:12:34:56"


@pytest.fixture
def bench() -> Bench:
    return make()


def settled(bench: Bench, *, nics: int) -> FakeVm:
    """A guest without file commands, whose NICs have their names."""
    vm = bench.hypervisor.add("web1", nics=nics, files=False)
    for _ in range(2):
        bench.run(vm)
    assert bench.names(vm) == [f"eth{number}" for number in range(nics)]
    return vm


def plug(bench: Bench, vm: FakeVm, name: str, *, packets: int = 1000) -> FakeNic:
    nic = FakeNic(NEW, name, len(vm.nics) + 1, alias=f"net{len(vm.nics)}", packets=packets)
    vm.nics.append(nic)
    bench.event(vm)
    return nic


@pytest.mark.parametrize("name", ["eth2", "eth1"], ids=["a new name", "the name that became free"])
def test_a_plugged_nic_is_not_taken_for_one_that_went_out_of_sight(bench: Bench, name: str) -> None:
    """To a container's namespace, or its driver was unbound; both between two passes."""
    vm = settled(bench, nics=2)
    vm.nics[1].hidden = True
    plug(bench, vm, name)
    for _ in range(5):
        bench.run(vm)
        assert bench.names(vm) == ["eth0", None, name]


@pytest.mark.parametrize("packets", [1000, 1])
def test_nor_for_one_that_has_been_out_of_sight_for_long(bench: Bench, packets: int) -> None:
    """Its driver is vfio-pci, for DPDK: the reply has the loopback alone."""
    vm = settled(bench, nics=1)
    vm.nics[0].hidden = True
    for _ in range(10):
        bench.run(vm)
    assert bench.names(vm) == [None]
    plug(bench, vm, "eth0", packets=packets)
    for _ in range(5):
        bench.run(vm)
        assert bench.names(vm)[0] is None


def test_a_plugged_nic_has_the_name_of_one_that_is_hidden(bench: Bench) -> None:
    vm = settled(bench, nics=2)
    vm.nics[1].hidden = True
    bench.run(vm)
    plug(bench, vm, "eth1")
    for _ in range(5):
        bench.run(vm)
        assert bench.names(vm) == ["eth0", None, "eth1"]


def test_a_plugged_nic_may_need_a_moment(bench: Bench) -> None:
    vm = settled(bench, nics=2)
    vm.nics[1].hidden = True
    bench.run(vm)
    nic = plug(bench, vm, "eth1")
    nic.hidden = True
    for _ in range(2):
        bench.run(vm)
    nic.hidden = False
    for _ in range(3):
        bench.run(vm)
        assert bench.names(vm) == ["eth0", None, "eth1"]


def test_one_in_the_place_of_a_detached_nic_has_its_name(bench: Bench) -> None:
    vm = settled(bench, nics=2)
    del vm.nics[1]
    plug(bench, vm, "eth1")
    for _ in range(3):
        bench.run(vm)
        assert bench.names(vm) == ["eth0", "eth1"]


def test_a_nic_that_is_given_the_mac_of_one_just_plugged_is_not_that_one(bench: Bench) -> None:
    """The plugged one is out of sight, so its MAC is alone: the name of a NIC that was there tells nothing any more."""
    vm = settled(bench, nics=2)
    plug(bench, vm, "eth2").hidden = True
    bench.run(vm)
    vm.nics[1].guest_mac = NEW
    for _ in range(3):
        bench.run(vm)
        assert bench.names(vm) == ["eth0", None, None]


def test_a_plugged_nic_that_is_given_the_mac_of_the_hidden_one_whose_name_it_has_is_not_that_one(bench: Bench) -> None:
    vm = settled(bench, nics=1)
    vm.nics[0].hidden = True
    nic = plug(bench, vm, "eth0")
    bench.run(vm)
    assert bench.names(vm) == [None, "eth0"]
    nic.guest_mac = vm.nics[0].mac
    for _ in range(3):
        bench.run(vm)
        assert bench.names(vm) == [None, None]


def test_macs_that_were_swapped_with_a_plugged_nic_leave_both_in_doubt(bench: Bench) -> None:
    vm = settled(bench, nics=2)
    nic = plug(bench, vm, "eth2")
    nic.guest_mac, vm.nics[1].guest_mac = vm.nics[1].mac, NEW
    for _ in range(3):
        bench.run(vm)
        assert bench.names(vm) == ["eth0", None, None]


def test_a_nic_that_is_seen_for_the_first_time_is_not_taken_for_one_that_is_hidden(bench: Bench) -> None:
    """Its driver was loaded late, or it was in a namespace when nicmapd came."""
    vm = bench.hypervisor.add("web1", nics=2, files=False)
    vm.nics[1].hidden, vm.nics[1].packets = True, 5000
    for _ in range(2):
        bench.run(vm)
    assert bench.names(vm) == ["eth0", None]
    vm.nics[0].hidden, vm.nics[1].hidden = True, False
    for _ in range(5):
        bench.run(vm)
        assert bench.names(vm)[0] is None


def test_swapped_macs_are_followed(bench: Bench) -> None:
    vm = settled(bench, nics=2)
    first, second = vm.nics
    first.packets = 500
    bench.run(vm)
    first.guest_mac, second.guest_mac = second.mac, first.mac
    for _ in range(3):
        bench.run(vm)
        assert bench.names(vm) == ["eth0", "eth1"]
    second.hidden = True
    bench.run(vm)
    assert bench.names(vm) == ["eth0", None], "it stays where it is known to be"


def test_a_detach_by_name_takes_the_nic_of_that_name() -> None:
    host = ChangeableHost()
    vm = host.add("web1", nics=2, files=False)
    host.look(vm)
    vm.nics[1].hidden = True
    new = FakeNic(NEW, "eth2", 3, alias="net2", target="vnet2", packets=1000)
    vm.nics.append(new)
    host.libvirt.config[vm.uuid].append(copy.copy(new))
    detach(host, vm, "eth2")
    assert {mac for _, _, mac in host.libvirt.done} == {NEW}


@pytest.mark.parametrize("files", [True, False])
@pytest.mark.parametrize("gone", [1, 300])
def test_a_reply_that_was_made_up_costs_its_guest_its_own_names_and_no_pass(
    bench: Bench, files: bool, gone: int
) -> None:
    """As many interfaces as are read, in crowds of one MAC, and all MACs move on at once."""
    vm = bench.hypervisor.add("hostile", nics=4, files=files)
    crowd = [(f"g{nic}n{one}", nic) for nic in range(4) for one in range(256)]
    for shift in (0, 1, 0):
        listed = [{"name": name, "hardware-address": vm.nics[(nic + shift) % 4].mac} for name, nic in crowd]
        for one in range(512):
            number = (one + shift) % 512
            listed.append({"name": f"o{one}", "hardware-address": f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}"})
        vm.raw = json.dumps({"return": listed[gone * shift :]})
        assert bench.run(vm).answered
        assert bench.names(vm) == [None] * 4
