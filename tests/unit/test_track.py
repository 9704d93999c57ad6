"""What became of the interfaces of a reply: followed where one reading is left, in doubt where two are."""

from __future__ import annotations

import random
from typing import Any

import pytest

from nicmapd.model import Statistics
from nicmapd.track import MAX_GROUP, MAX_STEPS, Course, Sight, booted, continues

A, B, X = "52:54:00:00:00:0a", "52:54:00:00:00:0b", "02:00:00:00:00:01"


def sight(name: str, mac: str | None, packets: int | None) -> Sight:
    counters = None if packets is None else Statistics(packets * 90, packets, 0, 0, packets * 70, packets, 0, 0)
    return Sight(name, mac, counters)


def by_name(*sights: Sight) -> dict[Any, Sight]:
    return {one.name: one for one in sights}


def became(before: dict[Any, Sight], now: dict[Any, Sight]) -> dict[str, str | None]:
    course = Course(before, now)
    return {name: found.name if (found := course.became(name)) else None for name in before}


def test_what_stays_is_itself() -> None:
    before = by_name(sight("eth0", A, 100), sight("eth1", B, 90))
    now = by_name(sight("eth0", A, 200), sight("eth1", B, 190))
    assert became(before, now) == {"eth0": "eth0", "eth1": "eth1"}


def test_a_rename_is_followed_by_mac() -> None:
    assert became(by_name(sight("eth0", A, 100)), by_name(sight("ens3", A, 110))) == {"eth0": "ens3"}


def test_a_changed_mac_is_followed_by_name() -> None:
    assert became(by_name(sight("eth0", A, 100)), by_name(sight("eth0", X, 110))) == {"eth0": "eth0"}


def test_swapped_names_are_told_from_swapped_macs_by_counters() -> None:
    before = by_name(sight("eth0", A, 1000), sight("eth1", B, 500))
    names = by_name(sight("eth1", A, 1010), sight("eth0", B, 510))
    macs = by_name(sight("eth0", B, 1010), sight("eth1", A, 510))
    assert became(before, names) == {"eth0": "eth1", "eth1": "eth0"}
    assert became(before, macs) == {"eth0": "eth0", "eth1": "eth1"}


def test_where_counters_fit_both_nothing_is_certain() -> None:
    before = by_name(sight("eth0", A, 1000), sight("eth1", B, 990))
    now = by_name(sight("eth1", A, 1100), sight("eth0", B, 1090))
    assert became(before, now) == {"eth0": None, "eth1": None}


def test_members_of_a_bond_are_certain_only_while_their_counters_are_apart() -> None:
    before = by_name(sight("eth0", A, 1000), sight("eth1", A, 10))
    apart = by_name(sight("eth0", A, 1500), sight("eth1", A, 10))
    near = by_name(sight("eth0", A, 1500), sight("eth1", A, 1001))
    assert became(before, apart) == {"eth0": "eth0", "eth1": "eth1"}
    assert became(before, near) == {"eth0": None, "eth1": None}


def test_three_that_may_have_changed_places_in_a_circle_are_in_doubt() -> None:
    """No two of them can have been swapped, but all three can have moved on by one."""
    before: dict[Any, Sight] = {
        "a": Sight("a", A, Statistics(0, 10, 0, 0, 0, 0, 0, 0)),
        "b": Sight("b", A, Statistics(0, 0, 0, 0, 0, 10, 0, 0)),
        "c": Sight("c", A, Statistics(0, 0, 0, 0, 10, 0, 0, 0)),
    }
    now: dict[Any, Sight] = {
        "a": Sight("a", A, Statistics(0, 10, 0, 0, 10, 0, 0, 0)),
        "b": Sight("b", A, Statistics(0, 10, 0, 0, 0, 10, 0, 0)),
        "c": Sight("c", A, Statistics(0, 0, 0, 0, 10, 10, 0, 0)),
    }
    assert became(before, now) == {"a": None, "b": None, "c": None}


def test_counters_that_went_back_are_another_interface() -> None:
    assert became(by_name(sight("eth0", A, 100)), by_name(sight("eth0", A, 3))) == {"eth0": None}


