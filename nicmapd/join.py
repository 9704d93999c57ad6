"""Which guest interface is which NIC: pure, the same whatever the order of the reply, and silent where it is not sure.

Proof comes first: an interface whose PCI path in the guest's sysfs is that of the NIC's domain XML is that NIC, under
whatever MAC. A MAC alone is a claim; what software made (bond, bridge, VLAN, dummy) is ruled out by sysfs, or by its
shape where nothing can be probed. What is left must be exactly one. docs/design-naming.md tells the rules in prose.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from nicmapd import shapes
from nicmapd.evidence import Folded, Known, Memory, continues, fold, same_shape, trusted
from nicmapd.model import GuestReply, HostNic, NameSource, Naming, Probe, Statistics, Verdict
from nicmapd.stack import addresses_of, stack_of

__all__ = ["JoinedNic", "Memory", "join", "questions", "same_shape"]

#: Interfaces probed in one pass: each costs up to ten agent calls of some milliseconds.
MAX_PROBES = 16
#: Pairs of MAC and name kept in doubt, per VM.
MAX_DOUBTS = 512


@dataclass(frozen=True, slots=True)
class JoinedNic:
    """A NIC, what is known of its name now, and its counters in the guest."""

    nic: HostNic
    naming: Naming
    statistics: Statistics | None


@dataclass(frozen=True, slots=True)
class _Case:
    """What one pass has to decide from. `probes` are those that hold now; `owners`: NIC -> names at its PCI path."""

    nics: Sequence[HostNic]
    interfaces: Sequence[Folded]
    probes: Mapping[str, Probe]
    owners: Mapping[int, tuple[str, ...]]
    probing: bool
    memory: Memory
    previous: Sequence[Naming | None]

    def claimants(self, number: int) -> list[Folded]:
        """The interfaces that show this NIC's MAC, or the one that the hypervisor sees it use."""
        nic = self.nics[number]
        return [one for one in self.interfaces if one.mac is not None and one.mac in (nic.mac, nic.current_mac)]

    def unverified(self, one: Folded) -> bool:
        """Whether sysfs can still be asked for this interface, and has not been."""
        return self.probing and one.name not in self.probes and shapes.linux_name(one.name)


def _place(nics: Sequence[HostNic], probes: Mapping[str, Probe]) -> dict[int, tuple[str, ...]]:
    numbers = {nic.slots: number for number, nic in enumerate(nics) if nic.slots}
    owners: dict[int, list[str]] = defaultdict(list)
    for name in sorted(probes):
        probe = probes[name]
        if probe.device and probe.slots in numbers:
            owners[numbers[probe.slots]].append(name)
    return {number: tuple(names) for number, names in owners.items()}


def questions(nics: Sequence[HostNic], reply: GuestReply, memory: Memory) -> tuple[str, ...]:
    """Names of the guest's interfaces that should be probed now; none for a settled guest.

    First those that show the MAC of a NIC; for NICs that are still not found, then all others, since a guest may give
    a NIC any MAC. What has been probed and is proved to be the same is not asked again.
    """
    interfaces = fold(reply)
    probes = trusted(interfaces, memory)
    asked = [
        one for one in interfaces if one.mac is not None and one.name not in probes and shapes.linux_name(one.name)
    ]
    macs = {mac for nic in nics for mac in (nic.mac, nic.current_mac) if mac is not None}
    wanted = [one.name for one in asked if one.mac in macs]
    found = _place(nics, probes)
    hopeful = {one.mac for one in asked}
    lost = [
        nic
        for number, nic in enumerate(nics)
        if nic.slots and number not in found and not {nic.mac, nic.current_mac} & hopeful
    ]
    if lost or len(wanted) < len(nics) - len(found):
        others = sorted({one.name for one in asked} - set(wanted), key=lambda name: (shapes.speaks_against(name), name))
        wanted += others
    return tuple(dict.fromkeys(wanted))[:MAX_PROBES]


