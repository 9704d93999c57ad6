"""The decision about one NIC: its name and why, or why not. Pure; join.py gathers what it is decided from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from nicmapd import shapes
from nicmapd.claims import Claims, Standing, key_of
from nicmapd.evidence import Folded, Memory
from nicmapd.model import HostNic, NameSource, Naming, Probe, StackKind, Verdict
from nicmapd.track import Sight, continues


@dataclass(frozen=True, slots=True)
class Case:
    """What one pass has to decide from. `probes` are those that hold now; `owners`: NIC -> names at its PCI path."""

    nics: Sequence[HostNic]
    interfaces: Sequence[Folded]
    probes: Mapping[str, Probe]
    owners: Mapping[int, tuple[str, ...]]
    probing: bool
    memory: Memory
    previous: Sequence[Naming | None]
    claims: Claims

    def claimants(self, number: int) -> list[Folded]:
        """The interfaces that show this NIC's MAC, or the one that the hypervisor sees it use."""
        nic = self.nics[number]
        return [one for one in self.interfaces if one.mac is not None and one.mac in (nic.mac, nic.current_mac)]

    def unverified(self, one: Folded) -> bool:
        """Whether sysfs can still be asked for this interface, and has not been."""
        return self.probing and one.name not in self.probes and shapes.linux_name(one.name)

    def owned(self) -> set[str]:
        """The names that sysfs has at the place of a NIC."""
        return {name for names in self.owners.values() for name in names}

    def named(self, name: str) -> list[Folded]:
        return [one for one in self.interfaces if one.name == name]


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided of one NIC. `candidates` are names; `chosen` is set if exactly one is certain.

    `doubtful`: several may be the NIC and nothing will tell, so that it stays in doubt. `kept`: the naming of the pass
    before stands, over a reply that lacks the MAC.
    """

    verdict: Verdict
    reason: str
    chosen: Folded | None = None
    source: NameSource | None = None
    evidence: tuple[str, ...] = ()
    candidates: tuple[str, ...] = ()
    doubtful: bool = False
    kept: Naming | None = None

    @property
    def name(self) -> str | None:
        """The name that the NIC is given, if any."""
        return self.chosen.name if self.chosen is not None else self.kept.name if self.kept is not None else None


def decide(case: Case) -> list[Decision]:
    """The decision about each NIC; no name twice."""
    return _no_name_twice([_decide(case, number) for number in range(len(case.nics))])


def _decide(case: Case, number: int) -> Decision:
    names = case.owners.get(number, ())
    if len(names) > 1:
        return _unsure("more than one interface of the guest claims this NIC's PCI address", names)
    if names:
        chosen = case.named(names[0])[0]
        path = case.probes[chosen.name].pci or "its address"
        evidence = f"the guest's sysfs has {chosen.name} at PCI {path}, the place of this NIC in the domain XML"
        return _sure(chosen, NameSource.PROBE, "verified in the guest's sysfs", evidence)
    claimants = case.claimants(number)
    if not claimants:
        return _missing(case, number)
    left, ruled_out = _rule_out(case, number, claimants)
    if not left:
        return _elsewhere(case, number, ruled_out) or _unseen(
            "the interfaces with this NIC's MAC are not it", ruled_out
        )
    if any(case.unverified(one) for one in left):
        return _unsure("not verified yet which interface with this NIC's MAC it is", _names(left), ruled_out)
    if len(left) > 1:
        reason = "several interfaces of the guest have this NIC's MAC"
        return _unsure(reason, _names(left), ruled_out, doubtful=True)
    return _single(case, number, left[0], ruled_out)


def _names(interfaces: Iterable[Folded]) -> tuple[str, ...]:
    return tuple(sorted({one.name for one in interfaces}))


def _unsure(reason: str, names: Iterable[str], evidence: tuple[str, ...] = (), *, doubtful: bool = False) -> Decision:
    candidates = tuple(sorted(set(names)))
    return Decision(Verdict.AMBIGUOUS, reason, evidence=evidence, candidates=candidates, doubtful=doubtful)


def _sure(chosen: Folded, source: NameSource, reason: str, *evidence: str) -> Decision:
    return Decision(Verdict.NAMED, reason, chosen, source, tuple(evidence), (chosen.name,))


def _unseen(reason: str, evidence: tuple[str, ...] = ()) -> Decision:
    return Decision(Verdict.UNSEEN, reason, evidence=evidence)


def _missing(case: Case, number: int) -> Decision:
    """No interface shows the NIC's MAC. During a rename a reply may lack the MAC: the name is kept over one such."""
    nic, before = case.nics[number], case.previous[number]
    if before is not None and before.name is not None and key_of(nic) not in case.memory.held:
        bare = [one for one in case.named(before.name) if one.mac is None and _goes_on(case, one)]
        if bare and before.name not in case.probes:
            return Decision(before.verdict, before.reason, kept=before)
    if case.probing and nic.slots:
        return _unseen("the guest shows no interface with this NIC's MAC or at its PCI address")
    return _elsewhere(case, number, ()) or _unseen(
        "the guest shows no interface with this NIC's MAC; it may use another one"
    )


def _goes_on(case: Case, one: Folded) -> bool:
    """Whether what bears a name is what bore it in the last reply, as far as counters tell."""
    known = case.memory.known.get(one.name)
    if known is None or known.counters is None or one.interface.statistics is None:
        return True
    return Sight(one.name, None, known.counters).counted and continues(known.counters, one.interface.statistics) is True


