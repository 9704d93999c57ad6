"""Keeps board and store the same: what is known goes to the board at once and to the store in one transaction.

A store that cannot be written (disk full, PostgreSQL away) stops nothing: the board is right, what is missing in the
store is remembered and written as soon as that works again, and `fault` says so meanwhile (`degraded`).
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from nicmapd.board import Board, only_met
from nicmapd.bounds import same_but_for_cut, was_cut
from nicmapd.errors import NicmapError, Unavailable
from nicmapd.model import Change, ChangeKind, FeedItem, VmEntry
from nicmapd.ports import Clock, NicStore, StoredVm

_log = logging.getLogger(__name__)

#: Changes that wait for a store that cannot be written, per VM: the last ones tell the present.
MAX_UNSAVED_CHANGES = 200

_CUT = Change(ChangeKind.RESYNC, "the store could not be written for so long that some changes were not kept")

#: Seconds that a clock may have been set back over a restart without making ages unknown: as NTP corrects it.
MAX_BACK_SECONDS = 2.0

#: Seconds by which the wall clock may run ahead of the other one, or at the start of the newest moment in the store.
MAX_LEAP_SECONDS = 3600.0

#: Seconds after which it is believed that it is so late: until then nothing is dropped for its age.
DOUBT_SECONDS = 86400.0

Publish = Callable[[Sequence[FeedItem]], None]


@dataclass(frozen=True, slots=True)
class _Unsaved:
    """Changes of a VM that could not be written. The first `tried` of them were in a write that failed, before which
    `after` was the newest item of the feed."""

    changes: Sequence[Change] = ()
    after: int = 0
    tried: int = 0


class _WallClock:
    """Whether the wall clock may be believed that history is old: one that is wrong for a minute must not erase it.

    One that has gone ahead of the monotonic clock is doubted until it has stayed there for long: there is no hurry.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ahead = self._now()
        self._doubted: float | None = None

    def _now(self) -> float:
        """By how much the wall clock is ahead of the monotonic one."""
        return self._clock.now().timestamp() - self._clock.monotonic()

    def compare(self, past: Sequence[datetime]) -> None:
        """At the start: with moments that have been, the newest of which cannot be long ago."""
        if past:
            self._ahead = min(self._ahead, max(past).timestamp() - self._clock.monotonic())

    def believed(self) -> bool:
        """Looks, and says so in the log when it begins to doubt."""
        now, leap = self._clock.monotonic(), self._now() - self._ahead
        if leap > MAX_LEAP_SECONDS:
            if self._doubted is None:
                self._doubted = now
                hours, wait = leap / 3600, DOUBT_SECONDS / 3600
                _log.warning(
                    "the clock has gone ahead by %.0f h: no history is dropped for its age for %.0f h", hours, wait
                )
            if now - self._doubted < DOUBT_SECONDS:
                return False
        self._ahead, self._doubted = self._now(), None
        return True


