"""Part `cli`: how long nicmapctl takes, against a Python that does nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence

from tests.bench.figures import Report, at_most, median
from tests.bench.ground import Ground, until_quiet
from tests.lab.nicmapd import BIN

ROUNDS = 15


def run(report: Report, ground: Ground) -> None:
    guests = ground.guests(1)
    program = str(BIN / "nicmapctl")
    with ground.daemon(guests) as daemon:
        commands: dict[str, Sequence[str]] = {
            "python": [sys.executable, "-c", "pass"],
            "help": [program, "--help"],
            "resolve": [program, "resolve", guests[0].name, "eth0"],
            "list": [program, "list"],
        }
        until_quiet(report)
        taken: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(ROUNDS):
            for name, command in commands.items():
                taken[name].append(_seconds(command, daemon.environment()))
    seconds = {name: median(values[1:]) for name, values in taken.items()}
    report.add("cli.python_ms", seconds["python"] * 1000, "ms", "python3 -c pass")
    report.add("cli.help_ms", seconds["help"] * 1000, "ms", "nicmapctl --help", at_most(150))
    report.add("cli.resolve_ms", seconds["resolve"] * 1000, "ms", "nicmapctl resolve VM NAME", at_most(200))
    report.add("cli.list_ms", seconds["list"] * 1000, "ms", "nicmapctl list")
    report.add(
        "cli.help_to_python", seconds["help"] / seconds["python"], "", "nicmapctl --help to python3 -c pass", at_most(6)
    )
    report.add(
        "cli.resolve_to_python", seconds["resolve"] / seconds["python"], "", "resolve to python3 -c pass", at_most(8)
    )


def _seconds(command: Sequence[str], environment: dict[str, str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started
