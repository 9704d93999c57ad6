"""`nicmapctl events`: what it prints of a feed, for people, for scripts, in trouble."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from nicmapd import changes
from nicmapd.api.feed import Feed
from nicmapd.model import AgentState, AgentStatus, Change, ChangeKind, NicAddress
from tests.fakes.serving import nicmapctl_at, serving
from tests.fakes.world import HOSTILE, World, empty_world, named, uuid_of
from tests.lab.waiting import eventually
from tests.unit.test_cli_process import COMMAND, on_terminal

WHEN = "2026-01-01 00:00:00"


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """Some changes of web1, of a hostile VM and of the host."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    world = empty_world()
    web1 = world.vm(1, "web1", [world.nic(1, 0, named("eth0"))])
    renamed = replace(web1, nics=(replace(web1.nics[0], naming=named("lan0")),))
    addressed = replace(
        web1,
        nics=(replace(web1.nics[0], naming=named("lan0", addresses=(NicAddress("lan0", "ipv4", "10.0.0.1", 24),))),),
    )
    hung = replace(addressed, agent=AgentStatus(AgentState.UNRESPONSIVE, None, "no answer within 2 s", None))
    for old, new in ((web1, renamed), (renamed, addressed), (addressed, hung), (hung, replace(hung, nics=()))):
        world.store.apply(new, changes.diff(old, new), at=world.clock.now())
    other = world.vm(2, HOSTILE, [])
    world.store.remove(other.vm.uuid, [Change(ChangeKind.VM_REMOVED, "gone \x1b[31m")], at=world.clock.now())
    note(world, "connected to libvirt")
    return world


def note(world: World, sentence: str) -> None:
    world.feed.announce(world.store.note([Change(ChangeKind.RESYNC, sentence)], at=world.clock.now()))


@pytest.fixture
def path(world: World, tmp_path: Path) -> Iterator[Path]:
    with serving(world, tmp_path) as running:
        yield running.path


def nicmapctl(path: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = nicmapctl_at(path, *arguments)
    out, err = capsys.readouterr()
    return code, out, err


def test_events_of_a_vm_that_is_gone(path: Path, world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.board.drop(uuid_of(2))
    code, out, _ = nicmapctl(path, capsys, "events", HOSTILE, "--after", "0", "--count", "1")
    assert (code, out.count("vm.removed")) == (0, 1)


def test_events_for_people(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert nicmapctl(path, capsys, "events", "--after", "0", "--count", "6") == (
        0,
        f"{WHEN}  nic.renamed    web1  eth0 renamed to lan0 (52:54:00:00:01:00)\n"
        f"{WHEN}  nic.addresses  web1  lan0 (52:54:00:00:01:00): 10.0.0.1/24\n"
        f"{WHEN}  agent.state    web1  agent was ok, is unresponsive: no answer within 2 s\n"
        f"{WHEN}  nic.detached   web1  lan0 (52:54:00:00:01:00) detached\n"
        f"{WHEN}  vm.removed     <b>\\x1b[31mred\\u202e [/oops] 以太网  gone \\x1b[31m\n"
        f"{WHEN}  resync         -  connected to libvirt\n",
        "",
    )


def test_events_of_a_vm_as_json(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = nicmapctl(path, capsys, "--json", "events", "web1", "--after", "1", "--count", "4")
    assert (code, err, out.isascii()) == (0, "", True)
    found = [json.loads(line) for line in out.splitlines()]
    assert [(one["id"], one["kind"], one["vm"], one["name"]) for one in found] == [
        (2, "nic.addresses", "web1", "lan0"),
        (3, "agent.state", "web1", None),
        (4, "nic.detached", "web1", "lan0"),
        (6, "resync", None, None),
    ]
    assert found[0]["details"] == {"addresses": ["10.0.0.1/24"], "stack": []}


def test_events_on_a_terminal(path: Path) -> None:
    coloured = on_terminal(path, "events", "--after", "3", "--count", "2")
    assert coloured.startswith(f"{WHEN}  \x1b[31mnic.detached\x1b[0m   web1  lan0")
    plain = on_terminal(path, "events", "--after", "3", "--count", "2", NO_COLOR="1")
    assert all(line.isprintable() for line in plain.split("\n"))


@pytest.mark.parametrize(
    ("arguments", "code", "err"),
    [
        (
            ["events", "--after", "99"],
            6,
            "nicmapctl: the log of changes has not come to number 99 yet (the newest is 6): it is another store than "
            "the one that gave that number. Read the map, then follow the events without a number\n"
            "Try: nicmapctl events --after 0\n",
        ),
        (
            ["events", "nobody"],
            10,
            'nicmapctl: there is no VM "nobody" on this host; `nicmapctl list` shows them all\nTry: nicmapctl list\n',
        ),
        (["events", "--after", "-1"], 2, None),
        (["events", "--count", "0"], 2, None),
    ],
)
def test_what_is_wrong_is_said(
    path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, err: str | None
) -> None:
    world_code, out, said = nicmapctl(path, capsys, *arguments)
    assert (world_code, out) == (code, "")
    assert err is None or said == err


def test_a_number_that_is_not_kept_comes_with_the_oldest_that_is(
    world: World, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world.clock.wall += timedelta(days=2)
    note(world, "new")
    world.store.prune(before=world.clock.now())
    code, _, err = nicmapctl(path, capsys, "events", "web1", "--after", "2")
    assert (code, err.splitlines()[1]) == (6, "Try: nicmapctl events web1 --after 6")


def test_without_a_daemon_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = nicmapctl(tmp_path / "no.sock", capsys, "events")
    assert (code, out, len(err.splitlines())) == (8, "", 2)


def test_a_restart_of_the_daemon_is_waited_for_and_nothing_is_missed(world: World, tmp_path: Path) -> None:
    command = [*COMMAND, "--socket", str(tmp_path / "api.sock"), "events", "--after", "5"]
    pipe = subprocess.PIPE
    with serving(world, tmp_path) as running:
        process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True)
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == f"{WHEN}  resync         -  connected to libvirt\n"
        running.stop()
    with process:
        assert process.stderr.readline() == "nicmapctl: lost the daemon (nicmapd is stopping), trying again\n"
        note(world, "while away")
        with serving(replace(world, feed=Feed(world.store)), tmp_path):
            assert process.stderr.readline() == "nicmapctl: connected again\n"
            assert process.stdout.readline() == f"{WHEN}  resync         -  while away\n"
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == 130


def test_changes_come_as_they_happen(world: World, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def change() -> None:
        eventually(lambda: world.feed.streams == 1)
        note(world, "late")

    changing = threading.Thread(target=change)
    changing.start()
    assert nicmapctl(path, capsys, "events", uuid_of(1), "--count", "1")[1] == f"{WHEN}  resync         -  late\n"
    changing.join()
