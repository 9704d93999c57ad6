"""QEMU's receive filter as a hint: it changes when a guest takes a NIC down, up, or gives it another MAC.

NIC_RX_FILTER_CHANGED comes 30-100 ms after a rename in a Linux guest, which takes the link down for it. QEMU sends the
next one for a NIC only after somebody has asked query-rx-filter: every pass asks, before it asks the guest, so that no
change after the guest's answer stays unnoticed. The answer names the MAC that the guest uses now (main-mac), which the
guest's agent cannot forge. All of this is libvirt's qemu-specific interface: it taints the domain ("custom-monitor").
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

import libvirt
import libvirt_qemu

from nicmapd.hypervisor.link import Link, describe
from nicmapd.model import VmRef
from nicmapd.ports import DomainEvent, EventKind

_log = logging.getLogger(__name__)

_QUERY = json.dumps({"execute": "query-rx-filter"})


def listen(link: Link, deliver: Callable[[DomainEvent], None]) -> bool:
    """Registers for the event on all domains of `link`; False from a libvirt that refuses, which is told in the log."""

    def callback(_connection: Any, domain: Any, _event: str, _sec: int, _usec: int, details: str, _opaque: Any) -> None:
        deliver(DomainEvent(EventKind.RX_FILTER, VmRef(domain.UUIDString(), domain.name()), _alias(details)))

    connection = link.connection
    try:
        number = libvirt_qemu.qemuMonitorEventRegister(connection, None, "NIC_RX_FILTER_CHANGED", callback, None)
    except libvirt.libvirtError as error:
        _log.warning("hints.rx_filter is on, but libvirt does not pass on QEMU's events: %s", describe(error))
        return False
    link.on_end(lambda: libvirt_qemu.qemuMonitorEventDeregister(connection, number))
    return True


def _alias(details: str) -> str:
    try:
        found = json.loads(details)
    except ValueError:
        return ""
    return str(found.get("name", "")) if isinstance(found, dict) else ""


def query(domain: Any) -> Mapping[str, str]:
    """Alias -> the MAC that QEMU sees now, lower case; arms the event again for all NICs of the domain.

    Raises libvirtError. NICs whose model has no receive filter are not in it.
    """
    answer = json.loads(libvirt_qemu.qemuMonitorCommand(domain, _QUERY, 0))
    entries = answer.get("return") if isinstance(answer, dict) else None
    found: dict[str, str] = {}
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and isinstance(entry.get("name"), str) and isinstance(entry.get("main-mac"), str):
            found[entry["name"]] = entry["main-mac"].lower()
    return found
