"""Attach, detach and change through the real daemon on real guests, on a libvirt network with its DHCP server."""

from __future__ import annotations

import contextlib
import http.client
import random
import threading
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import libvirt
import pytest

from tests.lab import Guest, LabHost, Nic, eventually
from tests.lab.nicmapd import Nicmapd, Reply
from tests.live.conftest import FreshGuest

NIC = {"type": "network", "network": "default"}
WAIT = {"Prefer": "wait=20"}
#: What the answer may take beside the guest: passes, requests, two busy cores.
SLACK = 5.0
#: Seconds that a call to a hung agent may take, libvirt's own 5 s for its handshake included: a change that comes in
#: the middle of one is on the map after it.
CALL = 8.0


@pytest.fixture
def daemon(lab: LabHost) -> Iterator[Nicmapd]:
    with Nicmapd(lab.uri) as running:
        yield running


@pytest.fixture
def storage(lab: LabHost) -> str:
    """Another network."""
    with contextlib.suppress(libvirt.libvirtError):  # it is there from an earlier test
        lab.define_network("storage", bridge="virbr7", subnet="192.168.77.0/24")
    return "storage"


def two(fresh_guest: FreshGuest, name: str, **definition: Any) -> Guest:
    """A guest with two NICs on the network."""
    return fresh_guest(name, nics=[Nic(type="network"), Nic(type="network")], **definition)


def attach(daemon: Nicmapd, guest: Guest, **order: object) -> Reply:
    answer = daemon.ask("POST", f"/vms/{guest.name}/interfaces", {**NIC, **order}, headers=WAIT)
    assert answer.status == 201, answer.body
    return answer


def detach(daemon: Nicmapd, guest: Guest, nic: str, *, wait: int = 20, **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    path = f"/vms/{guest.name}/interfaces/{nic}"
    return daemon.ask("DELETE", path, headers={"Prefer": f"wait={wait}", **named})


def macs(guest: Guest, *, config: bool = False) -> list[str]:
    """The MACs of the running guest's XML, or of its configuration's."""
    xml = guest.domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE if config else 0)
    return [one.get("address", "") for one in ElementTree.fromstring(xml).iterfind("devices/interface/mac")]


def truth(guest: Guest) -> dict[str, str]:
    """MAC -> the name that the guest itself tells."""
    return {device.mac: device.name for device in guest.devices().values()}


def all_equal(daemon: Nicmapd, guest: Guest) -> bool:
    """Whether libvirt's two XMLs, the map and the guest say the same."""
    live = macs(guest)
    return live == macs(guest, config=True) and daemon.names(guest.name) == truth(guest) == dict.fromkeys(live) | truth(
        guest
    )


def settled(daemon: Nicmapd, guest: Guest) -> None:
    eventually(
        lambda: all_equal(daemon, guest), within=SLACK, what=f"libvirt, map and guest say the same of {guest.name}"
    )


def pending(daemon: Nicmapd, vm: str) -> dict[str, str]:
    """MAC -> what the next boot does to it."""
    return {nic["mac"]: nic["pending"]["kind"] for nic in daemon.nics(vm) if nic["pending"] is not None}


def test_a_nic_is_attached_named_used_and_detached_by_its_name(daemon: Nicmapd, fresh_guest: FreshGuest) -> None:
    guest = two(fresh_guest, "plug")
    settled(daemon, guest)
    answer = attach(daemon, guest)
    nic = answer.json
    assert nic["name"] == truth(guest)[nic["mac"]] == "eth2"
    assert answer.headers["preference-applied"] == "wait=20"
    assert nic["mac"].startswith("52:54:00:")
    assert macs(guest)[-1] == macs(guest, config=True)[-1] == nic["mac"]

    guest.set_up("eth2")
    address = guest.dhcp("eth2").partition("/")[0]
    path = answer.headers["location"]
    eventually(
        lambda: address in [one["ip"] for one in daemon.ask("GET", path).json["addresses"]],
        within=SLACK,
        what="the leased address in the map",
    )
    network = daemon.ask("GET", "/networks/default").json
    assert (network["active"], network["bridge"]) == (True, "virbr0")
    assert ("plug", "eth2", address) in [
        (one["vm"], one["name"], one["addresses"][0]["ip"]) for one in network["interfaces"] if one["addresses"]
    ]

    assert detach(daemon, guest, "eth2").status == 204
    assert nic["mac"] not in [*macs(guest), *macs(guest, config=True), *truth(guest)]
    assert daemon.ask("GET", path).status == 404
    settled(daemon, guest)


