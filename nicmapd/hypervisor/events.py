"""libvirt's callbacks become `DomainEvent`s. They run in libvirt's event thread: hand over, return, never block.

Numbers of events and details: libvirt's include/libvirt/libvirt-domain.h. They are compared by number where the
binding was built against a libvirt that did not have them yet.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import libvirt

from nicmapd.hypervisor.link import Link
from nicmapd.model import VmRef
from nicmapd.ports import DomainEvent, EventKind

_log = logging.getLogger(__name__)

#: VIR_DOMAIN_EVENT_ID_NIC_MAC_CHANGE, libvirt 11.2.
NIC_MAC_CHANGE = 27

_LIFECYCLE = {
    0: "defined",
    1: "undefined",
    2: "started",
    3: "suspended",
    4: "resumed",
    5: "stopped",
    6: "shutdown",
    7: "pmsuspended",
    8: "crashed",
}
_AGENT = {1: "connected", 2: "disconnected"}

Deliver = Callable[[DomainEvent], None]


def listen_all(link: Link, deliver: Deliver) -> None:
    """Registers for every event that may change the map, on all domains of `link`."""

    def on_lifecycle(_connection: Any, domain: Any, event: int, _detail: int, _opaque: Any) -> None:
        _hand_over(deliver, EventKind.LIFECYCLE, domain, _LIFECYCLE.get(event, str(event)))

    def on_reboot(_connection: Any, domain: Any, _opaque: Any) -> None:
        _hand_over(deliver, EventKind.LIFECYCLE, domain, "rebooted")

    def on_agent(_connection: Any, domain: Any, state: int, _reason: int, _opaque: Any) -> None:
        _hand_over(deliver, EventKind.AGENT, domain, _AGENT.get(state, str(state)))

    def on_device(kind: EventKind) -> Callable[..., None]:
        def callback(_connection: Any, domain: Any, alias: str, _opaque: Any) -> None:
            _hand_over(deliver, kind, domain, alias)

        return callback

    def on_nic_mac(_connection: Any, domain: Any, alias: str, *_rest: Any) -> None:
        _hand_over(deliver, EventKind.NIC_MAC, domain, alias)

    link.listen(libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, on_lifecycle)
    link.listen(libvirt.VIR_DOMAIN_EVENT_ID_REBOOT, on_reboot)
    link.listen(libvirt.VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE, on_agent)
    link.listen(libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_ADDED, on_device(EventKind.DEVICE_ADDED))
    link.listen(libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, on_device(EventKind.DEVICE_REMOVED))
    link.listen(libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVAL_FAILED, on_device(EventKind.DEVICE_REMOVAL_FAILED))
    if hasattr(libvirt, "VIR_DOMAIN_EVENT_ID_NIC_MAC_CHANGE"):
        # The binding must know the event, too: it builds the arguments of the callback.
        link.listen(NIC_MAC_CHANGE, on_nic_mac)


def _hand_over(deliver: Deliver, kind: EventKind, domain: Any, detail: str) -> None:
    # The binding prints and swallows what a callback raises; nothing here can, short of a defect of ours.
    deliver(DomainEvent(kind, VmRef(domain.UUIDString(), domain.name()), detail))
