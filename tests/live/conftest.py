"""Fixtures of the live tests: one lab a session, guests booted once and shared, put back before each test.

`lab`            the LabHost, with network `default`
`lab_guests`     lab_guests("web1", "db1") -> shared guests as after their boot, booted side by side at the first call
`web1`, `db1`    these two: web1 has two NICs on network `default`, db1 has one
`fresh_guest`    fresh_guest("name", nics=[...], ...) -> a guest of this test alone, booted; undefined after it
`fresh_host`     fresh_host("name") -> another LabHost of this test alone
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.lab import Guest, LabHost, Nic

HERE = Path(__file__).parent
POOL = {
    "web1": [
        Nic(type="network", address="192.168.122.11/24"),
        Nic(type="network", address="192.168.122.12/24"),
    ],
    "db1": [Nic(type="network", address="192.168.122.21/24")],
}


class LabGuests(Protocol):
    def __call__(self, *names: str) -> list[Guest]: ...


class FreshGuest(Protocol):
    def __call__(self, name: str = ..., *, boot: bool = ..., **definition: Any) -> Guest: ...


class FreshHost(Protocol):
    def __call__(self, name: str = ...) -> LabHost: ...


def _why_not() -> str:
    """Why no guest can run here; empty if they can."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return f"live tests need Linux on x86_64, this is {sys.platform} on {platform.machine()}"
    if os.geteuid() != 0:
        return "live tests need root, for a libvirtd in namespaces of its own: run them with sudo"
    return ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reason = _why_not()
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.live)
            if reason:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def session_lab(pytestconfig: pytest.Config) -> Iterator[LabHost]:
    """The lab without the care that `lab` takes of it before each test."""
    reporter = pytestconfig.pluginmanager.get_plugin("terminalreporter")

    def progress(text: str) -> None:
        if reporter is not None:
            reporter.write_line(f"lab: {text}")

    with LabHost(progress=progress) as host:
        host.define_network()
        yield host


@pytest.fixture
def lab(session_lab: LabHost) -> LabHost:
    """The session's LabHost, its libvirtd running and answering whatever the test before did to it."""
    session_lab.recover_libvirtd()
    return session_lab


@pytest.fixture
def lab_guests(lab: LabHost) -> LabGuests:
    """Shared guests by name, each put back to how it was after its boot; see Guest.reset()."""

    def guests(*names: str) -> list[Guest]:
        new = [lab.guest(name, nics=POOL.get(name, [Nic()])) for name in names if name not in lab.guests]
        lab.boot(*new)
        found = [lab.guests[name] for name in names]
        for guest in found:
            if guest not in new:
                guest.reset()
        return found

    return guests


@pytest.fixture
def web1(lab_guests: LabGuests) -> Guest:
    """A shared guest with two NICs, eth0 and eth1, on network `default`."""
    return lab_guests("web1")[0]


@pytest.fixture
def db1(lab_guests: LabGuests) -> Guest:
    """A shared guest with one NIC, eth0, on network `default`."""
    return lab_guests("db1")[0]


@pytest.fixture
def fresh_guest(lab: LabHost) -> Iterator[FreshGuest]:
    """A guest of this test alone; takes what LabHost.guest() takes. With boot=False it is only defined."""
    made: list[Guest] = []

    def guest(name: str = "fresh", *, boot: bool = True, **definition: Any) -> Guest:
        made.append(lab.guest(name, **definition))
        return made[-1].start() if boot else made[-1]

    yield guest
    lab.recover_libvirtd()
    for one in made:
        one.forget()


@pytest.fixture
def fresh_host() -> Iterator[FreshHost]:
    """Other hosts, each with a libvirtd of its own and a network `default`."""
    made: list[LabHost] = []

    def host(name: str = "other") -> LabHost:
        made.append(LabHost(name=name))
        made[-1].start().define_network()
        return made[-1]

    yield host
    for one in made:
        one.stop()
