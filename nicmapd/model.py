"""The words of nicmapd: frozen values, no I/O, no clock.

A *VM* is a libvirt domain, known by its UUID. A *NIC* is one `<interface>` (or network `<hostdev>`) of its XML.
A *guest interface* is one entry of the guest agent's reply. A *naming* is what we know, at one moment, of which
guest interface a NIC is. Times are timezone-aware UTC datetimes where they are history, and seconds of a monotonic
clock where they are ages (`Contact`): an age must not jump when somebody sets the clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class DomainState(StrEnum):
    """What libvirt says of the domain; `suspended` is the guest's own sleep (pmsuspended)."""

    RUNNING = "running"
    PAUSED = "paused"
    SUSPENDED = "suspended"
    OFF = "off"
    CRASHED = "crashed"

    @property
    def alive(self) -> bool:
        """Whether a QEMU process holds the guest (running, paused or asleep)."""
        return self in (DomainState.RUNNING, DomainState.PAUSED, DomainState.SUSPENDED)


class AgentState(StrEnum):
    """Why a guest agent answers or does not. The order is that of CONTRACT section 4."""

    OK = "ok"
    UNKNOWN = "unknown"
    OFF = "off"
    PAUSED = "paused"
    NO_CHANNEL = "no_channel"
    NOT_CONNECTED = "not_connected"
    UNRESPONSIVE = "unresponsive"
    BUSY = "busy"
    FROZEN = "frozen"
    DISABLED = "disabled"
    BAD_REPLY = "bad_reply"
    OPTED_OUT = "opted_out"


class Freshness(StrEnum):
    """How much a VM's entries may be believed now."""

    FRESH = "fresh"
    STALE = "stale"
    LAST_KNOWN = "last_known"
    NEVER = "never"


class Verdict(StrEnum):
    """What the last good reply said of one NIC. Kept in the store; `NameState` follows from it and from the age."""

    NAMED = "named"
    AMBIGUOUS = "ambiguous"
    UNSEEN = "unseen"
    NEVER = "never"


class NameState(StrEnum):
    """What a reader is told of a NIC's name."""

    FRESH = "fresh"
    STALE = "stale"
    LAST_KNOWN = "last_known"
    AMBIGUOUS = "ambiguous"
    UNSEEN = "unseen"
    NEVER = "never"


class NameSource(StrEnum):
    """Which evidence decided a name."""

    PROBE = "probe"
    AGENT = "agent"
    INFERRED = "inferred"


class StackKind(StrEnum):
    """What a guest interface above a NIC is."""

    BOND = "bond"
    VLAN = "vlan"
    BRIDGE = "bridge"
    MACVLAN = "macvlan"
    ALIAS = "alias"
    OTHER = "other"


class ChangeKind(StrEnum):
    """Kinds of the change feed, CONTRACT section 4 (`GET /events`)."""

    NIC_NAMED = "nic.named"
    NIC_RENAMED = "nic.renamed"
    NIC_UNNAMED = "nic.unnamed"
    NIC_ATTACHED = "nic.attached"
    NIC_DETACHED = "nic.detached"
    NIC_ADDRESSES = "nic.addresses"
    NIC_MAC = "nic.mac"
    NIC_LINK = "nic.link"
    VM_ADDED = "vm.added"
    VM_REMOVED = "vm.removed"
    VM_RENAMED = "vm.renamed"
    VM_STATE = "vm.state"
    AGENT_STATE = "agent.state"
    RESYNC = "resync"


@dataclass(frozen=True, slots=True)
class VmRef:
    """A domain: its UUID (lower case, with dashes) is its identity, its name is only what it is called now."""

    uuid: str
    name: str


@dataclass(frozen=True, slots=True)
class Domain:
    """One domain as libvirt lists it."""

    vm: VmRef
    state: DomainState
    persistent: bool


