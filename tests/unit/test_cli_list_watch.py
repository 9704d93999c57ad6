"""`nicmapctl list -w`: the list, then each NIC that changes, until Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from nicmapd import changes
from nicmapd.api.feed import Feed
from nicmapd.cli import program
from nicmapd.model import Change, ChangeKind, NicEntry, VmEntry
from tests.fakes.serving import serving
from tests.fakes.terminal import Terminal
from tests.fakes.world import World, make_world, named, uuid_of
from tests.lab.waiting import eventually
from tests.unit.test_cli_process import COMMAND


@pytest.fixture
def world() -> World:
    return make_world()


@pytest.fixture
def path(world: World, tmp_path: Path) -> Iterator[Path]:
    with serving(world, tmp_path) as running:
        yield running.path


class Watching:
    """A `list -w` that runs. `lines` reads so many of its stdout."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def lines(self, count: int) -> list[str]:
        assert self.process.stdout is not None
        return [self.process.stdout.readline().rstrip("\n") for _ in range(count)]

    def remark(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.readline()


@contextmanager
def watching(path: Path, *arguments: str) -> Iterator[Watching]:
    command = [*COMMAND, "--socket", str(path), "list", "-w", *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdout=pipe, stderr=pipe, text=True, env={**os.environ, "PYTHONUTF8": "1"}
    ) as process:
        deadline = threading.Timer(30, process.kill)  # a line that does not come must not be waited for for ever
        deadline.start()
        try:
            yield Watching(process)
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == 130
        finally:
            deadline.cancel()
            process.kill()


def web1(world: World) -> VmEntry:
    found = world.board.entry(uuid_of(1))
    assert found is not None
    return found


def become(world: World, *nics: NicEntry) -> None:
    """web1 has these NICs from now on."""
    old, new = web1(world), replace(web1(world), nics=nics)
    world.board.put(new)
    world.feed.announce(world.store.apply(new, changes.diff(old, new), at=world.clock.now()))


def rename(world: World, name: str) -> None:
    first, *rest = web1(world).nics
    become(world, replace(first, naming=named(name)), *rest)


def test_each_change_is_a_line_of_the_table(world: World, path: Path) -> None:
    with watching(path, "web1", "-c", "name,mac,state,age") as output:
        assert output.lines(4) == [
            "NIC   MAC                STATE      AGE",
            "eth0  52:54:00:00:01:00  fresh      2s",
            "ens7  52:54:00:00:01:01  fresh      2s",
            "-     52:54:00:00:01:02  ambiguous  2s",
        ]
        rename(world, "x")
        assert output.lines(1) == ["x     52:54:00:00:01:00  fresh      2s"]
        become(world, *web1(world).nics, world.nic(1, 7, named("much_longer")))
        assert output.lines(1) == ["much_longer  52:54:00:00:01:07  fresh      2s"]
        become(world, *web1(world).nics[1:])
        assert output.lines(1) == ["x            52:54:00:00:01:00  gone       -"]


def test_for_scripts_each_line_is_an_object(world: World, path: Path) -> None:
    with watching(path, "web1", "-o", "jsonl") as output:
        first = [json.loads(line) for line in output.lines(3)]
        assert [(one["event"], one["nic"]["name"]) for one in first] == [
            ("there", "eth0"),
            ("there", "ens7"),
            ("there", None),
        ]
        rename(world, "lan0")
        (changed,) = map(json.loads, output.lines(1))
        assert (changed["event"], changed["nic"]["name"]) == ("changed", "lan0")
        become(world, *web1(world).nics[1:])
        (gone,) = map(json.loads, output.lines(1))
        assert (gone["event"], gone["nic"]["name"]) == ("gone", "lan0")


def test_csv_goes_on_without_its_headers(world: World, path: Path) -> None:
    with watching(path, "web1", "-o", "csv", "-c", "vm,name") as output:
        assert output.lines(4) == ["vm,name", "web1,eth0", "web1,ens7", "web1,"]
        rename(world, "lan0")
        assert output.lines(1) == ["web1,lan0"]


def test_what_does_not_fit_any_more_is_gone(world: World, path: Path) -> None:
    with watching(path, "--network", "storage", "-c", "vm,name,network,state") as output:
        assert output.lines(2)[1] == "web1  ens7  storage  fresh"
        first, second, third = web1(world).nics
        become(world, first, replace(second, nic=replace(second.nic, network="default")), third)
        assert output.lines(1) == ["web1  ens7  storage  gone"]


def test_a_vm_that_goes_takes_its_nics_along(world: World, path: Path) -> None:
    with watching(path, "-c", "vm,state", "--no-headers") as output:
        output.lines(15)
        world.board.drop(uuid_of(4))
        gone = Change(ChangeKind.VM_REMOVED, "gone from this host")
        world.feed.announce(world.store.remove(uuid_of(4), [gone], at=world.clock.now()))
        assert output.lines(1)[0].split() == ["win10", "gone"]


def test_what_looks_the_same_is_not_repeated(world: World, path: Path) -> None:
    with watching(path, "web1", "-c", "name") as output:
        output.lines(4)
        first, *rest = web1(world).nics
        become(world, replace(first, nic=replace(first.nic, model="e1000e")), *rest)
        rename(world, "lan0")
        assert output.lines(1) == ["lan0"]


def test_a_restart_of_the_daemon_is_waited_for(world: World, tmp_path: Path) -> None:
    with serving(world, tmp_path) as running, watching(running.path, "web1", "-c", "name") as output:
        output.lines(4)
        running.stop()
        assert output.remark() == "nicmapctl: lost the daemon (nicmapd is stopping), trying again\n"
        rename(world, "while_away")
        with serving(replace(world, feed=Feed(world.store)), tmp_path):
            assert output.remark() == "nicmapctl: connected again\n"
            assert output.lines(1) == ["while_away"]


def test_on_a_terminal_it_stays_in_line_and_escaped(world: World, path: Path) -> None:
    command = [*COMMAND, "--socket", str(path), "list", "web1", "-w"]
    with Terminal(command, columns=100, NO_COLOR="1") as terminal:
        before = [line for line in terminal.until(lambda lines: any("eth5 or eth6" in line for line in lines)) if line]
        eventually(lambda: world.feed.streams == 1)
        rename(world, "\x1b[2J\u202e")
        after = terminal.until(lambda lines: any("\\x1b[2J\\u202e" in line for line in lines))
        assert after[: len(before)] == before
        assert b"\x1b[2J" not in terminal.raw


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--at", "2h"], "--at is the past"), (["-o", "name"], "-w is for the forms table, wide, jsonl and csv")],
)
def test_what_makes_no_sense_is_refused(
    path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    code = program.run(["--socket", str(path), "list", "-w", *arguments])
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert words in err


def test_a_vm_that_is_not_there_is_said_at_once(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert program.run(["--socket", str(path), "list", "nobody", "-w"]) == 10
    assert "nobody" in capsys.readouterr().err
