"""Who asks for a look at a VM has an answer, whatever hangs or goes meanwhile."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace

import pytest

from nicmapd import watch
from nicmapd.config import AgentConfig
from nicmapd.errors import AgentFailure, Unavailable
from nicmapd.model import Outcome
from nicmapd.ports import EventKind
from nicmapd.watched import SILENCE_SECONDS, wish_seconds
from tests.fakes.hypervisor import FakeHypervisor, FakeVm
from tests.unit.test_slow_guests import MovedClock
from tests.unit.test_watch import SLOW, Running, run, until, watching

#: One pass at a time, over guests that may hang for long.
ONE = replace(SLOW, agent=AgentConfig(timeout=30, concurrency=1))


async def asked(running: Running, uuid: str) -> asyncio.Task[Outcome]:
    """A wish that has been taken in."""
    wish: asyncio.Task[Outcome] = asyncio.create_task(running.watcher.refresh(uuid))
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


class _GivenUp(FakeHypervisor):
    """A call to a guest with `hang` waits for that, and ends with `failure`."""

    def _answer(self, vm: FakeVm, request: dict[str, object], timeout: int) -> str:
        if vm.hang is None:
            return super()._answer(vm, request, timeout)
        vm.calls.append(str(request["execute"]))
        assert vm.hang.wait(10)
        assert vm.failure is not None
        raise vm.failure


@pytest.mark.parametrize(
    ("waited", "state", "event", "shares"),
    [
        (SILENCE_SECONDS, "unresponsive", False, True),
        (SILENCE_SECONDS / 2, "unresponsive", False, False),
        (SILENCE_SECONDS, "unresponsive", True, False),
        (SILENCE_SECONDS, "bad_reply", False, False),
    ],
)
def test_who_asks_for_a_guest_that_is_silent_just_now_does_not_wait_for_it_twice(
    *, waited: float, state: str, event: bool, shares: bool
) -> None:
    @run
    async def asking() -> None:
        hypervisor = _GivenUp()
        vm = hypervisor.add("vm")
        clock, release = MovedClock(), threading.Event()
        async with watching(hypervisor, ONE, clock=clock) as running:
            hypervisor.connect()
            await until(lambda: running.names(vm.uuid) == ["eth0"])
            vm.failure, vm.hang, calls = AgentFailure("no answer", state=state), release, len(vm.calls)
            first = await asked(running, vm.uuid)
            await until(lambda: len(vm.calls) > calls)
            second = await asked(running, vm.uuid)
            if event:
                hypervisor.event(EventKind.AGENT, vm, "connected")
                await asyncio.sleep(0)
            clock.move(waited)
            vm.hang = again = threading.Event()
            release.set()
            assert not (await asyncio.wait_for(first, 5)).answered
            await until(lambda: len(vm.calls) == calls + 2)  # it is asked once more all the same
            assert second.done() is shares
            again.set()
            assert not (await asyncio.wait_for(second, 5)).answered

    asking()


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