@dataclass(frozen=True, slots=True)
class HostNic:
    """One NIC as the domain XML shows it. All but `mac` and `type` may be None: most exist only while it runs.

    `mac` is lower case with colons. `type` is libvirt's (`network`, `bridge`, `user`, `direct`, `ethernet`,
    `hostdev`, `vhostuser`, `internal`, `mcast`, `server`, `client`, `udp`, `vdpa`, `null`, ...). `pci` is
    `dddd:bb:ss.f` in libvirt's numbering, whose bus is not always the guest's. `current_mac` is the
    `<mac currentAddress>` of libvirt 11.2 and later: the MAC that the guest has set, as QEMU knows it. `slots` is
    the PCI path from the root complex as (slot, function) pairs, outermost first (a root port, then the device):
    the same in the guest whatever bus numbers its firmware gave.
    """

    mac: str
    type: str
    alias: str | None = None
    pci: str | None = None
    network: str | None = None
    source: str | None = None
    bridge: str | None = None
    model: str | None = None
    target: str | None = None
    link: str = "up"
    current_mac: str | None = None
    slots: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True, order=True)
class GuestAddress:
    """An address of a guest interface: `ip` in canonical text without a zone; `family` is `ipv4` or `ipv6`."""

    family: str
    ip: str
    prefix: int | None = None


@dataclass(frozen=True, slots=True)
class Statistics:
    """The guest's own counters of an interface, since its boot; None where the agent leaves one out."""

    rx_bytes: int | None = None
    rx_packets: int | None = None
    rx_errors: int | None = None
    rx_dropped: int | None = None
    tx_bytes: int | None = None
    tx_packets: int | None = None
    tx_errors: int | None = None
    tx_dropped: int | None = None


@dataclass(frozen=True, slots=True)
class GuestInterface:
    """One interface of the guest's reply, cleaned. `mac` is None if missing, malformed or all zero."""

    name: str
    mac: str | None
    addresses: tuple[GuestAddress, ...] = ()
    statistics: Statistics | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class GuestReply:
    """What one reply of `guest-network-get-interfaces` held, entry by entry.

    `faults` says in words what was wrong with which entry (bounded, cleaned); `dropped` counts the entries that
    are missing from `interfaces` because of that or of a cap.
    """

    interfaces: tuple[GuestInterface, ...]
    faults: tuple[str, ...] = ()
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class Probe:
    """What the guest's sysfs said of one of its interfaces (agent.probe).

    `device`: True a device, False something made of software (bond, bridge, VLAN, dummy), None unknown.
    `pci`: `dddd:bb:ss.f` in the guest's numbering. `permanent_mac`: the MAC before a bond took it over.
    `slots`: the PCI path from the root complex as (slot, function) pairs, outermost first, where it was read:
    comparable with the domain XML whatever bus numbers the guest gave. `kind`: what sysfs says it is, if it does.
    `master`: the interface that it is enslaved to, "" if to none, None if that was not asked.
    """

    device: bool | None = None
    pci: str | None = None
    permanent_mac: str | None = None
    slots: tuple[tuple[int, int], ...] = ()
    kind: StackKind | None = None
    master: str | None = None


@dataclass(frozen=True, slots=True, order=True)
class NicAddress:
    """An address that reaches a NIC, and the guest interface (the NIC or what stands on it) that has it."""

    interface: str
    family: str
    ip: str
    prefix: int | None = None


@dataclass(frozen=True, slots=True)
class StackLayer:
    """A guest interface that stands on a NIC."""

    name: str
    kind: StackKind
    mac: str | None


@dataclass(frozen=True, slots=True)
class Naming:
    """What a guest's reply says of one NIC. Equal namings are the same knowledge: nothing is written for them.

    `name` is set if and only if `verdict` is NAMED. `reason` is one sentence for people; `evidence` the facts that
    decided, one sentence each. `candidates` are the guest names that it may be, sorted. `guest_mac` is set only
    when the guest uses another MAC than the XML. `present`: the last good reply showed this NIC's interface.
    `reachable`: False if the name cannot stand in a URL for this NIC (it looks like a MAC, has a slash, ...).
    """

    verdict: Verdict = Verdict.NEVER
    name: str | None = None
    source: NameSource | None = None
    reason: str = "the guest has not been asked yet"
    evidence: tuple[str, ...] = ()
    candidates: tuple[str, ...] = ()
    guest_mac: str | None = None
    addresses: tuple[NicAddress, ...] = ()
    stack: tuple[StackLayer, ...] = ()
    reachable: bool = True

    @property
    def present(self) -> bool:
        return self.verdict in (Verdict.NAMED, Verdict.AMBIGUOUS)


