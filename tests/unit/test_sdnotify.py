"""The service manager's protocol, on a real datagram socket."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from nicmapd.sdnotify import Notifier


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
