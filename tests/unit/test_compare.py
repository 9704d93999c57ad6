"""The full comparison with libvirt while connections come and go."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from nicmapd.errors import Unavailable
from nicmapd.model import Domain
from tests.fakes.hypervisor import FakeHypervisor
from tests.unit.test_watch import run, until, watching


class Blocking(FakeHypervisor):
    """The next list of domains is made at once and told only when `gate` opens; with `broken` it fails then."""

    def __init__(self) -> None:
        super().__init__()
        self.gate: threading.Event | None = None
        self.asked_for = threading.Event()
        self.broken = False
        self.lists = 0

    def domains(self) -> Sequence[Domain]:
        self.lists += 1
        gate, self.gate = self.gate, None
        listed = super().domains()
        self.asked_for.set()
        if gate is not None:
            assert gate.wait(10)
            if self.broken:
                raise Unavailable("cannot list the domains: the connection was lost")
        return listed


@pytest.mark.parametrize("broken", [True, False])
def test_a_new_connection_is_compared_with_though_the_comparison_before_still_hangs(*, broken: bool) -> None:
    @run
    async def compared() -> None:
        hypervisor = Blocking()
        hypervisor.connected = False
        hypervisor.broken = broken
        vm = hypervisor.add("vm")
        async with watching(hypervisor) as running:
            hypervisor.gate = gate = threading.Event()
            hypervisor.connect()
            await asyncio.to_thread(hypervisor.asked_for.wait)
            hypervisor.disconnect()
            new = hypervisor.add("new")  # the list of before does not have it
            hypervisor.connect()
            gate.set()
            await until(lambda: running.watcher.synced)
            assert running.board.entry(new.uuid) is not None
            await until(lambda: running.names(vm.uuid) == running.names(new.uuid) == ["eth0"])
            assert hypervisor.lists == 2

    compared()


@run
async def test_a_comparison_that_is_asked_for_during_another_is_made_after_it() -> None:
    hypervisor = Blocking()
    hypervisor.add("vm")
    async with watching(hypervisor) as running:
        hypervisor.gate = gate = threading.Event()
        hypervisor.connect()
        await asyncio.to_thread(hypervisor.asked_for.wait)
        new = hypervisor.add("new")
        running.watcher.resync()
        running.watcher.resync()
        gate.set()
        await until(lambda: running.names(new.uuid) == ["eth0"])
        assert hypervisor.lists == 2
