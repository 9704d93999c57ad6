"""The way into TLS: a connection is counted, and has its time, before a handshake begins."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Hashable
from typing import Protocol

from nicmapd.api.door import peer
from nicmapd.api.door.limits import Slots, owner


class Inner(Protocol):
    """What a connection is handed to: an asyncio protocol that takes over a place which is held already."""

    def take_over(self, transport: asyncio.Transport, data: bytes, place: tuple[Slots, Hashable]) -> None:
        """Goes on with an open connection, what came on it meanwhile, and the place that it has and gives back."""


class Gate(asyncio.Protocol):
    """One connection until its handshake is done.

    asyncio's own TLS servers count nothing until then, and wait a minute: who opens connections and says nothing
    would have all descriptors of the daemon.
    """

    def __init__(
        self,
        make: Callable[[], Inner],
        context: ssl.SSLContext,
        slots: Slots,
        tasks: set[asyncio.Task[None]],
        seconds: float,
    ) -> None:
        self._make = make
        self._context = context
        self._slots = slots
        self._tasks = tasks
        self._seconds = seconds
        self._early = b""
        self._lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        who = owner(peer.of_socket(transport.get_extra_info("socket")))
        if not self._slots.take(who):
            transport.abort()  # without TLS there is no word for it
            return
        transport.pause_reading()
        task = asyncio.get_running_loop().create_task(self._shake_hands(transport, who))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def data_received(self, data: bytes) -> None:
        """What comes between the handshake and the moment that the loop comes back to us."""
        self._early += data

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio's signature
        self._lost = True

    async def _shake_hands(self, transport: asyncio.Transport, who: Hashable) -> None:
        secured: asyncio.Transport | None = None
        try:
            secured = await asyncio.get_running_loop().start_tls(
                transport, self, self._context, server_side=True, ssl_handshake_timeout=self._seconds
            )
        except OSError:
            pass  # no TLS, too late, or gone: ssl.SSLError and the time-out are OSErrors
        finally:
            if secured is None or self._lost:
                self._slots.give_back(who)
                transport.abort()
        if secured is not None and not self._lost:
            inner = self._make()
            secured.set_protocol(inner)  # type: ignore[arg-type]
            inner.take_over(secured, self._early, (self._slots, who))
