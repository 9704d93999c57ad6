"""nicmapctl doctor: what it finds, how it looks, what it says to do."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from nicmapd.cli import program
from nicmapd.model import AgentState, DomainState, Naming, NicAddress
from tests.fakes.serving import nicmapctl_at, serving
from tests.fakes.world import World, ambiguous, empty_world, named, uuid_of

Run = Callable[..., tuple[int, str, str]]

ADDRESS = NicAddress("eth0", "ipv4", "10.0.0.1", 24)


@pytest.fixture
def world() -> World:
    return empty_world(now=datetime.now(UTC))


@pytest.fixture
def doctor(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    with serving(world, tmp_path) as running:

        def run(*arguments: str) -> tuple[int, str, str]:
            code = nicmapctl_at(running.path, "doctor", *arguments)
            out, err = capsys.readouterr()
            assert all(line.isprintable() for line in (out + err).split("\n"))
            return code, out, err

        yield run


def well(world: World, number: int = 1, name: str = "web1", ip: str = "10.0.0.1") -> Any:
    """A VM that nothing is wrong with."""
    nic = world.nic(number, 0, named("eth0", addresses=(replace(ADDRESS, ip=ip),)))
    return world.vm(number, name, [nic])


def findings(doctor: Run, *arguments: str) -> list[tuple[str, str, str]]:
    """Subject, result and what was checked, of what is not well."""
    document = json.loads(doctor(*arguments, "--json")[1])
    return [
        (one["subject"], one["result"], one["check"]) for one in document["checks"] if one["result"] in ("WARN", "FAIL")
    ]


def test_a_vm_that_is_well(world: World, doctor: Run) -> None:
    well(world)
    assert doctor("web1") == (
        0,
        "nicmapd: answers                           : PASS (version 0.1.0)\n"
        "nicmapd: is connected to libvirt           : PASS (version 9.0.0)\n"
        "nicmapd: can write the map down            : PASS (sqlite)\n"
        "nicmapd: asks the guests in time           : PASS (last pass 1 s ago, every 10 s)\n"
        "web1: the VM runs                          : PASS\n"
        "web1: the domain XML has an agent channel  : PASS\n"
        "web1: the guest agent is connected         : PASS\n"
        "web1: the guest agent answers              : PASS\n"
        "web1: the guest agent tells its interfaces : PASS (version 9.2.0)\n"
        "web1: what is known is up to date          : PASS (the guest answered 2 s ago)\n"
        "web1: every NIC has its name               : PASS (eth0)\n"
        "0 failed, 0 warned, 11 passed\n",
        "",
    )


def test_a_host_shows_of_each_vm_only_what_is_not_well(world: World, doctor: Run) -> None:
    well(world)
    world.vm(2, "off", [], state=DomainState.OFF, agent=AgentState.OFF)
    world.vm(3, "hung \x1b[2J", [world.nic(3, 0, named("eth0"))], agent=AgentState.UNRESPONSIVE, message="no answer")
    code, out, _ = doctor()
    assert code == 1
    lines = [line for line in out.splitlines() if not line.startswith("nicmapd: ")]
    assert [" ".join(line.split()) for line in lines] == [
        "hung \\x1b[2J: the guest agent answers : FAIL (no answer, for 14 m; see whether the guest hangs; else restart "
        "qemu-guest-agent in it; then: nicmapctl refresh 'hung \\x1b[2J')",
        "hung \\x1b[2J: what is known is up to date : WARN (the guest answered 2 s ago; what is shown is from then)",
        "off: the VM runs : SKIP (it is off, its names are those of when it ran)",
        "web1: all is well : PASS (eth0)",
        "1 failed, 1 warned, 5 passed",
    ]


#: Where on its way each state of an agent stops, and how bad that is.
STOPS = {
    AgentState.UNKNOWN: ("WARN", "the domain XML has an agent channel"),
    AgentState.PAUSED: ("WARN", "the VM runs"),
    AgentState.NO_CHANNEL: ("FAIL", "the domain XML has an agent channel"),
    AgentState.NOT_CONNECTED: ("FAIL", "the guest agent is connected"),
    AgentState.UNRESPONSIVE: ("FAIL", "the guest agent answers"),
    AgentState.BUSY: ("WARN", "the guest agent answers"),
    AgentState.FROZEN: ("WARN", "the guest agent answers"),
    AgentState.DISABLED: ("FAIL", "the guest agent tells its interfaces"),
    AgentState.BAD_REPLY: ("FAIL", "the guest agent tells its interfaces"),
}


@pytest.mark.parametrize("state", [state for state in AgentState if state in STOPS])
def test_each_state_of_an_agent_stops_at_its_step(world: World, doctor: Run, state: AgentState) -> None:
    domain = DomainState.PAUSED if state is AgentState.PAUSED else DomainState.RUNNING
    world.vm(1, "web1", [world.nic(1, 0, named("eth0"))], agent=state, age=None, state=domain, message="why")
    result, what = STOPS[state]
    assert findings(doctor, "web1")[0] == ("web1", result, what)
    assert doctor("web1")[0] == (1 if result == "FAIL" else 0)
    document = json.loads(doctor("web1", "--json")[1])
    broken = next(one for one in document["checks"] if one["check"] == what)
    assert broken["advice"], "it must say what to do"
    after = document["checks"][document["checks"].index(broken) + 1 :]
    assert not [one for one in after if one["check"].startswith("the guest agent") and one["result"] == "PASS"]


@pytest.mark.parametrize("name", ["two words", "--all", "\x1b[31m"])
def test_a_line_for_virsh_says_where_the_vm_is_and_which_one(world: World, doctor: Run, name: str) -> None:
    world.vm(1, name, [world.nic(1, 0, named("eth0"))], state=DomainState.PAUSED, agent=AgentState.PAUSED)
    word = "'two words'" if name == "two words" else uuid_of(1)
    assert f"virsh -c qemu:///system resume {word}" in doctor(uuid_of(1))[1]


def test_no_state_of_an_agent_is_forgotten() -> None:
    assert {*AgentState} - {*STOPS} == {AgentState.OK, AgentState.OFF, AgentState.OPTED_OUT}


def test_a_vm_that_may_not_be_asked_is_no_fault(world: World, doctor: Run) -> None:
    world.vm(1, "web1", [], agent=AgentState.OPTED_OUT, age=None, message="agent.opt_out names it")
    code, out, _ = doctor("web1")
    assert (code, findings(doctor, "web1")) == (0, [])
    assert "SKIP (agent.opt_out names it; take it out of agent.opt_out in nicmapd.toml, if that is not wanted)" in out


def test_nics_that_surprise(world: World, doctor: Run) -> None:
    down = world.nic(1, 3, named("eth3", addresses=(ADDRESS,)))
    nics = [
        world.nic(1, 0, ambiguous("eth5", "eth6")),
        world.nic(1, 1, named("eth1", guest_mac="52:54:00:dd:00:01")),
        world.nic(1, 2, named("alias:net7", reachable=False)),
        replace(down, nic=replace(down.nic, link="down")),
    ]
    world.vm(1, "web1", nics)
    assert findings(doctor, "web1") == [
        ("web1", "WARN", "every NIC has its name"),
        ("web1", "WARN", "the guest uses the MACs of the XML"),
        ("web1", "WARN", "every name can be used"),
        ("web1", "WARN", "every cable is plugged in"),
    ]
    code, out, _ = doctor("web1")
    assert code == 0
    assert "52:54:00:00:01:00 may be eth5 or eth6" in out
    assert "nicmapctl link web1 eth3 up" in out


def test_two_vms_with_one_mac_or_one_address(world: World, doctor: Run) -> None:
    well(world)
    well(world, 2, "web2")
    world.vm(
        3,
        "clone",
        [world.nic(3, 0, named("eth0", addresses=(replace(ADDRESS, ip="10.0.0.3"),)), mac="52:54:00:00:02:00")],
    )
    assert findings(doctor) == [
        ("all VMs", "WARN", "each MAC is used by one VM"),
        ("all VMs", "WARN", "each address is used by one VM"),
    ]
    out = doctor()[1]
    assert "52:54:00:00:02:00 is used by clone and web2" in out
    assert "10.0.0.1 on default is claimed by web1 and web2" in out


def test_a_daemon_that_is_not_well(world: World, doctor: Run) -> None:
    world.service.degrade("Failed to connect socket")
    daemon = world.service.daemon
    store = replace(daemon.store, ok=False, message="disk I/O error")
    world.service.daemon = replace(daemon, store=store, watch=replace(daemon.watch, overdue=True))
    world.service.reasons = [*world.service.daemon.degraded(), "the map has not been compared with libvirt yet"]
    assert findings(doctor) == [
        ("nicmapd", "FAIL", "is connected to libvirt"),
        ("nicmapd", "FAIL", "can write the map down"),
        ("nicmapd", "FAIL", "asks the guests in time"),
        ("nicmapd", "WARN", "is ready"),
    ]
    code, out, _ = doctor()
    assert code == 1
    assert "(Failed to connect socket; try it as the user of nicmapd: runuser" in out
    assert "the map has not been compared" in out


def test_a_daemon_that_has_too_much_to_do(world: World, doctor: Run) -> None:
    daemon = world.service.daemon
    store = replace(daemon.store, suppressed={"6ba7b810-9dad-41d1-80b4-00c04fd430c8": 7})
    world.service.daemon = replace(daemon, store=store, watch=replace(daemon.watch, lateness=30.0))
    code, out, _ = doctor()
    assert code == 0
    assert "WARN (7 changes of 1 VM were too many to keep" in out
    assert "WARN (last pass 1 s ago, 30 s late; raise poll.interval or agent.concurrency)" in out


def test_nobody_there_is_a_check_that_failed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert program.run(["--socket", str(tmp_path / "no.sock"), "doctor"]) == 8
    out, err = capsys.readouterr()
    assert out.startswith(f"nicmapd: answers : FAIL (nicmapd does not answer at {tmp_path}/no.sock: No such file")
    assert out.endswith("\n1 failed, 0 warned, 0 passed\n")
    assert err == ""
    assert program.run(["--socket", str(tmp_path / "no.sock"), "doctor", "--json"]) == 8
    assert json.loads(capsys.readouterr().out)["failed"] == 1


def test_a_nic_that_comes_with_the_next_boot_is_not_passed_over(world: World, doctor: Run) -> None:
    entry = well(world)
    coming = world.nic(1, 1, Naming())
    world.board.put(replace(entry, coming=(replace(coming, planned=coming.nic),)))
    code, out, _ = doctor("web1")
    assert (code, "PASS (eth0; 1 NIC more with the next boot)" in out) == (0, True)


def test_a_vm_that_there_is_not(doctor: Run) -> None:
    code, out, err = doctor("nope")
    assert (code, out) == (10, "")
    assert 'there is no VM "nope"' in err
