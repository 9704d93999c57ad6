"""The XML of one interface: made of checked words, found without mistake, changed in nothing but what was meant."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from nicmapd import render
from nicmapd.domxml import parse_domain
from nicmapd.errors import Conflict, Invalid
from nicmapd.model import HostNic

MAC, OTHER = "52:54:00:00:00:01", "52:54:00:00:00:02"


def interface(mac: str = MAC, *, alias: str = "", slot: int = 1, kind: str = "network", more: str = "") -> str:
    """An <interface> as libvirt writes it: live with an alias, else of a configuration."""
    live = f"<target dev='vnet{slot}'/><alias name='{alias}'/>" if alias else ""
    source = {"network": "<source network='default' bridge='virbr0'/>", "bridge": "<source bridge='br0'/>"}.get(
        kind, ""
    )
    return (
        f"<interface type='{kind}'><mac address='{mac}'/>{source}{live}<model type='virtio'/>{more}"
        f"<address type='pci' domain='0x0000' bus='0x0{slot}' slot='0x00' function='0x0'/></interface>"
    )


def domain(*interfaces: str) -> str:
    return f"<domain><name>web1</name><devices><disk/>{''.join(interfaces)}</devices></domain>"


def nic(mac: str = MAC, *, alias: str | None = "net0", slot: int = 1) -> HostNic:
    return HostNic(mac, "network", alias=alias, pci=f"0000:0{slot}:00.0")


def found(text: str | None) -> HostNic:
    assert text is not None
    return parse_domain(f"<domain><devices>{text}</devices></domain>").nics[0]


@pytest.mark.parametrize(
    ("new", "attributes"),
    [
        (render.NewNic("network", MAC, "virtio", "default"), {"network": "default"}),
        (render.NewNic("bridge", MAC, "virtio", "br0"), {"bridge": "br0"}),
        (render.NewNic("direct", MAC, "virtio", "eno1", "vepa"), {"dev": "eno1", "mode": "vepa"}),
        (render.NewNic("network", MAC, "virtio", "a'\"<>&b"), {"network": "a'\"<>&b"}),
    ],
)
def test_a_new_one_has_what_was_asked_for(new: render.NewNic, attributes: dict[str, str]) -> None:
    element = ElementTree.fromstring(render.new_interface(new))
    source = element.find("source")
    assert source is not None
    assert (element.get("type"), source.attrib) == (new.type, attributes)
    assert (found(render.new_interface(new)).mac, found(render.new_interface(new)).model) == (MAC, "virtio")


def test_a_new_one_behind_qemu_s_own_network_has_no_source_and_may_be_unplugged() -> None:
    text = render.new_interface(render.NewNic("user", MAC, "e1000", link="down"))
    assert "source" not in text
    assert found(text).link == "down"


def test_an_alias_decides_in_a_live_xml() -> None:
    xml = domain(interface(alias="net0", slot=1), interface(alias="net1", slot=2))  # a teaming pair
    assert found(render.find_interface(xml, nic(alias="net1"))).alias == "net1"
    assert render.find_interface(xml, nic(alias="net7")) is None, "that one is gone, the others are not it"


def test_a_mac_decides_in_a_configuration_and_the_place_among_equals() -> None:
    assert found(render.find_interface(domain(interface(OTHER, slot=2), interface(slot=1)), nic())).mac == MAC
    pair = domain(interface(slot=1), interface(slot=2))
    assert found(render.find_interface(pair, nic(slot=2))).pci == "0000:02:00.0"
    with pytest.raises(Conflict, match="nothing tells which"):
        render.find_interface(pair, nic(slot=5))
    assert render.find_interface(domain(interface(OTHER)), nic()) is None


def test_a_cable_is_pulled_and_plugged_and_the_rest_stays() -> None:
    text = interface(alias="net0", more="<mtu size='1400'/><boot order='2'/>")
    pulled = render.with_link(text, "down")
    assert found(pulled).link == "down"
    assert '<mtu size="1400" />' in pulled
    assert '<boot order="2" />' in pulled
    again = render.with_link(pulled, "up")
    assert found(again).link == "up"
    assert again.count("<link") == 1


@pytest.mark.parametrize("kind", ["network", "bridge"])
def test_a_move_keeps_the_device_and_drops_what_the_old_network_gave(kind: str) -> None:
    moved = found(render.with_network(interface(alias="net0", kind=kind), "storage"))
    assert (moved.type, moved.network, moved.bridge, moved.target) == ("network", "storage", None, None)
    assert (moved.mac, moved.alias, moved.pci, moved.model) == (MAC, "net0", "0000:01:00.0", "virtio")


def test_a_move_keeps_a_tap_whose_name_somebody_chose() -> None:
    given = interface(alias="net0").replace("vnet1", "tapx")
    assert "tapx" in given
    assert found(render.with_network(given, "storage")).target == "tapx"


@pytest.mark.parametrize("kind", ["user", "direct", "hostdev"])
def test_what_has_no_tap_cannot_be_moved(kind: str) -> None:
    with pytest.raises(Conflict, match=f"type {kind} cannot be moved"):
        render.with_network(interface(kind=kind), "storage")


def test_a_new_mac_changes_one_nic_of_the_domain() -> None:
    xml = domain(interface(slot=1), interface(OTHER, slot=2))
    changed = parse_domain(render.with_mac_of(xml, nic(alias=None), "52:54:00:00:00:09")).nics
    assert [one.mac for one in changed] == ["52:54:00:00:00:09", OTHER]
    with pytest.raises(Invalid, match="has no NIC"):
        render.with_mac_of(xml, nic("52:54:00:00:00:07", alias=None), "52:54:00:00:00:09")
