"""Whose turn it is at a VM, and the threads in which libvirt is called."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from nicmapd.errors import Unavailable

_Answer = TypeVar("_Answer")

#: Calls of libvirt at once, over all VMs (hypervisor/changing.py has as many lines).
_CALLS = 4
#: libvirt waits 30 s for a domain that another job holds, and 5 s for a guest to let a device go; more is a libvirt
#: that hangs.
PATIENCE = 60.0


@dataclass(slots=True)
class _Turn:
    """One VM's turn, and how many want it."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


class Turns:
    """One operation of a VM at a time, in the order in which they came; those of other VMs go on meanwhile."""

    def __init__(self) -> None:
        self._turns: dict[str, _Turn] = {}

    @asynccontextmanager
    async def of(self, uuid: str) -> AsyncIterator[None]:
        """The turn of that VM, for as long as the block lasts."""
        turn = self._turns.setdefault(uuid, _Turn())
        turn.users += 1
        try:
            async with turn.lock:
                yield
        finally:
            turn.users -= 1
            if turn.users == 0:
                del self._turns[uuid]


class Workers:
    """Threads for what blocks. `patience`: seconds after which a call is not waited for any more."""

    def __init__(self, *, patience: float = PATIENCE) -> None:
        self._patience = patience
        self._pool = ThreadPoolExecutor(_CALLS, thread_name_prefix="change")

    async def run(self, work: Callable[[], _Answer]) -> _Answer:
        """What `work` returns or raises; `Unavailable` if that takes too long.

        It goes on to its end even if nobody waits any more: no call of libvirt can be cancelled.
        """
        begun = threading.Event()

        def working() -> _Answer:
            begun.set()
            return work()

        try:
            future = asyncio.get_running_loop().run_in_executor(self._pool, working)
        except RuntimeError as error:
            raise Unavailable("nicmapd is stopping") from error
        try:
            return await asyncio.wait_for(future, self._patience)
        except TimeoutError:
            outcome = "whether it was done is not known, the map will show it" if begun.is_set() else "nothing was done"
            raise Unavailable(f"libvirt has not answered for {self._patience:g} s; {outcome}") from None

    def stop(self) -> None:
        """Starts nothing more. A call in flight is not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)
