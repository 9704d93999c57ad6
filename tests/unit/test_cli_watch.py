"""`nicmapctl watch` on a real terminal (a pty that pyte shows), against a real server."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from nicmapd import changes
from nicmapd.api.feed import Feed
from nicmapd.model import Change, ChangeKind
from tests.fakes.serving import serving
from tests.fakes.terminal import Terminal
from tests.fakes.world import World, make_world, named, uuid_of
from tests.unit.test_cli_process import COMMAND


@pytest.fixture
def world() -> World:
    return make_world()


@pytest.fixture
def path(world: World, tmp_path: Path) -> Iterator[Path]:
    with serving(world, tmp_path) as running:
        yield running.path


def watch(path: Path, *arguments: str, columns: int = 120, lines: int = 24, **environment: str) -> Terminal:
    command = [*COMMAND, "--socket", str(path), "watch", *arguments]
    return Terminal(command, columns=columns, lines=lines, **environment)


def live(lines: list[str]) -> bool:
    return "  live  " in lines[0] and "q quit" in lines[-1]  # it is drawn from the top down


def rename(world: World, name: str) -> None:
    """The guest of web1 renames its first NIC, as a pass would store it."""
    old = world.board.entry(uuid_of(1))
    assert old is not None
    naming = replace(old.nics[0].naming, name=name)
    new = replace(old, nics=(replace(old.nics[0], naming=naming), *old.nics[1:]))
    found = [change for change in changes.diff(old, new) if change.kind is ChangeKind.NIC_RENAMED]
    world.board.put(new)
    world.feed.announce(world.store.apply(new, found, at=world.clock.now()))


def row(lines: list[str], word: str) -> str:
    return next((line for line in lines if word in line), "")


def test_a_rename_is_seen_and_glows(world: World, path: Path) -> None:
    with watch(path, "web1") as terminal:
        before = terminal.until(live)
        assert before[0].startswith("nicmapd on host1  live  ")
        assert before[1].split()[:3] == ["VM^", "NIC", "MAC"]
        assert row(before, "52:54:00:00:01:00").startswith(" web1  eth0  52:54:00:00:01:00")
        rename(world, "lan0")
        after = terminal.until(lambda lines: "lan0" in row(lines, "default"))
        number = after.index(row(after, "default"))
        assert after[number].startswith("*web1  lan0  ")
        styles = terminal.styles(number)
        glowing = "".join(character for character, _, _, reverse in styles if reverse)
        assert glowing == "lan0"
        assert {colour for _, colour, _, reverse in styles if reverse} == {"brown"}
        terminal.until(lambda lines: "eth0 renamed to lan0" in row(lines, "renamed"))
        terminal.until(lambda lines: row(lines, "lan0  ").startswith(" web1"), within=8)
        terminal.press("q")
        assert terminal.end() == 0


def test_what_is_attached_and_detached_comes_and_goes(world: World, path: Path) -> None:
    old = world.board.entry(uuid_of(1))
    assert old is not None
    with watch(path) as terminal:
        terminal.until(live)
        for new in (replace(old, nics=(*old.nics, world.nic(1, 5, named("wan0")))), old):
            known = world.board.entry(uuid_of(1))
            world.board.put(new)
            world.feed.announce(world.store.apply(new, changes.diff(known, new), at=world.clock.now()))
            terminal.until(lambda lines: row(lines, "wan0").startswith("*"))
        terminal.until(lambda lines: "gone" in row(lines, "52:54:00:00:01:05"))
        terminal.until(lambda lines: not any(line[1:].startswith("web1  wan0") for line in lines), within=8)


def test_a_vm_that_is_removed_goes(world: World, path: Path) -> None:
    entry = world.board.entry(uuid_of(4))
    assert entry is not None
    with watch(path) as terminal:
        terminal.until(live)
        world.board.drop(entry.vm.uuid)
        gone = Change(ChangeKind.VM_REMOVED, "gone from this host")
        world.feed.announce(world.store.remove(entry.vm.uuid, [gone], at=world.clock.now()))
        terminal.until(lambda lines: "gone" in row(lines, "win10"))


def test_it_survives_a_restart_of_the_daemon(world: World, tmp_path: Path) -> None:
    with serving(world, tmp_path) as running, watch(running.path) as terminal:
        terminal.until(live)
        running.stop()
        lost = terminal.until(lambda lines: "retrying" in lines[0])
        assert re.match(r"nicmapd on host1  lost \d+s ago, retrying: ", lost[0])
        assert row(lost, "52:54:00:00:01:00")
        rename(world, "while_away")
        terminal.until(lambda lines: re.search("lost [1-9]", lines[0]))
        with serving(replace(world, feed=Feed(world.store)), tmp_path):
            back = terminal.until(lambda lines: live(lines) and "while_away" in row(lines, "52:54:00:00:01:00"))
            assert row(back, "52:54:00:00:01:00").startswith("*web1")
            terminal.until(lambda lines: row(lines, "eth0 renamed to while_away"))
            terminal.press("q")
            assert terminal.end() == 0


def test_keys_sort_filter_and_scroll(path: Path) -> None:
    with watch(path, lines=8) as terminal:
        terminal.until(live)
        terminal.press("\x1b[B")
        terminal.until(lambda lines: lines[-1].startswith("2-5 of 15") or lines[-1].startswith("2-6 of 15"))
        terminal.press("/win")
        terminal.until(lambda lines: lines[-1] == "filter: win_")
        terminal.press("\r")
        terminal.until(lambda lines: lines[2].startswith(" win10"))
        terminal.press("\x1b")
        terminal.until(lambda lines: "of 15" in lines[-1])
        terminal.press("s")
        terminal.until(lambda lines: "NIC^" in lines[1])
        terminal.press("r")
        terminal.until(lambda lines: "NICv" in lines[1])


def test_it_follows_the_size_of_the_terminal(path: Path) -> None:
    with watch(path, "web1", columns=130) as terminal:
        assert "HOST-IF" in terminal.until(live)[1]
        terminal.resize(80, 10)
        narrow = terminal.until(lambda lines: "HOST-IF" not in lines[1] and "NIC" in lines[1] and "q quit" in lines[-1])
        assert "192.168.122.10/24 +2" in row(narrow, "52:54:00:00:01:00")
        terminal.resize(130, 24)
        terminal.until(lambda lines: "HOST-IF" in lines[1] and "q quit" in lines[-1])


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_the_terminal_is_what_it_was_at_the_end(path: Path, signal_number: int) -> None:
    with watch(path, TERM="xterm") as terminal:
        terminal.until(live)
        terminal.process.send_signal(signal_number)
        assert terminal.end() == (130 if signal_number == signal.SIGINT else 128 + signal_number)
        assert b"\x1b[?1049l" in terminal.raw  # the other screen is left again
        assert terminal.raw.rindex(b"\x1b[?1049l") > terminal.raw.rindex(b"\x1b[?1049h")


def test_no_hostile_text_reaches_the_terminal_raw(world: World, path: Path) -> None:
    with watch(path, columns=200) as terminal:
        lines = terminal.until(live)
        rename(world, "x\x1b]0;owned\x07\u202e")
        terminal.until(lambda lines: "x\\x1b]0;owned\\x07" in row(lines, "52:54:00:00:01:00"))
        assert b"\x1b]" not in terminal.raw
        assert b"\x1b[31mred" not in terminal.raw
        assert "\u202e".encode() not in terminal.raw
        assert "\\x1b[31mred\\u" in row(lines, "52:54:00:00:03:00")


def test_no_colour_where_none_is_wanted(world: World, path: Path) -> None:
    with watch(path, "web1", NO_COLOR="1") as terminal:
        terminal.until(live)
        rename(world, "lan0")
        lines = terminal.until(lambda lines: "lan0" in row(lines, "default"))
        for number in range(len(lines)):
            assert {colour for _, colour, _, _ in terminal.styles(number)} == {"default"}
        assert "".join(one for one, _, _, reverse in terminal.styles(lines.index(row(lines, "default"))) if reverse)


def test_a_terminal_without_utf_8_gets_what_it_can_show(path: Path) -> None:
    with watch(path, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0") as terminal:
        terminal.until(live)
        terminal.press("q")
        assert terminal.end() == 0
        assert terminal.raw.isascii()


@pytest.mark.parametrize(("term", "words"), [("dumb", "cannot be drawn on"), ("nonesuch", "cannot be drawn on")])
def test_a_terminal_that_cannot_is_said(path: Path, term: str, words: str) -> None:
    with watch(path, TERM=term) as terminal:
        assert terminal.end() == 2
        assert words in terminal.raw.decode()


def test_without_a_terminal_it_says_what_else_there_is(path: Path) -> None:
    for arguments in ([], ["--json"]):
        done = subprocess.run(
            [*COMMAND, "--socket", str(path), "watch", *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=20,
        )
        assert (done.returncode, done.stdout) == (2, "")
        assert "nicmapctl events --json" in done.stderr


def test_what_is_wrong_is_said_before_the_screen_is_taken(path: Path, tmp_path: Path) -> None:
    with watch(path, "nobody") as terminal:
        assert terminal.end() == 10
        assert b"\x1b" not in terminal.raw
    with watch(tmp_path / "no.sock") as terminal:
        assert terminal.end() == 8
        assert b"Is it running" in terminal.raw


def test_many_nics_are_no_trouble(world: World, path: Path) -> None:
    for number in range(100, 350):
        world.vm(number, f"vm{number}", [world.nic(number % 256, 0, named("eth0"))])
    with watch(path) as terminal:
        assert "265 NICs" in terminal.until(live)[0]
        terminal.press("G")
        terminal.until(lambda lines: "of 265" in lines[-1] and "265 of" in lines[-1])