def test_one_that_vanished_may_have_taken_anothers_place() -> None:
    before = by_name(sight("eth0", A, 100), sight("mv0", A, 50))
    course = Course(before, by_name(sight("eth0", A, 120)))
    assert course.became("eth0") is None
    assert course.became("eth0", may_be_replaced=False) == sight("eth0", A, 120)


def test_one_that_comes_back_does_not_take_a_residents_place() -> None:
    gone = sight("eth2", A, 600)
    before = {**by_name(sight("eth2", A, 0)), "gone": gone}
    course = Course(before, by_name(sight("eth2", A, 20000)))
    assert not course.stays("gone")
    assert course.became("gone") is None
    assert [one.name for one in course.possible("gone")] == ["eth2"]


def test_one_that_comes_back_moves_nothing_that_stayed() -> None:
    """eth2 and eth3 have one MAC now. What was eth2 once may be back; that eth2 is eth3 then is no reading."""
    away = sight("eth2", X, 50)
    before = {**by_name(sight("eth2", A, 100), sight("eth3", B, 110)), "away": away}
    now = by_name(sight("eth2", A, 100), sight("eth3", A, 110))
    course = Course(before, now, away=("away",))
    assert course.became("eth2", may_be_replaced=False) == now["eth2"]
    assert course.became("away") is None


def test_one_that_seems_to_be_back_may_be_another_that_was_given_its_mac() -> None:
    """It had the name while the first one was away: that name and MAC are the first one's tells nothing."""
    first = sight("eth0", A, 50)
    before = {**by_name(sight("eth0", B, 100)), "away": first}
    course = Course(before, by_name(sight("eth0", A, 110)), away=("away",))
    assert course.stays("away")
    assert course.became("away", may_be_replaced=False) is None
    assert course.became("eth0") is None
    gone = {**by_name(sight("eth1", B, 100)), "away": first}
    course = Course(gone, by_name(sight("eth0", A, 110)), away=("away",))
    assert course.became("away", may_be_replaced=False) == sight("eth0", A, 110), "it bears another name and MAC"


def test_a_reading_in_which_what_was_away_stays_away_counts_as_well() -> None:
    before = {**by_name(sight("eth1", A, 100)), "away": sight("eth1", X, 50)}
    now = by_name(sight("eth1", B, 100), sight("eth0", A, 110))
    course = Course(before, now, away=("away",))
    assert course.became("eth1") is None, "renamed, and the other is back; or its MAC was changed, and eth0 is new"
    assert course.became("away") is None


def test_a_device_may_change_name_and_mac_at_once() -> None:
    before = by_name(sight("eth0", A, 1000), sight("eth1", B, 1000))
    now = by_name(sight("eth0", A, 1000), sight("eth9", A, 1000))
    assert Course(before, now).became("eth0") is None
    assert Course(before, now, devices=("eth0", "eth1"), macs=(A, B)).became("eth0") is None
    apart = by_name(sight("eth0", A, 1000), sight("eth1", X, 1000))
    assert Course(before, apart).became("eth0") == apart["eth0"]


def test_without_counters_only_what_is_alone_is_certain() -> None:
    before = by_name(sight("eth0", A, None), sight("eth1", B, None))
    assert became(before, before) == {"eth0": "eth0", "eth1": "eth1"}
    bond = by_name(sight("eth0", A, None), sight("eth1", A, None))
    assert became(bond, bond) == {"eth0": None, "eth1": None}


def test_a_crowd_of_one_mac_is_in_doubt_and_costs_little() -> None:
    crowd = by_name(*(sight(f"v{number}", A, number) for number in range(MAX_GROUP + 1)))
    assert set(became(crowd, crowd).values()) == {None}


def test_a_long_row_in_which_each_took_the_name_of_the_next_is_followed() -> None:
    """The first one is found only if all the others move on; no limit of the language comes first."""
    count = 2000
    before = by_name(*(sight(f"n{number}", f"m{number}", None) for number in range(count)))
    now = by_name(*(sight(f"n{number + 1}", f"m{number}", None) for number in range(count)))
    course = Course(before, now)
    assert {key: found.name for key in before if (found := course.became(key))} == {
        f"n{number}": f"n{number + 1}" for number in range(count)
    }
    assert course.steps < 10 * count


