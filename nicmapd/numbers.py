"""Interface numbers (ifindex): who bears a name now, in one file read for all, once the devices have been verified.

The kernel gives each interface a number that it keeps through renames and gives no other while it lives, so what sysfs
said of a number stays true of it. It is asked only where a reply cannot tell: members of a bond share one MAC, and
qemu-ga gives no counters of interfaces without addresses, so that two of them could have swapped names unseen. Source:
Linux, net/core/dev.c (dev_new_index) and net/ipv4/igmp.c: /proc/net/igmp lists number and name of what is up.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from nicmapd.evidence import Memory, before, fold, sights
from nicmapd.model import GuestReply, Probe
from nicmapd.probe import Ask, read_file
from nicmapd.track import booted

_PATH = "/proc/net/igmp"
#: One line an interface; lines of its groups begin with tabs. A last line that was cut off has no end.
_LINE = re.compile(r"^(\d{1,10})\t(\S{1,15})\s*:.*\n", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class _Proof:
    """What sysfs said of a number, and the MAC under which it was verified: an interface that comes from another
    namespace may bring the number of one that went there."""

    mac: str | None
    probe: Probe


def interface_numbers(ask: Ask) -> Mapping[str, int]:
    """Number of each interface that is up, by name; empty if the guest does not tell. Raises `AgentFailure`.

    Three calls. A name that is listed twice, renamed in the middle of the reading, is not in it.
    """
    found: dict[str, int] = {}
    twice: set[str] = set()
    for number, name in _LINE.findall(read_file(ask, _PATH) or ""):
        if name in found:
            twice.add(name)
        found[name] = int(number)
    return {name: number for name, number in found.items() if name not in twice}


@dataclass(slots=True)
class Verified:
    """What sysfs said of which number, as long as the guest has not started anew. Lost without harm."""

    _proofs: dict[int, _Proof] = field(default_factory=dict)  # one a number, or a guest could make it grow

    def look(
        self,
        names: Sequence[str],
        reply: GuestReply,
        memory: Memory,
        *,
        ask: Ask,
        probe: Callable[[str], Probe],
    ) -> dict[str, Probe]:
        """The probes of `names`, which `reply` shows: by number where that was verified, else by `probe`.

        Numbers are read only if a question comes back that an earlier pass has answered. Raises `AgentFailure`.
        """
        if not names:
            return {}
        shown = sights(fold(reply))
        if booted(before(memory), shown):
            self._proofs.clear()
        if not self._proofs and not any(_answered(name, memory) for name in names):
            return {name: probe(name) for name in names}
        numbers = interface_numbers(ask)
        macs = {name: shown[name].mac for name in names if name in numbers and name in shown}
        proofs = {name: proof for name in macs if (proof := self._proofs.get(numbers[name])) is not None}
        found = {name: proof.probe for name, proof in proofs.items() if proof.mac == macs[name]}
        fresh = {name: probe(name) for name in names if name not in found}
        if any(name in macs for name in fresh):
            self._learn(macs, fresh, interface_numbers(ask), numbers)
        return found | fresh

    def _learn(
        self,
        macs: Mapping[str, str | None],
        fresh: Mapping[str, Probe],
        now: Mapping[str, int],
        earlier: Mapping[str, int],
    ) -> None:
        """Keeps what was read of names that had the same number before and after, and forgets numbers that are gone."""
        there = set(earlier.values())
        self._proofs = {number: proof for number, proof in self._proofs.items() if number in there}
        for name, one in fresh.items():
            if name in macs and now.get(name) == earlier[name] and one.device is not None:
                self._proofs[earlier[name]] = _Proof(macs[name], one)


def _answered(name: str, memory: Memory) -> bool:
    known = memory.known.get(name)
    return known is not None and known.probe is not None
