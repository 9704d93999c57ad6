"""The door to all operations on NICs: what daemon and api hold."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from nicmapd.board import Board
from nicmapd.causes import Causes
from nicmapd.change.attach import Attacher
from nicmapd.change.detach import Detacher
from nicmapd.change.ground import Ground, Selection
from nicmapd.change.orders import AttachOrder, UpdateOrder
from nicmapd.change.removals import Removals
from nicmapd.change.results import Changed, Detached
from nicmapd.change.turns import PATIENCE
from nicmapd.change.update import Updater
from nicmapd.model import ConnectionStatus, Outcome
from nicmapd.ports import Clock, DomainEvent, HypervisorChanges, Network, Networks


class Changer:
    """Operations are called in an event loop, `take` from any thread.

    `status` says whether libvirt is there; `refresh` is one pass over a VM, now (watch.Watcher.refresh); `patience` is
    how many seconds a call of libvirt may take. `who` is, in every operation, who asks for it, in words for the log and
    the change feed.

    All raise `Unavailable`, `NotFound`, and what libvirt's refusal means, with libvirt's words (ports.py).
    """

    def __init__(
        self,
        hypervisor: HypervisorChanges,
        networks: Networks,
        board: Board,
        causes: Causes,
        *,
        clock: Clock,
        status: Callable[[], ConnectionStatus],
        refresh: Callable[[str], Awaitable[Outcome]],
        patience: float = PATIENCE,
    ) -> None:
        self._ground = Ground(
            hypervisor, networks, board, causes, clock=clock, status=status, refresh=refresh, patience=patience
        )
        self._removals = Removals()
        self._attacher = Attacher(self._ground)
        self._detacher = Detacher(self._ground, self._removals)
        self._updater = Updater(self._ground)

    def take(self, event: DomainEvent) -> None:
        """An event of libvirt: subscribe this to the hypervisor."""
        self._removals.take(event)

    def stop(self) -> None:
        """Starts nothing more. A call in flight is not waited for."""
        self._ground.workers.stop()

    async def attach(self, uuid: str, order: AttachOrder, *, who: str, wait: float = 0.0) -> Changed:
        """Attaches a NIC; with `wait`, does not return before the guest shows its name, or so many seconds.

        Raises `Invalid` (no such network or model), `Conflict` (MAC taken, network not active, no such scope).
        """
        return await self._attacher.attach(uuid, order, who=who, wait=wait)

    async def detach(self, uuid: str, selection: Selection, *, who: str, wait: float) -> Detached:
        """Detaches the NIC that is meant; waits `wait` seconds for the guest to let it go.

        Raises what the choice raises, and `Conflict`: the name is not certain now, or the guest refuses (`refused` in
        the details). Nothing is changed then.
        """
        return await self._detacher.detach(uuid, selection, who=who, wait=wait)

    async def update(self, uuid: str, selection: Selection, order: UpdateOrder, *, who: str) -> Changed:
        """Changes cable, network or MAC of the NIC that is meant, in both XMLs or in none.

        Raises what the choice raises, `Invalid` and `Conflict`; nothing is changed then.
        """
        return await self._updater.update(uuid, selection, order, who=who)

    async def networks(self) -> Sequence[Network]:
        """libvirt's networks, by name. Raises `Unavailable`."""
        self._ground.check_connected()
        return await self._ground.workers.run(self._ground.networks.networks)
