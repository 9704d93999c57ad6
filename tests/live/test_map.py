"""The main job: the real daemon on real guests, from boot to rename to restart."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise

import libvirt
import pytest

from tests.lab import Guest, LabHost, Nic, eventually
from tests.lab.nicmapd import Nicmapd
from tests.live.conftest import FreshGuest

INTERVAL = 2.0
#: Beside the poll interval: a pass, the request, and two busy cores. The promise to users is a second less.
SLACK = 2.0


@pytest.fixture
def daemon(lab: LabHost, request: pytest.FixtureRequest) -> Iterator[Nicmapd]:
    """A nicmapd on the session's lab, with an empty store, started after the shared guests were put back."""
    for shared in {"web1", "db1"} & set(request.fixturenames):
        request.getfixturevalue(shared)
    with Nicmapd(lab.uri, settings={"poll.interval": f"{INTERVAL:g}"}) as running:
        yield running


def truth(guest: Guest) -> dict[str, str]:
    """XML MAC -> the name that the guest itself tells, for guests whose MACs nobody changed."""
    return {device.mac: device.name for device in guest.devices().values()}


def follows(daemon: Nicmapd, guest: Guest, *, within: float) -> None:
    """Waits until the map of a guest is what the guest itself tells."""
    eventually(lambda: daemon.names(guest.name) == truth(guest), within=within, what=f"the map of {guest.name}")


def test_names_are_right_after_boot(daemon: Nicmapd, fresh_guest: FreshGuest) -> None:
    guest = fresh_guest("boot", nics=[Nic(guest_name="lan0"), Nic(guest_name="eth7")])
    follows(daemon, guest, within=SLACK)
    first, second = daemon.nics("boot")
    assert (first["name"], second["name"]) == ("lan0", "eth7")
    assert first["name_state"] == "fresh"
    assert daemon.vm("boot")["agent"]["state"] == "ok"


def test_guests_that_ran_before_the_daemon_are_in_the_map_at_once(daemon: Nicmapd, web1: Guest, db1: Guest) -> None:
    for guest in (web1, db1):
        follows(daemon, guest, within=SLACK)


def test_a_rename_is_followed_and_remembered(daemon: Nicmapd, web1: Guest) -> None:
    follows(daemon, web1, within=SLACK)
    mac = web1.macs[1]
    web1.rename("eth1", "storage0")
    follows(daemon, web1, within=INTERVAL + SLACK)
    status, gone = daemon.get("/vms/web1/interfaces/eth1")
    assert (status, gone["code"], gone["renamed_to"]) == (404, "not_found", "storage0")
    status, nic = daemon.get("/vms/web1/interfaces/storage0")
    assert (status, nic["mac"]) == (200, mac)
    _, history = daemon.get(f"/vms/web1/interfaces/{mac}/history")
    assert [entry["name"] for entry in history["items"]][:2] == ["storage0", "eth1"]
    assert history["items"][0]["to"] is None
    assert history["items"][1]["to"] == history["items"][0]["from"]


def test_two_names_swapped_are_followed_by_mac(daemon: Nicmapd, web1: Guest) -> None:
    follows(daemon, web1, within=SLACK)
    before = truth(web1)
    web1.swap_names("eth0", "eth1")
    assert truth(web1) == {mac: {"eth0": "eth1", "eth1": "eth0"}[name] for mac, name in before.items()}
    follows(daemon, web1, within=INTERVAL + SLACK)


def test_a_plugged_nic_is_named_soon_and_an_unplugged_one_is_gone(daemon: Nicmapd, fresh_guest: FreshGuest) -> None:
    guest = fresh_guest("plug")
    follows(daemon, guest, within=SLACK)
    mac = "52:54:00:0b:0b:0b"
    name = guest.attach(Nic(mac=mac))
    eventually(lambda: daemon.names("plug").get(mac) == name, within=3, what="the new NIC's name")
    guest.detach(mac)
    eventually(lambda: mac not in daemon.names("plug"), within=3, what="the NIC is gone")
    assert daemon.get(f"/vms/plug/interfaces/{mac}")[0] == 404
    _, past = daemon.get("/vms/plug/history")
    assert any(entry["mac"] == mac and entry["name"] == name and entry["to"] for entry in past["items"])