def join(
    nics: Sequence[HostNic],
    reply: GuestReply,
    *,
    memory: Memory,
    probes: Mapping[str, Probe],
    probing: bool,
    previous: Sequence[Naming | None],
) -> tuple[tuple[JoinedNic, ...], Memory]:
    """What is known of each NIC after this reply, in the order of `nics`, and what to remember.

    `probes` are those of this pass; `probing` says whether the agent allows any. `previous` holds what was known of
    each NIC before (None: nothing, or the guest has booted since).
    """
    interfaces = fold(reply)
    held = trusted(interfaces, memory) if probing else {}
    known = {**held, **{one.name: probes[one.name] for one in interfaces if one.name in probes}}
    case = _Case(nics, interfaces, known, _place(nics, known), probing, memory, previous)
    decided = [_decide(case, number) for number in range(len(nics))]
    decided = _no_name_twice(decided)
    remembered = _remember(case, decided)
    return tuple(_joined(case, number, decision, decided) for number, decision in enumerate(decided)), remembered


@dataclass(frozen=True, slots=True)
class _Decision:
    """What was decided of one NIC. `candidates` are names; `chosen` is set if exactly one is certain."""

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


def _decide(case: _Case, number: int) -> _Decision:
    names = case.owners.get(number, ())
    if len(names) > 1:
        return _unsure("more than one interface of the guest claims this NIC's PCI address", names)
    if names:
        (chosen,) = [one for one in case.interfaces if one.name == names[0]][:1]
        path = case.probes[chosen.name].pci or "its address"
        evidence = f"the guest's sysfs has {chosen.name} at PCI {path}, the place of this NIC in the domain XML"
        return _sure(chosen, NameSource.PROBE, "verified in the guest's sysfs", evidence)
    claimants = case.claimants(number)
    if not claimants:
        return _missing(case, number)
    left, ruled_out = _rule_out(case, number, claimants)
    if not left:
        return _Decision(
            Verdict.UNSEEN,
            "the interfaces with this NIC's MAC are not the NIC itself",
            evidence=ruled_out,
        )
    if any(case.unverified(one) for one in left):
        return _unsure("not verified yet which interface with this NIC's MAC it is", _names(left), ruled_out)
    if len(left) > 1:
        return _unsure("several interfaces of the guest have this NIC's MAC", _names(left), ruled_out)
    return _single(case, number, left[0], ruled_out)


def _names(interfaces: Iterable[Folded]) -> tuple[str, ...]:
    return tuple(sorted({one.name for one in interfaces}))


def _unsure(reason: str, names: Iterable[str], evidence: tuple[str, ...] = (), *, doubtful: bool = False) -> _Decision:
    candidates = tuple(sorted(set(names)))
    return _Decision(Verdict.AMBIGUOUS, reason, evidence=evidence, candidates=candidates, doubtful=doubtful)


def _sure(chosen: Folded, source: NameSource, reason: str, *evidence: str) -> _Decision:
    return _Decision(Verdict.NAMED, reason, chosen, source, tuple(evidence), (chosen.name,))


def _missing(case: _Case, number: int) -> _Decision:
    """No interface shows the NIC's MAC. During a rename a reply may lack the MAC: the name is kept over one such."""
    nic, before = case.nics[number], case.previous[number]
    if before is not None and before.name is not None and (nic.mac, nic.alias) not in case.memory.held:
        bare = {one.name for one in case.interfaces if one.mac is None}
        if before.name in bare and before.name not in ("lo", *_owned_names(case)):
            return _Decision(before.verdict, before.reason, kept=before)
    if case.probing and nic.slots:
        return _Decision(Verdict.UNSEEN, "the guest shows no interface with this NIC's MAC or at its PCI address")
    return _Decision(Verdict.UNSEEN, "the guest shows no interface with this NIC's MAC; it may use another one")


def _owned_names(case: _Case) -> set[str]:
    return {name for names in case.owners.values() for name in names}


def _rule_out(case: _Case, number: int, claimants: Sequence[Folded]) -> tuple[list[Folded], tuple[str, ...]]:
    """Who of those that show the MAC may be the NIC, and why the others are not."""
    left, reasons = [], []
    for one in claimants:
        reason = _why_not(case, number, one)
        if reason is None:
            left.append(one)
        else:
            reasons.append(reason)
    return left, tuple(dict.fromkeys(reasons))


