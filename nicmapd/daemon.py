"""The composition root: a configuration becomes objects, they are started in order, and stopped in reverse.

Readers are served from the first moment on, from the store's map with its honest ages; libvirt may come later, go and
come back. SIGTERM and SIGINT stop the daemon within 5 s whatever hangs, SIGHUP reads the configuration again.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import os
import resource
import secrets
import signal
import socket
import time
import urllib.parse
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from nicmapd import __version__, config, store
from nicmapd.api import Feed, create_app
from nicmapd.api.door import tls
from nicmapd.api.door.access import Access, Rules, rules_of
from nicmapd.api.door.server import Server
from nicmapd.api.door.sockets import check_exposure, open_sockets, regroup
from nicmapd.board import Board
from nicmapd.causes import Causes
from nicmapd.change import Changer
from nicmapd.clock import SystemClock
from nicmapd.config import Config
from nicmapd.errors import AgentFailure, ConfigError, Invalid, NotFound, StoreCorrupt
from nicmapd.hypervisor import LibvirtChanges, LibvirtHypervisor
from nicmapd.keeper import Keeper
from nicmapd.logs import start_logging
from nicmapd.meter import Meter
from nicmapd.model import AgentState, Change, ChangeKind, Outcome
from nicmapd.ports import Clock, NicStore, StoredVm
from nicmapd.refresh import Refresher
from nicmapd.sdnotify import Notifier, listening_sockets
from nicmapd.status import DaemonStatus, StoreStatus, without_libvirt
from nicmapd.watch import Watcher

_log = logging.getLogger(__name__)

#: Seconds between status lines to the service manager, and at most between feedings of its watchdog.
NOTIFY_SECONDS = 5.0
#: Seconds that the last writes at the stop may take: a disk that hangs must not hold the stop up.
FLUSH_SECONDS = 1.0
#: Seconds that a question about the past waits for the present to be written: writes take milliseconds, and where the
#: disk hangs the past is asked as it is.
SETTLE_SECONDS = 1.0
#: Open files at once: the connections of the API, and enough for libvirt and the store.
DESCRIPTORS = 4096

_NOT_COMPARED = "the map has not been compared with libvirt yet"


def host_name(uri: str) -> str:
    """The name under which this host's rows are stored: that of the machine whose libvirt is meant."""
    return urllib.parse.urlsplit(uri).hostname or socket.gethostname()


def open_store(settings: Config, *, host: str, clock: Clock) -> tuple[NicStore, Sequence[StoredVm]]:
    """The store and its map; a new one if its file is damaged: the map is rebuilt from libvirt and the guests.

    Raises `Unavailable` if it cannot be opened and must not be touched (locked, too new, no permission).
    """
    try:
        return _readable(settings, host=host, clock=clock)
    except StoreCorrupt as error:
        try:
            aside = store.set_aside(settings.store.url)
        except Invalid as refusal:
            raise StoreCorrupt(f"{error.message}; {refusal.message}") from error
        _log.error("%s; moved aside to %s. The map begins anew, its history is lost from here on", error.message, aside)
        new = store.open_store(settings.store.url, host=host, clock=clock)
        # Behind any number that the damaged one can have given (it had to have a change a second for all its life to
        # come so far), so that a reader of its feed is told that there is something it has missed.
        now = clock.now()
        change = Change(ChangeKind.RESYNC, "the file of the map was damaged, and a new one was begun")
        new.begin(change, number=int(now.timestamp()), at=now)
        return new, ()


def _readable(settings: Config, *, host: str, clock: Clock) -> tuple[NicStore, Sequence[StoredVm]]:
    """The store, and the map that was read from it: that a file is whole says nothing of what is in its cells."""
    found = store.open_store(settings.store.url, host=host, clock=clock)
    try:
        return found, found.load()
    except BaseException:
        found.close()
        raise


