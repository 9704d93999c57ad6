"""Replies of all kinds of guests, each with the map that follows where nothing can be probed.

A line is: what it is | the interfaces, as `name=MAC` | the names expected, one a NIC. The NICs have the MACs A, B, C;
`0` is the all-zero MAC, `-` none at all. A name expected is `!` for unseen and `?x,y` for not certain with these
candidates. A no-break space stands for a space.
"""

from __future__ import annotations

import json
import random

import pytest
from _pytest.mark import ParameterSet

from nicmapd import agent
from nicmapd.join import Memory, Reading, join, questions
from nicmapd.model import HostNic, Naming, Probe, StackKind, Verdict

A, B, C = "52:54:00:00:00:0a", "52:54:00:00:00:0b", "52:54:00:00:00:0c"
MACS = {"A": A, "B": B, "C": C, "0": "00:00:00:00:00:00", "X": "02:42:ac:11:00:02", "E": "ee:ee:ee:ee:ee:ee"}

TABLE = """
Linux, one NIC                      | lo=0 eth0=A                                   | eth0
Linux, two NICs                     | lo=0 eth0=A eth1=B                            | eth0 eth1
Linux, names crossed                | lo=0 eth1=A eth0=B                            | eth1 eth0
predictable names                   | lo=0 enp1s0=A enp6s18=B                       | enp1s0 enp6s18
names by slot and by MAC            | lo=0 ens18=A enx52540000000b=B                | ens18 enx52540000000b
loopback last                       | eth0=A lo=0                                   | eth0
no loopback                         | eth0=A                                        | eth0
three NICs, one hidden              | lo=0 eth0=A eth2=C                            | eth0 ! eth2
none shown                          | lo=0                                          | !
another guest's MAC only            | lo=0 eth0=X                                   | !
NIC set down, still listed          | lo=0 eth0=A eth1=B                            | eth0 eth1
during boot, no addresses           | eth0=A                                        | eth0
name of one letter                  | lo=0 a=A                                      | a
name with a dash and a dot          | lo=0 lan-1=A wan.up=B                         | lan-1 wan.up
Windows, one NIC                    | Ethernet=A Loopback\u00a0Pseudo-Interface\u00a01=-  | Ethernet
Windows, two NICs                   | Ethernet\u00a02=A Ethernet=B                  | Ethernet\u00a02 Ethernet
Windows, instances | Instance\u00a00=A Instance\u00a00\u00a02=B | Instance\u00a00 Instance\u00a00\u00a02
Windows, Hyper-V switch             | vEthernet\u00a0(WSL)=X Ethernet=A             | Ethernet
Windows, switch with the NIC's MAC  | vEthernet\u00a0(LAN)=A Ethernet=A             | Ethernet
Windows in Chinese                  | 以太网\u00a02=A                                | 以太网\u00a02
Windows in German                   | Ethernet\u00a03=A LAN-Verbindung=B            | Ethernet\u00a03 LAN-Verbindung
Windows, Teredo and isatap          | Teredo\u00a0Tunneling=0 isatap.lan=0 Ethernet=A | Ethernet
Windows, NIC down is not listed     | Ethernet=A                                    | Ethernet !
FreeBSD                             | lo0=- vtnet0=A vtnet1=B                       | vtnet0 vtnet1
FreeBSD, VLAN                       | vtnet0=A vlan7=A lo0=-                        | vtnet0
FreeBSD, lagg                       | vtnet0=A lagg0=A                              | vtnet0
macOS                               | lo0=- en0=A utun0=- awdl0=X llw0=X            | en0
OpenWrt                             | lo=0 eth0=A br-lan=A eth1=B                   | eth0 eth1
OpenWrt, wan VLAN                   | eth0=A eth0.2=A br-lan=A                      | eth0
VLAN on a NIC                       | lo=0 eth0=A eth0.100=A                        | eth0
VLAN before its NIC                 | eth0.100=A eth0=A                             | eth0
two VLANs                           | eth0=A eth0.100=A eth0.200=A                  | eth0
VLAN in a VLAN                      | eth0=A eth0.100=A eth0.100.7=A                | eth0
VLAN named vlan100                  | eth0=A vlan100=A                              | eth0
VLAN alone, the NIC in a namespace  | lo=0 eth0.100=A                               | !
vlan100 alone                       | lo=0 vlan100=A                                | !
bridge over a NIC                   | lo=0 br0=A eth0=A                             | eth0
bridge first                        | br0=A lo=0 eth0=A eth1=B                      | eth0 eth1
bridge alone                        | lo=0 br0=A                                    | !
nested hypervisor                   | lo=0 vmbr0=A enp6s18=A                        | enp6s18
libvirt in the guest                | virbr0=X eth0=A vnet0=X                       | eth0
bond of two                         | lo=0 bond0=A eth0=A eth1=A                    | ?eth0,eth1 !
bond of two and a third NIC         | bond0=A eth0=A eth1=A eth2=C                  | ?eth0,eth1 ! eth2
bond of one                         | bond0=A eth0=A eth1=B                         | eth0 eth1
team                                | team0=A ens3=A ens4=A                         | ?ens3,ens4 !
bond, one member in a namespace     | bond0=A eth1=A                                | ?eth1 !
bond alone                          | lo=0 bond0=A                                  | !
bridge over bond                    | br0=A bond0=A eth0=A eth1=A                   | ?eth0,eth1 !
bridge over VLAN over bond          | br0=A bond0.100=A bond0=A eth0=A eth1=A       | ?eth0,eth1 !
bond of the second and third        | eth0=A bond0=B eth1=B eth2=B                  | eth0 ?eth1,eth2 !
macvlan with its own MAC            | eth0=A mv0=X                                  | eth0
macvlan with the NIC's MAC          | eth0=A macvlan0=A                             | eth0
macvtap                             | eth0=A macvtap0=A                             | eth0
ipvlan                              | eth0=A ipvlan0=A                              | eth0
something odd with the NIC's MAC    | eth0=A svc=A                                  | ?eth0,svc
dummy with the NIC's MAC            | eth0=A dummy0=A                               | eth0
dummy alone with the NIC's MAC      | lo=0 dummy0=A                                 | !
tap with the NIC's MAC              | eth0=A tap0=A                                 | eth0
failover pair in the guest          | eth0=A ens4=A ens5=A                          | ?ens4,ens5,eth0
docker                              | docker0=X eth0=A veth12ab=X br-4f3a=X         | eth0
docker first, tailscale             | docker0=X tailscale0=- eth0=A                 | eth0
seven Calico veths                  | cali1=E cali2=E cali3=E cali4=E cali5=E cali6=E cali7=E ens3=A tunl0=0 | ens3
Calico with the NIC's MAC           | cali1=A ens3=A                                | ens3
flannel and cni                     | flannel.1=X cni0=X eth0=A                     | eth0
kube-ipvs                           | kube-ipvs0=X eth0=A nodelocaldns=X            | eth0
WireGuard and tun                   | wg0=- tun0=0 eth0=A                           | eth0
label after its parent              | eth0=A eth0:1=A                               | eth0
label before its parent             | eth0:1=A eth0=A                               | eth0
label without its parent            | lo=0 eth0:1=A                                 | eth0
text label                          | net1=A net1:vip=A                             | net1
two labels of two NICs              | eth1:0=B eth0=A eth0:0=A eth1=B               | eth0 eth1
label on a bond                     | bond0:1=A bond0=A eth0=A                      | eth0
label on a VLAN                     | eth0.5:1=A eth0.5=A eth0=A                    | eth0
equal names twice                   | eth0=A eth0=B                                 | ?eth0 ?eth0
equal names twice, one foreign      | eth0=A eth0=X                                 | ?eth0
one NIC claims the other's MAC      | eth0=A eth1=A                                 | ?eth0,eth1 !
all three with one MAC              | eth0=A eth1=A eth2=A                          | ?eth0,eth1,eth2 ! !
name like a MAC                     | 52:54:00:00:00:0b=A eth1=B                    | 52:54:00:00:00:0b eth1
name like an alias                  | net0=A net1=B                                 | net0 net1
markup as a name                    | <b>x=A                                        | <b>x
percent in a name                   | %41=A %2F=B                                   | %41 %2F
path as a name                      | ../../x=A                                     | ../../x
quotes and dollars                  | $(id)=A "x'=B                                 | $(id) "x'
escape sequence                     | \u001b[31m=A                                  | \\x1b[31m
right to left mark                  | \u202egnp=A                                   | \\u202egnp
zero width                          | et\u200bh0=A eth0=B                           | et\\u200bh0 eth0
NUL                                 | eth0\u0000x=A                                 | eth0\\x00x
lone surrogate                      | \ud800=A                                      | \\ud800
long name                           | LONG=A                                        | CUT
upper-case MAC                      | eth0=52:54:00:00:00:0A                        | eth0
MAC with dashes                     | eth0=52-54-00-00-00-0a                        | eth0
unpadded MAC                        | eth0=52:54:0:0:0:a                            | eth0
MAC of three octets                 | eth0=52:54:00                                 | !
MAC of eight octets                 | eth0=52:54:00:00:00:0a:00:00                  | !
MAC of twenty octets                | ib0=52:54:00:00:00:0a:00:00:52:54:00:00:00:0a:00:00:52:54:00:00 | !
MAC missing                         | eth0=-                                        | !
MAC of zeros, unpadded              | eth0=0:0:0:0:0:0                              | !
MAC that is text                    | eth0=none eth1=B                              | ! eth1
"""


