"""No wrong name, whatever a real guest does with its interfaces: each case with probing and without, side by side."""

from __future__ import annotations

import time
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from nicmapd.text import clean
from tests.lab import Guest, LabHost, Nic, eventually
from tests.lab.nicmapd import Nicmapd

INTERVAL = 0.5
#: A change is in the map after a poll; two cores that also emulate the guests need some more.
FOLLOW = 6.0


@dataclass
class Watch:
    """A guest with three NICs and two daemons on it: one may probe, one may not."""

    guest: Guest
    auto: Nicmapd
    never: Nicmapd
    #: PCI address -> MAC of the XML, from the guest's boot, when nobody had changed anything yet.
    places: dict[str, str]

    def truth(self) -> dict[str, str]:
        """MAC of the XML -> the name that the device at its place bears in the guest's main namespace now."""
        return {
            self.places[pci]: clean(device.name) for pci, device in self.guest.devices().items() if pci in self.places
        }

    def settle(self, check: Callable[[dict[str, str | None]], bool] | None = None) -> None:
        """The daemon that probes knows every NIC that is there; the other knows nothing wrong, now and a pass later."""
        truth = self.truth()

        def right() -> bool:
            nics = self.auto.nics("naming")
            names = {nic["mac"]: nic["name"] for nic in nics if nic["name"] is not None}
            agent = self.auto.vm("naming")["agent"]
            assert names == truth, (agent, [(nic["mac"], nic["name"], nic["reason"], nic["evidence"]) for nic in nics])
            return True

        eventually(right, within=FOLLOW, what=f"with probes: {truth}")
        for daemon in (self.auto, self.never):
            self._next_pass(daemon)
            self._next_pass(daemon)
            names = daemon.names("naming")
            wrong = {mac: name for mac, name in names.items() if name is not None and name != truth.get(mac)}
            assert not wrong, f"the truth is {truth}"
        assert {mac: name for mac, name in self.auto.names("naming").items() if name is not None} == truth
        if check is not None:
            assert check(self.never.names("naming"))

    @staticmethod
    def _next_pass(daemon: Nicmapd) -> None:
        before = daemon.vm("naming")["agent"]["last_success"]
        eventually(lambda: daemon.vm("naming")["agent"]["last_success"] > before, within=FOLLOW)

    def nic(self, mac: str, *, daemon: Nicmapd | None = None) -> dict[str, object]:
        status, body = (daemon or self.auto).get(f"/vms/naming/interfaces/{mac}")
        assert status == 200, body
        return dict(body)


@pytest.fixture(scope="module")
def watched(session_lab: LabHost) -> Iterator[Watch]:
    guest = session_lab.guest("naming", nics=[Nic(), Nic(), Nic()])
    session_lab.boot(guest)
    places = {pci: device.mac for pci, device in guest.devices().items()}
    settings = {"poll.interval": f"{INTERVAL:g}"}
    with (
        Nicmapd(session_lab.uri, settings=settings) as auto,
        Nicmapd(session_lab.uri, settings={**settings, "agent.probe": "never"}) as never,
    ):
        yield Watch(guest, auto, never, places)
    guest.forget()


@pytest.fixture
def watch(watched: Watch, lab: LabHost) -> Watch:
    """The guest started anew: no case leaves a doubt to the next one."""
    assert lab is watched.guest.host
    watched.guest.destroy()
    watched.guest.start()
    watched.settle(lambda names: list(names.values()) == ["eth0", "eth1", "eth2"])
    return watched


def macs(watch: Watch) -> list[str]:
    return list(watch.guest.macs)


@pytest.mark.parametrize("mode", ["active-backup", "balance-rr"])
def test_members_of_a_bond_keep_their_own_names(watch: Watch, mode: str) -> None:
    watch.guest.add_bond(["eth0", "eth1"], mode=mode)
    watch.settle(lambda names: names[macs(watch)[0]] is None and names[macs(watch)[1]] is None)
    first, second, third = macs(watch)
    assert watch.nic(second)["guest_mac"] == first
    assert watch.nic(third)["guest_mac"] is None
    for mac in (first, second):
        assert {"name": "bond0", "kind": "bond", "mac": first} in watch.nic(mac)["stack"]  # type: ignore[operator]
    ambiguous = watch.nic(first, daemon=watch.never)
    assert (ambiguous["name_state"], ambiguous["candidates"]) == ("ambiguous", ["eth0", "eth1"])


def test_names_swapped_within_a_bond_are_noticed_although_the_reply_is_the_same(watch: Watch) -> None:
    watch.guest.add_bond(["eth0", "eth1"])
    watch.settle()
    watch.guest.swap_names("eth0", "eth1")
    watch.settle()


def test_a_vlan_stands_on_its_nic_and_does_not_take_its_place(watch: Watch) -> None:
    watch.guest.add_vlan("eth0", 100)
    watch.guest.add_address("eth0.100", "198.51.100.7/24")
    watch.settle(lambda names: names[macs(watch)[0]] == "eth0")
    nic = watch.nic(macs(watch)[0])
    assert [layer["kind"] for layer in nic["stack"]] == ["vlan"]  # type: ignore[attr-defined]
    assert ("198.51.100.7", "eth0.100") in [(a["ip"], a["interface"]) for a in nic["addresses"]]  # type: ignore[attr-defined]
    watch.guest.move_to_netns("eth0")
    watch.settle(lambda names: names[macs(watch)[0]] is None)
    assert watch.nic(macs(watch)[0])["name_state"] == "unseen"


