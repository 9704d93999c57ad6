"""What the keeper puts into the feed while the store fails, and after it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from threading import Event, Semaphore

import pytest

from nicmapd.errors import Unavailable
from nicmapd.keeper import MAX_UNSAVED_CHANGES, Keeper
from nicmapd.model import Change, ChangeKind, FeedItem, VmEntry
from tests.fakes.store import MemoryStore
from tests.fakes.world import World, empty_world, named

RESYNC = Change(ChangeKind.RESYNC, "connected to libvirt")


class SlowStore(MemoryStore):
    """Each write says that it has `entered`, and waits for `go`."""

    def __init__(self) -> None:
        super().__init__(host="host1")
        self.entered, self.go = Semaphore(0), Event()

    def _wait(self) -> None:
        self.entered.release()
        assert self.go.wait(timeout=10)

    def apply(self, entry: VmEntry, changes: Sequence[Change], *, at: datetime) -> Sequence[FeedItem]:
        self._wait()
        return super().apply(entry, changes, at=at)

    def remove(self, uuid: str, changes: Sequence[Change], *, at: datetime) -> Sequence[FeedItem]:
        self._wait()
        return super().remove(uuid, changes, at=at)


class Told(list[str]):
    """The sentences that were published."""

    def __call__(self, items: Sequence[FeedItem]) -> None:
        self += [item.change.sentence for item in items]


@pytest.fixture
def world() -> World:
    return empty_world()


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def keeper(world: World, told: Told) -> Keeper:
    return Keeper(world.store, world.board, clock=world.clock, publish=told)


def test_a_resync_that_could_not_be_stored_comes_later_and_once(world: World, keeper: Keeper, told: Told) -> None:
    world.store.fault = Unavailable("no space")
    keeper.note(RESYNC)
    keeper.note(RESYNC)
    keeper.flush_seen()
    assert told == []
    world.store.fault = None
    keeper.flush_seen()
    keeper.flush_seen()
    assert told == ["connected to libvirt"]


def test_changes_come_when_the_store_takes_them_again(world: World, keeper: Keeper, told: Told) -> None:
    old = world.vm(1, "web1", [world.nic(1, 0, named("a"))])
    new = replace(old, nics=(world.nic(1, 0, named("b")),))
    world.store.fault = Unavailable("no space")
    keeper.keep(old, new, [Change(ChangeKind.NIC_RENAMED, "a renamed to b")])
    assert told == []
    world.store.fault = None
    keeper.keep(new, new, [])
    assert told == ["a renamed to b"]


def test_readers_are_told_to_look_where_changes_were_too_many_to_wait(world: World, keeper: Keeper, told: Told) -> None:
    entry = world.vm(1, "web1", [world.nic(1, 0, named("a"))])
    world.store.fault = Unavailable("no space")
    for number in range(MAX_UNSAVED_CHANGES + 1):
        keeper.keep(None, entry, [Change(ChangeKind.NIC_RENAMED, str(number))])
    world.store.fault = None
    keeper.keep(entry, entry, [])
    keeper.flush_seen()
    assert told[:-1] == [str(number) for number in range(1, MAX_UNSAVED_CHANGES + 1)]
    assert told[-1].startswith("the store could not be written for so long")


def test_who_asks_for_the_past_can_wait_for_what_the_board_shows(world: World) -> None:
    store = SlowStore()
    keeper = Keeper(store, world.board, clock=world.clock)
    entry = world.vm(1, "web1", [world.nic(1, 0, named("a"))])
    assert keeper.settle(seconds=0)
    with ThreadPoolExecutor(2) as pool:
        try:
            kept = pool.submit(keeper.keep, entry, replace(entry, nics=()), [])
            assert store.entered.acquire(timeout=10)
            assert world.board.entry(entry.vm.uuid) == replace(entry, nics=())
            assert not keeper.settle(seconds=0)
            waiting = pool.submit(keeper.settle, seconds=10)
            store.go.set()
            assert waiting.result()
            assert kept.result()
            store.go.clear()
            gone = pool.submit(keeper.forget, entry.vm.uuid, [])
            assert store.entered.acquire(timeout=10)
            assert world.board.entry(entry.vm.uuid) is None
            assert not keeper.settle(seconds=0)
        finally:
            store.go.set()
        assert gone.result()
    assert keeper.settle(seconds=0)


def test_a_write_that_failed_is_not_waited_for(world: World, keeper: Keeper) -> None:
    entry = world.vm(1, "web1", [])
    world.store.fault = Unavailable("no space")
    assert not keeper.keep(None, entry, [Change(ChangeKind.VM_ADDED, "new")])
    assert keeper.settle(seconds=0)


class ForgetfulStore(MemoryStore):
    """While `lost`, writes are done and say that they failed, as where PostgreSQL's answer to COMMIT is lost."""

    lost = False

    def _answer(self, items: Sequence[FeedItem]) -> Sequence[FeedItem]:
        if self.lost:
            raise Unavailable("no answer within 12 s, connection given up")
        return items

    def apply(self, entry: VmEntry, changes: Sequence[Change], *, at: datetime) -> Sequence[FeedItem]:
        return self._answer(super().apply(entry, changes, at=at))

    def remove(self, uuid: str, changes: Sequence[Change], *, at: datetime) -> Sequence[FeedItem]:
        return self._answer(super().remove(uuid, changes, at=at))


