"""What breaks, on real guests and a real libvirtd: a fault costs what it must, says so, and ends by itself.

Numbers are those of docs/reliability.md.
"""

from __future__ import annotations

import json
import sqlite3
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import libvirt
import libvirt_qemu
import pytest

from tests.lab import Guest, LabHost, Nic, eventually
from tests.lab.nicmapd import BIN, Nicmapd
from tests.live.conftest import FreshGuest, FreshHost, LabGuests

INTERVAL = 1.0
FOLLOW = 5.0


@pytest.fixture
def daemon(lab: LabHost, request: pytest.FixtureRequest) -> Iterator[Nicmapd]:
    """A nicmapd on the session's lab, started after the shared guests were put back."""
    for shared in {"web1", "db1"} & set(request.fixturenames):
        request.getfixturevalue(shared)
    with Nicmapd(lab.uri, settings={"poll.interval": f"{INTERVAL:g}"}) as running:
        yield running


def agent(daemon: Nicmapd, vm: str) -> dict[str, object]:
    return dict(daemon.vm(vm)["agent"])


def comes_to(daemon: Nicmapd, vm: str, state: str, *, within: float = 15.0) -> dict[str, object]:
    """Waits for an agent state; the agent as the API tells it."""
    eventually(lambda: agent(daemon, vm)["state"] == state, within=within, what=f"{vm} is {state}")
    return agent(daemon, vm)


def fresh(daemon: Nicmapd, vm: str, *, within: float = FOLLOW) -> None:
    eventually(lambda: daemon.vm(vm)["freshness"] == "fresh", within=within, what=f"{vm} is fresh")


def all_names(daemon: Nicmapd, vm: str) -> dict[str, str | None]:
    return {nic["mac"]: nic["name"] for nic in daemon.nics(vm)}


def polled_on_time(daemon: Nicmapd, vm: str, *, passes: int = 3) -> None:
    """A healthy guest's answers keep coming, each within two intervals."""
    for _ in range(passes):
        before = agent(daemon, vm)["last_success"]
        eventually(
            lambda before=before: str(agent(daemon, vm)["last_success"]) > str(before),  # type: ignore[misc]
            within=2 * INTERVAL + 1,
            what=f"{vm} is polled on time",
        )


@pytest.mark.usefixtures("db1")
def test_01_a_hung_agent_keeps_its_names_with_their_age_and_is_asked_less(daemon: Nicmapd, web1: Guest) -> None:
    fresh(daemon, "web1")
    names = all_names(daemon, "web1")
    web1.hang_agent()
    state = comes_to(daemon, "web1", "unresponsive")
    assert state["message"]
    assert all_names(daemon, "web1") == names
    assert {nic["name_state"] for nic in daemon.nics("web1")} == {"stale"}
    polled_on_time(daemon, "db1")
    assert daemon.ctl("status").returncode == 0, "one guest's trouble is not the daemon's"
    lines = [line for line in daemon.words().splitlines() if "unresponsive" in line and " info " in line]
    assert len(lines) <= 2, "a line for the change, not for each poll"
    web1.resume_agent()
    daemon.get("/vms/web1/refresh", method="POST")
    fresh(daemon, "web1", within=15)


def all_known(daemon: Nicmapd, guests: Sequence[Guest]) -> bool:
    """Whether these VMs are in the map with their NICs; 404 until then."""
    found = {guest.name: daemon.get(f"/vms/{guest.name}/interfaces") for guest in guests}
    return all(
        status == 200 and [nic["mac"] for nic in body["items"]] == list(guest.macs)
        for guest, (status, body) in zip(guests, found.values(), strict=True)
    )


