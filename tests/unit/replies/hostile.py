"""Replies of guests that lie: each entry costs itself, and nothing else."""

from __future__ import annotations

import hashlib

from tests.unit.replies.case import MAC, OTHER_MAC, Case, Shown, entry

GOOD = entry("eth0", MAC, ["192.0.2.1/24"])
SEEN: Shown = ("eth0", MAC, ("192.0.2.1/24",))
LONG = "A" * 1_000_000
CUT = "A" * 247 + "…" + hashlib.sha256(LONG.encode()).hexdigest()[:8]


def renamed(id: str, name: str, shown: str) -> Case:
    """A name that is not harmless, and what is made of it."""
    return Case(f"name: {id}", [entry(name, MAC)], [(shown, MAC, ())])


NAMES = [
    renamed("ESC", "\x1b[31mred", "\\x1b[31mred"),
    renamed("right to left", "eth\u202e0", "eth\\u202e0"),
    renamed("NUL", "eth0\x00x", "eth0\\x00x"),
    renamed("newline", "eth0\nroot:x", "eth0\\x0aroot:x"),
    renamed("zero width", "eth\u200b0", "eth\\u200b0"),
    renamed("a blank that is none", "eth0\u00a0", "eth0\\xa0"),
    renamed("a blank letter", "\u3164", "\\u3164"),
    renamed("a lone surrogate", "\ud800", "\\ud800"),
    renamed("an unassigned character", "\U000e0fff", "\\U000e0fff"),
    renamed("markup", "<script>alert(1)</script>", "<script>alert(1)</script>"),
    renamed("a path", "../../etc/passwd", "../../etc/passwd"),
    renamed("percent", "%2F..%2F", "%2F..%2F"),
    renamed("SQL", "'; DROP TABLE nic; --", "'; DROP TABLE nic; --"),
    renamed("the MAC of another", OTHER_MAC, OTHER_MAC),
    renamed("an alias of libvirt", "net0", "net0"),
    renamed("emoji", "🦆", "🦆"),
    renamed("1 MB", LONG, CUT),
]


def beside(id: str, bad: object, fault: str) -> Case:
    """An entry that is dropped, beside one that stays."""
    return Case(f"entry: {id}", [bad, GOOD], [SEEN], dropped=1, faults=[fault])


ENTRIES = [
    beside("text", "eth1", "not an object"),
    beside("null", None, "not an object"),
    beside("a list", [GOOD], "not an object"),
    beside("true", True, "not an object"),
    beside("empty", {}, "no name"),
    beside("a number for a name", entry(7), "no name"),
    beside("an object for a name", entry({"a": 1}), "no name"),
    beside("an empty name", entry(""), "no name"),
    beside("a blank name", entry(" \t\u00a0"), "no name"),
    beside("null for a name", entry(None), "no name"),
    beside("the same again", GOOD, "interface eth0 is listed twice"),
    beside("the same with other counters", {**GOOD, "statistics": {"rx-bytes": 7}}, "interface eth0 is listed twice"),
    beside("2,000 keys", {**entry("eth1"), **{f"k{n}": n for n in range(2000)}}, "has too many"),
    Case(
        "entry: a key twice",
        '{"return":[{"name":"eth1","name":"eth2"},{"name":"eth0"}]}',
        [("eth0", None, ())],
        dropped=1,
        faults=["an entry repeats a key"],
    ),
    Case(
        "entry: a key twice in an address",
        '{"return":[{"name":"eth0","ip-addresses":[{"ip-address":"192.0.2.1","ip-address":"192.0.2.2"}]}]}',
        [("eth0", None, ())],
        faults=["an address is missing"],
    ),
    Case("entry: one name twice", [GOOD, entry("eth0", OTHER_MAC)], [SEEN, ("eth0", OTHER_MAC, ())]),
    Case("entry: one name twice, without MAC", [GOOD, entry("eth0", None)], [("eth0", None, ()), SEEN]),
    Case("entry: nested deeply, but not too deeply", [{**GOOD, "x": [[[[[[[[[[[[]]]]]]]]]]]]}], [SEEN]),
]

