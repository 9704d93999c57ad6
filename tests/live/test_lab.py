"""The lab itself: what the other live tests build on is proved here."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import libvirt
import libvirt_qemu
import pytest

from tests.lab import FakeAgent, Guest, GuestGone, LabHost, LabTimeout, Nic, eventually
from tests.lab.namespaces import started
from tests.live.conftest import FreshGuest, FreshHost, LabGuests

ROOT = Path(__file__).parents[2]
INTERFACES = "guest-network-get-interfaces"
# libvirt 9 tells a command's time-out and a missing agent with the first, 11.2 and later a time-out with the second.
UNRESPONSIVE = {86, 112}


def ask(guest: Guest, command: str, *, timeout: int = 5) -> Any:
    """What the guest's agent answers, through libvirt."""
    answer = libvirt_qemu.qemuAgentCommand(guest.domain, json.dumps({"execute": command}), timeout, 0)
    return json.loads(answer)["return"]


def names_by_agent(guest: Guest) -> dict[str, str]:
    return {entry["name"]: entry.get("hardware-address", "") for entry in ask(guest, INTERFACES)}


# --- booting and commands ---


def test_a_guest_boots_soon_and_answers(fresh_guest: FreshGuest) -> None:
    guest = fresh_guest("boots", boot=False)
    started = time.monotonic()
    guest.start()
    assert time.monotonic() - started < 20
    assert guest.run("echo out; echo err >&2; exit 3") == (3, "out\nerr\n")
    assert names_by_agent(guest) == {"lo": "00:00:00:00:00:00", "eth0": guest.macs[0]}


def test_a_guest_that_does_not_boot_is_destroyed(fresh_guest: FreshGuest) -> None:
    guest = fresh_guest("small", boot=False, memory=24)
    with pytest.raises(LabTimeout, match="did not boot"):
        guest.start(within=2)
    assert not guest.is_running()


def test_boot_options_reach_the_guest(fresh_guest: FreshGuest) -> None:
    nic = Nic(mac="52:54:00:aa:bb:cc", guest_name="ens3", address="192.0.2.7/24", alias="ua-lan")
    guest = fresh_guest("options", nics=[nic], agent_options=("-b", f"{INTERFACES},guest-info"))
    assert guest.links()["ens3"].mac == "52:54:00:aa:bb:cc"
    assert guest.addresses("ens3") == ["192.0.2.7/24"]
    with pytest.raises(libvirt.libvirtError, match=r"disabled|not allowed"):
        ask(guest, INTERFACES)
    assert ask(guest, "guest-ping") == {}


def test_a_guest_without_agent_or_channel_is_ready_as_well(lab: LabHost, fresh_guest: FreshGuest) -> None:
    without_agent = fresh_guest("noagent", boot=False, agent="none")
    without_channel = fresh_guest("nochannel", boot=False, agent_channel=False)
    lab.boot(without_agent, without_channel)
    assert not without_agent.agent_connected()
    with pytest.raises(libvirt.libvirtError, match="not configured"):
        ask(without_channel, "guest-ping")


def test_a_command_ends_at_its_deadline(db1: Guest) -> None:
    assert db1.run("sleep 60", within=1)[0] == 137
    assert db1.run("echo still here") == (0, "still here\n")


# --- the network inside ---


def test_renamed_and_swapped_names_are_seen_by_the_agent(web1: Guest) -> None:
    first, second = web1.macs
    web1.rename("eth0", "lan0")
    assert names_by_agent(web1)["lan0"] == first
    web1.swap_names("lan0", "eth1")
    assert {name: link.mac for name, link in web1.links().items() if name != "lo"} == {"lan0": second, "eth1": first}


def test_virtual_interfaces_show_the_macs_that_they_share(web1: Guest) -> None:
    first, second = web1.macs
    web1.add_vlan("eth1", 100)
    web1.add_macvlan("eth1", "mv0")
    web1.add_dummy("fake0", mac=first)
    web1.add_veth("va", "vb")
    web1.add_bridge(["eth0"])
    seen = names_by_agent(web1)
    assert seen == {name: link.mac for name, link in web1.links().items()}
    assert (seen["eth1.100"], seen["fake0"], seen["br0"]) == (second, first, first)
    assert web1.links()["eth1.100"].parent == "eth1"


def test_a_bond_hides_the_mac_of_its_second_member(web1: Guest) -> None:
    web1.add_bond(["eth0", "eth1"], mode="active-backup")
    seen = names_by_agent(web1)
    assert seen["bond0"] == seen["eth0"] == seen["eth1"] == web1.macs[0]
    assert {device.name for device in web1.devices().values()} == {"eth0", "eth1"}


