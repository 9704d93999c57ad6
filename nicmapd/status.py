"""How the daemon itself does: what `GET /status` and `/readyz` tell of it. Built by watch and daemon, read by api.

Health is the age of the last finished pass. A guest that does not answer is that guest's trouble and is counted by
the api; it never makes the daemon degraded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from nicmapd.model import ConnectionStatus


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """Whether the store can be written. `message` says in words why not, or is empty. `backend` is `sqlite` or
    `postgresql`, never the URL: that may hold a password. `suppressed`: by VM (UUID), how much of its past was too much
    to keep since the start, as a guest may change its names all the time. `unsaved`: VMs whose newest state is only in
    memory."""

    ok: bool
    message: str = ""
    backend: str = ""
    suppressed: Mapping[str, int] = field(default_factory=dict)
    unsaved: int = 0


@dataclass(frozen=True, slots=True)
class WatchStatus:
    """How the passes go. Ages, `interval` and `lateness` in seconds.

    `last_pass_age` is None before the first pass has finished. `passes` counts them since the start. `queue` is how
    many VMs are due or being looked at. `interval` is what a settled guest really gets (`poll.interval`, stretched
    under load). `lateness` is how far the most overdue guest is behind its time. `overdue`: no pass has finished
    for so long that something is wrong, by watch's own judgement. `suspects`: UUIDs of the VMs whose last call failed,
    which are asked ever more seldom.
    """

    last_pass_age: float | None = None
    passes: int = 0
    queue: int = 0
    interval: float = 0.0
    lateness: float = 0.0
    overdue: bool = False
    suspects: frozenset[str] = frozenset()


def without_libvirt(libvirt: ConnectionStatus) -> list[str]:
    """That there is no connection, in a sentence; an empty list if there is one."""
    return [] if libvirt.connected else [f"no connection to libvirt: {libvirt.message or 'not connected yet'}"]


@dataclass(frozen=True, slots=True)
class DaemonStatus:
    """The daemon as a whole. `host` is libvirt's host UUID; `started` is wall clock, `uptime` seconds."""

    version: str
    pid: int
    started: datetime
    uptime: float
    host: str
    libvirt: ConnectionStatus
    store: StoreStatus
    watch: WatchStatus

    def degraded(self) -> list[str]:
        """Why it is degraded, one sentence each; an empty list if it is well."""
        reasons = without_libvirt(self.libvirt)
        if not self.store.ok:
            reasons.append(f"the store cannot be written: {self.store.message or 'no reason is known'}")
        if self.watch.overdue:
            age = self.watch.last_pass_age
            since = "since the start" if age is None else f"for {age:.0f} s"
            reasons.append(f"no pass has finished {since}")
        return reasons
