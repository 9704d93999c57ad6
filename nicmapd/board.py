"""What is known now, in memory: one frozen `VmEntry` per VM, replaced whole. Readers never wait and never see half.

The refresh use case puts, everybody else reads. The board holds what the store holds, and the times of the last
contact, which are not worth a write each. It lives on when the store cannot be written (`degraded`).
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from nicmapd.errors import Ambiguous, NotFound
from nicmapd.model import AgentState, Contact, DomainState, Freshness, NameState, NicEntry, Verdict, VmEntry
from nicmapd.ports import Clock
from nicmapd.text import clean

#: A VM is stale once its last success is older than this many expected intervals: one missed poll is jitter.
STALE_AFTER_INTERVALS = 2.0


def only_met(entry: VmEntry) -> bool:
    """Whether this is what `Refresher.meet` has made known: no pass has been there yet, and the store has nothing."""
    return entry.agent.state is AgentState.UNKNOWN


@dataclass(frozen=True, slots=True)
class Sight:
    """One VM as a reader sees it: the entry, the times of contact, and what follows from both now."""

    entry: VmEntry
    contact: Contact
    freshness: Freshness
    last_success: datetime | None
    last_attempt: datetime | None
    next_attempt: datetime | None
    age: float | None

    def name_state(self, nic: NicEntry) -> NameState:
        """What to tell a reader of this NIC's name."""
        if nic.naming.verdict is not Verdict.NAMED:
            return NameState(nic.naming.verdict.value)
        if self.freshness is Freshness.NEVER:  # a name is there, but when it was learned is not known
            return NameState.LAST_KNOWN
        return NameState(self.freshness.value)

    def seen_at(self, nic: NicEntry) -> datetime | None:
        """When the guest last showed this NIC."""
        return self.last_success if nic.naming.present and self.last_success else nic.seen_at


class Board:
    """The current map. Thread-safe; `entries` and `sight` return values that never change afterwards."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: dict[str, VmEntry] = {}
        self._contacts: dict[str, Contact] = {}
        self._by_name: dict[str, set[str]] = {}
        self._listeners: dict[str, list[Callable[[], object]]] = {}

    def put(self, entry: VmEntry) -> None:
        """Replaces what is known of `entry.vm`."""
        with self._lock:
            old = self._entries.get(entry.vm.uuid)
            if old is not None and old.vm.name != entry.vm.name:
                self._forget_name(old)
            self._entries[entry.vm.uuid] = entry
            self._by_name.setdefault(entry.vm.name, set()).add(entry.vm.uuid)
            listeners = list(self._listeners.get(entry.vm.uuid, ()))
        for listener in listeners:
            listener()

    @contextlib.contextmanager
    def listening(self, uuid: str) -> Iterator[asyncio.Event]:
        """An event of the running loop that is set whenever something is put of that VM, while the block lasts."""
        event, loop = asyncio.Event(), asyncio.get_running_loop()

        def tell() -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(event.set)

        with self._lock:
            self._listeners.setdefault(uuid, []).append(tell)
        try:
            yield event
        finally:
            with self._lock:
                self._listeners[uuid].remove(tell)
                if not self._listeners[uuid]:
                    del self._listeners[uuid]

    def touch(self, uuid: str, contact: Contact) -> None:
        """Replaces the times of contact of a VM."""
        with self._lock:
            self._contacts[uuid] = contact

    def drop(self, uuid: str) -> None:
        """Forgets a VM. No error if it is not there."""
        with self._lock:
            entry = self._entries.pop(uuid, None)
            self._contacts.pop(uuid, None)
            if entry is not None:
                self._forget_name(entry)

    def _forget_name(self, entry: VmEntry) -> None:
        holders = self._by_name.get(entry.vm.name, set())
        holders.discard(entry.vm.uuid)
        if not holders:
            self._by_name.pop(entry.vm.name, None)

    def entry(self, uuid: str) -> VmEntry | None:
        return self._entries.get(uuid)

    def contact(self, uuid: str) -> Contact:
        return self._contacts.get(uuid, Contact())

    def entries(self) -> list[VmEntry]:
        """All VMs, by name, then UUID."""
        with self._lock:
            found = list(self._entries.values())
        return sorted(found, key=lambda entry: (entry.vm.name, entry.vm.uuid))

    def contacts(self) -> Mapping[str, Contact]:
        with self._lock:
            return dict(self._contacts)

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, name_or_uuid: str) -> VmEntry:
        """The VM of that UUID (any case) or name. A UUID wins over an equal name.

        Raises `NotFound`, or `Ambiguous` if two VMs bear the name (one is being replaced by another).
        """
        entry = self._entries.get(name_or_uuid.lower())
        if entry is not None:
            return entry
        with self._lock:
            uuids = sorted(self._by_name.get(name_or_uuid, ()))
            found = [self._entries[uuid] for uuid in uuids]
        if not found:
            raise NotFound(f'there is no VM "{clean(name_or_uuid)}" on this host; `nicmapctl list` shows them all')
        if len(found) > 1:
            raise Ambiguous(f'{len(found)} VMs are called "{clean(name_or_uuid)}"; give the UUID', candidates=uuids)
        return found[0]

    def sight(self, entry: VmEntry) -> Sight:
        """`entry` with its ages as of now."""
        contact = self.contact(entry.vm.uuid)
        monotonic, now = self._clock.monotonic(), self._clock.now()

        def wall(moment: float | None) -> datetime | None:
            return None if moment is None else now + timedelta(seconds=moment - monotonic)

        age = None if contact.last_success is None else max(0.0, monotonic - contact.last_success)
        return Sight(
            entry=entry,
            contact=contact,
            freshness=_freshness(entry, age=age, interval=contact.interval),
            last_success=wall(contact.last_success),
            last_attempt=wall(contact.last_attempt),
            next_attempt=wall(contact.next_attempt),
            age=age,
        )


def _freshness(entry: VmEntry, *, age: float | None, interval: float) -> Freshness:
    """CONTRACT section 4: fresh (polled in time), stale (polls fail or are overdue), last_known (VM not running),
    never. A paused guest cannot rename anything, but neither can it say so: last_known."""
    if age is None:
        return Freshness.NEVER
    if entry.state is not DomainState.RUNNING:
        return Freshness.LAST_KNOWN
    if entry.agent.state.value != "ok" or age > STALE_AFTER_INTERVALS * interval:
        return Freshness.STALE
    return Freshness.FRESH
