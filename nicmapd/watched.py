"""What watch.py knows of each VM between its passes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum

from nicmapd.interview import PassMemory
from nicmapd.lanes import Lane
from nicmapd.model import Outcome, VmRef
from nicmapd.pace import Pace
from nicmapd.ports import DomainEvent, EventKind


class Forget(IntEnum):
    """What an event says of the next pass's memory; the greater includes the less."""

    NOTHING = 0
    DOMAIN = 1
    AGENT = 2
    GUEST = 3


@dataclass(slots=True)
class Watched:
    """All poll state of one VM; forgetting it is one `del`.

    `told_at`: when the first event came that no pass has begun to follow yet; `following`: the same of the events that
    the running pass follows. Both in seconds of `Clock.monotonic`.
    """

    vm: VmRef
    pace: Pace
    memory: PassMemory = field(default_factory=PassMemory)
    queued_at: float | None = None
    lane: Lane | None = None
    running: bool = False
    again: bool = False
    forget: Forget = Forget.NOTHING
    told_at: float | None = None
    following: float | None = None
    waiters: list[asyncio.Future[Outcome]] = field(default_factory=list)


class Comparison:
    """Whether all that the first comparison after a connect found has been looked at, so that no VM is missing."""

    def __init__(self) -> None:
        self._left: set[str] | None = None

    @property
    def over(self) -> bool:
        return self._left is not None and not self._left

    def begin(self, unknown: Iterable[str]) -> None:
        """libvirt has been compared with; these UUIDs are not in the map."""
        self._left = set(unknown)

    def looked_at(self, uuid: str) -> None:
        """It is in the map now, or cannot be."""
        if self._left is not None:
            self._left.discard(uuid)


def lane_of(watched: Watched, *, urgent: bool) -> Lane:
    """Where it waits for its next pass."""
    if watched.pace.suspect:
        return Lane.WISHED if watched.waiters else Lane.SUSPECTS
    return Lane.URGENT if urgent else Lane.ROUTINE


def forgets(event: DomainEvent) -> Forget:
    """What the pass after this event must not rely on."""
    if event.kind is EventKind.LIFECYCLE and event.detail in ("started", "rebooted"):
        return Forget.GUEST
    return Forget.AGENT if event.kind is EventKind.AGENT else Forget.DOMAIN
