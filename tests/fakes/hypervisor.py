"""The `Hypervisor` port without libvirt: domains with NICs, guests that answer, hang or fail, events.

Honest where it matters: replies are JSON text as qemu-ga writes it, XML is a domain's, a hung agent blocks its caller
for the time-out, and one guest answers one call at a time.
"""

from __future__ import annotations

import base64
import json
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from xml.sax.saxutils import escape, quoteattr

from nicmapd import agent
from nicmapd.errors import AgentFailure, NotFound, Unavailable
from nicmapd.model import ConnectionStatus, Domain, DomainState, VmRef
from nicmapd.ports import DomainEvent, EventKind
from nicmapd.render import SOURCES


@dataclass(slots=True)
class FakeNic:
    """A NIC, and what the guest makes of it. `slot` is its PCI root port's number, so its path in the guest.

    `alias` and `target`: those of its place among the NICs, if not given. `type` with `network`, which is the bridge
    or device for other types.
    """

    mac: str
    name: str
    slot: int
    guest_mac: str = ""
    network: str = "default"
    packets: int = 10
    hidden: bool = False
    alias: str = ""
    target: str = ""
    type: str = "network"
    model: str = "virtio"
    link: str = "up"

    def xml(self, number: int, *, active: bool) -> str:
        """Its <interface>, in the live XML or in the other."""
        target, alias = self.target or f"vnet{number}", self.alias or f"net{number}"
        live = f"<target dev='{target}'/><alias name='{alias}'/>" if active else ""
        source = f"<source {SOURCES[self.type]}={quoteattr(self.network)}/>" if SOURCES[self.type] else ""
        link = "<link state='down'/>" if self.link == "down" else ""
        return (
            f"<interface type='{self.type}'><mac address='{self.mac}'/>{source}<model type='{self.model}'/>{link}{live}"
            f"<address type='pci' domain='0x0000' bus='0x{self.slot:02x}' slot='0x00' function='0x0'/></interface>"
        )


@dataclass(slots=True)
class FakeVm:
    """A domain. Set its fields to change it; `hang`, `failure` and `raw` say how its agent behaves."""

    name: str
    uuid: str
    nics: list[FakeNic]
    state: DomainState = DomainState.RUNNING
    persistent: bool = True
    connected: bool = True
    channel: bool = True
    files: bool = True
    hang: threading.Event | None = None
    failure: AgentFailure | Unavailable | None = None
    raw: str | None = None
    refusal: str | None = None
    frozen: bool = False
    calls: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def ref(self) -> VmRef:
        return VmRef(self.uuid, self.name)

    def xml(self) -> str:
        return self.xml_of(self.nics, active=self.state.alive)

    def xml_of(self, those: Sequence[FakeNic], *, active: bool) -> str:
        """The domain's XML with those NICs."""
        nics = "".join(nic.xml(number, active=active) for number, nic in enumerate(those))
        ports = "".join(
            f"<controller type='pci' index='{nic.slot}' model='pcie-root-port'>"
            f"<address type='pci' domain='0x0000' bus='0x00' slot='0x{nic.slot:02x}' function='0x0'/></controller>"
            for nic in those
        )
        state = f" state='{'connected' if self.connected else 'disconnected'}'" if active else ""
        channel = (
            f"<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'{state}/></channel>"
            if self.channel
            else ""
        )
        return (
            f"<domain type='kvm'><name>{escape(self.name)}</name><uuid>{self.uuid}</uuid>"
            f"<os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os><devices>"
            f"<controller type='pci' index='0' model='pcie-root'/>{ports}{nics}{channel}</devices></domain>"
        )