def _cases() -> list[ParameterSet]:
    cases = []
    for line in TABLE.strip().splitlines():
        what, shown, expected = (part.strip(" ") for part in line.split("|"))
        cases.append(pytest.param(shown.split(" "), expected.split(" "), id=what))
    return cases


def _text(word: str) -> str:
    return word.replace("\u00a0", " ").replace("LONG", "n" * 1000)


def _reply(entries: list[tuple[str, str]]) -> str:
    listed = []
    for name, mac in entries:
        entry: dict[str, object] = {"name": name, "ip-addresses": []}
        if mac != "-":
            entry["hardware-address"] = MACS.get(mac, mac)
        listed.append(entry)
    return json.dumps({"return": listed})


def _shown(naming: Naming) -> str:
    if naming.verdict is Verdict.AMBIGUOUS:
        return "?" + ",".join(naming.candidates)
    return "!" if naming.name is None else naming.name


def _entries(words: list[str]) -> list[tuple[str, str]]:
    return [(_text(name), mac) for name, _, mac in (word.rpartition("=") for word in words if word)]


def _nics(count: int) -> list[HostNic]:
    return [HostNic(mac, "network", f"net{number}") for number, mac in enumerate((A, B, C)[:count])]


def _map(entries: list[tuple[str, str]], count: int) -> list[str]:
    reply = agent.parse_interfaces(_reply(entries), keep={A, B, C})
    joined, _ = join(Reading(_nics(count), reply, Memory()), probes={}, probing=False, previous=[None] * count)
    return [_shown(one.naming) for one in joined]


