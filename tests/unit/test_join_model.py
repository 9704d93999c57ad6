"""The join against a simulated guest that does anything: no name is ever wrong, and with probes none is missing."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nicmapd.join import Memory, Reading, join, questions, same_shape
from nicmapd.model import GuestReply, Naming, Probe, StackKind, Verdict
from tests.fakes.guest import ModelGuest

NAMES = ("eth0", "eth1", "eth2", "ens3", "lan0", "wan", "a", "bond7", "x.100", "br9")
ODD_NAMES = ("mv0", "up", "svc", "vlan5", "br0", "dummy0", "eth9")
KINDS = (StackKind.VLAN, StackKind.BRIDGE, StackKind.MACVLAN, None)

#: A method of ModelGuest and its arguments.
Step = tuple[str, tuple[object, ...]]
number = st.integers(0, 7)


def _step(method: str, *arguments: st.SearchStrategy[object]) -> st.SearchStrategy[Step]:
    return st.tuples(st.just(method), st.tuples(*arguments))


def _steps(*, macs: bool) -> st.SearchStrategy[Step]:
    """One thing that happens in a guest."""
    kinds = [
        _step("rename", number, st.sampled_from(NAMES)),
        _step("swap_names", number, number),
        _step("add", st.sampled_from(KINDS), st.sampled_from(ODD_NAMES), number),
        _step("vlan", number),
        _step("remove", number),
        _step("bond", st.sampled_from(("bond0", "team0", "uplink"))),
        _step("hide", number),
        _step("show", number),
        _step("traffic", number),
    ]
    if macs:
        kinds += [_step("swap_macs", number, number), _step("set_mac", number, st.integers(0, 12))]
    return st.one_of(kinds)


def do(guest: ModelGuest, step: Step) -> None:
    getattr(guest, step[0])(*step[1])


NOTHING: Step = ("names", ())


@dataclass
class Watcher:
    """Does what refresh.py does in a pass, on a simulated guest."""

    guest: ModelGuest
    probing: bool = True
    statistics: bool = True
    memory: Memory = field(default_factory=Memory)
    namings: list[Naming] = field(default_factory=list)
    booted: bool = False
    probed: int = 0
    race: bool = False

    def look(self, *, meanwhile: Step = NOTHING, order: list[int] | None = None) -> list[Naming]:
        """A pass; `meanwhile` happens once, between the reply and the second probe."""
        reply = asked = self._reply(order)
        probes: dict[str, Probe] = {}
        self.race = False
        if self.probing:
            reply, asked, probes = self._probe(reply, meanwhile, order)
        previous = [None if self.booted else naming for naming in self.namings] or [None] * self.guest.devices
        joined, self.memory = join(
            Reading(self.guest.nics(), reply, self.memory),
            probes=probes,
            probing=self.probing,
            previous=previous,
            asked=asked,
        )
        self.namings, self.booted = [one.naming for one in joined], False
        return self.namings

    def _reply(self, order: list[int] | None) -> GuestReply:
        return self.guest.reply(order, statistics=self.statistics)

    def _probe(
        self, reply: GuestReply, meanwhile: Step, order: list[int] | None
    ) -> tuple[GuestReply, GuestReply, dict[str, Probe]]:
        asked, probes = reply, dict[str, Probe]()
        for _ in range(3):
            names = questions(Reading(self.guest.nics(), reply, self.memory), probes)
            if not names:
                break
            for count, name in enumerate(names):
                if count == 1 or len(names) == 1:
                    do(self.guest, meanwhile)
                    meanwhile = NOTHING
                probes[name] = self.guest.probe(name)
                self.probed += 1
            again = self._reply(order)
            if not same_shape(reply, again):
                asked, probes = again, {}
                self.race = True
            reply = again
        return reply, asked, probes

    def check(self) -> None:
        """No name is wrong, none twice; what is not known says so."""
        truth = self.guest.truth()
        for naming, name in zip(self.namings, truth, strict=True):
            if naming.name is not None:
                assert naming.name == name, f"{naming} but the truth is {truth}"
                assert naming.verdict is Verdict.NAMED
                assert naming.source is not None
            assert naming.reason
        names = [naming.name for naming in self.namings if naming.name is not None]
        assert len(names) == len(set(names))


orders = st.lists(st.integers(0, 99), min_size=1, max_size=7)


@settings(max_examples=600, deadline=None)
@given(
    steps=st.lists(st.tuples(_steps(macs=True), st.booleans(), orders), max_size=14),
    statistics=st.just(True),
)
def test_with_probes_no_name_is_wrong_and_none_is_missing(
    steps: list[tuple[Step, bool, list[int]]], statistics: bool
) -> None:
    watcher = Watcher(ModelGuest(), statistics=statistics)
    watcher.look()
    for step, during, order in steps:
        if during:
            watcher.look(meanwhile=step, order=order)
        else:
            do(watcher.guest, step)
            watcher.look(order=order)
        watcher.check()
        if watcher.race:
            watcher.look(order=order)
            watcher.check()
        named = [naming.name for naming in watcher.namings]
        assert named == watcher.guest.truth(), "every NIC in the main namespace has its name"


@settings(max_examples=400, deadline=None)
@given(steps=st.lists(st.tuples(_steps(macs=False), orders), max_size=14), statistics=st.booleans())
def test_nor_where_nothing_tells_two_devices_apart(steps: list[tuple[Step, list[int]]], statistics: bool) -> None:
    watcher = Watcher(ModelGuest(twins=True), statistics=statistics)
    watcher.look()
    for step, order in steps:
        do(watcher.guest, step)
        watcher.look(order=order)
        watcher.check()
        assert [naming.name for naming in watcher.namings] == watcher.guest.truth()


@settings(max_examples=1000, deadline=None)
@given(steps=st.lists(st.tuples(_steps(macs=True), orders), max_size=14))
def test_without_probes_no_name_is_wrong(steps: list[tuple[Step, list[int]]]) -> None:
    watcher = Watcher(ModelGuest(), probing=False)
    watcher.look()
    assert [naming.name for naming in watcher.namings] == ["eth0", "eth1", "eth2"]
    for step, order in steps:
        do(watcher.guest, step)
        watcher.look(order=order)
        watcher.check()


@pytest.mark.parametrize("probing", [True, False])
def test_a_settled_guest_is_not_probed_again_and_stays_equal(probing: bool) -> None:
    watcher = Watcher(ModelGuest(), probing=probing)
    watcher.guest.vlan(0)
    if probing:
        watcher.guest.bond("bond0")
    first = watcher.look()
    probed = watcher.probed
    for turn in range(20):
        watcher.guest.traffic(turn)
        assert watcher.look() == first
    assert watcher.probed == probed
