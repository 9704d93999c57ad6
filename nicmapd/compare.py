"""The full comparison with libvirt: events are hints and may be lost, the list of domains is the truth."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from nicmapd.board import Board
from nicmapd.errors import NicmapError
from nicmapd.model import Domain
from nicmapd.ports import Hypervisor

_log = logging.getLogger(__name__)


class Comparer:
    """One comparison at a time. Use it in the event loop's thread; libvirt is asked in a thread of its own.

    `found` is given all domains, in the order in which they should be looked at; `spawn` runs a coroutine.
    """

    def __init__(
        self,
        hypervisor: Hypervisor,
        board: Board,
        *,
        found: Callable[[Sequence[Domain]], None],
        spawn: Callable[[Coroutine[object, object, object]], None],
    ) -> None:
        self._hypervisor = hypervisor
        self._board = board
        self._found = found
        self._spawn = spawn
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="host")
        self._running = False
        self._again = False
        self._stopping = False
        self._connection = 0
        self._left: set[str] | None = None

    @property
    def over(self) -> bool:
        """Whether all that the first comparison after a connect found has been looked at, so that no VM is missing."""
        return self._left is not None and not self._left

    def looked_at(self, uuid: str) -> None:
        """It is in the map now, or cannot be."""
        if self._left is not None:
            self._left.discard(uuid)

    def connected(self) -> None:
        """libvirt has just been connected: what was compared before, or still is, counts no more."""
        self._left = None
        self._connection += 1
        self.compare()

    def compare(self) -> None:
        """Asks libvirt for all that it has; while that is under way, once more afterwards."""
        self._again = True
        if not self._running and self._possible():
            self._running = True
            self._spawn(self._compare())

    def _possible(self) -> bool:
        return not self._stopping and self._hypervisor.status().connected

    def stop(self) -> None:
        """Starts nothing more. A call in flight is not waited for."""
        self._stopping = True
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _compare(self) -> None:
        try:
            while self._again and self._possible():
                self._again = False
                await self._compare_once()
        finally:
            self._running = False

    async def _compare_once(self) -> None:
        connection = self._connection
        try:
            domains = await asyncio.get_running_loop().run_in_executor(self._thread, self._hypervisor.domains)
        except NicmapError as error:
            _log.warning("cannot compare with libvirt: %s", error.message)
            return
        if connection == self._connection:  # else it is what the libvirt of before had
            self._take(domains)

    def _take(self, domains: Sequence[Domain]) -> None:
        if not self.over:
            _log.info("%d domains in libvirt, %d in the store", len(domains), len(self._board))
            self._begin(domain.vm.uuid for domain in domains if self._board.entry(domain.vm.uuid) is None)
        self._found(sorted(domains, key=self._turn))

    def _begin(self, unknown: Iterable[str]) -> None:
        self._left = set(unknown)

    def _turn(self, domain: Domain) -> tuple[bool, float]:
        """Who is not known yet comes first, which takes a millisecond; then who answered last: it will again."""
        uuid = domain.vm.uuid
        return self._board.entry(uuid) is not None, -(self._board.contact(uuid).last_success or 0.0)
