"""The service under a real systemd, its sandbox on, with a lab's libvirtd behind a socket that only the group may use.

systemd runs in namespaces of its own (tests/lab/systemd.py). Where a machine does not allow that, the tests are skipped
with the reason; what the units say by themselves is checked everywhere.
"""

from __future__ import annotations

import grp
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nicmapd import logs
from tests.lab import LabHost, eventually
from tests.lab.systemd import CannotRun, SystemdHost
from tests.live.conftest import LabGuests

TOP = Path(__file__).parents[2]
SERVICE = TOP / "systemd" / "nicmapd.service"


@pytest.fixture(scope="module")
def booted(session_lab: LabHost) -> Iterator[SystemdHost]:
    """A systemd, and libvirtd's socket as Debian's libvirt gives it to the group libvirt."""
    try:
        group = grp.getgrnam("libvirt").gr_gid
    except KeyError:
        pytest.skip("needs the group libvirt (apt-get install libvirt-daemon-system)")
    os.chown(session_lab.socket, 0, group)
    session_lab.socket.chmod(0o660)
    try:
        with SystemdHost(session_lab) as host:
            host.run("systemd-sysusers")
            # libvirtd asks who connects; what it asks is the user database of its own namespace.
            for name in ("passwd", "group"):
                file = session_lab.folder / name
                file.write_text(host.run("cat", f"/etc/{name}"))
                session_lab.enter("mount", "--bind", str(file), f"/etc/{name}")
            yield host
            session_lab.enter("umount", "/etc/passwd", "/etc/group")
    except CannotRun as error:
        pytest.skip(str(error))
    finally:
        session_lab.socket.chmod(0o777)


@pytest.fixture
def host(booted: SystemdHost) -> Iterator[SystemdHost]:
    """The service not running, and nothing left of the test before."""
    yield booted
    booted.run("systemctl", "stop", "nicmapd.service", "nicmapd.socket", check=False)
    booted.run("sh", "-c", "rm -rf /run/systemd/system/nicmapd.service.d /etc/nicmapd/conf.d")
    booted.run("systemctl", "daemon-reload")
    booted.run("systemctl", "reset-failed", check=False)


def start(host: SystemdHost) -> int:
    """Starts the service; its PID."""
    host.run("systemctl", "start", "nicmapd.service")
    return main_pid(host)


def main_pid(host: SystemdHost) -> int:
    return int(host.show("nicmapd", "MainPID")["MainPID"])


def names(host: SystemdHost, vm: str) -> list[str | None]:
    found = json.loads(host.run("nicmapctl", "--json", "list", vm))
    return [nic["name"] for nic in found["items"]]


def entries(host: SystemdHost, *matches: str) -> list[dict[str, Any]]:
    told = host.run("journalctl", "-u", "nicmapd", "-o", "json", "--no-pager", *matches, check=False)
    return [json.loads(line) for line in told.splitlines()]


# -- what the units say


def test_the_service_is_exposed_as_little_as_promised() -> None:
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=13", "--no-pager", str(SERVICE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-500:] + done.stderr
    found = re.search(r"exposure level for nicmapd.service: ([\d.]+)", done.stdout)
    assert found
    assert float(found[1]) <= 1.3


def test_systemd_has_nothing_to_say_of_the_units(host: SystemdHost) -> None:
    units = ["/usr/lib/systemd/system/nicmapd.service", "/usr/lib/systemd/system/nicmapd.socket"]
    assert host.run("sh", "-c", 'systemd-analyze verify --man=no "$@" 2>&1', "sh", *units) == ""


# -- life


