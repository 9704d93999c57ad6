"""The changing half over HTTP: what is sent is checked, what is answered is what RFCs 7240 and 9110 say."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nicmapd.errors import AgentFailure, Conflict
from nicmapd.model import DomainState
from tests.fakes.asgi import REMOTE, Answer, ask
from tests.fakes.changeable import ChangeableHost
from tests.fakes.hypervisor import FakeVm
from tests.fakes.libvirt import Release

NIC = {"type": "network", "network": "default"}
NICS = "/vms/web1/interfaces"


@pytest.fixture
def host() -> ChangeableHost:
    """With a VM web1 that has two NICs."""
    made = ChangeableHost()
    made.add("web1", nics=2)
    return made


@pytest.fixture
def vm(host: ChangeableHost) -> FakeVm:
    return next(iter(host.libvirt.vms.values()))


def send(host: ChangeableHost, method: str, target: str, content: Any = None, **headers: str) -> Answer:
    body = b"" if content is None else content if isinstance(content, bytes) else json.dumps(content).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return ask(host.app, target, method=method, headers={"content-type": "application/json", **named}, body=body)


def test_an_attach_is_created_and_found_at_its_location(host: ChangeableHost, vm: FakeVm) -> None:
    answer = send(host, "POST", NICS, {**NIC, "model": "e1000", "mac": "52:54:00:AB:CD:EF"})
    assert answer.status == 201
    assert answer.json["mac"] == "52:54:00:ab:cd:ef"
    assert answer.headers["location"] == f"/vms/{vm.uuid}/interfaces/52:54:00:ab:cd:ef"
    assert "preference-applied" not in answer.headers
    found = ask(host.app, answer.headers["location"])
    assert found.json["model"] == "e1000"
    assert found.headers["etag"] == answer.headers["etag"]


@pytest.mark.parametrize(
    ("prefer", "applied"),
    [
        ("wait=2", "wait=2"),
        ('respond-async, wait="1"', "wait=1"),
        ("WAIT = 1; x=y", "wait=1"),
        ("wait=" + "9" * 40, "wait=300"),
        ("wait=soon", None),
        ("wait=-1", None),
        ("return=minimal", None),
    ],
)
def test_a_preferred_wait_is_granted_and_told(host: ChangeableHost, prefer: str, applied: str | None) -> None:
    answer = send(host, "POST", NICS, NIC, prefer=prefer)
    assert answer.status == 201
    assert answer.headers.get("preference-applied") == applied
    if applied is not None:
        assert answer.json["name"] == "eth2"


def test_a_wait_is_bounded(host: ChangeableHost) -> None:
    answer = send(host, "DELETE", f"{NICS}/eth0", prefer="wait=999999999")
    assert (answer.status, answer.headers["preference-applied"]) == (204, "wait=300")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"type": "network", "netwrok": "default"}, "did you mean network?"),
        ({"type": "network", "source": "br0", "network": "default"}, "source is not for type network"),
        ({"type": "bridge"}, "source is missing"),
        ({"type": "bridge", "network": "default", "source": "br0"}, "network is not for type bridge"),
        ({"type": "user", "network": "default"}, "connected to nothing"),
        ({"type": "direct", "source": "a/b"}, "no blank, '/' or ':'"),
        ({"type": "direct", "source": "a" * 16}, "1 to 15 characters, no blank"),
        ({"type": "bridge", "source": "br0", "mode": "vepa"}, "only for direct"),
        ({"type": "direct", "source": "eth0", "mode": "fast"}, "one of bridge, vepa, private, passthrough"),
        ({**NIC, "scope": "now"}, "one of live, config, both"),
        ({**NIC, "link": True}, "one of up, down"),
        ({**NIC, "model": "\x1b[31m"}, "characters that print"),
        ({**NIC, "mac": 5}, "such as 52:54:00"),
        (b"", "the body is empty"),
        (b"[", "not JSON"),
        (b"\xff", "not JSON"),
        (b'{"type": NaN}', "NaN is no number"),
        (b'{"type": "user", "type": "network"}', "there twice"),
        (b"[" * 60000, "nested too deeply"),
        (b'"network"', "must be a JSON object"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_done(host: ChangeableHost, body: Any, words: str) -> None:
    answer = send(host, "POST", NICS, body)
    assert (answer.status, answer.json["code"]) == (400, "invalid")
    assert words in answer.json["detail"]
    assert "\x1b" not in answer.json["detail"]
    assert host.libvirt.done == []


@pytest.mark.parametrize(
    ("body", "source"),
    [
        ({"type": "bridge", "source": "br0"}, "br0"),
        ({"type": "direct", "source": "enp1s0", "mode": "vepa"}, "enp1s0"),
        ({"type": "user"}, None),
        ({"type": "network", "network": "storage", "source": None, "mac": None, "scope": None}, "storage"),
    ],
)
def test_every_type_can_be_attached(host: ChangeableHost, body: Any, source: str | None) -> None:
    answer = send(host, "POST", NICS, body)
    assert answer.status == 201
    assert (answer.json["type"], answer.json["source"]) == (body["type"], source)


def test_libvirt_s_words_reach_the_client_escaped(host: ChangeableHost) -> None:
    host.libvirt.broken["attach", None] = Conflict("cannot attach the NIC: internal error: \\x1b[31mno bridge")
    answer = send(host, "POST", NICS, NIC)
    assert (answer.status, answer.json["code"]) == (409, "conflict")
    assert answer.headers["content-type"] == "application/problem+json"
    assert "internal error: \\x1b[31mno bridge" in answer.json["detail"]


def test_over_tcp_nothing_is_changed(host: ChangeableHost) -> None:
    for method, target in (("POST", NICS), ("PATCH", f"{NICS}/eth0"), ("DELETE", f"{NICS}/eth0")):
        answer = ask(host.app, target, method=method, body=b"{}", peer=REMOTE)
        assert (answer.status, answer.json["code"]) == (403, "forbidden")
    assert host.libvirt.done == []


# -- If-Match


def test_a_nic_that_was_renamed_since_is_not_detached(host: ChangeableHost, vm: FakeVm) -> None:
    etag = ask(host.app, f"{NICS}/eth0").headers["etag"]
    first, second = vm.nics
    first.name, second.name = second.name, first.name
    for nic in ("eth0", "52:54:00:00:01:00"):
        answer = send(host, "DELETE", f"{NICS}/{nic}", if_match=etag)
        assert (answer.status, answer.json["code"]) == (412, "precondition_failed")
    first.name = "lan0"
    second.name = "wan0"
    answer = send(host, "DELETE", f"{NICS}/eth0", if_match=etag)
    assert (answer.status, answer.json["renamed_to"]) == (412, "wan0")
    assert host.libvirt.done == []


def test_a_nic_that_is_the_same_is_detached(host: ChangeableHost) -> None:
    etag = ask(host.app, f"{NICS}/eth0").headers["etag"]
    assert send(host, "DELETE", f"{NICS}/eth0", if_match=f'"other", {etag}').status == 204
    assert send(host, "DELETE", f"{NICS}/eth1", if_match="*").status == 204


def test_a_weak_etag_matches_nothing(host: ChangeableHost) -> None:
    etag = ask(host.app, f"{NICS}/eth0").headers["etag"]
    answer = send(host, "PATCH", f"{NICS}/eth0", {"link": "down"}, if_match=f"W/{etag}")
    assert (answer.status, answer.json["etag"]) == (412, etag)


# -- DELETE and PATCH


def test_what_does_not_go_yet_is_202_with_where_it_is(host: ChangeableHost, vm: FakeVm) -> None:
    host.libvirt.release[vm.uuid] = Release.IGNORES
    answer = send(host, "DELETE", f"{NICS}/eth1", prefer="wait=0")
    assert answer.status == 202
    assert answer.json["mac"] == "52:54:00:00:01:01"
    assert ask(host.app, answer.headers["location"]).status == 200
    host.libvirt.let_go(vm, "52:54:00:00:01:01")
    host.look(vm)
    assert ask(host.app, answer.headers["location"]).status == 404


def test_a_guest_that_refuses_is_409_and_says_so(host: ChangeableHost, vm: FakeVm) -> None:
    host.libvirt.release[vm.uuid] = Release.REFUSES
    answer = send(host, "DELETE", f"{NICS}/eth1")
    assert (answer.status, answer.json["code"], answer.json["refused"]) == (409, "conflict", True)


def test_a_name_that_may_be_several_is_409_and_says_which(host: ChangeableHost) -> None:
    twins = host.add("twins", nics=2, files=False)
    for nic in twins.nics:
        nic.guest_mac = twins.nics[0].mac  # a bond's members, where no probe is allowed
    host.look(twins)
    answer = send(host, "DELETE", "/vms/twins/interfaces/eth0")
    assert (answer.status, answer.json["code"]) == (409, "ambiguous")
    assert answer.json["candidates"]
    assert host.libvirt.done == []


def test_a_silent_guest_is_told_as_the_reason(host: ChangeableHost, vm: FakeVm) -> None:
    vm.failure = AgentFailure("no answer within 2 s", state="unresponsive")
    answer = send(host, "DELETE", f"{NICS}/eth1")
    assert (answer.status, answer.json["code"], answer.json["agent_state"]) == (409, "conflict", "unresponsive")


def test_a_change_answers_with_the_nic_as_it_is(host: ChangeableHost) -> None:
    answer = send(host, "PATCH", f"{NICS}/eth0", {"link": "down", "network": "storage"})
    assert (answer.status, answer.json["link"], answer.json["network"]) == (200, "down", "storage")
    assert ask(host.app, answer.headers["content-location"]).headers["etag"] == answer.headers["etag"]


def test_a_new_mac_is_where_the_answer_says(host: ChangeableHost) -> None:
    host.add("cold", state=DomainState.OFF)
    answer = send(host, "PATCH", "/vms/cold/interfaces/52:54:00:00:02:00", {"mac": "52:54:00:0A:0B:0C"})
    assert answer.headers["content-location"].endswith("/interfaces/52:54:00:0a:0b:0c")
    assert ask(host.app, answer.headers["content-location"]).json["mac"] == "52:54:00:0a:0b:0c"


# -- what comes with the next boot


def test_a_nic_of_the_configuration_alone_is_shown_as_what_it_is(host: ChangeableHost) -> None:
    body = {**NIC, "network": "storage", "mac": "52:54:00:ab:cd:ef", "scope": "config"}
    answer = send(host, "POST", NICS, body, prefer="wait=5")
    coming = {"kind": "attach", "differs": {}}
    assert (answer.status, answer.json["pending"], answer.json["name_state"]) == (201, coming, "never")
    assert ask(host.app, answer.headers["location"]).json["pending"] == coming
    shown = ask(host.app, NICS).json["items"]
    assert [(nic["mac"], nic["pending"]) for nic in shown] == [
        ("52:54:00:00:01:00", None),
        ("52:54:00:00:01:01", None),
        ("52:54:00:ab:cd:ef", coming),
    ]
    assert ask(host.app, "/vms/web1").json["nic_count"] == 2
    assert [nic["pending"] for nic in ask(host.app, "/networks/storage").json["interfaces"]] == [coming]
    assert len(ask(host.app, "/interfaces").json["items"]) == 3


def test_a_nic_that_the_next_boot_will_not_have_says_so(host: ChangeableHost) -> None:
    answer = send(host, "POST", NICS, {**NIC, "scope": "live"})
    assert answer.json["pending"] == {"kind": "detach", "differs": {}}


def test_a_nic_that_the_next_boot_will_change_says_how(host: ChangeableHost, vm: FakeVm) -> None:
    etag = ask(host.app, f"{NICS}/eth0").headers["etag"]
    planned = host.libvirt.config[vm.uuid][0]
    planned.link, planned.network = "down", "storage"  # virsh edit
    host.look(vm)
    answer = ask(host.app, f"{NICS}/eth0")
    differs = {"link": "down", "network": "storage", "source": "storage"}
    assert answer.json["pending"] == {"kind": "change", "differs": differs}
    assert answer.headers["etag"] != etag
    vm.state = DomainState.OFF
    host.look(vm)
    assert ask(host.app, f"{NICS}/52:54:00:00:01:00").json["pending"] is None


def test_of_a_transient_vm_nothing_is_pending(host: ChangeableHost) -> None:
    host.add("brief", persistent=False)
    assert ask(host.app, "/vms/brief/interfaces/eth0").json["pending"] is None


# -- networks


def test_networks_tell_who_is_on_them(host: ChangeableHost, vm: FakeVm) -> None:
    vm.nics[1].network = "storage"
    host.look(vm)
    host.add("web2")
    found = {one["name"]: one for one in ask(host.app, "/networks").json["items"]}
    assert list(found) == ["asleep", "default", "storage"]
    assert [(nic["vm"], nic["name"]) for nic in found["default"]["interfaces"]] == [("web1", "eth0"), ("web2", "eth0")]
    assert [nic["mac"] for nic in found["storage"]["interfaces"]] == ["52:54:00:00:01:01"]
    assert (found["asleep"]["active"], found["asleep"]["interfaces"]) == (False, [])
    assert ask(host.app, "/networks/storage").json == found["storage"]


def test_a_network_that_is_not_there_is_404_with_those_that_are(host: ChangeableHost) -> None:
    answer = ask(host.app, "/networks/nowhere")
    assert answer.status == 404
    assert "there are asleep, default, storage" in answer.json["detail"]


def test_without_libvirt_networks_are_not_known(host: ChangeableHost) -> None:
    host.libvirt.connected = False
    assert ask(host.app, "/networks").status == 503
