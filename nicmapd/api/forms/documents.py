"""The JSON of docs/rest.md as pydantic models: for the OpenAPI document, and for the test that holds
`rendering` to it. No request passes through them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from nicmapd.model import (
    AgentState,
    ChangeKind,
    DomainState,
    Freshness,
    NameSource,
    NameState,
    StackKind,
)
from nicmapd.pending import PendingKind

Mac = Annotated[str, Field(pattern="^[0-9a-f]{2}(:[0-9a-f]{2}){5}$", examples=["52:54:00:3f:2e:b8"])]
Uuid = Annotated[str, Field(examples=["6ba7b810-9dad-41d1-80b4-00c04fd430c8"])]
Age = Annotated[float | None, Field(ge=0, description="seconds", examples=[3.2])]


class Document(BaseModel):
    """Every member is always there; clients take members that they do not know."""

    model_config = ConfigDict(extra="forbid")


class Agent(Document):
    """State of a VM's qemu-guest-agent."""

    state: AgentState
    since: datetime | None = Field(description="since when it is in this state")
    message: str = Field(description="the reason in words; text of the guest in it is escaped")
    last_success: datetime | None
    last_attempt: datetime | None
    next_attempt: datetime | None
    version: str | None = Field(examples=["9.2.0"])


class Vm(Document):
    """A VM: one libvirt domain."""

    name: str = Field(examples=["web1"])
    uuid: Uuid
    host: str = Field(description="the host that runs it")
    state: DomainState
    persistent: bool
    agent: Agent
    freshness: Freshness = Field(
        description="fresh: polled in time; stale: polls fail or are overdue; last_known: not running; never"
    )
    age: Age = Field(description="seconds since the guest last answered")
    nic_count: int = Field(ge=0)


class Address(Document):
    """An address that reaches a NIC, and the guest interface that has it."""

    ip: str = Field(examples=["192.168.122.10"])
    prefix: int | None = Field(ge=0, le=128, examples=[24])
    family: Literal["ipv4", "ipv6"]
    interface: str = Field(examples=["eth0"])


class Layer(Document):
    """A guest interface that stands on a NIC."""

    name: str = Field(examples=["bond0"])
    kind: StackKind
    mac: Mac | None


class Counters(Document):
    """The guest's own counters of an interface."""

    rx_bytes: int | None
    rx_packets: int | None
    rx_errors: int | None
    rx_dropped: int | None
    tx_bytes: int | None
    tx_packets: int | None
    tx_errors: int | None
    tx_dropped: int | None


class Pending(Document):
    """What the next boot of a running VM changes of a NIC."""

    kind: PendingKind = Field(description="attach: it comes then; detach: it is gone then; change: see differs")
    differs: dict[str, str | None] = Field(description="members of the NIC that change, and what they will be")


class Nic(Document):
    """A NIC of a VM, as the domain XML and the guest show it."""

    vm: str = Field(examples=["web1"])
    vm_uuid: Uuid
    host: str | None
    id: str | None = Field(
        description="nicmapd's own; stays as long as the NIC is attached; null while only libvirt knows the NIC"
    )
    mac: Mac = Field(description="the MAC of the domain XML")
    alias: str | None = Field(examples=["net0"])
    pci: str | None = Field(description="in libvirt's numbering", examples=["0000:01:00.0"])
    type: str = Field(description="libvirt's interface type", examples=["network"])
    network: str | None = Field(examples=["default"])
    source: str | None
    bridge: str | None = Field(examples=["virbr0"])
    model: str | None = Field(examples=["virtio"])
    target: str | None = Field(description="host side device", examples=["vnet1"])
    link: str = Field(examples=["up"])
    name: str | None = Field(description="the guest's name of it; null when not known for certain", examples=["eth0"])
    name_source: NameSource | None = Field(description="which evidence decided the name")
    name_state: NameState
    candidates: list[str] = Field(description="the guest names that it may be, when ambiguous")
    reason: str = Field(description="why the name is what it is, or is not known: one sentence")
    evidence: list[str] = Field(description="the facts that decided, one sentence each")
    reachable: bool = Field(description="false if its name cannot be used in a path (it looks like a MAC, ...)")
    guest_mac: Mac | None = Field(description="set only when the guest uses another MAC than the XML")
    addresses: list[Address] = Field(description="of the NIC and of all that stands on it")
    stack: list[Layer]
    name_since: datetime | None
    seen_at: datetime | None = Field(description="when the guest last showed it")
    age: Age = Field(description="seconds since the guest last showed it")
    agent_state: AgentState | None = Field(description="the VM's agent; null for a map of the past")
    statistics: Counters | None
    pending: Pending | None = Field(
        description="what the next boot changes; null: nothing, it is not known, or the VM does not run"
    )


class PastNic(Nic):
    """A NIC as it was known at a moment of the past (`?at=`)."""

    from_: datetime = Field(alias="from", description="since when this was known")
    to: datetime | None = Field(description="until when it was; null: it still is")


class HistoryItem(Document):
    """One stretch of time in which the same was known of a NIC."""

    name: str | None = Field(examples=["eth0"])
    mac: Mac
    from_: datetime = Field(alias="from")
    to: datetime | None = Field(description="null: it is still so")
    vm: str
    vm_uuid: Uuid
    id: str
    alias: str | None
    type: str
    network: str | None
    source: str | None
    target: str | None
    link: str
    name_source: NameSource | None
    name_state: NameState
    candidates: list[str]
    guest_mac: Mac | None
    addresses: list[Address]
    reason: str