def test_it_starts_says_so_and_reaches_libvirt_in_its_sandbox(host: SystemdHost, lab_guests: LabGuests) -> None:
    lab_guests("web1")
    start(host)
    state = host.show("nicmapd", "ActiveState", "SubState", "Type", "User", "StatusText")
    assert (state["ActiveState"], state["SubState"], state["Type"]) == ("active", "running", "notify")
    assert state["User"] == "nicmapd"
    eventually(lambda: names(host, "web1") == ["eth0", "eth1"], within=30, what="the names of web1's NICs")
    told = eventually(
        lambda: re.findall(r'Status: "(.*fresh.*)"', host.run("systemctl", "status", "nicmapd")), within=15
    )
    assert not told[0].startswith("0 VMs")
    pid = main_pid(host)
    status = host.run("cat", f"/proc/{pid}/status")
    assert re.search(r"^CapEff:\s+0+$", status, re.M)
    assert re.search(r"^NoNewPrivs:\s+1$", status, re.M)
    assert re.search(r"^Seccomp:\s+2$", status, re.M)
    assert host.run("stat", "-c", "%a %U:%G", "/run/nicmapd/api.sock").split() == ["660", "nicmapd:nicmapd"]
    assert host.run("stat", "-c", "%a %U", "/var/lib/nicmapd").split() == ["700", "nicmapd"]
    assert [entry["MESSAGE"] for entry in entries(host, "PRIORITY=4", "PRIORITY=3")] == []


def test_without_the_group_libvirt_it_says_that_libvirt_is_away(host: SystemdHost) -> None:
    host.write("/run/systemd/system/nicmapd.service.d/no-group.conf", "[Service]\nSupplementaryGroups=\nUser=nobody\n")
    host.run("systemctl", "daemon-reload")
    host.write(
        "/run/systemd/system/nicmapd.service.d/store.conf",
        "[Service]\nEnvironment=NICMAPD_STORE__URL=sqlite:////tmp/map.db\n",
    )
    host.run("systemctl", "daemon-reload")
    start(host)
    eventually(lambda: "libvirt is away" in host.show("nicmapd", "StatusText")["StatusText"], within=15)


def test_a_killed_daemon_comes_back_with_its_map(host: SystemdHost, lab_guests: LabGuests) -> None:
    lab_guests("web1")
    pid = start(host)
    eventually(lambda: names(host, "web1") == ["eth0", "eth1"], within=30)
    host.run("systemctl", "kill", "--signal=KILL", "nicmapd")
    eventually(lambda: main_pid(host) not in (0, pid), within=20, what="another daemon")
    assert host.show("nicmapd", "NRestarts")["NRestarts"] == "1"
    eventually(lambda: names(host, "web1") == ["eth0", "eth1"], within=20)


def test_the_watchdog_ends_a_daemon_that_stands_still(host: SystemdHost) -> None:
    host.write("/run/systemd/system/nicmapd.service.d/watchdog.conf", "[Service]\nWatchdogSec=2\n")
    host.run("systemctl", "daemon-reload")
    pid = start(host)
    host.run("kill", "-STOP", str(pid))
    eventually(lambda: main_pid(host) not in (0, pid), within=30, what="another daemon")
    assert any("Watchdog timeout" in entry["MESSAGE"] for entry in entries(host))


def test_a_healthy_daemon_is_not_disturbed_by_a_short_watchdog(host: SystemdHost) -> None:
    host.write("/run/systemd/system/nicmapd.service.d/watchdog.conf", "[Service]\nWatchdogSec=2\n")
    host.run("systemctl", "daemon-reload")
    pid = start(host)

    def fed() -> int:
        return int(host.show("nicmapd", "WatchdogTimestampMonotonic")["WatchdogTimestampMonotonic"])

    before = fed()
    eventually(lambda: fed() > before + 5_000_000, within=20, what="a watchdog that is fed for more than two intervals")
    assert main_pid(host) == pid


def test_it_stops_in_time_and_clean(host: SystemdHost) -> None:
    start(host)
    host.run("systemctl", "stop", "nicmapd.service")
    state = host.show("nicmapd", "Result", "ExecMainStatus", "ActiveState")
    assert state == {"Result": "success", "ExecMainStatus": "0", "ActiveState": "inactive"}


def test_a_bad_configuration_is_said_once_and_not_tried_for_ever(host: SystemdHost) -> None:
    good = host.run("cat", "/etc/nicmapd/nicmapd.toml")
    try:
        host.write("/etc/nicmapd/nicmapd.toml", "[poll]\nintervall = 3\n")
        host.run("systemctl", "start", "nicmapd.service", check=False)
        state = host.show("nicmapd", "ActiveState", "ExecMainStatus", "NRestarts")
        assert state == {"ActiveState": "failed", "ExecMainStatus": "2", "NRestarts": "0"}
        assert "intervall" in host.log()
    finally:
        host.write("/etc/nicmapd/nicmapd.toml", good)


