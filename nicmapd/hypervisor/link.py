"""One connection to libvirt: opened, watched by keepalive, closed without leaving anything behind.

Facts this rests on: the event loop must be registered before the first connection is opened and must run, or
libvirtd drops us after 30 s without an answer to its keepalive; every registered callback holds its connection
alive, so all are deregistered before close (libvirt-python, virConnect.domainEventRegisterAny).
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import libvirt

from nicmapd.errors import Unavailable
from nicmapd.text import printable

_log = logging.getLogger(__name__)

#: Keepalive: a libvirtd that answers nothing is given up after KEEPALIVE_SECONDS * (KEEPALIVE_COUNT + 1) = 20 s.
KEEPALIVE_SECONDS = 5
KEEPALIVE_COUNT = 3

#: How long a close waits for a call in flight: longer than libvirt waits for a domain's lock (30 s).
DRAIN_SECONDS = 40.0

#: Seconds until libvirt's event loop is run again after it failed.
LOOP_PAUSE = 1.0

_loop_lock = threading.Lock()
_loop_started = False


def start_event_loop() -> None:
    """Starts libvirt's default event loop in a daemon thread of its own, once per process."""
    global _loop_started
    with _loop_lock:
        if _loop_started:
            return
        # libvirt prints every error, guests' words included, to stderr unless a handler is there.
        libvirt.registerErrorHandler(lambda _context, _error: None, None)
        libvirt.virEventRegisterDefaultImpl()
        # Without any handle the loop would block for ever in its first poll, and never see one added later.
        libvirt.virEventAddTimeout(1000, lambda _timer, _opaque: None, None)
        threading.Thread(target=_run_event_loop, name="libvirt-events", daemon=True).start()
        _loop_started = True


def _run_event_loop() -> None:
    """Runs for ever: without it no event comes, and each connection is lost for want of an answer to its keepalive."""
    while True:
        try:
            libvirt.virEventRunDefaultImpl()
        except libvirt.libvirtError as error:
            _log.error("libvirt's event loop failed, it goes on in %g s: %s", LOOP_PAUSE, describe(error))
            time.sleep(LOOP_PAUSE)  # there is nothing to wait for: what failed is the waiting


def describe(error: libvirt.libvirtError) -> str:
    """libvirt's own words for an error, safe to print."""
    return printable(error.get_error_message() or str(error))


class Link:
    """One open connection. `on_close` is called once, from libvirt's event thread, if libvirt ends it."""

    def __init__(self, uri: str, *, on_close: Callable[[str], None]) -> None:
        """Connects; blocks until libvirt answers. Raises `Unavailable`."""
        start_event_loop()
        try:
            self._connection = libvirt.open(uri)
        except libvirt.libvirtError as error:
            raise Unavailable(f"cannot connect to libvirt at {uri}: {describe(error)}") from error
        self._endings: list[Callable[[], object]] = []
        self._turn = threading.Lock()
        self._closing = False
        self._on_close: Callable[[str], None] | None = on_close
        try:
            # Drivers without a daemon (test:///, embed) have no keepalive: -1 or an error, nothing to watch.
            with contextlib.suppress(libvirt.libvirtError):
                self._connection.setKeepAlive(KEEPALIVE_SECONDS, KEEPALIVE_COUNT)
            with contextlib.suppress(libvirt.libvirtError):
                self._connection.registerCloseCallback(self._closed, None)
        except BaseException:
            self.close()
            raise

    @property
    def connection(self) -> Any:
        """The libvirt.virConnect, for those who see to it themselves that it is not closed meanwhile."""
        return self._connection

    @contextlib.contextmanager
    def use(self) -> Iterator[Any]:
        """The libvirt.virConnect for one call, once those before have come back.

        One at a time (see lines.py), and the connection is not closed under it: either would crash the process. Raises
        `Unavailable` when it is being closed.
        """
        with self._turn:
            if self._closing:
                raise Unavailable("the connection to libvirt is being closed; it is opened again soon")
            yield self._connection

    def _closed(self, _connection: object, reason: int, _opaque: object) -> None:
        words = {0: "an error", 1: "end of file", 2: "no answer to keepalive", 3: "the client"}
        callback, self._on_close = self._on_close, None
        if callback is not None:
            callback(words.get(reason, f"reason {reason}"))

    def alive(self) -> bool:
        """Whether libvirt answers a trivial question on this connection."""
        try:
            with self.use() as connection:
                if connection.isAlive() != 1:
                    return False
                connection.getLibVersion()
        except (libvirt.libvirtError, Unavailable):
            return False
        return True

    def listen(self, event: int, callback: Callable[..., None]) -> bool:
        """Registers `callback` for a domain event on all domains; whether this libvirt has that event."""
        try:
            number = self._connection.domainEventRegisterAny(None, event, callback, None)
        except libvirt.libvirtError as error:
            _log.info("this libvirt does not offer event %d: %s", event, describe(error))
            return False
        self.on_end(lambda: self._connection.domainEventDeregisterAny(number))
        return True

    def on_end(self, ending: Callable[[], object]) -> None:
        """`ending` runs before the connection is closed, to deregister what holds it alive."""
        self._endings.append(ending)

    def close(self) -> None:
        """Deregisters all and closes, once the call in flight has come back. Never raises.

        On a broken connection it comes back at once. If it does not within `DRAIN_SECONDS` the connection is left
        open: what that costs is a descriptor, what closing it under the call costs is the process.
        """
        self._on_close = None
        self._closing = True
        if not self._turn.acquire(timeout=DRAIN_SECONDS):
            _log.warning("a call to libvirt does not come back; its connection stays open")
            return
        try:
            for ending in self._endings:
                with contextlib.suppress(libvirt.libvirtError):
                    ending()
            self._endings.clear()
            with contextlib.suppress(libvirt.libvirtError):
                self._connection.unregisterCloseCallback()
            with contextlib.suppress(libvirt.libvirtError):
                self._connection.close()
        finally:
            self._turn.release()
