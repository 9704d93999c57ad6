"""The guest agent's language, and the border to the hostile guest: what passes here is cleaned, bounded and typed.

Replies are parsed entry by entry: one bad entry costs itself. Only `AgentFailure` leaves this module, whatever the
guest says. Shapes are those of qemu-ga (`guest-network-get-interfaces`, `guest-info`, `guest-fsfreeze-status`) and
what other agents make of them. What an error means is in agent_errors.py, and part of this language.
"""

from __future__ import annotations

import functools
import ipaddress
import json
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from operator import attrgetter
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import Any

from nicmapd.agent_errors import failure_of_error, failure_of_reply, is_no_such_file, may_be_frozen
from nicmapd.errors import AgentFailure
from nicmapd.model import AgentState, GuestAddress, GuestInterface, GuestReply, Statistics
from nicmapd.text import clean, normal_mac

__all__ = [
    "FREEZE_STATUS_REQUEST",
    "INFO_REQUEST",
    "INTERFACES_REQUEST",
    "Capabilities",
    "failure_of_error",
    "is_no_such_file",
    "may_be_frozen",
    "parse_freeze_status",
    "parse_info",
    "parse_interfaces",
    "result_of",
]

INTERFACES_REQUEST = '{"execute":"guest-network-get-interfaces"}'
INFO_REQUEST = '{"execute":"guest-info"}'
FREEZE_STATUS_REQUEST = '{"execute":"guest-fsfreeze-status"}'

#: Longest reply read, in characters: libvirt's RPC carries no longer string (REMOTE_STRING_MAX, 4 MiB).
MAX_TEXT = 4 * 1024 * 1024
#: Most JSON values in a reply: each costs up to 400 bytes once parsed. 60,000 bare interfaces have 180,000; a reply
#: of 4 MiB with addresses and counters in each entry, 120,000.
MAX_VALUES = 200_000
#: Most keys in one JSON object: what the agent sends has 12.
MAX_KEYS = 1000
#: Most interfaces kept whose MAC is not one of the VM's NICs; a container host shows some hundred.
MAX_INTERFACES = 512
#: Most interfaces kept of one MAC of the VM's NICs: the NIC, and its VLANs.
MAX_SAME_MAC = 256
#: Most addresses kept of one interface.
MAX_ADDRESSES = 64
#: Longest text of an address: 45 for IPv6, "%" and the name of an interface.
MAX_ADDRESS_TEXT = 64
#: Kinds of agents (version and commands) of which one copy is kept.
KNOWN_AGENTS = 64
#: Most faults told of one reply. Each is at most some 350 characters: a cleaned name and a few words.
MAX_FAULTS = 20
#: Most commands kept of guest-info (qemu-ga 10.0 has 50), and their longest name.
MAX_COMMANDS = 512
MAX_COMMAND_NAME = 64
#: Counters are unsigned 64-bit numbers in the guest's kernel.
COUNTER_END = 2**64

_UNSPECIFIED = (("ipv4", "0.0.0.0"), ("ipv6", "::"))
_LONGEST_PREFIX = {"ipv4": 32, "ipv6": 128}

