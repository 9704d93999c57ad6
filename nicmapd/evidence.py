"""What may be believed of a guest's reply: which entry is which interface, and what is still known from before.

A probe tells once which device bears a name. Later replies must prove that the name still means the same device, or it
is asked again: names can be swapped with nothing to see in the reply (the members of a bond share one MAC). The proof
are the counters: they never go backward, so a reply whose counters cannot be those of the same interfaces in another
order shows that nothing was swapped.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from operator import attrgetter

from nicmapd import shapes
from nicmapd.model import GuestInterface, GuestReply, Probe, Statistics

#: All counters of an interface. Not dataclasses.astuple, which copies deeply: that was a third of a pass.
_counters = attrgetter(*(one.name for one in fields(Statistics)))


@dataclass(frozen=True, slots=True)
class Known:
    """What the last pass knew of an interface: its MAC, its counters, and the probe if there is one."""

    mac: str | None
    counters: Statistics | None
    probe: Probe | None


@dataclass(frozen=True, slots=True)
class Memory:
    """What earlier passes over a guest taught; all of it may be lost without harm to what is right.

    `known`: by interface name. `held`: NICs (by MAC and alias) whose name was kept once over a reply without their
    MAC. The others count only where nothing can be probed: `last`, the counters of each NIC (by MAC and alias) when its
    name was certain; `rivals`, pairs (MAC, name) that were seen beside another candidate; `doubts`, pairs that may be
    the result of swapped MACs.
    """

    known: Mapping[str, Known] = field(default_factory=dict)
    held: frozenset[tuple[str, str | None]] = frozenset()
    last: Mapping[tuple[str, str | None], Statistics] = field(default_factory=dict)
    rivals: frozenset[tuple[str, str]] = frozenset()
    doubts: frozenset[tuple[str, str]] = frozenset()

    def after_reconnect(self) -> Memory:
        """What is left when the agent has connected anew: the guest may have restarted its network, or itself."""
        return Memory(rivals=self.rivals, doubts=self.doubts)


@dataclass(frozen=True, slots=True)
class Folded:
    """One interface with the address labels that belong to it."""

    interface: GuestInterface
    labels: tuple[GuestInterface, ...] = ()

    @property
    def name(self) -> str:
        return self.interface.name

    @property
    def mac(self) -> str | None:
        return self.interface.mac


def fold(reply: GuestReply) -> list[Folded]:
    """The interfaces of a reply without labels, sorted; a label without its parent stands for the parent.

    Equal names stay apart: which of them is meant is not known.
    """
    labels: dict[tuple[str, str | None], list[GuestInterface]] = defaultdict(list)
    plain: list[GuestInterface] = []
    for interface in sorted(reply.interfaces, key=_order):
        parent = shapes.parent_of_label(interface.name)
        if parent is None:
            plain.append(interface)
        else:
            labels[parent, interface.mac].append(interface)
    folded = []
    for interface in plain:
        own = labels.pop((interface.name, interface.mac), [])
        own += labels.pop((interface.name, None), []) if interface.mac is not None else []
        folded.append(Folded(interface, tuple(own)))
    there = {one.name for one in folded}
    for (parent, mac), orphans in sorted(labels.items(), key=lambda item: (item[0][0], item[0][1] or "")):
        if parent not in there:
            folded.append(Folded(GuestInterface(parent, mac), tuple(orphans)))
    return sorted(folded, key=lambda one: _order(one.interface))


def _order(interface: GuestInterface) -> tuple[str, str, tuple[object, ...]]:
    return (interface.name, interface.mac or "", interface.addresses)


def same_shape(left: GuestReply, right: GuestReply) -> bool:
    """Whether two replies show the same names with the same MACs."""
    return _shape(left) == _shape(right)


def _shape(reply: GuestReply) -> list[tuple[str, str]]:
    return sorted((one.name, one.mac or "") for one in fold(reply))


def continues(before: Statistics | None, now: Statistics | None) -> bool | None:
    """Whether an interface with counters `before` can have counters `now`; None if there are none to compare."""
    if before is None or now is None:
        return None
    pairs = zip(_counters(before), _counters(now), strict=True)
    grown = [new >= old for old, new in pairs if old is not None and new is not None]
    return all(grown) if grown else None


def trusted(interfaces: Iterable[Folded], memory: Memory) -> dict[str, Probe]:
    """The probes of earlier passes that still hold: by name, only of interfaces proved to be the same."""
    groups: dict[str, dict[str, Folded]] = defaultdict(dict)
    twice: set[str] = set()
    for one in interfaces:
        if one.mac is not None:
            if one.name in groups[one.mac]:
                twice.add(one.name)
            groups[one.mac][one.name] = one
    found: dict[str, Probe] = {}
    for mac, group in groups.items():
        before = {name: known for name, known in memory.known.items() if known.mac == mac}
        if any(known.probe is not None for known in before.values()):
            found.update(_trusted_in_group(group, before))
    return {name: probe for name, probe in found.items() if name not in twice}


def _trusted_in_group(group: Mapping[str, Folded], before: Mapping[str, Known]) -> dict[str, Probe]:
    """Within the interfaces of one MAC: `became[a]` are the other names that `a` may bear now."""
    if len(before) == len(group) == 1:
        (name, known), one = next(iter(before.items())), next(iter(group.values()))
        # Alone before and now, with name and MAC unchanged: only counters that went back tell of another interface.
        same = name == one.name and continues(known.counters, one.interface.statistics) is not False
        return {name: known.probe} if same and known.probe is not None else {}
    became = {
        old: {
            name
            for name, one in group.items()
            if name != old and continues(known.counters, one.interface.statistics) is not False
        }
        for old, known in before.items()
    }
    found = {}
    for name, known in before.items():
        if known.probe is None or name not in group:
            continue
        if continues(known.counters, group[name].interface.statistics) is not True:
            continue
        if not _may_be_another(name, became, before, group):
            found[name] = known.probe
    return found


def _may_be_another(
    name: str, became: Mapping[str, set[str]], before: Mapping[str, Known], group: Mapping[str, Folded]
) -> bool:
    """Whether `name` may now be borne by an interface that had another name before, in some explanation of the reply.

    That needs a chain of possible renames into `name` that begins at a name which has vanished, or that closes to a
    cycle through `name`. Where no device is among them, nothing about a NIC can have changed.
    """
    reached, frontier = {name}, [name]
    possible = False
    while frontier:
        now = frontier.pop()
        for old in (old for old, names in became.items() if now in names):
            possible = possible or old == name or old not in group
            if old not in reached:
                reached.add(old)
                frontier.append(old)
    return possible and _has_device(reached, before)


def _has_device(names: set[str], before: Mapping[str, Known]) -> bool:
    probes = [before[name].probe for name in names if name in before]
    return any(probe is None or probe.device is not False for probe in probes)
