"""What watch.py knows of each VM between its passes."""

from __future__ import annotations

import asyncio
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