def _why_not(case: _Case, number: int, one: Folded) -> str | None:
    nic, probe = case.nics[number], case.probes.get(one.name)
    if probe is not None and probe.device is False:
        return f"{one.name} is no device in the guest's sysfs"
    if probe is not None and probe.device:
        if probe.slots and (nic.slots or one.name in _owned_names(case)) and probe.slots != nic.slots:
            return f"{one.name} is another device in the guest's sysfs"
        if probe.permanent_mac is not None and probe.permanent_mac != nic.mac:
            return f"{one.name} has another permanent MAC"
        return None
    if not case.unverified(one) and shapes.speaks_against(one.name):
        return f"{one.name} has the name of a software interface"
    return None


def _single(case: _Case, number: int, one: Folded, ruled_out: tuple[str, ...]) -> _Decision:
    """Exactly one interface is left: is that enough?"""
    nic, probe = case.nics[number], case.probes.get(one.name)
    if len([other for other in case.interfaces if other.name == one.name]) > 1:
        return _unsure(f"the guest shows more than one interface called {one.name}", [one.name], ruled_out)
    if probe is not None and probe.device and not nic.slots:
        return _sure(one, NameSource.PROBE, "verified in the guest's sysfs", f"{one.name} is a device", *ruled_out)
    doubt = _doubt(case, number, one, alone=not ruled_out)
    if doubt is not None:
        return _unsure(doubt, [one.name, *_swapped_with(case, number, one)], ruled_out, doubtful=True)
    last = case.memory.last.get((nic.mac, nic.alias))
    if continues(last, one.interface.statistics) is False:
        return _unsure(f"the counters of {one.name} are not those that this NIC had", [one.name], ruled_out)
    if ruled_out:
        return _sure(one, NameSource.INFERRED, "the only interface with this MAC that is left", *ruled_out)
    return _sure(one, NameSource.AGENT, "the only interface with this NIC's MAC", f"only {one.name} has this MAC")


def _swapped_with(case: _Case, number: int, one: Folded) -> list[str]:
    """The name that this NIC had, if the one that it seems to have now was another NIC's."""
    before = case.previous[number]
    if before is None:
        return []
    names = [before.name, *before.candidates] if before.verdict is not Verdict.NAMED else [before.name]
    return [name for name in names if name is not None and name != one.name]


def _doubt(case: _Case, number: int, one: Folded, *, alone: bool) -> str | None:
    """Where nothing can be probed: why the single candidate may still be another interface, or None.

    The guest may have swapped MACs instead of names, or put another interface in the place of one that it hides.
    Counters tell where they can: they go with the device.
    """
    nic, memory, before = case.nics[number], case.memory, case.previous[number]
    pair = (one.mac or nic.mac, one.name)
    if pair in memory.rivals:
        return f"{one.name} was seen beside another interface with this MAC before, and either may be the NIC"
    if pair in memory.doubts or _doubted_before(before, one):
        return f"{one.name} may be another NIC that was given this MAC"
    stood_for = _whose_name(case, one.name, but=number)
    if stood_for is not None:
        return _swap_doubt(case, number, one)
    if not alone and _other_nic_is_missing(case, number) and _bonded(case, one):
        return f"{one.name} may be another NIC of this VM: members of a bond share one MAC"
    return None


def _doubted_before(before: Naming | None, one: Folded) -> bool:
    """Whether this candidate was in doubt in the pass before, for a reason that does not pass with the reply."""
    return (
        before is not None
        and before.verdict is Verdict.AMBIGUOUS
        and one.name in before.candidates
        and len(before.candidates) > 1
        and "given this MAC" in before.reason
    )


def _whose_name(case: _Case, name: str, *, but: int) -> int | None:
    """The other NIC that bore `name` before this reply, or was in doubt with it."""
    for number, before in enumerate(case.previous):
        if number != but and before is not None and before.name == name:
            return number
    return None


def _swap_doubt(case: _Case, number: int, one: Folded) -> str | None:
    """Names swapped or MACs swapped? The counters of the name that this NIC had must go on under the new name, and
    those of the new name must not go on."""
    before = case.previous[number]
    mine = case.memory.known.get(before.name) if before is not None and before.name is not None else None
    theirs = case.memory.known.get(one.name)
    if mine is not None and theirs is not None:
        went_along = continues(mine.counters, one.interface.statistics)
        stayed = continues(theirs.counters, one.interface.statistics)
        if went_along is True and stayed is False:
            return None
    return f"{one.name} was the name of another NIC: it may be that NIC, given this MAC"