def _elsewhere(case: Case, number: int, ruled_out: tuple[str, ...]) -> Decision | None:
    """The NIC under another NIC's MAC, if that is certain: the guest swapped MACs, and counters tell so."""
    claim = case.claims.of[number]
    if claim.standing is not Standing.FOLLOWED or claim.sight is None or claim.sight.mac is None:
        return None
    name, mac = claim.sight.name, claim.sight.mac
    other = next((each for each, nic in enumerate(case.nics) if each != number and nic.mac == mac), None)
    if other is None or mac in (case.nics[number].mac, case.nics[number].current_mac):
        return None
    plausible = [one for one in case.interfaces if one.mac == mac and _why_not(case, number, one) is None]
    if [one.name for one in plausible] != [name] or case.unverified(plausible[0]):
        return None
    evidence = f"the counters of {name} go on, and its MAC was changed to that of another NIC"
    return _sure(plausible[0], NameSource.INFERRED, "the guest has given it another NIC's MAC", evidence, *ruled_out)


def _rule_out(case: Case, number: int, claimants: Sequence[Folded]) -> tuple[list[Folded], tuple[str, ...]]:
    """Who of those that show the MAC may be the NIC, and why the others are not."""
    left, reasons = [], []
    for one in claimants:
        reason = _why_not(case, number, one)
        if reason is None:
            left.append(one)
        else:
            reasons.append(reason)
    return left, tuple(dict.fromkeys(reasons))


def _why_not(case: Case, number: int, one: Folded) -> str | None:
    nic, probe = case.nics[number], case.probes.get(one.name)
    if probe is not None and probe.device is False:
        return f"{one.name} is no device in the guest's sysfs"
    if probe is not None and probe.device:
        if probe.slots and (nic.slots or one.name in case.owned()) and probe.slots != nic.slots:
            return f"{one.name} is another device in the guest's sysfs"
        if probe.permanent_mac is not None and probe.permanent_mac != nic.mac:
            return f"{one.name} has another permanent MAC"
        return None
    if not case.unverified(one) and shapes.speaks_against(one.name):
        return f"{one.name} has the name of a software interface"
    return None


def _single(case: Case, number: int, one: Folded, ruled_out: tuple[str, ...]) -> Decision:
    """Exactly one interface is left: is that enough?"""
    nic, probe, claim = case.nics[number], case.probes.get(one.name), case.claims.of[number]
    if len(case.named(one.name)) > 1:
        reason = f"the guest shows more than one interface called {one.name}"
        return _unsure(reason, [one.name], ruled_out, doubtful=True)
    if case.claims.holder(one.name, but=number):
        reason = f"{one.name} is the interface of another NIC, which was given this NIC's MAC"
        return _elsewhere(case, number, (*ruled_out, reason)) or _unseen(reason, (*ruled_out, reason))
    followed = claim.standing is Standing.FOLLOWED and claim.sight is not None and claim.sight.name == one.name
    if not followed:
        doubt = _doubt(case, number, one, alone=not ruled_out)
        if doubt is not None:
            return _unsure(doubt, [one.name, *_was(case, number)], ruled_out, doubtful=True)
    if probe is not None and probe.device and not nic.slots:
        return _sure(one, NameSource.PROBE, "verified in the guest's sysfs", f"{one.name} is a device", *ruled_out)
    if ruled_out:
        return _sure(one, NameSource.INFERRED, "the only interface with this MAC that is left", *ruled_out)
    return _sure(one, NameSource.AGENT, "the only interface with this NIC's MAC", f"only {one.name} has this MAC")


def _was(case: Case, number: int) -> list[str]:
    """The name that this NIC had, if it is still shown: it may be that one under another MAC."""
    holder = case.claims.holders.get(key_of(case.nics[number]))
    return [holder.name] if holder is not None and case.named(holder.name) else []


def _doubt(case: Case, number: int, one: Folded, *, alone: bool) -> str | None:
    """Why the single candidate may still be another interface, or None.

    The guest may have swapped MACs instead of names, or put another interface in the place of one that it hides.
    """
    claim = case.claims.of[number]
    if claim.standing is Standing.LOST:
        return f"{one.name} cannot be told from other interfaces that had its MAC, or from a NIC that was given it"
    if claim.standing is Standing.GONE and claim.sight is not None:
        return f"{one.name} is not {claim.sight.name}, which was this NIC: its counters do not go on"
    if claim.standing is Standing.FOLLOWED:
        return f"this NIC's interface has another MAC now, and {one.name} has its MAC"
    if one.name in case.claims.olds:
        return f"{one.name} may be an interface that had another MAC before"
    if not alone and _other_nic_is_missing(case, number) and _bonded(case, one):
        return f"{one.name} may be another NIC of this VM: members of a bond share one MAC"
    return None


def _other_nic_is_missing(case: Case, number: int) -> bool:
    return any(not case.claimants(other) for other in range(len(case.nics)) if other != number)


def _bonded(case: Case, one: Folded) -> bool:
    others = (other.name for other in case.interfaces if other.mac == one.mac and other.name != one.name)
    return any(shapes.kind(name) is StackKind.BOND for name in others)


def _no_name_twice(decided: Sequence[Decision]) -> list[Decision]:
    """Two NICs of one MAC (a teaming pair) may come to the same interface: then neither has it."""
    names = Counter(decision.name for decision in decided if decision.name is not None)
    return [
        _unsure(f"{decision.name} fits more than one NIC of this VM", [decision.name], decision.evidence, doubtful=True)
        if decision.name is not None and names[decision.name] > 1
        else decision
        for decision in decided
    ]