@pytest.mark.parametrize(("shift", "gone"), [(0, 0), (1, 1), (3, 300)])
def test_what_a_guest_makes_up_costs_no_more_than_so_many_steps(shift: int, gone: int) -> None:
    """Four times as many of one MAC as are compared, and others; all MACs move on."""
    crowd = [(f"g{nic}n{one}", nic) for nic in range(4) for one in range(MAX_GROUP)]

    def shown(shift: int) -> list[Sight]:
        crowded = [sight(name, f"nic{(nic + shift) % 4}", None) for name, nic in crowd]
        return crowded + [sight(f"o{one}", f"other{(one + shift) % 512}", None) for one in range(512)]

    before, now = by_name(*shown(0)), by_name(*shown(shift)[gone:])
    course = Course(before, now, devices=list(before), macs=[f"nic{nic}" for nic in range(4)])
    assert [course.became(name) for name, _nic in crowd] == [None] * len(crowd)
    course.names(before)
    assert course.steps <= MAX_STEPS + 1


def test_what_is_not_worked_out_may_be_anything() -> None:
    crowd = [sight(f"{group}{one}", f"mac{group}", 2 * one) for group in range(3) for one in range(MAX_GROUP)]
    before, now = by_name(*crowd), by_name(*crowd, sight("eth0", X, 5))
    course = Course(before, now)
    assert course.names(before) == set(now)
    assert course.became("00") is None
    assert len(course.possible(f"2{MAX_GROUP - 1}")) == len(now)


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        (Statistics(1, 1), Statistics(2, 1), True),
        (Statistics(1, 1), Statistics(2, 0), False),
        (Statistics(1, None), Statistics(1, 7), True),
        (Statistics(rx_bytes=1), Statistics(tx_bytes=1), None),
        (None, Statistics(1), None),
    ],
)
def test_counters_never_go_back(before: Statistics | None, now: Statistics | None, expected: bool | None) -> None:
    assert continues(before, now) is expected


def test_a_loopback_that_counts_anew_tells_of_a_boot() -> None:
    old = by_name(sight("lo", None, 50), sight("eth0", A, 1000))
    assert booted(old, by_name(sight("lo", None, 2), sight("eth0", A, 3)))
    assert not booted(old, by_name(sight("lo", None, 50), sight("eth0", A, 3)))
    assert not booted(old, by_name(sight("eth0", A, 3)))


def readings(before: dict[Any, Sight], now: dict[str, Sight], away: set[str]) -> list[dict[str, str]]:
    """All readings in which as many as possible go on of those that are not `away`, found by trying everything."""
    found: list[dict[str, str]] = [{}]
    for key, old in before.items():
        near = [one for one in now.values() if one.name == old.name or (one.mac is not None and one.mac == old.mac)]
        fits = [one.name for one in near if continues(old.counters, one.counters) is not False]
        found += [{**reading, key: name} for reading in found for name in fits if name not in reading.values()]
    most = max(len(reading.keys() - away) for reading in found)
    return [reading for reading in found if len(reading.keys() - away) == most]


def test_what_is_certain_is_so_in_every_reading() -> None:
    chance = random.Random(1)
    certain = 0
    for _ in range(3000):
        names, count = ["a", "b", "c", "d"], chance.choice((0, 20))
        before: dict[Any, Sight] = by_name(
            *(sight(name, chance.choice((A, B)), chance.randint(0, count)) for name in names if chance.random() < 0.7)
        )
        before |= {key: sight(chance.choice(names), A, chance.randint(0, count)) for key in ("y", "z")}
        now = by_name(
            *(sight(name, chance.choice((A, B)), chance.randint(0, 40)) for name in names[chance.randint(0, 2) :])
        )
        course = Course(before, now, away=("y", "z"))
        away = {key for key in ("y", "z") if not course.stays(key)}
        every = readings(before, now, away)
        for key in before:
            found = course.became(key)
            if found is None:
                continue
            certain += 1
            assert {reading[key] for reading in every if key in reading} == {found.name}
            if key in away:
                assert all(reading[other] != found.name for reading in every for other in reading.keys() - away)
            else:
                assert all(key in reading for reading in every)
    assert certain > 900
