"""What every `NicStore` does: the fake in memory, SQLite and a real PostgreSQL alike."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest

from nicmapd.errors import Unavailable
from nicmapd.model import AgentState, Change, ChangeKind, DomainState, FeedItem, PastNic, Verdict, VmRef
from tests.unit.store_places import HOST, T0, Place, at, change, nic, vm


def named(entries: Sequence[PastNic]) -> list[str | None]:
    return [entry.naming.name for entry in entries]


def spans(entries: Sequence[PastNic]) -> list[tuple[str | None, datetime, datetime | None]]:
    return [(entry.naming.name, entry.since, entry.until) for entry in entries]


def numbers(items: Sequence[FeedItem]) -> list[int]:
    return [item.id for item in items]


class TestTheMap:
    def test_a_new_store_is_empty(self, place: Place) -> None:
        store = place.open()
        assert list(store.load()) == []
        assert list(store.history("uuid-1")) == []
        assert list(store.map_at(T0)) == []
        assert list(store.feed(after=0)) == []
        assert store.feed_bounds() == (0, 0)
        assert store.find_vm("web1") is None
        assert store.last_bearer("uuid-1", "eth0") is None
        assert store.prune(before=T0) == 0

    def test_loads_what_was_applied(self, place: Place) -> None:
        store = place.open()
        entry = vm(nic("eth0", ip="10.0.0.1"), nic(None, id="nic-2", mac="52:54:00:00:00:02"))
        store.apply(entry, [], at=T0)
        (stored,) = store.load()
        assert stored.entry == entry
        assert stored.last_success is None

    def test_loads_the_same_after_a_restart(self, place: Place) -> None:
        entry = vm(nic("eth0", ip="10.0.0.1"), nic("eth1", id="nic-2"))
        store = place.open()
        store.apply(entry, [change()], at=T0)
        before = store.history("uuid-1"), store.feed(after=0), store.feed_bounds(), store.map_at(T0)
        store = place.restart()
        assert [stored.entry for stored in store.load()] == [entry]
        assert (store.history("uuid-1"), store.feed(after=0), store.feed_bounds(), store.map_at(T0)) == before

    def test_loads_in_the_order_of_names_then_uuids(self, place: Place) -> None:
        store = place.open()
        for uuid, name in [("4", "b"), ("3", "a"), ("2", "B"), ("1", "ä"), ("5", "a")]:
            store.apply(vm(uuid=uuid, name=name), [], at=T0)
        found = [(stored.entry.vm.name, stored.entry.vm.uuid) for stored in store.load()]
        assert found == [("B", "2"), ("a", "3"), ("a", "5"), ("b", "4"), ("ä", "1")]

    def test_a_vm_without_nics_is_a_vm(self, place: Place) -> None:
        store = place.open()
        store.apply(vm(), [], at=T0)
        assert [stored.entry for stored in store.load()] == [vm()]

    def test_nics_keep_the_order_of_the_entry_also_when_it_changes(self, place: Place) -> None:
        store = place.open()
        one, two, three = nic("c", id="1"), nic("a", id="2"), nic("b", id="3")
        store.apply(vm(one, two), [], at=T0)
        store.apply(vm(three, two, one), [], at=at(1))
        assert store.load()[0].entry == vm(three, two, one)
        assert len(store.history("uuid-1")) == 3

    def test_every_part_of_a_vm_can_change(self, place: Place) -> None:
        store = place.open()
        entry = vm(nic())
        for changed in [
            entry,
            replace(entry, vm=VmRef("uuid-1", "renamed")),
            replace(entry, state=DomainState.PAUSED),
            replace(entry, persistent=False),
            replace(entry, agent=replace(entry.agent, state=AgentState.UNRESPONSIVE, message="no answer")),
            replace(entry, agent=replace(entry.agent, since=None, version=None)),
            replace(entry, nics=(replace(entry.nics[0], seen_at=at(5), name_since=None),)),
        ]:
            store.apply(changed, [], at=at(1))
            assert store.load()[0].entry == changed
        assert len(store.history("uuid-1")) == 1

    def test_times_are_exact_to_the_microsecond_in_any_zone(self, place: Place) -> None:
        moment = datetime(2026, 3, 29, 2, 30, 1, 999_999, tzinfo=timezone(timedelta(hours=5, minutes=45)))
        store = place.open()
        entry = vm(replace(nic(), attached_at=moment, name_since=moment, seen_at=moment))
        store.apply(entry, [change()], at=moment)
        assert store.load()[0].entry == entry
        assert store.history("uuid-1")[0].since == moment
        assert store.feed(after=0)[0].at == moment
        assert store.map_at(moment)
        assert not store.map_at(moment - timedelta(microseconds=1))

    def test_text_that_databases_dislike_comes_back_as_it_was(self, place: Place) -> None:
        odd = "nul\x00 surrogate\ud800\udc00 escape\uf8f00000 'quoted' \\x00 \x1b[0m \u202e 以太网 2 \U0001f600"
        store = place.open()
        entry = vm(nic(odd, id=odd, ip=odd), uuid=odd, name=odd)
        (item,) = store.apply(entry, [replace(change(), sentence=odd, details={odd: [odd, None, 1, 0.5]})], at=T0)
        assert store.load()[0].entry == entry
        assert list(store.feed(after=0, uuid=odd)) == [item]
        assert named(store.history(odd, nic_id=odd)) == [odd]
        store.remove(odd, [], at=at(1))
        assert store.find_vm(odd) == odd
        assert named([store.last_bearer(odd, odd) or pytest.fail("it was there")]) == [odd]

    def test_statistics_are_not_kept_and_differ_in_nothing(self, place: Place) -> None:
        store = place.open()
        store.apply(vm(nic()), [], at=T0)
        assert store.load()[0].entry.nics[0].statistics is None

    def test_an_entry_of_another_host_is_refused(self, place: Place) -> None:
        store = place.open()
        with pytest.raises(ValueError, match="host-b"):
            store.apply(vm(nic(), host="host-b"), [], at=T0)
        assert list(store.load()) == []


class TestThePast:
    def test_a_rename_ends_one_naming_and_begins_another(self, place: Place) -> None:
        store = place.open()
        store.apply(vm(nic("eth0")), [], at=at(0))
        store.apply(vm(nic("ens3")), [], at=at(10))
        assert spans(store.history("uuid-1")) == [("ens3", at(10), None), ("eth0", at(0), at(10))]

    def test_unchanged_adds_nothing(self, place: Place) -> None:
        store = place.open()
        for second in range(5):
            store.apply(vm(nic("eth0", ip="10.0.0.1")), [], at=at(second))
        assert spans(store.history("uuid-1")) == [("eth0", at(0), None)]

    @pytest.mark.parametrize(
        "changed", [nic(ip="10.0.0.2"), nic(mac="52:54:00:00:00:99"), nic(network="other"), nic(None)]
    )
    def test_other_addresses_or_another_place_on_the_host_are_past_too(self, place: Place, changed: object) -> None:
        assert isinstance(changed, type(nic()))
        store = place.open()
        store.apply(vm(nic(ip="10.0.0.1")), [], at=at(0))
        store.apply(vm(changed), [], at=at(10))
        newest, oldest = store.history("uuid-1")
        assert (newest.nic, newest.naming, newest.since) == (changed.nic, changed.naming, at(10))
        assert (oldest.naming, oldest.until) == (nic(ip="10.0.0.1").naming, at(10))

    def test_two_names_swapped_are_swapped_at_one_moment(self, place: Place) -> None:
        store = place.open()
        store.apply(vm(nic("eth0", id="1"), nic("eth1", id="2")), [], at=at(0))
        store.apply(vm(nic("eth1", id="1"), nic("eth0", id="2")), [], at=at(10))
        assert named(store.map_at(at(9))) == ["eth0", "eth1"]
        assert named(store.map_at(at(10))) == ["eth1", "eth0"]

    def test_the_map_at_a_moment_holds_from_its_beginning_until_before_its_end(self, place: Place) -> None:
        store = place.open()
        store.apply(vm(nic("eth0")), [], at=at(0))
        store.apply(vm(nic("ens3")), [], at=at(10))
        store.apply(vm(), [], at=at(20))
        tick = timedelta(microseconds=1)
        moments = [at(0) - tick, at(0), at(10) - tick, at(10), at(20) - tick, at(20), at(999)]
        expected = [[], ["eth0"], ["eth0"], ["ens3"], ["ens3"], [], []]
        assert [named(store.map_at(moment)) for moment in moments] == expected

    def test_the_map_at_a_moment_is_of_all_vms_or_of_one(self, place: Place) -> None:
        store = place.open()
        store.apply(vm(nic("b", id="1"), nic("a", id="2"), uuid="u2", name="alpha"), [], at=T0)
        store.apply(vm(nic("c"), uuid="u1", name="beta"), [], at=T0)
        assert named(store.map_at(T0)) == ["b", "a", "c"]
        assert named(store.map_at(T0, uuid="u1")) == ["c"]
        assert named(store.map_at(T0, uuid="nobody")) == []
        assert store.map_at(T0)[2].vm == VmRef("u1", "beta")

    def test_history_is_of_one_nic_since_a_time_and_bounded(self, place: Place) -> None:
        store = place.open()
        for number in range(6):
            nics = nic(f"a{number}", id="1"), nic(f"b{number // 2}", id="2")
            store.apply(vm(*nics), [], at=at(number))
        assert named(store.history("uuid-1", nic_id="2")) == ["b2", "b1", "b0"]
        assert named(store.history("uuid-1", nic_id="1", limit=2)) == ["a5", "a4"]
        assert named(store.history("uuid-1", nic_id="1", since=at(4))) == ["a5", "a4"]
        assert named(store.history("uuid-1", nic_id="1", since=at(99))) == ["a5"]
        assert len(store.history("uuid-1")) == 9
        assert list(store.history("uuid-2")) == []

    def test_a_nic_that_is_not_in_the_entry_is_detached(self, place: Place) -> None:
        store = place.open()
        store.apply(vm(nic("eth0", id="1"), nic("eth1", id="2")), [], at=at(0))
        store.apply(vm(nic("eth1", id="2")), [], at=at(10))
        assert store.load()[0].entry == vm(nic("eth1", id="2"))
        assert spans(store.history("uuid-1", nic_id="1")) == [("eth0", at(0), at(10))]

    def test_a_nic_that_comes_back_under_its_id_goes_on(self, place: Place) -> None:
        store = place.open()
        store.apply(vm(nic("eth0")), [], at=at(0))
        store.apply(vm(), [], at=at(10))
        store.apply(vm(nic("eth0")), [], at=at(20))
        assert store.load()[0].entry == vm(nic("eth0"))
        assert spans(store.history("uuid-1")) == [("eth0", at(20), None), ("eth0", at(0), at(10))]
        assert named(store.map_at(at(15))) == []

    def test_the_last_bearer_of_a_name_is_found(self, place: Place) -> None:
        store = place.open()
        store.apply(vm(nic("eth0", id="1"), nic("x", id="2")), [], at=at(0))
        store.apply(vm(nic("ens3", id="1"), nic("eth0", id="2")), [], at=at(10))
        found = store.last_bearer("uuid-1", "eth0")
        assert found is not None
        assert (found.nic_id, found.since, found.until) == ("1", at(0), at(10))
        store.apply(vm(nic("ens3", id="1"), nic("ens4", id="2")), [], at=at(20))
        found = store.last_bearer("uuid-1", "eth0")
        assert found is not None
        assert found.nic_id == "2"
        assert store.last_bearer("uuid-1", "ens4") is None
        assert store.last_bearer("uuid-2", "eth0") is None

    def test_of_two_bearers_the_last_to_lose_the_name_is_found(self, place: Place) -> None:
        store = place.open()
        store.apply(vm(nic("eth0", id="1"), nic("x", id="2")), [], at=at(0))
        store.apply(vm(nic("eth0", id="1"), nic("eth0", id="2")), [], at=at(10))
        store.apply(vm(nic("eth0", id="1"), nic("y", id="2")), [], at=at(20))
        store.apply(vm(nic("z", id="1"), nic("y", id="2")), [], at=at(30))
        found = store.last_bearer("uuid-1", "eth0")
        assert found is not None
        assert found.nic_id == "1"

    def test_history_follows_the_uuid_through_a_new_name_of_the_vm(self, place: Place) -> None:
        store = place.open()
        store.apply(vm(nic("eth0"), name="old"), [], at=at(0))
        store.apply(vm(nic("ens3"), name="new"), [], at=at(10))
        assert {past.vm for past in store.history("uuid-1")} == {VmRef("uuid-1", "new")}

    def test_two_changes_at_one_moment_are_both_in_the_history(self, place: Place) -> None:
        store = place.open()
        for name in ("a", "b", "c"):
            store.apply(vm(nic(name)), [], at=T0)
        assert spans(store.history("uuid-1")) == [("c", T0, None), ("b", T0, T0), ("a", T0, T0)]
        assert named(store.map_at(T0)) == ["c"]

    def test_a_clock_set_back_leaves_one_truth_for_each_moment(self, place: Place) -> None:
        store = place.open()
        for second, name in [(0, "a"), (1000, "b"), (2000, "c")]:
            store.apply(vm(nic(name)), [], at=at(second))
        store.apply(vm(nic("d")), [], at=at(500))
        store.apply(vm(nic("e")), [], at=at(600))
        assert spans(store.history("uuid-1")) == [
            ("e", at(600), None),
            ("d", at(500), at(600)),
            ("c", at(500), at(500)),
            ("b", at(500), at(500)),
            ("a", at(0), at(500)),
        ]
        for second, name in [(0, "a"), (499, "a"), (500, "d"), (600, "e"), (3000, "e")]:
            assert named(store.map_at(at(second))) == [name]


class TestRemovedVms:
    def test_a_removed_vm_is_past(self, place: Place) -> None:
        store = place.open()
        store.apply(vm(nic("eth0")), [], at=at(0))
        store.remove("uuid-1", [], at=at(10))
        assert list(store.load()) == []
        assert spans(store.history("uuid-1")) == [("eth0", at(0), at(10))]
        assert named(store.map_at(at(9))) == ["eth0"]
        assert named(store.map_at(at(10))) == []
        assert store.find_vm("web1") == "uuid-1"
        assert store.find_vm("UUID-1") == "uuid-1"

    def test_removing_twice_or_what_was_never_there_is_no_error(self, place: Place) -> None:
        store = place.open()
        store.apply(vm(nic("eth0")), [], at=at(0))
        store.remove("uuid-1", [], at=at(10))
        store.remove("uuid-1", [], at=at(20))
        store.remove("uuid-9", [change(ChangeKind.VM_REMOVED)], at=at(20))
        assert spans(store.history("uuid-1")) == [("eth0", at(0), at(10))]
        assert store.find_vm("uuid-9") is None
        assert store.prune(before=at(15)) == 3  # it was removed the first time
        assert store.feed(after=0)[0].vm == VmRef("uuid-9", "uuid-9")

    def test_the_same_uuid_comes_back_to_its_history(self, place: Place) -> None:
        store = place.open()
        store.apply(vm(nic("eth0")), [], at=at(0))
        store.remove("uuid-1", [], at=at(10))
        store.apply(vm(nic("eth0")), [], at=at(20))
        assert store.load()[0].entry == vm(nic("eth0"))
        assert store.find_vm("web1") == "uuid-1"
        assert len(store.history("uuid-1")) == 2
        store.apply(vm(nic("ens3", id="nic-2")), [], at=at(30))
        assert store.load()[0].entry == vm(nic("ens3", id="nic-2"))

    def test_a_new_uuid_of_an_old_name_inherits_nothing(self, place: Place) -> None:
        store = place.open()
        store.apply(vm(nic("eth0")), [], at=at(0))
        store.flush_seen({"uuid-1": at(5)}, at=at(5))
        store.remove("uuid-1", [], at=at(10))
        store.apply(vm(uuid="uuid-2"), [], at=at(20))
        (stored,) = store.load()
        assert (stored.entry, stored.last_success) == (vm(uuid="uuid-2"), None)
        assert list(store.history("uuid-2")) == []
        assert store.last_bearer("uuid-2", "eth0") is None
        assert store.find_vm("web1") == "uuid-2"
        assert store.find_vm("uuid-1") == "uuid-1"

    def test_of_several_removed_the_last_one_has_the_name(self, place: Place) -> None:
        store = place.open()
        for number, uuid in enumerate(["u3", "u1", "u2"]):
            store.apply(vm(uuid=uuid), [], at=at(number))
        for number, uuid in enumerate(["u2", "u3", "u1"]):
            store.remove(uuid, [], at=at(10 + number))
        assert store.find_vm("web1") == "u1"


class TestTheFeed:
    def test_returns_the_items_as_they_are_stored(self, place: Place) -> None:
        store = place.open()
        details: dict[str, object] = {"list": [1, "two", None, True, 2.5], "nested": {"a": {}}}
        changes = [replace(change(), details=details), Change(ChangeKind.VM_STATE, "web1 runs")]
        items = store.apply(vm(nic()), changes, at=T0)
        assert [item.change for item in items] == changes
        assert {(item.at, item.host, item.vm) for item in items} == {(T0, HOST, VmRef("uuid-1", "web1"))}
        assert list(store.feed(after=0)) == list(items)

    def test_is_read_from_a_number_on_for_a_vm_and_bounded(self, place: Place) -> None:
        store = place.open()
        for number in range(4):
            store.apply(vm(uuid=f"u{number % 2}"), [change(), change()], at=at(number))
        everything = numbers(store.feed(after=0))
        assert everything == sorted(set(everything))
        assert numbers(store.feed(after=everything[2])) == everything[3:]
        assert numbers(store.feed(after=0, limit=3)) == everything[:3]
        assert numbers(store.feed(after=0, uuid="u1")) == everything[2:4] + everything[6:]
        assert store.feed_bounds() == (1, everything[-1])

    def test_notes_of_the_host_have_no_vm(self, place: Place) -> None:
        store = place.open()
        (item,) = store.note([Change(ChangeKind.RESYNC, "compared with libvirt")], at=T0)
        assert item.vm == VmRef("", "")
        assert list(store.feed(after=0)) == [item]

    def test_a_change_can_be_told_without_a_new_entry(self, place: Place) -> None:
        store = place.open()
        store.apply(vm(nic()), [], at=T0)
        assert len(store.apply(vm(nic()), [change()], at=at(1))) == 1

    def test_a_removal_is_told_with_the_name_of_the_vm(self, place: Place) -> None:
        store = place.open()
        store.apply(vm(nic()), [], at=T0)
        (item,) = store.remove("uuid-1", [change(ChangeKind.VM_REMOVED)], at=at(1))
        assert item.vm == VmRef("uuid-1", "web1")


class TestLastSuccess:
    def test_is_kept_for_each_vm(self, place: Place) -> None:
        store = place.open()
        for uuid in ("u1", "u2", "u3"):
            store.apply(vm(uuid=uuid, name=uuid), [], at=T0)
        moment = T0 + timedelta(microseconds=123_457)
        store.flush_seen({"u1": moment, "u2": at(2), "unknown": at(3)}, at=at(9))
        store.flush_seen({"u2": at(7)}, at=at(10))
        assert [stored.last_success for stored in place.restart().load()] == [moment, at(7), None]

    def test_of_removed_vms_goes_with_the_next_flush(self, place: Place) -> None:
        store = place.open()
        store.apply(vm(), [], at=T0)
        store.flush_seen({"uuid-1": at(1)}, at=at(1))
        store.remove("uuid-1", [], at=at(2))
        store.flush_seen({}, at=at(3))
        store.apply(vm(), [], at=at(4))
        assert store.load()[0].last_success is None


class TestPruning:
    def test_drops_what_ended_before_and_nothing_else(self, place: Place) -> None:
        store = place.open()
        store.apply(vm(nic("a", id="1"), nic("gone", id="2")), [change()], at=at(0))
        store.apply(vm(nic("b", id="1")), [change()], at=at(10))
        store.apply(vm(nic("c", id="1")), [change()], at=at(20))
        assert store.prune(before=at(0)) == 0
        assert store.prune(before=at(15)) == 5  # the namings "a" and "gone", the second NIC, two feed items
        assert spans(store.history("uuid-1")) == [("c", at(20), None), ("b", at(10), at(20))]
        assert store.load()[0].entry == vm(nic("c", id="1"))
        assert [item.at for item in store.feed(after=0)] == [at(20)]
        assert store.prune(before=at(15)) == 0

    def test_forgets_removed_vms_with_all_that_is_theirs(self, place: Place) -> None:
        store = place.open()
        store.apply(vm(nic("a"), nic("b", id="nic-2")), [], at=at(0))
        store.remove("uuid-1", [], at=at(10))
        assert store.prune(before=at(10)) == 0
        assert store.prune(before=at(11)) == 5
        assert store.find_vm("web1") is None
        assert list(store.history("uuid-1")) == []
        store.apply(vm(nic("c")), [], at=at(20))
        assert spans(store.history("uuid-1")) == [("c", at(20), None)]

    def test_tells_a_reader_of_the_feed_what_it_took(self, place: Place) -> None:
        store = place.open()
        for second in range(3):
            store.note([Change(ChangeKind.RESYNC, "compared")], at=at(second))
        first, second, third = numbers(store.feed(after=0))
        # Other hosts of the database may have had the numbers before the first: nothing is lost by that.
        assert store.feed_bounds()[0] <= first
        assert store.feed_bounds()[1] == third
        store.prune(before=at(2))
        assert store.feed_bounds() == (second + 1, third)
        assert second >= store.feed_bounds()[0] - 1  # a reader that had the second has lost nothing
        assert first < store.feed_bounds()[0] - 1  # one that had only the first has

    def test_never_uses_a_number_of_the_feed_again(self, place: Place) -> None:
        store = place.open()
        items = store.note([Change(ChangeKind.RESYNC, "compared")] * 3, at=at(0))
        store.prune(before=at(1))
        last = items[-1].id
        assert store.feed_bounds() == (last + 1, last)
        store = place.restart()
        assert store.feed_bounds() == (last + 1, last)
        (item,) = store.note([Change(ChangeKind.RESYNC, "compared")], at=at(2))
        assert item.id > last
        assert store.feed_bounds() == (last + 1, item.id)

    def test_drops_more_than_one_batch(self, place: Place) -> None:
        store = place.open()
        store.note([Change(ChangeKind.RESYNC, "compared")] * 1201, at=at(0))
        assert store.prune(before=at(1)) == 1201
        assert list(store.feed(after=0)) == []


def test_an_empty_write_is_none(place: Place) -> None:
    """The keeper does that to have had its turn."""
    store = place.open()
    assert list(store.note([], at=at(0))) == []
    assert store.feed_bounds() == (0, 0)


class TestAClockSetBack:
    """What was written while the clock was ahead must not hide the present, nor come true later."""

    def test_the_map_of_now_has_what_was_learned_before_it(self, place: Place) -> None:
        store = place.open()
        store.apply(vm(nic()), [], at=at(7200))
        store.apply(vm(nic()), [], at=at(0))
        assert named(store.map_at(at(60))) == ["eth0"]
        assert spans(store.history("uuid-1")) == [("eth0", at(0), None)]

    def test_no_name_of_the_future_comes_true(self, place: Place) -> None:
        store = place.open()
        store.apply(vm(nic("a")), [], at=at(-3600))
        store.apply(vm(nic("b")), [], at=at(3600))
        store.apply(vm(nic("c")), [], at=at(7200))
        store.apply(vm(nic("c")), [], at=at(0))
        assert spans(store.history("uuid-1")) == [
            ("c", at(0), None),
            ("b", at(0), at(0)),
            ("a", at(-3600), at(0)),
        ]
        assert [named(store.map_at(at(second))) for second in (-1, 0, 5400, 9000)] == [["a"], ["c"], ["c"], ["c"]]

    def test_guests_that_do_not_change_come_back_with_the_next_flush(self, place: Place) -> None:
        store = place.open()
        store.apply(vm(nic("a"), nic("gone", id="nic-2")), [], at=at(3600))
        store.apply(vm(nic("b")), [], at=at(7200))
        store.flush_seen({}, at=at(7190))  # somebody has waited for his turn
        assert spans(store.history("uuid-1", nic_id="nic-1", limit=1)) == [("b", at(7200), None)]
        store.flush_seen({}, at=at(0))
        assert named(store.map_at(at(1))) == ["b"]
        assert named(store.map_at(at(5400))) == ["b"]
        assert spans(store.history("uuid-1", nic_id="nic-2")) == [("gone", at(0), at(0))]

    def test_a_clock_that_is_years_behind_for_a_moment_costs_no_history(self, place: Place) -> None:
        """As at a boot without a clock of its own, before NTP."""
        store = place.open()
        store.apply(vm(nic("a")), [], at=at(0))
        store.apply(vm(nic("b")), [], at=at(60))
        store.flush_seen({}, at=at(-(10**8)))
        store.apply(vm(nic("b"), agent=AgentState.BUSY), [], at=at(-(10**8)))
        assert spans(store.history("uuid-1")) == [("b", at(60), None), ("a", at(0), at(60))]


class TestBounds:
    def test_a_nic_that_changes_all_the_time_adds_a_bounded_number_of_rows(self, place: Place) -> None:
        store = place.open()
        for number in range(130):
            store.apply(vm(nic(f"n{number}")), [], at=at(number))
        past = store.history("uuid-1")
        assert len(past) == 121
        assert store.suppressed == {"uuid-1": 10}
        assert (past[0].naming.name, past[0].since) == ("n129", at(129))
        # What was not kept is told as not known, never as another name.
        assert (past[1].naming.name, past[1].naming.verdict) == (None, Verdict.AMBIGUOUS)
        assert (past[1].since, past[1].until) == (at(119), at(129))
        assert "not kept" in past[1].naming.reason
        assert named(store.map_at(at(125))) == [None]
        assert named(store.map_at(at(118))) == ["n118"]
        assert named(store.map_at(at(129))) == ["n129"]
        assert store.load()[0].entry == vm(nic("n129"))
        # The unkept piece is gone for a reader who asks for what came after it.
        assert named(store.history("uuid-1", since=at(129))) == ["n129"]
        assert named(store.history("uuid-1", limit=1)) == ["n129"]

    def test_after_an_hour_there_is_room_again(self, place: Place) -> None:
        store = place.open()
        for number in range(121):
            store.apply(vm(nic(f"n{number}")), [], at=at(number))
        store.apply(vm(nic("later")), [], at=at(3600))
        assert spans(store.history("uuid-1", limit=3)) == [
            ("later", at(3600), None),
            ("n120", at(120), at(3600)),
            (None, at(119), at(120)),
        ]
        assert store.suppressed == {"uuid-1": 1}

    def test_one_nic_takes_no_room_from_another(self, place: Place) -> None:
        store = place.open()
        for number in range(125):
            store.apply(vm(nic(f"n{number}"), nic("quiet", id="nic-2")), [], at=at(number))
        store.apply(vm(nic("n124"), nic("loud", id="nic-2")), [], at=at(200))
        assert named(store.history("uuid-1", nic_id="nic-2")) == ["loud", "quiet"]

    @pytest.mark.parametrize("back", [124, 121, 60, 0])
    def test_a_clock_set_back_leaves_one_truth_here_too(self, place: Place, back: int) -> None:
        store = place.open()
        for number in range(126):
            store.apply(vm(nic(f"n{number}")), [], at=at(number))
        store.apply(vm(nic("after")), [], at=at(back))
        past = store.history("uuid-1", limit=1000)
        assert spans(past[:1]) == [("after", at(back), None)]
        assert all(entry.until is not None and entry.since <= entry.until <= at(back) for entry in past[1:])
        for second in (0, 30, 59, 60, 120, 122, 125):
            expected = "after" if second >= back else f"n{second}" if second < 119 else None
            assert named(store.map_at(at(second))) == [expected]
        store.apply(vm(nic("onward")), [], at=at(back + 1))
        assert named(store.history("uuid-1", limit=1)) == ["onward"]

    def test_a_clock_set_back_does_not_stop_the_feed(self, place: Place) -> None:
        store = place.open()
        store.apply(vm(), [change()] * 1000, at=at(100_000))
        assert len(store.apply(vm(), [change()] * 3, at=at(0))) == 3

    def test_the_feed_takes_a_bounded_number_of_items_from_a_vm(self, place: Place) -> None:
        store = place.open()
        assert len(store.apply(vm(), [change()] * 990, at=at(0))) == 990
        assert len(store.apply(vm(), [change()] * 20, at=at(1))) == 10
        assert len(store.apply(vm(), [change()] * 20, at=at(2))) == 0
        kept = store.apply(vm(), [change(), change(ChangeKind.NIC_ATTACHED)], at=at(3))
        assert [item.change.kind for item in kept] == [ChangeKind.NIC_ATTACHED]
        assert len(store.apply(vm(uuid="u2"), [change()] * 3, at=at(4))) == 3
        assert len(store.feed(after=0, limit=5000)) == 1004
        assert store.suppressed == {"uuid-1": 31}
        assert len(store.apply(vm(), [change()] * 20, at=at(3601))) == 20
        assert len(store.remove("uuid-1", [change(ChangeKind.VM_REMOVED)], at=at(3602))) == 1


class TestHosts:
    def test_do_not_see_each_other(self, place: Place) -> None:
        store = place.open("host-a")
        store.apply(vm(nic("a")), [change()], at=at(0))
        store.flush_seen({"uuid-1": at(0)}, at=at(0))
        kept = store.load(), store.history("uuid-1"), store.feed(after=0), store.feed_bounds()
        other = place.open("host-b")
        assert list(other.load()) == []
        assert list(other.history("uuid-1")) == []
        assert list(other.map_at(at(0))) == []
        assert other.find_vm("web1") is None
        assert other.last_bearer("uuid-1", "a") is None
        assert list(other.feed(after=0)) == []
        assert other.feed_bounds() == (0, 0)
        # A migrated VM: one UUID on two hosts.
        other.apply(vm(nic("b"), host="host-b"), [change()], at=at(5))
        other.apply(vm(host="host-b"), [change()], at=at(6))
        other.flush_seen({"uuid-1": at(6)}, at=at(6))
        other.remove("uuid-1", [], at=at(7))
        assert other.prune(before=at(100)) > 0
        assert list(other.load()) == []
        store = place.open("host-a")
        assert (store.load(), store.history("uuid-1"), store.feed(after=0), store.feed_bounds()) == kept
        assert store.find_vm("web1") == "uuid-1"


class TestLife:
    def test_a_closed_store_says_so(self, place: Place) -> None:
        store = place.open()
        store.close()
        store.close()
        for call in (
            store.load,
            lambda: store.apply(vm(), [], at=T0),
            lambda: store.feed(after=0),
            lambda: store.prune(before=T0),
        ):
            with pytest.raises(Unavailable, match="closed"):
                call()

    def test_many_threads_write_and_read_at_once(self, place: Place) -> None:
        store = place.open()
        faults: list[BaseException] = []

        def work(worker: int) -> None:
            try:
                for number in range(15):
                    entry = vm(nic(f"n{number}", id=f"nic-{worker}"), uuid=f"u{worker}", name=f"vm{worker}")
                    store.apply(entry, [change()], at=at(number))
                    assert named(store.history(f"u{worker}", limit=1)) == [f"n{number}"]
                    assert all(len(stored.entry.nics) == 1 for stored in store.load())
                    store.feed(after=0, uuid=f"u{worker}")
            except BaseException as fault:  # noqa: BLE001
                faults.append(fault)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert faults == []
        assert len(numbers(store.feed(after=0))) == len(set(numbers(store.feed(after=0)))) == 90
        assert {stored.entry.nics[0].naming.name for stored in store.load()} == {"n14"}
