"""A guest whose whole network is a model, seen only as the daemon sees one: domain XML, agent replies, sysfs files.

It knows the truth at each moment, so that what a pass makes of it can be held against that. Things may happen between
any two agent calls of a pass (`between`), which is where real guests hide their surprises.
"""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from nicmapd import agent
from nicmapd.model import ConnectionStatus, Domain, DomainState, VmRef
from nicmapd.ports import DomainEvent

FILE_COMMANDS = ("guest-file-open", "guest-file-read", "guest-file-close")
COUNTERS = ("rx-bytes", "rx-packets", "rx-errs", "rx-dropped", "tx-bytes", "tx-packets", "tx-errs", "tx-dropped")
#: DEVTYPE in the uevent of a link that software made; dummies and veths have none.
DEVTYPES = {"bond": "bond", "vlan": "vlan", "bridge": "bridge", "macvlan": "macvlan"}


@dataclass
class Device:
    """A NIC of the domain XML. `bus` is the guest's number of it, which is not libvirt's."""

    mac: str
    alias: str
    port: int
    bus: int
    model: str = "virtio"

    @property
    def folders(self) -> list[str]:
        """Its folder in /sys/devices, from the root of the PCI tree."""
        return ["pci0000:00", f"0000:00:{self.port:02x}.0", f"0000:{self.bus:02x}:00.0"]

    def xml(self) -> str:
        return (
            f"<interface type='network'><mac address='{self.mac}'/><source network='default'/>"
            f"<model type='{self.model}'/><alias name='{self.alias}'/>"
            f"<address type='pci' domain='0x0000' bus='0x{self.port:02x}' slot='0x00' function='0x0'/></interface>"
            f"<controller type='pci' index='{self.port}' model='pcie-root-port'>"
            f"<address type='pci' domain='0x0000' bus='0x00' slot='0x{self.port:02x}' function='0x0'/></controller>"
        )


@dataclass(eq=False)
class Link:
    """One interface of the guest. `device`: what it drives; else `kind` says what software made it."""

    name: str
    mac: str
    device: Device | None = None
    kind: str = ""
    counters: list[int] = field(default_factory=lambda: [0] * 8)
    hidden: bool = False
    bond: Link | None = None
    number: int = field(default_factory=itertools.count(2).__next__)
    up: bool = True

    def count(self, packets: int, *, sent: int | None = None) -> None:
        """Traffic: `packets` received, `sent` sent (as many if None)."""
        sent = packets if sent is None else sent
        for index, amount in ((0, packets * 90), (1, packets), (4, sent * 70), (5, sent)):
            self.counters[index] += amount

    def entry(self, *, mac: bool, statistics: bool) -> dict[str, object]:
        shown: dict[str, object] = {"name": self.name}
        if mac:
            shown["hardware-address"] = self.mac
        if statistics:
            shown["statistics"] = dict(zip(COUNTERS, self.counters, strict=True))
        return shown