def test_02_many_hung_agents_cost_the_healthy_ones_and_virsh_nothing(
    lab: LabHost, lab_guests: LabGuests, db1: Guest
) -> None:
    hung = lab_guests(*(f"hang{number}" for number in range(5)))
    with Nicmapd(lab.uri, settings={"poll.interval": f"{INTERVAL:g}"}) as daemon:
        for guest in (*hung, db1):
            fresh(daemon, guest.name, within=15)
        for guest in hung:
            guest.hang_agent()
        for guest in hung:
            comes_to(daemon, guest.name, "unresponsive", within=30)
        polled_on_time(daemon, "db1", passes=5)
        begun = time.monotonic()
        subprocess.run(["virsh", "-c", lab.uri, "dumpxml", "db1"], check=True, capture_output=True)
        assert time.monotonic() - begun < 2
        with Nicmapd(lab.uri) as anew:
            # Each of their passes takes seconds, but that they are there, and with which NICs, takes none.
            eventually(lambda: all_known(anew, hung), within=1.5, what="all VMs are known")
            assert {nic["name"] for guest in hung for nic in anew.nics(guest.name)} == {None}
        for guest in hung:
            guest.resume_agent()
            daemon.get(f"/vms/{guest.name}/refresh", method="POST")
            fresh(daemon, guest.name, within=20)


