"""A process that serves the feed of a real store while several threads change it: `python -m tests.fakes.feed_host`.

Prints "ready", waits for a line on stdin, makes the changes, prints how much memory (bytes) that took at its peak and
what the feed held of them at most as JSON, and serves on until stdin ends.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from nicmapd.api import Feed, create_app
from nicmapd.api.door.server import Server
from nicmapd.api.door.sockets import listen_unix
from nicmapd.board import Board
from nicmapd.clock import SystemClock
from nicmapd.keeper import Keeper
from nicmapd.model import AgentStatus, Change, ChangeKind, DomainState, FeedItem, VmEntry, VmRef
from nicmapd.store import open_store
from tests.fakes.service import FakeService

HOST = "host1"
#: Changes of one pass.
AT_ONCE = 5
#: Each VM may tell 1,000 changes in an hour.
PER_VM = 500


def forget_peak() -> None:
    """From now on the peak counts anew (proc(5))."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak() -> int:
    """The most memory that this process had, in bytes."""
    (line,) = [one for one in Path("/proc/self/status").read_text(encoding="ascii").splitlines() if "VmHWM" in one]
    return int(line.split()[1]) * 1024


def change(keeper: Keeper, vms: list[VmRef], text: str) -> None:
    """Makes `PER_VM` changes to each of `vms`, a pass at a time."""
    # In pieces, for the store keeps no long text whole (nicmapd.bounds).
    details = {str(begin): text[begin : begin + 300] for begin in range(0, len(text), 300)}
    for number in range(PER_VM // AT_ONCE):
        for vm in vms:
            agent = replace(AgentStatus(), message=str(number))
            entry = VmEntry(vm, HOST, DomainState.RUNNING, persistent=True, agent=agent)
            numbers = range(number * AT_ONCE, (number + 1) * AT_ONCE)
            told = [Change(ChangeKind.NIC_RENAMED, f"{vm.name} {one} x", details=details) for one in numbers]
            keeper.keep(None, entry, told)


async def main(folder: Path, vms: int, threads: int, size: int) -> None:
    clock = SystemClock()
    board, store = Board(clock), open_store(f"sqlite:///{folder}/map.db", host=HOST, clock=clock)
    feed = Feed(store)
    kept = [(0, 0)]
    counting = threading.Lock()

    def publish(items: Sequence[FeedItem]) -> None:
        feed.announce(items)
        with counting:
            kept[0] = max(kept[0], feed.kept)

    keeper = Keeper(store, board, clock=clock, publish=publish)
    app = create_app(board, store, FakeService(board, clock, host=HOST), clock, feed)
    server = Server(app, [listen_unix(folder / "api.sock")])
    serving = asyncio.create_task(server.run())
    while not server.started:
        await asyncio.sleep(0.01)
    everyone = [VmRef(f"uuid-{number}", f"vm{number}") for number in range(vms)]
    work = [
        threading.Thread(target=change, args=(keeper, everyone[first::threads], "x" * size)) for first in range(threads)
    ]
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    forget_peak()
    before = peak()
    for thread in work:
        thread.start()
    for thread in work:
        await asyncio.to_thread(thread.join)
    await asyncio.to_thread(sys.stdin.read)  # the readers are done
    print(json.dumps({"grown": peak() - before, "kept": kept[0]}), flush=True)
    feed.end("stopping")
    server.stop()
    await serving
    store.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), *map(int, sys.argv[2:])))
