"""The `Service` port of the api without a daemon: says what it is told to say, and counts what it is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from nicmapd.board import Board
from nicmapd.causes import Causes
from nicmapd.errors import NotFound
from nicmapd.model import AgentState, Change, ConnectionStatus, Outcome
from nicmapd.ports import Clock
from nicmapd.status import DaemonStatus, StoreStatus, WatchStatus
from tests.fakes.libvirt import FakeLibvirt, changer_of


class FakeService:
    """`failure` is raised by `refresh`; `effect` is what a refresh does to the board; `delay` what it takes.

    `unwritten` is what is under way to the store: done when the api waits for it.
    """

    def __init__(self, board: Board, clock: Clock, *, host: str = "host1") -> None:
        self._board = board
        self._clock = clock
        self.refreshed: list[str] = []
        self.failure: Exception | None = None
        self.effect: Callable[[str], tuple[Change, ...]] = lambda _uuid: ()
        self.delay = 0.0
        self.answered = True
        self.unwritten: Callable[[], object] = lambda: None
        self.reasons: list[str] = []
        self.libvirt = FakeLibvirt(host=host)
        self.changer = changer_of(self.libvirt, board, Causes(), clock=clock, refresh=self.refresh)
        self.daemon = DaemonStatus(
            version="0.1.0",
            pid=4711,
            started=clock.now(),
            uptime=3600.0,
            host=host,
            libvirt=ConnectionStatus(True, clock.now(), "", "9.0.0", "qemu:///system"),
            store=StoreStatus(True, "", "sqlite"),
            watch=WatchStatus(last_pass_age=1.5, passes=1234, queue=0, interval=10.0, lateness=0.0),
        )

    async def refresh(self, uuid: str) -> Outcome:
        self.refreshed.append(uuid)
        await asyncio.sleep(self.delay)
        if self.failure is not None:
            raise self.failure
        entry = self._board.entry(uuid)
        if entry is None:
            raise NotFound("libvirt has no such domain")
        changes = self.effect(uuid)
        sentence = "; ".join(change.sentence for change in changes) or "nothing new"
        return Outcome(
            vm=entry.vm,
            agent=AgentState.OK if self.answered else AgentState.UNRESPONSIVE,
            sentence=f"{entry.vm.name}: {sentence}",
            changes=changes,
            asked=True,
            answered=self.answered,
            written=bool(changes),
            seconds=0.012,
        )

    def settle(self) -> None:
        self.unwritten()

    def status(self) -> DaemonStatus:
        return self.daemon

    def gaps(self) -> list[str]:
        return self.reasons

    def readiness(self) -> list[str]:
        return self.reasons

    def degrade(self, message: str) -> None:
        """libvirt is away from now on."""
        self.daemon = replace(self.daemon, libvirt=ConnectionStatus(False, self._clock.now(), message))
