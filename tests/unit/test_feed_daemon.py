"""The feed of the whole daemon, on libvirt's built-in test driver: over a kill and a start, and at the stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.fakes.events import Event, EventClient
from tests.lab.waiting import eventually


@contextmanager
def daemon(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """nicmapd with its store and socket in `folder`, from the moment on that it answers."""
    socket = folder / "api.sock"
    settings = {
        "NICMAPD_LIBVIRT__URI": "test:///default",
        "NICMAPD_STORE__URL": f"sqlite:///{folder}/map.db",
        "NICMAPD_API__SOCKET": str(socket),
    }
    command = [sys.executable, "-m", "nicmapd", "--config", str(folder / "nicmapd.toml")]
    (folder / "nicmapd.toml").touch()
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(command, env={**os.environ, **settings}, stderr=log)
    try:
        eventually(lambda: answers(socket), within=20, what="the daemon answers")
        yield process
    finally:
        process.kill()
        process.wait()


def answers(socket: Path) -> bool:
    try:
        with EventClient(socket, "/healthz") as client:
            return client.status == 200
    except OSError:
        return False


def seen_until(client: EventClient, kind: str) -> list[Event]:
    """What comes, up to the first event of that kind."""
    found: list[Event] = []
    while not found or found[-1].kind != kind:
        found += client.changes(1)
    return found


def test_a_kill_loses_and_doubles_nothing(tmp_path: Path) -> None:
    with daemon(tmp_path) as process:
        with EventClient(tmp_path / "api.sock", "/events?after=0") as client:
            first = seen_until(client, "nic.attached")
        process.kill()
        process.wait()
    assert [event.kind for event in first] == ["resync", "vm.added", "nic.attached"]
    last = first[-1].id
    assert last is not None
    with daemon(tmp_path), EventClient(tmp_path / "api.sock", headers={"Last-Event-ID": str(last)}) as client:
        (again,) = client.changes(1)
    assert (again.kind, again.id) == ("resync", last + 1)


def test_it_stops_at_once_with_many_streams_open(tmp_path: Path) -> None:
    with daemon(tmp_path) as process, ExitStack() as stack:
        clients = [stack.enter_context(EventClient(tmp_path / "api.sock")) for _ in range(30)]
        for client in clients:
            client.next()
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert time.monotonic() - begun < 4
        for client in clients:
            ends = [event.data for event in client if event.kind == "end"]
            assert ends == [{"reason": "nicmapd is stopping"}]
