"""What became of the interfaces of the last reply: followed over renames and changed MACs, or known to be in doubt.

A reply is a list of names. Which of them is an interface that was seen before is read from three facts: an interface
keeps its name or its MAC when the other is changed; its counters never go backward; and as many interfaces as possible
went on, for they seldom vanish while others appear that have counted more. Where every such reading gives an interface
the same name, that is its name; where two readings differ, it is in doubt.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from operator import attrgetter, ge

from nicmapd.model import Statistics

#: Most interfaces of one MAC that are compared with each other: beyond, all are in doubt. A hostile guest could make
#: each comparison count, and a NIC with more VLANs than that is rare.
MAX_GROUP = 256

#: Most comparisons of two interfaces in one step: beyond, whatever is not settled yet is in doubt. Few are needed for a
#: NIC, whose counters are ahead of those of what stands on it; replies can be made up that would need millions.
MAX_STEPS = MAX_GROUP**2


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
    return _grown(values(before), values(now))


def _values(one: Sight) -> tuple[int | None, ...] | None:
    return values(one.counters) if one.counters is not None else None


def _grown(olds: tuple[int | None, ...], news: tuple[int | None, ...]) -> bool | None:
    try:
        return all(map(ge, news, olds))  # type: ignore[arg-type]
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


def _names_by_mac(now: Mapping[str, Sight]) -> dict[str, list[str]]:
    names: dict[str, list[str]] = defaultdict(list)
    for one in now.values():
        if one.mac is not None:
            names[one.mac].append(one.name)
    return names


class _SpentError(Exception):
    """MAX_STEPS comparisons were made."""


class _Circles:
    """Who may leave its place: for one that nobody has, or in a circle. `targets` tells who has to leave for one that
    goes elsewhere, None if nobody. What is asked once is known for all that it leads to (Tarjan, 1972)."""

    def __init__(self, targets: Callable[[Hashable], Iterator[Hashable | None]]) -> None:
        self._targets = targets
        self._numbers: dict[Hashable, int] = {}
        self._lowest: dict[Hashable, int] = {}
        self._settled: set[Hashable] = set()
        self._leaving: set[Hashable] = set()
        self._circling: set[Hashable] = set()

    def moves(self, root: Hashable) -> bool:
        if root not in self._settled:
            self._walk(root)
        return root in self._leaving or root in self._circling

    def _walk(self, root: Hashable) -> None:
        trail: list[Hashable] = []
        path: list[tuple[Hashable, Iterator[Hashable | None]]] = []
        ahead: Hashable | None = root
        while ahead is not None or path:
            if ahead is not None:
                self._numbers[ahead] = self._lowest[ahead] = len(self._numbers)
                trail.append(ahead)
                path.append((ahead, self._targets(ahead)))
            key, targets = path[-1]
            ahead = self._next(key, targets)
            if ahead is None:
                path.pop()
                if self._lowest[key] == self._numbers[key]:
                    self._settle(trail, key)
                if path:
                    self._learn(path[-1][0], key)

    def _next(self, key: Hashable, targets: Iterator[Hashable | None]) -> Hashable | None:
        """The next target that is not known yet."""
        for target in targets:
            if target is None:
                self._leaving.add(key)
            elif target not in self._numbers:
                return target
            else:
                self._learn(key, target)
        return None

    def _learn(self, key: Hashable, target: Hashable) -> None:
        if target in self._leaving:
            self._leaving.add(key)
        if target not in self._settled:
            self._lowest[key] = min(self._lowest[key], self._lowest[target])

    def _settle(self, trail: list[Hashable], first: Hashable) -> None:
        """All that come after `first` lead to each other."""
        circle = trail[trail.index(first) :]
        del trail[len(trail) - len(circle) :]
        self._settled.update(circle)
        if len(circle) > 1:
            self._circling.update(circle)
        if not self._leaving.isdisjoint(circle):
            self._leaving.update(circle)


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
        self._by_mac = _names_by_mac(now)
        self._holder: dict[str, Hashable] = {}
        for key, one in before.items():
            if self._same(one):
                self._holder.setdefault(one.name, key)
        self._place = {key: name for name, key in self._holder.items()}
        names = {before[key].name for key in devices if key in before}
        far = (one.name for one in now.values() if one.name in names or one.mac in macs)
        self._far = dict.fromkeys(far) if devices else {}
        self._strays = {key for key in before if key not in self._place}
        self._away = {key for key in away if key in self._strays}
        self._pushers = pushers
        self._stayed = frozenset(self._place)
        self._roaming = {key for key in devices if key in self._strays}
        self._olds = {key: _values(one) for key, one in before.items()}
        self._news = {name: _values(one) for name, one in now.items()}
        self._edges: dict[Hashable, list[str]] = {}
        self._back = {key for key in away if key in self._stayed}
        self._pushed: dict[tuple[bool, bool], set[Hashable]] = {}
        self._circles = _Circles(self._targets)
        #: How often two interfaces were compared.
        self.steps = 0
        self._seat_strays()

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
            self._edges[key] = [name for name in self._near(key) if self._may_be(key, name)]
        return self._edges[key]

    def _near(self, key: Hashable) -> Iterable[str]:
        """The names that it may have come to, if its counters allow."""
        one = self._before[key]
        same_mac = self._by_mac.get(one.mac, ()) if one.mac is not None else ()
        near = (*((one.name,) if one.name in self._now else ()), *(same_mac if len(same_mac) <= MAX_GROUP else ()))
        return dict.fromkeys((*near, *(self._far if key in self._roaming else ())))

    def _is_near(self, key: Hashable, name: str) -> bool:
        one, mac = self._before[key], self._now[name].mac
        near = name == one.name or (mac is not None and mac == one.mac and len(self._by_mac[mac]) <= MAX_GROUP)
        return near or (key in self._roaming and name in self._far)

    def _may_be(self, key: Hashable, name: str) -> bool:
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise _SpentError
        olds, news = self._olds[key], self._news[name]
        if olds is not None and news is not None and _grown(olds, news) is False:
            return False
        old = self._before[key]
        return old.name == name or self._renames(old, self._now[name])

    def _seat_strays(self) -> None:
        try:
            self._seat_all()
        except _SpentError:
            self._place.clear()  # a reading that is not finished tells nothing of anyone

    def _seat_all(self) -> None:
        """Finds a place for as many as possible: under the old name if they can, and moving others as far as needed."""
        left = []
        for key in sorted(self._strays - self._away, key=self._order):
            name = self._before[key].name
            if name in self._now and name not in self._holder and self._may_be(key, name):
                self._place[key], self._holder[name] = name, key
            else:
                left.append(key)
        fixed = {self._place[key] for key in self._back}
        tried = set(fixed)  # in vain: of no use to others either until somebody moves
        for key in left:
            if len(self._holder) < len(self._now) and self._seat(key, tried):
                tried = set(fixed)
        for key in sorted(self._away, key=self._order):
            free = next((name for name in self._places(key) if name not in self._holder), None)
            if free is not None:  # only where nothing is that was there before
                self._place[key], self._holder[free] = free, key

    def _seat(self, newcomer: Hashable, tried: set[str]) -> bool:
        """Finds a place for one more: a free one, or that of another one which finds one, and so on."""
        wants: dict[str, Hashable] = {}  # who would come to a place
        frontier = [newcomer]
        while frontier:
            key = frontier.pop()
            for name in self._places(key):
                if name in tried:
                    continue
                tried.add(name)
                wants[name] = key
                if name not in self._holder:
                    self._move(name, wants)
                    return True
                frontier.append(self._holder[name])
        return False

    def _move(self, free: str, wants: Mapping[str, Hashable]) -> None:
        """All who have to move for a newcomer do, the last one to the `free` place."""
        name: str | None = free
        while name is not None:
            key = wants[name]
            left = self._place.get(key)
            self._place[key], self._holder[name] = name, key
            name = left

    def possible(self, key: Hashable) -> list[Sight]:
        """All that an interface of before may be now; all there is where that was not worked out."""
        return [self._now[name] for name in sorted(self.names([key]))] if key in self._before else []

    def names(self, keys: Iterable[Hashable]) -> set[str]:
        """The names that any of `keys` may bear now; all there are where that was not worked out."""
        try:
            return {name for key in keys for name in self._places(key)}
        except _SpentError:
            return set(self._now)

    def became(self, key: Hashable, *, may_be_replaced: bool = True) -> Sight | None:
        """What an interface of before is now, if it is the same in every reading; else None.

        `may_be_replaced`: also a reading counts in which it vanished and another one that vanished took its place;
        without it, only if that one is of `pushers`, or if the other is back after it was `away`.
        """
        if key not in self._place or self.steps > MAX_STEPS:
            return None
        if self._crowded(self._before[key]) or self._crowded(self._now[self._place[key]]):
            return None
        try:
            if (
                self._swapped(key)
                or self._circles.moves(key)
                or key in self._may_be_pushed_out(may_be_replaced, key in self._back)
            ):
                return None
        except _SpentError:
            return None
        return self._now[self._place[key]]

    def _crowded(self, one: Sight) -> bool:
        return one.mac is not None and len(self._by_mac.get(one.mac, ())) > MAX_GROUP

    def _swapped(self, key: Hashable) -> bool:
        """Whether it may have changed places with one other; that is quickly found where many cannot be told apart."""
        place, names = self._place[key], []
        for name in self._near(key):
            if self._may_be(key, name):
                names.append(name)
                other = self._holder.get(name, key)
                if other != key and self._is_near(other, place) and self._may_be(other, place):
                    return True
        self._edges[key] = names
        return False

    def _targets(self, key: Hashable) -> Iterator[Hashable | None]:
        """Who would have to leave if it were elsewhere, or if one that is not `away` were in its place; None if nobody:
        the place is free, or may be, for what holds it may as well have stayed away."""
        place = self._place[key]
        for name in self._places(key):
            if name != place:
                holder = self._holder.get(name)
                yield None if holder in self._away else holder
        if key in self._away:
            others = (each for each in self._place if each not in self._away and self._is_near(each, place))
            yield from (None for each in others if self._may_be(each, place))

    def _may_be_pushed_out(self, by_any: bool, by_recent: bool) -> set[Hashable]:
        """Those whose place may have been taken by one that has none in this reading: by any, or by those that were not
        away at the last reply, or by pushers only."""
        if (by_any, by_recent) in self._pushed:
            return self._pushed[by_any, by_recent]
        homeless = {key for key in self._strays if key not in self._place}
        if not by_any:
            homeless = {key for key in homeless if key in self._pushers or (by_recent and key not in self._away)}
        found: set[Hashable] = set()
        frontier = list(homeless)
        while frontier:
            for name in self._places(frontier.pop()):
                holder = self._holder.get(name)
                if holder is not None and holder not in found:
                    found.add(holder)
                    frontier.append(holder)
        self._pushed[by_any, by_recent] = found
        return found