def test_a_nic_in_a_namespace_leaves_its_vlan_behind(web1: Guest) -> None:
    web1.add_vlan("eth0", 100)
    holder = web1.move_to_netns("eth0")
    seen = names_by_agent(web1)
    assert "eth0" not in seen
    assert seen["eth0.100"] == web1.macs[0]
    web1.end_netns(holder)
    eventually(lambda: "eth0" in web1.links())


def test_an_address_comes_from_the_networks_dhcp(db1: Guest) -> None:
    assert db1.dhcp("eth0").startswith("192.168.122.")


# --- the agent ---


def test_a_hung_agent_times_out_and_comes_back(db1: Guest) -> None:
    ask(db1, "guest-ping")
    db1.hang_agent()
    with pytest.raises(libvirt.libvirtError) as caught:
        ask(db1, "guest-ping", timeout=1)
    assert caught.value.get_error_code() in UNRESPONSIVE
    assert db1.agent_connected()
    assert db1.run("echo the lab has its own way")[0] == 0
    db1.resume_agent()
    assert ask(db1, "guest-ping") == {}


def test_a_killed_agent_is_started_again(db1: Guest) -> None:
    before = db1.check("pidof qemu-ga")
    db1.kill_agent()
    eventually(lambda: db1.run("pidof qemu-ga")[1] not in ("", before))


def test_the_agent_can_be_taken_away_and_changed(db1: Guest) -> None:
    db1.set_agent("none")
    assert not db1.agent_connected()
    db1.set_agent("real", "-b", INTERFACES)
    with pytest.raises(libvirt.libvirtError, match=r"disabled|not allowed"):
        ask(db1, INTERFACES)


def test_a_frozen_agent_refuses_until_it_is_thawed(db1: Guest) -> None:
    db1.freeze_agent()
    with pytest.raises(libvirt.libvirtError, match=r"frozen|not allowed"):
        ask(db1, INTERFACES)
    assert ask(db1, "guest-fsfreeze-status") == "frozen"
    db1.reset()
    assert "eth0" in names_by_agent(db1)


# --- the fake agent ---


@pytest.fixture
def fake(db1: Guest) -> Iterator[FakeAgent]:
    with db1.fake_agent() as agent:
        yield agent


def test_the_fake_agent_answers_what_it_is_told(db1: Guest, fake: FakeAgent) -> None:
    fake.add_nic("ens<b>", db1.macs[0], pci="0000:01:00.0", addresses=("192.0.2.1/24",))
    assert names_by_agent(db1) == {"ens<b>": db1.macs[0]}
    fake.answer(INTERFACES, [])
    assert ask(db1, INTERFACES) == []
    fake.answer_error(INTERFACES, "out of luck")
    with pytest.raises(libvirt.libvirtError, match="out of luck"):
        ask(db1, INTERFACES)
    fake.answer_raw(INTERFACES, b'{"return": [1, 2]}\n', chunk=4, pause=0.05)
    assert ask(db1, INTERFACES) == [1, 2]
    fake.behave()
    assert names_by_agent(db1) == {"ens<b>": db1.macs[0]}


def test_the_fake_agent_can_be_silent(db1: Guest, fake: FakeAgent) -> None:
    fake.silence(INTERFACES)
    with pytest.raises(libvirt.libvirtError) as caught:
        ask(db1, INTERFACES, timeout=1)
    assert caught.value.get_error_code() in UNRESPONSIVE
    assert fake.wait_request(INTERFACES)["execute"] == INTERFACES


def test_the_fake_agent_can_send_garbage_and_much(db1: Guest, fake: FakeAgent) -> None:
    fake.answer(INTERFACES, "x" * 3_000_000)
    assert len(ask(db1, INTERFACES)) == 3_000_000
    fake.answer_raw(INTERFACES, b"no json\n")
    with pytest.raises(libvirt.libvirtError, match="cannot parse json"):
        ask(db1, INTERFACES)


def test_the_fake_agent_serves_files(db1: Guest, fake: FakeAgent) -> None:
    fake.files["/etc/motd"] = b"hello"
    opened = '{"execute":"guest-file-open","arguments":{"path":"/etc/motd"}}'
    handle = json.loads(libvirt_qemu.qemuAgentCommand(db1.domain, opened, 5, 0))["return"]
    read = json.dumps({"execute": "guest-file-read", "arguments": {"handle": handle}})
    answer = json.loads(libvirt_qemu.qemuAgentCommand(db1.domain, read, 5, 0))["return"]
    assert answer == {"count": 5, "buf-b64": "aGVsbG8=", "eof": True}