_COUNTERS = {
    "rx_bytes": "rx-bytes",
    "rx_packets": "rx-packets",
    "rx_errors": "rx-errs",
    "rx_dropped": "rx-dropped",
    "tx_bytes": "tx-bytes",
    "tx_packets": "tx-packets",
    "tx_errors": "tx-errs",
    "tx_dropped": "tx-dropped",
}


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What `guest-info` says of an agent: its version, and the commands that are enabled."""

    version: str | None = None
    commands: frozenset[str] = frozenset()

    def allows(self, command: str) -> bool:
        return command in self.commands


class _Unusable:
    """Stands for a JSON object with a key twice (which of the two is meant, nobody knows) or with too many."""


def _object(pairs: list[tuple[str, Any]]) -> object:
    if len(pairs) > MAX_KEYS:
        return _Unusable()
    made = dict(pairs)
    return made if len(made) == len(pairs) else _Unusable()


def _integer(digits: str) -> int | None:
    """A JSON integer; None for those longer than any that is meant (and Python refuses 4,300 digits)."""
    return int(digits) if len(digits) <= 20 else None


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer)


def _bad_reply(message: str) -> AgentFailure:
    return AgentFailure(message, state=AgentState.BAD_REPLY.value)


def result_of(reply: str) -> object:
    """What stands under `return` in a raw reply: JSON values; `_Unusable` for objects that repeat a key or are too big.

    Raises `AgentFailure`: `bad_reply`, or what an `error` in its place means.
    """
    if len(reply) > MAX_TEXT:
        raise _bad_reply(f"the guest agent's reply is longer than {MAX_TEXT} characters: nothing of it was read")
    if len(reply) > MAX_VALUES and sum(map(reply.count, "{[,")) > MAX_VALUES:
        raise _bad_reply(f"the guest agent's reply has more than {MAX_VALUES} values: nothing of it was read")
    try:
        answer = _DECODER.decode(reply)
    except RecursionError:
        raise _bad_reply("the guest agent's reply is nested too deeply") from None
    except ValueError:
        raise _bad_reply("the guest agent's reply is not JSON") from None
    if not isinstance(answer, dict):
        raise _bad_reply("the guest agent's reply is no JSON object, or repeats a key")
    if "error" in answer:
        raise failure_of_reply(answer["error"])
    if "return" not in answer:
        raise _bad_reply("the guest agent's reply holds neither a result nor an error")
    return answer["return"]


def parse_info(reply: str) -> Capabilities:
    """What this agent can do, from the reply to `guest-info`. Never raises: from garbage, nothing is allowed."""
    try:
        info = result_of(reply)
    except AgentFailure:
        return Capabilities()
    if not isinstance(info, dict):
        return Capabilities()
    version, listed = info.get("version"), info.get("supported_commands")
    names = [
        command["name"]
        for command in (listed[:MAX_COMMANDS] if isinstance(listed, list) else ())
        if isinstance(command, dict) and command.get("enabled") is True and isinstance(command.get("name"), str)
    ]
    return _shared(
        Capabilities(
            version=clean(version, limit=64) if isinstance(version, str) and version.strip() else None,
            commands=frozenset(name for name in names if len(name) <= MAX_COMMAND_NAME),
        )
    )


@functools.lru_cache(maxsize=KNOWN_AGENTS)
def _shared(capabilities: Capabilities) -> Capabilities:
    """The same object for equal ones: thousands of guests have a handful of agents, each with some 50 commands."""
    return capabilities


def parse_freeze_status(reply: str) -> bool:
    """Whether the guest's file systems are frozen. Raises `AgentFailure`."""
    status = result_of(reply)
    if status not in ("frozen", "thawed"):
        raise _bad_reply("the guest agent did not say whether it is frozen")
    return status == "frozen"


class _Faults:
    """What was wrong with a reply: few, bounded, in an order that does not depend on that of the entries."""

    def __init__(self) -> None:
        self._texts: set[str] = set()
        self.dropped = 0

    def note(self, text: str, *, dropped: int = 0) -> None:
        self.dropped += dropped
        if len(self._texts) < MAX_FAULTS:
            self._texts.add(text)

    def texts(self) -> tuple[str, ...]:
        return tuple(sorted(self._texts))


@dataclass(frozen=True, slots=True)
class _Entry:
    """An entry with a name, not read further."""

    name: str
    mac: str | None
    raw: dict[str, Any]


def parse_interfaces(reply: str, *, keep: Collection[str] = ()) -> GuestReply:
    """The interfaces in a reply to `guest-network-get-interfaces`, sorted by name and MAC.

    `keep` are the MACs of the VM's NICs: their entries are never pushed out by others, and have a cap of their own.
    Where a cap cuts, the shortest names stay: a VLAN's name is longer than its parent's. Two entries of one name
    both stay, unless they are equal. Raises `AgentFailure`, also if no entry is usable: an agent that shows nothing
    at all has said nothing about any NIC.
    """
    listed = result_of(reply)
    if listed is None or listed == [] or listed == {}:
        raise _bad_reply("the guest agent listed no interfaces")
    if not isinstance(listed, list):
        raise _bad_reply("the guest agent answered something else than was asked: perhaps a late reply")
    faults = _Faults()
    entries = _capped([entry for raw in listed if (entry := _entry(raw, faults)) is not None], keep, faults)
    interfaces = _distinct((_interface(entry, faults) for entry in entries), faults)
    if not interfaces:
        raise _bad_reply(f"the guest agent listed no usable interface: {faults.texts()[0]}")
    return GuestReply(interfaces, faults.texts(), faults.dropped)


def _entry(raw: object, faults: _Faults) -> _Entry | None:
    if isinstance(raw, _Unusable):
        faults.note("an entry repeats a key, or has too many", dropped=1)
        return None
    if not isinstance(raw, dict):
        faults.note("an entry is not an object", dropped=1)
        return None
    name = raw.get("name")
    if not isinstance(name, str) or not name.strip():
        faults.note("an entry has no name", dropped=1)
        return None
    mac = raw.get("hardware-address")
    return _Entry(clean(name), normal_mac(mac) if isinstance(mac, str) else None, raw)


