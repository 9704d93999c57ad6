"""What the name of a guest interface speaks for. Shapes only ever rule out: an honest guest may call a NIC anything.

The lists hold what Linux, its container and VPN programs, BSD and Windows call interfaces that are made of software.
"""

from __future__ import annotations

import re
from functools import lru_cache

from nicmapd.model import StackKind

#: Longest Linux interface name, IFNAMSIZ - 1 (include/uapi/linux/if.h).
_LINUX_NAME_BYTES = 15

_KINDS: tuple[tuple[StackKind, re.Pattern[str]], ...] = (
    (StackKind.VLAN, re.compile(r".+\.\d{1,4}(\.\d{1,4})?|vlan[-_.]?\w*", re.ASCII)),
    (StackKind.BOND, re.compile(r"(bond|team|lagg|nm-bond|nm-team)[-_.]?\w*", re.ASCII)),
    (StackKind.BRIDGE, re.compile(r"(br|virbr|vmbr|lxcbr|lxdbr|incusbr|docker|cni|bridge|xenbr|ovs-?br)[-_.]?\w*")),
    (StackKind.MACVLAN, re.compile(r"(macvlan|macvtap|ipvlan|ipvtap|mv|vepa)[-_.]?\d*", re.ASCII)),
)

#: Made of software, and not known to stand on a NIC.
_OTHER = re.compile(
    r"(lo|dummy|ifb|tap|tun|utun|veth|vnet|vti|gre|gretap|erspan|sit|ip6tnl|ip6gre|ip6_vti|ip_vti|tunl|teql|nlmon|"
    r"bonding_masters|wg|tailscale|zt|cali|flannel|cilium|lxc|weave|kube-ipvs|nodelocaldns|vxlan|geneve|ovs|podman|"
    r"ppp|wwan|vrf|nebula|awdl|llw|gif|stf|ap|anpi|bridge|enc|pflog|pfsync|vboxnet|vmnet)[-_.]?\w*",
    re.ASCII,
)
#: Never counted as standing on a NIC although it may show that NIC's MAC.
_APART = re.compile(r"(dummy|ifb|lo|nlmon|veth|tap|tun|vnet)[-_.]?\w*", re.ASCII)
_WINDOWS = re.compile(
    r"(loopback pseudo-interface|vethernet|teredo|isatap|6to4|local area connection\*).*", re.IGNORECASE
)

#: What an address of a NIC in the REST layer looks like, so that an equal guest name cannot be asked for.
_MAC_LIKE = re.compile(r"[0-9A-Fa-f]{2}([:-][0-9A-Fa-f]{2}){5}")


def kind(name: str) -> StackKind | None:
    """What an interface of that name usually is, if it is something that stands on others."""
    for found, pattern in _KINDS:
        if pattern.fullmatch(name):
            return found
    return None


@lru_cache(maxsize=4096)
def speaks_against(name: str) -> bool:
    """Whether the name is one of software's, so that without proof it is not taken for a NIC's."""
    return kind(name) is not None or _OTHER.fullmatch(name) is not None or _WINDOWS.fullmatch(name) is not None


#: What kernels, udev and Windows call a NIC that nobody has named; used only where a rename cannot be proved.
_USUAL = re.compile(
    r"(eth|en[a-z]?|ens|eno|enp|enx|em|net|lan|wan|vtnet|vmx|ix|igb|igc|ixl|re|bge|p\d+p|ib)\w*|"
    r"(ethernet|local area connection|lan-verbindung|以太网|イーサネット)( .*)?",
    re.IGNORECASE,
)


def usual(name: str) -> bool:
    """Whether a NIC is commonly called so."""
    return _USUAL.fullmatch(name) is not None and not speaks_against(name)


def stands_apart(name: str) -> bool:
    """Whether the name is of something that carries no traffic of a NIC even if it shows its MAC."""
    return _APART.fullmatch(name) is not None


def linux_name(name: str) -> bool:
    """Whether Linux could give this name (net/core/dev.c, dev_valid_name); cleaned names with escapes may not fit."""
    return (
        0 < len(name.encode()) <= _LINUX_NAME_BYTES
        and name not in (".", "..")
        and not any(character in "/:" or character.isspace() for character in name)
    )


def parent_of_label(name: str) -> str | None:
    """`eth0` for the address label `eth0:1` (also text: `net1:vip`); None if the name is no label.

    Linux lets no interface have a colon in its name; a label is as short as a name (IFA_LABEL, IFNAMSIZ). What is
    longer, a MAC say, is the name of something that is no Linux interface.
    """
    stem, colon, _label = name.partition(":")
    return stem if colon and linux_name(stem) and len(name.encode()) <= _LINUX_NAME_BYTES else None


def reachable(name: str) -> bool:
    """Whether a URL can ask for this name: it is no MAC, no `alias:` or `dev:`, and one plain path segment."""
    return not (
        _MAC_LIKE.fullmatch(name) or name.startswith(("alias:", "dev:")) or "/" in name or name in ("", ".", "..")
    )
