"""What readers ask of the tables. All functions run in the caller's transaction and write nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, func, or_, select

from nicmapd.model import FeedItem, NicEntry, PastNic
from nicmapd.ports import StoredVm
from nicmapd.schema import Undecodable, changes, feed_marks, nics, spans, vms
from nicmapd.sql import codec
from nicmapd.sql.writing import read_seen


def load(connection: Connection, host: str) -> list[StoredVm]:
    """All VMs of the host that are not removed, by name, with their NICs."""
    present = {
        (row.vm_uuid, row.nic_id): row
        for row in connection.execute(select(spans).where(spans.c.host == host, spans.c.to_at.is_(None)))
    }
    attached: defaultdict[str, list[NicEntry]] = defaultdict(list)
    for row in connection.execute(
        select(nics).where(nics.c.host == host, nics.c.detached_at.is_(None)).order_by(nics.c.position)
    ):
        span = present.get((row.vm_uuid, row.id))
        if span is None:
            raise Undecodable(f"nothing is known of NIC {row.id} of {row.vm_uuid}, which is attached")
        attached[row.vm_uuid].append(codec.nic_entry(row, span))
    seen = read_seen(connection, host)
    found = [
        StoredVm(entry=codec.vm_entry(row, attached[row.uuid]), last_success=seen.get(row.uuid))
        for row in connection.execute(select(vms).where(vms.c.host == host, vms.c.removed_at.is_(None)))
    ]
    # Sorted here: the databases' own order of text depends on their locale.
    return sorted(found, key=lambda stored: (stored.entry.vm.name, stored.entry.vm.uuid))


def history(
    connection: Connection, host: str, uuid: str, *, nic_id: str | None, since: datetime | None, limit: int
) -> list[PastNic]:
    """What was known of a VM's NICs, newest first."""
    name = _name(connection, host, uuid)
    query = select(spans).where(spans.c.host == host, spans.c.vm_uuid == uuid)
    if nic_id is not None:
        query = query.where(spans.c.nic_id == nic_id)
    if since is not None:
        query = query.where(or_(spans.c.to_at.is_(None), spans.c.to_at > since))
    rows = connection.execute(query.order_by(spans.c.from_at.desc(), spans.c.id.desc()).limit(limit))
    found = [past for row in rows for past in codec.past_nics(row, vm_name=name)]
    return [past for past in found if since is None or past.until is None or past.until > since][:limit]


def map_at(connection: Connection, host: str, at: datetime, *, uuid: str | None) -> list[PastNic]:
    """What was known at that moment, in the order of VM names and NIC positions."""
    query = (
        select(spans, vms.c.name.label("vm_name"), nics.c.position)
        .join(vms, (vms.c.host == spans.c.host) & (vms.c.uuid == spans.c.vm_uuid))
        .join(
            nics,
            (nics.c.host == spans.c.host) & (nics.c.vm_uuid == spans.c.vm_uuid) & (nics.c.id == spans.c.nic_id),
        )
        .where(spans.c.host == host, spans.c.from_at <= at)
    )
    if uuid is not None:
        query = query.where(spans.c.vm_uuid == uuid)
    # Two questions, because each has an index of its own: of a recent moment, few rows have ended since.
    rows = [*connection.execute(query.where(spans.c.to_at.is_(None)))]
    rows += connection.execute(query.where(spans.c.to_at > at))
    rows.sort(key=lambda row: (row.vm_name, row.vm_uuid, row.position, row.from_at, row.id))
    # The newest part of a row is first; the one that had begun by then is the one that was true.
    return [next(past for past in codec.past_nics(row, vm_name=row.vm_name) if past.since <= at) for row in rows]


def last_bearer(connection: Connection, host: str, uuid: str, name: str) -> PastNic | None:
    """The newest ended entry of a NIC of this VM that bore `name`."""
    query = select(spans).where(
        spans.c.host == host, spans.c.vm_uuid == uuid, spans.c.name == name, spans.c.to_at.is_not(None)
    )
    row = connection.execute(query.order_by(spans.c.to_at.desc(), spans.c.id.desc()).limit(1)).one_or_none()
    return None if row is None else codec.past_nics(row, vm_name=_name(connection, host, uuid))[0]


def find_vm(connection: Connection, host: str, name_or_uuid: str) -> str | None:
    """UUID of the VM of that UUID, else of that name: one that is not removed, else the one that was removed last."""
    known = select(vms.c.uuid).where(vms.c.host == host)
    by_uuid = connection.scalars(known.where(vms.c.uuid == name_or_uuid.lower())).first()
    if by_uuid is not None:
        return str(by_uuid)
    newest = (vms.c.removed_at.is_not(None), vms.c.removed_at.desc(), vms.c.uuid)
    by_name = connection.scalars(known.where(vms.c.name == name_or_uuid).order_by(*newest).limit(1)).first()
    return None if by_name is None else str(by_name)


def feed(connection: Connection, host: str, *, after: int, uuid: str | None, limit: int) -> Sequence[FeedItem]:
    """Feed items with a number above `after`, oldest first."""
    query = select(changes).where(changes.c.host == host, changes.c.id > after)
    if uuid is not None:
        query = query.where(changes.c.vm_uuid == uuid)
    return [codec.feed_item(row) for row in connection.execute(query.order_by(changes.c.id).limit(limit))]


def feed_bounds(connection: Connection, host: str) -> tuple[int, int]:
    """(the first number that pruning left, the newest given); (0, 0) if there has been none."""
    newest = connection.execute(select(func.max(changes.c.id)).where(changes.c.host == host)).scalar_one()
    pruned_to = connection.execute(select(feed_marks.c.pruned_to).where(feed_marks.c.host == host)).scalar_one_or_none()
    if newest is None and pruned_to is None:
        return 0, 0
    return (pruned_to or 0) + 1, max(newest or 0, pruned_to or 0)


def _name(connection: Connection, host: str, uuid: str) -> str:
    found = connection.execute(select(vms.c.name).where(vms.c.host == host, vms.c.uuid == uuid)).scalar_one_or_none()
    return uuid if found is None else found
