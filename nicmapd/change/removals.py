"""Who waits for which NIC to be let go by its guest: libvirt's device events, by VM and alias.

Several may wait for the same device: a second detach of a NIC that is going already joins the first one's wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from nicmapd.ports import DomainEvent, EventKind

#: What an event says of a device that is to go: gone, refused, or look yourself (None).
_MEANING: dict[EventKind, bool | None] = {
    EventKind.DEVICE_REMOVED: True,
    EventKind.DEVICE_REMOVAL_FAILED: False,
    EventKind.LIFECYCLE: None,
}


@dataclass(slots=True, eq=False)
class Removal:
    """One wait. `heard` holds what came since it was registered. Made in the loop in which it is waited for."""

    uuid: str
    alias: str
    heard: asyncio.Queue[bool | None] = field(default_factory=asyncio.Queue)
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)

    async def wait(self, seconds: float) -> bool | None:
        """True: gone; False: refused; None: nothing in that time, or something else: look at the XML."""
        try:
            return await asyncio.wait_for(self.heard.get(), max(0.001, seconds))
        except TimeoutError:
            return None


class Removals:
    """All waits. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[Removal] = []

    @contextlib.contextmanager
    def expect(self, uuid: str, alias: str) -> Iterator[Removal]:
        """Listens while the block lasts."""
        removal = Removal(uuid, alias)
        with self._lock:
            self._waiting.append(removal)
        try:
            yield removal
        finally:
            with self._lock:
                self._waiting.remove(removal)

    def take(self, event: DomainEvent) -> None:
        """An event of libvirt, from any thread: handed over, nothing else."""
        if event.kind not in _MEANING or event.vm is None:
            return
        with self._lock:
            found = [one for one in self._waiting if one.uuid == event.vm.uuid]
        for removal in found:
            if event.kind is EventKind.LIFECYCLE or removal.alias == event.detail:
                with contextlib.suppress(RuntimeError):  # its loop has ended
                    removal.loop.call_soon_threadsafe(removal.heard.put_nowait, _MEANING[event.kind])
