"""A `NicStore` in memory, held to the same contract suite as the real ones (tests/unit/test_store_contract.py)."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from nicmapd.bounds import kept, kept_change
from nicmapd.errors import NicmapError, Unavailable
from nicmapd.model import (
    Change,
    ChangeKind,
    FeedItem,
    HostNic,
    Naming,
    NicEntry,
    PastNic,
    Verdict,
    VmEntry,
    VmRef,
)
from nicmapd.ports import StoredVm

SPANS_PER_NIC_HOUR = 120
CHANGES_PER_VM_HOUR = 1000
_FAR = timedelta(days=1)

_ALWAYS_KEPT = {
    ChangeKind.VM_ADDED,
    ChangeKind.VM_REMOVED,
    ChangeKind.VM_RENAMED,
    ChangeKind.NIC_ATTACHED,
    ChangeKind.NIC_DETACHED,
    ChangeKind.RESYNC,
}
_UNKEPT = Naming(
    verdict=Verdict.AMBIGUOUS,
    reason="this NIC changed too often then; which name it had at that moment was not kept",
)


@dataclass
class _Span:
    number: int
    uuid: str
    nic_id: str
    nic: HostNic
    naming: Naming
    begin: datetime
    exact: datetime | None = None
    end: datetime | None = None

    def past(self, name: str) -> list[PastNic]:
        """Newest first."""

        def part(naming: Naming, since: datetime, until: datetime | None) -> PastNic:
            return PastNic(VmRef(self.uuid, name), self.nic_id, self.nic, naming, since, until)

        if self.exact is None:
            return [part(self.naming, self.begin, self.end)]
        return [part(self.naming, self.exact, self.end), part(_UNKEPT, self.begin, self.exact)]

    def fold(self, at: datetime) -> None:
        """Ends it at `at`, wherever a clock that was set back had put it."""
        if self.end is None or self.end > at:
            self.begin, self.end = min(self.begin, at), at
            self.exact = None if self.exact is None else min(self.exact, at)

    def straighten(self, at: datetime) -> None:
        """As `fold`, but what is open goes on."""
        end = self.end
        self.fold(at)
        if end is None:
            self.end = None


@dataclass
class _Vm:
    entry: VmEntry
    removed: datetime | None = None


@dataclass
class _Rows:
    """The rows of one host."""

    vms: dict[str, _Vm] = field(default_factory=dict)
    detached: dict[tuple[str, str], datetime] = field(default_factory=dict)
    positions: dict[tuple[str, str], int] = field(default_factory=dict)
    spans: list[_Span] = field(default_factory=list)
    feed: list[FeedItem] = field(default_factory=list)
    pruned_to: int = 0
    seen: dict[str, datetime] = field(default_factory=dict)


@dataclass
class MemoryDatabase:
    """What survives a restart of the store, for all hosts."""

    hosts: dict[str, _Rows] = field(default_factory=dict)
    span_numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    feed_numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))


class MemoryStore:
    """`fault`: while set, every call raises it and changes nothing. `calls` counts the calls by name."""

    def __init__(self, *, host: str, database: MemoryDatabase | None = None) -> None:
        self._host = host
        self.database = database or MemoryDatabase()
        self.fault: NicmapError | None = None
        self.calls: Counter[str] = Counter()
        self._rows = self.database.hosts.setdefault(host, _Rows())
        self._suppressed: Counter[str] = Counter()
        self._closed = False

    @property
    def host(self) -> str:
        return self._host

    @property
    def suppressed(self) -> Mapping[str, int]:
        return dict(self._suppressed)

    @contextmanager
    def _call(self, name: str) -> Iterator[_Rows]:
        self.calls[name] += 1
        if self.fault is not None:
            raise self.fault
        if self._closed:
            raise Unavailable("the store is closed: nicmapd is stopping")
        yield self._rows

    def load(self) -> Sequence[StoredVm]:
        with self._call("load") as rows:
            present = [vm.entry for vm in rows.vms.values() if vm.removed is None]
            present.sort(key=lambda entry: (entry.vm.name, entry.vm.uuid))
            return [StoredVm(entry, rows.seen.get(entry.vm.uuid)) for entry in present]

    def apply(self, entry: VmEntry, changes: Sequence[Change], *, at: datetime) -> Sequence[FeedItem]:
        if entry.host != self.host:
            raise ValueError(f"{entry.vm.uuid} is of host {entry.host}, this store is of {self.host}")
        with self._call("apply") as rows:
            uuid = entry.vm.uuid
            old = rows.vms.get(uuid)
            for position, nic in enumerate(entry.nics):
                self._write_nic(rows, uuid, nic, at)
                rows.positions[uuid, nic.id] = position
                rows.detached.pop((uuid, nic.id), None)
            present = {nic.id for nic in entry.nics}
            for nic in old.entry.nics if old and old.removed is None else ():
                if nic.id not in present:
                    self._detach(rows, uuid, nic.id, at)
            stored = tuple(replace(nic, naming=kept(nic.naming), statistics=None) for nic in entry.nics)
            rows.vms[uuid] = _Vm(replace(entry, nics=stored))
            return self._feed(rows, entry.vm, changes, at)

    def _write_nic(self, rows: _Rows, uuid: str, nic: NicEntry, at: datetime) -> None:
        nic = replace(nic, naming=kept(nic.naming))
        known = [span for span in rows.spans if (span.uuid, span.nic_id) == (uuid, nic.id)]
        current = next((span for span in known if span.end is None), None)
        if current is not None and (current.nic, current.naming) == (nic.nic, nic.naming):
            if at < current.begin <= at + _FAR:
                for span in known:
                    span.straighten(at)
            return
        if current is not None and current.begin <= at:
            recent = [span for span in known if at - timedelta(hours=1) < span.begin]
            newest = sorted(recent, key=lambda span: span.begin)[-SPANS_PER_NIC_HOUR:]
            if len(newest) == SPANS_PER_NIC_HOUR:
                current.nic, current.naming, current.exact = nic.nic, nic.naming, at
                self._suppressed[uuid] += 1
                return
            current.end = at
        else:
            for span in known:
                span.fold(at)
        rows.spans.append(_Span(next(self.database.span_numbers), uuid, nic.id, nic.nic, nic.naming, at))

    def _detach(self, rows: _Rows, uuid: str, nic_id: str, at: datetime) -> None:
        rows.detached[uuid, nic_id] = at
        for span in rows.spans:
            if (span.uuid, span.nic_id) == (uuid, nic_id):
                span.fold(at)

    def _feed(self, rows: _Rows, vm: VmRef, changes: Sequence[Change], at: datetime) -> list[FeedItem]:
        newest = [item for item in rows.feed if item.vm.uuid == vm.uuid][-CHANGES_PER_VM_HOUR:]
        room = CHANGES_PER_VM_HOUR - sum(at - timedelta(hours=1) < item.at <= at for item in newest)
        added = []
        for change in changes:
            if change.kind not in _ALWAYS_KEPT and room <= 0:
                self._suppressed[vm.uuid] += 1
                continue
            room -= 1
            plain = kept_change(replace(change, details=json.loads(json.dumps(dict(change.details)))))
            added.append(FeedItem(next(self.database.feed_numbers), at, self.host, vm, plain))
        rows.feed += added
        return added

    def remove(self, uuid: str, changes: Sequence[Change], *, at: datetime) -> Sequence[FeedItem]:
        with self._call("remove") as rows:
            vm = rows.vms.get(uuid)
            if vm is not None and vm.removed is None:
                vm.removed = at
                for nic in vm.entry.nics:
                    rows.detached[uuid, nic.id] = at
                for span in rows.spans:
                    if span.uuid == uuid:
                        span.fold(at)
            return self._feed(rows, vm.entry.vm if vm else VmRef(uuid, uuid), changes, at)

    def note(self, changes: Sequence[Change], *, at: datetime) -> Sequence[FeedItem]:
        with self._call("note") as rows:
            return self._feed(rows, VmRef("", ""), changes, at)

    def flush_seen(self, seen: Mapping[str, datetime], *, at: datetime) -> None:
        with self._call("flush_seen") as rows:
            newest = max((span.end or span.begin for span in rows.spans), default=at)
            if at + timedelta(minutes=1) < newest <= at + _FAR:  # of what is farther SqlStore has a doubt of an hour
                for span in rows.spans:
                    span.straighten(at)
            merged = rows.seen | dict(seen)
            rows.seen = {
                uuid: moment for uuid, moment in merged.items() if uuid in rows.vms and rows.vms[uuid].removed is None
            }

    def _past(self, rows: _Rows, span: _Span) -> list[PastNic]:
        return span.past(rows.vms[span.uuid].entry.vm.name)

    def history(
        self, uuid: str, *, nic_id: str | None = None, since: datetime | None = None, limit: int = 500
    ) -> Sequence[PastNic]:
        with self._call("history") as rows:
            found = [span for span in rows.spans if span.uuid == uuid and nic_id in (None, span.nic_id)]
            found.sort(key=lambda span: (span.begin, span.number), reverse=True)
            parts = [part for span in found for part in self._past(rows, span)]
            return [part for part in parts if since is None or part.until is None or part.until > since][:limit]

    def map_at(self, at: datetime, *, uuid: str | None = None) -> Sequence[PastNic]:
        with self._call("map_at") as rows:
            found = [
                part
                for span in rows.spans
                if uuid in (None, span.uuid)
                for part in self._past(rows, span)
                if part.since <= at and (part.until is None or at < part.until)
            ]
            position = rows.positions
            return sorted(
                found, key=lambda part: (part.vm.name, part.vm.uuid, position[part.vm.uuid, part.nic_id], part.since)
            )

    def last_bearer(self, uuid: str, name: str) -> PastNic | None:
        with self._call("last_bearer") as rows:
            ended = [
                (span.end, span.number, span)
                for span in rows.spans
                if span.uuid == uuid and span.naming.name == name and span.end is not None
            ]
            return self._past(rows, max(ended)[2])[0] if ended else None

    def find_vm(self, name_or_uuid: str) -> str | None:
        with self._call("find_vm") as rows:
            vm = rows.vms.get(name_or_uuid.lower())
            if vm is not None:
                return vm.entry.vm.uuid
            named = [(vm.removed, uuid) for uuid, vm in sorted(rows.vms.items()) if vm.entry.vm.name == name_or_uuid]
            present = [uuid for removed, uuid in named if removed is None]
            past = [(removed, uuid) for removed, uuid in named if removed is not None]
            return present[0] if present else max(past, key=lambda pair: pair[0])[1] if past else None

    def feed(self, *, after: int, uuid: str | None = None, limit: int = 500) -> Sequence[FeedItem]:
        with self._call("feed") as rows:
            return [item for item in rows.feed if item.id > after and uuid in (None, item.vm.uuid)][:limit]

    def feed_bounds(self) -> tuple[int, int]:
        with self._call("feed_bounds") as rows:
            newest = max([rows.pruned_to, *(item.id for item in rows.feed)])
            return (rows.pruned_to + 1, newest) if newest else (0, 0)

    def prune(self, *, before: datetime) -> int:
        with self._call("prune") as rows:
            spans = [span for span in rows.spans if span.end is None or span.end >= before]
            left = {(span.uuid, span.nic_id) for span in spans}
            nics = {key for key, at in rows.detached.items() if at < before and key not in left}
            owners = {uuid for uuid, _ in (rows.positions.keys() - nics)}
            vms = {uuid for uuid, vm in rows.vms.items() if vm.removed and vm.removed < before and uuid not in owners}
            old = [item for item in rows.feed if item.at < before]
            dropped = len(rows.spans) - len(spans) + len(nics) + len(vms) + len(old)
            rows.spans = spans
            for key in nics:
                del rows.detached[key], rows.positions[key]
            for uuid in vms:
                del rows.vms[uuid]
            rows.feed = [item for item in rows.feed if item.at >= before]
            rows.pruned_to = max([rows.pruned_to, *(item.id for item in old)])
            return dropped

    def close(self) -> None:
        self._closed = True
