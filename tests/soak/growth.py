"""What a process holds, sampled over time, and whether it grew."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import median

#: What may differ between the second fifth of a run and its last without being growth: memory by an allocator's mood,
#: descriptors and threads by lines to libvirt that happen to be open.
MEMORY_SLACK = 0.10
DESCRIPTOR_SLACK = 12
THREAD_SLACK = 4


@dataclass(frozen=True, slots=True)
class Sample:
    """`at`: seconds since the beginning; `memory_mb`: resident."""

    at: float
    memory_mb: float
    descriptors: int
    threads: int


def sample(pid: int, at: float) -> Sample:
    """What process `pid` holds now."""
    process = Path(f"/proc/{pid}")
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    return Sample(
        at,
        int(status["VmRSS"].split()[0]) / 1024,
        len(list((process / "fd").iterdir())),
        int(status["Threads"]),
    )


class Growth:
    """Compares the second fifth of the samples (the first one warms up) with the last."""

    def __init__(self) -> None:
        self._samples: list[Sample] = []

    def add(self, one: Sample) -> None:
        self._samples.append(one)

    def _ends(self) -> tuple[list[Sample], list[Sample]]:
        fifth = max(1, len(self._samples) // 5)
        return self._samples[fifth : 2 * fifth] or self._samples[:1], self._samples[-fifth:]

    def figures(self) -> dict[str, float]:
        """Medians of both ends, by name."""
        early, late = self._ends()
        found: dict[str, float] = {"samples": len(self._samples)}
        for name in ("memory_mb", "descriptors", "threads"):
            found[f"{name}_early"] = round(median(getattr(one, name) for one in early), 1)
            found[f"{name}_late"] = round(median(getattr(one, name) for one in late), 1)
        return found

    def faults(self) -> list[str]:
        """What grew, a sentence each."""
        found = self.figures()
        limits = {
            "memory_mb": found["memory_mb_early"] * (1 + MEMORY_SLACK),
            "descriptors": found["descriptors_early"] + DESCRIPTOR_SLACK,
            "threads": found["threads_early"] + THREAD_SLACK,
        }
        return [
            f"{name} grew from {found[f'{name}_early']:g} to {found[f'{name}_late']:g} (at most {limit:g})"
            for name, limit in limits.items()
            if found[f"{name}_late"] > limit
        ]