def test_who_does_not_wait_finds_the_name_in_the_map_all_the_same(lab: LabHost, fresh_guest: FreshGuest) -> None:
    guest = two(fresh_guest, "settles")
    with Nicmapd(lab.uri, settings={"poll.interval": "600"}) as daemon:
        settled(daemon, guest)
        answer = daemon.ask("POST", "/vms/settles/interfaces", NIC)
        assert answer.status == 201
        assert "preference-applied" not in answer.headers
        path = answer.headers["location"]
        eventually(lambda: daemon.ask("GET", path).json["name"] == "eth2", within=SLACK, what="the new NIC's name")


def test_a_swapped_name_means_the_nic_that_bears_it_now(daemon: Nicmapd, fresh_guest: FreshGuest) -> None:
    guest = two(fresh_guest, "swap")
    settled(daemon, guest)
    first, second = macs(guest)
    before = daemon.ask("GET", "/vms/swap/interfaces/eth1")
    guest.swap_names("eth0", "eth1")
    answer = detach(daemon, guest, "eth1", If_Match=before.headers["etag"])
    assert (answer.status, answer.json["code"]) == (412, "precondition_failed")
    assert macs(guest) == macs(guest, config=True) == [first, second]
    assert detach(daemon, guest, "eth1").status == 204
    assert macs(guest) == macs(guest, config=True) == [second]


def test_in_a_bond_without_probe_no_name_is_certain_and_none_is_detached(lab: LabHost, fresh_guest: FreshGuest) -> None:
    guest = two(fresh_guest, "bond")
    guest.add_bond(["eth0", "eth1"])
    with Nicmapd(lab.uri, settings={"agent.probe": "never"}) as daemon:
        eventually(lambda: daemon.vm("bond")["agent"]["state"] == "ok", within=SLACK)
        for name in ("eth0", "eth1"):
            answer = detach(daemon, guest, name)
            assert (answer.status, answer.json["code"]) == (409, "ambiguous")
            assert set(answer.json["candidates"]) == set(macs(guest)), "either NIC may be meant, the hidden one too"
    assert len(macs(guest)) == len(macs(guest, config=True)) == 2


def test_while_a_guest_hangs_answers_and_map_say_what_libvirt_did(daemon: Nicmapd, fresh_guest: FreshGuest) -> None:
    guest = two(fresh_guest, "stuck")
    settled(daemon, guest)
    guest.hang_agent()
    daemon.ask("POST", "/vms/stuck/refresh")
    assert daemon.vm("stuck")["agent"]["state"] == "unresponsive"
    answer = daemon.ask("POST", "/vms/stuck/interfaces", NIC)
    location = answer.headers["location"]
    assert answer.status == 201
    eventually(lambda: daemon.ask("GET", location).status == 200, within=CALL, what="the new NIC on the map")
    answer = daemon.ask("PATCH", location, {"link": "down"})
    assert (answer.status, answer.json["link"]) == (200, "down")
    eventually(lambda: daemon.ask("GET", location).json["link"] == "down", within=CALL, what="its link on the map")
    assert daemon.ask("DELETE", location).status == 204
    eventually(lambda: daemon.ask("GET", location).status == 404, within=CALL, what="it is gone from the map")
    guest.resume_agent()
    settled(daemon, guest)


def test_a_silent_guest_loses_nothing_by_name_and_all_by_mac(daemon: Nicmapd, fresh_guest: FreshGuest) -> None:
    guest = two(fresh_guest, "silent")
    settled(daemon, guest)
    guest.hang_agent()
    answer = detach(daemon, guest, "eth1")
    assert (answer.status, answer.json["code"], answer.json["agent_state"]) == (409, "conflict", "unresponsive")
    first, second = macs(guest)
    assert detach(daemon, guest, second).status == 204
    assert macs(guest) == macs(guest, config=True) == [first]
    guest.resume_agent()


def test_a_guest_that_ignores_the_unplug_is_202_and_the_truth_comes_with_its_reset(
    daemon: Nicmapd, fresh_guest: FreshGuest
) -> None:
    guest = two(fresh_guest, "stubborn", kernel_options=["acpiphp.disable=1"])
    settled(daemon, guest)
    first, second = macs(guest)
    begun = time.monotonic()
    answer = detach(daemon, guest, "eth1", wait=0)
    assert answer.status == 202, answer.body
    assert (answer.json["mac"], answer.json["name"]) == (second, "eth1")
    assert time.monotonic() - begun < 5.0 + SLACK
    assert (macs(guest), macs(guest, config=True)) == ([first, second], [first])
    # A second one while the first is pending.
    assert detach(daemon, guest, second, wait=1).status == 202
    assert daemon.ask("GET", answer.headers["location"]).status == 200

    with ThreadPoolExecutor(1) as pool:
        third = pool.submit(detach, daemon, guest, second, wait=30)
        guest.shell.close()
        guest.domain.reset(0)
        assert third.result().status == 204
    assert macs(guest) == [first]
    eventually(lambda: daemon.ask("GET", answer.headers["location"]).status == 404, within=SLACK)


