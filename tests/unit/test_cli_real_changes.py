"""nicmapctl attach, detach, link, wait and networks on the daemon's own machinery over a fake libvirt."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nicmapd.errors import AgentFailure
from nicmapd.model import DomainState
from tests.fakes.changeable import ChangeableHost
from tests.fakes.hypervisor import FakeVm
from tests.fakes.libvirt import Release
from tests.fakes.serving import nicmapctl_at, serving
from tests.fakes.world import empty_world

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def host() -> ChangeableHost:
    return ChangeableHost()


@pytest.fixture
def vm(host: ChangeableHost) -> FakeVm:
    """web1, with eth0 and eth1 on network default."""
    return host.add("web1", nics=2)


@pytest.fixture
def nicmapctl(host: ChangeableHost, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    with serving(empty_world(), tmp_path, app=host.app) as running:

        def run(*arguments: str) -> tuple[int, str, str]:
            code = nicmapctl_at(running.path, *arguments)
            out, err = capsys.readouterr()
            return code, out, err

        yield run


def test_attached_named_and_detached_by_that_name(host: ChangeableHost, vm: FakeVm, nicmapctl: Run) -> None:
    code, out, err = nicmapctl("attach", "web1", "--network", "storage", "--mac", "52-54-00-AB-CD-EF")
    assert (code, err) == (0, "")
    assert out.startswith("web1: attached 52:54:00:ab:cd:ef to storage as net2")
    assert "; its guest calls it eth2" in out
    assert nicmapctl("wait", "web1", "eth2")[0] == 0
    code, out, err = nicmapctl("detach", "web1", "eth2", "--yes")
    assert (code, err) == (0, "")
    assert out.startswith("web1: eth2 (52:54:00:ab:cd:ef) is detached, after ")
    assert [nic.mac for nic in vm.nics] == [nic.mac for nic in host.libvirt.config[vm.uuid]]
    assert len(vm.nics) == 2
    assert nicmapctl("wait", "web1", "eth2", "--for", "gone", "--timeout", "0")[0] == 0


@pytest.mark.usefixtures("vm")
def test_other_places_than_a_network(nicmapctl: Run) -> None:
    code, out, _ = nicmapctl("attach", "web1", "--bridge", "br0", "--json")
    assert (code, json.loads(out)["type"], json.loads(out)["source"]) == (0, "bridge", "br0")
    code, out, _ = nicmapctl("attach", "web1", "--direct", "eno1", "--mode", "vepa", "--json")
    assert (code, json.loads(out)["type"], json.loads(out)["source"]) == (0, "direct", "eno1")
    code, out, _ = nicmapctl("attach", "web1", "--user", "--json")
    assert (code, json.loads(out)["type"]) == (0, "user")
    for places in ([], ["--user", "--bridge", "br0"]):
        code, out, err = nicmapctl("attach", "web1", *places)
        assert (code, out) == (2, "")
        assert "one of --network, --bridge, --direct, --user must be given" in err


@pytest.mark.usefixtures("vm")
@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--network", "defualt"], 2, "did you mean default?"),
        (["--network", "asleep"], 5, "is not active"),
        (["--network", "default", "--mac", "01:00:00:00:00:01"], 2, "not multicast"),
        (["--network", "default", "--model", "ne2k"], 2, "is not offered by"),
        (["--network", "default", "--scope", "config"], 0, ""),
    ],
)
def test_attach_refuses_in_words(nicmapctl: Run, options: list[str], code: int, words: str) -> None:
    found, _, err = nicmapctl("attach", "web1", *options, "--wait", "0")
    assert found == code
    assert words in err


def test_a_guest_that_refuses_is_4_and_one_that_ignores_it_3(host: ChangeableHost, vm: FakeVm, nicmapctl: Run) -> None:
    host.libvirt.release[vm.uuid] = Release.REFUSES
    code, _, err = nicmapctl("detach", "web1", "eth1", "--yes")
    assert (code, len(host.libvirt.config[vm.uuid])) == (4, 2)
    assert "refused" in err
    host.libvirt.release[vm.uuid] = Release.IGNORES
    code, _, err = nicmapctl("detach", "web1", "eth1", "--yes", "--wait", "0")
    assert code == 3
    assert err.splitlines()[1] == "Try: nicmapctl wait web1 alias:net1 --for gone"


def test_a_nic_that_changed_since_it_was_shown_is_left_alone(vm: FakeVm, nicmapctl: Run) -> None:
    """The guest renamed it, and the map does not know yet: the look before the change finds out."""
    vm.nics[0].name, vm.nics[1].name = "eth1", "eth0"
    code, _, err = nicmapctl("detach", "web1", "eth1", "--yes")
    assert (code, len(vm.nics)) == (5, 2)
    assert err.splitlines()[1] == "Look at what it is now, then try again: nicmapctl detach web1 eth1"


def test_a_guest_that_is_silent_lets_nobody_act_by_name(vm: FakeVm, nicmapctl: Run) -> None:
    vm.failure = AgentFailure("no answer within 2 s", state="unresponsive")
    code, _, err = nicmapctl("detach", "web1", "eth1", "--yes")
    assert (code, len(vm.nics)) == (5, 2)
    assert err.splitlines()[1] == f"Try: nicmapctl detach web1 {vm.nics[1].mac} --yes"
    assert nicmapctl("detach", "web1", vm.nics[1].mac, "--yes")[0] == 0


def test_link(host: ChangeableHost, vm: FakeVm, nicmapctl: Run) -> None:
    assert nicmapctl("link", "web1", "eth1", "down") == (0, "web1: the link of eth1 is down\n", "")
    assert (vm.nics[1].link, host.libvirt.config[vm.uuid][1].link) == ("down", "down")
    assert nicmapctl("link", "web1", "eth1", "down")[1] == "web1: the link of eth1 is down, as it was\n"


def test_a_vm_that_is_off_has_its_nic_with_the_next_boot(host: ChangeableHost, nicmapctl: Run) -> None:
    host.add("off", nics=0, state=DomainState.OFF)
    code, out, err = nicmapctl("attach", "off", "--network", "default", "--mac", "52:54:00:00:00:77", "--wait", "9")
    assert (code, err) == (0, "")
    assert out == "off: attached 52:54:00:00:00:77 to default; it is there when the VM is started\n"


def test_what_the_next_boot_brings_is_told(host: ChangeableHost, vm: FakeVm, nicmapctl: Run) -> None:
    mac = "52:54:00:00:00:77"
    code, out, err = nicmapctl(
        "attach", "web1", "--network", "storage", "--mac", mac, "--scope", "config", "--wait", "9"
    )
    assert (code, err) == (0, "")
    assert out == f"web1: attached {mac} to storage; it is there from the VM's next boot on\n"
    host.libvirt.config[vm.uuid][0].network = "storage"
    host.look(vm)
    _, out, _ = nicmapctl("list", "web1", "-c", "mac,note", "--no-headers")
    assert [line.split(maxsplit=1)[1:] for line in out.splitlines()] == [
        ["next boot changes it"],
        [],
        ["from the next boot on"],
    ]
    assert "next boot     network storage, source storage\n" in nicmapctl("show", "web1", "eth0")[1]
    assert (
        "every NIC has its name               : PASS (eth0, eth1; 1 NIC more with the next boot)"
        in nicmapctl("doctor", "web1")[1]
    )


def test_networks_with_who_is_on_them(vm: FakeVm, nicmapctl: Run) -> None:
    assert nicmapctl("networks") == (
        0,
        "asleep  not active, nat, bridge vir-asleep, autostart\n"
        "  no NICs\n"
        "\n"
        "default  active, nat, bridge vir-default, autostart\n"
        "  VM    NIC   MAC                HOST-IF  STATE  ADDRESSES\n"
        f"  web1  eth0  {vm.nics[0].mac}  vnet0    fresh  192.0.2.1/24\n"
        f"  web1  eth1  {vm.nics[1].mac}  vnet1    fresh  192.0.2.2/24\n"
        "\n"
        "storage  active, nat, bridge vir-storage, autostart\n"
        "  no NICs\n",
        "",
    )
    code, out, _ = nicmapctl("networks", "default", "--json")
    assert (code, len(json.loads(out)["interfaces"])) == (0, 2)
    code, _, err = nicmapctl("networks", "lan")
    assert code == 10
    assert err.splitlines()[1] == "Try: nicmapctl networks"