def _other_nic_is_missing(case: _Case, number: int) -> bool:
    return any(not case.claimants(other) for other in range(len(case.nics)) if other != number)


def _bonded(case: _Case, one: Folded) -> bool:
    kinds = [shapes.kind(other.name) for other in case.interfaces if other.mac == one.mac and other.name != one.name]
    return any(kind is not None and kind.value == "bond" for kind in kinds)


def _no_name_twice(decided: Sequence[_Decision]) -> list[_Decision]:
    """Two NICs of one MAC (a teaming pair) may come to the same interface: then neither has it."""
    names = Counter(decision.name for decision in decided if decision.name is not None)
    return [
        _unsure(f"{decision.name} fits more than one NIC of this VM", [decision.name], decision.evidence)
        if decision.name is not None and names[decision.name] > 1
        else decision
        for decision in decided
    ]


def _joined(case: _Case, number: int, decision: _Decision, decided: Sequence[_Decision]) -> JoinedNic:
    nic, chosen = case.nics[number], decision.chosen
    if decision.kept is not None:
        return JoinedNic(nic, decision.kept, None)
    devices = {other.chosen.name for other in decided if other.chosen is not None} | _owned_names(case)
    if chosen is not None:
        base = [chosen]
    elif decision.verdict is Verdict.AMBIGUOUS:
        base = [one for one in case.claimants(number) if one.name in decision.candidates]
    else:
        base = []
    layers = stack_of(base, case.interfaces, devices=devices, probes=case.probes)
    name = chosen.name if chosen is not None else None
    uses_another = chosen is not None and chosen.mac is not None and chosen.mac != nic.mac
    naming = Naming(
        verdict=decision.verdict,
        name=name,
        source=decision.source,
        reason=decision.reason,
        evidence=decision.evidence,
        candidates=decision.candidates if decision.verdict is Verdict.AMBIGUOUS else (),
        guest_mac=chosen.mac if chosen is not None and uses_another else None,
        addresses=addresses_of(base, layers, case.interfaces),
        stack=layers if chosen is not None else (),
        reachable=name is None or shapes.reachable(name),
    )
    return JoinedNic(nic, naming, chosen.interface.statistics if chosen is not None else None)


def _remember(case: _Case, decided: Sequence[_Decision]) -> Memory:
    """What the next pass may build on."""
    names = Counter(one.name for one in case.interfaces)
    known = {
        one.name: Known(one.mac, one.interface.statistics, case.probes.get(one.name))
        for one in case.interfaces
        if names[one.name] == 1 and one.mac is not None
    }
    kept = {(nic.mac, nic.alias) for nic, decision in zip(case.nics, decided, strict=True) if decision.kept is not None}
    for decision, before in zip(decided, case.previous, strict=True):
        if decision.kept is not None and before is not None and before.name in case.memory.known:
            known[str(before.name)] = case.memory.known[str(before.name)]
    if case.probing:
        return Memory(known=known, held=frozenset(kept))
    rivals, doubts = set(case.memory.rivals), set(case.memory.doubts)
    last = {key: counters for key, counters in case.memory.last.items() if key in _keys(case)}
    for number, decision in enumerate(decided):
        _remember_doubt(case, number, decision, rivals, doubts)
        if decision.chosen is not None and decision.chosen.interface.statistics is not None:
            last[_keys(case)[number]] = decision.chosen.interface.statistics
    return Memory(known, frozenset(kept), last, _bounded(rivals), _bounded(doubts))


def _keys(case: _Case) -> list[tuple[str, str | None]]:
    return [(nic.mac, nic.alias) for nic in case.nics]


def _remember_doubt(
    case: _Case, number: int, decision: _Decision, rivals: set[tuple[str, str]], doubts: set[tuple[str, str]]
) -> None:
    before = case.previous[number]
    left, _ = _rule_out(case, number, case.claimants(number))
    for one in left:
        pair = (str(one.mac), one.name)
        if decision.doubtful:
            doubts.add(pair)
        elif len({other.name for other in left}) > 1 and (before is None or before.name != one.name):
            rivals.add(pair)


def _bounded(pairs: set[tuple[str, str]]) -> frozenset[tuple[str, str]]:
    """A guest that makes up names for ever cannot fill the memory; what falls out is only a doubt less."""
    return frozenset(sorted(pairs)[:MAX_DOUBTS])
