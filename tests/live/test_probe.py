"""Probes of real guests: what their sysfs says agrees with the domain XML, and nothing stays open behind them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from xml.etree import ElementTree

import libvirt
import libvirt_qemu
import pytest

from nicmapd import agent, domxml
from nicmapd.errors import AgentFailure
from nicmapd.model import HostNic, Probe, StackKind
from nicmapd.probe import probe_interface
from tests.lab import Guest, Nic
from tests.live.conftest import FreshGuest

Q35_CALLS = 6


class Asker:
    """Sends agent commands to a guest and counts them."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest
        self.calls = 0

    def __call__(self, command: str) -> str:
        self.calls += 1
        try:
            return str(libvirt_qemu.qemuAgentCommand(self._guest.domain, command, 5, 0))
        except libvirt.libvirtError as error:
            raise agent.failure_of_error(
                code=error.get_error_code(), domain=error.get_error_domain(), text=error.get_error_message()
            ) from error

    def probe(self, name: str) -> tuple[Probe, int]:
        """The probe of an interface, and how many calls it took."""
        before = self.calls
        return probe_interface(self, name), self.calls - before


def open_files(guest: Guest) -> int:
    return int(guest.check("ls /proc/$(pidof qemu-ga)/fd | wc -l"))


@pytest.fixture
def nothing_stays_open(web1: Guest) -> Iterator[None]:
    before = open_files(web1)
    yield
    assert open_files(web1) == before


def description(guest: Guest) -> domxml.DomainDescription:
    return domxml.parse_domain(guest.domain.XMLDesc(0))


def nic_of(guest: Guest, mac: str) -> HostNic:
    return next(nic for nic in description(guest).nics if nic.mac == mac)


def is_that_device(probe: Probe, guest: Guest, mac: str) -> bool:
    """Whether the probe found the NIC with that MAC in the XML, and at the address that the guest itself tells."""
    assert probe.device is True
    assert probe.pci in guest.devices()
    return probe.slots == nic_of(guest, mac).slots != ()


@pytest.mark.usefixtures("nothing_stays_open")
def test_a_nic_is_found_at_its_place_in_the_xml(web1: Guest) -> None:
    ask = Asker(web1)
    for name, mac in zip(("eth0", "eth1"), web1.macs, strict=True):
        probe, calls = ask.probe(name)
        assert is_that_device(probe, web1, mac)
        assert calls == Q35_CALLS
    assert description(web1).agent_channel == "connected"


@pytest.mark.usefixtures("nothing_stays_open")
def test_a_plugged_in_nic_is_found_where_libvirt_put_it(web1: Guest) -> None:
    mac = "52:54:00:ab:cd:01"
    name = web1.attach(Nic(mac=mac))
    web1.rename(name, "hot0")
    assert is_that_device(Asker(web1).probe("hot0")[0], web1, mac)


@pytest.mark.usefixtures("nothing_stays_open")
def test_renamed_and_changed_nics_are_told_apart(web1: Guest) -> None:
    first, second = web1.macs
    web1.swap_names("eth0", "eth1")
    web1.set_mac("eth0", "52:54:00:ab:cd:02")
    ask = Asker(web1)
    assert is_that_device(ask.probe("eth0")[0], web1, second)
    assert is_that_device(ask.probe("eth1")[0], web1, first)


@pytest.mark.usefixtures("nothing_stays_open")
def test_members_of_a_bond_are_devices_and_the_bond_is_none(web1: Guest) -> None:
    web1.add_bond(["eth0", "eth1"])
    ask = Asker(web1)
    assert is_that_device(ask.probe("eth0")[0], web1, web1.macs[0])
    assert is_that_device(ask.probe("eth1")[0], web1, web1.macs[1])
    assert ask.probe("bond0") == (Probe(device=False, kind=StackKind.BOND), 4)


@pytest.mark.usefixtures("nothing_stays_open")
def test_what_stands_on_a_nic_is_no_device(web1: Guest) -> None:
    web1.add_vlan("eth0", 7)
    web1.add_bridge(["eth1"])
    web1.add_macvlan("eth0")
    web1.add_dummy("dummy0", mac=web1.macs[0])
    web1.add_veth("veth0", "veth1")
    kinds = {}
    ask = Asker(web1)
    for name in ("eth0.7", "br0", "macvlan0", "dummy0", "veth0", "lo"):
        probe, calls = ask.probe(name)
        assert probe.device is False, name
        assert calls == 4
        kinds[name] = probe.kind
    assert kinds["eth0.7"] is StackKind.VLAN
    assert kinds["br0"] is StackKind.BRIDGE
    assert kinds["dummy0"] is None


