"""Replies of honest guests: Linux, Windows, BSD, macOS, container hosts, nested hypervisors."""

from __future__ import annotations

from tests.unit.replies.case import LO, LOOPBACK, MAC, OTHER_MAC, Case, entry, lo

COUNTERS = {f"{way}-{what}": 5_000_000_000 for way in ("rx", "tx") for what in ("bytes", "packets", "errs", "dropped")}

LINUX = [
    Case(
        "debian",
        [lo(), entry("ens3", MAC, ["192.0.2.10/24", "fe80::5054:ff:fe12:3456/64"], statistics=COUNTERS)],
        [("ens3", MAC, ("192.0.2.10/24", "fe80::5054:ff:fe12:3456/64")), LO],
    ),
    Case(
        "classic names",
        [lo(), entry("eth0", MAC), entry("eth1", OTHER_MAC)],
        [("eth0", MAC, ()), ("eth1", OTHER_MAC, ()), LO],
    ),
    Case(
        "predictable names",
        [entry("enp1s0", MAC), entry("ens18", OTHER_MAC), entry("enp6s18", "bc:24:11:00:00:01")],
        [("enp1s0", MAC, ()), ("enp6s18", "bc:24:11:00:00:01", ()), ("ens18", OTHER_MAC, ())],
    ),
    Case("the longest Linux name", [entry("abcdefghijklmno", MAC)], [("abcdefghijklmno", MAC, ())]),
    Case("booting: no address yet", [lo(), entry("eth0", MAC)], [("eth0", MAC, ()), LO]),
    Case("addresses left out", [{"name": "eth0", "hardware-address": MAC}], [("eth0", MAC, ())]),
    Case("renaming: the MAC is missing once", [{"name": "rename2", "ip-addresses": []}], [("rename2", None, ())]),
    Case(
        "keys in another order",
        '{"return":[{"ip-addresses":[],"hardware-address":"52:54:00:12:34:56","name":"eth0"}]}',
        [("eth0", MAC, ())],
    ),
    Case(
        "spaces between tokens",
        ' { "return" : [ { "name" : "eth0" , "hardware-address" : "52:54:00:12:34:56" } ] } \n',
        [("eth0", MAC, ())],
    ),
    Case(
        "an id beside it",
        '{"id":7,"return":[{"name":"eth0","hardware-address":"52:54:00:12:34:56"}]}',
        [("eth0", MAC, ())],
    ),
    Case(
        "labels after their parent",
        [entry("eth1", MAC, ["192.0.2.1/24"]), entry("eth1:0", MAC, ["192.0.2.2/24"])],
        [("eth1", MAC, ("192.0.2.1/24",)), ("eth1:0", MAC, ("192.0.2.2/24",))],
    ),
    Case(
        "a label before its parent",
        [entry("ens20:1", MAC, ["192.0.2.2/24"]), entry("ens20", MAC)],
        [("ens20", MAC, ()), ("ens20:1", MAC, ("192.0.2.2/24",))],
    ),
    Case(
        "a label of words, without its parent",
        [entry("net1:vip", MAC, ["192.0.2.9/32"])],
        [("net1:vip", MAC, ("192.0.2.9/32",))],
    ),
    Case(
        "a bond over two NICs",
        [entry("bond0", MAC, ["192.0.2.1/24"]), entry("eth0", MAC), entry("eth1", MAC)],
        [("bond0", MAC, ("192.0.2.1/24",)), ("eth0", MAC, ()), ("eth1", MAC, ())],
    ),
    Case(
        "a VLAN",
        [entry("eth0", MAC), entry("eth0.100", MAC, ["198.51.100.1/24"])],
        [("eth0", MAC, ()), ("eth0.100", MAC, ("198.51.100.1/24",))],
    ),
    Case(
        "a failover pair shares one MAC",
        [entry("ens3", MAC), entry("ens3nsby", MAC), entry("ens4", MAC)],
        [("ens3", MAC, ()), ("ens3nsby", MAC, ()), ("ens4", MAC, ())],
    ),
    Case(
        "a tunnel without octets",
        [entry("tun0", LOOPBACK, ["192.0.2.1/32"]), entry("wg0", "", ["192.0.2.2/32"])],
        [("tun0", None, ("192.0.2.1/32",)), ("wg0", None, ("192.0.2.2/32",))],
    ),
    Case("InfiniBand has 20 octets", [entry("ib0", ":".join(["80"] * 20))], [("ib0", None, ())]),
    Case(
        "OpenWrt",
        [entry("br-lan", MAC, ["192.0.2.1/24"]), entry("lan1", MAC)],
        [("br-lan", MAC, ("192.0.2.1/24",)), ("lan1", MAC, ())],
    ),
    Case(
        "a locally administered MAC of its own",
        [entry("eth0", "02:42:ac:11:00:02")],
        [("eth0", "02:42:ac:11:00:02", ())],
    ),
    Case(
        "a nested hypervisor: all addresses on the bridge",
        [entry("enp6s18", MAC, None), entry("vmbr0", MAC, ["192.0.2.3/24"], statistics=COUNTERS)],
        [("enp6s18", MAC, ()), ("vmbr0", MAC, ("192.0.2.3/24",))],
    ),
    Case(
        "Calico: seven veths, one MAC",
        [entry(f"cali{n}", "ee:ee:ee:ee:ee:ee") for n in range(7)],
        [(f"cali{n}", "ee:ee:ee:ee:ee:ee", ()) for n in range(7)],
    ),
    Case(
        "docker0 before the NIC",
        [entry("docker0", "02:42:00:00:00:01", ["172.17.0.1/16"]), entry("eth0", MAC)],
        [("docker0", "02:42:00:00:00:01", ("172.17.0.1/16",)), ("eth0", MAC, ())],
    ),
    Case(
        "a container host",
        [entry(f"veth{n:03d}", f"02:00:00:00:00:{n:02x}") for n in range(120)] + [entry("eth0")],
        [("eth0", MAC, ())] + [(f"veth{n:03d}", f"02:00:00:00:00:{n:02x}", ()) for n in range(120)],
    ),
    Case(
        "tailscale before the NIC",
        [entry("tailscale0", None, ["100.64.0.1/32"]), entry("eth0", MAC)],
        [("eth0", MAC, ()), ("tailscale0", None, ("100.64.0.1/32",))],
    ),
]

