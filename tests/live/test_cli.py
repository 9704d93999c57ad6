"""nicmapctl as its user meets it: the real daemon, real guests, a terminal."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator

import pytest

from tests.fakes.dialogue import dialogue
from tests.lab import Guest, LabHost, eventually
from tests.lab.nicmapd import BIN, Nicmapd


@pytest.fixture
def daemon(lab: LabHost) -> Iterator[Nicmapd]:
    with Nicmapd(lab.uri, settings={"poll.interval": "2"}) as running:
        yield running


def nicmapctl(daemon: Nicmapd, *arguments: str) -> tuple[int, str, str]:
    """A call from a script; exit code, stdout, stderr."""
    done = subprocess.run(
        [str(BIN / "nicmapctl"), *arguments],
        env={**os.environ, **daemon.environment()},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_a_nic_is_attached_named_and_detached_by_that_name(daemon: Nicmapd, web1: Guest) -> None:
    assert nicmapctl(daemon, "wait", "web1", "eth1", "--timeout", "30")[0] == 0
    code, out, err = nicmapctl(daemon, "attach", "web1", "--network", "default", "--wait", "20")
    assert (code, err) == (0, "")
    assert "; its guest calls it eth2" in out
    mac = out.split()[2]
    assert web1.check("cat /sys/class/net/eth2/address").strip() == mac
    assert nicmapctl(daemon, "resolve", "web1", "eth2", "--require-fresh") == (0, f"{mac}\n", "")

    # The kernel's own address first: one that came between what is shown and the answer "y" would be a change.
    web1.check("ip link set eth2 up")
    eventually(lambda: daemon.get("/vms/web1/interfaces/eth2")[1]["addresses"], within=15, what="its own address")
    web1.check("ip address add 192.168.122.99/24 dev eth2")
    assert nicmapctl(daemon, "wait", "web1", "eth2", "--for", "address", "--timeout", "30")[0] == 0
    code, out, err = nicmapctl(daemon, "detach", "web1", "eth2")
    assert (code, out) == (2, "")
    assert "give --yes" in err
    code, seen = dialogue(daemon.socket, b"y\n", "detach", "web1", "eth2", "--wait", "30")
    assert code == 0, seen
    assert f"MAC           {mac}\n" in seen
    assert "192.168.122.99/24" in seen
    assert f"web1: eth2 ({mac}) is detached, after " in seen
    assert mac not in web1.live_macs()
    assert nicmapctl(daemon, "wait", "web1", "eth2", "--for", "gone", "--timeout", "10")[0] == 0
    what = [line.split(maxsplit=3)[3] for line in nicmapctl(daemon, "history", "web1", mac)[1].splitlines()[1:]]
    assert what[0] == "gone"
    assert "has 192.168.122.99/24 on eth2" in what


def test_a_guest_that_hangs_is_told_of_and_not_acted_on_by_name(daemon: Nicmapd, db1: Guest) -> None:
    assert nicmapctl(daemon, "wait", "db1", "eth0", "--timeout", "30")[0] == 0
    code, out, _ = nicmapctl(daemon, "attach", "db1", "--network", "default", "--wait", "20", "--json")
    assert (code, json.loads(out)["name"]) == (0, "eth1")
    mac = json.loads(out)["mac"]
    db1.hang_agent()
    try:
        eventually(lambda: nicmapctl(daemon, "doctor", "db1")[0] == 1, within=60, what="doctor finds it out")
        assert "db1: the guest agent answers              : FAIL (" in nicmapctl(daemon, "doctor", "db1")[1]
        code, _, err = nicmapctl(daemon, "detach", "db1", "eth1", "--yes")
        assert (code, err.splitlines()[1]) == (5, f"Try: nicmapctl detach db1 {mac} --yes")
        assert nicmapctl(daemon, "detach", "db1", mac, "--yes")[0] == 0
        assert mac not in db1.live_macs()
    finally:
        db1.resume_agent()
