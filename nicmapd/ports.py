"""What the use cases need of the world, as Protocols. Adapters implement them and do not know each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from nicmapd.model import (
    Change,
    ConnectionStatus,
    Domain,
    FeedItem,
    PastNic,
    VmEntry,
    VmRef,
)


class EventKind(StrEnum):
    """What libvirt's events tell; each means only "look at this VM again"."""

    LIFECYCLE = "lifecycle"
    AGENT = "agent"
    DEVICE_ADDED = "device_added"
    DEVICE_REMOVED = "device_removed"
    DEVICE_REMOVAL_FAILED = "device_removal_failed"
    NIC_MAC = "nic_mac"
    RX_FILTER = "rx_filter"
    CONNECTED = "connected"
    DISCONNECTED = "disconnected"


@dataclass(frozen=True, slots=True)
class DomainEvent:
    """One event. `vm` is None for those of the connection itself. `detail` is a word for the log: `started`,
    `connected`, or the alias of the device."""

    kind: EventKind
    vm: VmRef | None = None
    detail: str = ""


class Clock(Protocol):
    """Time. `now` is for history, `monotonic` for ages and waits."""

    def now(self) -> datetime:
        """UTC, timezone-aware."""
        ...

    def monotonic(self) -> float:
        """Seconds since some point; never goes back, counts suspend of the host."""
        ...


class Hypervisor(Protocol):
    """libvirt, as far as reading goes. All calls block; none is made from the event loop.

    Raises `errors.Unavailable` while there is no connection.
    """

    @property
    def host(self) -> str:
        """The identity of this host: libvirt's host UUID. Every row of the store carries it."""
        ...

    def status(self) -> ConnectionStatus: ...

    def domains(self) -> Sequence[Domain]:
        """All domains, defined or running."""
        ...

    def domain(self, uuid: str) -> Domain:
        """One domain. Raises `errors.NotFound` if libvirt has none of that UUID."""
        ...

    def domain_xml(self, uuid: str) -> str:
        """The live XML of a running domain, the inactive one of another. Raises `errors.NotFound`."""
        ...

    def config_xml(self, uuid: str) -> str:
        """The XML with which a persistent domain will boot next, while it runs. Raises `errors.NotFound`."""
        ...

    def agent_command(self, uuid: str, command: str, *, timeout: int) -> str:
        """The guest agent's raw reply to `command` (both JSON text).

        `timeout` in whole seconds, at least 1; the call may take longer (facts: up to 5 + `timeout` s for a hung
        agent, 30 s more if another client holds the agent). Raises `errors.AgentFailure`, `errors.NotFound`.
        """
        ...

    def rx_filter(self, uuid: str) -> Mapping[str, str]:
        """Alias -> the MAC that the hypervisor sees the guest use now; empty unless `hints.rx_filter` is on.

        Asking arms the event RX_FILTER again for that domain. Raises `errors.NotFound`.
        """
        ...

    def subscribe(self, callback: Callable[[DomainEvent], None]) -> None:
        """Calls `callback` for every event, from libvirt's event thread: it must only hand over, and return."""
        ...


class Scope(StrEnum):
    """Which of a domain's two XMLs a change is for."""

    LIVE = "live"
    CONFIG = "config"


@dataclass(frozen=True, slots=True)
class DomainXml:
    """A domain and both its XMLs at one moment. `live` is None unless it runs, `config` None if it is transient."""

    domain: Domain
    live: str | None
    config: str | None


@dataclass(frozen=True, slots=True)
class Network:
    """A libvirt network. `forward` is its mode (`nat`, `route`, `open`, `bridge`, ...; None: isolated)."""

    name: str
    uuid: str
    active: bool
    persistent: bool
    autostart: bool
    bridge: str | None
    forward: str | None


