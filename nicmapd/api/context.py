"""What the handlers work with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from nicmapd.api.feed import Feed
from nicmapd.api.past import Past
from nicmapd.api.service import Service
from nicmapd.board import Board
from nicmapd.ports import Clock, NicStore

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Context:
    """The map now, its past, its changes, the daemon and the time."""

    board: Board
    store: NicStore
    service: Service
    clock: Clock
    feed: Feed
    past: Past = field(default_factory=Past)

    async def recall(self, question: Callable[[NicStore], T]) -> T:
        """What the store answers, with all that the map shows by now in it.

        Raises what `question` raises, and `Unavailable` if the store takes too long.
        """

        def settled() -> T:
            self.service.settle()
            return question(self.store)

        return await self.past.ask(settled)
