"""Which interface is proved to be which device: by a probe of this pass, or by one of before that still holds. Pure.

A `Reading` is one reply of a guest against what is remembered of it. What that costs is paid once, however often a
pass comes back to it with more probes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from nicmapd.evidence import Memory, fold, trusted
from nicmapd.model import GuestReply, HostNic, Probe, StackKind


@dataclass(frozen=True, slots=True)
class Proved:
    """The probes that hold, by name, and the names that are at the place of each NIC (its number in the XML)."""

    probes: Mapping[str, Probe]
    owners: Mapping[int, tuple[str, ...]]


NOTHING = Proved({}, {})


class Reading:
    """A reply of the guest that has `nics`, and what earlier passes taught (`memory`)."""

    def __init__(self, nics: Sequence[HostNic], reply: GuestReply, memory: Memory) -> None:
        self.nics = nics
        self.reply = reply
        self.memory = memory
        self.interfaces = fold(reply)
        self.macs = {mac for nic in nics for mac in (nic.mac, nic.current_mac) if mac is not None}
        self._trusted: Mapping[str, Probe] | None = None
        self._settled: Proved | None = None

    def proved(self, fresh: Mapping[str, Probe]) -> Proved:
        """The probes that hold: those of this pass (`fresh`), and of earlier ones what is not contradicted."""
        if fresh:
            return self._proved(fresh)
        if self._settled is None:
            self._settled = self._proved({})
        return self._settled

    def _proved(self, fresh: Mapping[str, Probe]) -> Proved:
        """Where two devices of this pass are at one place, the one that is enslaved to the other is the NIC: the master
        of a failover pair points to its standby's device (net/core/failover.c).
        """
        if self._trusted is None:
            self._trusted = trusted(self.interfaces, self.memory, macs=self.macs)
        shown = {one.name for one in self.interfaces}
        fresh = {name: probe for name, probe in fresh.items() if name in shown}
        old = {name: probe for name, probe in self._trusted.items() if name not in fresh}
        taken = {probe.slots for probe in fresh.values() if probe.device and probe.slots}
        taken |= {self.nics[number].slots for number, names in self._owners(old).items() if len(names) > 1}
        held = {name: probe for name, probe in old.items() if not (probe.device and probe.slots in taken)} | fresh
        owners = self._owners(held)
        for names in owners.values():
            masters = [name for name in names if name in {held[other].master for other in names}]
            for name in masters if len(masters) == len(names) - 1 else ():
                held[name] = replace(held[name], device=False, slots=(), kind=StackKind.BOND)
        return Proved(held, self._owners(held))

    def _owners(self, probes: Mapping[str, Probe]) -> dict[int, tuple[str, ...]]:
        """NIC -> the names that are at its place."""
        numbers = {nic.slots: number for number, nic in enumerate(self.nics) if nic.slots}
        owners: dict[int, list[str]] = defaultdict(list)
        for name in sorted(probes):
            probe = probes[name]
            if probe.device and probe.slots in numbers:
                owners[numbers[probe.slots]].append(name)
        return {number: tuple(names) for number, names in owners.items()}
