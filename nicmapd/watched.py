"""What watch.py knows of each VM between its passes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from enum import IntEnum

from nicmapd.config import AgentConfig
from nicmapd.errors import Unavailable
from nicmapd.interview import PassMemory
from nicmapd.lanes import Lane
from nicmapd.model import Outcome, VmRef
from nicmapd.pace import Pace
from nicmapd.ports import DomainEvent, EventKind

#: What a wish may take beside the guest's time-outs.
WISH_SECONDS = 26.0

#: A guest that answers at all does so within this; less silence than that while somebody waits proves nothing.
SILENCE_SECONDS = 1.0


class Forget(IntEnum):
    """What an event says of the next pass's memory; the greater includes the less."""

    NOTHING = 0
    DOMAIN = 1
    AGENT = 2
    GUEST = 3


@dataclass(slots=True, eq=False)
class Wish:
    """Somebody waits for a pass that begins after `since` (seconds of `Clock.monotonic`)."""

    since: float
    answer: asyncio.Future[Outcome] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def grant(self, outcome: Outcome) -> None:
        if not self.answer.done():
            self.answer.set_result(outcome)

    def refuse(self, fault: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(fault)


@dataclass(slots=True)
class Watched:
    """All poll state of one VM; forgetting it is one `del`.

    `told_at`: when the first event came that no pass has begun to follow yet; `following`: the same of the events that
    the running pass follows. Both in seconds of `Clock.monotonic`. `wishes` wait for the next pass, `heard` for the
    running one.
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
    wishes: list[Wish] = field(default_factory=list)
    heard: list[Wish] = field(default_factory=list)

    def join(self) -> None:
        """Lets those wishes share the running pass which had waited for `SILENCE_SECONDS` when its guest was given up.

        The call that was under way when they came would have brought them an answer, had there been one; another one
        after it would take them as long again. An event since tells of a guest that may answer now.
        """
        silent_at = self.memory.silent_at
        if silent_at is None or self.told_at is not None:
            return
        joined = [wish for wish in self.wishes if silent_at - wish.since >= SILENCE_SECONDS]
        self.heard += joined
        self.wishes = [wish for wish in self.wishes if wish not in joined]

    def refuse(self, reason: str) -> None:
        """Tells all who wait, also for the running pass, that there will be no answer."""
        wishes, self.wishes, self.heard = [*self.heard, *self.wishes], [], []
        for wish in wishes:
            wish.refuse(Unavailable(reason))


def wish_seconds(settings: AgentConfig) -> float:
    """How long who asks for a pass waits for it at most.

    A pass over a hung guest takes 5 s of synchronising and `agent.timeout`; a call to it that is under way, or a place,
    may take that long before. libvirt itself is given up after 20 s without an answer.
    """
    return WISH_SECONDS + 2 * settings.timeout


def lane_of(watched: Watched, *, urgent: bool) -> Lane:
    """Where it waits for its next pass."""
    if watched.pace.suspect:
        return Lane.WISHED if watched.wishes else Lane.SUSPECTS
    return Lane.URGENT if urgent else Lane.ROUTINE


def forgets(event: DomainEvent) -> Forget:
    """What the pass after this event must not rely on."""
    if event.kind is EventKind.LIFECYCLE and event.detail in ("started", "rebooted"):
        return Forget.GUEST
    return Forget.AGENT if event.kind is EventKind.AGENT else Forget.DOMAIN
