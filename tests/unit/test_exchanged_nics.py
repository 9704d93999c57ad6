"""NICs that are replaced between libvirt's XML and the guest's answer."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from nicmapd.errors import Unavailable
from nicmapd.model import ChangeKind
from tests.fakes.hypervisor import FakeHypervisor, FakeNic, FakeVm
from tests.unit.test_refresh import make


class _Exchanged(FakeHypervisor):
    """Between the XML and the guest's answer `exchange` happens, so many `times`."""

    exchange: Callable[[], None] = staticmethod(lambda: None)
    times = 0
    _read = False

    def domain_xml(self, uuid: str) -> str:
        self._read = True
        return super().domain_xml(uuid)

    def _answer(self, vm: FakeVm, request: dict[str, object], timeout: int) -> str:
        if self._read and self.times:
            self._read = False
            self.times -= 1
            self.exchange()
        return super()._answer(vm, request, timeout)


def _exchanging(vm: FakeVm) -> Callable[[], None]:
    """Replaces the second NIC of a VM by a new one in its slot."""
    numbers = itertools.count(7)

    def exchange() -> None:
        number = next(numbers)
        vm.nics[1] = FakeNic(f"52:54:00:00:99:{number:02x}", f"eth{number}", vm.nics[1].slot)

    return exchange


def test_a_nic_that_is_replaced_while_the_guest_is_asked_has_no_name_of_its_successor() -> None:
    hypervisor = _Exchanged()
    bench = make(hypervisor=hypervisor)
    vm = hypervisor.add("web1", nics=2)
    bench.run(vm)
    old = vm.nics[1].mac
    hypervisor.exchange, hypervisor.times = _exchanging(vm), 1
    outcome = bench.run(vm)
    assert bench.names(vm) == ["eth0", "eth7"]
    kinds = {change.kind for change in outcome.changes}
    assert kinds >= {ChangeKind.NIC_DETACHED, ChangeKind.NIC_ATTACHED, ChangeKind.NIC_NAMED}
    assert ChangeKind.NIC_RENAMED not in kinds
    past = [one for one in bench.store.history(vm.uuid) if one.nic.mac == old]
    assert {one.naming.name for one in past} == {"eth1"}


def test_nics_that_are_replaced_in_the_first_pass_have_no_names_of_their_successors() -> None:
    hypervisor = _Exchanged()
    bench = make(hypervisor=hypervisor)
    vm = hypervisor.add("web1", nics=2)
    hypervisor.exchange, hypervisor.times = _exchanging(vm), 1
    bench.run(vm)
    entry = bench.board.entry(vm.uuid)
    assert entry is not None
    assert [(nic.nic.mac, nic.naming.name) for nic in entry.nics] == [(nic.mac, nic.name) for nic in vm.nics]


def test_where_nics_are_replaced_faster_than_the_guest_answers_there_is_no_pass() -> None:
    hypervisor = _Exchanged()
    bench = make(hypervisor=hypervisor)
    vm = hypervisor.add("web1", nics=2)
    bench.run(vm)
    hypervisor.exchange, hypervisor.times = _exchanging(vm), 100
    with pytest.raises(Unavailable, match="change faster"):
        bench.run(vm)
    assert bench.names(vm) == ["eth0", None]
    hypervisor.times = 0
    bench.run(vm)
    assert bench.names(vm) == ["eth0", vm.nics[1].name]


def test_only_new_names_are_worth_another_look_at_the_xml() -> None:
    bench = make()
    vm = bench.hypervisor.add("web1")
    bench.run(vm)
    reads = []
    for name in ("eth0", "lan0", "lan0"):
        vm.nics[0].name = name
        before = bench.hypervisor.asked.count("domain_xml")
        bench.run(vm)
        reads.append(bench.hypervisor.asked.count("domain_xml") - before)
    assert reads == [1, 2, 1]
