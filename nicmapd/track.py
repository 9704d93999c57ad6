"""What became of the interfaces of the last reply: followed over renames and changed MACs, or known to be in doubt.

A reply is a list of names. Which of them is an interface that was seen before is read from three facts: an interface
keeps its name or its MAC when the other is changed; its counters never go backward; and as many interfaces as possible
went on, for they seldom vanish while others appear that have counted more. Where every such reading gives an interface
the same name, that is its name; where two readings differ, it is in doubt.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import dataclass, fields
from operator import attrgetter, ge

from nicmapd.model import Statistics

#: Most interfaces of one MAC that are compared with each other: beyond, all are in doubt. A hostile guest could make
#: each comparison count, and a NIC with more VLANs than that is rare.
MAX_GROUP = 256


@dataclass(frozen=True, slots=True)
class Sight:
    """An interface as one reply showed it."""

    name: str
    mac: str | None
    counters: Statistics | None

    @property
    def counted(self) -> bool:
        """Whether it has carried anything, so that another interface can be told from it."""
        return self.counters is not None and any(values(self.counters))


#: All counters of an interface; not dataclasses.astuple, which copies deeply.
values = attrgetter(*(one.name for one in fields(Statistics)))


def continues(before: Statistics | None, now: Statistics | None) -> bool | None:
    """Whether an interface with counters `before` can have counters `now`; None if there are none to compare."""
    if before is None or now is None:
        return None
    olds, news = values(before), values(now)
    try:
        return all(map(ge, news, olds))
    except TypeError:  # some are missing
        grown = [new >= old for old, new in zip(olds, news, strict=True) if old is not None and new is not None]
        return all(grown) if grown else None


#: The loopback of Linux and of BSD: it is there from the boot on, and nothing takes its place.
LOOPBACKS = frozenset({"lo", "lo0"})


def booted(before: Mapping[Hashable, Sight], now: Mapping[str, Sight]) -> bool:
    """Whether the guest has started anew since: what its loopback has counted went back."""
    return any(
        name in before and name in now and continues(before[name].counters, now[name].counters) is False
        for name in LOOPBACKS
    )


class Course:
    """The readings of one step, from what was seen before to the interfaces that a reply shows now.

    `before` is keyed by anything that tells its interfaces apart; `now` holds each name once. An interface may have
    another name or another MAC now if `renames(old, new)` does not forbid it, and both at once only if it is one of
    `devices` (keys) and comes to a MAC or name of those that matter (`macs`, or the name of a device). `pushers` are
    those of them that may have taken the place of an interface which seems unchanged. `away` are the keys of what the
    last reply did not show: it may as well have stayed away, and moves nothing that was there.
    """

    def __init__(
        self,
        before: Mapping[Hashable, Sight],
        now: Mapping[str, Sight],
        *,
        renames: Callable[[Sight, Sight], bool] = lambda _old, _new: True,
        devices: Collection[Hashable] = (),
        pushers: Collection[Hashable] = (),
        macs: Collection[str] = (),
        away: Collection[Hashable] = (),
    ) -> None:
        self._before = before
        self._now = now
        self._renames = renames
        self._by_mac: dict[str, list[str]] = defaultdict(list)
        for one in now.values():
            if one.mac is not None:
                self._by_mac[one.mac].append(one.name)
        self._holder: dict[str, Hashable] = {}
        for key, one in before.items():
            if self._same(one):
                self._holder.setdefault(one.name, key)
        self._place = {key: name for name, key in self._holder.items()}
        names = {before[key].name for key in devices if key in before}
        self._far = [one.name for one in now.values() if one.name in names or one.mac in macs] if devices else []
        self._strays = {key for key in before if key not in self._place}
        self._pushers = pushers
        self._stayed = frozenset(self._place)
        self._roaming = {key for key in devices if key in self._strays}
        self._edges: dict[Hashable, list[str]] = {}
        self._away = {key for key in away if key in self._strays}
        for key in sorted(self._strays - self._away, key=self._order):
            self._seat(key, set())
        for key in sorted(self._away, key=self._order):
            self._seat(key, set(self._holder))  # only where nothing is that was there before
        self._unsettled: set[Hashable] | None = None

    def _order(self, key: Hashable) -> tuple[str, str, str]:
        return self._before[key].name, self._before[key].mac or "", repr(key)

    def _same(self, one: Sight) -> bool:
        now = self._now.get(one.name)
        if now is None or continues(one.counters, now.counters) is False:
            return False
        return now.mac == one.mac or now.mac is None  # missing once, in the middle of a rename

    def stays(self, key: Hashable) -> bool:
        """Whether name and MAC are the same as before, as far as they are shown, and the counters may be."""
        return key in self._stayed

    def counted(self, key: Hashable) -> bool:
        """Whether it had carried anything, so that another interface can be told from it."""
        return self._before[key].counted

    def _places(self, key: Hashable) -> list[str]:
        if key not in self._edges:
            one = self._before[key]
            same_mac = self._by_mac.get(one.mac, ()) if one.mac is not None else ()
            near = (one.name, *(same_mac if len(same_mac) <= MAX_GROUP else ()))
            names = dict.fromkeys((*near, *(self._far if key in self._roaming else ())))
            self._edges[key] = [name for name in names if name in self._now and self._may_be(one, self._now[name])]
        return self._edges[key]

    def _may_be(self, old: Sight, new: Sight) -> bool:
        if old.name != new.name and not self._renames(old, new):
            return False
        return continues(old.counters, new.counters) is not False

    def _seat(self, key: Hashable, tried: set[str]) -> bool:
        """Finds a place for one more, moving others as far as needed."""
        for name in self._places(key):
            if name not in tried:
                tried.add(name)
                if name not in self._holder or self._seat(self._holder[name], tried):
                    self._place[key], self._holder[name] = name, key
                    return True
        return False

    def possible(self, key: Hashable) -> list[Sight]:
        """All that an interface of before may be now."""
        return [self._now[name] for name in self._places(key)] if key in self._before else []

    def became(self, key: Hashable, *, may_be_replaced: bool = True) -> Sight | None:
        """What an interface of before is now, if it is the same in every reading; else None.

        `may_be_replaced`: also a reading counts in which it vanished and another one that vanished took its place;
        without it, only if that one is of `pushers`.
        """
        if key not in self._place or self._crowded(self._before[key]) or self._crowded(self._now[self._place[key]]):
            return None
        if self._unsettled is None:
            self._unsettled = self._find_unsettled()
        if key in self._unsettled or key in self._may_be_pushed_out(self._strays if may_be_replaced else self._pushers):
            return None
        return self._now[self._place[key]]

    def _crowded(self, one: Sight) -> bool:
        return one.mac is not None and len(self._by_mac.get(one.mac, ())) > MAX_GROUP

    def _find_unsettled(self) -> set[Hashable]:
        """Those that another reading has elsewhere."""
        elsewhere = {key: [name for name in self._places(key) if name != place] for key, place in self._place.items()}
        mobile = {key: names for key, names in elsewhere.items() if names}
        return self._may_leave(mobile) | self._in_cycles(mobile) if mobile else set()

    def _may_leave(self, mobile: Mapping[Hashable, list[str]]) -> set[Hashable]:
        """Those that may be at a place which another reading leaves free, or next to one that may go there."""
        free = {name for names in mobile.values() for name in names if self._holder.get(name) in (None, *self._away)}
        leaving = {key for key, names in mobile.items() if not free.isdisjoint(names)}
        left = {self._holder[name] for name in free if name in self._holder}  # of what may not have come back at all
        return leaving | left | self._pushing(mobile, leaving)

    def _pushing(self, mobile: Mapping[Hashable, list[str]], targets: set[Hashable]) -> set[Hashable]:
        """Those that may take the place of one of `targets`, or of one that may, and so on."""
        pushers: dict[Hashable, list[Hashable]] = defaultdict(list)
        for key, names in mobile.items():
            for name in names:
                if name in self._holder:
                    pushers[self._holder[name]].append(key)
        found, frontier = set(targets), list(targets)
        while frontier:
            for key in pushers[frontier.pop()]:
                if key not in found:
                    found.add(key)
                    frontier.append(key)
        return found

    def _in_cycles(self, mobile: Mapping[Hashable, list[str]]) -> set[Hashable]:
        """Those that may have changed places in a circle; and some between two circles, which is on the safe side."""
        targets = {key: {self._holder[name] for name in names if name in self._holder} for key, names in mobile.items()}
        left = set(targets)
        while True:
            entered = {target for key in left for target in targets[key]}
            inside = {key for key in left if key in entered and targets[key] & left}
            if inside == left:
                return left
            left = inside

    def _may_be_pushed_out(self, strays: Collection[Hashable]) -> set[Hashable]:
        """Those whose place one of `strays` may have taken that has none in this reading."""
        found: set[Hashable] = set()
        frontier = [key for key in strays if key not in self._place]
        while frontier:
            for name in self._places(frontier.pop()):
                holder = self._holder.get(name)
                if holder is not None and holder not in found:
                    found.add(holder)
                    frontier.append(holder)
        return found