def test_a_paused_guest_lets_go_when_it_goes_on(daemon: Nicmapd, fresh_guest: FreshGuest) -> None:
    guest = two(fresh_guest, "paused")
    settled(daemon, guest)
    second = macs(guest)[1]
    guest.suspend()
    answer = detach(daemon, guest, "eth1")
    assert (answer.status, answer.json["agent_state"]) == (409, "paused")
    assert detach(daemon, guest, second, wait=0).status == 202
    guest.resume()
    settled(daemon, guest)
    assert second not in macs(guest)


def test_fifty_rounds_leave_all_equal(daemon: Nicmapd, fresh_guest: FreshGuest) -> None:
    guest = two(fresh_guest, "rounds")
    settled(daemon, guest)
    before = truth(guest)
    for _ in range(50):
        nic = attach(daemon, guest).json
        assert nic["name"] is not None
        assert nic["name"] == truth(guest)[nic["mac"]]
        assert detach(daemon, guest, nic["name"]).status == 204
    settled(daemon, guest)
    assert truth(guest) == before
    feed = [line for line in daemon.words().splitlines() if "asked for by uid 0 (pid " in line]
    assert len(feed) == 100


def test_ten_clients_at_once_on_one_vm(daemon: Nicmapd, fresh_guest: FreshGuest) -> None:
    guest = two(fresh_guest, "crowd", spare_ports=14)
    settled(daemon, guest)
    before = truth(guest)

    def client(number: int) -> None:
        for turn in range(2):
            nic = attach(daemon, guest, mac=f"52:54:00:cc:{turn:02x}:{number:02x}").json
            assert nic["name"] == truth(guest)[nic["mac"]], nic
            assert detach(daemon, guest, nic["name"], wait=60).status == 204

    with ThreadPoolExecutor(10) as pool:
        for done in [pool.submit(client, number) for number in range(10)]:
            done.result()
    settled(daemon, guest)
    assert truth(guest) == before


def test_a_cable_a_network_and_a_mac(daemon: Nicmapd, fresh_guest: FreshGuest, storage: str) -> None:
    guest = two(fresh_guest, "moves")
    settled(daemon, guest)
    path = "/vms/moves/interfaces/eth1"

    def carrier() -> str:
        return guest.check("cat /sys/class/net/eth1/carrier").strip()

    assert carrier() == "1"
    answer = daemon.ask("PATCH", path, {"link": "down"})
    assert (answer.status, answer.json["link"], answer.json["name"]) == (200, "down", "eth1")
    eventually(lambda: carrier() == "0", within=SLACK, what="the guest sees that the cable is pulled")

    alias = answer.json["alias"]
    answer = daemon.ask("PATCH", path, {"link": "up", "network": storage})
    assert (answer.status, answer.json["network"], answer.json["alias"]) == (200, storage, alias)
    assert guest.dhcp("eth1").startswith("192.168.77.")
    for flags in (0, libvirt.VIR_DOMAIN_XML_INACTIVE):
        sources = ElementTree.fromstring(guest.domain.XMLDesc(flags)).iterfind("devices/interface/source")
        assert [one.get("network") for one in sources] == ["default", storage]

    answer = daemon.ask("PATCH", path, {"network": "nowhere"})
    assert (answer.status, answer.json["code"]) == (400, "invalid")
    assert storage in answer.json["known"]
    answer = daemon.ask("PATCH", path, {"mac": "52:54:00:99:99:99"})
    assert (answer.status, answer.json["code"]) == (409, "conflict")

    second = macs(guest)[1]
    guest.destroy()
    eventually(lambda: daemon.vm("moves")["state"] == "off", within=SLACK)
    answer = daemon.ask("PATCH", f"/vms/moves/interfaces/{second}", {"mac": "52:54:00:99:99:99"})
    assert (answer.status, answer.json["mac"]) == (200, "52:54:00:99:99:99")
    assert macs(guest)[1] == "52:54:00:99:99:99"