OTHERS = [
    Case(
        "Windows",
        [
            entry("Ethernet", MAC, ["192.0.2.4/24"]),
            {"name": "Loopback Pseudo-Interface 1", "ip-addresses": [{"ip-address": "::1", "prefix": 128}]},
        ],
        [("Ethernet", MAC, ("192.0.2.4/24",)), ("Loopback Pseudo-Interface 1", None, ("::1/128",))],
    ),
    Case(
        "Windows, the second one",
        [entry("Ethernet 2", MAC), entry("Ethernet Instance 0 2", OTHER_MAC)],
        [("Ethernet 2", MAC, ()), ("Ethernet Instance 0 2", OTHER_MAC, ())],
    ),
    Case("Windows in Chinese", [entry("以太网 2", MAC)], [("以太网 2", MAC, ())]),
    Case("Windows in French", [entry("Connexion au réseau local", MAC)], [("Connexion au réseau local", MAC, ())]),
    Case(
        "Windows with WSL",
        [entry("vEthernet (WSL)", OTHER_MAC), entry("Ethernet", MAC)],
        [("Ethernet", MAC, ()), ("vEthernet (WSL)", OTHER_MAC, ())],
    ),
    Case(
        "Windows: zones are numbers", [entry("Ethernet", MAC, ["fe80::1%6/64"])], [("Ethernet", MAC, ("fe80::1/64",))]
    ),
    Case(
        "Teredo and isatap",
        [entry("Teredo Tunneling", "00-00-00-00-00-00-00-E0"), entry("isatap", LOOPBACK)],
        [("Teredo Tunneling", None, ()), ("isatap", None, ())],
    ),
    Case(
        "MACs with dashes, in capitals",
        [entry("Ethernet", "52-54-00-AB-CD-EF")],
        [("Ethernet", "52:54:00:ab:cd:ef", ())],
    ),
    Case(
        "FreeBSD",
        [entry("vtnet0", MAC, ["192.0.2.6/24"]), entry("lo0", None, ["fe80::1%lo0/64"])],
        [("lo0", None, ("fe80::1/64",)), ("vtnet0", MAC, ("192.0.2.6/24",))],
    ),
    Case("octets without padding", [entry("vtnet0", "52:54:0:1:2:f")], [("vtnet0", "52:54:00:01:02:0f", ())]),
    Case("zeros without padding", [entry("lo0", "0:0:0:0:0:0")], [("lo0", None, ())]),
    Case(
        "macOS",
        [entry("en0", MAC, ["192.0.2.7/24"]), entry("utun0", "", ["fe80::2%utun0"])],
        [("en0", MAC, ("192.0.2.7/24",)), ("utun0", None, ("fe80::2",))],
    ),
]

