"""Whose turn it is at a VM, and the threads in which libvirt is called."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from nicmapd.errors import Unavailable

_Answer = TypeVar("_Answer")

#: Calls of libvirt at once, over all VMs: what its connection carries (hypervisor/agent_lines.py).
_CALLS = 4


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
    """Threads for what blocks."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(_CALLS, thread_name_prefix="change")

    async def run(self, work: Callable[[], _Answer]) -> _Answer:
        """What `work` returns or raises. It goes on to its end even if the request that wanted it is cut off."""
        try:
            future = asyncio.get_running_loop().run_in_executor(self._pool, work)
        except RuntimeError as error:
            raise Unavailable("nicmapd is stopping") from error
        return await future

    def stop(self) -> None:
        """Starts nothing more. A call in flight is not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)
