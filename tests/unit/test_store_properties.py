"""Properties of the store: any entry comes back equal, and the databases do what the fake in memory does."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nicmapd.model import (
    AgentState,
    AgentStatus,
    Change,
    ChangeKind,
    DomainState,
    FeedItem,
    HostNic,
    NameSource,
    Naming,
    NicAddress,
    NicEntry,
    StackKind,
    StackLayer,
    Verdict,
    VmEntry,
    VmRef,
)
from nicmapd.schema import from_microseconds
from tests.fakes.store import MemoryStore
from tests.unit.store_places import HOST, Store, WarmPlace, at, change, nic, vm

# All of Unicode, lone surrogates and NUL too. Guest text is at most 256 characters (nicmapd.text.MAX_NAME).
texts = st.text(st.characters(exclude_categories=()), max_size=30) | st.just("\U0001f600" * 256)
short = st.text(st.characters(exclude_categories=()), max_size=30)  # of lists, which are kept whole (nicmapd.bounds)
words = st.text(min_size=1, max_size=8)
moments = st.integers(-(2**50), 2**56).map(from_microseconds)
pairs = st.tuples(st.integers(0, 31), st.integers(0, 7))

host_nics = st.builds(
    HostNic,
    mac=words,
    type=words,
    alias=st.none() | texts,
    pci=st.none() | words,
    network=st.none() | texts,
    source=st.none() | texts,
    bridge=st.none() | texts,
    model=st.none() | words,
    target=st.none() | words,
    link=st.sampled_from(["up", "down"]),
    current_mac=st.none() | words,
    slots=st.lists(pairs, max_size=3).map(tuple),
)
namings = st.builds(
    Naming,
    verdict=st.sampled_from(Verdict),
    name=st.none() | texts,
    source=st.none() | st.sampled_from(NameSource),
    reason=texts,
    evidence=st.lists(short, max_size=2).map(tuple),
    candidates=st.lists(short, max_size=2).map(tuple),
    guest_mac=st.none() | words,
    addresses=st.lists(
        st.builds(NicAddress, interface=short, family=words, ip=words, prefix=st.none() | st.integers(0, 128)),
        max_size=2,
    ).map(tuple),
    stack=st.lists(
        st.builds(StackLayer, name=short, kind=st.sampled_from(StackKind), mac=st.none() | words), max_size=2
    ).map(tuple),
    reachable=st.booleans(),
)
nics = st.builds(
    NicEntry,
    id=texts,
    nic=host_nics,
    naming=namings,
    attached_at=moments,
    name_since=st.none() | moments,
    seen_at=st.none() | moments,
)
agents = st.builds(
    AgentStatus,
    state=st.sampled_from(AgentState),
    since=st.none() | moments,
    message=texts,
    version=st.none() | texts,
)
vms = st.builds(
    VmEntry,
    vm=st.builds(VmRef, uuid=texts, name=texts),
    host=st.just(HOST),
    state=st.sampled_from(DomainState),
    persistent=st.booleans(),
    agent=agents,
    nics=st.lists(nics, max_size=3, unique_by=lambda item: item.id).map(tuple),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | short,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
changes = st.builds(
    Change,
    kind=st.sampled_from(ChangeKind),
    sentence=texts,
    nic_id=st.none() | texts,
    mac=st.none() | words,
    alias=st.none() | texts,
    old=st.none() | texts,
    new=st.none() | texts,
    details=st.dictionaries(texts, json_values, max_size=3),
)

quick = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


def test_any_entry_and_any_change_come_back_equal(sql_place: WarmPlace) -> None:
    store = sql_place.open()
    seconds = itertools.count(1)

    @quick
    @given(vms, st.lists(changes, max_size=2))
    def check(entry: VmEntry, made: list[Change]) -> None:
        items = store.apply(entry, made, at=at(next(seconds)))
        assert next(stored.entry for stored in store.load() if stored.entry.vm == entry.vm) == entry
        found = store.feed(after=items[0].id - 1) if items else []
        assert list(found) == list(items)
        assert [item.change for item in items] == made
        assert len(store.apply(entry, [], at=at(next(seconds)))) == 0
        store.remove(entry.vm.uuid, [], at=at(next(seconds)))

    check()


# A small world, so that things meet: two VMs, three NICs each, few names, times that also go back.
_seconds = st.integers(0, 12).map(lambda number: number * 10)
_nics = st.lists(
    st.builds(
        lambda id, name, ip: nic(name, id=id, ip=ip),
        st.sampled_from(["n1", "n2", "n3"]),
        st.sampled_from(["eth0", "eth1", None]),
        st.sampled_from(["10.0.0.1", None]),
    ),
    max_size=3,
    unique_by=lambda item: item.id,
)
_entries = st.builds(
    lambda uuid, name, agent, found: vm(*found, uuid=uuid, name=name, agent=agent),
    st.sampled_from(["u1", "u2"]),
    st.sampled_from(["web1", "db1"]),
    st.sampled_from([AgentState.OK, AgentState.UNRESPONSIVE]),
    _nics,
)
_changes = st.lists(st.sampled_from([change(), change(ChangeKind.VM_STATE)]), max_size=2)
Step = Callable[[Store], Any]


def _steps() -> st.SearchStrategy[list[Step]]:
    def apply(entry: VmEntry, made: list[Change], second: int) -> Step:
        return lambda store: store.apply(replace(entry, host=store.host), made, at=at(second))

    def remove(uuid: str, made: list[Change], second: int) -> Step:
        return lambda store: store.remove(uuid, made, at=at(second))

    def prune(second: int) -> Step:
        return lambda store: store.prune(before=at(second))

    def flush(seen: dict[str, int], second: int) -> Step:
        return lambda store: store.flush_seen({uuid: at(number) for uuid, number in seen.items()}, at=at(second))

    uuids = st.sampled_from(["u1", "u2", "u3"])
    applied = st.builds(apply, _entries, _changes, _seconds)
    return st.lists(
        applied
        | applied
        | st.builds(remove, uuids, _changes, _seconds)
        | st.builds(prune, _seconds)
        | st.builds(flush, st.dictionaries(uuids, st.integers(0, 99)), _seconds),
        max_size=10,
    )


def _seen_by(store: Store) -> dict[str, Any]:
    """Everything that can be asked of a store, with feed numbers counted from the first."""

    def feed_of(uuid: str | None) -> list[FeedItem]:
        return [replace(item, id=0, host="") for item in store.feed(after=0, uuid=uuid)]

    first, last = store.feed_bounds()
    return {
        "load": [replace(stored, entry=replace(stored.entry, host="")) for stored in store.load()],
        "history": [store.history(uuid) for uuid in ("u1", "u2")],
        "one NIC since": [store.history("u1", nic_id="n1", since=at(second)) for second in (0, 50)],
        "map_at": [store.map_at(at(second)) for second in range(-5, 130, 5)],
        "one VM": [store.map_at(at(second), uuid="u2") for second in range(0, 130, 30)],
        "last_bearer": [store.last_bearer(uuid, name) for uuid in ("u1", "u2") for name in ("eth0", "eth1")],
        "find_vm": [store.find_vm(word) for word in ("u1", "U2", "web1", "db1", "x")],
        "feed": [feed_of(None), feed_of("u1")],
        "kept": sum(item.id >= first for item in store.feed(after=0)),
        "any": (first > 0, last > 0, last >= first - 1),
    }


def test_databases_do_what_the_memory_does(sql_place: WarmPlace) -> None:
    hosts = (f"host-{number}" for number in itertools.count())

    @quick
    @given(_steps())
    def check(steps: list[Step]) -> None:
        host = next(hosts)
        real, memory = sql_place.open(host), MemoryStore(host=host)  # a world of its own for each case
        for step in steps:
            told, expected = step(real), step(memory)
            if isinstance(told, int):
                assert told == expected
        assert _seen_by(real) == _seen_by(memory)

    check()
