"""What may be believed of a guest's reply: which entry is which interface, and what is still known from before.

A probe tells once which device bears a name. Later replies must prove that the name still means the same device, or it
is asked again: names can be swapped with nothing to see in the reply (the members of a bond share one MAC). The proof
are the counters: they never go backward, so a reply whose counters cannot be those of the same interfaces in another
order shows that nothing was swapped.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import TypeVar

from nicmapd import shapes
from nicmapd.model import GuestInterface, GuestReply, Probe, Statistics
from nicmapd.track import LOOPBACKS, Course, Sight, continues

#: A NIC's MAC and alias: what its memory is kept under.
NicKey = tuple[str, str | None]


@dataclass(frozen=True, slots=True)
class Known:
    """What the last pass knew of an interface: its MAC, its counters, and the probe if there is one.

    `sure`: the probe is proved to be of the interface that bears the name now; else it is only what was once so.
    """

    mac: str | None
    counters: Statistics | None
    probe: Probe | None
    sure: bool = True


@dataclass(frozen=True, slots=True)
class Memory:
    """What earlier passes over a guest taught; all of it may be lost without harm to what is right.

    `known`: by interface name. `held`: NICs whose name was kept once over a reply without their MAC. The others count
    only where nothing can be probed: `holders`, the interface that each NIC was when that was last certain; `lost`,
    NICs whose interface can no longer be told from others; `ages`, for how many replies the MAC of each NIC has been in
    the XML (claims.py counts them).
    """

    known: Mapping[str, Known] = field(default_factory=dict)
    held: frozenset[NicKey] = frozenset()
    holders: Mapping[NicKey, Sight] = field(default_factory=dict)
    lost: frozenset[NicKey] = frozenset()
    ages: Mapping[str, int] = field(default_factory=dict)

    def after_reconnect(self) -> Memory:
        """What is left when the agent has connected anew: the guest may have restarted its network, or itself.

        The loopback will tell whether it has.
        """
        holders = {key: Sight(one.name, one.mac, None) for key, one in self.holders.items()}
        loopback = {name: known for name, known in self.known.items() if name in LOOPBACKS}
        return Memory(known=loopback, holders=holders, lost=self.lost)


_counters = attrgetter(*(one.name for one in fields(Statistics)))
_name = attrgetter("name")
_Named = TypeVar("_Named", GuestInterface, "Folded")


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
    for interface in _sorted(reply.interfaces, _by_all):
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
    return _sorted(folded, lambda one: _by_all(one.interface))


def _sorted(named: Sequence[_Named], by_all: Callable[[_Named], tuple[object, ...]]) -> list[_Named]:
    """By name, which is enough where no name is there twice: in all but hostile and half-renamed guests."""
    return sorted(named, key=_name if len(set(map(_name, named))) == len(named) else by_all)


def _by_all(interface: GuestInterface) -> tuple[str, str, tuple[object, ...], tuple[int, ...]]:
    """All that there is: of two entries with one name and one MAC the same must come first, however they are listed."""
    counters = () if interface.statistics is None else _counters(interface.statistics)
    return (interface.name, interface.mac or "", interface.addresses, tuple(-1 if n is None else n for n in counters))


def same_shape(left: GuestReply, right: GuestReply) -> bool:
    """Whether two replies of one pass, `left` first, show the same names with the same MACs, and none counted less."""
    earlier, later = fold(left), fold(right)
    if _shape(earlier) != _shape(later):
        return False
    first, second = sights(earlier), sights(later)
    return all(continues(first[name].counters, second[name].counters) is not False for name in first)


def _shape(interfaces: Sequence[Folded]) -> list[tuple[str, str]]:
    return sorted((one.name, one.mac or "") for one in interfaces)


def sights(interfaces: Iterable[Folded]) -> dict[str, Sight]:
    """The interfaces by name; not those whose name is there twice."""
    names = Counter(one.name for one in interfaces)
    return {one.name: Sight(one.name, one.mac, one.interface.statistics) for one in interfaces if names[one.name] == 1}


def before(memory: Memory) -> dict[Hashable, Sight]:
    """What the last pass saw, by name."""
    return {name: Sight(name, known.mac, known.counters) for name, known in memory.known.items()}


def trusted(interfaces: Sequence[Folded], memory: Memory, *, macs: Collection[str]) -> dict[str, Probe]:
    """The probes of earlier passes that still hold, by name: of interfaces proved to be the same, and no others.

    An interface that has carried nothing yet cannot be told from another one, if its guest counts at all. What could
    not be read once stays unread while name and MAC stay.
    """
    now, seen = sights(interfaces), before(memory)
    devices = {name for name, known in memory.known.items() if known.probe is not None and known.probe.device}
    course = Course(seen, now, devices=devices, macs=macs)
    found: dict[str, Probe] = {}
    # Devices first: what they are matters, should there be too much to compare.
    for name, known in sorted(memory.known.items(), key=lambda item: item[0] not in devices):
        if known.probe is None or not known.sure or not course.stays(name):
            continue
        if known.probe.device is not None:
            if known.counters is not None and not seen[name].counted:
                continue
            if course.became(name) != now[name]:
                continue
        found[name] = known.probe
    return found


def unmoved(asked: GuestReply, reply: GuestReply, names: Iterable[str]) -> set[str]:
    """Those of `names` that cannot have changed hands between two replies of one pass."""
    first, second = sights(fold(asked)), sights(fold(reply))
    course = Course(dict(first.items()), second)
    return {name for name in names if name in second and course.stays(name) and course.became(name) == second[name]}
