"""What is kept in the store of what a guest says: bounded, in words, and no news after a restart."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from nicmapd import bounds, changes
from nicmapd.board import Board
from nicmapd.bounds import kept, kept_change
from nicmapd.config import AgentConfig
from nicmapd.interview import PassMemory
from nicmapd.keeper import Keeper
from nicmapd.model import Change, ChangeKind, NameSource, Naming, NicAddress, NicEntry, StackKind, StackLayer, Verdict
from nicmapd.refresh import Refresher
from nicmapd.store import open_store
from nicmapd.text import shortened
from tests.fakes.clock import FakeClock
from tests.unit.store_places import T0, Place, at, nic, statements, vm
from tests.unit.test_refresh import make


def addresses(count: int) -> tuple[NicAddress, ...]:
    return tuple(NicAddress("eth0", "ipv4", f"10.0.{number >> 8}.{number & 255}", 24) for number in range(count))


def crowded(*, nics: int = 1, count: int = 100) -> NicEntry:
    """A NIC of a container host: more addresses and layers than are kept."""
    layers = tuple(StackLayer(f"br{number:03}", StackKind.BRIDGE, None) for number in range(40))
    naming = Naming(
        Verdict.NAMED, "eth0", NameSource.AGENT, "the only one", ("a fact",), addresses=addresses(count), stack=layers
    )
    return replace(nic(id=f"nic-{nics}"), naming=naming)


def test_what_an_ordinary_guest_has_is_kept_whole() -> None:
    naming = replace(
        crowded(count=16).naming, stack=(), candidates=tuple(f"enp{number}s0f0np1" for number in range(16))
    )
    assert kept(naming) is not naming
    assert kept(naming) == naming
    assert not bounds.was_cut(kept(naming))


def test_the_rest_is_counted_in_words() -> None:
    stored = kept(crowded().naming)
    assert stored.addresses == addresses(16)
    assert len(stored.stack) == 16
    assert stored.evidence == ("a fact", "not kept: 84 more addresses, 24 more layers")
    assert bounds.was_cut(stored)


long_texts = st.lists(st.text(max_size=300), max_size=40).map(tuple)


@given(evidence=long_texts, candidates=long_texts, reason=st.text(max_size=3000))
def test_no_naming_is_large_and_what_is_kept_is_kept_again(
    evidence: tuple[str, ...], candidates: tuple[str, ...], reason: str
) -> None:
    stored = kept(Naming(Verdict.AMBIGUOUS, reason=reason, evidence=evidence, candidates=candidates))
    for texts in (stored.evidence, stored.candidates):
        assert len(texts) <= bounds.MAX_ENTRIES
        assert sum(len(one.encode()) for one in texts) <= bounds.MAX_BYTES
    assert len(stored.reason) <= bounds.MAX_TEXT
    assert kept(stored) == stored


def test_a_change_is_bounded_too() -> None:
    old, new = vm(crowded(count=99)), vm(crowded(count=100))
    (change,) = changes.diff(old, new)
    stored = kept_change(change)
    assert len(json.dumps(stored.details)) < 2000
    assert stored.details["addresses"] == [f"10.0.0.{number}/24" for number in (0, 1, 10, 11, 12, 13, 14, 15)] + [
        f"10.0.0.{number}/24" for number in (16, 17, 18, 19, 2, 20, 21, 22)
    ]
    assert stored.details["not_kept"] == "84 more addresses, 24 more layers"
    assert stored.new is not None
    assert stored.new.endswith(" characters)")
    assert set(stored.new.partition(" ...")[0].split()) <= set(str(change.new).split()), "no address is cut in two"
    small = Change(ChangeKind.NIC_RENAMED, "eth0 renamed to ens3", old="eth0", new="ens3", details={"name": "ens3"})
    assert kept_change(small) == small


def test_a_text_is_cut_between_words() -> None:
    assert shortened("one two", 7) == "one two"
    assert shortened("one two three " * 20, 60) == "one two three one two three one ... (249 more characters)"
    assert shortened("x" * 1000, 60) == f"{'x' * 33} ... (967 more characters)"


def test_it_comes_back_as_it_is_kept_and_is_not_written_again(place: Place) -> None:
    store = place.open()
    store.apply(vm(crowded()), [], at=T0)
    store.apply(vm(crowded()), [], at=at(1))
    (loaded,) = store.load()
    assert loaded.entry == vm(replace(crowded(), naming=kept(crowded().naming)))
    store.apply(loaded.entry, [], at=at(2))
    store.apply(vm(crowded()), [], at=at(3))
    assert [(one.naming, one.since, one.until) for one in store.history("uuid-1")] == [
        (kept(crowded().naming), T0, None)
    ]


def test_a_restart_tells_nothing_of_what_was_not_kept(place: Place) -> None:
    clock = FakeClock()
    store = place.open()
    store.apply(vm(crowded(), crowded(nics=2)), [], at=clock.now())
    store = place.restart()
    board = Board(clock)
    keeper = Keeper(store, board, clock=clock)
    keeper.load()
    old = board.entry("uuid-1")
    # The first NIC is as it was; the second has lost its first address.
    second = crowded(nics=2)
    second = replace(second, naming=replace(second.naming, addresses=second.naming.addresses[1:]))
    new = vm(crowded(), second)
    keeper.keep(old, new, changes.diff(old, new))
    assert [item.change.nic_id for item in store.feed(after=0)] == ["nic-2"]
    assert [one.since for one in store.history("uuid-1", nic_id="nic-1")] == [clock.now()]
    assert board.entry("uuid-1") == new


def test_what_a_flooding_guest_adds_in_an_hour_is_about_what_is_promised(tmp_path: Path) -> None:
    """docs/store.md, "Bounds": what one row of the past and one of the feed may have."""
    bench = make()
    store = open_store(f"sqlite:///{tmp_path}/map.db", host="host1", clock=bench.clock)
    keeper = Keeper(store, bench.board, clock=bench.clock)
    refresher = Refresher(
        bench.hypervisor, keeper, bench.board, clock=bench.clock, settings=AgentConfig(), new_id=lambda: "nic0"
    )
    hostile = bench.hypervisor.add("hostile", files=False)
    memory = PassMemory()
    bare = (tmp_path / "map.db").stat().st_size
    passes = 30
    for number in range(passes):
        bench.clock.move(2)
        listed = [
            {
                "name": f"{one:04}{number:04}{'x' * 240}",
                "hardware-address": hostile.nics[0].mac,
                "ip-addresses": [
                    {"ip-address": f"2001:db8:1111:2222:3333:4444:{number:x}:{one:x}", "ip-address-type": "ipv6"}
                ],
            }
            for one in range(250)
        ]
        hostile.raw = json.dumps({"return": listed})
        refresher.run(hostile.ref, memory)
    with statements(store) as sent:
        refresher.run(hostile.ref, memory)
    assert sent == []
    assert len(store.history(hostile.uuid)) == passes
    store.close()
    grown = (tmp_path / "map.db").stat().st_size - bare
    assert grown < passes * 10_000, f"{grown / passes / 1000:.0f} KB for each pass"