def test_04_another_client_that_holds_the_agent_makes_it_busy(daemon: Nicmapd, web1: Guest) -> None:
    fresh(daemon, "web1")
    names = all_names(daemon, "web1")
    web1.hang_agent()
    # Longer than the 30 s for which libvirt lets us wait for its lock.
    command = [
        "virsh",
        "-c",
        web1.host.uri,
        "qemu-agent-command",
        "web1",
        '{"execute":"guest-ping"}',
        "--timeout",
        "40",
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as other:
        comes_to(daemon, "web1", "busy", within=60)
        assert all_names(daemon, "web1") == names
        other.kill()
    web1.resume_agent()


@pytest.mark.usefixtures("web1")
def test_05_the_response_time_that_other_tools_share_is_left_alone(daemon: Nicmapd, lab: LabHost) -> None:
    fresh(daemon, "web1")
    status = (lab.folder / "run" / "qemu" / "web1.xml").read_text()
    # -2: no limit was ever set. Ours is an argument of each call.
    assert "<agentTimeout>-2</agentTimeout>" in status


def test_06_a_frozen_guest_keeps_its_names_and_thaws_by_itself(daemon: Nicmapd, web1: Guest) -> None:
    fresh(daemon, "web1")
    names = all_names(daemon, "web1")
    web1.freeze_agent()
    comes_to(daemon, "web1", "frozen")
    assert all_names(daemon, "web1") == names
    libvirt_qemu.qemuAgentCommand(web1.domain, json.dumps({"execute": "guest-fsfreeze-thaw"}), 5, 0)
    fresh(daemon, "web1", within=3 * INTERVAL + 2)


def test_07_a_disabled_command_is_told_and_not_tried_again(daemon: Nicmapd, web1: Guest) -> None:
    web1.set_agent("real", "-b", "guest-network-get-interfaces")
    comes_to(daemon, "web1", "disabled")

    def left_alone() -> bool:
        """For a few passes, that is; the event that the agent has connected may come after it was found to have."""
        attempt = agent(daemon, "web1")["last_attempt"]
        polled = daemon.get("/status")[1]["passes"]["count"]
        eventually(lambda: daemon.get("/status")[1]["passes"]["count"] > polled + 2, within=10)
        return bool(agent(daemon, "web1")["last_attempt"] == attempt)

    eventually(left_alone, within=10)
    web1.set_agent("real")
    fresh(daemon, "web1", within=10)


def test_08_without_a_channel_or_an_agent_nobody_is_called(
    daemon: Nicmapd, fresh_guest: FreshGuest, web1: Guest
) -> None:
    fresh_guest("mute", agent_channel=False)
    comes_to(daemon, "mute", "no_channel")
    assert agent(daemon, "mute")["last_attempt"] is None
    web1.set_agent("none")
    comes_to(daemon, "web1", "not_connected")
    web1.set_agent("real")
    fresh(daemon, "web1", within=10)


def test_09_paused_saved_and_restored(daemon: Nicmapd, fresh_guest: FreshGuest) -> None:
    guest = fresh_guest("sleepy")
    fresh(daemon, "sleepy")
    names = all_names(daemon, "sleepy")
    guest.suspend()
    comes_to(daemon, "sleepy", "paused")
    assert (daemon.vm("sleepy")["state"], daemon.vm("sleepy")["freshness"]) == ("paused", "last_known")
    guest.resume()
    fresh(daemon, "sleepy")
    path = guest.save()
    comes_to(daemon, "sleepy", "off")
    assert all_names(daemon, "sleepy") == names
    guest.restore(path)
    fresh(daemon, "sleepy", within=10)
    assert all_names(daemon, "sleepy") == names


@pytest.mark.usefixtures("web1")
def test_12_libvirtd_restarts_again_and_again_and_nothing_grows(daemon: Nicmapd, lab: LabHost) -> None:
    fresh(daemon, "web1")
    first = _held(daemon)
    for round_ in range(8):
        lab.restart_libvirtd(kill=round_ % 2 == 0)
        eventually(lambda: daemon.get("/readyz")[0] == 200, within=15, what="ready again")
        fresh(daemon, "web1", within=10)

    # There may be up to three lines more than at first, of some three descriptors each; eight restarts that left
    # their lines behind would hold many times that.
    def back() -> bool:
        descriptors, threads = _held(daemon)
        assert descriptors <= first[0] + 10, f"{descriptors} descriptors, at first {first[0]}"
        assert threads <= first[1] + 4, f"{threads} threads, at first {first[1]}"
        return True

    eventually(back, within=10, what="about the descriptors and threads of before")


def _held(daemon: Nicmapd) -> tuple[int, int]:
    assert daemon.process is not None
    return _descriptors(daemon.process.pid), _threads(daemon.process.pid)


def _descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def _threads(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


@pytest.mark.usefixtures("web1")
def test_13_a_libvirtd_that_hangs_is_noticed_and_readers_are_served(daemon: Nicmapd, lab: LabHost) -> None:
    fresh(daemon, "web1")
    names = all_names(daemon, "web1")
    lab.pause_libvirtd()
    eventually(lambda: daemon.get("/readyz")[0] == 503, within=30, what="not ready")
    assert all_names(daemon, "web1") == names
    lab.resume_libvirtd()
    eventually(lambda: daemon.get("/readyz")[0] == 200, within=15, what="ready again")
    fresh(daemon, "web1", within=15)


@pytest.mark.usefixtures("web1")
def test_13_who_asks_for_a_guest_while_libvirtd_hangs_has_an_answer(daemon: Nicmapd, lab: LabHost) -> None:
    fresh(daemon, "web1")
    names = all_names(daemon, "web1")
    lab.pause_libvirtd()
    try:
        name = next(iter(names.values()))
        for method, path in (
            ("POST", "/vms/web1/refresh"),  # libvirt is not known to be away yet
            ("POST", "/vms/web1/refresh"),
            ("DELETE", f"/vms/web1/interfaces/{name}"),
        ):
            reply = daemon.ask(method, path, within=40)
            assert (reply.status, reply.json["code"]) == (503, "unavailable"), reply
            assert "libvirt" in reply.json["detail"]
    finally:
        lab.resume_libvirtd()
    eventually(lambda: daemon.get("/readyz")[0] == 200, within=15, what="ready again")
    fresh(daemon, "web1", within=15)
    assert all_names(daemon, "web1") == names, "the guest was not asked to let go of anything"


def test_14_a_network_daemon_that_is_down_costs_the_networks_and_nothing_else(
    daemon: Nicmapd, lab: LabHost, web1: Guest
) -> None:
    fresh(daemon, "web1")
    names = all_names(daemon, "web1")
    lab.restart_libvirtd(without="network")
    try:
        eventually(lambda: daemon.get("/readyz")[0] == 200, within=15, what="ready again")
        polled_on_time(daemon, "web1")
        assert all_names(daemon, "web1") == names
        before = web1.domain.XMLDesc()
        for method, path, body in (
            ("GET", "/networks", None),
            ("POST", "/vms/web1/interfaces", {"type": "network", "network": "default"}),
        ):
            reply = daemon.ask(method, path, body)
            assert (reply.status, reply.json["code"]) == (501, "unsupported"), reply
            assert "not supported by the connection driver" in reply.json["detail"]
        assert web1.domain.XMLDesc() == before
    finally:
        lab.restart_libvirtd()
    eventually(lambda: daemon.get("/networks")[0] == 200, within=15, what="the networks again")


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(b'{"return": []}\n', id="empty"),
        pytest.param(
            b'{"return": [' + b'{"name":"x","hardware-address":"00:11:22:33:44:55"},' * 2100 + b'{"name":"y"}]}\n',
            id="2101 interfaces",
        ),
        pytest.param(b'{"return": "' + b"x" * 5_000_000 + b'"}\n', id="5 MB of text"),
        pytest.param(
            b'{"error": {"class": "GenericError", "desc": "' + b"e" * 5_000_000 + b'"}}\n', id="5 MB of error"
        ),
        pytest.param(b'{"return": ' + b"[" * 5000 + b"]" * 5000 + b"}\n", id="deep"),
        pytest.param(b'{"return": {"name": 1e400}}\n', id="1e400"),
    ],
)
@pytest.mark.usefixtures("db1")
def test_15_16_17_a_lying_agent_hurts_only_itself(daemon: Nicmapd, web1: Guest, reply: bytes) -> None:
    fresh(daemon, "web1")
    fresh(daemon, "db1")
    names = all_names(daemon, "web1")
    since = daemon.get("/status")[1]["libvirt"]["since"]
    before = _resident(daemon)
    with web1.fake_agent() as fake:
        fake.answer_raw("guest-network-get-interfaces", reply)
        fake.wait_request("guest-network-get-interfaces", count=2)
        # Of too many interfaces the first ones are taken, and the agent's message says so.
        eventually(lambda: agent(daemon, "web1")["message"] != "answers", within=15, what="told that it is no good")
        polled_on_time(daemon, "db1")
        # A reply that could be read and shows no NIC says that none is there; every other wipes nothing.
        assert {name for name in all_names(daemon, "web1").values() if name} <= set(names.values())
    assert daemon.get("/status")[1]["libvirt"]["since"] == since, "the connection for events was never given up"
    assert _resident(daemon) - before < 50 * 1024
    assert "Traceback" not in daemon.words()
    assert "\x1b" not in daemon.words()


