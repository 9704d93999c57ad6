"""nicmapctl attach, detach, link and wait, against a service whose answers are scripted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nicmapd.api import create_app
from nicmapd.cli.waiting import Waiting
from nicmapd.client import Client
from nicmapd.errors import NotFound, Unreachable
from nicmapd.model import AgentState, AgentStatus, Naming, NicAddress
from tests.fakes.changing import Scripted, problem
from tests.fakes.dialogue import dialogue
from tests.fakes.serving import nicmapctl_at, serving
from tests.fakes.world import World, make_world, named

ADDRESSES = (NicAddress("ens7", "ipv4", "10.9.0.10", 24), NicAddress("ens7", "ipv6", "fe80::1", 64))


class Host:
    """A host with web1, and nicmapctl on it."""

    def __init__(self, world: World, script: Scripted, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.world, self.script, self.path = world, script, path
        self._capsys = capsys

    def run(self, *arguments: str) -> tuple[int, str, str]:
        code = nicmapctl_at(self.path, *arguments)
        out, err = self._capsys.readouterr()
        assert all(line.isprintable() for line in (out + err).split("\n"))
        return code, out, err

    def document(self, nic: str, **members: object) -> dict[str, Any]:
        """A NIC of web1 as the api gives it, a little different."""
        found: dict[str, Any] = json.loads(self.run("show", "web1", nic, "--json")[1])
        return found | members

    def etag(self, nic: str) -> str | None:
        client = Client(socket_path=str(self.path))
        found = client.look("vms", "web1", "interfaces", nic).etag
        client.close()
        return found

    def give(self, *nics: Any, **fields: Any) -> None:
        """From now on web1 has these NICs."""
        self.world.vm(1, "web1", nics, **fields)


@pytest.fixture
def host(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Host]:
    world = make_world()
    script = Scripted(create_app(world.board, world.store, world.service, world.clock))
    with serving(world, tmp_path, app=script) as running:
        yield Host(world, script, running.path, capsys)


# -- attach


def test_attach_says_what_the_guest_calls_it(host: Host) -> None:
    addresses = [{"ip": "10.9.0.7", "prefix": 24, "family": "ipv4", "interface": "eth2"}]
    nic = host.document("ens7", name="eth2", alias="net2", target="vnet13", addresses=addresses)
    host.script.answer = (201, nic)
    assert host.run("attach", "web1", "--network", "storage") == (
        0,
        "web1: attached 52:54:00:00:01:01 to storage as net2, vnet13; its guest calls it eth2, 10.9.0.7/24\n",
        "",
    )
    (asked,) = host.script.asked
    assert (asked.method, asked.path) == ("POST", "/vms/web1/interfaces")
    assert asked.body == {"type": "network", "network": "storage"}
    assert asked.headers["prefer"] == "wait=5"
    assert json.loads(host.run("attach", "web1", "--network", "storage", "--json")[1]) == nic


def test_attach_passes_on_what_is_wished_for(host: Host) -> None:
    host.script.answer = (201, host.document("ens7"))
    wishes = {"--model": "e1000e", "--mac": "52:54:00:00:00:07", "--scope": "config"}
    options = [word for pair in wishes.items() for word in pair]
    assert host.run("attach", "my vm", "--network", "default", *options, "--wait", "0")[0] == 0
    (asked,) = host.script.asked
    assert asked.path == "/vms/my%20vm/interfaces"
    assert asked.body == {"type": "network", "network": "default"} | {key[2:]: value for key, value in wishes.items()}
    assert asked.headers["prefer"] == "wait=0"


def test_attach_of_a_nic_that_its_guest_does_not_show(host: Host) -> None:
    nic = host.document("ens7", name=None, name_state="unseen", reason="the guest shows no interface with its MAC")
    host.script.answer = (201, nic)
    code, out, err = host.run("attach", "web1", "--network", "storage")
    assert (code, out) == (0, "web1: attached 52:54:00:00:01:01 to storage as net1, vnet11\n")
    assert err == (
        "nicmapctl: the guest has not shown it within 5 s: the guest shows no interface with its MAC\n"
        "Try: nicmapctl wait web1 52:54:00:00:01:01 --for present\n"
    )
    code, asked_for_out, asked_for_err = host.run("attach", "web1", "--network", "storage", "--wait", "2")
    assert (code, asked_for_out, asked_for_err) == (3, out, err.replace("5 s", "2 s"))


def test_attach_to_a_vm_that_is_off_waits_for_nothing(host: Host) -> None:
    off = {"name": None, "alias": None, "target": None, "agent_state": "off", "name_state": "never"}
    host.script.answer = (201, host.document("ens7", **off))
    assert host.run("attach", "web1", "--network", "storage", "--wait", "9") == (
        0,
        "web1: attached 52:54:00:00:01:01 to storage; it is there when the VM is started\n",
        "",
    )


def test_attach_that_is_refused(host: Host) -> None:
    known = 'network: there is no libvirt network "lan\x1b[31m" on this host; there are default, storage'
    host.script.answer = problem(400, "invalid", known, key="network")
    assert host.run("attach", "web1", "--network", "lan\x1b[31m") == (
        2,
        "",
        'nicmapctl: network: there is no libvirt network "lan\\x1b[31m" on this host; there are default, storage\n'
        "See: nicmapctl networks\n",
    )
    host.script.answer = problem(403, "forbidden", "this user may not change anything")
    assert host.run("attach", "web1", "--network", "default")[0] == 9
    host.script.answer = problem(409, "conflict", 'the network "default" is not active')
    code, _, err = host.run("attach", "web1", "--network", "default")
    assert (code, err.splitlines()[1]) == (5, "What is known of it: nicmapctl show web1")


# -- detach


def test_detach_names_what_goes(host: Host) -> None:
    code, out, err = host.run("detach", "web1", "eth0", "--dry-run")
    assert (code, err) == (0, "nicmapctl: nothing was changed (--dry-run)\n")
    assert out == (
        "web1 loses this NIC:\n"
        "  name          eth0\n"
        "  MAC           52:54:00:00:01:00\n"
        "  network       default, device vnet10, alias net0\n"
        "  in the guest  eth0                    192.168.122.10/24\n"
        "                │                       fe80::5054:ff:fe3f:2eb8/64\n"
        "                └─ bond0 (bond)\n"
        "                   └─ bond0.100 (vlan)  10.9.0.10/24\n"
        "  seen          2 s ago\n"
    )
    assert host.script.asked == []
    assert json.loads(host.run("detach", "web1", "eth0", "--dry-run", "--json")[1])["gone"] is False


def test_detach_of_what_was_shown_and_of_nothing_else(host: Host) -> None:
    code, out, err = host.run("detach", "web1", "eth0", "--yes")
    assert (code, err) == (0, "")
    assert out.startswith("web1: eth0 (52:54:00:00:01:00) is detached, after 0.")
    (asked,) = host.script.asked
    assert (asked.method, asked.path) == ("DELETE", "/vms/web1/interfaces/eth0")
    assert asked.headers["prefer"] == "wait=30"
    assert asked.headers["if-match"] == host.etag("eth0")
    host.script.answer = problem(412, "precondition_failed", "the NIC is not what it was")
    code, _, err = host.run("detach", "web1", "eth0", "--yes", "--wait", "1")
    assert code == 5
    assert err.splitlines()[1] == "Look at what it is now, then try again: nicmapctl detach web1 eth0"


def test_detach_without_a_terminal_needs_yes(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    with Path(os.devnull).open() as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        code, out, err = host.run("detach", "web1", "ens7")
    assert (code, out, host.script.asked) == (2, "", [])
    assert "there is no terminal to ask; give --yes" in err


def test_detach_that_the_guest_refuses_is_4(host: Host) -> None:
    host.script.answer = problem(409, "conflict", "the guest refused to let ens7 go", refused=True)
    code, out, err = host.run("detach", "web1", "ens7", "-y")
    assert (code, out) == (4, "")
    assert "refused to let ens7 go" in err


def test_detach_by_a_name_that_is_not_certain_now(host: Host) -> None:
    host.script.answer = problem(409, "conflict", "what the guest calls its NICs is not certain", agent_state="busy")
    code, _, err = host.run("detach", "web1", "ens7", "-y")
    assert (code, err.splitlines()[1]) == (5, "Try: nicmapctl detach web1 52:54:00:00:01:01 --yes")
    code, _, err = host.run("detach", "web1", "alias:net1", "-y")
    assert (code, err.splitlines()[1]) == (5, "What is known of it: nicmapctl show web1 alias:net1")


def test_detach_that_the_guest_takes_its_time_for_is_3(host: Host) -> None:
    host.script.answer = (202, {"state": "pending"})
    code, out, err = host.run("detach", "web1", "ens7", "-y", "--wait", "1")
    assert (code, out) == (3, "")
    assert "has not let ens7 (52:54:00:00:01:01) go within 1 s" in err
    assert err.splitlines()[1] == "Try: nicmapctl wait web1 alias:net1 --for gone"
    code, out, err = host.run("detach", "web1", "ens7", "-y", "--json")
    assert (code, json.loads(out)["gone"], json.loads(err)["code"]) == (3, False, "timeout")


# -- at a terminal


def test_a_terminal_is_asked_and_may_say_no(host: Host) -> None:
    code, seen = dialogue(host.path, b"n\n", "detach", "web1", "eth0")
    assert code == 1
    assert "MAC           52:54:00:00:01:00\n" in seen
    assert "note          no other NIC of the VM has an address\n" in seen
    assert "Detach it? [y/N]: n\n" in seen
    assert "nothing was changed" in seen
    assert host.script.asked == []


def test_a_terminal_that_says_yes_sees_the_seconds_pass(host: Host) -> None:
    host.script.delay = 1.6
    code, seen = dialogue(host.path, b"y\n", "detach", "web1", "ens7")
    assert code == 0
    assert "\r\x1b[Kdetaching ens7 (52:54:00:00:01:01): waiting for the guest to let it go ... 1 s" in seen
    assert seen.endswith("\r\x1b[Kweb1: ens7 (52:54:00:00:01:01) is detached, after 1.6 s\n")


def test_ctrl_c_says_that_it_goes_on(host: Host) -> None:
    host.script.delay = 5.0
    command = [sys.executable, "-c", "from nicmapd.cli import main; main()", "detach", "web1", "ens7", "--yes"]
    settings = {**os.environ, "NICMAPD_SOCKET": str(host.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=settings) as process:
        deadline = time.monotonic() + 20
        while not host.script.asked and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (130, "")
    assert err == (
        "nicmapctl: what was asked for goes on; only the waiting for it has ended\n"
        "See what became of it: nicmapctl list web1\n"
    )


# -- link


def test_link(host: Host) -> None:
    host.script.answer = (200, host.document("ens7", link="down"))
    assert host.run("link", "web1", "ens7", "down") == (0, "web1: the link of ens7 is down\n", "")
    assert host.script.asked[0].body == {"link": "down"}
    assert (host.script.asked[0].method, host.script.asked[0].path) == ("PATCH", "/vms/web1/interfaces/ens7")
    host.script.answer = (200, host.document("ens7"))
    assert host.run("link", "web1", "ens7", "up")[1] == "web1: the link of ens7 is up, as it was\n"
    assert host.run("link", "web1", "ens7", "sideways")[0] == 2


# -- wait


def later(seconds: float, act: Any) -> threading.Timer:
    timer = threading.Timer(seconds, act)
    timer.start()
    return timer


def test_wait_for_what_is_there_returns_at_once(host: Host) -> None:
    code, out, err = host.run("wait", "web1", "eth0")
    assert (code, err) == (0, "")
    assert out.startswith("web1: eth0 (52:54:00:00:01:00) is there, 192.168.122.10/24, fe80::5054:ff:fe3f:2eb8/64")


def test_wait_for_a_name_that_comes(host: Host) -> None:
    timer = later(0.5, lambda: host.give(host.world.nic(1, 3, named("eth9"))))
    begun = time.monotonic()
    code, out, _ = host.run("wait", "web1", "eth9", "--timeout", "20")
    timer.join()
    assert code == 0
    assert 0.4 < time.monotonic() - begun < 5
    assert out.startswith("web1: eth9 (52:54:00:00:01:03) is there, after ")


def test_wait_for_an_address_takes_no_link_local_one(host: Host) -> None:
    link_local = host.world.nic(1, 1, named("ens7", addresses=ADDRESSES[1:]))
    host.give(link_local)
    code, _, err = host.run("wait", "web1", "ens7", "--for", "address", "--timeout", "0.3")
    assert code == 3
    assert "after 0.3 s, ens7 is not there with an address yet: the guest shows it without one" in err
    assert err.splitlines()[1] == "Try: nicmapctl show web1 ens7"
    timer = later(0.5, lambda: host.give(replace(link_local, naming=named("ens7", addresses=ADDRESSES))))
    code, out, _ = host.run("wait", "web1", "ens7", "--for", "address", "--json")
    timer.join()
    assert (code, json.loads(out)["nic"]["addresses"][0]["ip"]) == (0, "10.9.0.10")


def test_wait_until_gone_follows_the_nic_and_not_its_name(host: Host) -> None:
    host.give(host.world.nic(1, 0, named("eth0")), host.world.nic(1, 1, named("ens7")))
    renamed = [host.world.nic(1, 0, named("eth0")), host.world.nic(1, 1, named("lan0"))]
    timers = [later(0.3, lambda: host.give(*renamed)), later(1.0, lambda: host.give(renamed[0]))]
    begun = time.monotonic()
    code, out, _ = host.run("wait", "web1", "ens7", "--for", "gone", "--timeout", "20")
    for timer in timers:
        timer.join()
    assert code == 0
    assert time.monotonic() - begun > 0.9
    assert out.startswith("web1: ens7 (52:54:00:00:01:01) is gone, after ")


def test_wait_until_gone_for_what_is_not_there(host: Host) -> None:
    assert host.run("wait", "web1", "wlan0", "--for", "gone")[0] == 0
    code, _, err = host.run("wait", "web1", "eth1", "--for", "gone")
    assert (code, 'renamed to "ens7"' in err) == (10, True)
    assert host.run("wait", "nope", "eth0", "--for", "gone")[0] == 10


@pytest.mark.parametrize("wanted", ["present", "gone"])
def test_wait_is_patient_while_the_daemon_does_not_know_all_vms(host: Host, wanted: str) -> None:
    host.world.service.reasons = ["the map has not been compared with libvirt yet"]
    code, _, err = host.run("wait", "new", "eth0", "--for", wanted, "--timeout", "0")
    assert code == 3
    assert err == (
        'nicmapctl: after 0 s, the VM "new" is not known, but not all VMs are yet: the map has not been compared with '
        "libvirt yet\nTry: nicmapctl show new eth0\n"
    )
    code, _, err = host.run("show", "new")
    assert (code, err.splitlines()[-1]) == (10, "Try: nicmapctl doctor")
    later = threading.Timer(0.3, lambda: host.world.vm(60, "new", [host.world.nic(60, 0, named("eth0"))]))
    later.start()
    if wanted == "present":
        assert host.run("wait", "new", "eth0", "--timeout", "20")[0] == 0
    later.join()


def test_a_guest_that_was_not_asked_yet_has_not_lost_a_nic(host: Host) -> None:
    entry = host.world.vm(61, "met", [host.world.nic(61, 0, Naming())])
    status = AgentStatus(AgentState.UNKNOWN, host.world.clock.now(), "the guest has not been asked yet")
    host.world.board.put(replace(entry, agent=status))
    code, _, err = host.run("wait", "met", "eth0", "--for", "gone", "--timeout", "0")
    assert (code, "the guest has not been asked yet" in err) == (3, True)
    code, _, err = host.run("show", "met", "eth0", "--json")
    assert (code, json.loads(err)["incomplete"]) == (10, [status.message])


def test_a_restart_of_the_daemon_ends_no_wait_for_a_vm() -> None:
    answers: list[Any] = [NotFound("not yet", incomplete=["no libvirt"]), Unreachable("nobody"), {"uuid": "u"}]

    class Restarting:
        def get(self, *_path: str) -> Any:
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

    waiting = Waiting(Restarting(), "web1", seconds=5, sleep=lambda _seconds: None)  # type: ignore[arg-type]
    assert waiting.pin() == "u"
    answers[:] = [Unreachable("nobody")]
    with pytest.raises(Unreachable):
        waiting.pin()


def test_wait_that_times_out_says_how_it_is(host: Host) -> None:
    code, out, err = host.run("wait", "win10", "Ethernet 2", "--timeout", "0")
    assert (code, out) == (3, "")
    assert err == (
        "nicmapctl: after 0 s, Ethernet 2 is not present yet: its name is stale (agent unresponsive)\n"
        "Try: nicmapctl show win10 'Ethernet 2'\n"
    )
    code, _, err = host.run("wait", "web1", "wlan7", "--timeout", "0")
    assert (code, err.splitlines()[-1]) == (3, "Try: nicmapctl list web1")
    assert host.run("wait", "web1", "eth5", "--timeout", "0")[0] == 3
    assert host.run("wait", "pair", "52:54:00:aa:aa:aa", "--timeout", "0")[0] == 5
    assert host.run("wait", "nope", "eth0", "--timeout", "0")[0] == 10