# --- NICs and life ---


def test_a_hot_plugged_nic_appears_and_goes(web1: Guest) -> None:
    assert web1.attach(Nic(type="network", mac="52:54:00:11:22:33", alias="ua-new")) == "eth2"
    assert names_by_agent(web1)["eth2"] == "52:54:00:11:22:33"
    web1.detach("52:54:00:11:22:33")
    eventually(lambda: "eth2" not in web1.links())


def test_save_and_restore_keep_what_was_done_inside(fresh_guest: FreshGuest) -> None:
    guest = fresh_guest("saved")
    guest.rename("eth0", "kept0")
    file = guest.save()
    with pytest.raises(GuestGone):
        guest.run("true")
    guest.restore(file)
    assert "kept0" in guest.links()


def test_reset_undoes_whatever_a_test_does(web1: Guest, lab_guests: LabGuests) -> None:
    names, devices = web1.links(), web1.devices()
    web1.hang_agent()
    web1.add_vlan("eth0", 7)
    web1.swap_names("eth0", "eth1")
    web1.set_mac("eth0", "52:54:00:00:00:01")
    web1.add_address("eth1", "203.0.113.1/24")
    web1.move_to_netns("eth1")
    web1.attach(Nic(), persistent=True)
    lab_guests("web1")
    assert web1.links() == names
    assert web1.devices() == devices
    assert web1.addresses("eth0") == ["192.168.122.11/24"]
    assert set(names_by_agent(web1)) == set(names)


def test_reset_boots_again_what_cannot_be_undone(db1: Guest) -> None:
    db1.detach(db1.macs[0])
    db1.reset()
    assert db1.live_macs() == list(db1.macs)
    assert db1.links()["eth0"].mac == db1.macs[0]


# --- the host ---


def test_libvirtd_restarts_and_finds_its_guests(lab: LabHost, db1: Guest) -> None:
    before = db1.check("cut -d. -f1 /proc/uptime")
    lab.restart_libvirtd()
    db1.wait_answer()
    lab.restart_libvirtd(kill=True)
    db1.wait_answer()
    assert int(db1.check("cut -d. -f1 /proc/uptime")) >= int(before)


def test_libvirtd_can_be_paused(lab: LabHost) -> None:
    lab.pause_libvirtd()
    state = Path(f"/proc/{lab.libvirtd_pid}/stat")
    eventually(lambda: state.read_text().rpartition(")")[2].split()[0] == "T")
    lab.resume_libvirtd()
    assert lab.connection.getLibVersion() > 0


def test_two_hosts_know_nothing_of_each_other(lab: LabHost, fresh_host: FreshHost) -> None:
    other = fresh_host()
    same_name = other.guest("web1")
    assert other.connection.getURI() != lab.connection.getURI()
    assert [domain.UUIDString() for domain in other.connection.listAllDomains()] == [same_name.uuid]
    assert other.enter("hostname").stdout == "other\n"


OWNER = """
import sys, time
from tests.lab import LabHost
with LabHost() as host:
    host.define_network()
    host.guest("orphan").create()
    print(host.folder, flush=True)
    sys.stdin.read()
"""


def processes_of(folder: Path) -> set[int]:
    """PIDs of all that a lab consists of: those that name its folder, and all in the PID namespace of one of these."""
    commands: dict[int, tuple[bytes, str]] = {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            commands[int(process.name)] = (process / "cmdline").read_bytes(), str((process / "ns" / "pid").readlink())
    named = {pid for pid, (command, _) in commands.items() if str(folder).encode() in command}
    inside = {commands[pid][1] for pid in named} - {str(Path("/proc/self/ns/pid").readlink())}
    return named | {pid for pid, (_, namespace) in commands.items() if namespace in inside}


def test_a_killed_owner_leaves_nothing_behind() -> None:
    owner = subprocess.Popen([sys.executable, "-c", OWNER], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert owner.stdout is not None
        folder = Path(owner.stdout.readline().decode().strip())
        assert folder.is_dir()
        alive = {pid: started(pid) for pid in processes_of(folder)}
        assert len(alive) >= 6, "unshare, its first process, janitor, libvirtd, dnsmasq, QEMU"
        owner.kill()
        owner.wait()
        eventually(lambda: not folder.exists(), what="folder removed")
        eventually(lambda: not [pid for pid, at in alive.items() if started(pid) == at], what="processes gone")
        assert str(folder) not in Path("/proc/mounts").read_text()
    finally:
        owner.kill()
        owner.communicate()