class HypervisorChanges(Protocol):
    """libvirt, as far as changing NICs goes. All calls block, one for 30 s and more where another job holds the
    domain; none is made from the event loop.

    Raises `errors.Unavailable` while there is no connection, `errors.NotFound` for a domain that is not there, and
    what libvirt's error means otherwise (`Conflict`, `Invalid`, `Unsupported`, `Forbidden`), with libvirt's words.
    """

    def look(self, uuid: str) -> DomainXml: ...

    def attach(self, uuid: str, interface: str, scopes: Sequence[Scope]) -> None:
        """Adds an `<interface>`; to both XMLs, or to none if one fails."""
        ...

    def detach(self, uuid: str, interface: str, scope: Scope) -> None:
        """Removes an `<interface>` from one XML. LIVE only asks the guest; an event tells when it is gone."""
        ...

    def update(self, uuid: str, interface: str, scope: Scope) -> None:
        """Makes the `<interface>` of that MAC and address as given, in one XML."""
        ...

    def redefine(self, uuid: str, change: Callable[[str], str]) -> None:
        """Replaces the whole configuration of a domain by what `change` makes of it."""
        ...

    def macs(self) -> Mapping[str, str]:
        """MAC -> name of the domain that has it, over all domains, in either XML."""
        ...


class Networks(Protocol):
    """libvirt's networks. Blocks; raises `errors.Unavailable`."""

    def networks(self) -> Sequence[Network]:
        """All networks, by name."""
        ...


@dataclass(frozen=True, slots=True)
class StoredVm:
    """A VM as the store knows it, and when its agent last answered (wall clock)."""

    entry: VmEntry
    last_success: datetime | None


class NicStore(Protocol):
    """The map and its past, for the rows of one host. One writer; every call is thread-safe.

    Raises `errors.Unavailable` (its children StoreLocked, StoreTooNew, StoreCorrupt at open) when it cannot.
    """

    @property
    def suppressed(self) -> Mapping[str, int]:
        """By VM: pieces of the past and feed items that were too many to keep, since the store was opened."""
        ...

    def load(self) -> Sequence[StoredVm]:
        """All VMs of this host that are not removed, with their NICs, in the order of their names."""
        ...

    def apply(self, entry: VmEntry, changes: Sequence[Change], *, at: datetime) -> Sequence[FeedItem]:
        """Makes `entry` what is known of that VM: one transaction for the VM, its NICs, the past and the feed.

        NICs of the store that are not in `entry` become detached. A naming or host NIC that differs from the
        stored one closes that one's validity at `at` and opens a new one. Returns the feed items, numbered.
        """
        ...

    def remove(self, uuid: str, changes: Sequence[Change], *, at: datetime) -> Sequence[FeedItem]:
        """The VM left this host: its rows become past. No error if it is not there."""
        ...

    def note(self, changes: Sequence[Change], *, at: datetime) -> Sequence[FeedItem]:
        """Changes of the host itself (`resync`), with no VM."""
        ...

    def flush_seen(self, seen: Mapping[str, datetime], *, at: datetime) -> None:
        """When each VM's agent last answered: one row per host, written once in a while."""
        ...

    def history(
        self,
        uuid: str,
        *,
        nic_id: str | None = None,
        since: datetime | None = None,
        limit: int = 500,
    ) -> Sequence[PastNic]:
        """What was known of a VM's NICs (of one of them), newest first; `since`: that ended after it."""
        ...

    def map_at(self, at: datetime, *, uuid: str | None = None) -> Sequence[PastNic]:
        """The map as it was at that moment, over all VMs of this host or of one."""
        ...

    def last_bearer(self, uuid: str, name: str) -> PastNic | None:
        """The newest past entry of a NIC of this VM that bore `name`."""
        ...

    def find_vm(self, name_or_uuid: str) -> str | None:
        """UUID of the VM of that UUID; else of that name, one that is not removed before the one removed last; or None.

        That a VM is gone may be known before it can be written, so whom the board lacks may stand here as present.
        """
        ...

    def feed(self, *, after: int, uuid: str | None = None, limit: int = 500) -> Sequence[FeedItem]:
        """Feed items with a number above `after`, oldest first."""
        ...

    def feed_bounds(self) -> tuple[int, int]:
        """(number of the oldest item kept, of the newest); (0, 0) when there has been none.

        The first counts what pruning took: `after` below it - 1 means that items are lost to a reader.
        """
        ...

    def prune(self, *, before: datetime) -> int:
        """Drops what ended before that moment (past NICs, removed VMs, feed); the number of rows dropped."""
        ...

    def close(self) -> None: ...