class WireGuest:
    """A running VM and the `Hypervisor` port to it. Each `do_...` does nothing where Linux would refuse it."""

    def __init__(
        self, devices: int, *, files: bool = True, statistics: bool = True, models: Sequence[str] = ()
    ) -> None:
        self.files = files
        self.statistics = statistics
        self.vm = VmRef("00000000-0000-4000-8000-000000000001", "guest")
        self.devices: list[Device] = []
        self.links: list[Link] = []
        self.gone: list[Device] = []
        self.bare: set[str] = set()
        self.calls: list[str] = []
        self.open: dict[int, str] = {}
        self.between: dict[int, Callable[[], object]] = {}
        self.truths: list[dict[str, str]] = []
        self.order: Callable[[list[dict[str, object]]], object] = lambda _entries: None
        self._numbers = itertools.count(1)
        self._handles = itertools.count(1000)
        for number in range(devices):
            self.do_plug(models[number % len(models)] if models else "virtio")

    # -- the truth

    def truth(self) -> dict[str, str]:
        """Alias -> name, of the devices in the main namespace."""
        return {link.device.alias: link.name for link in self.shown() if link.device is not None}

    def shown(self) -> list[Link]:
        return [link for link in self.links if not link.hidden]

    def names(self) -> set[str]:
        return {link.name for link in self.shown()}

    def find(self, name: str) -> Link | None:
        return next((link for link in self.shown() if link.name == name), None)

    # -- the port

    @property
    def host(self) -> str:
        return "host1"

    def status(self) -> ConnectionStatus:
        return ConnectionStatus(True)

    def domains(self) -> Sequence[Domain]:
        return [self.domain(self.vm.uuid)]

    def domain(self, uuid: str) -> Domain:
        assert uuid == self.vm.uuid
        return Domain(self.vm, DomainState.RUNNING, True)

    def rx_filter(self, uuid: str) -> Mapping[str, str]:
        assert uuid == self.vm.uuid
        return {}

    def subscribe(self, callback: Callable[[DomainEvent], None]) -> None:
        pass

    def domain_xml(self, uuid: str) -> str:
        assert uuid == self.vm.uuid
        return (
            f"<domain type='kvm'><name>guest</name><uuid>{uuid}</uuid><devices>"
            f"<controller type='pci' index='0' model='pcie-root'/>{''.join(each.xml() for each in self.devices)}"
            "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0' state='connected'/></channel>"
            "</devices></domain>"
        )

    def config_xml(self, uuid: str) -> str:
        return self.domain_xml(uuid)

    def agent_command(self, uuid: str, command: str, *, timeout: int) -> str:
        assert uuid == self.vm.uuid
        assert timeout > 0
        happening = self.between.pop(len(self.calls), None)
        if happening is not None:
            happening()
            self.truths.append(self.truth())
        request = json.loads(command)
        name = request["execute"]
        self.calls.append(name)
        if name == "guest-info":
            return self._info()
        if name == "guest-network-get-interfaces":
            return json.dumps({"return": self._interfaces()})
        return self._file(name, request["arguments"])

    def _info(self) -> str:
        names = ["guest-info", "guest-network-get-interfaces", *(FILE_COMMANDS if self.files else ())]
        commands = [{"name": name, "enabled": True, "success-response": True} for name in names]
        return json.dumps({"return": {"version": "7.2.0", "supported_commands": commands}})

    def _interfaces(self) -> list[dict[str, object]]:
        entries: list[dict[str, object]] = [
            {"name": "lo", "hardware-address": "00:00:00:00:00:00", "ip-addresses": []},
            *(link.entry(mac=link.name not in self.bare, statistics=self.statistics) for link in self.shown()),
        ]
        self.order(entries)
        self.bare = set()
        return entries

    def _file(self, name: str, arguments: Mapping[str, object]) -> str:
        if name == "guest-file-open":
            text = self._sysfs(str(arguments["path"]))
            if text is None:
                words = f"failed to open file '{arguments['path']}' (mode: 'r'): No such file or directory"
                introduction = f"internal error: unable to execute QEMU agent command '{name}': "
                raise agent.failure_of_error(code=1, domain=10, text=introduction + words)
            handle = next(self._handles)
            self.open[handle] = text
            return json.dumps({"return": handle})
        handle = int(str(arguments["handle"]))
        if name == "guest-file-close":
            del self.open[handle]
            return json.dumps({"return": {}})
        data = self.open[handle].encode()
        return json.dumps({"return": {"count": len(data), "buf-b64": base64.b64encode(data).decode(), "eof": True}})

    # -- sysfs

    def _sysfs(self, path: str) -> str | None:
        """The text of a file, as the guest's kernel resolves its path now."""
        if path == "/proc/net/igmp":
            return self._igmp()
        prefix, _, rest = path.removeprefix("/sys/class/net/").partition("/")
        link = self.find(prefix)
        if link is None:
            return None
        if rest == "uevent":
            kind = f"DEVTYPE={DEVTYPES[link.kind]}\n" if link.kind in DEVTYPES else ""
            return f"{kind}INTERFACE={link.name}\nIFINDEX=2\n"
        if rest == "bonding_slave/perm_hwaddr" and link.bond is not None and link.device is not None:
            return f"{link.device.mac}\n"
        if rest == "master/uevent" and link.bond is not None:
            return f"DEVTYPE=bond\nINTERFACE={link.bond.name}\n"
        if not rest.startswith("device/") or link.device is None:
            return None
        folders = [*link.device.folders, *(["virtio0"] if link.device.model == "virtio" else [])]
        *steps, file = rest.removeprefix("device/").split("/")
        if any(step != ".." for step in steps) or file != "uevent" or len(steps) >= len(folders):
            return None
        return self._uevent(folders[: len(folders) - len(steps)])

    def _igmp(self) -> str:
        lines = ["Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n"]
        for number, name in [(1, "lo"), *((link.number, link.name) for link in self.shown() if link.up)]:
            lines.append(f"{number}\t{name:<10}:     1      V3\n")
            lines.append("\t\t\t\t010000E0     1 0:00000000\t\t0\n")
        return "".join(lines)

    @staticmethod
    def _uevent(folders: list[str]) -> str:
        if folders[-1] == "virtio0":
            return "DRIVER=virtio_net\nMODALIAS=virtio:d00000001v00001AF4\n"
        if len(folders) == 3:
            return f"DRIVER=virtio-pci\nPCI_CLASS=20000\nPCI_ID=1AF4:1041\nPCI_SLOT_NAME={folders[-1]}\n"
        if len(folders) == 2:
            return f"DRIVER=pcieport\nPCI_CLASS=60400\nPCI_ID=1B36:000C\nPCI_SLOT_NAME={folders[-1]}\n"
        return ""

    # -- what happens in it

    def do_plug(self, model: str = "virtio") -> Device:
        """A NIC appears, in the XML and in the guest, under the first free ethN and with no traffic yet."""
        number = next(self._numbers)
        device = Device(f"52:54:00:00:00:{number:02x}", f"net{number}", number, number + 8, model)
        self.devices.append(device)
        self.links.append(Link(self._free_name("eth"), device.mac, device))
        return device

    def _free_name(self, stem: str) -> str:
        return next(name for name in self._numbered(stem) if name not in self.names())

    @staticmethod
    def _numbered(stem: str) -> Iterator[str]:
        return (f"{stem}{number}" for number in itertools.count())

    def do_unplug(self, link: Link) -> None:
        if link.device is not None and len(self.devices) > 1:
            self.devices.remove(link.device)
            self._delete(link)

    def _delete(self, link: Link) -> None:
        self.links.remove(link)
        for member in self.links:
            if member.bond is link:
                self.do_release(member)

    def do_rename(self, link: Link, name: str) -> None:
        if name not in self.names():
            link.name = name

    def do_swap_names(self, one: Link, other: Link) -> None:
        one.name, other.name = other.name, one.name

    def do_set_mac(self, link: Link, mac: str) -> None:
        if link.bond is None:
            link.mac = mac

    def do_swap_macs(self, one: Link, other: Link) -> None:
        if one.bond is None and other.bond is None:
            one.mac, other.mac = other.mac, one.mac

    def do_add(self, kind: str, name: str, mac: str) -> None:
        """Something made of software, under any name and MAC."""
        if name not in self.names():
            self.links.append(Link(name, mac, None, kind))

    def do_remove(self, link: Link) -> None:
        if link.device is None:
            self._delete(link)

    def do_bond(self, name: str, members: Sequence[Link]) -> None:
        """A bond takes the MAC of its first member, and gives it to all."""
        free = [link for link in members if link.bond is None and link.device is not None]
        if name not in self.names() and free:
            bond = Link(name, free[0].mac, None, "bond")
            self.links.append(bond)
            for link in free:
                link.bond, link.mac = bond, bond.mac

    def do_release(self, link: Link) -> None:
        if link.bond is not None and link.device is not None:
            link.bond, link.mac = None, link.device.mac

    def do_hide(self, link: Link) -> None:
        """To another network namespace."""
        self.do_release(link)
        link.hidden = True

    def do_show(self, link: Link) -> None:
        if link.name not in self.names():
            link.hidden = False

    def do_reload_driver(self, link: Link) -> None:
        """The device loses its link and gets a new one: first free name, its own MAC, counters at zero."""
        if link.device is not None and not link.hidden:
            self._delete(link)
            self.links.append(Link(self._free_name("eth"), link.device.mac, link.device))

    def do_boot(self) -> None:
        """A new start: every device under ethN with its own MAC; nothing built on them, no traffic yet."""
        self.links = [Link(f"eth{number}", device.mac, device) for number, device in enumerate(self.devices)]
