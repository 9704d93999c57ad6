"""What every nicmapctl command prints, word for word: on a terminal, in a pipe, as JSON, and where it fails.

The files are tests/golden/<command>.txt. `make golden` writes them anew; what it changed is then looked at in the diff.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from nicmapd.api import create_app
from nicmapd.cli import program
from nicmapd.model import Change, ChangeKind
from tests.fakes.changing import Asked, Scripted, problem
from tests.fakes.serving import nicmapctl_at, serving
from tests.fakes.world import World, make_world, uuid_of

GOLDEN = Path(__file__).parents[1] / "golden"
NOW = datetime(2026, 1, 10, 12, 0, tzinfo=UTC)
COLUMNS = 100

#: Commands that do not end by themselves; they are tried as processes.
STREAMS = {"events", "watch"}

#: A second call that is wrong, and one that cannot reach anybody.
NOWHERE = "--socket=/nowhere/api.sock"


@dataclass(frozen=True, slots=True)
class Case:
    """One call. `mode` is terminal, pipe, json or error; `typed` is what the user answers."""

    mode: str
    arguments: tuple[str, ...]
    typed: str = ""


def _cases(name: str, good: Sequence[str], bad: Sequence[Sequence[str]], *, typed: str = "") -> list[Case]:
    found = [Case("terminal", (name, *good), typed)]
    if typed:
        good = [*good, "--yes"]
    found += [Case("pipe", (name, *good)), Case("json", (name, *good, "--json"))]
    found += [Case("error", (name, *words)) for words in (*bad, [*good, NOWHERE], [*bad[-1], "--json"])]
    return found


HOSTILE_VM = uuid_of(3)
CASES: dict[str, list[Case]] = {
    "status": _cases("status", [], [["--nope"]]),
    "list": [
        *_cases("list", [], [["--state", "odd"], ["--at", "soon"], ["nope"]]),
        Case("pipe", ("list", "web1", "-o", "wide")),
        Case("pipe", ("list", "web1", "-o", "csv")),
        Case("pipe", ("list", "-o", "name")),
        Case("pipe", ("list", "web1", "--at", "3h")),
        Case("pipe", ("list", "--sort", "-age", "-c", "vm,nic,age", "--no-headers")),
    ],
    "show": [
        *_cases("show", ["web1"], [["web1", "eth1"], ["web1", "eth9"], ["web1", "eth5"], ["nope"]]),
        Case("pipe", ("show", "win10")),
        Case("pipe", ("show", "db1")),
        Case("pipe", ("show", HOSTILE_VM, "a/b")),
    ],
    "resolve": _cases("resolve", ["win10", "Ethernet 2"], [["web1"], ["web1", "eth1"], ["pair", "52:54:00:aa:aa:aa"]]),
    "find": _cases("find", ["eth0"], [["wlan7"]]),
    "history": [
        *_cases("history", ["web1"], [["web1", "--since", "soon"], ["nope"]]),
        Case("pipe", ("history", "web1", "-o", "table")),
    ],
    "networks": _cases("networks", [], [["lan"]]),
    "doctor": [*_cases("doctor", [], [["nope"]]), Case("pipe", ("doctor", "web1")), Case("pipe", ("doctor", "db1"))],
    "refresh": _cases("refresh", ["web1"], [["nope"]]),
    "attach": _cases(
        "attach",
        ["web1", "--network", "storage"],
        [["web1"], ["web1", "--network", "lan"], ["old", "--network", "storage", "--wait", "1"]],
    ),
    "detach": [
        *_cases(
            "detach", ["web1", "eth0"], [["web1", "ens7"], ["web1", "eth5"], ["win10", "Ethernet 2", "-y"]], typed="y\n"
        ),
        Case("terminal", ("detach", "web1", "eth0"), "n\n"),
        Case("pipe", ("detach", "web1", "eth0", "--dry-run")),
        Case("error", ("detach", "pair", "ens9", "-y")),
        Case("error", ("detach", "pair", "ens10", "-y", "--wait", "1")),
    ],
    "link": _cases("link", ["web1", "ens7", "down"], [["web1", "ens7"], ["nope", "eth0", "up"]]),
    "wait": _cases("wait", ["web1", "eth0"], [["win10", "Ethernet 2", "--timeout", "0"], ["nope", "eth0"]]),
}


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


class Pipe(io.StringIO):
    """A stream that says it is none."""

    encoding = "utf-8"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    world = make_world(now=NOW)
    world.service.effect = lambda _uuid: (Change(ChangeKind.NIC_RENAMED, "eth0 renamed to \x1b[31mens3"),)
    app = create_app(world.board, world.store, world.service, world.clock, world.feed)
    with serving(world, tmp_path_factory.mktemp("host"), app=Scripted(app, answer=_changed(world))) as running:
        yield running.path


def _changed(world: World) -> Any:
    """What becomes of each change that the cases ask for."""

    def answer(asked: Asked) -> tuple[int, Any]:
        vm = asked.path.split("/")[2]
        if vm == "nope":
            return problem(404, "not_found", 'there is no VM "nope" on this host; `nicmapctl list` shows them all')
        if vm == "win10":
            return problem(409, "conflict", "what the guest calls its NICs now is not certain", agent_state="busy")
        if asked.path.endswith("/ens9"):
            return problem(409, "conflict", "the guest refused to let ens9 go; nothing was changed", refused=True)
        if asked.method == "DELETE":
            return (202, {}) if asked.path.endswith("/ens10") else (204, None)
        if asked.body.get("network") == "lan":
            return problem(400, "invalid", 'network: there is no libvirt network "lan" on this host', key="network")
        nic = dict(_nic(world, "old" if vm == "old" else "web1"))
        if vm == "old":
            return 201, nic | {"name": None, "agent_state": "ok", "reason": "the guest shows no interface with its MAC"}
        return (200, nic | {"link": "down"}) if asked.method == "PATCH" else (201, nic | {"name": "eth3"})

    return answer


def _nic(world: World, vm: str) -> dict[str, Any]:
    """The last named NIC of a VM, as the api gives it."""
    from nicmapd.api.forms import rendering

    entry = next(one for one in world.board.entries() if one.vm.name == vm)
    nic = [one for one in entry.nics if one.naming.name][-1]
    return rendering.nic(world.board.sight(entry), nic, now=NOW)


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("NO_COLOR", "NICMAPD_SOCKET", "NICMAPD_URL", "NICMAPD_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(COLUMNS))
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def played(case: Case, path: Path) -> str:
    """A call and all that comes of it, as it stands in the golden file."""
    kind = Terminal if case.mode == "terminal" else Pipe
    out, err, typed = kind(), kind(), kind(case.typed)
    before, sys.stdin = sys.stdin, typed
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = nicmapctl_at(path, *case.arguments, clock=lambda: NOW)
    finally:
        sys.stdin = before
    call = " ".join(["nicmapctl", *(f"'{word}'" if " " in word else word for word in case.arguments)])
    parts = [f"=== {case.mode}: {call}\n", _shown(out), f"--- exit {code}\n"]
    if err.getvalue():
        parts.insert(2, f"--- stderr\n{_shown(err)}")
    return "".join(parts)


def _short(match: re.Match[str]) -> str:
    """A JSON answer without the members of a NIC that are simply the API's: a new one there is no news here."""

    def shortened(value: Any) -> Any:
        if isinstance(value, list):
            return [shortened(one) for one in value]
        if isinstance(value, dict) and {"vm_uuid", "mac", "reason"} <= set(value):
            return {key: value[key] for key in ("vm", "name", "mac")} | {"...": "as the API gives it"}
        return {key: shortened(one) for key, one in value.items()} if isinstance(value, dict) else value

    try:
        return json.dumps(shortened(json.loads(match[0])), indent=2) + "\n"
    except ValueError:
        return match[0]