def test_an_agent_that_restarts_loses_no_name(daemon: Nicmapd, web1: Guest) -> None:
    follows(daemon, web1, within=SLACK)
    names = truth(web1)
    web1.kill_agent()
    web1.wait_answer()
    assert {nic["mac"]: nic["name"] for nic in daemon.nics("web1")} == names
    eventually(lambda: daemon.vm("web1")["freshness"] == "fresh", within=SLACK, what="fresh again")
    web1.rename("eth0", "lan7")
    follows(daemon, web1, within=INTERVAL + SLACK)


def test_a_guest_destroyed_keeps_its_names_and_gets_new_ones_when_started(
    daemon: Nicmapd, fresh_guest: FreshGuest
) -> None:
    guest = fresh_guest("again")
    follows(daemon, guest, within=SLACK)
    guest.rename("eth0", "old0")
    follows(daemon, guest, within=INTERVAL + SLACK)
    guest.destroy()
    eventually(lambda: daemon.vm("again")["freshness"] == "last_known", within=SLACK, what="last_known")
    (nic,) = daemon.nics("again")
    assert (nic["name"], nic["name_state"]) == ("old0", "last_known")
    assert daemon.vm("again")["agent"]["state"] == "off"
    guest.start()
    follows(daemon, guest, within=SLACK)
    assert daemon.names("again") == {guest.macs[0]: "eth0"}


def test_after_a_restart_the_map_is_there_at_once_with_its_age_and_its_history(daemon: Nicmapd, web1: Guest) -> None:
    follows(daemon, web1, within=SLACK)
    web1.rename("eth0", "wan0")
    follows(daemon, web1, within=INTERVAL + SLACK)
    names = truth(web1)
    code, seconds = daemon.stop()
    assert code == 0
    assert seconds < 5
    daemon.settings["libvirt.uri"] = "qemu+unix:///system?socket=/nonexistent/libvirt-sock"
    daemon.start()
    assert {nic["mac"]: nic["name"] for nic in daemon.nics("web1")} == names
    vm = daemon.vm("web1")
    assert vm["agent"]["last_success"] is not None
    assert daemon.get("/readyz")[0] == 503
    daemon.stop()
    daemon.settings["libvirt.uri"] = web1.host.uri
    daemon.start()
    eventually(lambda: daemon.get("/readyz")[0] == 200, what="ready")
    follows(daemon, web1, within=SLACK)
    _, history = daemon.get("/vms/web1/interfaces/wan0/history")
    assert [entry["name"] for entry in history["items"]] == ["wan0", "eth0"]


def test_a_daemon_killed_twenty_times_while_names_change_stays_whole(daemon: Nicmapd, web1: Guest) -> None:
    follows(daemon, web1, within=SLACK)
    mac = web1.macs[0]
    seen = ["eth0"]
    for round_ in range(20):
        new = f"r{round_}"
        web1.rename(seen[-1], new)
        if round_ % 3 == 0:  # sometimes before the map has it, sometimes after
            eventually(lambda: daemon.names("web1").get(mac) == new, within=INTERVAL + SLACK)  # noqa: B023
        seen.append(new)
        daemon.kill()
        with sqlite3.connect(f"file:{daemon.store}?mode=ro", uri=True) as store:
            assert store.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        daemon.start()
    follows(daemon, web1, within=INTERVAL + SLACK)
    _, history = daemon.get(f"/vms/web1/interfaces/{mac}/history")
    names = [entry["name"] for entry in history["items"]]
    assert names[0] == "r19"
    assert names[-1] == "eth0"
    assert [entry["to"] for entry in history["items"]].count(None) == 1
    for newer, older in zip(history["items"], history["items"][1:], strict=False):
        assert older["to"] <= newer["from"]


@pytest.mark.parametrize("kill", [False, True], ids=["stopped", "killed"])
def test_libvirtd_restarts_under_the_daemon(daemon: Nicmapd, web1: Guest, lab: LabHost, kill: bool) -> None:
    follows(daemon, web1, within=SLACK)
    names = truth(web1)
    lab.stop_libvirtd(kill=kill)
    eventually(lambda: daemon.get("/readyz")[0] == 503, what="not ready while libvirt is away")
    assert {nic["mac"]: nic["name"] for nic in daemon.nics("web1")} == names
    web1.rename("eth0", "while0")
    lab.start_libvirtd()
    eventually(lambda: daemon.get("/readyz")[0] == 200, within=10, what="ready again")
    follows(daemon, web1, within=INTERVAL + SLACK)
    web1.rename("while0", "after0")  # events and polls work on the new connection
    follows(daemon, web1, within=INTERVAL + SLACK)


