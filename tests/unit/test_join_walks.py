"""Whole passes over a simulated guest in which anything happens, also in the middle of a pass.

The guest is seen only through domain XML, raw agent replies and sysfs files. Each walk is a seed: `Walk(seed).run()`
shows it again, and `log` tells what happened.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence

import pytest

from nicmapd import shapes
from nicmapd.board import Board
from nicmapd.config import AgentConfig
from nicmapd.interview import PassMemory
from nicmapd.keeper import Keeper
from nicmapd.refresh import Refresher
from tests.fakes.brittle import BrittleStore
from tests.fakes.clock import FakeClock
from tests.fakes.wire_guest import Link, WireGuest

NAMES = ("eth0", "eth1", "eth2", "ens3", "lan0", "wan", "a", "bond7", "x.100", "br9", "mv0", "up", "svc", "dummy0")
STEPS = 25


class Walk:
    """A guest and a daemon on it, and a random course of both.

    With probes everything may happen, at any moment. Without them a reply cannot tell a few things, and the walk keeps
    to what docs/design-naming.md says of that: one thing at a time, counters that have begun, and names of software for
    software only.
    """

    def __init__(self, seed: int, *, probe: str = "auto") -> None:
        self.random = random.Random(seed)
        self.auto = probe == "auto"
        models = ("virtio", "e1000")[: self.random.randint(1, 2)]
        self.guest = WireGuest(self.random.randint(1, 4), files=self.auto, models=models)
        self.guest.order = self.random.shuffle
        self.clock = FakeClock()
        self.board = Board(self.clock)
        self.settings = AgentConfig(timeout=1, probe=probe)
        self.ids = itertools.count()
        self.log: list[str] = []
        self.raced = False
        self.start_daemon()
        for link in self.guest.links:
            if not self.auto or self.random.random() > 0.3:
                link.count(self.random.randint(1, 5000), sent=self.random.randint(0, 5000))

    def start_daemon(self) -> None:
        keeper = Keeper(BrittleStore(host="host1"), self.board, clock=self.clock)
        self.refresher = Refresher(
            self.guest,
            keeper,
            self.board,
            clock=self.clock,
            settings=self.settings,
            new_id=lambda: f"nic{next(self.ids)}",
        )
        self.memory = PassMemory()

    # -- what happens

    def happen(self) -> None:
        """One random thing in the guest."""
        moves: list[Callable[[], object]] = [self.traffic] * 3
        moves += [self.rename, self.swap_names, self.add, self.add, self.remove, self.hide, self.show, self.bond]
        moves += [self.release, self.lose_mac, self.set_mac, self.swap_macs]
        moves += [self.guest.do_plug, self.unplug, self.reload] if self.auto else []
        move = self.random.choice(moves)
        move()
        self.log.append(f"{getattr(move, '__name__', move)}: {self.state()}")

    def state(self) -> list[tuple[object, ...]]:
        return [
            (link.name, link.mac, link.device.alias if link.device else link.kind, link.counters[1], link.hidden)
            for link in self.guest.links
        ]

    def some(self, links: Sequence[Link], count: int = 1) -> list[Link]:
        return self.random.sample(list(links), count) if len(links) >= count else []

    def devices(self) -> list[Link]:
        return [link for link in self.guest.shown() if link.device is not None]

    def mac(self) -> str:
        known = [device.mac for device in self.guest.devices] + [link.mac for link in self.guest.links]
        return self.random.choice([*known, f"02:00:00:00:00:{self.random.randint(1, 9):02x}"])

    def alike(self, name: str, other: str) -> bool:
        return self.auto or shapes.speaks_against(name) == shapes.speaks_against(other)

    def traffic(self) -> None:
        for link in self.some(self.guest.shown()):
            # Odd numbers: two NICs that have counted the very same cannot be told apart if they swap names and MACs.
            packets = self.random.choice((1, 10, 1000, 20000)) + self.random.randint(0, 97)
            link.count(packets, sent=self.random.randint(0, packets))

    def rename(self) -> None:
        for link in self.some(self.guest.shown()):
            name = self.random.choice(NAMES)
            if self.alike(link.name, name):
                self.guest.do_rename(link, name)

    def swap_names(self) -> None:
        pair = self.some(self.guest.shown(), 2)
        if pair and self.alike(pair[0].name, pair[1].name):
            self.guest.do_swap_names(*pair)

    def add(self) -> None:
        if len(self.guest.links) < 12:
            kind = self.random.choice(("vlan", "bridge", "macvlan", "dummy"))
            self.guest.do_add(kind, self.random.choice(NAMES), self.mac())

    def remove(self) -> None:
        for link in self.some([link for link in self.guest.shown() if link.device is None]):
            self.guest.do_remove(link)

    def hide(self) -> None:
        for link in self.some(self.devices()):
            self.guest.do_hide(link)

    def show(self) -> None:
        for link in self.some([link for link in self.guest.links if link.hidden]):
            self.guest.do_show(link)

    def bond(self) -> None:
        here = self.devices()
        members = self.some(here, self.random.randint(1, len(here))) if here else []
        self.guest.do_bond(self.random.choice(("bond0", "uplink")), members)

    def release(self) -> None:
        for link in self.some(self.devices()):
            self.guest.do_release(link)

    def lose_mac(self) -> None:
        """The next reply lacks a MAC, as in the middle of a rename."""
        self.guest.bare = {link.name for link in self.some(self.guest.shown())}

    def set_mac(self) -> None:
        for link in self.some(self.guest.shown()):
            self.guest.do_set_mac(link, self.mac())

    def swap_macs(self) -> None:
        pair = self.some(self.devices(), 2)
        if pair:
            self.guest.do_swap_macs(*pair)

    def unplug(self) -> None:
        for link in self.some(self.devices()):
            self.guest.do_unplug(link)

    def reload(self) -> None:
        for link in self.some(self.devices()):
            self.guest.do_reload_driver(link)

    def restart(self) -> None:
        """The daemon, the agent or the guest starts anew."""
        what = self.random.choice((self.start_daemon, self.memory.agent_restarted, self.memory.guest_booted))
        if what == self.memory.guest_booted:
            self.guest.do_boot()
        what()
        self.log.append(what.__name__)

    # -- a pass, and what must be true of it

    def look(self, *, racing: bool) -> None:
        guest = self.guest
        guest.truths = [guest.truth()]
        begin, whole = len(guest.calls), not guest.bare
        moments = self.random.sample(range(40), self.random.randint(1, 3)) if racing else []
        guest.between = {begin + moment: self.happen for moment in moments}
        self.clock.move(10)
        outcome = self.refresher.run(guest.vm, self.memory)
        guest.between = {}
        assert outcome.answered, outcome.sentence
        assert not guest.open, "handles stay open"
        served = self.served()
        self.log.append(f"pass of {len(guest.calls) - begin} calls: {served}")
        for alias, name in served.items():
            right = name is None or any(truth.get(alias) == name for truth in guest.truths)
            assert right, f"{alias} is not {name}: {guest.truths}"
        names = [name for name in served.values() if name is not None]
        assert len(names) == len(set(names))
        if self.auto and whole and not racing:
            assert {alias: name for alias, name in served.items() if name is not None} == guest.truth()

    def served(self) -> dict[str, str | None]:
        entry = self.board.entry(self.guest.vm.uuid)
        assert entry is not None
        return {str(nic.nic.alias): nic.naming.name for nic in entry.nics}

    def run(self) -> None:
        self.look(racing=False)
        assert self.served() == self.guest.truth(), "a guest that has just started is known at once"
        for _ in range(STEPS):
            if self.auto and self.random.random() < 0.06:
                self.restart()
            for _ in range(self.random.choice((0, 1, 1, 1, 2, 3) if self.auto else (0, 1, 1))):
                self.happen()
            self.look(racing=self.auto and self.random.random() < 0.3)


class PlugWalk(Walk):
    """Without probes, and with NICs that are plugged, unplugged, or plugged together with something else that happens.

    Some are out of sight from the start. The MAC of those is given to nothing but to NICs that are known: who bears it
    first is taken for the NIC.
    """

    def __init__(self, seed: int) -> None:
        super().__init__(seed, probe="never")
        self.seen: set[str] = set()

    def happen(self) -> None:
        if self.random.random() > 0.3:
            super().happen()
            return
        moves: list[Callable[[], object]] = [self.random.choice((self.plug, self.plug, self.unplug))]
        if moves == [self.plug] and self.random.random() < 0.5:
            others = (self.hide, self.hide, self.show, self.rename, self.swap_names, self.swap_macs, self.unplug)
            moves.append(self.random.choice(others))
        for move in self.random.sample(moves, len(moves)):
            move()
            self.log.append(f"{getattr(move, '__name__', move)}: {self.state()}")

    def plug(self) -> None:
        if len(self.guest.devices) < 7:
            self.guest.do_plug()
            self.guest.links[-1].count(self.random.randint(1, 3000), sent=self.random.randint(0, 3000))
            self.guest.links[-1].hidden = self.random.random() < 0.15

    def mac(self) -> str:
        unseen = {device.mac for device in self.guest.devices} - self.seen
        return next(mac for mac in iter(super().mac, None) if mac not in unseen)

    def set_mac(self) -> None:
        for link in self.some(self.guest.shown()):
            known = link.device is not None and link.device.mac in self.seen
            self.guest.do_set_mac(link, super().mac() if known else self.mac())

    def look(self, *, racing: bool) -> None:
        super().look(racing=racing)
        self.seen |= {link.mac for link in self.guest.shown() if link.device is not None}


def walk(seed: int, *, probe: str) -> None:
    live(seed, Walk(seed, probe=probe))


def live(seed: int, course: Walk) -> None:
    try:
        course.run()
    except AssertionError:
        print(f"seed {seed}", *course.log[-12:], sep="\n")
        raise


@pytest.mark.parametrize("block", range(20))
def test_with_probes_every_name_is_right_and_none_is_missing(block: int) -> None:
    for seed in range(6 * block, 6 * block + 6):
        walk(seed, probe="auto")


@pytest.mark.parametrize("block", range(20))
def test_without_probes_no_name_is_wrong(block: int) -> None:
    for seed in range(15 * block, 15 * block + 15):
        walk(seed, probe="never")


@pytest.mark.parametrize("block", range(10))
def test_without_probes_no_name_is_wrong_where_nics_come_and_go(block: int) -> None:
    for seed in range(15 * block, 15 * block + 15):
        live(seed, PlugWalk(seed))