class TestAnAnswerThatIsLost:
    """The changes are in the feed once, whatever comes between the write and the next look."""

    @pytest.fixture(autouse=True)
    def begin(self, world: World) -> None:
        self.store, self.told = ForgetfulStore(host="host1"), Told()
        self.keeper = Keeper(self.store, world.board, clock=world.clock, publish=self.told)
        self.entries = {name: world.vm(1, "web1", [world.nic(1, 0, named(name))]) for name in "abcd"}
        self.uuid = self.entries["a"].vm.uuid
        self.keeper.keep(None, self.entries["a"], [Change(ChangeKind.VM_ADDED, "found")])

    def rename(self, old: str, new: str) -> bool:
        change = Change(ChangeKind.NIC_RENAMED, f"{old} renamed to {new}")
        return self.keeper.keep(self.entries[old], self.entries[new], [change])

    def feed(self) -> list[str]:
        return [item.change.sentence for item in self.store.feed(after=0)]

    def test_with_nothing_new(self) -> None:
        self.store.lost = True
        assert not self.rename("a", "b")
        self.store.lost = False
        assert self.keeper.keep(self.entries["b"], self.entries["b"], [])
        assert self.feed() == self.told == ["found", "a renamed to b"]
        assert self.keeper.unsaved() == []

    def test_with_something_new_and_several_times(self) -> None:
        self.store.lost = True
        self.rename("a", "b")
        self.rename("b", "a")
        self.store.lost = False
        self.rename("a", "b")
        self.rename("b", "c")
        assert self.feed() == self.told
        assert self.told == ["found", "a renamed to b", "b renamed to a", "a renamed to b", "b renamed to c"]

    def test_with_a_store_that_is_away_meanwhile(self) -> None:
        self.store.lost = True
        self.rename("a", "b")
        self.store.lost, self.store.fault = False, Unavailable("away")
        self.rename("b", "c")
        self.rename("c", "d")
        self.store.fault = None
        self.keeper.keep(self.entries["d"], self.entries["d"], [])
        assert self.feed() == self.told == ["found", "a renamed to b", "b renamed to c", "c renamed to d"]

    def test_and_one_that_was_not_done_is_done_again(self) -> None:
        self.store.fault = Unavailable("no space")
        self.rename("a", "b")
        self.rename("b", "a")
        self.store.fault = None
        self.rename("a", "b")
        assert self.feed() == self.told == ["found", "a renamed to b", "b renamed to a", "a renamed to b"]

    def test_of_a_vm_that_is_gone(self) -> None:
        self.store.lost = True
        self.keeper.forget(self.uuid, [Change(ChangeKind.VM_REMOVED, "gone")])
        self.store.lost = False
        self.keeper.forget(self.uuid, [])
        assert self.feed() == self.told == ["found", "gone"]

    def test_with_more_changes_than_can_wait(self) -> None:
        self.store.lost = True
        self.rename("a", "b")
        self.store.lost, self.store.fault = False, Unavailable("away")
        many = [Change(ChangeKind.NIC_RENAMED, str(number)) for number in range(MAX_UNSAVED_CHANGES)]
        self.keeper.keep(self.entries["b"], self.entries["b"], many)
        self.store.fault = None
        self.keeper.save_rest()
        assert self.feed() == ["found", "a renamed to b", *(change.sentence for change in many)]
