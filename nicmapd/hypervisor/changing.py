"""The writing side of libvirt: attach, detach, update, and the XML that they need, on lines of its own.

A change may hold its connection for 30 s and more (another job has the domain): the passes, the events and the changes
of other domains must not stand behind that.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar
from xml.etree import ElementTree

import libvirt

from nicmapd.errors import Unavailable
from nicmapd.hypervisor.libvirt_host import domain_of, smells_of_loss
from nicmapd.hypervisor.lines import Lines
from nicmapd.hypervisor.link import describe
from nicmapd.hypervisor.refusals import refusal, removal_pending
from nicmapd.ports import DomainXml, Network, Scope
from nicmapd.text import normal_mac

_Answer = TypeVar("_Answer")

#: Calls at once, over all domains; further ones wait.
CALLS = 4

_FLAGS = {Scope.LIVE: libvirt.VIR_DOMAIN_AFFECT_LIVE, Scope.CONFIG: libvirt.VIR_DOMAIN_AFFECT_CONFIG}

#: A configuration that is to be defined again must be whole, passwords included.
_WHOLE = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE


class LibvirtChanges:
    """The `HypervisorChanges` and `Networks` ports. Thread-safe; connects when first needed, and again after a loss."""

    def __init__(self, uri: str) -> None:
        self._lines = Lines(uri, calls=CALLS)

    def close(self) -> None:
        """Lets go of the connections, busy ones when their calls have come back."""
        self._lines.close()

    # -- domains

    def look(self, uuid: str) -> DomainXml:
        def read(connection: Any) -> DomainXml:
            handle = connection.lookupByUUIDString(uuid)
            domain = domain_of(handle)
            return DomainXml(
                domain,
                live=str(handle.XMLDesc(0)) if handle.isActive() else None,
                config=str(handle.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)) if domain.persistent else None,
            )

        return self._ask("look at the VM", read)

    def attach(self, uuid: str, interface: str, scopes: Sequence[Scope]) -> None:
        flags = sum(_FLAGS[scope] for scope in scopes)
        self._change(uuid, "attach the NIC", lambda domain: domain.attachDeviceFlags(interface, flags))

    def detach(self, uuid: str, interface: str, scope: Scope) -> None:
        def work(domain: Any) -> None:
            try:
                domain.detachDeviceFlags(interface, _FLAGS[scope])
            except libvirt.libvirtError as error:
                if not removal_pending(error):
                    raise

        self._change(uuid, "detach the NIC", work)

    def update(self, uuid: str, interface: str, scope: Scope) -> None:
        flags = _FLAGS[scope]
        self._change(uuid, "change the NIC", lambda domain: domain.updateDeviceFlags(interface, flags))

    def redefine(self, uuid: str, change: Callable[[str], str]) -> None:
        def work(connection: Any) -> None:
            xml = change(str(connection.lookupByUUIDString(uuid).XMLDesc(_WHOLE)))
            connection.defineXML(xml)

        self._call("change the VM's configuration", work)

    def macs(self) -> Mapping[str, str]:
        return self._ask("read the MACs of all VMs", _macs)

    def _change(self, uuid: str, what: str, work: Callable[[Any], object]) -> None:
        self._call(what, lambda connection: work(connection.lookupByUUIDString(uuid)))

    # -- networks

    def networks(self) -> Sequence[Network]:
        return self._ask("list the networks", _networks)

    # -- the connection

    def _ask(self, what: str, work: Callable[[Any], _Answer]) -> _Answer:
        """A question, which changes nothing."""
        return self._call(what, work, lost=f"cannot {what}, nothing was changed: libvirt went away")

    def _call(
        self,
        what: str,
        work: Callable[[Any], _Answer],
        *,
        lost: str = "libvirt went away in the middle of it, and whether it was done is not known; the map will show it",
    ) -> _Answer:
        with self._lines.line() as line:
            try:
                return work(line.connection)
            except libvirt.libvirtError as error:
                if smells_of_loss(error) and not line.alive():
                    raise Unavailable(f"{lost}: {describe(error)}") from error
                raise refusal(error, what) from error


def _macs(connection: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    for domain in connection.listAllDomains(0):
        with contextlib.suppress(libvirt.libvirtError):  # gone meanwhile
            texts = [domain.XMLDesc(0)]
            if domain.isActive() and domain.isPersistent():
                texts.append(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
            for text in texts:
                for element in ElementTree.fromstring(text).iterfind("devices/interface/mac"):
                    mac = normal_mac(element.get("address") or "")
                    if mac is not None:
                        found[mac] = domain.name()
    return found


def _networks(connection: Any) -> list[Network]:
    found = []
    for network in connection.listAllNetworks(0):
        with contextlib.suppress(libvirt.libvirtError):  # gone meanwhile
            found.append(_network(network))
    return sorted(found, key=lambda one: one.name)


def _network(network: Any) -> Network:
    root = ElementTree.fromstring(network.XMLDesc(0))
    bridge, forward = root.find("bridge"), root.find("forward")
    return Network(
        name=str(network.name()),
        uuid=str(network.UUIDString()),
        active=bool(network.isActive()),
        persistent=bool(network.isPersistent()),
        autostart=bool(network.isPersistent() and network.autostart()),
        bridge=None if bridge is None else bridge.get("name"),
        forward=None if forward is None else forward.get("mode", "nat"),
    )
