"""A flood of changes from several threads, and readers of all kinds: none misses one, none gets one twice."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from nicmapd.api.feed import FeedLimits
from tests.fakes.events import EventClient
from tests.fakes.feed_host import PER_VM

VMS, THREADS, SIZE = 20, 4, 1500
CHANGES = VMS * PER_VM
#: What the flood may take of the daemon's memory: it took 9 MB, and 24 MB with a feed that kept all.
MEMORY = 16 * 1024 * 1024


def follow(path: Path, seen: list[Any], ready: threading.Barrier) -> None:
    """Takes what comes as it comes."""
    with EventClient(path, timeout=60) as client:
        client.next()
        ready.wait(20)
        seen += client.changes(CHANGES)


def follow_slowly(path: Path, seen: list[Any], ready: threading.Barrier) -> None:
    """Takes a little, and rests: the flood is over long before."""
    with EventClient(path, timeout=60) as client:
        client.next()
        ready.wait(20)
        for number, event in enumerate(client):
            if event.kind is not None:
                seen.append(event)
            if number % 50 == 0:
                time.sleep(0.03)
            if len(seen) == CHANGES:
                return


def follow_in_pieces(path: Path, seen: list[Any], ready: threading.Barrier) -> None:
    """Hangs up in the middle of things, and comes back with the last number that it had."""
    last = "0"
    ready.wait(20)
    while len(seen) < CHANGES:
        with EventClient(path, headers={"Last-Event-ID": last}, timeout=60) as client:
            seen += client.changes(min(137, CHANGES - len(seen)))
            last = str(seen[-1].id)


def test_ten_thousand_changes_reach_every_reader_once(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.fakes.feed_host", str(tmp_path), str(VMS), str(THREADS), str(SIZE)]
    host = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert host.stdin is not None
    assert host.stdout is not None
    try:
        assert host.stdout.readline() == "ready\n"
        seen: list[list[Any]] = [[], [], []]
        ready = threading.Barrier(4)
        readers = [
            threading.Thread(target=kind, args=(tmp_path / "api.sock", found, ready), daemon=True)
            for kind, found in zip((follow, follow_slowly, follow_in_pieces), seen, strict=True)
        ]
        for reader in readers:
            reader.start()
        ready.wait(20)
        host.stdin.write("go\n")
        host.stdin.flush()
        for reader in readers:
            reader.join(120)
        told, _ = host.communicate(timeout=30)
    finally:
        host.kill()
        host.wait()
    for found in seen:
        numbers = [event.id for event in found]
        assert len(numbers) == CHANGES
        assert numbers == sorted(set(numbers))
        assert {event.data["sentence"].rsplit(" ", 1)[0] for event in found} == {
            f"vm{vm} {number}" for vm in range(VMS) for number in range(PER_VM)
        }
    cost = json.loads(told)
    items, size = cost["kept"]
    assert 0 < items <= FeedLimits().kept
    assert size <= FeedLimits().kept_bytes
    assert cost["grown"] < MEMORY
