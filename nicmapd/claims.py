"""Which interface a NIC is where nothing can be probed: what is known from before, and what that allows to believe.

A MAC is a claim. At first sight the only plausible interface with a NIC's MAC is taken for it. From then on it is
followed (track.py), and a name is given only while nothing else can have come into its place: what was once in doubt
stays so until the agent connects anew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from nicmapd import shapes
from nicmapd.evidence import Folded, Known, Memory, NicKey, before, sights
from nicmapd.model import HostNic, Naming, StackKind, Verdict
from nicmapd.track import LOOPBACKS, Course, Sight, booted, continues

#: Replies for which a NIC counts as just plugged: a guest needs a moment to load a driver and to find a name.
YOUNG = 3


class Standing(Enum):
    """What is known of a NIC's interface from earlier passes."""

    NEW = "nothing is known"
    FOLLOWED = "it is the same as before, under this name"
    GONE = "it is not shown, and nothing can be it"
    LOST = "it cannot be told from others"


@dataclass(frozen=True, slots=True)
class Claim:
    """A NIC's standing. `sight`: where it is (FOLLOWED), or how it was last seen (GONE)."""

    standing: Standing
    sight: Sight | None = None


@dataclass(frozen=True, slots=True)
class Claims:
    """The standing of all NICs, and what else had a past: `olds` are the names that something of before may bear."""

    of: tuple[Claim, ...]
    holders: Mapping[NicKey, Sight]
    olds: frozenset[str]
    booted: bool = False

    def holder(self, name: str, *, but: int) -> bool:
        """Whether the interface `name` is another NIC's for certain."""
        return any(
            claim.standing is Standing.FOLLOWED and claim.sight is not None and claim.sight.name == name
            for number, claim in enumerate(self.of)
            if number != but
        )


def key_of(nic: HostNic) -> NicKey:
    return nic.mac, nic.alias


def read(
    nics: Sequence[HostNic], interfaces: Sequence[Folded], memory: Memory, previous: Sequence[Naming | None]
) -> Claims:
    """The standing of each NIC after this reply."""
    now, seen = sights(interfaces), before(memory)
    if booted(seen, now):
        return Claims(tuple(Claim(Standing.NEW) for _ in nics), {}, frozenset(), booted=True)
    holders, lost = _start(nics, memory, previous)
    ids: dict[NicKey, Hashable] = {}
    for key, holder in holders.items():
        # What bears the holder's name in the last reply is the holder only if it was seen as such in that reply.
        ids[key] = holder.name if seen.get(holder.name) == holder else key
        seen[ids[key]] = holder
    # What has just been plugged is none of those that were there before.
    plugged = _plugged(nics, interfaces, memory)
    left = {name: sight for name, sight in now.items() if name not in plugged}
    course = _course(seen, left, holders, ids, macs={nic.mac for nic in nics})
    windows = any(" " in one.name for one in interfaces)
    claims = []
    for nic in nics:
        key = key_of(nic)
        if key in lost:
            claims.append(Claim(Standing.LOST))
        elif key not in holders:
            claims.append(Claim(Standing.NEW))
        else:
            claims.append(_follow(course, ids[key], holders[key], left, windows=windows))
    strangers = [key for key in seen if not course.stays(key)]
    olds = course.names(strangers)
    olds |= _unbelieve(claims, nics, [ids.get(key_of(nic)) for nic in nics], course)
    return Claims(tuple(claims), holders, frozenset(olds))


def _course(
    seen: Mapping[Hashable, Sight],
    now: Mapping[str, Sight],
    holders: Mapping[NicKey, Sight],
    ids: Mapping[NicKey, Hashable],
    *,
    macs: Collection[str],
) -> Course:
    """What became of the interfaces of before; `ids` tells where those of NICs are among them."""
    # A name and MAC that are there, and are not the NIC's interface any more: that may be anywhere.
    adrift = [ids[key] for key, holder in holders.items() if _taken(holder, now)]
    shown = [each for each in ids.values() if isinstance(each, str)]  # in the last reply
    away = [each for each in ids.values() if not isinstance(each, str)]
    devices = [*shown, *adrift]
    return Course(seen, now, renames=_plausible, devices=devices, pushers=adrift, macs=macs, away=away)


def ages(nics: Sequence[HostNic], memory: Memory) -> dict[str, int]:
    """For how many replies the MAC of each NIC has been in the XML, up to YOUNG; at the first reply none is young."""
    before = 0 if memory.ages else YOUNG
    return {nic.mac: min(memory.ages.get(nic.mac, before) + 1, YOUNG) for nic in nics}


def _plugged(nics: Sequence[HostNic], interfaces: Sequence[Folded], memory: Memory) -> set[str]:
    """The interfaces of NICs that have just been plugged.

    A guest learns the MAC of a NIC from the NIC. So who is the first to show it, and alone, is that NIC: not one that
    went out of sight before and comes back, whatever its counters.
    """
    if not memory.known.keys() - LOOPBACKS:
        return set()
    past = {known.mac for known in memory.known.values()} | {sight.mac for sight in memory.holders.values()}
    macs = Counter(nic.mac for nic in nics)
    young = {mac for mac in macs if macs[mac] == 1 and mac not in past and memory.ages.get(mac, 0) < YOUNG}
    alone = {mac: name for mac in young if (name := _only(mac, interfaces)) is not None} if memory.ages else {}
    if not alone:
        return set()
    now, there = sights(interfaces), {one.mac for one in interfaces if not shapes.speaks_against(one.name)}
    changed = [
        known for name, known in memory.known.items() if not shapes.speaks_against(name) and not _same(name, known, now)
    ]
    # MACs or names may have been swapped if one that was there before is under another name, or has another name's MAC.
    swapped = any(known.mac in there for known in changed if known.mac is not None)
    # While a plugged NIC hides, the guest may give its MAC to another interface; in the moment of the plug it cannot.
    return {
        name
        for mac, name in alone.items()
        if (not swapped if mac not in memory.ages else not changed and name not in memory.known)
    }