ADDRESSES = [
    Case("a zone", [entry("br0", MAC, ["fe80::1%br0"])], [("br0", MAC, ("fe80::1",))]),
    Case(
        "a prefix as text",
        [entry("eth0", MAC, [{"ip-address": "2001:db8::1", "prefix": "64"}])],
        [("eth0", MAC, ("2001:db8::1/64",))],
    ),
    Case(
        "a prefix out of range",
        [entry("eth0", MAC, [{"ip-address": "192.0.2.1", "prefix": 99}])],
        [("eth0", MAC, ("192.0.2.1",))],
    ),
    Case(
        "prefixes that are none",
        [
            entry(
                "eth0",
                MAC,
                [
                    {"ip-address": f"192.0.2.{n}", "prefix": prefix}
                    for n, prefix in enumerate((-1, 24.0, True, "x", [], "24 "), 1)
                ],
            )
        ],
        [("eth0", MAC, tuple(f"192.0.2.{n}" for n in range(1, 7)))],
    ),
    Case(
        "a v4 address marked ipv6",
        [entry("eth0", MAC, [{"ip-address-type": "ipv6", "ip-address": "192.0.2.1", "prefix": 24}])],
        [("eth0", MAC, ("192.0.2.1/24",))],
    ),
    Case("no family", [entry("eth0", MAC, [{"ip-address": "2001:db8::1"}])], [("eth0", MAC, ("2001:db8::1",))]),
    Case(
        "not in canonical form", [entry("eth0", MAC, ["2001:0DB8:0:0::0001/64"])], [("eth0", MAC, ("2001:db8::1/64",))]
    ),
    Case(
        "duplicates",
        [entry("eth0", MAC, ["192.0.2.1/24", "192.0.2.1", "192.0.2.1/16", "2001:DB8::1", "2001:db8::1"])],
        [("eth0", MAC, ("192.0.2.1/24", "2001:db8::1"))],
    ),
    Case(
        "duplicates in another order",
        [entry("eth0", MAC, ["192.0.2.1/16", "192.0.2.1", "192.0.2.1/24"])],
        [("eth0", MAC, ("192.0.2.1/24",))],
    ),
    Case(
        "nothing behind them",
        [entry("eth0", MAC, ["", "0.0.0.0/0", "::/0", "192.0.2.1/24"])],
        [("eth0", MAC, ("192.0.2.1/24",))],
    ),
    Case(
        "addresses that are none",
        [entry("eth0", MAC, ["invalid", "192.0.2.256", "192.0.2.1/24", "::1::2", "1" * 9999])],
        [("eth0", MAC, ("192.0.2.1/24",))],
        faults=["interface eth0: an address is none"],
    ),
    Case(
        "addresses that are no objects",
        [entry("eth0", MAC, [None, 7, ["192.0.2.1"], {"ip-address": 9}])],
        [("eth0", MAC, ())],
        faults=["interface eth0: an address is missing"],
    ),
    Case("addresses are null", [entry("eth0", MAC, None)], [("eth0", MAC, ())]),
    Case("addresses are an object", [entry("eth0", MAC, {"ip-address": "192.0.2.1"})], [("eth0", MAC, ())]),
    Case("addresses are text", [entry("eth0", MAC, "192.0.2.1")], [("eth0", MAC, ())]),
    Case(
        "more addresses than are kept",
        [entry("eth0", MAC, [f"2001:db8::{n:04x}/64" for n in range(0x1000, 0x1041)])],
        [("eth0", MAC, tuple(f"2001:db8::{n:04x}/64" for n in range(0x1000, 0x1040)))],
        faults=["interface eth0 has more than 64 addresses"],
    ),
]

SYSTEMS = [*LINUX, *OTHERS, *ADDRESSES]