MACS = [
    Case(f"MAC: {id}", [entry("eth0", mac)], [("eth0", None, ())])
    for id, mac in {
        "broadcast": "ff:ff:ff:ff:ff:ff",
        "multicast": "01:00:5e:00:00:01",
        "three octets": "52:54:00",
        "eight octets": "00:00:00:00:00:00:00:e0",
        "no separators": "525400123456",
        "mixed separators": "52-54:00-12:34-56",
        "blanks": " 52:54:00:12:34:56",
        "a newline": "52:54:00:12:34:56\n",
        "Arabic digits": "٥٢:54:00:12:34:56",
        "no hexadecimal digits": "zz:54:00:12:34:56",
        "a number": 0x525400123456,
        "a list": ["52:54:00:12:34:56"],
        "1 MB": "52:" * 300_000,
    }.items()
]

NUMBERS = [
    Case(
        "number: NaN",
        '{"return":[{"name":"eth0","ip-addresses":[{"ip-address":"192.0.2.1","prefix":NaN}]}]}',
        [("eth0", None, ("192.0.2.1",))],
    ),
    Case("number: 1e400", '{"return":[{"name":"eth0","statistics":{"rx-bytes":1e400}}]}', [("eth0", None, ())]),
    Case(
        "number: 5,000 digits",
        '{"return":[{"name":"eth0","statistics":{"rx-bytes":' + "9" * 5000 + "}}]}",
        [("eth0", None, ())],
    ),
    Case(
        "number: 5,000 digits for an entry",
        '{"return":[' + "9" * 5000 + ',{"name":"eth0"}]}',
        [("eth0", None, ())],
        dropped=1,
        faults=["not an object"],
    ),
    Case(
        "number: a prefix of 5,000 digits",
        '{"return":[{"name":"eth0","ip-addresses":[{"ip-address":"::1","prefix":' + "6" * 5000 + "}]}]}",
        [("eth0", None, ("::1",))],
    ),
]

MANY = [
    Case(
        "many: 2,000 interfaces",
        [entry(f"x{n:04d}", f"02:00:00:00:{n >> 8:02x}:{n & 255:02x}") for n in range(2000)] + [GOOD],
        [SEEN, *((f"x{n:04d}", f"02:00:00:00:{n >> 8:02x}:{n & 255:02x}", ()) for n in range(512))],
        dropped=1488,
        faults=["more than 512 interfaces that are no NIC"],
    ),
    Case(
        "many: one NIC's MAC claimed 10,000 times",
        [entry(f"x{n:05d}", MAC) for n in range(10_000)] + [entry("eth1", OTHER_MAC), GOOD],
        [SEEN, ("eth1", OTHER_MAC, ()), *((f"x{n:05d}", MAC, ()) for n in range(255))],
        dropped=9745,
        faults=[f"more than 256 interfaces with the MAC {MAC}"],
        keep=frozenset({MAC, OTHER_MAC}),
    ),
    Case(
        "many: 300 VLANs and their parent",
        [entry(f"bond0.{n}", MAC) for n in range(300)] + [entry("bond0", MAC), GOOD],
        [("bond0", MAC, ()), *sorted((f"bond0.{n}", MAC, ()) for n in (*range(100), *range(100, 254))), SEEN],
        dropped=46,
        faults=["more than 256 interfaces"],
    ),
    Case(
        "many: faults",
        [entry(f"e{n:03d}", MAC, ["x"]) for n in range(100)],
        [(f"e{n:03d}", MAC, ()) for n in range(100)],
        faults=[f"e{n:03d}" for n in range(20)],
    ),
]

HOSTILE = [*NAMES, *ENTRIES, *MACS, *NUMBERS, *MANY]
