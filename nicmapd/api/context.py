"""What the handlers work with."""

from __future__ import annotations

from dataclasses import dataclass, field

from nicmapd.api.feed import Feed
from nicmapd.api.past import Past
from nicmapd.api.service import Service
from nicmapd.board import Board
from nicmapd.ports import Clock, NicStore


@dataclass(frozen=True, slots=True)
class Context:
    """The map now, its past, its changes, the daemon and the time."""

    board: Board
    store: NicStore
    service: Service
    clock: Clock
    feed: Feed
    past: Past = field(default_factory=Past)
