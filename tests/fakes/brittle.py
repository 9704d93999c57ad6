"""A store in memory that counts what is written to it, and fails when it is told to."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from nicmapd.errors import Unavailable
from nicmapd.model import Change, FeedItem, VmEntry
from tests.fakes.store import MemoryStore


class BrittleStore(MemoryStore):
    """`writes` counts transactions; after `fail(error)` each raises `error` until `fail(None)`."""

    writes = 0
    _error: Unavailable | None = None

    def fail(self, error: Unavailable | None) -> None:
        self._error = error

    def _write(self) -> None:
        if self._error is not None:
            raise self._error
        self.writes += 1

    def apply(self, entry: VmEntry, changes: Sequence[Change], *, at: datetime) -> Sequence[FeedItem]:
        self._write()
        return super().apply(entry, changes, at=at)

    def remove(self, uuid: str, changes: Sequence[Change], *, at: datetime) -> Sequence[FeedItem]:
        self._write()
        return super().remove(uuid, changes, at=at)
