"""Which interface a NIC is where nothing can be probed: what is known from before, and what that allows to believe.

A MAC is a claim. At first sight the only plausible interface with a NIC's MAC is taken for it. From then on it is
followed (track.py), and a name is given only while nothing else can have come into its place: what was once in doubt
stays so until the agent connects anew.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from nicmapd import shapes
from nicmapd.evidence import Folded, Memory, NicKey, before, sights
from nicmapd.model import HostNic, Naming, Verdict
from nicmapd.track import LOOPBACKS, Course, Sight, booted, continues


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
    # A name and MAC that are there, and are not the NIC's interface any more: that may be anywhere.
    adrift = [ids[key] for key, holder in holders.items() if _taken(holder, now)]
    shown = [each for each in ids.values() if isinstance(each, str)]  # in the last reply
    macs = {nic.mac for nic in nics}
    course = Course(seen, now, renames=_plausible, devices=[*shown, *adrift], pushers=adrift, macs=macs)
    windows = any(" " in one.name for one in interfaces)
    claims = []
    for nic in nics:
        key = key_of(nic)
        if key in lost:
            claims.append(Claim(Standing.LOST))
        elif key not in holders:
            claims.append(Claim(Standing.NEW))
        else:
            claims.append(_follow(course, ids[key], holders[key], now, windows=windows))
    strangers = [key for key in seen if not course.stays(key)]
    olds = {one.name for key in strangers for one in course.possible(key)}
    return Claims(tuple(claims), holders, frozenset(olds))


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
