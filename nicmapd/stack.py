"""What stands on a NIC in the guest, and which addresses reach it through that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from nicmapd import shapes
from nicmapd.evidence import Folded
from nicmapd.model import NicAddress, Probe, StackKind, StackLayer

#: Layers and addresses shown of one NIC; a container host may have hundreds.
MAX_LAYERS = 64
MAX_ADDRESSES = 128


def stack_of(
    base: Sequence[Folded], interfaces: Iterable[Folded], *, devices: set[str], probes: Mapping[str, Probe]
) -> tuple[StackLayer, ...]:
    """The layers on `base` (the NIC's interface; several if it is not certain which), sorted by name.

    Bond, bridge and VLAN show the MAC of what they stand on; a VLAN's name tells its parent even with another MAC.
    `devices` are the interfaces known to be NICs: they stand on nothing.
    """
    own, macs = {one.name for one in base}, {one.mac for one in base}
    layers = {StackLayer(label.name, StackKind.ALIAS, label.mac) for one in base for label in one.labels}
    for one in interfaces:
        if one.name in own or one.name in devices:
            continue
        shares = one.mac in macs and not shapes.stands_apart(one.name) and not _is_device(one.name, probes)
        if shares or _named_after(one.name, own):
            layers.add(StackLayer(one.name, _kind(one.name, probes), one.mac))
            layers.update(StackLayer(label.name, StackKind.ALIAS, label.mac) for label in one.labels)
    return tuple(sorted(layers, key=lambda layer: (layer.name, layer.mac or ""))[:MAX_LAYERS])


def _is_device(name: str, probes: Mapping[str, Probe]) -> bool:
    probe = probes.get(name)
    return probe is not None and probe.device is True


def _named_after(name: str, parents: set[str]) -> bool:
    parent, dot, number = name.rpartition(".")
    return bool(dot) and number.isdigit() and parent in parents


def _kind(name: str, probes: Mapping[str, Probe]) -> StackKind:
    probe = probes.get(name)
    if probe is not None and probe.kind is not None:
        return probe.kind
    return shapes.kind(name) or StackKind.OTHER


def addresses_of(
    base: Sequence[Folded], layers: Sequence[StackLayer], interfaces: Iterable[Folded]
) -> tuple[NicAddress, ...]:
    """The addresses of `base` and of all layers on it, sorted, each once."""
    names = {layer.name for layer in layers} | {one.name for one in base}
    found = {
        NicAddress(interface.name, address.family, address.ip, address.prefix)
        for one in interfaces
        if one.name in names
        for interface in (one.interface, *one.labels)
        for address in interface.addresses
    }
    return tuple(
        sorted(found, key=lambda each: (each.interface, each.family, each.ip, each.prefix or 0))[:MAX_ADDRESSES]
    )
