"""Questions to the store, which blocks: in few threads of its own, and never for longer than a client waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from nicmapd.errors import Unavailable

T = TypeVar("T")

#: Answers of the store come in milliseconds; more threads would only wait for its lock.
_THREADS = 4
#: A database that is away must not look like a hung api.
_SECONDS = 5.0


class Past:
    """Runs calls of the store beside the event loop."""

    def __init__(self, *, threads: int = _THREADS) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="api-store")

    async def ask(self, question: Callable[[], T]) -> T:
        """What `question` returns or raises. Raises `Unavailable` if that takes too long."""
        future = asyncio.get_running_loop().run_in_executor(self._pool, question)
        try:
            return await asyncio.wait_for(future, timeout=_SECONDS)
        except TimeoutError:
            raise Unavailable(f"the store has not answered for {_SECONDS:.0f} s") from None