def test_16_garbage_on_the_channel_hurts_only_its_guest(daemon: Nicmapd, fresh_guest: FreshGuest, web1: Guest) -> None:
    """libvirt gives an agent up after garbage, until its channel is opened again."""
    guest = fresh_guest("garbage")
    fresh(daemon, "garbage")
    names = all_names(daemon, "garbage")
    with guest.fake_agent() as fake:
        fake.wait_request("guest-network-get-interfaces", within=15)
        fake.send(b"\x00\xff garbage \x1b[31m\n")
        eventually(lambda: agent(daemon, "garbage")["state"] not in ("ok", "not_connected"), within=20)
        assert all_names(daemon, "garbage") == names
        fresh(daemon, web1.name)
        polled_on_time(daemon, web1.name)
    assert "Traceback" not in daemon.words()
    assert "\x1b" not in daemon.words()


def _resident(daemon: Nicmapd) -> int:
    """RSS in KiB."""
    assert daemon.process is not None
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))


def test_24_a_reply_that_trickles_in_holds_up_nobody_else(daemon: Nicmapd, web1: Guest, db1: Guest) -> None:
    fresh(daemon, "web1")
    with web1.fake_agent() as fake:
        fake.add_nic("eth0", web1.macs[0])
        listed = {"return": [{"name": "eth0", "hardware-address": web1.macs[0], "ip-addresses": []}]}
        fake.answer_raw("guest-network-get-interfaces", json.dumps(listed).encode() + b"\n", chunk=4, pause=0.3)
        fake.wait_request("guest-network-get-interfaces", within=15)
        polled_on_time(daemon, db1.name, passes=4)
        in_flight = sum(1 for request in fake.requests if request["execute"] == "guest-network-get-interfaces")
        assert in_flight <= 3, "the next poll waits for the one before"