class FakeHypervisor:
    """See the module. `vms` is the truth; `event` tells of it, as libvirt would. `asked`: what of libvirt itself."""

    def __init__(self, *, host: str = "host1") -> None:
        self._host = host
        self.vms: dict[str, FakeVm] = {}
        self._made = 0
        self.connected = True
        self.rx_filters = False
        self.asked: list[str] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self._lock = threading.Lock()
        self._subscribers: list[Callable[[DomainEvent], None]] = []

    @property
    def host(self) -> str:
        return self._host

    def add(self, name: str, *, nics: int = 1, **fields: object) -> FakeVm:
        """A running VM with NICs eth0, eth1, ..."""
        self._made += 1
        number = self._made
        made = [
            FakeNic(f"52:54:00:{number >> 8 & 255:02x}:{number & 255:02x}:{index:02x}", f"eth{index}", index + 1)
            for index in range(nics)
        ]
        vm = FakeVm(name, str(uuid.UUID(int=number)), made)
        for key, value in fields.items():
            setattr(vm, key, value)
        self.vms[vm.uuid] = vm
        return vm

    def event(self, kind: EventKind, vm: FakeVm | None = None, detail: str = "") -> None:
        for callback in self._subscribers:
            callback(DomainEvent(kind, vm.ref if vm else None, detail))

    def connect(self) -> None:
        self.connected = True
        self.event(EventKind.CONNECTED)

    def disconnect(self) -> None:
        self.connected = False
        self.event(EventKind.DISCONNECTED)

    # -- the port

    def status(self) -> ConnectionStatus:
        return ConnectionStatus(self.connected, None, "" if self.connected else "libvirt is away", "9.0.0", "fake:///")

    def subscribe(self, callback: Callable[[DomainEvent], None]) -> None:
        self._subscribers.append(callback)

    def _vm(self, uuid: str) -> FakeVm:
        if not self.connected:
            raise Unavailable("libvirt is away")
        if uuid not in self.vms:
            raise NotFound(f"no domain {uuid}")
        return self.vms[uuid]

    def domains(self) -> Sequence[Domain]:
        if not self.connected:
            raise Unavailable("libvirt is away")
        return [Domain(vm.ref, vm.state, vm.persistent) for vm in self.vms.values()]

    def domain(self, uuid: str) -> Domain:
        self.asked.append("domain")
        vm = self._vm(uuid)
        return Domain(vm.ref, vm.state, vm.persistent)

    def domain_xml(self, uuid: str) -> str:
        self.asked.append("domain_xml")
        return self._vm(uuid).xml()

    def config_xml(self, uuid: str) -> str:
        self.asked.append("config_xml")
        vm = self._vm(uuid)
        return vm.xml_of(self._configured(vm), active=False)

    def _configured(self, vm: FakeVm) -> Sequence[FakeNic]:
        """The NICs with which it will boot next."""
        return vm.nics

    def rx_filter(self, uuid: str) -> Mapping[str, str]:
        vm = self._vm(uuid)
        if not self.rx_filters:
            return {}
        return {f"net{number}": nic.guest_mac or nic.mac for number, nic in enumerate(vm.nics)}

    def agent_command(self, uuid: str, command: str, *, timeout: int) -> str:
        vm = self._vm(uuid)
        with self._lock:
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            with vm.lock:
                return self._answer(vm, json.loads(command), timeout)
        finally:
            with self._lock:
                self.in_flight -= 1

    def _answer(self, vm: FakeVm, request: dict[str, object], timeout: int) -> str:
        name = str(request["execute"])
        vm.calls.append(name)
        if vm.hang is not None and not vm.hang.wait(timeout):
            raise AgentFailure("no answer in time", state="unresponsive")
        if vm.failure is not None:
            raise vm.failure
        if vm.state is not DomainState.RUNNING:
            raise AgentFailure("the domain is not running", state="paused")
        if name == "guest-network-get-interfaces" and vm.refusal is not None:
            # As libvirt 9.0 passes on an agent's error: an internal error with the agent's words in it.
            reason = json.loads(vm.refusal)["error"]["desc"]
            words = f"internal error: unable to execute QEMU agent command '{name}': {reason}"
            raise agent.failure_of_error(code=1, domain=10, text=words)
        if name == "guest-network-get-interfaces":
            return vm.raw if vm.raw is not None else json.dumps({"return": _interfaces(vm)})
        if name == "guest-info":
            return json.dumps({"return": _info(vm)})
        if name.startswith("guest-file-"):
            return _file(vm, name, request.get("arguments"))
        return json.dumps({"return": ("frozen" if vm.frozen else "thawed") if name == "guest-fsfreeze-status" else {}})


def _interfaces(vm: FakeVm) -> list[dict[str, object]]:
    loopback: dict[str, object] = {"name": "lo", "hardware-address": "00:00:00:00:00:00", "ip-addresses": []}
    shown = [nic for nic in vm.nics if not nic.hidden]
    return [loopback, *(_interface(nic) for nic in shown)]


def _interface(nic: FakeNic) -> dict[str, object]:
    nic.packets += 1
    address = {"ip-address-type": "ipv4", "ip-address": f"192.0.2.{nic.slot}", "prefix": 24}
    counters = {f"{way}-{what}": nic.packets for way in ("rx", "tx") for what in ("bytes", "packets")}
    zeros = {f"{way}-{what}": 0 for way in ("rx", "tx") for what in ("errs", "dropped")}
    return {
        "name": nic.name,
        "hardware-address": nic.guest_mac or nic.mac,
        "ip-addresses": [address],
        "statistics": {**counters, **zeros},
    }


def _info(vm: FakeVm) -> dict[str, object]:
    names = ["guest-info", "guest-network-get-interfaces", "guest-fsfreeze-status"]
    names += ["guest-file-open", "guest-file-read", "guest-file-close"] if vm.files else []
    return {"version": "7.2.22", "supported_commands": [{"name": name, "enabled": True} for name in names]}


def _file(vm: FakeVm, name: str, arguments: object) -> str:
    """sysfs: /sys/class/net/NAME/device/../uevent, and its root port's one level above."""
    assert isinstance(arguments, dict)
    if name == "guest-file-open":
        files = _sysfs(vm)
        path = str(arguments["path"])
        if path not in files:
            return json.dumps(
                {"error": {"class": "GenericError", "desc": f"failed to open file '{path}': No such file or directory"}}
            )
        return json.dumps({"return": 1000 + list(files).index(path)})
    if name == "guest-file-read":
        text = list(_sysfs(vm).values())[int(arguments["handle"]) - 1000].encode()
        return json.dumps({"return": {"count": len(text), "buf-b64": base64.b64encode(text).decode(), "eof": True}})
    return json.dumps({"return": {}})


def _sysfs(vm: FakeVm) -> dict[str, str]:
    files: dict[str, str] = {}
    for nic in vm.nics:
        if nic.hidden:
            continue
        device = f"/sys/class/net/{nic.name}/device"
        files[f"{device}/uevent"] = "DRIVER=virtio_net\n"
        files[f"{device}/../uevent"] = f"DRIVER=virtio-pci\nPCI_SLOT_NAME=0000:{nic.slot:02x}:00.0\n"
        files[f"{device}/../../uevent"] = f"DRIVER=pcieport\nPCI_SLOT_NAME=0000:00:{nic.slot:02x}.0\n"
        files[f"/sys/class/net/{nic.name}/address"] = f"{nic.guest_mac or nic.mac}\n"
    return files
