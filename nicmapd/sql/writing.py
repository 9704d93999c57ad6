"""What one write does to the tables: only what differs is written. All functions run in the caller's transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Table,
    and_,
    bindparam,
    case,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)

from nicmapd.bounds import kept, kept_change
from nicmapd.model import Change, ChangeKind, FeedItem, NicEntry, VmEntry, VmRef
from nicmapd.schema import changes as feed_table
from nicmapd.schema import decoding, feed_marks, from_microseconds, nics, sightings, spans, to_microseconds, vms
from nicmapd.sql import codec

HOUR = timedelta(hours=1)

#: How far a clock is commonly wrong (local time for UTC). By how much more it was set back is not believed at once.
FAR = timedelta(days=1)

#: What is in the future by less was written while another write waited for its turn, or is soon past.
NEAR = timedelta(minutes=1)

#: Rows of the past that one NIC may add in an hour. A guest renames as often as it likes: this is one row each 30 s,
#: 0.3 GB for a flood of 90 days; more than that is kept coarser (`spans.exact_at`) and counted.
SPANS_PER_NIC_HOUR = 120

#: Feed items that one VM may add in an hour; more are counted only. Ten NICs may change every 36 s.
CHANGES_PER_VM_HOUR = 1000

#: Only the host can cause these, so they are never left out.
_ALWAYS_KEPT = frozenset(
    {
        ChangeKind.VM_ADDED,
        ChangeKind.VM_REMOVED,
        ChangeKind.VM_RENAMED,
        ChangeKind.NIC_ATTACHED,
        ChangeKind.NIC_DETACHED,
        ChangeKind.RESYNC,
    }
)


def write_vm(connection: Connection, entry: VmEntry) -> None:
    """The row of `vms`; a removed VM of the same UUID is one again."""
    values = codec.vm_values(entry)
    here = and_(vms.c.host == entry.host, vms.c.uuid == entry.vm.uuid)
    row = connection.execute(select(vms).where(here)).one_or_none()
    if row is None:
        connection.execute(insert(vms).values(host=entry.host, uuid=entry.vm.uuid, **values))
        return
    different = _different(row, values)
    if different:
        connection.execute(update(vms).where(here).values(different))


def write_nics(connection: Connection, entry: VmEntry, at: datetime) -> int:
    """The rows of `nics` and `spans`: those of `entry` and no others are attached afterwards.

    Returns how many pieces of the past were not kept (`SPANS_PER_NIC_HOUR`).
    """
    stored, present = _stored_nics(connection, entry)
    new_nics: list[dict[str, Any]] = []
    new_spans: list[dict[str, Any]] = []
    ended: list[int] = []
    suppressed = 0
    for position, nic in enumerate(entry.nics):
        key = {"host": entry.host, "vm_uuid": entry.vm.uuid, "nic_id": nic.id}
        _write_nic(connection, stored.get(nic.id), codec.nic_values(nic, position), key=key, new=new_nics)
        span = present.get(nic.id)
        if span is not None and _says(span, nic):
            if at < span.from_at <= at + FAR:
                straighten(connection, at, _of_nic(key))
            continue
        values = codec.span_values(nic.nic, nic.naming)
        if span is not None and _crowded(connection, span, at):
            connection.execute(update(spans).where(spans.c.id == span.id).values(exact_at=at, **values))
            suppressed += 1
            continue
        if span is not None and span.from_at <= at:
            ended.append(span.id)
        elif nic.id in stored:
            _fold(connection, at, _of_nic(key))
        new_spans.append({**key, "from_at": at, **values})
    attached = {nic.id for nic in entry.nics}
    gone = [row for row in stored.values() if row.id not in attached]
    _detach(connection, entry, gone, at)
    _insert(connection, nics, new_nics)
    _end(connection, ended, at)
    _insert(connection, spans, new_spans)
    return suppressed


def _stored_nics(connection: Connection, entry: VmEntry) -> tuple[dict[str, Row[Any]], dict[str, Row[Any]]]:
    """By NIC id: the rows of `nics` that are attached or given now, and the open rows of `spans`."""
    ids = [nic.id for nic in entry.nics]
    nic_rows = connection.execute(
        select(nics).where(
            nics.c.host == entry.host,
            nics.c.vm_uuid == entry.vm.uuid,
            or_(nics.c.detached_at.is_(None), nics.c.id.in_(ids)),
        )
    )
    stored = {row.id: row for row in nic_rows}
    if not stored:
        return {}, {}
    open_spans = connection.execute(
        select(spans).where(
            spans.c.host == entry.host,
            spans.c.vm_uuid == entry.vm.uuid,
            spans.c.nic_id.in_(stored),
            spans.c.to_at.is_(None),
        )
    )
    return stored, {row.nic_id: row for row in open_spans}


def _write_nic(
    connection: Connection,
    row: Row[Any] | None,
    values: Mapping[str, Any],
    *,
    key: Mapping[str, str],
    new: list[dict[str, Any]],
) -> None:
    if row is None:
        new.append({"host": key["host"], "vm_uuid": key["vm_uuid"], "id": key["nic_id"], **values})
        return
    different = _different(row, values)
    if different:
        here = and_(nics.c.host == row.host, nics.c.vm_uuid == row.vm_uuid, nics.c.id == row.id)
        connection.execute(update(nics).where(here).values(different))


def _says(span: Row[Any], nic: NicEntry) -> bool:
    return codec.host_nic(span.host_nic) == nic.nic and codec.naming(span) == kept(nic.naming)


def _crowded(connection: Connection, span: Row[Any], at: datetime) -> bool:
    """Whether this NIC has added its fill of rows in the hour before `at`.

    A row that begins after `at` (the clock was set back) does not count, else a wrong clock would stop the past.
    """
    if span.from_at > at:
        return False
    begins = (
        select(spans.c.from_at)
        .where(spans.c.host == span.host, spans.c.vm_uuid == span.vm_uuid, spans.c.nic_id == span.nic_id)
        .order_by(spans.c.from_at.desc())
    )
    begin = connection.execute(begins.offset(SPANS_PER_NIC_HOUR - 1).limit(1)).scalar_one_or_none()
    return begin is not None and begin > at - HOUR


def _detach(connection: Connection, entry: VmEntry, gone: Sequence[Row[Any]], at: datetime) -> None:
    for row in gone:
        key = {"host": entry.host, "vm_uuid": entry.vm.uuid, "nic_id": row.id}
        _fold(connection, at, _of_nic(key))
        here = and_(nics.c.host == entry.host, nics.c.vm_uuid == entry.vm.uuid, nics.c.id == row.id)
        connection.execute(update(nics).where(here).values(detached_at=at))


def _end(connection: Connection, ids: Iterable[int], at: datetime) -> None:
    rows = [{"span_id": number} for number in ids]
    if rows:
        connection.execute(update(spans).where(spans.c.id == bindparam("span_id")).values(to_at=at), rows)


def _insert(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    if rows:
        connection.execute(insert(table), rows)


def _of_nic(key: Mapping[str, str]) -> ColumnElement[bool]:
    return and_(spans.c.host == key["host"], spans.c.vm_uuid == key["vm_uuid"], spans.c.nic_id == key["nic_id"])


def _fold(connection: Connection, at: datetime, which: ColumnElement[bool]) -> None:
    """Ends what is open at `at`, and what a clock that has been set back placed after `at`.

    Such rows become moments at `at`: still in the history, and no two rows of a NIC are true at once.
    """

    ended = or_(spans.c.to_at.is_(None), spans.c.to_at > at)
    connection.execute(update(spans).where(which, ended).values(**_not_after(at), to_at=at))


def _not_after(at: datetime) -> dict[str, ColumnElement[Any]]:
    def earlier(column: ColumnElement[Any]) -> ColumnElement[Any]:
        return case((column > at, literal(at, column.type)), else_=column)

    return {"from_at": earlier(spans.c.from_at), "exact_at": earlier(spans.c.exact_at)}


def straighten(connection: Connection, at: datetime, which: ColumnElement[bool]) -> None:
    """Makes what a clock that has been set back placed after `at` true now: the present begins at `at` at the latest,
    and what had ended "after" that becomes moments, as by `_fold`."""
    connection.execute(update(spans).where(which, spans.c.to_at > at).values(**_not_after(at), to_at=at))
    present = and_(spans.c.to_at.is_(None), or_(spans.c.from_at > at, spans.c.exact_at > at))
    connection.execute(update(spans).where(which, present).values(_not_after(at)))


def of_host(host: str) -> ColumnElement[bool]:
    """All that there is of that host."""
    return spans.c.host == host


def newest_moment(connection: Connection, host: str) -> datetime | None:
    """The latest time in the past of that host."""
    begins = select(func.max(spans.c.from_at)).where(spans.c.host == host, spans.c.to_at.is_(None))
    ends = select(func.max(spans.c.to_at)).where(spans.c.host == host, spans.c.to_at.is_not(None))
    found = [connection.execute(each).scalar_one() for each in (begins, ends)]
    return max((moment for moment in found if moment is not None), default=None)


def _different(row: Row[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    stored = row._mapping
    return {name: value for name, value in values.items() if stored[name] != value}


def remove_vm(connection: Connection, host: str, uuid: str, at: datetime) -> VmRef:
    """Makes the VM and all its rows past; returns what it was called (its UUID if it was never known)."""
    here = and_(vms.c.host == host, vms.c.uuid == uuid)
    row = connection.execute(select(vms.c.name, vms.c.removed_at).where(here)).one_or_none()
    if row is None:
        return VmRef(uuid, uuid)
    if row.removed_at is None:
        _fold(connection, at, and_(spans.c.host == host, spans.c.vm_uuid == uuid))
        attached = and_(nics.c.host == host, nics.c.vm_uuid == uuid, nics.c.detached_at.is_(None))
        connection.execute(update(nics).where(attached).values(detached_at=at))
        connection.execute(update(vms).where(here).values(removed_at=at))
    return VmRef(uuid, row.name)


def write_feed(
    connection: Connection, changes: Sequence[Change], *, host: str, vm: VmRef, at: datetime
) -> tuple[list[FeedItem], int]:
    """Adds to the feed; returns the items with their numbers, and how many were too many (`CHANGES_PER_VM_HOUR`)."""
    told = [kept_change(one) for one in _within_bounds(connection, changes, host=host, uuid=vm.uuid, at=at)]
    if not told:
        return [], len(changes)
    rows = [
        {"host": host, "at": at, "vm_uuid": vm.uuid, "vm_name": vm.name, **codec.change_values(change)}
        for change in told
    ]
    adding = insert(feed_table).returning(feed_table.c.id, sort_by_parameter_order=True)
    numbers = connection.execute(adding, rows).scalars().all()
    items = [
        FeedItem(id=number, at=at, host=host, vm=vm, change=change)
        for number, change in zip(numbers, told, strict=True)
    ]
    return items, len(changes) - len(told)


def begin_feed(connection: Connection, first: Change, *, host: str, number: int, at: datetime) -> None:
    """Adds `first` to an empty feed under that number, so that all others come after it (AUTOINCREMENT)."""
    connection.execute(insert(feed_marks).values(host=host, pruned_to=number - 1))
    row = {"id": number, "host": host, "at": at, "vm_uuid": "", "vm_name": "", **codec.change_values(first)}
    connection.execute(insert(feed_table).values(row))


def _within_bounds(
    connection: Connection, changes: Sequence[Change], *, host: str, uuid: str, at: datetime
) -> list[Change]:
    if not changes:
        return []
    newest = (
        select(feed_table.c.at)
        .where(feed_table.c.host == host, feed_table.c.vm_uuid == uuid)
        .order_by(feed_table.c.id.desc())
        .limit(CHANGES_PER_VM_HOUR)
        .subquery()
    )
    recent = select(func.count()).select_from(newest).where(newest.c.at > at - HOUR, newest.c.at <= at)
    room = CHANGES_PER_VM_HOUR - connection.execute(recent).scalar_one()
    told = []
    for change in changes:
        if change.kind in _ALWAYS_KEPT or room > 0:
            told.append(change)
            room -= 1
    return told


def write_seen(connection: Connection, seen: Mapping[str, datetime], *, host: str, at: datetime) -> None:
    """Puts `seen` over what is kept for this host; VMs that are unknown or removed are left out."""
    known = connection.execute(select(vms.c.uuid).where(vms.c.host == host, vms.c.removed_at.is_(None)))
    row = connection.execute(select(sightings).where(sightings.c.host == host)).one_or_none()
    stored: dict[str, int] = {} if row is None or not isinstance(row.seen, dict) else row.seen
    merged = stored | {uuid: to_microseconds(moment) for uuid, moment in seen.items()}
    merged = {uuid: merged[uuid] for uuid in sorted(set(known.scalars()) & set(merged))}
    if row is None:
        connection.execute(insert(sightings).values(host=host, at=at, seen=merged))
    elif merged != stored:
        connection.execute(update(sightings).where(sightings.c.host == host).values(at=at, seen=merged))


def read_seen(connection: Connection, host: str) -> dict[str, datetime]:
    """When each VM's agent last answered, as far as it was flushed."""
    stored = connection.execute(select(sightings.c.seen).where(sightings.c.host == host)).scalar_one_or_none()
    return _moments(stored or {})


@decoding
def _moments(seen: Mapping[str, int]) -> dict[str, datetime]:
    return {uuid: from_microseconds(number) for uuid, number in seen.items()}
