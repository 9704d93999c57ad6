"""What a run measures: figures with aims, shown as they come, kept as JSON, compared with the run kept in the tree."""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: Two runs on one quiet machine differ by less than this; a change of more is marked.
NOISE = 0.25


@dataclass(frozen=True, slots=True)
class Aim:
    """A bound: at most, or at least, `bound`."""

    bound: float
    at_most: bool

    def met(self, value: float) -> bool:
        return value <= self.bound if self.at_most else value >= self.bound

    def __str__(self) -> str:
        return f"{'<=' if self.at_most else '>='} {self.bound:g}"


def at_most(bound: float) -> Aim:
    return Aim(bound, True)


def at_least(bound: float) -> Aim:
    return Aim(bound, False)


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number. `unit` is "" for a ratio."""

    value: float
    unit: str
    meaning: str
    aim: Aim | None = None


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest of `values` that `percent` of them do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


@dataclass(slots=True)
class Report:
    """Collects the figures of a run and prints each when it is known. `kept` is the run to compare with."""

    kept: Mapping[str, Any] = field(default_factory=dict)
    figures: dict[str, Figure] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

    def say(self, text: str) -> None:
        print(f"[{time.monotonic() - self.started:4.0f} s] {text}", flush=True)

    def add(self, key: str, value: float, unit: str, meaning: str, aim: Aim | None = None) -> None:
        figure = self.figures[key] = Figure(float(f"{value:.4g}"), unit, meaning, aim)
        print(self._line(key, figure), flush=True)

    def _line(self, key: str, figure: Figure) -> str:
        verdict = (
            "" if figure.aim is None else f"aim {figure.aim}: {'met' if figure.aim.met(figure.value) else 'MISSED'}"
        )
        before = self.kept.get("figures", {}).get(key, {}).get("value")
        compared = "" if before is None else f"was {before:g}{_trend(before, figure.value)}"
        words = f"         {key:<34} {figure.value:>10g} {figure.unit:<5} {verdict:<20} {compared:<18} {figure.meaning}"
        return words.rstrip()

    def missed(self) -> list[str]:
        return [key for key, one in self.figures.items() if one.aim is not None and not one.aim.met(one.value)]

    def document(self, about: Mapping[str, object]) -> dict[str, Any]:
        figures = {
            key: {
                "value": one.value,
                "unit": one.unit,
                "meaning": one.meaning,
                **({} if one.aim is None else {"aim": str(one.aim), "met": one.aim.met(one.value)}),
            }
            for key, one in self.figures.items()
        }
        return {**about, "seconds": round(time.monotonic() - self.started), "figures": figures, "failed": self.failures}


def _trend(before: float, now: float) -> str:
    if before <= 0 or now <= 0 or abs(math.log(now / before)) < math.log(1 + NOISE):
        return ""
    return f" (x {now / before:.2f})"


def table(document: Mapping[str, Any]) -> str:
    """The figures of a run as a table in Markdown, for docs/performance.md."""
    lines = ["| figure | value | aim | what it is |", "|---|---|---|---|"]
    for key, one in document["figures"].items():
        aim = f"{one['aim']}{'' if one['met'] else ' (missed)'}" if "aim" in one else ""
        lines.append(f"| `{key}` | {one['value']:g} {one['unit']} | {aim} | {one['meaning']} |")
    return "\n".join(lines)


def load(path: Path) -> dict[str, Any]:
    """A run kept in a file; empty if there is none."""
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    return found


def save(path: Path, document: Mapping[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n")
