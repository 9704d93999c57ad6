"""The writing side on libvirt's own test driver, which is in the process: what it can do, and what its errors mean."""

from __future__ import annotations

import errno
from collections.abc import Iterator

import libvirt
import pytest

from nicmapd import errors, render
from nicmapd.change.nicmodels import offered_models
from nicmapd.domxml import parse_domain
from nicmapd.hypervisor import LibvirtChanges
from nicmapd.hypervisor.refusals import refusal, removal_pending
from nicmapd.model import DomainState
from nicmapd.ports import Scope

DRIVER = """
<node>
  <domain type='test'><name>web1</name><uuid>00000000-0000-4000-8000-000000000001</uuid><memory>8192</memory>
    <os><type arch='x86_64'>hvm</type></os>
    <devices>
      <interface type='network'><mac address='52:54:00:00:00:01'/><source network='default'/></interface>
    </devices>
  </domain>
  <network><name>default</name><uuid>00000000-0000-4000-9000-000000000001</uuid><forward mode='nat'/>
    <bridge name='virbr0'/><ip address='192.168.122.1' netmask='255.255.255.0'/></network>
</node>
"""
UUID = "00000000-0000-4000-8000-000000000001"


@pytest.fixture
def changes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LibvirtChanges]:
    path = tmp_path_factory.mktemp("driver") / "node.xml"
    path.write_text(DRIVER)
    made = LibvirtChanges(f"test://{path}")
    yield made
    made.close()


def failure(code: int, message: str = "words", *, number: int = 0) -> libvirt.libvirtError:
    error: libvirt.libvirtError = libvirt.libvirtError(message)
    error.err = (code, 10, message, 2, None, None, None, number, 0)
    return error


def test_both_xmls_are_looked_at(changes: LibvirtChanges) -> None:
    seen = changes.look(UUID)
    assert (seen.domain.vm.name, seen.domain.state) == ("web1", DomainState.RUNNING)
    for xml in (seen.live, seen.config):
        assert xml is not None
        assert [nic.mac for nic in parse_domain(xml).nics] == ["52:54:00:00:00:01"]


def test_networks_and_macs_are_read(changes: LibvirtChanges) -> None:
    (network,) = changes.networks()
    assert (network.name, network.active, network.bridge, network.forward) == ("default", True, "virbr0", "nat")
    assert changes.macs() == {"52:54:00:00:00:01": "web1"}


def test_what_this_driver_cannot_do_is_unsupported(changes: LibvirtChanges) -> None:
    text = render.new_interface(render.NewNic("network", "52:54:00:00:00:02", "virtio", "default"))
    unsupported = pytest.raises(errors.Unsupported, match="not supported by the connection driver")
    with unsupported:
        changes.attach(UUID, text, [Scope.LIVE, Scope.CONFIG])
    with unsupported:
        changes.detach(UUID, text, Scope.LIVE)
    with unsupported:
        changes.update(UUID, text, Scope.CONFIG)


def test_a_vm_that_is_not_there_is_not_found(changes: LibvirtChanges) -> None:
    with pytest.raises(errors.NotFound, match="Domain not found"):
        changes.look("00000000-0000-4000-8000-00000000000f")


def test_without_libvirt_it_is_unavailable() -> None:
    with pytest.raises(errors.Unavailable, match="cannot connect"):
        LibvirtChanges("test:///nowhere/node.xml").networks()


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (1, errors.Conflict),  # INTERNAL_ERROR: QEMU's own refusals
        (3, errors.Unsupported),
        (8, errors.Invalid),
        (9, errors.Conflict),  # OPERATION_FAILED
        (27, errors.Invalid),
        (29, errors.Forbidden),
        (42, errors.NotFound),
        (55, errors.Conflict),  # OPERATION_INVALID: not in this state
        (67, errors.Unsupported),
        (68, errors.Unavailable),
        (88, errors.Forbidden),
        (9999, errors.Conflict),
    ],
)
def test_each_number_has_its_meaning_and_keeps_libvirt_s_words(code: int, kind: type[errors.NicmapError]) -> None:
    error = refusal(failure(code, "internal error: \x1b[31mred"), "attach the NIC")
    assert type(error) is kind
    assert error.message == "cannot attach the NIC: internal error: \\x1b[31mred"
    assert not error.details


def test_a_daemon_of_libvirt_that_is_down_is_unavailable() -> None:
    words = "Failed to connect socket to '/var/run/libvirt/virtnetworkd-sock': Connection refused"
    error = refusal(failure(38, words), "list the networks")
    assert type(error) is errors.Unavailable
    assert error.message == f"cannot list the networks: {words}"
    assert type(refusal(failure(38, "Unable to write to the log: No space left"), "attach the NIC")) is errors.Conflict


def test_a_device_that_the_host_has_not_is_told_by_its_errno() -> None:
    words = "Cannot get interface MTU on 'br9': No such device"
    error = refusal(failure(38, words, number=errno.ENODEV), "attach the NIC")
    assert type(error) is errors.NoDevice
    assert error.message == f"cannot attach the NIC: {words}"


def test_a_guest_s_refusal_and_a_second_request_are_told_from_the_rest() -> None:
    refused = refusal(failure(9, "operation failed: unplug of device was rejected by the guest"), "detach the NIC")
    assert refused.details == {"refused": True}
    again = (
        "internal error: unable to execute QEMU command 'device_del': Device net1 is already in the process of unplug"
    )
    assert removal_pending(failure(1, again))
    assert not removal_pending(failure(1, "internal error: something else"))


@pytest.mark.parametrize(
    ("arch", "machine", "has", "lacks"),
    [
        ("x86_64", "pc-q35-7.2", {"virtio", "e1000", "e1000e", "rtl8139"}, {"spapr-vlan", "ne2k_isa", "foo"}),
        ("x86_64", "isapc", {"ne2k_isa"}, {"spapr-vlan"}),
        ("x86_64", "microvm", {"virtio"}, {"e1000"}),
        ("s390x", "s390-ccw-virtio-7.2", {"virtio"}, {"e1000", "virtio-transitional"}),
        ("ppc64le", "pseries-7.2", {"virtio", "spapr-vlan", "e1000"}, {"ne2k_isa"}),
        ("aarch64", "virt-7.2", {"virtio", "e1000e"}, {"spapr-vlan", "ne2k_isa"}),
    ],
)
def test_models_are_those_of_the_machine(arch: str, machine: str, has: set[str], lacks: set[str]) -> None:
    offered = offered_models(arch, machine)
    assert has <= set(offered)
    assert not lacks & set(offered)
    assert len(set(offered)) == len(offered)
