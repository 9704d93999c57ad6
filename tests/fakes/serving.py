"""A real server on a Unix socket, in a thread with a loop of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from nicmapd.api import Feed, create_app
from nicmapd.api.door.server import Limits, Server
from nicmapd.api.door.sockets import listen_unix
from nicmapd.cli import program
from tests.fakes.world import World


@dataclass(slots=True)
class Serving:
    """A running server. `stop` ends it and says how many seconds that took."""

    path: Path
    server: Server
    feed: Feed
    loop: asyncio.AbstractEventLoop
    thread: threading.Thread

    def stop(self) -> float:
        begun = self.loop.time()
        if self.thread.is_alive():
            self.loop.call_soon_threadsafe(self.feed.end, "nicmapd is stopping")
            self.loop.call_soon_threadsafe(self.server.stop)
            self.thread.join(10)
        assert not self.thread.is_alive()
        return self.loop.time() - begun


@contextlib.contextmanager
def serving(
    world: World,
    directory: Path,
    *,
    app: Any = None,
    sockets: Sequence[socket.socket] | None = None,
    limits: Limits | None = None,
    tls: ssl.SSLContext | None = None,
) -> Iterator[Serving]:
    """Serves `world` at `directory`/api.sock."""
    path = directory / "api.sock"
    if app is None:
        app = create_app(world.board, world.store, world.service, world.clock, world.feed)
    server = Server(app, sockets or [listen_unix(path)], limits=limits, tls=tls)
    loop = asyncio.new_event_loop()

    def run() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(server.run())
        # What the stop cancelled must have ended before the loop does.
        while tasks := asyncio.all_tasks(loop):
            loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_default_executor())

    thread = threading.Thread(target=run, name="serving")
    thread.start()
    running = Serving(path, server, world.feed, loop, thread)
    try:
        while not server.started and thread.is_alive():
            thread.join(0.005)
        yield running
    finally:
        running.stop()
        loop.close()


def nicmapctl_at(path: Path, *arguments: str, clock: Callable[[], datetime] | None = None) -> int:
    """The exit code of a call in this process, whose environment says where the socket is."""
    before = os.environ.get("NICMAPD_SOCKET")
    os.environ["NICMAPD_SOCKET"] = str(path)
    try:
        return program.run(arguments, clock=clock)
    finally:
        if before is None:
            del os.environ["NICMAPD_SOCKET"]
        else:
            os.environ["NICMAPD_SOCKET"] = before
