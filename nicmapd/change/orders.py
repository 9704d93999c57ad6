"""What a client may order of a NIC, and whether it can be had here: checked before anything is changed. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nicmapd.change.nicmodels import offered_models
from nicmapd.domxml import DomainDescription
from nicmapd.errors import Conflict, Invalid, NicmapError, NoDevice
from nicmapd.ports import DomainXml, Network, Scope
from nicmapd.text import clean, printable


@dataclass(frozen=True, slots=True)
class AttachOrder:
    """A NIC that is wanted. None: chosen here. `mac` is lower case with colons and one that a NIC can have."""

    type: str
    source: str | None = None
    mode: str | None = None
    model: str | None = None
    mac: str | None = None
    scope: str | None = None
    link: str = "up"


@dataclass(frozen=True, slots=True)
class UpdateOrder:
    """What is to be different. None: stays."""

    link: str | None = None
    network: str | None = None
    mac: str | None = None


def scopes(wanted: str | None, domain: DomainXml) -> list[Scope]:
    """Which XMLs of the domain are meant. None: all that it has. Raises `Conflict` if one is not there."""
    there = [scope for scope, xml in ((Scope.CONFIG, domain.config), (Scope.LIVE, domain.live)) if xml is not None]
    if wanted is None:
        return there
    asked = list(Scope) if wanted == "both" else [Scope(wanted)]
    if Scope.LIVE in asked and Scope.LIVE not in there:
        raise Conflict(f'scope "{wanted}": the VM does not run; "config" is for its next boot')
    if Scope.CONFIG in asked and Scope.CONFIG not in there:
        raise Conflict(f'scope "{wanted}": the VM is transient, it has no configuration for a next boot; use "live"')
    return [scope for scope in there if scope in asked]


def check_network(name: str, networks: Sequence[Network], *, live: bool) -> None:
    """Raises `Invalid` if there is no such network, `Conflict` if it is not active and a running NIC needs it."""
    found = next((network for network in networks if network.name == name), None)
    active = [network.name for network in networks if network.active]
    if found is None:
        known = [network.name for network in networks]
        raise Invalid(
            f'network: there is no libvirt network "{clean(name)}" on this host; {_list(known, name)}',
            key="network",
            known=[clean(one) for one in known],
        )
    if live and not found.active:
        raise Conflict(
            f'the network "{clean(name)}" is not active, so a running VM cannot be on it; start it '
            f"(virsh net-start), or take one that is: {', '.join(map(clean, active)) or 'there is none'}",
            active=[clean(one) for one in active],
        )


def blame_source(error: NicmapError, order: AttachOrder) -> None:
    """Raises `Invalid` if libvirt's `error` means that what the client named is not there.

    Only libvirt knows: it may run elsewhere, and its own list of the host's devices (virNodeDevice) needs udev.
    """
    if isinstance(error, NoDevice) and order.type in ("bridge", "direct"):
        what = "bridge" if order.type == "bridge" else "network device"
        raise Invalid(
            f'source: there is no {what} "{clean(order.source or "")}" on the host ({error.message}); its devices are '
            "shown by: ip link",
            key="source",
        ) from error


def _list(known: Sequence[str], word: str) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    meant = f"did you mean {clean(near[0])}? " if near else ""
    return f"{meant}there are {', '.join(map(clean, known))}" if known else "there is none at all"


def model(wanted: str | None, description: DomainDescription) -> str:
    """The model to attach. Raises `Invalid` if the machine type does not offer the one that is wanted."""
    offered = offered_models(description.arch, description.machine)
    if wanted is None:
        return offered[0]
    if wanted not in offered:
        machine = f"{description.machine or 'this machine'} ({description.arch or 'unknown architecture'})"
        raise Invalid(
            f'model: "{clean(wanted)}" is not offered by {printable(machine)}; {_near(wanted, offered)}',
            key="model",
            known=list(offered),
        )
    return wanted


def _near(word: str, known: Iterable[str]) -> str:
    known = list(known)
    near = difflib.get_close_matches(word, known, n=1)
    return f"{f'did you mean {near[0]}? ' if near else ''}offered are {', '.join(known)}"


def check_mac_change(mac: str, present: str, *, running: bool) -> None:
    """Raises `Conflict` while the VM runs, `Invalid` if the NIC has that MAC already."""
    if running:
        raise Conflict("the MAC of a NIC can be changed only while the VM is off: to its guest it is another NIC")
    if mac == present:
        raise Invalid(f"mac: {mac} is its MAC already", key="mac")
