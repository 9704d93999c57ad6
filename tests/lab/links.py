"""Changes of a guest's network from the inside, and its state as the guest's own `ip` tells it."""

from __future__ import annotations

import re
import shlex
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

LINK = re.compile(r"^\d+: (?P<name>.+?)(?:@(?P<parent>\S+?))?: <(?P<flags>[^>]*)>.* link/\S+ (?P<mac>[0-9a-f:]+)")


@dataclass(frozen=True, slots=True)
class Link:
    """One network interface of a guest. `parent` is set for a VLAN or macvlan, `up` is the administrative state."""

    name: str
    mac: str
    up: bool
    parent: str = ""


@dataclass(frozen=True, slots=True)
class Device:
    """A NIC of a guest: the PCI address of the device, and the name and MAC that the guest gives it now."""

    pci: str
    name: str
    mac: str


class GuestNetwork(ABC):
    """The part of Guest that changes and lists interfaces; each method ends when the change is done."""

    @abstractmethod
    def check(self, script: str, *, within: float = 10.0) -> str:
        """Run a script, which must succeed, in the guest; what it printed."""

    # --- the truth ---

    def links(self) -> dict[str, Link]:
        """Name -> interface, of all interfaces in the guest's first network namespace."""
        found = (LINK.match(line) for line in self.check("ip -o link").splitlines())
        links = [
            Link(name=m["name"], mac=m["mac"], up="UP" in m["flags"].split(","), parent=m["parent"] or "")
            for m in found
            if m
        ]
        return {link.name: link for link in links}

    def devices(self) -> dict[str, Device]:
        """PCI address -> NIC: which interface is which device, whatever names and MACs say."""
        script = """for nic in /sys/class/net/*/device; do
            [ -e "$nic" ] || continue
            net=${nic%/device}
            echo "$(sed -n s/PCI_SLOT_NAME=//p "$nic/../uevent") $(cat "$net/address") ${net##*/}"
        done"""
        lines = (line.split(" ", 2) for line in self.check(script).splitlines())
        return {pci: Device(pci=pci, name=name, mac=mac) for pci, mac, name in lines}

    def addresses(self, name: str) -> list[str]:
        """The addresses with prefix ("192.0.2.5/24") of an interface, without link-local ones."""
        return self.check(f"lab-addresses {shlex.quote(name)}").split()

    # --- names, MACs, addresses ---

    def rename(self, old: str, new: str) -> None:
        """Give an interface another name, as udev does: it is down for a moment."""
        old, new = shlex.quote(old), shlex.quote(new)
        self.check(f"ip link set {old} down && ip link set {old} name {new} && ip link set {new} up")

    def swap_names(self, first: str, second: str) -> None:
        """Let two interfaces have each other's name."""
        a, b = shlex.quote(first), shlex.quote(second)
        self.check(
            f"ip link set {a} down && ip link set {b} down && ip link set {a} name labswap && ip link set {b} name {a}"
            f" && ip link set labswap name {b} && ip link set {a} up && ip link set {b} up"
        )

    def set_mac(self, name: str, mac: str) -> None:
        """Let the guest use another MAC than the one of its XML."""
        name = shlex.quote(name)
        self.check(f"ip link set {name} down && ip link set {name} address {mac} && ip link set {name} up")

    def add_address(self, name: str, address: str) -> None:
        """Add an address with prefix, e.g. "192.0.2.5/24"."""
        self.check(f"ip address add {address} dev {shlex.quote(name)}")

    def dhcp(self, name: str) -> str:
        """Get an address from the network's DHCP (3.5 s); the address with prefix."""
        quoted = shlex.quote(name)
        self.check(f"udhcpc -n -q -t 10 -T 1 -i {quoted} -s /bin/lab-dhcp", within=15)
        return self.addresses(name)[0]

    def set_up(self, name: str) -> None:
        self.check(f"ip link set {shlex.quote(name)} up")

    def set_down(self, name: str) -> None:
        self.check(f"ip link set {shlex.quote(name)} down")

    # --- more interfaces ---

    def add_vlan(self, parent: str, number: int, *, name: str = "") -> str:
        """Put a VLAN (default name `parent.number`) on an interface; its name."""
        name = name or f"{parent}.{number}"
        return self._add("8021q", name, f"type vlan id {number}", parent=parent)

    def add_macvlan(self, parent: str, name: str = "macvlan0") -> str:
        """Put a macvlan with a MAC of its own on an interface; its name."""
        return self._add("macvlan", name, "type macvlan", parent=parent)

    def add_dummy(self, name: str = "dummy0", *, mac: str = "") -> str:
        """Add a dummy, optionally with somebody else's MAC; its name."""
        self._add("dummy", name, "type dummy")
        if mac:
            self.set_mac(name, mac)
        return name

    def add_veth(self, name: str = "veth0", peer: str = "veth1") -> str:
        """Add a pair of virtual interfaces; the name of the first."""
        # busybox knows no "peer name": the kernel names the peer, which is then found by its index.
        self.check(
            f"""lab-load veth && ip link add name labveth type veth || exit
            for link in /sys/class/net/*; do
              [ "$(cat $link/ifindex)" = "$(cat /sys/class/net/labveth/iflink)" ] && other=${{link##*/}}
            done
            ip link set $other name labpeer && ip link set labpeer name {shlex.quote(peer)}
            ip link set labveth name {shlex.quote(name)}"""
        )
        self.set_up(name)
        self.set_up(peer)
        return name

    def add_bond(self, members: Sequence[str], *, mode: str = "active-backup", name: str = "bond0") -> str:
        """Bond interfaces; all of them then show one MAC. Its name."""
        quoted, folder = shlex.quote(name), shlex.quote(f"/sys/class/net/{name}/bonding")
        self._add("bonding", name, "type bond", up=False)
        self.check(f"echo {mode} > {folder}/mode && ip link set {quoted} up")
        for member in map(shlex.quote, members):
            self.check(f"ip link set {member} down && echo +{member} > {folder}/slaves && ip link set {member} up")
        return name

    def add_bridge(self, members: Sequence[str] = (), *, name: str = "br0") -> str:
        """Bridge interfaces; the bridge takes over a member's MAC. Its name."""
        quoted = shlex.quote(name)
        self.check(f"lab-load bridge && brctl addbr {quoted} && ip link set {quoted} up")
        for member in map(shlex.quote, members):
            self.check(f"brctl addif {quoted} {member}")
        return name

    def delete_link(self, name: str) -> None:
        """Delete a bond, bridge, VLAN or other virtual interface."""
        self.check(f"ip link delete {shlex.quote(name)}")

    def move_to_netns(self, name: str) -> int:
        """Move an interface into a new network namespace, out of the agent's sight; the PID that keeps that alive."""
        script = f"""unshare -n sleep 2147483647 & holder=$!
            while [ "$(readlink /proc/$holder/ns/net)" = "$(readlink /proc/self/ns/net)" ]; do usleep 10000; done
            echo $holder | tee -a /run/lab/namespaces
            ip link set {shlex.quote(name)} netns $holder"""
        return int(self.check(script))

    def end_netns(self, holder: int) -> None:
        """End a namespace of move_to_netns(): its NIC comes back soon after, VLANs and other virtual ones vanish."""
        self.check(f"kill -KILL {holder}")

    def _add(self, module: str, name: str, kind: str, *, parent: str = "", up: bool = True) -> str:
        quoted = shlex.quote(name)
        link = f"link {shlex.quote(parent)} " if parent else ""
        then = f" && ip link set {quoted} up" if up else ""
        self.check(f"lab-load {module} && ip link add {link}name {quoted} {kind}{then}")
        return name