def _capped(entries: list[_Entry], keep: Collection[str], faults: _Faults) -> list[_Entry]:
    """Those of `entries` that stay under the caps; the same ones whatever their order."""
    by_nic: dict[str, list[_Entry]] = defaultdict(list)
    others: list[_Entry] = []
    for entry in entries:
        known = entry.mac is not None and entry.mac in keep
        (by_nic[entry.mac or ""] if known else others).append(entry)
    kept = _shortest(others, MAX_INTERFACES, f"it has more than {MAX_INTERFACES} interfaces that are no NIC", faults)
    for mac, same in by_nic.items():
        kept += _shortest(same, MAX_SAME_MAC, f"it has more than {MAX_SAME_MAC} interfaces with the MAC {mac}", faults)
    return kept


def _shortest(entries: list[_Entry], cap: int, excuse: str, faults: _Faults) -> list[_Entry]:
    if len(entries) <= cap:
        return entries
    faults.note(f"{excuse}: the rest is left out", dropped=len(entries) - cap)
    return sorted(entries, key=lambda entry: (len(entry.name), entry.name, entry.mac or ""))[:cap]


def _interface(entry: _Entry, faults: _Faults) -> GuestInterface:
    raw = entry.raw
    addresses = _addresses(raw.get("ip-addresses"), entry.name, faults)
    return GuestInterface(entry.name, entry.mac, addresses, _statistics(raw.get("statistics")))


def _distinct(interfaces: Iterable[GuestInterface], faults: _Faults) -> tuple[GuestInterface, ...]:
    """Sorted, and each once: the counters of equal ones do not make them two."""
    interfaces = list(interfaces)
    if len({interface.name for interface in interfaces}) == len(interfaces):
        return tuple(sorted(interfaces, key=attrgetter("name")))
    seen: dict[GuestInterface, GuestInterface] = {}
    for interface in sorted(interfaces, key=_order):
        if interface in seen:
            faults.note(f"interface {interface.name} is listed twice", dropped=1)
        seen.setdefault(interface, interface)
    return tuple(seen)


def _order(interface: GuestInterface) -> tuple[str, str, list[tuple[str, str, int]], str]:
    addresses = [(each.family, each.ip, -1 if each.prefix is None else each.prefix) for each in interface.addresses]
    return (interface.name, interface.mac or "", addresses, repr(interface.statistics))


def _addresses(listed: object, name: str, faults: _Faults) -> tuple[GuestAddress, ...]:
    if not isinstance(listed, list):
        return ()
    prefixes: dict[tuple[str, str], int | None] = {}
    for raw in listed:
        text = raw.get("ip-address") if isinstance(raw, dict) else None
        if not isinstance(text, str):
            faults.note(f"interface {name}: an address is missing")
            continue
        if not text:
            continue
        if len(text) > MAX_ADDRESS_TEXT or (address := _ip(text)) is None:
            faults.note(f"interface {name}: an address is none")
        elif address not in _UNSPECIFIED:
            prefix = _prefix(raw.get("prefix"), _LONGEST_PREFIX[address[0]])
            known = prefixes.get(address)
            prefixes[address] = prefix if known is None else max(known, -1 if prefix is None else prefix)
    found = sorted(GuestAddress(family, ip, prefix) for (family, ip), prefix in prefixes.items())
    if len(found) > MAX_ADDRESSES:
        faults.note(f"interface {name} has more than {MAX_ADDRESSES} addresses: the rest is left out")
    return tuple(found[:MAX_ADDRESSES])


def _ip(text: str) -> tuple[str, str] | None:
    """Family and canonical text (RFC 5952) of an address; None if it is none.

    By the C library: the same addresses come with each reply, and `ipaddress` needs ten times as long for one. Only
    what has an IPv4 address in its IPv6 address is written in another way by that.
    """
    plain = text.partition("%")[0]
    try:
        if ":" not in plain:
            return "ipv4", inet_ntop(AF_INET, inet_pton(AF_INET, plain))
        packed = inet_pton(AF_INET6, plain)
    except (OSError, ValueError):
        return None
    canonical = inet_ntop(AF_INET6, packed)
    return "ipv6", canonical if "." not in canonical else str(ipaddress.IPv6Address(packed))


def _prefix(value: object, longest: int) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 3:
        value = int(value)
    return value if type(value) is int and 0 <= value <= longest else None


def _statistics(raw: object) -> Statistics | None:
    if not isinstance(raw, dict):
        return None
    counters = {field: _counter(raw.get(key)) for field, key in _COUNTERS.items()}
    return Statistics(**counters) if any(value is not None for value in counters.values()) else None


def _counter(value: object) -> int | None:
    return value if type(value) is int and 0 <= value < COUNTER_END else None