def test_27_a_renamed_domain_keeps_its_past_and_a_new_one_of_the_name_inherits_nothing(
    daemon: Nicmapd, fresh_guest: FreshGuest, lab: LabHost
) -> None:
    guest = fresh_guest("oldname")
    fresh(daemon, "oldname")
    uuid = daemon.vm("oldname")["uuid"]
    guest.destroy()
    comes_to(daemon, "oldname", "off")
    guest.domain.rename("newname", 0)
    eventually(lambda: daemon.get("/vms/newname")[0] == 200, within=FOLLOW, what="the new name")
    assert daemon.vm("newname")["uuid"] == uuid
    assert daemon.get("/vms/oldname")[0] == 404
    assert daemon.nics("newname")[0]["name"] == "eth0"
    lab.connection.lookupByName("newname").undefine()
    eventually(lambda: daemon.get("/vms/newname")[0] == 404, within=FOLLOW, what="gone")
    status, past = daemon.get(f"/vms/{uuid}/history")
    assert status == 200
    assert "eth0" in [entry["name"] for entry in past["items"]]


@pytest.mark.usefixtures("web1")
def test_28_a_guest_that_migrates_is_followed_from_host_to_host(
    daemon: Nicmapd, lab: LabHost, fresh_guest: FreshGuest, fresh_host: FreshHost
) -> None:
    other = fresh_host("second")
    guest = fresh_guest("nomad", nics=[Nic(type="network", guest_name="wan0")])
    fresh(daemon, "nomad")
    uuid = daemon.vm("nomad")["uuid"]
    with Nicmapd(other.uri, settings={"poll.interval": f"{INTERVAL:g}"}) as there:
        _migrate(guest, lab, other)
        eventually(lambda: there.get("/vms/nomad")[0] == 200, within=FOLLOW, what="known on the other host")
        fresh(there, "nomad")
        assert (there.vm("nomad")["uuid"], list(all_names(there, "nomad").values())) == (uuid, ["wan0"])
        eventually(lambda: daemon.get("/vms/nomad")[0] == 404, within=FOLLOW, what="gone from this host")
        assert daemon.get(f"/vms/{uuid}/history")[1]["items"][0]["name"] == "wan0"
        other.connection.lookupByName("nomad").destroy()


def _migrate(guest: Guest, source: LabHost, target: LabHost) -> None:
    guest.shell.close()
    words = ["migrate", "--live", "--persistent", "--undefinesource", guest.name, target.uri]
    words += ["--migrateuri", f"unix://{target.folder}/migration.sock"]
    done = subprocess.run(["virsh", "-c", source.uri, *words], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.usefixtures("web1")
def test_30_33_a_second_daemon_on_the_same_store_is_refused(daemon: Nicmapd) -> None:
    fresh(daemon, "web1")
    environment = {**daemon.environment(), "NICMAPD_API__SOCKET": str(daemon.folder / "second.sock")}
    second = subprocess.run(
        [str(BIN / "nicmapd")], env=environment, capture_output=True, text=True, timeout=20, check=False
    )
    assert second.returncode == 1
    assert str(daemon.store) in second.stderr
    assert "Traceback" not in second.stderr
    assert daemon.get("/healthz")[0] == 200


def test_31_a_full_disk_degrades_and_heals(lab: LabHost, web1: Guest, tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(tmp_path)], check=True)
    try:
        with Nicmapd(
            lab.uri, parent=tmp_path, settings={"poll.interval": f"{INTERVAL:g}", "log.level": "warning"}
        ) as daemon:
            fresh(daemon, "web1")
            ballast = tmp_path / "ballast"
            with ballast.open("wb", buffering=0) as file:
                try:
                    while True:
                        file.write(b"x" * 4096)
                except OSError:
                    pass
            for number in range(30):
                web1.rename("eth0" if number == 0 else f"full{number - 1}", f"full{number}")
                eventually(
                    lambda number=number: f"full{number}" in all_names(daemon, "web1").values(),  # type: ignore[misc]
                    within=FOLLOW,
                    what="served from memory",
                )
                if daemon.get("/status")[1]["state"] == "degraded":
                    break
            assert daemon.get("/status")[1]["state"] == "degraded"
            assert daemon.ctl("status").returncode == 1
            ballast.unlink()
            eventually(lambda: daemon.get("/status")[1]["state"] == "ok", within=15, what="healed")
            names = all_names(daemon, "web1")
            daemon.stop()
            daemon.start()
            assert all_names(daemon, "web1") == names
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)


