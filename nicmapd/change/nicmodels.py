"""Which NIC models a machine type offers. Pure.

libvirt tells no list of them (virConnectGetDomainCapabilities has none up to 11.3), and asking QEMU itself would taint
the domain. These are QEMU's PCI and virtio NICs by architecture (hw/net/Kconfig, `-device help` of 7.2 and 10.0); what
a QEMU was built without, it refuses itself, and that reaches the client in its own words.
"""

from __future__ import annotations

_VIRTIO = ("virtio", "virtio-transitional", "virtio-non-transitional")
_PCI = ("e1000", "e1000e", "igb", "rtl8139", "ne2k_pci", "pcnet", "vmxnet3", "e1000-82544gc", "e1000-82545em")
_INTEL = (
    *("i82550", "i82551", "i82557a", "i82557b", "i82557c", "i82558a", "i82558b"),
    *("i82559a", "i82559b", "i82559c", "i82559er", "i82562", "i82801"),
)

#: Architectures whose machines have virtio NICs only (channel I/O).
_VIRTIO_ONLY = frozenset({"s390x", "s390"})


def offered_models(arch: str, machine: str) -> tuple[str, ...]:
    """The models that a machine of this type may have, the one to prefer first."""
    if arch in _VIRTIO_ONLY or machine.startswith("microvm"):
        return ("virtio",)
    if arch.startswith("ppc64"):
        return (*_VIRTIO, "spapr-vlan", *_PCI)
    if arch in ("x86_64", "i686", ""):
        isa = ("ne2k_isa",) if machine == "isapc" else ()
        return (*isa, *_VIRTIO, *_PCI, *_INTEL, "usb-net")
    return (*_VIRTIO, *_PCI, "usb-net")