def test_sigterm_stops_it_while_an_agent_hangs(daemon: Nicmapd, web1: Guest, db1: Guest) -> None:
    follows(daemon, web1, within=SLACK)
    web1.hang_agent()
    eventually(
        lambda: daemon.vm("web1")["agent"]["state"] == "unresponsive", within=15, what="the hung agent is noticed"
    )
    assert {nic["mac"]: nic["name"] for nic in daemon.nics("web1")} == truth(web1)
    assert daemon.nics("web1")[0]["name_state"] == "stale"
    follows(daemon, db1, within=SLACK)
    daemon.settings["poll.backoff_max"] = "10"
    code, seconds = daemon.stop()
    assert code == 0
    assert seconds < 5


def test_refresh_asks_the_guest_now(lab: LabHost, web1: Guest) -> None:
    with Nicmapd(lab.uri, settings={"poll.interval": "600"}) as daemon:
        follows(daemon, web1, within=SLACK)
        # No event settles any more once the next look is a whole interval away.
        eventually(lambda: _seconds_until(daemon.vm("web1")["agent"]["next_attempt"]) > 60, within=15)
        web1.rename("eth0", "asked0")
        status, body = daemon.get("/vms/web1/refresh", method="POST")
        assert status == 200
        assert "asked0" in [nic["name"] for nic in body["items"]]
        web1.hang_agent()
        status, body = daemon.get("/vms/web1/refresh", method="POST")
        assert (status, body["code"]) == (503, "unavailable")
        assert "asked0" in [nic["name"] for nic in daemon.nics("web1")]


def _seconds_until(moment: str | None) -> float:
    if moment is None:  # the first pass has not ended yet
        return 0.0
    return (datetime.fromisoformat(moment) - datetime.now(UTC)).total_seconds()


def test_with_the_hint_a_rename_needs_no_poll(lab: LabHost, web1: Guest) -> None:
    """Several in a row: QEMU tells the next change only once somebody has asked for the one before."""
    settings = {"poll.interval": "3600", "hints.rx_filter": "true"}
    with Nicmapd(lab.uri, settings=settings) as daemon:
        eventually(lambda: _seconds_until(daemon.vm("web1")["agent"]["next_attempt"]) > 60, within=20, what="settled")
        assert daemon.get("/status")[1]["libvirt"]["rx_filter"] is True
        names = ["eth1", "lan0", "lan1", "lan2"]
        for old, new in pairwise(names):
            web1.rename(old, new)
            follows(daemon, web1, within=SLACK)
        _, past = daemon.get(f"/vms/web1/interfaces/{web1.macs[1]}/history")
        assert list(dict.fromkeys(entry["name"] for entry in past["items"])) == names[::-1]


def test_without_the_hint_nobody_speaks_to_the_guest_s_qemu(lab: LabHost, fresh_guest: FreshGuest) -> None:
    """libvirt marks a domain for that, and whoever supports the host may ask why."""
    guest = fresh_guest("clean")

    def marked() -> bool:
        taints = guest.domain.messages(libvirt.VIR_DOMAIN_MESSAGE_TAINTING)
        return "tainted: custom monitor control commands issued" in taints

    with Nicmapd(lab.uri) as daemon:
        follows(daemon, guest, within=SLACK)
        assert daemon.get("/status")[1]["libvirt"]["rx_filter"] is False
        assert not marked()
    with Nicmapd(lab.uri, settings={"hints.rx_filter": "true"}) as daemon:
        follows(daemon, guest, within=SLACK)
        eventually(marked, within=5, what="the mark")


def test_the_command_line_on_real_guests(daemon: Nicmapd, web1: Guest) -> None:
    follows(daemon, web1, within=SLACK)
    listed = daemon.ctl("list", "web1")
    assert listed.returncode == 0, listed.stderr
    assert all(mac in listed.stdout for mac in web1.macs)
    assert daemon.ctl("resolve", "web1", "eth1").stdout == f"{web1.macs[1]}\n"
    assert daemon.ctl("resolve", "web1", "eth9").returncode == 10
    assert "web1" in daemon.ctl("find", web1.macs[0]).stdout
    assert daemon.ctl("status").returncode == 0