@dataclass(frozen=True, slots=True)
class NicEntry:
    """One row of the map. `id` is ours, given when the NIC is first seen, and stays as long as it is attached.

    `name_since`: since when it bears this name. `seen_at`: when the guest last showed it, as far as that is
    history; while `naming.present` it is the VM's last success (`Contact`), so that an unchanged pass writes nothing.
    `planned`: what the configuration of a running VM has of it, for the next boot.
    """

    id: str
    nic: HostNic
    naming: Naming
    attached_at: datetime
    name_since: datetime | None = None
    seen_at: datetime | None = None
    statistics: Statistics | None = field(default=None, compare=False)
    planned: HostNic | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class AgentStatus:
    """State of a VM's guest agent, since when, and why in words."""

    state: AgentState = AgentState.UNKNOWN
    since: datetime | None = None
    message: str = "not asked yet"
    version: str | None = None


@dataclass(frozen=True, slots=True)
class VmEntry:
    """One VM of the map with all its NICs, as of its last pass. Equal entries are the same knowledge.

    `coming`: NICs that only the configuration of a running VM has; None if that is not known, or it has none.
    """

    vm: VmRef
    host: str
    state: DomainState
    persistent: bool
    agent: AgentStatus
    nics: tuple[NicEntry, ...] = ()
    coming: tuple[NicEntry, ...] | None = field(default=None, compare=False)

    @property
    def all_nics(self) -> tuple[NicEntry, ...]:
        """Those that it has and those that come with its next boot."""
        return (*self.nics, *(self.coming or ()))


@dataclass(frozen=True, slots=True)
class Contact:
    """When a VM's agent was asked, in seconds of `Clock.monotonic`; changes with every pass, so never compared.

    `interval` is how many seconds the next answer may take before the entries are stale.
    """

    last_success: float | None = None
    last_attempt: float | None = None
    next_attempt: float | None = None
    interval: float = 10.0


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that became different. `old` and `new` are short texts for people and scripts; `details` holds
    plain JSON values. `nic_id`, `mac` and `alias` are None for changes of the VM itself."""

    kind: ChangeKind
    sentence: str
    nic_id: str | None = None
    mac: str | None = None
    alias: str | None = None
    old: str | None = None
    new: str | None = None
    details: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FeedItem:
    """A change with its number in the stored feed."""

    id: int
    at: datetime
    host: str
    vm: VmRef
    change: Change


@dataclass(frozen=True, slots=True)
class PastNic:
    """What was known of a NIC from `since` until `until` (None: still so)."""

    vm: VmRef
    nic_id: str
    nic: HostNic
    naming: Naming
    since: datetime
    until: datetime | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one pass over one VM came to. `sentence` is logged, shown and asserted.

    `asked`: the agent was called. `answered`: it gave a usable reply. `written`: the store was written.
    `gone`: libvirt has no such domain any more. `seconds`: how long the pass took.
    """

    vm: VmRef
    agent: AgentState
    sentence: str
    changes: tuple[Change, ...] = ()
    asked: bool = False
    answered: bool = False
    written: bool = False
    gone: bool = False
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class ConnectionStatus:
    """State of the link to libvirt. `since` is when it last changed; `message` is in words what is wrong; `rx_filter`:
    whether QEMU's NIC_RX_FILTER_CHANGED comes through (`hints.rx_filter`)."""

    connected: bool
    since: datetime | None = None
    message: str = ""
    version: str | None = None
    uri: str = ""
    rx_filter: bool = False
