"""Connections for agent calls only: opened when first needed, few calls at once on each, replaced when broken."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import libvirt_qemu

from nicmapd.hypervisor.link import Link

#: libvirtd's max_client_requests is 5: with 4 in flight a fifth request, a keepalive say, is still read.
CALLS_PER_CONNECTION = 4

#: Domains whose handle a line keeps; then it begins anew. Of a domain that is gone nobody tells the line.
MAX_HANDLES = 16_384


class AgentLine:
    """One connection with its count of calls in flight."""

    def __init__(self, uri: str) -> None:
        self.calls = 0
        self.broken = False
        self._link = Link(uri, on_close=self._on_close)
        self._domains: dict[str, Any] = {}

    def _on_close(self, _reason: str) -> None:
        self.broken = True

    def ask(self, uuid: str, command: str, *, timeout: int) -> str:
        """libvirt's raw answer; raises libvirtError."""
        domain = self._domains.get(uuid)
        if domain is None:
            if len(self._domains) >= MAX_HANDLES:
                self._domains.clear()
            # A virDomain is only the UUID on this connection: it stays good over restarts of the guest.
            domain = self._domains[uuid] = self._link.connection.lookupByUUIDString(uuid)
        try:
            return str(libvirt_qemu.qemuAgentCommand(domain, command, timeout, 0))
        except BaseException:
            self._domains.pop(uuid, None)
            raise

    def alive(self) -> bool:
        if not self.broken and not self._link.alive():
            self.broken = True
        return not self.broken

    def close(self) -> None:
        self.broken = True
        self._domains.clear()
        self._link.close()


class AgentLines:
    """The lines of one libvirt. Thread-safe; a caller waits for a free place, as there are never more calls than
    `calls` in flight."""

    def __init__(self, uri: str, *, calls: int) -> None:
        self._uri = uri
        self._places = threading.BoundedSemaphore(calls)
        self._lock = threading.Lock()
        self._lines: list[AgentLine] = []

    @contextmanager
    def line(self) -> Iterator[AgentLine]:
        """A line with a free place, for one call. Raises `Unavailable` if a new connection is needed and fails."""
        with self._places:
            line = self._take()
            try:
                yield line
            finally:
                self._give_back(line)

    def _take(self) -> AgentLine:
        with self._lock:
            for line in self._lines:
                if not line.broken and line.calls < CALLS_PER_CONNECTION:
                    line.calls += 1
                    return line
            line = AgentLine(self._uri)
            line.calls = 1
            self._lines.append(line)
            return line

    def _give_back(self, line: AgentLine) -> None:
        with self._lock:
            line.calls -= 1
            if line.broken and line.calls == 0 and line in self._lines:
                self._lines.remove(line)
                line.close()

    def close(self) -> None:
        """Lets go of all lines: idle ones at once, busy ones when their calls have come back."""
        with self._lock:
            for line in list(self._lines):
                line.broken = True
                if line.calls == 0:
                    self._lines.remove(line)
                    line.close()
