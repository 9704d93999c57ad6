"""TAB in real shells: what is offered, what it becomes on the command line, and that no guest's name runs as a command.

In the shells `nicmapctl` is a script that completes as the real one and, when it is run, shows the words that it got.
"""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fakes.serving import serving
from tests.fakes.world import make_world, named

TOP = Path(__file__).parents[2]
SCRIPTS = {
    shell: TOP / "completions" / path
    for shell, path in {"bash": "bash/nicmapctl", "zsh": "zsh/_nicmapctl", "fish": "fish/nicmapctl.fish"}.items()
}

#: Names that a guest could give, to run something when they are completed and Enter is pressed.
EVIL = {
    "dollar": "x$(touch pwned)",
    "back": "b`touch pwned`",
    "semi": "s;touch pwned",
    "quote": "q';touch pwned;'",
    "double": 'w";touch pwned;"',
    "bang": "h!!;touch pwned",
    "star": "* x",
}

_PROGRAM = """#!/bin/sh
if [ -n "$_NICMAPCTL_COMPLETE" ]; then exec {python} -c 'from nicmapd.cli import main; main()'; fi
for word; do printf '<%s>' "$word"; done; echo '<end>'
"""


@dataclass(frozen=True)
class Ground:
    """Where the shells run: `socket` is the daemon's, `folder` has bin/nicmapctl."""

    folder: Path
    socket: Path

    def environment(self, **more: str) -> dict[str, str]:
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        home = str(self.folder)
        settings = {"PATH": path, "HOME": home, "NICMAPD_SOCKET": str(self.socket), "TERM": "dumb", "LC_ALL": "C.UTF-8"}
        return settings | {"PYTHONPATH": str(TOP), "HISTFILE": "/dev/null"} | more

    @property
    def pwned(self) -> bool:
        return (self.folder / "pwned").exists()


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    folder = tmp_path_factory.mktemp("shell")
    (folder / "bin").mkdir()
    program = folder / "bin" / "nicmapctl"
    program.write_text(_PROGRAM.format(python=sys.executable))
    program.chmod(0o755)
    world = make_world()
    for number, (vm, name) in enumerate(EVIL.items(), start=20):
        world.vm(number, vm, [world.nic(number, 0, named(name))])
    with serving(world, folder) as running:
        yield Ground(folder, running.path)