class Keeper:
    """The one writer of board and store. Calls for one VM must not run at once; for different VMs they may.

    `publish` gets the numbered changes once they are stored, from the thread that stored them.
    """

    def __init__(self, store: NicStore, board: Board, *, clock: Clock, publish: Publish = lambda _items: None) -> None:
        self._store = store
        self._board = board
        self._clock = clock
        self._publish = publish
        self._unsaved: dict[str, _Unsaved] = {}
        self._newest: int | None = None
        self._counting = threading.Lock()
        self._owed: Change | None = None
        self._fault = ""
        self._wall = _WallClock(clock)
        self._writes: set[object] = set()
        self._fewer = threading.Condition()

    @property
    def fault(self) -> str:
        """Why the store could not be written the last time, or "" if it could."""
        return self._fault

    @property
    def suppressed(self) -> Mapping[str, int]:
        """By VM: how much of its past was too much to keep, since the start."""
        return self._store.suppressed

    def load(self, stored: Sequence[StoredVm] | None = None) -> int:
        """Fills the board with what is `stored` (None: the store is read); the number of VMs. Raises `Unavailable`."""
        now, monotonic = self._clock.now(), self._clock.monotonic()
        stored = self._store.load() if stored is None else stored
        for vm in stored:
            self._board.put(vm.entry)
            age = None if vm.last_success is None else (now - vm.last_success).total_seconds()
            # One that is still to come tells nothing: the clock was set back since, by who knows how much.
            if age is not None and age > -MAX_BACK_SECONDS:
                contact = self._board.contact(vm.entry.vm.uuid)
                self._board.touch(vm.entry.vm.uuid, replace(contact, last_success=monotonic - max(0.0, age)))
        moments = [vm.last_success for vm in stored if vm.last_success is not None]
        self._wall.compare([*moments, *self._newest_change()])
        return len(stored)

    def _newest_change(self) -> list[datetime]:
        """When that was; nothing if there is none, or it cannot be read: the map is not less worth for it."""
        with contextlib.suppress(Unavailable):
            newest = self._store.feed_bounds()[1]
            return [item.at for item in self._store.feed(after=newest - 1, limit=1)]
        return []

    def keep(self, old: VmEntry | None, entry: VmEntry, changes: Sequence[Change]) -> bool:
        """Makes `entry` what is known; whether the store was written. Equal to `old`: nothing is."""
        changes = _true_ones(old, entry, changes)
        pending = self._pending(entry.vm.uuid)
        if old == entry and pending is None and not changes:
            self._board.put(entry)
            return False
        with self._write_under_way():
            self._board.put(entry)
            return self._save(entry, [*(pending or ()), *changes])

    def _pending(self, uuid: str) -> Sequence[Change] | None:
        unsaved = self._unsaved.get(uuid)
        return None if unsaved is None else unsaved.changes

    def show(self, entry: VmEntry) -> None:
        """Makes known a VM that was only met: the store hears of it with its first pass."""
        self._board.put(entry)

    def forget(self, uuid: str, changes: Sequence[Change]) -> bool:
        """The VM is gone: what was known of it becomes past. Whether the store was written."""
        entry = self._board.entry(uuid)
        pending = self._pending(uuid)
        known = (entry is not None and not only_met(entry)) or pending is not None
        with self._write_under_way():
            self._board.drop(uuid)
            return known and self._save_removal(uuid, [*(pending or ()), *changes])

    @contextlib.contextmanager
    def _write_under_way(self) -> Iterator[None]:
        """The board shows in this block what the store does not have yet."""
        ticket = object()
        with self._fewer:
            self._writes.add(ticket)
        try:
            yield
        finally:
            with self._fewer:
                self._writes.discard(ticket)
                self._fewer.notify_all()

    def settle(self, *, seconds: float) -> bool:
        """Waits until the store has what the board shows by now: who saw a change must find it in the past, too.

        False if that takes longer than `seconds`. A write that failed is not waited for (`fault`, `unsaved`).
        """
        with self._fewer:
            before = set(self._writes)
            return self._fewer.wait_for(lambda: before.isdisjoint(self._writes), timeout=seconds)

    def _save(self, entry: VmEntry, changes: list[Change]) -> bool:
        return self._write(entry.vm.uuid, changes, lambda told, at: self._store.apply(entry, told, at=at))

    def _save_removal(self, uuid: str, changes: list[Change]) -> bool:
        return self._write(uuid, changes, lambda told, at: self._store.remove(uuid, told, at=at))

    def _write(
        self, uuid: str, changes: list[Change], write: Callable[[list[Change], datetime], Sequence[FeedItem]]
    ) -> bool:
        """`changes` begin with those that are unsaved of this VM."""
        unsaved = self._unsaved.get(uuid, _Unsaved())
        try:
            if self._lost_answer(uuid, unsaved):
                changes = changes[unsaved.tried :]
            unsaved = _Unsaved(after=self._newest_item(), tried=len(changes))
            items = write(changes, self._clock.now())
        except Unavailable as error:
            self._failed(uuid, changes, unsaved, error)
            return False
        self._unsaved.pop(uuid, None)
        # One VM that was written says little of those that still wait.
        if self._fault and not self._unsaved:
            _log.warning("the store can be written again")
            self._fault = ""
        self._told(items)
        return True

    def _failed(self, uuid: str, changes: list[Change], unsaved: _Unsaved, error: Unavailable) -> None:
        too_many = max(0, len(changes) - MAX_UNSAVED_CHANGES)
        tried = max(0, unsaved.tried - too_many)
        self._unsaved[uuid] = _Unsaved(changes[too_many:], after=unsaved.after, tried=tried)
        if too_many:
            self._owed = _CUT
        if not self._fault:
            _log.error("the store cannot be written, the map is served from memory: %s", error.message)
        self._fault = error.message

    def _lost_answer(self, uuid: str, unsaved: _Unsaved) -> bool:
        """Whether the write that failed was done nevertheless (PostgreSQL, where the answer may be lost).

        A write is one transaction, and we are the only one who writes: an item of this VM that is newer than the
        attempt is of that attempt, and then all of it is there.
        """
        if not unsaved.tried:
            return False
        # An empty write first: it has its turn only when the lost one cannot come true any more.
        self._store.note([], at=self._clock.now())
        items = self._store.feed(after=unsaved.after, uuid=uuid)
        self._told(items)
        return bool(items)

    def _newest_item(self) -> int:
        """The newest number in the feed that we know of; asked for once, before the first write."""
        if self._newest is None:
            newest = self._store.feed_bounds()[1]
            with self._counting:
                self._newest = max(self._newest or 0, newest)
        return self._newest

    def _told(self, items: Sequence[FeedItem]) -> None:
        """They are in the feed."""
        if items:
            with self._counting:
                self._newest = max(self._newest or 0, items[-1].id)
            self._publish(items)

    def unsaved(self) -> list[str]:
        """UUIDs of the VMs whose newest state is not in the store; `keep` or `forget` tries again."""
        return list(self._unsaved)

    def save_rest(self) -> None:
        """Writes what is still unsaved, as far as that works: at the stop, when no pass runs any more."""
        for uuid, unsaved in list(self._unsaved.items()):
            entry, changes = self._board.entry(uuid), list(unsaved.changes)
            if entry is None or only_met(entry):  # the one that it was is gone, and of a new one nothing is known yet
                written = self._save_removal(uuid, changes)
            else:
                written = self._save(entry, changes)
            if not written:
                return  # the rest would fail, too

    def note(self, change: Change) -> None:
        """Puts a change of the host itself (`resync`) into the feed; later, if the store cannot be written now.

        Of several that wait only the last is written: readers must look once, however often it happened.
        """
        self._owed = change
        self._note_owed()

    def _note_owed(self) -> None:
        change = self._owed
        if change is None:
            return
        try:
            items = self._store.note([change], at=self._clock.now())
        except NicmapError as error:
            _log.warning("the feed cannot be written: %s", error.message)
            return
        if self._owed is change:
            self._owed = None
        self._told(items)

    def flush_seen(self) -> None:
        """Writes when each VM last answered, for the ages after a restart: one row per host."""
        now, monotonic = self._clock.now(), self._clock.monotonic()
        seen = {
            uuid: now - timedelta(seconds=monotonic - contact.last_success)
            for uuid, contact in self._board.contacts().items()
            if contact.last_success is not None
        }
        try:
            self._store.flush_seen(seen, at=now)
        except NicmapError as error:
            _log.warning("the times of last contact cannot be written: %s", error.message)
            return
        self._note_owed()

    def prune(self, *, days: float) -> None:
        """Drops what ended more than `days` days ago, unless the clock that says so has leapt."""
        if not self._wall.believed():
            return
        try:
            dropped = self._store.prune(before=self._clock.now() - timedelta(days=days))
        except NicmapError as error:
            _log.warning("old history cannot be dropped: %s", error.message)
            return
        if dropped:
            _log.info("dropped %d rows of history older than %g days", dropped, days)


def _true_ones(old: VmEntry | None, entry: VmEntry, changes: Sequence[Change]) -> Sequence[Change]:
    """`changes` without those that come of what the store has not kept of `old`, which was loaded from it."""
    before = {} if old is None or not changes else {nic.id: nic for nic in old.nics if was_cut(nic.naming)}
    if not before:
        return changes
    same = {nic.id for nic in entry.nics if nic.id in before and same_but_for_cut(before[nic.id], nic)}
    return [one for one in changes if one.kind is not ChangeKind.NIC_ADDRESSES or one.nic_id not in same]
