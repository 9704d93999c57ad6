"""What the keeper does when the wall clock is wrong: nothing is dropped for its age, and no age is made up."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest

from nicmapd.board import Board
from nicmapd.errors import StoreCorrupt
from nicmapd.keeper import DOUBT_SECONDS, Keeper
from nicmapd.model import FeedItem, Freshness
from tests.fakes.clock import FakeClock
from tests.fakes.store import MemoryDatabase, MemoryStore
from tests.unit.store_places import HOST, change, nic, vm

DAYS = 90.0
YEAR = timedelta(days=365)


class Bench:
    """A store with a past of one rename, and a keeper that has just started on it."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.database = MemoryDatabase()
        self.store = MemoryStore(host=HOST, database=self.database)
        self.store.apply(vm(nic("eth0")), [], at=self.clock.now())
        self.clock.move(60)
        self.store.apply(vm(nic("ens3")), [change()], at=self.clock.now())
        self.store.flush_seen({"uuid-1": self.clock.now()}, at=self.clock.now())
        self.restart()

    def restart(self) -> None:
        self.store = MemoryStore(host=HOST, database=self.database)
        self.board = Board(self.clock)
        self.keeper = Keeper(self.store, self.board, clock=self.clock)
        self.keeper.load()

    def prune(self) -> list[str | None]:
        """The names that are left after it."""
        self.keeper.prune(days=DAYS)
        return [one.naming.name for one in self.store.history("uuid-1")]

    def freshness(self) -> Freshness:
        entry = self.board.entry("uuid-1")
        assert entry is not None
        return self.board.sight(entry).freshness


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_history_is_dropped_when_it_is_old(bench: Bench) -> None:
    assert bench.prune() == ["ens3", "eth0"]
    for _ in range(91):
        bench.clock.move(86400)
        left = bench.prune()
    assert left == ["ens3"]


def test_a_clock_that_is_a_year_ahead_for_some_seconds_costs_no_history(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """All timers are due at once then (APScheduler goes by the wall clock), that of the pruning among them."""
    assert bench.prune() == ["ens3", "eth0"]
    bench.clock.wall += YEAR
    assert bench.prune() == ["ens3", "eth0"]
    bench.clock.move(3600)
    assert bench.prune() == ["ens3", "eth0"]
    assert [record.getMessage() for record in caplog.records] == [
        "the clock has gone ahead by 8760 h: no history is dropped for its age for 24 h"
    ]
    bench.clock.wall -= YEAR
    assert bench.prune() == ["ens3", "eth0"]
    # It was right before, and so it is now: the past gets old as ever.
    bench.clock.move(DOUBT_SECONDS)
    bench.clock.wall += YEAR
    assert bench.prune() == ["ens3", "eth0"]


def test_it_is_believed_when_it_stays_there(bench: Bench) -> None:
    bench.clock.wall += YEAR
    assert bench.prune() == ["ens3", "eth0"]
    bench.clock.move(DOUBT_SECONDS)
    assert bench.prune() == ["ens3"]


def test_so_it_is_with_one_that_is_ahead_at_the_start(bench: Bench) -> None:
    bench.clock.wall += YEAR
    bench.restart()
    assert bench.prune() == ["ens3", "eth0"]
    bench.clock.move(DOUBT_SECONDS)
    assert bench.prune() == ["ens3"]


def test_a_feed_that_cannot_be_read_does_not_keep_the_daemon_from_starting(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(*_: object, **__: object) -> Sequence[FeedItem]:
        raise StoreCorrupt("a row cannot be read")

    monkeypatch.setattr(MemoryStore, "feed", damaged)
    bench.clock.wall += YEAR
    bench.restart()
    assert bench.prune() == ["ens3", "eth0"]


def test_a_clock_that_was_set_back_over_a_restart_makes_nothing_fresh(bench: Bench) -> None:
    assert bench.freshness() is Freshness.FRESH
    bench.clock.wall -= timedelta(days=2)
    bench.restart()
    assert bench.freshness() is Freshness.NEVER


def test_one_that_was_corrected_by_a_moment_makes_nothing_old(bench: Bench) -> None:
    bench.clock.wall -= timedelta(seconds=1)
    bench.restart()
    assert bench.freshness() is Freshness.FRESH
    assert bench.board.contact("uuid-1").last_success == bench.clock.monotonic()