class Daemon:
    """One running nicmapd. Construct it in the event loop; it fails with `NicmapError` before anything is started."""

    def __init__(self, settings: Config, *, path: Path | None = None) -> None:
        self._settings = settings
        self._path = path
        self._clock: Clock = SystemClock()
        self._host = host_name(settings.libvirt.uri)
        self._started = self._clock.now()
        self._started_monotonic = self._clock.monotonic()
        self._notifier = Notifier()
        self._stopping = asyncio.Event()
        self._access = Access(rules_of(settings.api))
        self._tls = tls.context_of(settings.api)
        self._store, stored = open_store(settings, host=self._host, clock=self._clock)
        with contextlib.ExitStack() as undo:
            undo.callback(self._store.close)
            self._board = Board(self._clock)
            self._feed = Feed(self._store)
            self._keeper = Keeper(self._store, self._board, clock=self._clock, publish=self._feed.announce)
            self._keeper.load(stored)
            self._sockets = open_sockets(settings.api, listening_sockets())
            undo.pop_all()
        _allow_descriptors()
        self._hypervisor = LibvirtHypervisor(
            settings.libvirt.uri,
            host=self._host,
            clock=self._clock,
            agent_calls=settings.agent.concurrency,
            rx_filter=settings.hints.rx_filter,
        )
        causes = Causes()
        refresher = Refresher(
            self._hypervisor,
            self._keeper,
            self._board,
            clock=self._clock,
            settings=settings.agent,
            new_id=lambda: secrets.token_hex(8),
            causes=causes,
        )
        meter = Meter()
        self._watcher = Watcher(
            self._hypervisor, refresher, self._keeper, self._board, clock=self._clock, config=settings, meter=meter
        )
        libvirt_changes = LibvirtChanges(settings.libvirt.uri)
        self.changer = Changer(
            libvirt_changes,
            libvirt_changes,
            self._board,
            causes,
            clock=self._clock,
            status=self._hypervisor.status,
            refresh=self._watcher.refresh,
        )
        self._hypervisor.subscribe(self.changer.take)
        app = create_app(self._board, self._store, self, self._clock, self._feed, meter=meter, access=self._access)
        self._server = Server(app, self._sockets, tls=self._tls)

    # -- life

    async def run(self) -> None:
        """Serves until a signal says stop."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        serving = loop.create_task(self._server.run())
        serving.add_done_callback(lambda _task: self._stopping.set())
        self._watcher.start()
        self._hypervisor.start()
        _log.info("nicmapd %s for host %s, %d VMs in the store", __version__, self._host, len(self._board))
        self._notifier.send(READY="1", STATUS=self._status_line())
        await self._stay()
        self._notifier.send(STOPPING="1", STATUS="stopping")
        await self._stop(serving)

    async def _stay(self) -> None:
        """Tells the service manager how it goes until the stop; the wait is for the stop, not for time."""
        watchdog = self._notifier.watchdog_interval()
        pause = NOTIFY_SECONDS if watchdog is None else min(NOTIFY_SECONDS, watchdog / 3)
        while not self._stopping.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), timeout=pause)
            if not self._watcher.status().overdue:
                self._notifier.send(WATCHDOG="1", STATUS=self._status_line())
            else:
                self._notifier.send(STATUS=f"passes are stuck; {self._status_line()}")

    async def _stop(self, serving: asyncio.Task[None]) -> None:
        self._feed.end("nicmapd is stopping")
        self._server.stop()
        self._hypervisor.stop()
        self.changer.stop()
        await self._watcher.stop(seconds=1.5)
        await asyncio.wait([serving], timeout=2.0)
        if not serving.cancelled() and serving.done() and serving.exception() is not None:
            _log.error("the API ended: %s", serving.exception())
        await _within(FLUSH_SECONDS, self._keeper.save_rest)
        await _within(FLUSH_SECONDS, self._keeper.flush_seen)
        await _within(FLUSH_SECONDS, self._store.close)
        _log.info("stopped")

    def _reload(self) -> None:
        """Reads the configuration again. A bad one changes nothing; what needs a restart is named."""
        self._notifier.send(RELOADING="1", MONOTONIC_USEC=str(time.monotonic_ns() // 1000))
        try:
            new = config.load(self._path)
            now = _as_far_as_running(self._settings, new)
            rules = rules_of(now.api)
            tls.context_of(now.api)  # files that do not do are told before anything is changed
            check_exposure(self._sockets, now.api)
            if self._tls is not None:
                tls.load(self._tls, now.api)
        except ConfigError as error:
            for fault in error.faults:
                _log.error("the new configuration is wrong, the old one stays: %s", config.located(self._path, fault))
        else:
            self._apply(now, rules)
            later = _differences(now, new)
            what = f"; {', '.join(later)} will count after a restart" if later else ""
            _log.info("configuration read again%s", what)
        self._notifier.send(READY="1", STATUS=self._status_line())

    def _apply(self, new: Config, rules: Rules) -> None:
        start_logging(new.log)
        if rules != self._access.rules:
            self._access.rules = rules
            # What is open may have been opened by a token that is none any more: whoever still has a right comes back.
            self._server.hang_up(unless=lambda other: other.transport == "unix" and self._access.judge(other).may_read)
        if new.api.read_group != self._settings.api.read_group:
            regroup(self._sockets, new.api.read_group)
        self._watcher.configure(new)
        self._settings = new

    # -- what the API asks (api.service.Service)

    async def refresh(self, uuid: str) -> Outcome:
        outcome = await self._watcher.refresh(uuid)
        if outcome.gone:
            raise NotFound(outcome.sentence)
        if not outcome.answered:
            entry = self._board.entry(uuid)
            reason = entry.agent.message if entry else outcome.sentence
            raise AgentFailure(f"the guest could not be asked: {reason}", state=outcome.agent.value)
        return outcome

    def settle(self) -> None:
        self._keeper.settle(seconds=SETTLE_SECONDS)

    def status(self) -> DaemonStatus:
        fault = self._keeper.fault
        return DaemonStatus(
            version=__version__,
            pid=os.getpid(),
            started=self._started,
            uptime=self._clock.monotonic() - self._started_monotonic,
            host=self._host,
            libvirt=self._hypervisor.status(),
            store=StoreStatus(
                not fault,
                fault,
                self._settings.store.url.partition(":")[0].partition("+")[0],
                suppressed=self._keeper.suppressed,
                unsaved=len(self._keeper.unsaved()),
            ),
            watch=self._watcher.status(),
        )

    def readiness(self) -> list[str]:
        reasons = self.status().degraded()
        if not self._watcher.synced:
            reasons.append(_NOT_COMPARED)
        return reasons

    def gaps(self) -> list[str]:
        away = without_libvirt(self._hypervisor.status())
        return away if self._watcher.synced else [*away, _NOT_COMPARED]

    def _status_line(self) -> str:
        """The STATUS that `systemctl status` shows: "41 VMs, 38 fresh, 2 unresponsive, 1 no channel"."""
        sights = [self._board.sight(entry) for entry in self._board.entries()]
        fresh = sum(1 for sight in sights if sight.freshness.value == "fresh")
        states = Counter(sight.entry.agent.state for sight in sights)
        parts = [f"{len(sights)} VMs", f"{fresh} fresh"]
        parts += [f"{states[state]} {state.value.replace('_', ' ')}" for state in AgentState if _worth(state, states)]
        if not self._hypervisor.status().connected:
            parts.insert(0, "libvirt is away")
        return ", ".join(parts)


def _worth(state: AgentState, states: Counter[AgentState]) -> bool:
    return states[state] > 0 and state is not AgentState.OK


def _allow_descriptors() -> None:
    """Raises the soft limit of open files: 1024 is less than the API's connections may be (select(2) is not used)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # a sandbox may forbid it; the API goes by its own limits anyway
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def _within(seconds: float, work: Callable[[], object]) -> None:
    """Runs `work` in a thread and waits so long for it."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asyncio.to_thread(work), timeout=seconds)


def _as_far_as_running(old: Config, new: Config) -> Config:
    """`new` with what only a restart can change as it is in `old`."""
    tls_files: dict[str, Any] = {}
    if bool(old.api.tls_certificate_file) != bool(new.api.tls_certificate_file):
        tls_files = {"tls_certificate_file": old.api.tls_certificate_file, "tls_key_file": old.api.tls_key_file}
    return dataclasses.replace(
        new,
        libvirt=old.libvirt,
        agent=dataclasses.replace(new.agent, concurrency=old.agent.concurrency),
        store=dataclasses.replace(new.store, url=old.store.url),
        api=dataclasses.replace(new.api, socket=old.api.socket, listen=old.api.listen, **tls_files),
        hints=old.hints,
    )


def _differences(old: Config, new: Config) -> list[str]:
    """`section.key` of what differs."""
    return [
        f"{section.name}.{key.name}"
        for section in dataclasses.fields(Config)
        for key in dataclasses.fields(getattr(old, section.name))
        if getattr(getattr(old, section.name), key.name) != getattr(getattr(new, section.name), key.name)
    ]