def test_a_reload_reads_the_configuration_and_keeps_the_process(host: SystemdHost) -> None:
    good = host.run("cat", "/etc/nicmapd/nicmapd.toml")
    pid = start(host)
    try:
        host.write("/etc/nicmapd/nicmapd.toml", '[log]\nlevel = "debug"\n')
        host.run("systemctl", "reload", "nicmapd")
        eventually(lambda: "configuration read again" in host.log(), within=10)
        assert main_pid(host) == pid
        eventually(lambda: host.show("nicmapd", "ActiveState")["ActiveState"] == "active", within=10)
    finally:
        host.write("/etc/nicmapd/nicmapd.toml", good)


# -- socket activation


def test_with_the_socket_nobody_is_refused_while_the_daemon_restarts(host: SystemdHost) -> None:
    host.run("systemctl", "start", "nicmapd.socket")
    assert host.run("stat", "-c", "%a %U:%G", "/run/nicmapd/api.sock").split() == ["660", "nicmapd:nicmapd"]
    assert host.show("nicmapd", "ActiveState")["ActiveState"] == "inactive"
    assert json.loads(host.run("nicmapctl", "--json", "list"))["items"] is not None
    pid = main_pid(host)
    assert pid
    inode = host.run("stat", "-c", "%i", "/run/nicmapd/api.sock")
    asking = "nicmapctl --json list >/dev/null || echo refused"
    restart = f"systemctl restart nicmapd.service & for _ in 1 2 3 4 5 6 7 8 9 10; do {asking}; done; wait"
    assert host.run("sh", "-c", restart) == ""
    assert main_pid(host) != pid
    assert host.run("stat", "-c", "%i", "/run/nicmapd/api.sock") == inode


def test_others_than_root_and_the_group_are_refused(host: SystemdHost) -> None:
    start(host)
    ask = ["setpriv", "--reuid=65534", "--clear-groups"]
    assert host.run(*ask, "--regid=65534", "nicmapctl", "list", check=False) == ""
    told = host.run(*ask, "--regid=65534", "sh", "-c", "nicmapctl list 2>&1; echo $?", check=False)
    assert told.endswith("9\n"), told
    group = host.run("getent", "group", "nicmapd").split(":")[2]
    assert host.run(*ask, f"--regid={group}", "sh", "-c", "nicmapctl list >/dev/null 2>&1; echo $?") == "0\n"


# -- the journal


def test_the_journal_finds_what_concerns_a_vm_and_no_guest_can_forge_it(
    host: SystemdHost, lab_guests: LabGuests
) -> None:
    (web1,) = lab_guests("web1")
    start(host)
    eventually(lambda: names(host, "web1") == ["eth0", "eth1"], within=30)
    # What Linux takes as a name: no newline, but all else that a log might stumble over.
    web1.rename("eth1", "NICMAP_VM=evil")
    changed = (f"MESSAGE_ID={logs.MAP_CHANGED}", "NICMAP_VM=web1", "NICMAP_KIND=nic.renamed")
    found = eventually(lambda: entries(host, *changed), within=30, what="an entry about the rename")
    assert "NICMAP_VM=evil" in found[-1]["MESSAGE"]
    assert (found[-1]["PRIORITY"], found[-1]["LOGGER"]) == ("6", "nicmapd.watch")
    web1.rename("NICMAP_VM=evil", "\x1bPRIORITY=0")
    later = eventually(lambda: entries(host, *changed)[len(found) :], within=30, what="an entry about the next rename")
    assert "\\x1bPRIORITY=0" in later[-1]["MESSAGE"]
    assert {one["NICMAP_VM"] for one in entries(host, "NICMAP_VM=web1")} == {"web1"}
    assert entries(host, "NICMAP_VM=evil", changed[0]) == []
    assert entries(host, "PRIORITY=0") == []


def test_signals_of_the_service_manager_are_those_that_the_unit_says() -> None:
    assert f"ExecReload=/bin/kill -{signal.SIGHUP.name.removeprefix('SIG')} $MAINPID" in SERVICE.read_text()