class VmPage(Document):
    """Some VMs, by name."""

    items: list[Vm]
    next: str | None = Field(description="give it as `cursor` for the next page; null: this is the last one")


class NicList(Document):
    """The NICs of a VM, in the order of its XML."""

    items: list[Nic | PastNic]


class NicPage(Document):
    """Some NICs, by VM name."""

    items: list[Nic | PastNic]
    next: str | None = Field(description="give it as `cursor` for the next page; null: this is the last one")


class History(Document):
    """What was known, newest first."""

    items: list[HistoryItem]


class ChangeItem(Document):
    """One thing that became different."""

    kind: ChangeKind
    sentence: str = Field(examples=["eth0 renamed to ens3 (52:54:00:3f:2e:b8)"])
    nic_id: str | None
    mac: str | None
    alias: str | None
    old: str | None
    new: str | None


class FeedEvent(ChangeItem):
    """The `data` of a server-sent event: one change of the log."""

    id: int = Field(ge=1, description="its number in the log; numbers grow, with gaps")
    at: datetime
    host: str
    vm: str | None = Field(description="null for what concerns the whole host (resync)", examples=["web1"])
    vm_uuid: Uuid | None
    name: str | None = Field(
        description="what the guest calls the NIC after this change (before it, if detached)", examples=["ens3"]
    )
    details: dict[str, Any] = Field(description="what else is different, by kind: addresses, stack, candidates, ...")


class Refreshed(Document):
    """What asking the guest came to, and its NICs after that."""

    items: list[Nic]
    sentence: str
    agent_state: AgentState
    changes: list[ChangeItem]
    seconds: float = Field(ge=0)


class LibvirtLink(Document):
    """The connection to libvirt."""

    connected: bool
    since: datetime | None
    message: str
    version: str | None
    uri: str
    rx_filter: bool = Field(
        description="QEMU's NIC_RX_FILTER_CHANGED comes: a rename in a guest is seen at once (hints.rx_filter)"
    )


class StoreState(Document):
    """Whether the map can be written down."""

    state: Literal["ok", "degraded"]
    message: str
    backend: str
    suppressed: dict[str, int] = Field(
        description="VMs (by UUID) that changed too often to keep all of their past, and how much was left out"
    )


class Passes(Document):
    """How the passes over the guests go; seconds."""

    last_age: Age = Field(description="since the last finished pass")
    count: int
    queue: int = Field(description="VMs that are due or being looked at")
    interval: float = Field(description="between two polls of a settled guest, as it is now")
    lateness: float = Field(description="how far the most overdue guest is behind its time")
    overdue: bool


class VmCounts(Document):
    """VMs by what is known of them; states that no VM is in are left out."""

    total: int
    by_agent_state: dict[str, int]
    by_freshness: dict[str, int]


class NicCounts(Document):
    """NICs, and those of them whose guest name is known."""

    total: int
    named: int


class Oldest(Document):
    """The running VM that has not answered for longest."""

    vm: str
    uuid: Uuid
    age: float


class You(Document):
    """Whoever asks."""

    may_change: bool = Field(description="whether POST, PATCH and DELETE are for this client")


class Status(Document):
    """The daemon, and the map in figures."""

    state: Literal["ok", "degraded"]
    reasons: list[str] = Field(description="why it is degraded; empty if it is not")
    version: str
    pid: int
    started: datetime
    uptime: float = Field(ge=0, description="seconds")
    host: str
    libvirt: LibvirtLink
    store: StoreState
    passes: Passes
    vms: VmCounts
    nics: NicCounts
    oldest: Oldest | None
    you: You


class Alive(Document):
    """The process answers."""

    status: Literal["alive"]


class Ready(Document):
    """The map can be relied on."""

    status: Literal["ready"]


class Pointer(Document):
    """What there is under this address."""

    name: Literal["nicmapd"]
    version: str
    links: dict[str, str]


class Problem(BaseModel):
    """RFC 9457. `code` is the word to test for; some codes bring members of their own."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(examples=["urn:nicmapd:problem:not_found"])
    title: str
    status: int = Field(ge=400, le=599)
    detail: str = Field(description="what is wrong, and what to do")
    code: Literal[
        "not_found",
        "ambiguous",
        "conflict",
        "invalid",
        "stale",
        "precondition_failed",
        "unsupported",
        "unavailable",
        "forbidden",
        "internal",
    ]
    instance: str | None = Field(default=None, description="the path that was asked for")
    renamed_to: str | None = Field(default=None, description="not_found: what the NIC of that name is called now")
    renamed_at: datetime | None = Field(default=None, description="not_found: since when it is not called so any more")
    candidates: list[str] | None = Field(
        default=None, description="ambiguous: what fits, each in a form that can be used in the path"
    )
    agent_state: AgentState | None = Field(default=None, description="unavailable: why the guest was not reached")
    reasons: list[str] | None = Field(default=None, description="unavailable: why nicmapd is not ready")
    refused: bool | None = Field(default=None, description="conflict: the guest refused to let the NIC go")
    key: str | None = Field(default=None, description="invalid: the query key or member that is wrong")
    known: list[str] | None = Field(default=None, description="invalid: what there is to choose from")
    active: list[str] | None = Field(default=None, description="conflict: the networks that are active")
    etag: str | None = Field(default=None, description="precondition_failed: what the ETag is now")


ALL: tuple[type[BaseModel], ...] = (
    VmPage,
    Vm,
    NicList,
    NicPage,
    Nic,
    PastNic,
    History,
    FeedEvent,
    Refreshed,
    Status,
    Alive,
    Ready,
    Pointer,
    Problem,
)
