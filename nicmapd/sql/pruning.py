"""Dropping what ended long ago, a batch a transaction. All functions run in the caller's transaction."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Connection, delete, exists, insert, select, tuple_, update

from nicmapd.schema import changes, feed_marks, nics, spans, vms

#: Rows of one transaction: about 20 ms, for which other writes wait.
BATCH = 500


def prune_spans(connection: Connection, host: str, before: datetime) -> int:
    """Namings that ended before that moment."""
    ended = select(spans.c.id).where(spans.c.host == host, spans.c.to_at < before).limit(BATCH)
    return connection.execute(delete(spans).where(spans.c.id.in_(ended))).rowcount


def prune_nics(connection: Connection, host: str, before: datetime) -> int:
    """NICs that were detached before that moment."""
    key = (nics.c.host, nics.c.vm_uuid, nics.c.id)
    referred = exists().where(
        spans.c.host == nics.c.host, spans.c.vm_uuid == nics.c.vm_uuid, spans.c.nic_id == nics.c.id
    )
    gone = select(*key).where(nics.c.host == host, nics.c.detached_at < before, ~referred).limit(BATCH)
    return connection.execute(delete(nics).where(tuple_(*key).in_(gone))).rowcount


def prune_vms(connection: Connection, host: str, before: datetime) -> int:
    """VMs that were removed before that moment."""
    referred = exists().where(nics.c.host == vms.c.host, nics.c.vm_uuid == vms.c.uuid)
    gone = select(vms.c.uuid).where(vms.c.host == host, vms.c.removed_at < before, ~referred).limit(BATCH)
    return connection.execute(delete(vms).where(vms.c.host == host, vms.c.uuid.in_(gone))).rowcount


def prune_feed(connection: Connection, host: str, before: datetime) -> int:
    """Feed items from before that moment; the highest number dropped is remembered."""
    old = select(changes.c.id).where(changes.c.host == host, changes.c.at < before).order_by(changes.c.at).limit(BATCH)
    ids = connection.execute(old).scalars().all()
    if not ids:
        return 0
    connection.execute(delete(changes).where(changes.c.id.in_(ids)))
    here = feed_marks.c.host == host
    mark = connection.execute(select(feed_marks.c.pruned_to).where(here)).scalar_one_or_none()
    if mark is None:
        connection.execute(insert(feed_marks).values(host=host, pruned_to=max(ids)))
    elif mark < max(ids):
        connection.execute(update(feed_marks).where(here).values(pruned_to=max(ids)))
    return len(ids)


#: In this order: rows go before those that they refer to.
STEPS: tuple[Callable[[Connection, str, datetime], int], ...] = (prune_spans, prune_nics, prune_vms, prune_feed)
