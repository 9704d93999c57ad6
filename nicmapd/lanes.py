"""Who is next: VMs that wait for a pass, in lanes, so that hung guests cost the healthy ones nothing.

A suspect (its last call failed, or it was slow) may hold a place for seven seconds and more. The suspects together have
one place; one more, where there are places enough, is for those of them that a reader asks for: he would else wait for
all the others.
"""

from __future__ import annotations

from collections import deque
from enum import Enum

#: So many of those whose event came may go before one whose turn it is: guests can cause events without end.
URGENT_IN_A_ROW = 4


class Lane(Enum):
    """Where a VM waits."""

    URGENT = "urgent"
    """An event, or a reader's wish."""
    ROUTINE = "routine"
    """Its turn."""
    WISHED = "wished"
    """A suspect that a reader asks for."""
    SUSPECTS = "suspects"
    """A suspect whose turn it is."""


class Lanes:
    """UUIDs in their lanes. One that moved stays behind in its old lane, too: the caller skips who no longer waits."""

    def __init__(self, places: int) -> None:
        """`places`: how many passes may run at once."""
        self._places = places
        self._lanes: dict[Lane, deque[str]] = {lane: deque() for lane in Lane}
        self._urgent_in_a_row = 0

    def put(self, uuid: str, lane: Lane) -> None:
        self._lanes[lane].append(uuid)

    def next(self, suspects: int) -> str | None:
        """Takes the next out, while `suspects` of the running passes are those of suspects; None: nobody may start."""
        for lane in self._open(suspects):
            if self._lanes[lane]:
                if lane in (Lane.URGENT, Lane.ROUTINE):
                    self._urgent_in_a_row = self._urgent_in_a_row + 1 if lane is Lane.URGENT else 0
                return self._lanes[lane].popleft()
        return None

    def _open(self, suspects: int) -> list[Lane]:
        """The lanes that may start one, in their order.

        Suspects come before the healthy ones, or they would starve when those never end; in a pool of one after them.
        """
        healthy = [Lane.URGENT, Lane.ROUTINE]
        if self._urgent_in_a_row >= URGENT_IN_A_ROW:
            healthy.reverse()
        if suspects == 0:
            doubtful = [Lane.WISHED, Lane.SUSPECTS]
            return [*doubtful, *healthy] if self._places > 1 else [*healthy, *doubtful]
        if suspects == 1 and self._places > 2:
            return [Lane.WISHED, *healthy]
        return healthy