@pytest.mark.usefixtures("web1")
def test_32_a_damaged_file_is_set_aside_and_the_map_is_rebuilt(daemon: Nicmapd) -> None:
    fresh(daemon, "web1")
    names = all_names(daemon, "web1")
    daemon.stop()
    with daemon.store.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xde\xad\xbe\xef" * 4096)
    daemon.start()
    eventually(lambda: all_names(daemon, "web1") == names, within=10, what="rebuilt")
    assert list(daemon.folder.glob("map.db.corrupt-*"))
    assert "moved aside" in daemon.words()


@pytest.mark.usefixtures("web1")
def test_32_a_store_of_a_newer_version_is_not_touched(daemon: Nicmapd) -> None:
    fresh(daemon, "web1")
    daemon.stop()
    with sqlite3.connect(daemon.store) as store:
        store.execute("UPDATE alembic_version SET version_num = '9999'")
    before = daemon.store.read_bytes()
    refused = subprocess.run(
        [str(BIN / "nicmapd")], env=daemon.environment(), capture_output=True, text=True, timeout=20, check=False
    )
    assert refused.returncode == 1
    assert "newer" in refused.stderr
    assert daemon.store.read_bytes() == before


@pytest.mark.usefixtures("db1")
def test_40_an_opted_out_guest_never_hears_from_us(lab: LabHost, web1: Guest) -> None:
    with (
        web1.fake_agent() as fake,
        Nicmapd(lab.uri, settings={"poll.interval": "0.5", "agent.opt_out": "web*"}) as daemon,
    ):
        heard = len(fake.requests)
        comes_to(daemon, "web1", "opted_out")
        fresh(daemon, "db1")
        polled_on_time(daemon, "db1", passes=5)
        assert len(fake.requests) == heard
        assert {nic["name_state"] for nic in daemon.nics("web1")} == {"never"}


def test_03_no_call_that_libvirt_lets_block_for_ever_is_in_the_program() -> None:
    root = Path(__file__).parents[2] / "nicmapd"
    text = "\n".join(path.read_text() for path in root.rglob("*.py"))
    for call in ("interfaceAddresses(", "guestInfo(", "agentSetResponseTimeout(", "fsFreeze("):
        assert call not in text


def test_26_an_unplug_that_the_guest_does_not_do_leaves_the_nic_in_the_map(
    daemon: Nicmapd, fresh_guest: FreshGuest
) -> None:
    guest = fresh_guest("plugs")
    mac = "52:54:00:26:26:26"
    guest.attach(Nic(mac=mac))
    eventually(lambda: daemon.names("plugs").get(mac), within=FOLLOW, what="named")
    guest.suspend()
    guest.domain.detachDeviceFlags(guest.interface_xml(mac), libvirt.VIR_DOMAIN_AFFECT_LIVE)
    assert mac in all_names(daemon, "plugs")
    guest.resume()
    eventually(lambda: mac not in all_names(daemon, "plugs"), within=10, what="gone once the guest let go")
