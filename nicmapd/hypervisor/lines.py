"""Connections for calls: opened when first needed, one call at a time on each, replaced when broken.

One call at a time because libvirt's client library crashes the process otherwise: when a connection with two calls in
flight is lost, the second one takes over an event source of the first, whose stack is gone (CVE-2024-4418, mended in
libvirt 10.4; Debian 12 has 9.0). It also leaves room: libvirtd handles 5 requests of a connection and then stops
reading it, keepalives included.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from nicmapd.hypervisor.link import Link

_Answer = TypeVar("_Answer")

#: Domains whose handle a line keeps; then it begins anew. Of a domain that is gone nobody tells the line.
MAX_HANDLES = 16_384


class Line:
    """One connection for one call at a time; its taker's alone until it is given back."""

    def __init__(self, uri: str) -> None:
        """Connects; blocks until libvirt answers. Raises `Unavailable`."""
        self.broken = False
        self._domains: dict[str, Any] = {}
        self._link = Link(uri, on_close=self._on_close)

    def _on_close(self, _reason: str) -> None:
        self.broken = True

    @property
    def connection(self) -> Any:
        """The libvirt.virConnect."""
        return self._link.connection

    def call(self, uuid: str, work: Callable[[Any], _Answer]) -> _Answer:
        """What `work` makes of the libvirt.virDomain of `uuid`, which is looked up once, and anew after a failure.

        A virDomain is only the UUID on this connection, and stays good over restarts of the guest (its name is that of
        the lookup). Raises libvirtError.
        """
        domain = self._domains.get(uuid)
        if domain is None:
            if len(self._domains) >= MAX_HANDLES:
                self._domains.clear()
            domain = self._domains[uuid] = self._link.connection.lookupByUUIDString(uuid)
        try:
            return work(domain)
        except BaseException:
            self._domains.pop(uuid, None)
            raise

    def alive(self) -> bool:
        """Whether libvirt answers a trivial question on this line; if not, it is replaced when given back."""
        if not self.broken and not self._link.alive():
            self.broken = True
        return not self.broken

    def close(self) -> None:
        self.broken = True
        self._domains.clear()  # they would hold the connection open
        self._link.close()


class Lines:
    """The lines to one libvirt. Thread-safe; there are never more than `calls`, and who comes then waits."""

    def __init__(self, uri: str, *, calls: int) -> None:
        self._uri = uri
        self._places = threading.BoundedSemaphore(calls)
        self._lock = threading.Lock()
        self._idle: list[Line] = []
        self._taken: set[Line] = set()

    @contextmanager
    def line(self) -> Iterator[Line]:
        """A line for one call. Raises `Unavailable` if a new connection is needed and fails."""
        with self._places:
            line = self._take()
            try:
                yield line
            finally:
                self._give_back(line)

    def _take(self) -> Line:
        while True:
            with self._lock:
                if not self._idle:
                    break
                line = self._idle.pop()  # the last one used: it knows most domains
                if not line.broken:
                    self._taken.add(line)
                    return line
            line.close()
        line = Line(self._uri)
        with self._lock:
            self._taken.add(line)
        return line

    def _give_back(self, line: Line) -> None:
        with self._lock:
            self._taken.discard(line)
            if not line.broken:
                self._idle.append(line)
                return
        line.close()

    def close(self) -> None:
        """Lets go of all lines: idle ones at once, busy ones when their calls have come back. More may be opened."""
        with self._lock:
            idle, self._idle = self._idle, []
            for line in self._taken:
                line.broken = True
        for line in idle:
            line.close()