def test_the_table_is_long_enough() -> None:
    assert len(_cases()) >= 80


@pytest.mark.parametrize(("shown", "expected"), _cases())
def test_a_reply_gives_this_map_in_any_order(shown: list[str], expected: list[str]) -> None:
    wanted = [_text(word) for word in expected]
    entries = _entries(shown)
    for shuffle in range(6):
        random.Random(shuffle).shuffle(entries)
        found = _map(entries, len(wanted))
        if wanted == ["CUT"]:
            assert found[0].startswith("nnn")
            assert len(found[0]) <= 256
        else:
            assert found == wanted


def test_evidence_of_sysfs_settles_what_names_cannot() -> None:
    """The bond again, with probes: each member is the device at its place, the bond is software."""
    entries = _entries(["bond0=A", "eth0=A", "eth1=A"])
    reply = agent.parse_interfaces(_reply(entries))
    nics = [
        HostNic(A, "network", "net0", slots=((2, 0), (0, 0))),
        HostNic(B, "network", "net1", slots=((2, 1), (0, 0))),
    ]
    assert set(questions(Reading(nics, reply, Memory()))) == {"bond0", "eth0", "eth1"}
    probes = {
        "bond0": Probe(device=False, kind=StackKind.BOND),
        "eth0": Probe(True, "0000:05:00.0", slots=((2, 1), (0, 0))),
        "eth1": Probe(True, "0000:06:00.0", slots=((2, 0), (0, 0))),
    }
    joined, _ = join(Reading(nics, reply, Memory()), probes=probes, probing=True, previous=[None, None])
    assert [_shown(one.naming) for one in joined] == ["eth1", "eth0"]
    assert joined[1].naming.guest_mac == A
    assert [layer.name for layer in joined[0].naming.stack] == ["bond0"]


def test_a_teaming_pair_of_one_mac_is_told_apart_by_place_only() -> None:
    reply = agent.parse_interfaces(_reply(_entries(["ens3=A", "ens4=A", "eth0=A"])))
    pair = [
        HostNic(A, "network", "ua-virtio", slots=((2, 0), (0, 0))),
        HostNic(A, "hostdev", "ua-vf", slots=((2, 1), (0, 0))),
    ]
    probes = {
        "ens3": Probe(True, slots=((2, 0), (0, 0))),
        "ens4": Probe(True, slots=((2, 1), (0, 0))),
        "eth0": Probe(device=False),
    }
    joined, _ = join(Reading(pair, reply, Memory()), probes=probes, probing=True, previous=[None, None])
    assert [one.naming.name for one in joined] == ["ens3", "ens4"]
    joined, _ = join(Reading(pair, reply, Memory()), probes={}, probing=False, previous=[None, None])
    assert [one.naming.name for one in joined] == [None, None]