def _only(mac: str, interfaces: Sequence[Folded]) -> str | None:
    """The name of the only interface of this MAC that may be a NIC; members of a bond may have the MAC of another."""
    names = [one.name for one in interfaces if one.mac == mac]
    plausible = [name for name in names if not shapes.speaks_against(name)]
    bonded = any(shapes.kind(name) is StackKind.BOND for name in names)
    return plausible[0] if len(plausible) == 1 and not bonded else None


def _same(name: str, known: Known, now: Mapping[str, Sight]) -> bool:
    """Whether name and MAC are those of the last reply, and the counters may be."""
    one = now.get(name)
    return one is not None and one.mac == known.mac and continues(known.counters, one.counters) is not False


def _unbelieve(
    claims: list[Claim], nics: Sequence[HostNic], keys: Sequence[Hashable | None], course: Course
) -> set[str]:
    """Loses the NICs that were followed to what may as well be the NIC whose MAC it has; the names of those."""
    doubted: set[str] = set()
    while True:
        wrong = [
            number
            for number, claim in enumerate(claims)
            if claim.standing is Standing.FOLLOWED and not _believed(claims, nics, number, keys[number], course)
        ]
        if not wrong:
            return doubted
        for number in wrong:
            sight = claims[number].sight
            doubted |= {sight.name} if sight is not None else set()
            claims[number] = Claim(Standing.LOST)


def _believed(
    claims: Sequence[Claim], nics: Sequence[HostNic], number: int, key: Hashable | None, course: Course
) -> bool:
    """Whether a NIC that was followed to a MAC of another NIC is not that one: MACs were swapped only if that NIC was
    followed, too, and to another interface. What nothing happened to stays, unless that NIC has never been seen."""
    nic, sight = nics[number], claims[number].sight
    if sight is None or key is None:
        return True
    owners = [claims[each] for each, other in enumerate(nics) if each != number and other.mac == sight.mac]
    own, was_shown, stays = sight.mac in (nic.mac, nic.current_mac), isinstance(key, str), course.stays(key)
    if was_shown and stays:
        return own or all(owner.standing is not Standing.NEW for owner in owners)
    swapped = all(
        owner.standing is Standing.FOLLOWED and owner.sight is not None and owner.sight.name != sight.name
        for owner in owners
    )
    return not owners or (swapped and (was_shown or stays))


def _taken(holder: Sight, now: Mapping[str, Sight]) -> bool:
    same = now.get(holder.name)
    return same is not None and same.mac == holder.mac and continues(holder.counters, same.counters) is False


def _start(
    nics: Sequence[HostNic], memory: Memory, previous: Sequence[Naming | None]
) -> tuple[dict[NicKey, Sight], set[NicKey]]:
    """What is remembered, or follows from the map where the memory is new (the daemon has restarted)."""
    keys = {key_of(nic) for nic in nics}
    holders = {key: sight for key, sight in memory.holders.items() if key in keys}
    lost = {key for key in memory.lost if key in keys}
    if memory.known.keys() - LOOPBACKS:
        return holders, lost
    for nic, naming in zip(nics, previous, strict=True):
        key = key_of(nic)
        if naming is None or key in holders or key in lost:
            continue
        if naming.name is not None:
            holders[key] = Sight(naming.name, naming.guest_mac or nic.mac, None)
        elif naming.verdict is Verdict.AMBIGUOUS or (naming.verdict is Verdict.UNSEEN and naming.evidence):
            lost.add(key)  # another interface had its MAC: which one has it now is anybody's guess
    return holders, lost


def _plausible(old: Sight, new: Sight) -> bool:
    """A NIC is not renamed to what software is called, nor software to anything else."""
    return not shapes.speaks_against(old.name) and not shapes.speaks_against(new.name)


def _follow(course: Course, key: Hashable, holder: Sight, now: Mapping[str, Sight], *, windows: bool) -> Claim:
    stays = course.stays(key)
    same = now.get(holder.name)
    if windows and same is not None and same.mac == holder.mac and not stays:
        # Windows counts anew when an adapter is disabled and enabled, and has no namespaces to hide it in.
        return Claim(Standing.FOLLOWED, same)
    sight = course.became(key, may_be_replaced=not stays)
    if sight is None:
        return Claim(Standing.LOST) if course.possible(key) else Claim(Standing.GONE, holder)
    if not stays and not _proved(course, key, holder, sight):
        return Claim(Standing.LOST)
    return Claim(Standing.FOLLOWED, sight)


def _proved(course: Course, key: Hashable, holder: Sight, sight: Sight) -> bool:
    """Whether counters show that a changed interface is the same one; else a rename to a NIC's usual name will do, if
    it was there in the last reply."""
    if course.counted(key) and sight.counters is not None:
        return True
    return isinstance(key, str) and sight.mac == holder.mac and shapes.usual(sight.name)
