"""Which guest interface is which NIC: pure, the same whatever the order of the reply, and silent where it is not sure.

Proof comes first: an interface whose PCI path in the guest's sysfs is that of the NIC's domain XML is that NIC, under
whatever MAC. A MAC alone is a claim; what software made (bond, bridge, VLAN, dummy) is ruled out by sysfs, or by its
shape where nothing can be probed. What is left must be exactly one. docs/design-naming.md tells the rules in prose.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nicmapd import claims, shapes
from nicmapd.claims import Claim, Claims, Standing, key_of
from nicmapd.decide import Case, Decision, decide
from nicmapd.evidence import Folded, Known, Memory, NicKey, same_shape, sights, unmoved
from nicmapd.model import GuestReply, HostNic, Naming, Probe, Statistics, Verdict
from nicmapd.proof import NOTHING, Proved, Reading
from nicmapd.stack import addresses_of, stack_of
from nicmapd.track import Sight, continues

__all__ = ["JoinedNic", "Memory", "Reading", "join", "questions", "same_shape"]

#: Interfaces probed in one pass: each costs up to ten agent calls of some milliseconds.
MAX_PROBES = 16


@dataclass(frozen=True, slots=True)
class JoinedNic:
    """A NIC, what is known of its name now, and its counters in the guest."""

    nic: HostNic
    naming: Naming
    statistics: Statistics | None


def questions(reading: Reading, probes: Mapping[str, Probe] | None = None) -> tuple[str, ...]:
    """Names of the guest's interfaces that should be probed now; none for a settled guest.

    First those that show the MAC of a NIC, names of software last; for NICs that are still not found, then all others,
    since a guest may give a NIC any MAC. What has been probed and is proved to be the same is not asked again. `probes`
    are those of this pass so far; a name that is in them is to be asked for its master, too: two devices seem to be at
    one place.
    """
    nics, memory, proved = reading.nics, reading.memory, reading.proved(probes or {})
    owners, displaced = proved.owners, _displaced(reading, proved) - (probes or {}).keys()
    believed = {name: one for name, one in proved.probes.items() if name not in displaced}
    contested = [name for names in owners.values() if len(names) > 1 for name in names if believed[name].master is None]
    unknown = [
        one
        for one in reading.interfaces
        if one.name not in believed
        and shapes.linux_name(one.name)
        and (one.mac is not None or _was_device(one, memory))
    ]
    missing = [number for number, nic in enumerate(nics) if not nic.slots or len(owners.get(number, ())) != 1]
    claimants = [one.name for one in unknown if one.mac in reading.macs and (missing or not _was_probed(one, memory))]
    hopeful = {one.mac for one in unknown}
    lost = [
        nic for nic in (nics[number] for number in missing) if nic.slots and not {nic.mac, nic.current_mac} & hopeful
    ]
    others: list[str] = []
    if lost or len(claimants) < sum(1 for number in missing if nics[number].slots):
        # A device that was under one of these names may be under any of them now.
        adrift = any(_device(known) and not _still(name, proved.probes) for name, known in memory.known.items())
        names = {one.name for one in unknown if adrift or not _is_software(one, memory)} - set(claimants)
        others = sorted(names, key=lambda name: (shapes.speaks_against(name), name))
    claimants.sort(key=shapes.speaks_against)  # a hundred VLANs of the first NIC keep no other one waiting
    return tuple(dict.fromkeys((*contested, *claimants, *others)))[:MAX_PROBES]


def _displaced(reading: Reading, proved: Proved) -> set[str]:
    """The names that show the MAC of a NIC which nobody is, and that were devices at a place that no NIC has.

    A NIC may have been detached, and attached at another place with its old MAC, with no pass in between: what bears
    its name and MAC now counts as the same interface, and is not.
    """
    missing = [nic for number, nic in enumerate(reading.nics) if nic.slots and not proved.owners.get(number)]
    macs = {mac for nic in missing for mac in (nic.mac, nic.current_mac) if mac is not None}
    places = {nic.slots for nic in reading.nics}
    shown = {one.name for one in reading.interfaces if one.mac in macs} if macs else set()
    probes = {name: proved.probes[name] for name in shown if name in proved.probes}
    return {name for name, probe in probes.items() if probe.device and probe.slots and probe.slots not in places}


def _was_probed(one: Folded, memory: Memory) -> bool:
    known = memory.known.get(one.name)
    return known is not None and known.mac == one.mac and known.probe is not None


def _still(name: str, believed: Mapping[str, Probe]) -> bool:
    return name in believed and believed[name].device is True


def _was_device(one: Folded, memory: Memory) -> bool:
    return one.name in memory.known and _device(memory.known[one.name])


def _device(known: Known) -> bool:
    return known.probe is not None and known.probe.device is True


def _is_software(one: Folded, memory: Memory) -> bool:
    """Whether it was software, still has the name and the MAC that it had then, and may have counted on."""
    known = memory.known.get(one.name)
    if known is None or known.mac != one.mac or known.probe is None or known.probe.device is not False:
        return False
    return continues(known.counters, one.interface.statistics) is not False


def join(
    reading: Reading,
    *,
    probes: Mapping[str, Probe],
    probing: bool,
    previous: Sequence[Naming | None],
    asked: GuestReply | None = None,
) -> tuple[tuple[JoinedNic, ...], Memory]:
    """What is known of each NIC after this reply, in the order of its XML, and what to remember.

    `probes` are those of this pass; `probing` says whether the agent allows any. `previous` holds what was known of
    each NIC before (None: nothing, or the guest has booted since). `asked` is the reply from before the probes, if
    there are some: only what cannot have changed hands between it and this one is remembered as proved.
    """
    nics, interfaces, memory = reading.nics, reading.interfaces, reading.memory
    proved = reading.proved(probes) if probing else NOTHING
    if all(len(proved.owners.get(number, ())) == 1 for number in range(len(nics))):
        past = Claims(tuple(Claim(Standing.NEW) for _ in nics), {}, frozenset())
    else:
        past = claims.read(nics, interfaces, memory, previous)
    if past.booted:
        memory, previous = Memory(), [None] * len(nics)
    case = Case(nics, interfaces, proved.probes, proved.owners, probing, memory, previous, past)
    decided = decide(case)
    still = unmoved(asked, reading.reply, probes) if probes and asked is not None else set(probes)
    remembered = _remember(case, decided, fresh={name: name in still for name in probes})
    return tuple(_joined(case, number, decision, decided) for number, decision in enumerate(decided)), remembered


def _joined(case: Case, number: int, decision: Decision, decided: Sequence[Decision]) -> JoinedNic:
    nic, chosen = case.nics[number], decision.chosen
    if decision.kept is not None:
        return JoinedNic(nic, decision.kept, None)
    devices = {other.chosen.name for other in decided if other.chosen is not None} | case.owned()
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


def _remember(case: Case, decided: Sequence[Decision], *, fresh: Mapping[str, bool]) -> Memory:
    """What the next pass may build on. `fresh`: the names that this pass probed, and whether they cannot have moved."""
    known: dict[str, Known] = {}
    for name, sight in sights(case.interfaces).items():
        old, probe = case.memory.known.get(name), case.probes.get(name)
        sure = probe is not None and fresh.get(name, True) and not (name in fresh and _contradicted(old, sight, probe))
        if probe is None and old is not None and old.mac == sight.mac:
            probe = old.probe
        known[name] = Known(_mac(sight, old), sight.counters, probe, sure)
    kept = frozenset(key_of(nic) for nic, one in zip(case.nics, decided, strict=True) if one.kept is not None)
    for decision in decided:
        if decision.kept is not None and decision.kept.name in case.memory.known:
            known[str(decision.kept.name)] = case.memory.known[str(decision.kept.name)]
    return Memory(known, kept, *_holders(case, decided, known), claims.ages(case.nics, case.memory))


def _last(sight: Sight, known: Mapping[str, Known]) -> Sight:
    """An interface as it is remembered, so that what is known of it and who holds it agree."""
    one = known.get(sight.name)
    return Sight(sight.name, one.mac, one.counters) if one is not None else sight


def _mac(sight: Sight, old: Known | None) -> str | None:
    """The MAC of an interface, or the one that it had if this reply lacks it."""
    goes_on = old is not None and continues(old.counters, sight.counters) is not False
    return old.mac if sight.mac is None and old is not None and goes_on else sight.mac


def _contradicted(old: Known | None, sight: Sight, probe: Probe) -> bool:
    """Whether the same name and MAC were proved to be something else: then names are being swapped, and once is not
    enough."""
    if old is None or old.probe is None or not old.sure or old.mac != sight.mac:
        return False
    return (old.probe.device, old.probe.slots) != (probe.device, probe.slots)


def _holders(
    case: Case, decided: Sequence[Decision], known: Mapping[str, Known]
) -> tuple[dict[NicKey, Sight], frozenset[NicKey]]:
    """Which interface each NIC was when that was last certain, and the NICs of which that cannot be said any more."""
    holders: dict[NicKey, Sight] = {}
    lost: set[NicKey] = set()
    for nic, decision, claim in zip(case.nics, decided, case.claims.of, strict=True):
        key, old = key_of(nic), case.claims.holders.get(key_of(nic))
        if decision.chosen is not None:
            one = decision.chosen
            holders[key] = _last(Sight(one.name, one.mac, one.interface.statistics), known)
        elif decision.kept is not None and old is not None:
            holders[key] = old
        elif claim.standing in (Standing.FOLLOWED, Standing.GONE) and claim.sight is not None:
            holders[key] = _last(claim.sight, known) if claim.standing is Standing.FOLLOWED else claim.sight
        elif claim.standing is Standing.LOST or decision.doubtful:
            lost.add(key)
            if old is not None:  # it still is something that others may be taken for
                holders[key] = old
    return holders, frozenset(lost)