@pytest.mark.usefixtures("nothing_stays_open")
def test_what_is_not_there_is_unknown(web1: Guest) -> None:
    ask = Asker(web1)
    assert ask.probe("eth9") == (Probe(), 2)
    assert ask.probe("eth0:1") == (Probe(), 0)
    assert ask.probe("../net/eth0") == (Probe(), 0)


def test_an_agent_that_may_not_read_files_says_so(web1: Guest) -> None:
    web1.set_agent("real", "-b", "guest-file-open,guest-file-read,guest-file-close")
    with pytest.raises(AgentFailure) as caught:
        Asker(web1).probe("eth0")
    assert caught.value.state == "disabled"


def test_a_hung_agent_is_told_and_may_keep_one_file_open(web1: Guest) -> None:
    before = open_files(web1)
    web1.hang_agent()
    with pytest.raises(AgentFailure) as caught:
        Asker(web1).probe("eth0")
    assert caught.value.state == "unresponsive"
    web1.resume_agent()
    web1.wait_answer()
    # The agent opens the file when it wakes up, and its answer with the handle goes to nobody.
    assert open_files(web1) <= before + 1


# --- other places than behind a root port of q35 ---


def add_controller(devices: ElementTree.Element, index: int, model: str, bus: int, slot: int) -> None:
    controller = ElementTree.SubElement(devices, "controller", type="pci", index=str(index), model=model)
    if model == "pcie-expander-bus":
        ElementTree.SubElement(controller, "target", busNr="180")
    put(controller, bus, slot)


def put(device: ElementTree.Element, bus: int, slot: int) -> None:
    for old in device.findall("address"):
        device.remove(old)
    ElementTree.SubElement(device, "address", type="pci", bus=hex(bus), slot=hex(slot), function="0x0")


def on_q35(xml: str) -> str:
    """A guest's XML with its four NICs on bus 0, behind a switch, behind a PCI bridge, behind a root of its own."""
    root = ElementTree.fromstring(xml)
    devices = root.find("devices")
    assert devices is not None
    add_controller(devices, 40, "pcie-switch-upstream-port", 1, 0)
    add_controller(devices, 41, "pcie-switch-downstream-port", 40, 1)
    add_controller(devices, 42, "pcie-to-pci-bridge", 2, 0)
    add_controller(devices, 43, "pcie-expander-bus", 0, 0x19)
    add_controller(devices, 44, "pcie-root-port", 43, 2)
    for nic, (bus, slot) in zip(devices.iterfind("interface"), ((0, 0x1A), (41, 0), (42, 3), (44, 0)), strict=True):
        put(nic, bus, slot)
    return ElementTree.tostring(root, encoding="unicode")


def on_i440fx(xml: str) -> str:
    """A guest's XML with machine type pc, and its two NICs on bus 0 and behind a PCI bridge."""
    root = ElementTree.fromstring(xml)
    devices, machine = root.find("devices"), root.find("os/type")
    assert devices is not None
    assert machine is not None
    machine.set("machine", "pc")
    for controller in devices.findall("controller[@type='pci']"):
        devices.remove(controller)
    for device in devices:
        for address in device.findall("address[@type='pci']"):
            device.remove(address)
    add_controller(devices, 1, "pci-bridge", 0, 0x10)
    for nic, (bus, slot) in zip(devices.iterfind("interface"), ((0, 0x11), (1, 5)), strict=True):
        put(nic, bus, slot)
    return ElementTree.tostring(root, encoding="unicode")


@pytest.mark.parametrize(
    ("change", "places", "costs"),
    [
        (on_q35, [((0x1A, 0),), ((1, 0), (0, 0), (1, 0), (0, 0)), ((1, 1), (0, 0), (3, 0)), ()], [3, 12, 9, 10]),
        (on_i440fx, [((0x11, 0),), ((0x10, 0), (5, 0))], [3, 6]),
    ],
)
def test_a_nic_is_found_wherever_it_sits(
    fresh_guest: FreshGuest, change: Callable[[str], str], places: list[tuple[tuple[int, int], ...]], costs: list[int]
) -> None:
    guest = fresh_guest("places", nics=[Nic()] * len(places), boot=False)
    guest.host.connection.defineXML(change(guest.domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)))
    guest.start()
    nics = description(guest).nics
    assert [nic.slots for nic in nics] == places
    names = {device.mac: device.name for device in guest.devices().values()}
    for nic, cost in zip(nics, costs, strict=True):
        probe, calls = Asker(guest).probe(names[nic.mac])
        assert probe.device is True
        assert (probe.slots, calls) == (nic.slots, cost)
        assert guest.devices()[probe.pci or ""].mac == nic.mac
