"""`python -m tests.bench [PART...] [--guests N] [--keep]`: measures, shows, compares with the run kept in the tree."""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from tests.bench import command, freshness, hanging, idle, joining, page, scale, serving, sweep
from tests.bench.figures import Report, load, save, table
from tests.bench.ground import Ground

ROOT = Path(__file__).resolve().parents[2]
RESULT = ROOT / "build" / "bench.json"
KEPT = Path(__file__).with_name("last.json")

Part = Callable[[Report, Ground], None]

#: In this order: first what needs no guests, then few, then all of them.
PARTS: dict[str, Part] = {
    "simulated": lambda report, _ground: scale.run(report),
    "page": lambda report, _ground: page.run(report),
    "join": joining.run,
    "cli": command.run,
    "idle": idle.run,
    "freshness": freshness.run,
    "sweep": sweep.run,
    "api": serving.run,
    "hung": hanging.run,
}


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"any of {', '.join(PARTS)}; all without one")
    parser.add_argument("--guests", type=int, default=12, help="real guests at most, as memory allows (default 12)")
    parser.add_argument("--keep", action="store_true", help=f"keep this run in {KEPT.relative_to(ROOT)}")
    parser.add_argument("--output", type=Path, default=RESULT, help="where the JSON goes (default build/bench.json)")
    parser.add_argument("--table", action="store_true", help="measure nothing: print the kept run as Markdown")
    found = parser.parse_args(argv)
    unknown = [part for part in found.parts if part not in PARTS]
    if found.keep and found.parts:
        parser.error("only a whole run can be kept: figures of different runs do not belong together")
    if unknown:
        parser.error(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    return found


def _about(guests: int) -> dict[str, object]:
    """What the figures depend on."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit,
        "guests": guests,
        "machine": {
            "cores": len(os.sched_getaffinity(0)),
            "kernel": platform.release(),
            "python": platform.python_version(),
            "yardstick_ms": round(_yardstick() * 1000, 1),
        },
    }


def _yardstick() -> float:
    """Seconds for a fixed piece of plain Python: how fast this machine is with what costs most here."""

    def once() -> float:
        started = time.perf_counter()
        table = {str(number): number for number in range(50_000)}
        sum(table[str(number)] for number in range(50_000))
        return time.perf_counter() - started

    return min(once() for _ in range(7))


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _arguments(argv)
    if arguments.table:
        print(table(load(KEPT)))
        return 0
    report = Report(kept=load(KEPT))
    with Ground(report, most=arguments.guests) as ground:
        about = _about(ground.most)
        for name, part in PARTS.items():
            if arguments.parts and name not in arguments.parts:
                continue
            report.say(f"== {name}")
            try:
                part(report, ground)
            except Exception as error:  # noqa: BLE001  the other parts' figures are worth having
                report.failures[name] = f"{type(error).__name__}: {error}"
                report.say(f"{name} failed: {report.failures[name]}")
    document = report.document(about)
    save(arguments.output, document)
    if arguments.keep and not report.failures:
        save(KEPT, document)
    missed = report.missed()
    report.say(
        f"{len(report.figures)} figures in {arguments.output}" + (f"; missed: {', '.join(missed)}" if missed else "")
    )
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
