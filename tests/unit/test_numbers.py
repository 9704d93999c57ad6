"""Interface numbers: what a settled bond costs, and that a swap within it is seen all the same."""

from __future__ import annotations

import base64
import itertools
import json
from typing import NoReturn

import pytest

from nicmapd.board import Board
from nicmapd.config import AgentConfig
from nicmapd.interview import PassMemory
from nicmapd.keeper import Keeper
from nicmapd.model import GuestReply
from nicmapd.numbers import interface_numbers
from nicmapd.refresh import Refresher
from tests.fakes.brittle import BrittleStore
from tests.fakes.clock import FakeClock
from tests.fakes.wire_guest import Device, Link, WireGuest

#: The reply before, open, read and close of the list of numbers, the reply after.
SETTLED_CALLS = 5


class Daemon:
    """Passes over a guest with a bond of two NICs, whose members' counters nobody tells."""

    def __init__(self) -> None:
        self.guest = WireGuest(2)
        self.guest.statistics = False
        self.first, self.second = self.guest.links
        self.guest.do_bond("bond0", [self.first, self.second])
        clock, ids = FakeClock(), itertools.count()
        self.board = Board(clock)
        keeper = Keeper(BrittleStore(host="host1"), self.board, clock=clock)
        self.refresher = Refresher(
            self.guest, keeper, self.board, clock=clock, settings=AgentConfig(), new_id=lambda: f"nic{next(ids)}"
        )
        self.memory = PassMemory()

    def calls(self) -> int:
        """Calls that one pass makes; the map is the truth after it."""
        before = len(self.guest.calls)
        assert self.refresher.run(self.guest.vm, self.memory).answered
        entry = self.board.entry(self.guest.vm.uuid)
        assert entry is not None
        names = {str(nic.nic.alias): nic.naming.name for nic in entry.nics if nic.naming.name is not None}
        assert names == self.guest.truth()
        return len(self.guest.calls) - before

    def settle(self) -> None:
        for _ in range(3):
            self.calls()


@pytest.fixture
def daemon() -> Daemon:
    return Daemon()


def test_a_settled_bond_costs_one_file_more(daemon: Daemon) -> None:
    first = daemon.calls()
    daemon.settle()
    assert daemon.calls() == SETTLED_CALLS
    assert first > 3 * SETTLED_CALLS


def test_members_that_swap_their_names_are_seen(daemon: Daemon) -> None:
    daemon.settle()
    daemon.guest.do_swap_names(daemon.first, daemon.second)
    assert daemon.calls() == SETTLED_CALLS, "a number keeps its device through renames"


def test_a_member_whose_driver_is_loaded_anew_is_verified_anew(daemon: Daemon) -> None:
    daemon.settle()
    daemon.guest.do_reload_driver(daemon.first)
    daemon.guest.do_bond("bond0", [daemon.guest.links[-1]])
    assert daemon.calls() > SETTLED_CALLS


def test_a_member_that_is_down_is_not_listed_and_verified_each_time(daemon: Daemon) -> None:
    daemon.second.up = False
    daemon.settle()
    assert daemon.calls() > SETTLED_CALLS


def test_an_interface_with_the_number_of_one_that_moved_away_is_not_taken_for_it(daemon: Daemon) -> None:
    daemon.settle()
    gone = daemon.first
    daemon.guest.do_release(gone)
    daemon.guest.do_hide(gone)
    daemon.guest.links.append(Link("eth0", "02:00:00:00:00:01", None, "macvlan", number=gone.number))
    daemon.calls()


def test_what_was_verified_is_forgotten_when_the_agent_restarts(daemon: Daemon) -> None:
    daemon.settle()
    daemon.memory.agent_restarted()
    daemon.guest.do_boot()
    # Numbers are given anew by a boot, in any order.
    first, second = daemon.guest.links
    first.number, second.number = daemon.second.number, daemon.first.number
    daemon.guest.do_bond("bond0", [first, second])
    daemon.calls()


def test_what_is_verified_does_not_grow_with_the_macs_that_a_guest_makes_up(daemon: Daemon) -> None:
    daemon.settle()
    for number in range(30):
        daemon.first.mac = f"02:00:00:00:00:{number:02x}"
        daemon.calls()
    assert len(daemon.memory.verified._proofs) <= len(daemon.guest.links)


def test_a_nic_that_was_attached_elsewhere_with_its_mac_is_found_again(daemon: Daemon) -> None:
    """Detached and attached while no pass came in between; what has its name and MAC has counted more than it had."""
    guest = daemon.guest
    guest.statistics = True
    guest.do_remove(guest.links[2])
    for link in guest.links:
        link.mac = link.device.mac if link.device is not None else link.mac
        link.count(1000)
    daemon.settle()
    old = guest.links[1].device
    assert old is not None
    guest.devices[1] = new = Device(old.mac, old.alias, 20, 28, old.model)
    guest.links[1] = Link(guest.links[1].name, new.mac, new)
    guest.links[1].count(5000)
    daemon.memory.domain_changed()
    daemon.calls()


def test_where_nothing_is_to_be_verified_no_numbers_are_read(daemon: Daemon) -> None:
    daemon.settle()

    def nobody(request: str) -> NoReturn:
        raise AssertionError(request)

    found = daemon.memory.verified.look([], GuestReply(()), daemon.memory.join, ask=nobody, probe=nobody)
    assert found == {}


def numbers_in(text: str) -> dict[str, int]:
    def ask(command: str) -> str:
        request = json.loads(command)
        if request["execute"] == "guest-file-read":
            return json.dumps({"return": {"buf-b64": base64.b64encode(text.encode()).decode(), "eof": True}})
        return json.dumps({"return": 1000})

    return dict(interface_numbers(ask))


HEAD = "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n"
GROUP = "\t\t\t\t010000E0     1 0:00000000\t\t0\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            f"{HEAD}1\tlo        :     1      V3\n{GROUP}12\teth0      :     2      V3\n{GROUP}{GROUP}",
            {"lo": 1, "eth0": 12},
        ),
        (f"{HEAD}2\tabcdefghijklmno:     1      V3\n{GROUP}", {"abcdefghijklmno": 2}),
        (
            f"{HEAD}2\teth0      :     1      V3\n3\teth0      :     1      V3\n4\teth1      :     1      V3\n",
            {"eth1": 4},
        ),
        (f"{HEAD}2\teth0      :     1      V3\n3\teth1      :  ", {"eth0": 2}),
        (f"{HEAD}99999999999\teth0      :     1      V3\n", {}),
        ("", {}),
        ("\x00\xff garbage\n1 2 3\n", {}),
    ],
)
def test_only_whole_lines_and_single_names_count(text: str, expected: dict[str, int]) -> None:
    assert numbers_in(text) == expected
