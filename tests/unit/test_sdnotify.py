"""The service manager's protocol, on a real datagram socket."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from nicmapd.sdnotify import Notifier, listening_sockets


def test_fields_arrive_and_cannot_be_forged(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        assert Notifier({"NOTIFY_SOCKET": path}).send(READY="1", STATUS="41 VMs\nWATCHDOG=1")
        assert manager.recv(1000) == b"READY=1\nSTATUS=41 VMs WATCHDOG=1"


def test_an_abstract_socket_works_too() -> None:
    name = f"nicmapd-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name)
        assert Notifier({"NOTIFY_SOCKET": "@" + name}).send(READY="1")
        assert manager.recv(1000) == b"READY=1"


def test_without_a_manager_nothing_happens(tmp_path: Path) -> None:
    assert not Notifier({}).send(READY="1")
    assert not Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).send(READY="1")


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_is_ours_only_if_it_says_so(environment: dict[str, str], seconds: float | None) -> None:
    assert Notifier(environment).watchdog_interval() == seconds


def test_sockets_for_another_process_are_not_ours() -> None:
    assert listening_sockets({}) == []
    assert listening_sockets({"LISTEN_PID": "1", "LISTEN_FDS": "1"}) == []
    assert listening_sockets({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "some"}) == []


def test_handed_over_sockets_are_taken_and_nothing_else_is(tmp_path: Path) -> None:
    """In a process of its own, because the descriptors begin at 3: a listener, a pipe's end, a datagram socket."""
    program = """
import os, socket
from nicmapd.sdnotify import listening_sockets
one, = listening_sockets({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "3"})
os.fstat(4), os.fstat(5)
print(one.fileno(), one.getsockname(), one.gettimeout(), os.get_inheritable(3))
"""
    path = str(tmp_path / "api.sock")
    with (
        socket.socket(socket.AF_UNIX) as listener,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams,
        Path(os.devnull).open() as file,
    ):
        listener.bind(path)
        listener.listen()
        originals = (listener.fileno(), file.fileno(), datagrams.fileno())
        # Moved out of the way first: one of them may be 3, 4 or 5 itself.
        high = [os.dup2(number, 100 + index) for index, number in enumerate(originals)]
        command = f'exec 3<&{high[0]} 4<&{high[1]} 5<&{high[2]}; exec "$0" -c "$1"'
        done = subprocess.run(
            ["bash", "-c", command, sys.executable, program], pass_fds=high, capture_output=True, text=True, check=False
        )
        for descriptor in high:
            os.close(descriptor)
    assert done.stdout.split() == ["3", path, "0.0", "False"], done.stderr
