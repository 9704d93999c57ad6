"""The XML of one `<interface>`: made for attach, found in a domain's XML, and changed for an update.

Whatever a client said arrives here as checked words and leaves as attributes that ElementTree quotes: no text of a
client is ever pasted into XML. Shapes are those of libvirt's docs/formatdomain.rst, "Network interfaces".
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from dataclasses import dataclass
from xml.etree import ElementTree

from nicmapd.errors import Conflict, Invalid
from nicmapd.model import HostNic
from nicmapd.text import normal_mac

#: Types that can be attached: each with the attribute of <source> that says where it is plugged in.
SOURCES = {"network": "network", "bridge": "bridge", "direct": "dev", "user": ""}

#: What macvtap can do (<source mode=...>).
DIRECT_MODES = ("bridge", "vepa", "private", "passthrough")


@dataclass(frozen=True, slots=True)
class NewNic:
    """A NIC to attach. `source` is the network, the bridge or the host's device; None for `user`."""

    type: str
    mac: str
    model: str
    source: str | None = None
    mode: str | None = None
    link: str = "up"


def new_interface(nic: NewNic) -> str:
    """The `<interface>` of a NIC to attach."""
    element = ElementTree.Element("interface", {"type": nic.type})
    ElementTree.SubElement(element, "mac", {"address": nic.mac})
    if nic.source is not None:
        source = ElementTree.SubElement(element, "source", {SOURCES[nic.type]: nic.source})
        if nic.mode is not None:
            source.set("mode", nic.mode)
    ElementTree.SubElement(element, "model", {"type": nic.model})
    if nic.link == "down":
        ElementTree.SubElement(element, "link", {"state": "down"})
    return _text(element)


def find_interface(xml: str, nic: HostNic) -> str | None:
    """The `<interface>` of `nic` in a domain's XML, or None if it is not there.

    The alias decides where both have one (live XML); else the MAC, and of several with it the PCI address. Raises
    `Conflict` if that still leaves more than one: no change may hit the wrong one of two.
    """
    element = _find(_interfaces(xml), nic)
    return None if element is None else _text(element)


def _interfaces(xml: str) -> list[ElementTree.Element]:
    return ElementTree.fromstring(xml).findall("devices/interface")


def _find(elements: list[ElementTree.Element], nic: HostNic) -> ElementTree.Element | None:
    found = [one for one in elements if _mac(one) == nic.mac]
    aliased = [one for one in found if nic.alias is not None and _get(one, "alias", "name") == nic.alias]
    if aliased:
        return aliased[0]
    if nic.alias is not None and any(_get(one, "alias", "name") for one in found):
        return None  # a live XML that does not have this alias any more
    if len(found) > 1:
        placed = [one for one in found if nic.pci is not None and _pci(one) == nic.pci]
        if len(placed) != 1:
            raise Conflict(
                f"the VM's configuration has {len(found)} NICs with the MAC {nic.mac}, and nothing tells which of them "
                "this one is; give each its own MAC first (virsh edit)"
            )
        found = placed
    return found[0] if found else None


def _get(element: ElementTree.Element, child: str, attribute: str) -> str | None:
    found = element.find(child)
    return None if found is None else found.get(attribute)


def _mac(element: ElementTree.Element) -> str | None:
    return normal_mac(_get(element, "mac", "address") or "")


def _pci(element: ElementTree.Element) -> str | None:
    address = element.find("address")
    if address is None or address.get("type", "pci") != "pci":
        return None
    try:
        parts = [int(address.get(name, "0"), 16) for name in ("domain", "bus", "slot", "function")]
    except ValueError:
        return None
    return "{:04x}:{:02x}:{:02x}.{:x}".format(*parts)


# -- changing one


def with_link(interface: str, state: str) -> str:
    """`interface` with its cable plugged in (`up`) or pulled (`down`)."""
    element = ElementTree.fromstring(interface)
    link = element.find("link")
    if link is None:
        link = ElementTree.SubElement(element, "link")
    link.set("state", state)
    return _text(element)


def with_network(interface: str, network: str) -> str:
    """`interface` on another libvirt network, as the same device.

    What libvirt adds to a running one (port, bridge and tap of the old network) is left out: it gives new ones.
    """
    element = ElementTree.fromstring(interface)
    if element.get("type") not in ("network", "bridge"):
        raise Conflict(
            f"a NIC of type {element.get('type')} cannot be moved to a network: only those of type network and bridge "
            "have a tap that can; detach it and attach a new one"
        )
    element.set("type", "network")
    for name in ("source", "actual", "virtualport"):
        for child in element.findall(name):
            element.remove(child)
    for child in element.findall("target"):
        if _GIVEN_TAP.fullmatch(child.get("dev", "")):
            element.remove(child)
    element.insert(1, ElementTree.Element("source", {"network": network}))
    return _text(element)


def with_mac_of(domain: str, nic: HostNic, mac: str) -> str:
    """The whole XML of a domain, in which `nic` has another MAC. Raises `Invalid` if it is not in it."""
    root = ElementTree.fromstring(domain)
    element = _find(root.findall("devices/interface"), nic)
    found = None if element is None else element.find("mac")
    if found is None:
        raise Invalid(f"the VM's configuration has no NIC {nic.mac}")
    found.set("address", mac)
    return _text(root)


#: Names that libvirt gives (src/util/virnetdev.h); any other is somebody's wish.
_GIVEN_TAP = re.compile(r"(vnet|macvtap|macvlan)[0-9]+")

Edit = Callable[[str], str]


def edited(interface: str, *, link: str | None, network: str | None) -> str:
    """`interface` after a change of its cable, its network or both."""
    if network is not None:
        interface = with_network(interface, network)
    return interface if link is None else with_link(interface, link)


def _text(element: ElementTree.Element) -> str:
    alone = copy.copy(element)
    alone.tail = None
    return ElementTree.tostring(alone, encoding="unicode")
