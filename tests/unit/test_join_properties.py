"""What holds for any replies at all, also for those that no honest guest gives, one after the other."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from nicmapd.evidence import fold
from nicmapd.join import JoinedNic, Memory, Reading, join, questions, same_shape
from nicmapd.model import (
    GuestAddress,
    GuestInterface,
    GuestReply,
    HostNic,
    Naming,
    Probe,
    StackKind,
    Statistics,
    Verdict,
)

MACS = ("52:54:00:00:00:0a", "52:54:00:00:00:0b", "52:54:00:00:00:0c", "02:00:00:00:00:01")
NAMES = (
    "eth0",
    "eth1",
    "ens3",
    "eth0.100",
    "bond0",
    "br0",
    "mv0",
    "lo",
    "eth0:1",
    "ens3:vip",
    "Ethernet 2",
    "..",
    "a/b",
)
NICS = tuple(
    HostNic(mac, "network", f"net{number}", slots=((2, number), (0, 0)) if number else ())
    for number, mac in enumerate((*MACS[:3], MACS[2]))
)

counts = st.integers(0, 3)
statistics = st.none() | st.builds(Statistics, counts, counts, counts, st.none(), counts | st.none(), counts)
addresses = st.lists(st.builds(GuestAddress, st.just("ipv4"), st.sampled_from(("192.0.2.1", "192.0.2.2"))), max_size=2)
interfaces = st.builds(
    GuestInterface,
    st.sampled_from(NAMES),
    st.none() | st.sampled_from(MACS),
    addresses.map(tuple),
    statistics,
)
replies = st.lists(interfaces, min_size=1, max_size=8).map(lambda listed: GuestReply(tuple(listed)))
paths = st.sampled_from(((), *(nic.slots for nic in NICS), ((9, 0),)))
probed = st.builds(
    Probe,
    st.none() | st.booleans(),
    slots=paths,
    permanent_mac=st.none() | st.sampled_from(MACS),
    kind=st.none() | st.sampled_from(StackKind),
    master=st.none() | st.sampled_from(("", *NAMES[:3])),
)
#: Whether probing is allowed, the reply before the probes, the one after them, the probes, a seed for another order.
passes = st.tuples(
    st.booleans(), replies, replies, st.dictionaries(st.sampled_from(NAMES), probed, max_size=4), st.integers(0, 99)
)


def mixed(reply: GuestReply, seed: int) -> GuestReply:
    listed = list(reply.interfaces)
    random.Random(seed).shuffle(listed)
    return GuestReply(tuple(listed))


def look(
    reply: GuestReply,
    memory: Memory,
    previous: Sequence[Naming | None],
    probes: Mapping[str, Probe],
    *,
    probing: bool,
    asked: GuestReply,
) -> tuple[tuple[JoinedNic, ...], Memory]:
    return join(Reading(NICS, reply, memory), probes=probes, probing=probing, previous=previous, asked=asked)


def check(joined: Sequence[JoinedNic], reply: GuestReply, previous: Sequence[Naming | None]) -> None:
    """No name twice, and none that the guest did not show; everything has its reason."""
    names = [one.naming.name for one in joined if one.naming.name is not None]
    assert len(names) == len(set(names))
    shown = {one.name for one in reply.interfaces} | {one.name.partition(":")[0] for one in reply.interfaces}
    for one, before in itertools.zip_longest(joined, previous):
        naming = one.naming
        assert (naming.name is not None) == (naming.verdict is Verdict.NAMED) == (naming.source is not None)
        assert naming.name is None or naming.name in shown
        assert set(naming.candidates) <= shown or naming == before
        assert list(naming.candidates) == sorted(set(naming.candidates))
        assert (len(naming.candidates) > 0) == (naming.verdict is Verdict.AMBIGUOUS)
        assert naming.reason
        assert one.nic in NICS
    assert [one.nic for one in joined] == list(NICS)


@settings(max_examples=500, deadline=None)
@given(st.lists(passes, min_size=1, max_size=5))
def test_any_replies_in_any_order_give_the_same_honest_map(
    course: list[tuple[bool, GuestReply, GuestReply, dict[str, Probe], int]],
) -> None:
    memory, previous = Memory(), list[Naming | None]([None] * len(NICS))
    for probing, asked, reply, probes, seed in course:
        other = mixed(reply, seed)
        assert same_shape(reply, other)
        names = questions(Reading(NICS, reply, memory), probes)
        assert names == questions(Reading(NICS, other, memory), probes)
        assert len(names) == len(set(names)) <= 16
        joined, remembered = look(reply, memory, previous, probes, probing=probing, asked=asked)
        again, also = look(other, memory, previous, probes, probing=probing, asked=mixed(asked, seed))
        assert [one.naming for one in joined] == [one.naming for one in again]
        assert remembered == also
        check(joined, reply, previous)
        memory, previous = remembered, [one.naming for one in joined]


@settings(max_examples=250, deadline=None)
@given(st.lists(passes, min_size=1, max_size=4))
def test_the_same_reply_again_changes_nothing(
    course: list[tuple[bool, GuestReply, GuestReply, dict[str, Probe], int]],
) -> None:
    """From the third time on: the second may end what was kept over one reply, or proved only for one."""
    memory, previous = Memory(), list[Naming | None]([None] * len(NICS))
    for probing, asked, reply, probes, _ in course:
        joined, memory = look(reply, memory, previous, probes, probing=probing, asked=asked)
        previous = [one.naming for one in joined]
    probing, _, reply, _, _ = course[-1]
    for _ in range(2):
        joined, memory = look(reply, memory, previous, {}, probing=probing, asked=reply)
        previous = [one.naming for one in joined]
    third, remembered = look(reply, memory, previous, {}, probing=probing, asked=reply)
    assert [one.naming for one in third] == previous
    assert remembered == memory


def test_two_entries_that_differ_only_in_their_counters_come_in_one_order() -> None:
    first = GuestInterface("..", MACS[1], (), Statistics(0, 0, 0))
    reply = GuestReply((first, GuestInterface("..", MACS[1])))
    orders = [fold(one) for one in (reply, GuestReply(reply.interfaces[::-1]))]
    # Counters do not count where interfaces are compared, so each is looked at by itself.
    assert [one.interface.statistics for one in orders[0]] == [one.interface.statistics for one in orders[1]]