def test_a_vlan_of_a_harmless_name_does_not_take_its_place_either(watch: Watch) -> None:
    watch.guest.add_vlan("eth0", 7, name="uplink")
    watch.settle()
    watch.guest.move_to_netns("eth0")
    watch.settle(lambda names: names[macs(watch)[0]] is None)


def test_a_bridge_over_a_nic(watch: Watch) -> None:
    watch.guest.add_bridge(["eth0"])
    watch.settle(lambda names: names[macs(watch)[0]] == "eth0")
    assert [layer["kind"] for layer in watch.nic(macs(watch)[0])["stack"]] == ["bridge"]  # type: ignore[attr-defined]


def test_a_macvlan(watch: Watch) -> None:
    watch.guest.add_macvlan("eth2", "mv0")
    watch.settle()


def test_a_bridge_over_a_vlan_over_a_bond(watch: Watch) -> None:
    watch.guest.add_bond(["eth0", "eth1"])
    watch.guest.add_vlan("bond0", 100)
    watch.guest.add_bridge(["bond0.100"])
    watch.guest.add_address("br0", "203.0.113.5/24")
    watch.settle()
    for mac in macs(watch)[:2]:
        nic = watch.nic(mac)
        assert {layer["name"] for layer in nic["stack"]} == {"bond0", "bond0.100", "br0"}  # type: ignore[attr-defined]
        assert "203.0.113.5" in [address["ip"] for address in nic["addresses"]]  # type: ignore[attr-defined]


def test_a_mac_changed_in_the_guest(watch: Watch) -> None:
    watch.guest.set_mac("eth1", "02:00:00:00:00:99")
    watch.settle(lambda names: names[macs(watch)[1]] is None)
    assert watch.nic(macs(watch)[1])["guest_mac"] == "02:00:00:00:00:99"


def test_macs_swapped_between_two_nics(watch: Watch) -> None:
    first, second, _ = macs(watch)
    watch.guest.set_mac("eth0", "02:00:00:00:00:01")
    watch.guest.set_mac("eth1", first)
    watch.guest.set_mac("eth0", second)
    watch.settle()
    assert (watch.nic(first)["name"], watch.nic(first)["guest_mac"]) == ("eth0", second)


def test_a_dummy_never_becomes_the_nic(watch: Watch) -> None:
    first = macs(watch)[0]
    watch.guest.add_dummy("up0", mac=first)
    watch.settle()
    watch.guest.move_to_netns("eth0")
    watch.settle(lambda names: names[first] is None)
    watch.guest.delete_link("up0")
    watch.guest.add_dummy("eth0", mac=first)
    watch.settle(lambda names: names[first] is None)


def test_names_swapped(watch: Watch) -> None:
    watch.guest.swap_names("eth0", "eth2")
    watch.settle()


def test_a_chain_of_renames(watch: Watch) -> None:
    for old, new in (("eth0", "tmp"), ("eth1", "eth0"), ("eth2", "eth1"), ("tmp", "eth2")):
        watch.guest.rename(old, new)
        watch.settle()


def test_a_flood_of_renames_adds_at_most_a_row_a_pass(watch: Watch) -> None:
    first, second, third = macs(watch)
    script = (
        "now() { cut -d. -f1 /proc/uptime; }; (a=eth0; b=eth1; i=0; end=$(($(now)+30)); while [ $(now) -lt $end ]; do"
        " ip link set $a down; ip link set $a name a$i; a=a$i; ip link set $a up;"
        " ip link set $b down; ip link set $b name b$i; b=b$i; ip link set $b up;"
        " i=$(((i+1)%10)); usleep 100000; done; touch /run/flooded) >/dev/null 2>&1 &"
    )
    passes = {daemon: daemon.get("/status")[1]["passes"]["count"] for daemon in (watch.auto, watch.never)}
    begun = watch.auto.vm("naming")["agent"]["last_success"]
    watch.guest.check(script)
    seen: set[str | None] = set()
    deadline = time.monotonic() + 60
    while watch.guest.run("test -e /run/flooded")[0] != 0:
        assert time.monotonic() < deadline, "the flood does not end"
        for daemon in (watch.auto, watch.never):
            names = daemon.names("naming")
            if not names:
                continue  # the agent is late: nothing fresh
            seen.add(names.get(first))
            assert str(names.get(first) or "a")[0] in "ae", names
            assert str(names.get(second) or "b")[0] in "be", names
            assert names.get(third) in ("eth2", None), names
    watch.settle()
    assert len(seen) > 3, "the flood was followed"
    for daemon in (watch.auto, watch.never):
        spent = daemon.get("/status")[1]["passes"]["count"] - passes[daemon]
        _, history = daemon.get(f"/vms/naming/interfaces/{first}/history?since={begun}&limit=500")
        rows = [entry for entry in history["items"] if entry["from"] >= begun]
        assert 3 < len(rows) <= spent + 1


@pytest.mark.parametrize("name", ["<b>x", "$(id)", "\x1b[31mred", "net0", "naïve", "\u202egnp"])
def test_odd_names_are_served(watch: Watch, name: str) -> None:
    watch.guest.rename("eth0", name)
    watch.settle(lambda names: names[macs(watch)[0]] in (clean(name), None))
    status, nic = watch.auto.get(f"/vms/naming/interfaces/{urllib.parse.quote(name, safe='')}")
    assert (status, nic["mac"]) == (200, macs(watch)[0])
    shown = watch.auto.ctl("show", "naming", name)
    assert shown.returncode == 0, shown.stderr
    assert not {"\x1b", "\u202e"} & set(shown.stdout)
