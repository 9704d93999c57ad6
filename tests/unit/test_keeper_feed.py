"""What the keeper puts into the feed while the store fails, and after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from nicmapd.errors import Unavailable
from nicmapd.keeper import MAX_UNSAVED_CHANGES, Keeper
from nicmapd.model import Change, ChangeKind, FeedItem
from tests.fakes.world import World, empty_world, named

RESYNC = Change(ChangeKind.RESYNC, "connected to libvirt")


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
