"""Who is next, and how many places suspects may take."""

from __future__ import annotations

import pytest

from nicmapd.lanes import Lane, Lanes


def filled(places: int) -> Lanes:
    lanes = Lanes(places)
    for lane in Lane:
        lanes.put(lane.value, lane)
    return lanes


def order(lanes: Lanes, suspects: int) -> list[str]:
    found = []
    while (uuid := lanes.next(suspects)) is not None:
        found.append(uuid)
    return found


@pytest.mark.parametrize(
    ("places", "suspects", "expected"),
    [
        (4, 0, ["wished", "suspects", "urgent", "routine"]),
        (4, 1, ["wished", "urgent", "routine"]),
        (4, 2, ["urgent", "routine"]),
        (2, 1, ["urgent", "routine"]),
        (1, 0, ["urgent", "routine", "wished", "suspects"]),
        (1, 1, ["urgent", "routine"]),
    ],
)
def test_suspects_have_one_place_and_one_more_for_who_is_asked_for(
    places: int, suspects: int, expected: list[str]
) -> None:
    assert order(filled(places), suspects) == expected


def test_events_without_end_do_not_hold_up_whose_turn_it_is() -> None:
    lanes = Lanes(4)
    for number in range(10):
        lanes.put(f"urgent{number}", Lane.URGENT)
    for name in ("a", "b", "c"):
        lanes.put(name, Lane.ROUTINE)
    found = order(lanes, 0)
    assert [found.index(name) for name in ("a", "b", "c")] == [4, 9, 12]


def test_within_a_lane_the_first_comes_first() -> None:
    lanes = Lanes(4)
    for uuid in ("a", "b", "c"):
        lanes.put(uuid, Lane.ROUTINE)
    assert order(lanes, 0) == ["a", "b", "c"]