def _shown(stream: io.StringIO) -> str:
    """What was printed, with what differs from run to run made the same, and escape sequences made visible."""
    text = re.sub(r"\r\x1b\[K[^\r\n]*?(?=\r|$)", "", stream.getvalue())  # progress, on a machine that is slow
    text = re.sub(r"after \d+\.\d s", "after 0.1 s", text)
    text = re.sub(r'"seconds": [0-9.e-]+', '"seconds": 0.1', text)
    text = re.sub(r"(?ms)^\{\n.*?^\}\n", _short, text)
    text = text.replace("\x1b", "\\e").replace("\r", "\\r")
    return text if not text or text.endswith("\n") else text + "\n"


@pytest.mark.parametrize("command", sorted(CASES))
def test_it_prints_what_it_has_printed(command: str, path: Path) -> None:
    found = "\n".join(played(case, path) for case in CASES[command])
    file = GOLDEN / f"{command}.txt"
    if os.environ.get("RENEW_GOLDEN"):
        file.write_text(found, encoding="utf-8")
    assert found == file.read_text(encoding="utf-8"), "look at the difference; if it is wanted: make golden"


def test_every_command_is_there_in_every_mode() -> None:
    assert set(CASES) == set(program.COMMANDS) - STREAMS
    for command, cases in CASES.items():
        assert {case.mode for case in cases} == {"terminal", "pipe", "json", "error"}, command
    assert {file.stem for file in GOLDEN.glob("*.txt")} == set(CASES)


@pytest.mark.parametrize("command", sorted(CASES))
def test_every_error_says_what_and_what_next(command: str, path: Path) -> None:
    for case in CASES[command]:
        if case.mode != "error" or "--json" in case.arguments or command == "doctor":
            continue
        after = played(case, path).partition("--- stderr\n")[2]
        lines = after.partition("--- exit ")[0].splitlines()
        assert len(lines) == 2, case
        assert lines[0].startswith("nicmapctl: ")


@pytest.mark.parametrize("command", sorted(CASES))
def test_nothing_a_terminal_obeys_but_our_own_colours(command: str) -> None:
    text = (GOLDEN / f"{command}.txt").read_text(encoding="utf-8")
    for line in re.sub(r"\\e\[\d+m", "", text).splitlines():
        assert line.isprintable(), line
        assert "\\e" not in line
