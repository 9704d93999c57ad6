"""nicmapctl as a process: on a terminal, into a pipe that ends, and how fast it starts."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from nicmapd.cli import failure, program
from tests.fakes.serving import serving
from tests.fakes.world import make_world

#: The console script's own words, so that the test needs no installed script.
COMMAND = [sys.executable, "-c", "from nicmapd.cli import main; main()"]


@pytest.fixture(scope="module")
def socket_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with serving(make_world(), tmp_path_factory.mktemp("host")) as running:
        yield running.path


def on_terminal(path: Path, *arguments: str, columns: int = 80, **environment: str) -> str:
    """What a terminal of that width gets to see."""
    leader, follower = pty.openpty()
    settings = {**os.environ, "NICMAPD_SOCKET": str(path), "COLUMNS": str(columns), "TERM": "xterm", **environment}
    process = subprocess.Popen([*COMMAND, *arguments], stdout=follower, stderr=follower, env=settings)
    os.close(follower)
    seen = b""
    try:
        while piece := os.read(leader, 4096):
            seen += piece
    except OSError:  # EIO: the last process has closed the terminal
        pass
    os.close(leader)
    process.wait(10)
    return seen.decode().replace("\r\n", "\n")


def test_a_narrow_terminal_shortens_only_the_addresses(socket_path: Path) -> None:
    wide = on_terminal(socket_path, "list", "web1", columns=200, NO_COLOR="1")
    narrow = on_terminal(socket_path, "list", "web1", columns=120, NO_COLOR="1")
    tiny = on_terminal(socket_path, "list", "web1", columns=20, NO_COLOR="1")
    assert "10.9.0.10/24" in wide
    assert "192.168.122.10/24 +2  " in narrow
    for text in (narrow, tiny):
        assert "guest uses 52:54:00:dd:00:01" in text
        assert "192.168.122.10/24 +2" in text
    assert max(map(len, narrow.splitlines())) <= 120


def test_colour_is_for_terminals_that_want_it(socket_path: Path) -> None:
    coloured = on_terminal(socket_path, "list", "web1")
    assert "\x1b[32mfresh\x1b[0m" in coloured
    assert "\x1b" not in on_terminal(socket_path, "list", "web1", NO_COLOR="1")
    assert "\x1b" not in on_terminal(socket_path, "list", "web1", TERM="dumb")
    plain = re.sub(r"\x1b\[\d+m", "", coloured)
    assert plain == on_terminal(socket_path, "list", "web1", NO_COLOR="1")


def test_no_hostile_text_reaches_the_terminal_raw(socket_path: Path) -> None:
    for arguments in (["list"], ["show", "00000000-0000-4000-8000-000000000003"], ["show", "\x1b[31m"], ["\x1b[31m"]):
        seen = on_terminal(socket_path, *arguments, NO_COLOR="1")
        assert seen
        assert all(line.isprintable() for line in seen.split("\n"))


@pytest.mark.parametrize("arguments", ["list --json", "--help", "--version", "list --help"])
def test_a_pipe_that_ends_early_is_no_news(socket_path: Path, arguments: str) -> None:
    """As in `nicmapctl events | head -1`: quiet, and what a shell says of a program that SIGPIPE has ended."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as stdout:
        result = subprocess.run(
            [*COMMAND, *arguments.split()],
            stdout=stdout,
            stderr=subprocess.PIPE,
            env={**os.environ, "NICMAPD_SOCKET": str(socket_path)},
            timeout=20,
            check=False,
        )
    assert (result.returncode, result.stderr) == (failure.CUT_OFF, b"")


@pytest.mark.parametrize(("where", "why"), [(">/dev/full", "No space left on device"), (">&-", "it is closed")])
@pytest.mark.parametrize("arguments", ["list", "list --json", "show web1", "--help"])
def test_output_that_nobody_can_have_is_two_lines(socket_path: Path, arguments: str, where: str, why: str) -> None:
    command = " ".join(f"'{word}'" for word in COMMAND)
    result = subprocess.run(
        ["sh", "-c", f"{command} {arguments} {where}"],
        capture_output=True,
        env={**os.environ, "NICMAPD_SOCKET": str(socket_path)},
        text=True,
        timeout=20,
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr.splitlines() == [
        f"nicmapctl: cannot write to stdout: {why}",
        "See where it goes: >/dev/null for nowhere",
    ]


def test_without_a_command_it_says_where_they_are(socket_path: Path) -> None:
    result = subprocess.run(
        COMMAND,
        capture_output=True,
        env={**os.environ, "NICMAPD_SOCKET": str(socket_path)},
        text=True,
        timeout=20,
        check=False,
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.splitlines() == ["nicmapctl: Missing command.", "See: nicmapctl --help"]


def test_a_terminal_without_utf_8_gets_what_it_can_show(socket_path: Path) -> None:
    environment = {**os.environ, "NICMAPD_SOCKET": str(socket_path), "PYTHONIOENCODING": "ascii"}
    result = subprocess.run([*COMMAND, "list"], capture_output=True, env=environment, timeout=20, check=True)
    assert result.stdout.isascii()
    assert b"Ethernet 2 \\u4ee5" in result.stdout


#: What the daemon needs and nicmapctl must never load: each costs more than all of nicmapctl.
HEAVY = frozenset(
    {"fastapi", "pydantic", "starlette", "uvicorn", "sqlalchemy", "alembic", "apscheduler", "asyncio", "libvirt"}
)


def loaded(*arguments: str, path: Path) -> set[str]:
    """The modules that a call has loaded when it ends."""
    code = (
        "import sys; from nicmapd.cli import failure, program; program.run(sys.argv[1:]);"
        "print(*sys.modules, sep='\\n', file=sys.stderr)"
    )
    environment = {**os.environ, "NICMAPD_SOCKET": str(path)}
    command = [sys.executable, "-c", code, *arguments]
    result = subprocess.run(command, capture_output=True, timeout=20, check=True, env=environment, text=True)
    return set(result.stderr.splitlines())


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["resolve", "web1", "eth0"], ["list"], ["show", "web1"], ["doctor"], ["wait", "web1", "eth0"]],
)
def test_it_starts_without_the_server_s_libraries(socket_path: Path, arguments: list[str]) -> None:
    found = loaded(*arguments, path=socket_path)
    assert "nicmapd.cli.program" in found
    assert not HEAVY & found


def test_help_loads_no_command_and_no_connection(socket_path: Path) -> None:
    found = loaded("--help", path=socket_path)
    assert not {name for name in found if name.startswith("nicmapd.cli.commands.")}
    assert not {"http.client", "ssl", "nicmapd.client"} & found


def test_help_has_a_few_words_on_each_command() -> None:
    for name, words in program.COMMANDS.items():
        assert words != name
        assert 15 < len(words) < 70
        assert words[-1] in ".?"


def test_every_command_and_option_is_in_the_manual() -> None:
    manual = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
    context = click.Context(program.program)
    words = [option for one in program.program.params for option in one.opts]
    for name in program.COMMANDS:
        command = program.program.get_command(context, name)
        assert command is not None
        words.append(name)
        words += [option for one in command.params if isinstance(one, click.Option) for option in one.opts]
    for word in words:
        assert f"`{word}" in manual, word
