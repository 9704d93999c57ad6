"""When a probe is believed: what changed hands within a pass, what stands at one place twice, what is asked again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from nicmapd.join import JoinedNic, Memory, Reading, join, questions
from nicmapd.model import (
    GuestInterface,
    GuestReply,
    HostNic,
    NameSource,
    Naming,
    Probe,
    StackKind,
    Statistics,
    Verdict,
)

A, B = "52:54:00:00:00:0a", "52:54:00:00:00:0b"
FIRST, SECOND = ((2, 0), (0, 0)), ((2, 1), (0, 0))
NICS = (
    HostNic(A, "network", "net0", "0000:01:00.0", slots=FIRST),
    HostNic(B, "network", "net1", "0000:02:00.0", slots=SECOND),
)
DEVICE_1, DEVICE_2 = Probe(True, "0000:09:00.0", slots=FIRST), Probe(True, "0000:0a:00.0", slots=SECOND)
SOFTWARE = Probe(device=False)


def reply(**packets: int | None) -> GuestReply:
    """Interfaces of MAC A (`eth0=7`: with so many packets counted), or of MAC B if the name begins with `b_`."""
    return GuestReply(
        tuple(
            GuestInterface(
                name.removeprefix("b_"),
                B if name.startswith("b_") else A,
                (),
                None if count is None else Statistics(count * 90, count, 0, 0, count * 70, count, 0, 0),
            )
            for name, count in packets.items()
        )
    )


def look(
    shown: GuestReply, memory: Memory, probes: Mapping[str, Probe], *, asked: GuestReply | None = None
) -> tuple[list[str | None], tuple[JoinedNic, ...], Memory]:
    joined, remembered = join(
        Reading(NICS, shown, memory), probes=probes, probing=True, previous=[None, None], asked=asked or shown
    )
    return [one.naming.name for one in joined], joined, remembered


def test_a_proved_name_is_not_asked_again() -> None:
    names, joined, memory = look(reply(eth0=9, b_eth1=7), Memory(), {"eth0": DEVICE_1, "eth1": DEVICE_2})
    assert names == ["eth0", "eth1"]
    assert {one.naming.source for one in joined} == {NameSource.PROBE}
    assert questions(Reading(NICS, reply(eth0=10, b_eth1=7), memory)) == ()


def test_members_of_a_bond_swapped_after_the_probe_are_noticed_at_the_next_pass() -> None:
    """eth0 had 5 and eth1 7; swapped within the pass, and grown: name and MAC the same, counters fit both readings."""
    asked, after = reply(eth0=5, eth1=7), reply(eth0=7, eth1=8)
    _, _, memory = look(after, Memory(), {"eth0": DEVICE_1, "eth1": DEVICE_2}, asked=asked)
    assert set(questions(Reading(NICS, after, memory))) == {"eth0", "eth1"}
    _, _, settled = look(reply(eth0=7, eth1=800), memory, {"eth0": DEVICE_2, "eth1": DEVICE_1})
    assert questions(Reading(NICS, reply(eth0=7, eth1=801), settled)) == ()


def test_a_name_that_was_proved_to_be_another_device_is_proved_twice() -> None:
    first = reply(eth0=100, eth1=900)
    _, _, memory = look(first, Memory(), {"eth0": DEVICE_1, "eth1": DEVICE_2})
    swapped = reply(eth0=901, eth1=100)
    assert set(questions(Reading(NICS, swapped, memory))) == {"eth0", "eth1"}
    names, _, memory = look(swapped, memory, {"eth0": DEVICE_2, "eth1": DEVICE_1})
    assert names == ["eth1", "eth0"]
    assert set(questions(Reading(NICS, swapped, memory))) == {"eth0", "eth1"}
    _, _, memory = look(swapped, memory, {"eth0": DEVICE_2, "eth1": DEVICE_1})
    assert questions(Reading(NICS, swapped, memory)) == ()


def test_an_interface_that_has_carried_nothing_is_asked_each_time() -> None:
    silent = reply(eth0=0, b_eth1=7)
    _, _, memory = look(silent, Memory(), {"eth0": DEVICE_1, "eth1": DEVICE_2})
    assert questions(Reading(NICS, silent, memory)) == ("eth0",)


def test_what_was_probed_as_software_is_not_asked_again_while_all_nics_are_known() -> None:
    shown = reply(eth0=9, vlan7=0, b_eth1=7)
    _, _, memory = look(shown, Memory(), {"eth0": DEVICE_1, "eth1": DEVICE_2, "vlan7": SOFTWARE})
    assert questions(Reading(NICS, shown, memory)) == ()


def test_where_a_fresh_probe_contradicts_an_old_one_the_old_one_falls() -> None:
    _, _, memory = look(reply(eth0=9, b_eth1=7), Memory(), {"eth0": DEVICE_1, "eth1": DEVICE_2})
    both = reply(eth0=10, b_eth1=8, b_up=1)
    names, _, _ = look(both, memory, {"up": DEVICE_2})
    assert names == ["eth0", "up"]


def test_two_at_one_place_are_asked_whom_they_are_enslaved_to() -> None:
    shown = reply(eth0=9, eth0nsby=9, b_eth1=7)
    probes = {"eth0": DEVICE_1, "eth0nsby": DEVICE_1, "eth1": DEVICE_2}
    assert set(questions(Reading(NICS, shown, Memory()), probes)) == {"eth0", "eth0nsby"}
    names, joined, _ = look(shown, Memory(), probes)
    assert names == [None, "eth1"]
    assert joined[0].naming.verdict is Verdict.AMBIGUOUS


def test_the_master_of_a_failover_pair_is_not_its_standby() -> None:
    """net_failover gives its master the device of the standby: sysfs shows two interfaces at one PCI address."""
    shown = reply(eth0=9, eth0nsby=9, b_eth1=7)
    master, standby = Probe(True, slots=FIRST, master=""), Probe(True, slots=FIRST, master="eth0")
    probes = {"eth0": master, "eth0nsby": standby, "eth1": DEVICE_2}
    assert questions(Reading(NICS, shown, Memory()), probes) == ()
    names, joined, _ = look(shown, Memory(), probes)
    assert names == ["eth0nsby", "eth1"]
    assert [(layer.name, layer.kind) for layer in joined[0].naming.stack] == [("eth0", StackKind.BOND)]


def test_a_nic_out_of_sight_lets_everything_be_asked_once() -> None:
    """Its device may be under any name and MAC: also where software was."""
    _, _, memory = look(reply(eth0=9, br9=5, b_eth1=7), Memory(), {"eth0": DEVICE_1, "eth1": DEVICE_2, "br9": SOFTWARE})
    assert set(questions(Reading(NICS, reply(br9=9, b_eth1=7, other=3), memory))) == {"br9", "other"}


def test_a_nic_that_was_attached_elsewhere_with_its_mac_is_asked_for_once_in_a_pass() -> None:
    """Detached and attached between two passes: its old device is trusted, and at a place that no NIC has any more."""
    _, _, memory = look(reply(eth0=9, b_eth1=7), Memory(), {"eth0": DEVICE_1, "eth1": DEVICE_2})
    moved = (NICS[0], replace(NICS[1], slots=((2, 7), (0, 0))))
    shown = reply(eth0=10, b_eth1=8)
    assert questions(Reading(NICS, shown, memory)) == ()
    assert questions(Reading(moved, shown, memory)) == ("eth1",)
    assert questions(Reading(moved, shown, memory), {"eth1": DEVICE_2}) == (), "it is another device indeed"


def test_the_vlans_of_one_nic_keep_no_other_one_waiting() -> None:
    shown = reply(eth0=9, b_eth1=7, **{f"eth0.{number}": 1 for number in range(100)})
    assert questions(Reading(NICS, shown, Memory()))[:2] == ("eth0", "eth1")


def guest(loopback: int, **packets: int) -> GuestReply:
    listed = reply(**packets).interfaces
    counters = Statistics(loopback, loopback, 0, 0, loopback, loopback, 0, 0)
    return GuestReply((*listed, GuestInterface("lo", None, (), counters)))


def test_a_doubt_ends_when_the_guest_boots_and_not_when_only_its_agent_does() -> None:
    def names(shown: GuestReply, memory: Memory, previous: list[Naming | None]) -> tuple[list[Naming | None], Memory]:
        joined, memory = join(Reading(NICS, shown, memory), probes={}, probing=False, previous=previous)
        return [one.naming for one in joined], memory

    doubtful, memory = names(guest(50, eth0=9, svc=8), Memory(), [None, None])
    alone, memory = names(guest(60, eth0=9, b_eth1=5), memory, doubtful)
    assert [naming.name if naming else "" for naming in alone] == [None, "eth1"]
    again, still = names(guest(70, eth0=10, b_eth1=5), memory.after_reconnect(), alone)
    assert [naming.name if naming else "" for naming in again] == [None, "eth1"]
    booted, _ = names(guest(2, eth0=1, b_eth1=1), still.after_reconnect(), again)
    assert [naming.name if naming else "" for naming in booted] == ["eth0", "eth1"]