class Shell:
    """An interactive shell on a terminal of its own."""

    def __init__(self, command: list[str], ground: Ground, start: str) -> None:
        self._leader, follower = pty.openpty()
        self._process = subprocess.Popen(
            command,
            stdin=follower,
            stdout=follower,
            stderr=follower,
            env=ground.environment(PS1="ready> ", PS2="more> "),
            cwd=ground.folder,
            start_new_session=True,
        )
        os.close(follower)
        self.seen = ""
        self.type(f"{start}; echo be''gin\n")
        self.until("begin")

    def type(self, text: str) -> None:
        os.write(self._leader, text.encode())

    def until(self, *texts: str, within: float = 15.0) -> str:
        """All that is shown until one of `texts` is, that included; the next call goes on behind it."""
        end = time.monotonic() + within
        while (first := next((text for text in texts if text in self.seen), None)) is None:
            ready, _, _ = select.select([self._leader], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"not shown: {texts} in {self.seen!r}"
            self.seen += os.read(self._leader, 65536).decode(errors="replace")
        before, _, self.seen = self.seen.partition(first)
        return before + first

    def words(self, line: str) -> list[str]:
        """What nicmapctl gets when `line` is typed, with TABs in it, and Enter."""
        self.type(line)
        # Enter only when the shell is done with the TABs: it echoes what is typed after them.
        self.type(" zz")
        self.until("zz")
        self.type("\b\b\b\n")
        shown = self.until("<end>")
        return shown.rpartition("\n")[2].removesuffix("<end>").strip("\r<>").split("><")

    def close(self) -> None:
        os.close(self._leader)
        self._process.kill()
        self._process.wait(10)


@contextmanager
def shell(name: str, ground: Ground) -> Iterator[Shell]:
    if shutil.which(name) is None:
        pytest.skip(f"needs {name} (apt-get install {name})")
    command, start = {
        "bash": (
            ["bash", "--norc", "--noprofile", "-i"],
            f"bind 'set enable-bracketed-paste off';. {SCRIPTS['bash']}",
        ),
        "zsh": (["zsh", "-f", "-i"], f"fpath=({SCRIPTS['zsh'].parent} $fpath); autoload -U compinit; compinit -u -D"),
    }[name]
    opened = Shell(command, ground, start)
    try:
        yield opened
    finally:
        opened.close()


@pytest.mark.parametrize("name", ["bash", "zsh"])
def test_commands_vms_and_nics_are_completed(name: str, ground: Ground) -> None:
    with shell(name, ground) as one:
        assert one.words("nicmapctl res\t") == ["resolve"]
        assert one.words("nicmapctl show win\t") == ["show", "win10"]
        assert one.words("nicmapctl show win\t\t") == ["show", "win10", "Ethernet 2"]
        assert one.words("nicmapctl show web1 en\t") == ["show", "web1", "ens7"]
        assert one.words("nicmapctl show web1 dev:vnet11\t") == ["show", "web1", "dev:vnet11"]
        assert one.words("nicmapctl show web1 alias:net1\t") == ["show", "web1", "alias:net1"]
        assert one.words("nicmapctl list --state amb\t") == ["list", "--state", "ambiguous"]


@pytest.mark.parametrize("name", ["bash", "zsh"])
def test_a_mac_is_completed_though_it_has_colons(name: str, ground: Ground) -> None:
    with shell(name, ground) as one:
        assert one.words("nicmapctl show win10 52:54\t") == ["show", "win10", "52:54:00:00:04:00"]
        assert one.words("nicmapctl show win10 5\t") == ["show", "win10", "52:54:00:00:04:00"]


def test_a_quote_that_was_opened_is_respected(ground: Ground) -> None:
    with shell("bash", ground) as one:
        for word in ("'Eth", '"Eth', "Ethernet\\ "):
            line = f"nicmapctl show win10 {word}\t"
            assert one.words(line) == ["show", "win10", "Ethernet 2"]


@pytest.mark.parametrize("opening", ["", "'", '"'])
@pytest.mark.parametrize("name", ["bash", "zsh"])
def test_no_name_of_a_guest_becomes_a_command(name: str, opening: str, ground: Ground) -> None:
    with shell(name, ground) as one:
        for vm, evil in EVIL.items():
            one.type(f"nicmapctl show {vm} {opening}{evil[0]}\t")
            one.type(" zz")
            one.until("zz")
            # Whatever stands there now is run; a quote that is still open is closed.
            one.type("\n")
            while not one.until("<end>", "more> ", "quote> ").endswith("<end>"):
                one.type(f"{opening}\n")
            assert not ground.pwned, (vm, evil)
        if not opening:
            assert one.words("nicmapctl show dollar x\t") == ["show", "dollar", EVIL["dollar"]]
            assert one.words("nicmapctl show semi s\t") == ["show", "semi", EVIL["semi"]]


@pytest.mark.parametrize("name", ["bash", "zsh"])
def test_tab_is_silent_while_the_daemon_is_away(name: str, ground: Ground) -> None:
    away = Ground(ground.folder, ground.folder / "nobody.sock")
    with shell(name, away) as one:
        one.type("nicmapctl show we\t")
        one.type("b9\n")
        shown = one.until("<end>")
        assert "Try" not in shown
        assert "not reachable" not in shown
        assert shown.rstrip().endswith("<show><web9><end>")


def in_fish(ground: Ground, line: str) -> list[str]:
    if shutil.which("fish") is None:
        pytest.skip("needs fish (apt-get install fish)")
    quoted = line.replace("\\", "\\\\").replace("'", "\\'")
    done = subprocess.run(
        ["fish", "--no-config", "-c", f"source {SCRIPTS['fish']}; complete -C '{quoted}'"],
        env=ground.environment(),
        cwd=ground.folder,
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    assert done.stderr == ""
    return [candidate.partition("\t")[0] for candidate in done.stdout.splitlines()]


def test_fish_completes_too(ground: Ground) -> None:
    assert in_fish(ground, "nicmapctl res") == ["resolve"]
    assert in_fish(ground, "nicmapctl show win") == ["win10"]
    assert in_fish(ground, "nicmapctl show web1 e") == ["eth0", "ens7"]
    assert in_fish(ground, "nicmapctl show web1 52:54:00:00:01:01") == ["52:54:00:00:01:01"]
    assert in_fish(ground, "nicmapctl show dollar ") == [EVIL["dollar"]]
    away = Ground(ground.folder, ground.folder / "nobody.sock")
    assert in_fish(away, "nicmapctl show w") == []
    assert not ground.pwned


def test_a_candidate_takes_little_time(ground: Ground) -> None:
    """As ratio to starting Python with click, which nobody can do without."""

    def seconds(command: list[str], **more: str) -> float:
        found = []
        for _ in range(5):
            begun = time.monotonic()
            subprocess.run(command, env=ground.environment(**more), capture_output=True, check=True)
            found.append(time.monotonic() - begun)
        return min(found)

    bare = seconds([sys.executable, "-c", "import click"])
    program = [sys.executable, "-c", "from nicmapd.cli import main; main()"]
    full = seconds(program, _NICMAPCTL_COMPLETE="lines_complete", COMP_LINE="nicmapctl show web1 ")
    assert full < 5 * bare + 0.1
