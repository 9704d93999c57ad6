"""The live table without a terminal: what glows and for how long, how ages tick, what keys do, how it looks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from nicmapd.api.forms import rendering
from nicmapd.cli import layout
from nicmapd.cli.live import ADDRESSES, AGE, GLOW, HEADERS, MAC, NEWS, NIC, STATE, Live
from nicmapd.cli.table import width as width_of
from nicmapd.model import VmEntry
from tests.fakes.clock import FakeClock
from tests.fakes.world import World, make_world, named, uuid_of


@pytest.fixture
def world() -> World:
    return make_world()


@pytest.fixture
def shown(world: World) -> Live:
    table = Live(world.clock.monotonic)
    table.fill(documents(world))
    return table


def documents(world: World, *entries: VmEntry) -> list[Any]:
    """NICs as the API gives them: of these VMs, else of all."""
    return [
        rendering.nic(world.board.sight(entry), nic, now=world.clock.now())
        for entry in entries or world.board.entries()
        for nic in entry.nics
    ]


def renamed(world: World, name: str) -> VmEntry:
    """web1 with its first NIC called `name`."""
    old = world.board.entry(uuid_of(1))
    assert old is not None
    return replace(old, nics=(replace(old.nics[0], naming=replace(old.nics[0].naming, name=name)), *old.nics[1:]))


def glowing(shown: Live) -> dict[tuple[str, str], set[str]]:
    """(VM, NIC) of the rows that glow, and which of their cells."""
    return {(row.cells[0], row.cells[1]): {HEADERS[one] for one in row.glow} for row in shown.rows() if row.glow}


def look(shown: Live, world: World, width: int = 110, height: int = 12) -> list[str]:
    lines = layout.frame(shown, width, height, now=world.clock.monotonic(), wall="12:00:00")
    return ["".join(piece.text for piece in line).rstrip() for line in lines]


# -- what glows


def test_at_first_nothing_glows(shown: Live) -> None:
    assert glowing(shown) == {}


def test_only_the_cell_that_changed_glows_and_not_for_long(shown: Live, world: World) -> None:
    shown.fill(documents(world, renamed(world, "lan0")), uuid=uuid_of(1))
    assert glowing(shown) == {("web1", "lan0"): {"NIC"}}
    world.clock.move(GLOW - 0.1)
    shown.tick()
    assert glowing(shown) == {("web1", "lan0"): {"NIC"}}
    world.clock.move(0.2)
    shown.tick()
    assert glowing(shown) == {}


def test_a_new_nic_glows_all_over(shown: Live, world: World) -> None:
    new = world.vm(7, "new", [world.nic(7, 0, named("eth0"))])
    shown.fill(documents(world, new), uuid=uuid_of(7))
    assert glowing(shown) == {("new", "eth0"): set(HEADERS)}


def test_what_is_gone_says_so_and_goes(shown: Live, world: World) -> None:
    before = shown.counts()
    shown.fill([], uuid=uuid_of(4))
    (row,) = [row for row in shown.rows() if row.gone is not None]
    assert (row.cells[0], row.cells[STATE], row.colour) == ("win10", "gone", "bad")
    assert shown.counts() == (before[0] - 1, before[1] - 1, before[2] - 1)
    world.clock.move(GLOW + 0.1)
    shown.tick()
    assert [row for row in shown.rows() if row.cells[0] == "win10"] == []


def test_reading_everything_finds_what_is_gone_too(shown: Live, world: World) -> None:
    shown.fill([one for one in documents(world) if one["vm"] != "web1"])
    assert {row.cells[0] for row in shown.rows() if row.gone is not None} == {"web1"}


def test_what_comes_back_before_it_went_is_there(shown: Live, world: World) -> None:
    shown.fill([], uuid=uuid_of(4))
    shown.fill(documents(world))
    assert [row.gone for row in shown.rows() if row.cells[0] == "win10"] == [None]


def test_unchanged_glows_not(shown: Live, world: World) -> None:
    world.clock.move(30)
    shown.fill(documents(world))
    assert {cell for cells in glowing(shown).values() for cell in cells} <= {"STATE", "NOTE"}
    assert ("web1", "eth0") not in {key for key, cells in glowing(shown).items() if "NIC" in cells}


def test_ages_tick_between_two_readings(shown: Live, world: World) -> None:
    def age(vm: str) -> float | None:
        return next(row.age(world.clock.monotonic()) for row in shown.rows() if row.cells[0] == vm)

    assert (age("web1"), age("db1")) == (2.0, None)
    world.clock.move(3)
    assert (age("web1"), age("db1")) == (5.0, None)


def test_only_the_last_news_are_kept(shown: Live) -> None:
    for number in range(NEWS + 2):
        shown.tell(str(number))
    assert shown.news == [str(number) for number in range(2, NEWS + 2)]


# -- keys


def press(shown: Live, *keys: str) -> bool:
    return [shown.press(key, 10) for key in keys][-1]


def column(shown: Live, number: int) -> list[str]:
    return [row.cells[number] for row in shown.rows()]


def test_q_ends_unless_it_is_typed(shown: Live) -> None:
    assert press(shown, "q") is False
    assert press(shown, "/", "q") is True
    assert shown.filter == "q"


def test_it_is_sorted_by_any_column_in_both_directions(shown: Live) -> None:
    natural = column(shown, NIC)
    press(shown, "s")
    names = column(shown, NIC)
    assert [name for name in names if name.startswith("e")] == ["ens7", "ens9", "ens10", "eth0", "eth0"]
    assert names[-2:] == ["-", "-"]
    press(shown, "r")
    assert column(shown, NIC) == names[::-1]
    press(shown, "r", "right")
    assert column(shown, MAC) == sorted(column(shown, MAC))
    press(shown, "S", "<")
    assert column(shown, NIC) == natural


def test_ages_are_sorted_as_numbers(shown: Live, world: World) -> None:
    press(shown, *["s"] * AGE)
    ages = [row.age(world.clock.monotonic()) for row in shown.rows()]
    assert ages[-3:] == [840.0, 3 * 86400.0, None]


def test_a_filter_wants_all_its_words_in_any_case(shown: Live) -> None:
    press(shown, "/", *"WEB1 fresh", "enter")
    assert column(shown, NIC) == ["eth0", "ens7"]
    press(shown, "escape")
    assert len(shown.rows()) == 15
    press(shown, "/", *"win11", "backspace", "0", "enter")
    assert column(shown, NIC) == ["Ethernet 2"]
    press(shown, "/", "escape")
    assert (shown.filter, shown.typing, len(shown.rows())) == ("", False, 15)


def test_keys_that_mean_nothing_do_nothing(shown: Live, world: World) -> None:
    before = look(shown, world)
    assert press(shown, "x", "\u4ee5", "f5", "") is True
    assert look(shown, world) == before


def test_scrolling_stays_within_the_table(shown: Live) -> None:
    rows = shown.rows()

    def first(*keys: str) -> int:
        press(shown, *keys)
        return rows.index(shown.visible(rows, 10)[0])

    assert [first("down"), first("j"), first("up"), first("pagedown"), first("pagedown")] == [1, 2, 1, 5, 5]
    assert [first("home"), first("up"), first("end"), first("pageup"), first("G"), first("g")] == [0, 0, 5, 0, 5, 0]


# -- how it looks


def test_a_wide_terminal_shows_everything(shown: Live, world: World) -> None:
    press(shown, "/", *"web1", "enter")
    shown.connected()
    shown.fill(documents(world, renamed(world, "lan0")), uuid=uuid_of(1))
    shown.tell("12:00:00  web1  eth0 renamed to lan0")
    assert look(shown, world, 160) == [
        "nicmapd on host1  live  12:00:00  6 VMs, 15 NICs, 13 named",
        " VM^   NIC   MAC                NETWORK  HOST-IF  STATE      "
        "ADDRESSES                                                  AGE    NOTE",
        "*web1  lan0  52:54:00:00:01:00  default  vnet10   fresh      "
        "192.168.122.10/24 fe80::5054:ff:fe3f:2eb8/64 10.9.0.10/24  2s",
        " web1  ens7  52:54:00:00:01:01  storage  vnet11   fresh      "
        "-                                                          2s     guest uses 52:54:00:dd:00:01",
        " web1  -     52:54:00:00:01:02  default  vnet12   ambiguous  "
        "-                                                          2s     eth5 or eth6",
        *[""] * 5,
        "12:00:00  web1  eth0 renamed to lan0",
        "filter: web1  Esc all  q quit  / filter  s sort  r reverse  up/down scroll",
    ]


def test_a_narrow_terminal_does_without_the_least_important(shown: Live, world: World) -> None:
    press(shown, "/", *"web1", "enter")
    heads = {width: look(shown, world, width)[1].split() for width in (130, 100, 80, 60, 40, 20)}
    assert heads == {
        130: ["VM^", "NIC", "MAC", "NETWORK", "HOST-IF", "STATE", "ADDRESSES", "AGE", "NOTE"],
        100: ["VM^", "NIC", "MAC", "STATE", "ADDRESSES", "AGE", "NOTE"],
        80: ["VM^", "NIC", "MAC", "STATE", "ADDRESSES", "AGE"],
        60: ["VM^", "NIC", "MAC", "STATE"],
        40: ["VM^", "NIC", "STATE"],
        20: ["VM^", "NIC", "STATE"],
    }


@pytest.mark.parametrize("width", [1, 5, 20, 40, 79, 80, 110, 300])
@pytest.mark.parametrize("height", [1, 2, 3, 5, 24, 60])
def test_nothing_is_wider_or_longer_than_the_terminal(shown: Live, world: World, width: int, height: int) -> None:
    for _ in range(NEWS):
        shown.tell("12:00:00  以太网  " + "x" * 200)
    shown.lost("the reason " * 20)
    lines = layout.frame(shown, width, height, now=world.clock.monotonic(), wall="12:00:00")
    assert len(lines) <= height
    for line in lines:
        assert sum(width_of(piece.text) for piece in line) <= width
        assert all(piece.text.isprintable() for piece in line)


def test_long_names_do_not_push_the_rest_away(world: World) -> None:
    table = Live(world.clock.monotonic)
    table.fill(documents(world, world.vm(9, "v" * 200, [world.nic(9, 0, named("以" * 100))])))
    line = look(table, world, 100)[2]
    assert line.startswith(" " + "v" * 19 + "~  " + "以" * 7 + "~ ")
    assert "52:54:00:00:09:00" in line


def test_of_many_addresses_as_many_as_fit(shown: Live, world: World) -> None:
    press(shown, "/", *"eth0 web1", "enter")
    lines = {width: look(shown, world, width)[2].split("fresh")[1].split() for width in (140, 110, 80)}
    assert lines == {
        140: ["192.168.122.10/24", "fe80::5054:ff:fe3f:2eb8/64", "10.9.0.10/24", "2s"],
        110: ["192.168.122.10/24", "+2", "2s"],
        80: ["192.168.122.10/24", "+2", "2s"],
    }


def test_it_says_how_long_the_daemon_is_away(shown: Live, world: World) -> None:
    assert look(shown, world)[0].startswith("nicmapd on host1  connecting  ")
    shown.connected()
    shown.lost("nicmapd is stopping")
    world.clock.move(3)
    shown.lost("No such file or directory")
    world.clock.move(4)
    assert look(shown, world)[0].startswith("nicmapd on host1  lost 7s ago, retrying: No such file or directory  ")
    shown.connected()
    assert look(shown, world)[0].startswith("nicmapd on host1  live  ")


def test_it_says_where_it_is_and_when_nothing_fits(shown: Live, world: World) -> None:
    assert look(shown, world, height=10)[-1].startswith("1-7 of 15  q quit")
    press(shown, "/", *"nope")
    assert look(shown, world)[2] == " no NIC fits nope"
    assert look(shown, world)[-1] == "filter: nope_"
    empty = Live(FakeClock().monotonic)
    assert look(empty, world)[2] == " there are no NICs"


def test_glow_and_state_have_their_styles(shown: Live, world: World) -> None:
    shown.fill(documents(world, renamed(world, "lan0")), uuid=uuid_of(1))
    lines = layout.frame(shown, 200, 30, now=world.clock.monotonic(), wall="")
    styles = {piece.text: piece.style for line in lines for piece in line}
    assert (styles["*"], styles["lan0"], styles["ens7"]) == ("strong", "glow", "strong")
    assert (styles["fresh"], styles["stale"], styles["ambiguous"]) == ("good", "old", "bad")
    assert HEADERS.index("ADDRESSES") == ADDRESSES
