"""libvirt and libvirt_qemu: the only room that imports them.

`link` is one connection, `events` turns libvirt's callbacks into `DomainEvent`, `libvirt_host` is the `Hypervisor`
port on top of them: one connection for events, lists and XML, others for agent calls; `changing` is the writing side,
on one more.
"""

from nicmapd.hypervisor.changing import LibvirtChanges
from nicmapd.hypervisor.libvirt_host import LibvirtHypervisor

__all__ = ["LibvirtChanges", "LibvirtHypervisor"]
