"""What a running VM's next boot will change of its NICs: its live XML against its configuration. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from nicmapd.model import HostNic, NicEntry, VmEntry


class PendingKind(StrEnum):
    """What the next boot does to a NIC."""

    ATTACH = "attach"
    DETACH = "detach"
    CHANGE = "change"


@dataclass(frozen=True, slots=True)
class Pending:
    """What the next boot changes of a NIC. `differs`: member of `HostNic` -> what it will be; only of a CHANGE."""

    kind: PendingKind
    differs: Mapping[str, str | None] = field(default_factory=dict)


def pending(vm: VmEntry, nic: NicEntry) -> Pending | None:
    """What is pending of `nic`; None if nothing is, or if that is not known."""
    if vm.coming is None or not vm.state.alive:
        return None
    if any(one.id == nic.id and one.nic.mac == nic.nic.mac for one in vm.coming):
        return Pending(PendingKind.ATTACH)
    if nic.planned is None:
        return Pending(PendingKind.DETACH)
    differs = _differences(nic.nic, nic.planned)
    return Pending(PendingKind.CHANGE, differs) if differs else None


def counterparts(live: Sequence[HostNic], config: Sequence[HostNic]) -> tuple[list[HostNic | None], list[HostNic]]:
    """For each NIC of the running VM the one of the configuration, or None; and those that only the latter has.

    The same is: equal MAC and PCI address, else equal MAC, in the order of the XML.
    """
    found: list[HostNic | None] = [None] * len(live)
    left = list(config)
    same: tuple[Callable[[HostNic, HostNic], bool], ...] = (
        lambda one, other: one.mac == other.mac and one.pci == other.pci,
        lambda one, other: one.mac == other.mac,
    )
    for fits in same:
        for number, nic in enumerate(live):
            other = next((one for one in left if found[number] is None and fits(nic, one)), None)
            if other is not None:
                found[number] = other
                left.remove(other)
    return found, left


def _differences(live: HostNic, config: HostNic) -> dict[str, str | None]:
    members = ["link"]
    # Of a network that hands out devices the live XML shows what was handed out: another type, and that place.
    if live.type == config.type or config.type != "network":
        members += ["type", "network", "source"]
    # A configuration without a model has libvirt's choice, which only the live XML tells.
    members += ["model"] if config.model is not None else []
    return {name: getattr(config, name) for name in members if getattr(live, name) != getattr(config, name)}
