"""The domain XML's language: what libvirt says of a VM's NICs, of its agent's channel, and of where devices sit.

Shapes are those of libvirt's docs/formatdomain.rst (9.0 to 11.3). The XML comes from libvirtd, whose schema it meets;
still a document type, which libvirt never writes, is refused before an entity of it can be expanded.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Never
from xml.etree import ElementTree

from nicmapd.errors import Invalid
from nicmapd.model import HostNic
from nicmapd.text import normal_mac, printable

#: The channel of qemu-guest-agent.
AGENT_CHANNEL = "org.qemu.guest_agent.0"

#: Namespace of nicmapd's element in <metadata>: `<nicmapd:agent xmlns:nicmapd="..." contact="never"/>`.
METADATA_NAMESPACE = "https://nicmapd.invalid/domain/1"

#: Longest XML read, in characters: libvirt's RPC carries no longer string (REMOTE_STRING_MAX, 4 MiB).
MAX_TEXT = 4 * 1024 * 1024

#: Controllers between a device and bus 0. Real machines have up to four: root port, switch port up, down, bridge.
MAX_DEPTH = 16

#: Controllers that are a root of their own in the guest: a path through one says nothing that a guest could confirm.
_EXPANDERS = frozenset({"pci-expander-bus", "pcie-expander-bus"})

_HEX_OR_DECIMAL = re.compile(r"0[xX][0-9a-fA-F]{1,8}|[0-9]{1,10}")


@dataclass(frozen=True, slots=True)
class DomainDescription:
    """What a domain's XML says. NICs are in its order.

    `agent_channel`: None if the domain has no channel for qemu-guest-agent, else `connected`, `disconnected` or
    `unknown` (the XML of a domain that does not run has no state). `opted_out`: the metadata forbid to contact the
    guest. `faults`: which interfaces were left out, and why.
    """

    nics: tuple[HostNic, ...]
    agent_channel: str | None
    opted_out: bool = False
    machine: str = ""
    arch: str = ""
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _PciAddress:
    domain: int
    bus: int
    slot: int
    function: int

    def __str__(self) -> str:
        return f"{self.domain:04x}:{self.bus:02x}:{self.slot:02x}.{self.function:x}"


class _Tree(ElementTree.TreeBuilder):
    """Builds the tree of a document without a document type: no entity, no billion of them."""

    def doctype(self, name: str, _public: str | None, _system: str | None) -> Never:
        raise Invalid(f"the domain XML has a document type ({printable(name, limit=64)}): it is not libvirt's")


def parse_domain(xml: str) -> DomainDescription:
    """What the XML of a domain says, live or inactive. Raises `Invalid` if it is not a domain's XML.

    An interface without a usable MAC is left out and told in `faults`: it has no identity. libvirt gives every
    <interface> one, and none to a plain <hostdev>, which is therefore no NIC here even if it is a network card.
    """
    root = _root(xml)
    controllers = _pci_controllers(root)
    nics: list[HostNic] = []
    faults: list[str] = []
    for number, interface in enumerate(root.iterfind("devices/interface"), start=1):
        nic = _nic(interface, controllers)
        if nic is None:
            faults.append(f"interface {number} of the domain XML has no usable MAC or type: it is left out")
        else:
            nics.append(nic)
    os_type = root.find("os/type")
    return DomainDescription(
        nics=tuple(nics),
        agent_channel=_agent_channel(root),
        opted_out=_opted_out(root),
        machine=_attribute(os_type, "machine") or "",
        arch=_attribute(os_type, "arch") or "",
        faults=tuple(faults),
    )


def _root(xml: str) -> ElementTree.Element:
    if len(xml) > MAX_TEXT:
        raise Invalid(f"the domain XML is longer than {MAX_TEXT} characters")
    parser = ElementTree.XMLParser(target=_Tree())
    try:
        parser.feed(xml)
        root: ElementTree.Element = parser.close()
    except (ElementTree.ParseError, ValueError) as error:
        raise Invalid(f"the domain XML cannot be read: {printable(str(error), limit=200)}") from None
    if root.tag != "domain":
        raise Invalid(f"this is not the XML of a domain, but of a {printable(root.tag, limit=64)}")
    return root


def _attribute(element: ElementTree.Element | None, name: str) -> str | None:
    """An attribute's value; None if it is empty or missing, or the element is.

    Networks, models and types are the same few words in thousands of domains: one of each is kept.
    """
    value = element.get(name) if element is not None else None
    return sys.intern(value) if value else None


def _agent_channel(root: ElementTree.Element) -> str | None:
    for target in root.iterfind("devices/channel/target"):
        if target.get("name") == AGENT_CHANNEL:
            state = target.get("state")
            return state if state in ("connected", "disconnected") else "unknown"
    return None


def _opted_out(root: ElementTree.Element) -> bool:
    """Whether the metadata forbid contact. A word that is not known forbids it too: who wrote it wanted less."""
    for element in root.iterfind(f"metadata/{{{METADATA_NAMESPACE}}}agent"):
        if element.get("contact", "allowed").strip().lower() != "allowed":
            return True
    return False


# -- NICs


def _nic(interface: ElementTree.Element, controllers: Mapping[int, _PciAddress]) -> HostNic | None:
    kind = interface.get("type")
    mac_element = interface.find("mac")
    mac = normal_mac(_attribute(mac_element, "address") or "")
    if not kind or mac is None:
        return None
    current = normal_mac(_attribute(mac_element, "currentAddress") or "")
    source = interface.find("source")
    address = _pci_address(interface.find("address"))
    return HostNic(
        mac=mac,
        type=kind,
        alias=_attribute(interface.find("alias"), "name"),
        pci=str(address) if address else None,
        network=_attribute(source, "network"),
        source=_source(kind, source),
        bridge=_attribute(source, "bridge"),
        model=_attribute(interface.find("model"), "type"),
        target=_attribute(interface.find("target"), "dev"),
        link="down" if _attribute(interface.find("link"), "state") == "down" else "up",
        current_mac=current if current != mac else None,
        slots=_slots(address, controllers),
    )


#: By interface type, the attribute of <source> that says where the NIC is plugged in.
_SOURCE_ATTRIBUTES = {
    "network": "network",
    "bridge": "bridge",
    "internal": "name",
    "direct": "dev",
    "vdpa": "dev",
    "user": "dev",  # passt, on an interface of the host
    "vhostuser": "path",
    "vds": "switchid",
}
_SOCKETS = frozenset({"mcast", "server", "client", "udp"})


def _source(kind: str, source: ElementTree.Element | None) -> str | None:
    """Where a NIC is plugged in, in one word: what `virsh domiflist` shows, and more where that shows nothing.

    Name of the network, bridge, internal network or device of the host; path of a socket; ADDRESS:PORT; PCI address
    of a device of the host. None where there is nothing to say (`user`, `ethernet`, `null`).
    """
    if source is None:
        return None
    if kind in _SOCKETS:
        return _socket(source)
    if kind == "hostdev":
        address = _pci_address(source.find("address"))
        return str(address) if address else None
    if kind == "vhostuser":
        return _attribute(source, "path") or _attribute(source, "dev")  # dev: passt, on an interface of the host
    return _attribute(source, _SOURCE_ATTRIBUTES.get(kind, ""))


def _socket(source: ElementTree.Element) -> str | None:
    address, port = _attribute(source, "address"), _attribute(source, "port")
    if address and ":" in address:
        address = f"[{address}]"
    return f"{address or ''}:{port}" if port else address


# -- PCI


def _number(element: ElementTree.Element, name: str, end: int, default: str | None = None) -> int | None:
    text = element.get(name, default)
    if text is None or not _HEX_OR_DECIMAL.fullmatch(text):
        return None
    value = int(text, 16) if text[:2] in ("0x", "0X") else int(text)
    return value if value < end else None


def _pci_address(element: ElementTree.Element | None) -> _PciAddress | None:
    if element is None or element.get("type", "pci") != "pci":
        return None
    domain = _number(element, "domain", 2**32, "0")
    bus = _number(element, "bus", 256)
    slot = _number(element, "slot", 32)
    function = _number(element, "function", 8, "0")
    if domain is None or bus is None or slot is None or function is None:
        return None
    return _PciAddress(domain, bus, slot, function)


def _pci_controllers(root: ElementTree.Element) -> dict[int, _PciAddress]:
    """Bus number -> where the controller that makes it sits; not bus 0, nor buses that are roots in the guest."""
    found: dict[int, _PciAddress] = {}
    broken: set[int] = set()
    for element in _of_type(root.iterfind("devices/controller"), "pci"):
        index = _number(element, "index", 256)
        address = _pci_address(element.find("address"))
        if index is None or index in found or element.get("model") in _EXPANDERS:
            broken.add(-1 if index is None else index)
        elif address is not None:
            found[index] = address
    return {index: address for index, address in found.items() if index not in broken}


def _of_type(elements: Iterable[ElementTree.Element], kind: str) -> Iterable[ElementTree.Element]:
    return (element for element in elements if element.get("type") == kind)


def _slots(address: _PciAddress | None, controllers: Mapping[int, _PciAddress]) -> tuple[tuple[int, int], ...]:
    """The path from bus 0 to a device as (slot, function) pairs; empty if it does not lead there.

    libvirt's bus numbers are its own: the guest's firmware gives others. Slots and functions are the machine's.
    """
    path: list[tuple[int, int]] = []
    while address is not None and address.domain == 0 and len(path) <= MAX_DEPTH:
        path.append((address.slot, address.function))
        if address.bus == 0:
            return tuple(reversed(path))
        address = controllers.get(address.bus)
    return ()
