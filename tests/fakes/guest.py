"""A guest's network as a model: devices, what is built on them, and the replies and sysfs answers that follow.

It knows the truth, so that what the join makes of its replies can be held against it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from nicmapd.model import GuestInterface, GuestReply, HostNic, Probe, StackKind, Statistics


@dataclass
class Interface:
    """One interface. `slot` is set for devices; `base` are the counters that it began with."""

    name: str
    mac: str
    slot: int | None = None
    kind: StackKind | None = None
    permanent: str = ""
    rx: int = 0
    tx: int = 0
    hidden: bool = False
    bond: str | None = None

    @property
    def statistics(self) -> Statistics:
        return Statistics(self.rx * 100, self.rx, 0, 0, self.tx * 100, self.tx, 0, 0)


def mac_of(number: int) -> str:
    return f"52:54:00:00:00:{number:02x}"


@dataclass
class ModelGuest:
    """`devices` NICs, eth0 and so on. With `twins` all counters stay equal: nothing tells devices apart."""

    devices: int = 3
    twins: bool = False
    interfaces: list[Interface] = field(default_factory=list)
    bare: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.boot()

    def boot(self) -> None:
        """A new start: every device under its first name and MAC, nothing built on them."""
        self.interfaces = [
            Interface(
                f"eth{number}",
                mac_of(number),
                slot=number,
                permanent=mac_of(number),
                # One leads in what it received, another in what it sent: no device can be taken for another.
                rx=0 if self.twins else 1000 * (number + 1),
                tx=0 if self.twins else 1000 * (self.devices - number),
            )
            for number in range(self.devices)
        ]

    # -- what there is

    def nics(self) -> list[HostNic]:
        """The NICs of the domain XML: PCI bus numbers differ from the guest's, the path does not."""
        return [
            HostNic(
                mac_of(number), "network", f"net{number}", f"0000:{number + 1:02x}:00.0", slots=((2, number), (0, 0))
            )
            for number in range(self.devices)
        ]

    def truth(self) -> list[str | None]:
        """Of each NIC the name in the guest's main namespace."""
        shown = {one.slot: one.name for one in self.interfaces if one.slot is not None and not one.hidden}
        return [shown.get(number) for number in range(self.devices)]

    def shown(self) -> list[Interface]:
        return [one for one in self.interfaces if not one.hidden]

    def real(self) -> list[Interface]:
        return [one for one in self.shown() if one.slot is not None]

    def soft(self) -> list[Interface]:
        return [one for one in self.shown() if one.slot is None]

    def reply(self, order: list[int] | None = None, *, statistics: bool = True) -> GuestReply:
        """What the agent lists, `order` being any numbers to sort by."""
        entries = [GuestInterface("lo", None)]
        entries += [
            GuestInterface(
                one.name, None if one.name in self.bare else one.mac, (), one.statistics if statistics else None
            )
            for one in self.shown()
        ]
        keys = order or []
        numbered = sorted(enumerate(entries), key=lambda item: keys[item[0] % len(keys)] if keys else 0)
        return GuestReply(tuple(entry for _, entry in numbered))

    def probe(self, name: str) -> Probe:
        """What sysfs says of the interface that bears that name at this moment."""
        one = next((each for each in self.shown() if each.name == name), None)
        if one is None or one.slot is None:
            return Probe(device=False, kind=one.kind if one else None)
        return Probe(True, f"0000:{one.slot + 7:02x}:00.0", None, ((2, one.slot), (0, 0)))

    # -- what happens in it; each does nothing where it is not possible

    def names(self) -> set[str]:
        return {one.name for one in self.interfaces}

    def rename(self, which: int, name: str) -> None:
        here = self.shown()
        if here and name not in self.names():
            here[which % len(here)].name = name

    def swap_names(self, first: int, second: int) -> None:
        here = self.shown()
        if len(here) > 1:
            one, other = here[first % len(here)], here[second % len(here)]
            one.name, other.name = other.name, one.name

    def swap_macs(self, first: int, second: int) -> None:
        here = [one for one in self.real() if one.bond is None]
        if len(here) > 1:
            one, other = here[first % len(here)], here[second % len(here)]
            one.mac, other.mac = other.mac, one.mac

    def set_mac(self, which: int, number: int) -> None:
        here = [one for one in self.real() if one.bond is None]
        if here:
            here[which % len(here)].mac = mac_of(number)

    def add(self, kind: StackKind | None, name: str, which: int) -> None:
        """Something with the MAC of an interface: a VLAN, bridge, macvlan, or (None) a dummy that only claims it."""
        here = self.shown()
        if here and name not in self.names():
            self.interfaces.append(Interface(name, here[which % len(here)].mac, kind=kind))

    def vlan(self, which: int) -> None:
        here = self.shown()
        if here:
            self.add(StackKind.VLAN, f"{here[which % len(here)].name[:10]}.100", which)

    def remove(self, which: int) -> None:
        here = self.soft()
        if here:
            gone = here[which % len(here)]
            self.interfaces.remove(gone)
            for one in self.interfaces:
                if one.bond == gone.name:
                    one.bond, one.mac = None, one.permanent

    def bond(self, name: str) -> None:
        """All devices that are free become members of a bond and take the first one's MAC."""
        members = [one for one in self.real() if one.bond is None]
        if len(members) > 1 and name not in self.names():
            for one in members:
                one.bond, one.mac = name, members[0].mac
            self.interfaces.append(Interface(name, members[0].mac, kind=StackKind.BOND, rx=1, tx=1))

    def hide(self, which: int) -> None:
        """A device goes to another network namespace; what stood on it stays."""
        here = self.real()
        if here:
            here[which % len(here)].hidden = True

    def show(self, which: int) -> None:
        hidden = [one for one in self.interfaces if one.hidden]
        if hidden:
            back = hidden[which % len(hidden)]
            if sum(1 for one in self.interfaces if one.name == back.name) == 1:
                back.hidden = False

    def traffic(self, which: int) -> None:
        here = self.shown()
        if here and not self.twins:
            one = here[which % len(here)]
            one.rx, one.tx = one.rx + 1, one.tx + 1

    def copy(self) -> ModelGuest:
        return replace(self, interfaces=[replace(one) for one in self.interfaces], bare=set(self.bare))
