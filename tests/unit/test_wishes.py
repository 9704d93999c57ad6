"""Who asks for a look at a VM has an answer, whatever hangs or goes meanwhile."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace

import pytest

from nicmapd import watch
from nicmapd.config import AgentConfig
from nicmapd.errors import Unavailable
from nicmapd.ports import EventKind
from nicmapd.watched import wish_seconds
from tests.fakes.hypervisor import FakeHypervisor
from tests.unit.test_watch import SLOW, Running, run, until, watching

#: One pass at a time, over guests that may hang for long.
ONE = replace(SLOW, agent=AgentConfig(timeout=30, concurrency=1))


async def asked(running: Running, uuid: str) -> asyncio.Task[object]:
    """A wish that has been taken in."""
    wish: asyncio.Task[object] = asyncio.create_task(running.watcher.refresh(uuid))
    await asyncio.sleep(0)
    return wish


@run
async def test_who_waits_for_a_place_when_libvirt_goes_is_told_so() -> None:
    hypervisor = FakeHypervisor()
    vm, other = hypervisor.add("vm"), hypervisor.add("other")
    release = threading.Event()
    async with watching(hypervisor, ONE) as running:
        hypervisor.connect()
        await until(lambda: running.names(vm.uuid) == ["eth0"] == running.names(other.uuid))
        other.hang, calls = release, len(other.calls)
        hypervisor.event(EventKind.DEVICE_ADDED, other)
        await until(lambda: len(other.calls) > calls)  # it has the one place
        wish = await asked(running, vm.uuid)
        calls = len(vm.calls)
        hypervisor.disconnect()
        with pytest.raises(Unavailable, match="libvirt is away"):
            await asyncio.wait_for(wish, 3.0)
        release.set()
        assert len(vm.calls) == calls
        assert running.names(vm.uuid) == ["eth0"]


@run
async def test_who_waits_for_a_pass_that_is_under_way_when_libvirt_goes_is_told_so() -> None:
    hypervisor = FakeHypervisor()
    vm = hypervisor.add("vm")
    release = threading.Event()
    async with watching(hypervisor, ONE) as running:
        hypervisor.connect()
        await until(lambda: running.names(vm.uuid) == ["eth0"])
        vm.hang, calls = release, len(vm.calls)
        wishes = [await asked(running, vm.uuid)]
        await until(lambda: len(vm.calls) > calls)
        wishes.append(await asked(running, vm.uuid))
        hypervisor.disconnect()
        for wish in wishes:
            with pytest.raises(Unavailable, match="libvirt is away"):
                await asyncio.wait_for(wish, 3.0)
        hypervisor.connect()
        release.set()
        assert (await running.watcher.refresh(vm.uuid)).answered


@run
async def test_the_stop_answers_who_waits_for_a_hung_guest() -> None:
    hypervisor = FakeHypervisor()
    vm = hypervisor.add("vm")
    release = threading.Event()
    async with watching(hypervisor, ONE) as running:
        hypervisor.connect()
        await until(lambda: running.names(vm.uuid) == ["eth0"])
        vm.hang, calls = release, len(vm.calls)
        wish = await asked(running, vm.uuid)
        await until(lambda: len(vm.calls) > calls)
        await running.watcher.stop(seconds=0.0)
        with pytest.raises(Unavailable, match="stopping"):
            await wish
        with pytest.raises(Unavailable, match="stopping"):
            await running.watcher.refresh(vm.uuid)
        release.set()


def test_a_wish_has_an_end_and_leaves_the_map_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "wish_seconds", lambda _settings: 0.05)

    @run
    async def wished() -> None:
        hypervisor = FakeHypervisor()
        vm = hypervisor.add("vm")
        release = threading.Event()
        async with watching(hypervisor, ONE) as running:
            hypervisor.connect()
            await until(lambda: running.names(vm.uuid) == ["eth0"])
            before = running.board.entry(vm.uuid)
            vm.hang = release
            with pytest.raises(Unavailable, match=r"within 0\.05 s"):
                await running.watcher.refresh(vm.uuid)
            with pytest.raises(Unavailable, match=r"within 0\.05 s"):
                await running.watcher.refresh(vm.uuid)  # waits for the pass that the first one began
            assert running.board.entry(vm.uuid) is before
            release.set()

    wished()


def test_a_wish_may_take_what_a_hung_guest_takes_twice() -> None:
    for timeout in (1, 2, 60):
        assert wish_seconds(AgentConfig(timeout=timeout)) > 2 * (5 + timeout)
    assert wish_seconds(AgentConfig()) == 30