def test_transient_live_only_and_config_only(daemon: Nicmapd, fresh_guest: FreshGuest) -> None:
    guest = two(fresh_guest, "scopes")
    settled(daemon, guest)
    live = attach(daemon, guest, scope="live").json["mac"]
    config = attach(daemon, guest, scope="config").json["mac"]
    assert (live in macs(guest), live in macs(guest, config=True)) == (True, False)
    assert (config in macs(guest), config in macs(guest, config=True)) == (False, True)
    assert daemon.ask("POST", "/vms/scopes/interfaces", {**NIC, "mac": config}).status == 409
    assert pending(daemon, "scopes") == {live: "detach", config: "attach"}
    for mac in (live, config):
        assert detach(daemon, guest, mac).status == 204
    settled(daemon, guest)
    assert pending(daemon, "scopes") == {}

    # Of what virsh does to a configuration libvirt tells nobody: it is seen once a minute, and by who asks.
    first = macs(guest)[0]
    guest.domain.detachDeviceFlags(guest.interface_xml(first), libvirt.VIR_DOMAIN_AFFECT_CONFIG)
    assert daemon.ask("POST", "/vms/scopes/refresh").status == 200
    assert pending(daemon, "scopes") == {first: "detach"}

    guest.domain.undefine()  # it runs on as a transient one
    eventually(lambda: daemon.vm("scopes")["persistent"] is False, within=SLACK)
    nic = attach(daemon, guest).json
    assert nic["name"] == "eth2"
    assert detach(daemon, guest, "eth2").status == 204
    assert daemon.ask("POST", "/vms/scopes/interfaces", {**NIC, "scope": "config"}).status == 409


def test_libvirt_s_own_words_reach_the_client(daemon: Nicmapd, fresh_guest: FreshGuest) -> None:
    guest = two(fresh_guest, "words")
    settled(daemon, guest)
    for kind, device in (("bridge", "br<b>9"), ("direct", "eth99")):
        answer = daemon.ask("POST", "/vms/words/interfaces", {"type": kind, "source": device})
        assert (answer.status, answer.headers["content-type"]) == (400, "application/problem+json")
        assert (answer.json["code"], answer.json["key"]) == ("invalid", "source")
        assert device in answer.json["detail"]
        assert "No such device" in answer.json["detail"]
    settled(daemon, guest)


def test_killed_in_the_middle_the_map_comes_true_again(daemon: Nicmapd, fresh_guest: FreshGuest) -> None:
    """kill -9 at any moment of an attach or a detach; a client tries again what it was not told to be done."""
    guest = two(fresh_guest, "killed")
    settled(daemon, guest)
    before = set(macs(guest))
    chance = random.Random(5)
    for turn in range(8):
        mac = f"52:54:00:dd:00:{turn:02x}"
        for request in (
            lambda mac=mac: daemon.ask("POST", "/vms/killed/interfaces", {**NIC, "mac": mac}, headers=WAIT),
            lambda mac=mac: detach(daemon, guest, mac),
        ):
            thread = threading.Thread(target=_and_nobody_answers, args=(request,))
            thread.start()
            time.sleep(chance.uniform(0.0, 0.12))  # the moment is the test
            daemon.kill()
            thread.join()
            daemon.start()
            eventually(
                lambda: set(macs(guest)) == set(daemon.names("killed")) == set(truth(guest)),
                within=20.0,
                what="map, libvirt and guest say the same again",
            )
            live, config = set(macs(guest)), set(macs(guest, config=True))
            assert before <= live
            assert before <= config
        for mac in set(macs(guest)) | set(macs(guest, config=True)):
            if mac not in before:
                assert detach(daemon, guest, mac).status == 204
        settled(daemon, guest)


def _and_nobody_answers(request: object) -> None:
    assert callable(request)
    with contextlib.suppress(OSError, http.client.HTTPException):
        request()


def test_a_libvirt_that_hangs_is_told_and_the_map_comes_true(
    lab: LabHost, daemon: Nicmapd, fresh_guest: FreshGuest
) -> None:
    guest = two(fresh_guest, "hangs")
    settled(daemon, guest)
    second = macs(guest)[1]
    assert daemon.ask("PATCH", f"/vms/hangs/interfaces/{second}", {"link": "down"}).status == 200
    lab.pause_libvirtd()
    try:
        answer = daemon.ask("PATCH", f"/vms/hangs/interfaces/{second}", {"link": "up"}, within=90.0)
    finally:
        lab.resume_libvirtd()
    assert (answer.status, answer.json["code"]) == (503, "unavailable")
    eventually(lambda: all_equal(daemon, guest), within=30.0, what="libvirt, map and guest say the same")
    assert daemon.ask("PATCH", f"/vms/hangs/interfaces/{second}", {"link": "up"}).json["link"] == "up"
