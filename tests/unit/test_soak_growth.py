"""The judge of the soak: what counts as growth."""

from __future__ import annotations

import os

from tests.soak.growth import Growth, Sample, sample


def of(memory: list[float], *, descriptors: int = 30, threads: int = 10) -> Growth:
    growth = Growth()
    for number, megabytes in enumerate(memory):
        growth.add(Sample(number, megabytes, descriptors, threads))
    return growth


def test_the_warm_up_is_no_growth() -> None:
    assert of([50, 80, 99, 100, 100, 100, 101, 99, 100, 100]).faults() == []


def test_a_steady_climb_is() -> None:
    faults = of([100 + number for number in range(50)]).faults()
    assert faults == ["memory_mb grew from 114.5 to 144.5 (at most 125.95)"]


def test_descriptors_and_threads_count_too() -> None:
    growth = Growth()
    for number in range(20):
        growth.add(Sample(number, 100, 20 + 2 * number, 10 + number))
    assert [fault.split()[0] for fault in growth.faults()] == ["descriptors", "threads"]


def test_a_sample_is_of_the_process_itself() -> None:
    found = sample(os.getpid(), 1.0)
    assert found.memory_mb > 1
    assert found.descriptors >= 3
    assert found.threads >= 1
