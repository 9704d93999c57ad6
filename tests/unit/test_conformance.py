"""38 requests that Kimchi 3.0, the nearest API before this one, answers well or badly, each with what it should be.

Kimchi's path is /vms/NAME/ifaces/MAC, its change PUT: here /vms/{vm}/interfaces/{nic} and PATCH. Where Kimchi answers
well we answer the same status; where it is a defect of Kimchi's (a bare 500, an answer that is not true) the row says
so and asks for better.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from nicmapd.api.door.peer import Peer
from nicmapd.model import DomainState
from tests.fakes.asgi import LOCAL, REMOTE, Answer, ask
from tests.fakes.changeable import ChangeableHost
from tests.fakes.libvirt import Release

STRANGER = Peer("unix", pid=7, uid=4242, gid=4242)
MAC = "52:54:00:00:01:00"
NIC = {"type": "network", "network": "default"}
NICS = "/vms/web1/interfaces"
OFF = "/vms/cold/interfaces"
OFF_MAC = "52:54:00:00:02:00"
NEW = "52:54:00:12:34:56"

Check = Callable[[ChangeableHost, Answer], bool]


def _any(_host: ChangeableHost, _answer: Answer) -> bool:
    return True


@dataclass(frozen=True)
class Row:
    """One request. `status` is that of Kimchi where it answers well; `check` is what must hold besides."""

    name: str
    method: str
    target: str
    status: int | set[int]
    body: Any = None
    check: Check = _any
    before: Callable[[ChangeableHost], object] = lambda _host: None
    peer: Peer = LOCAL
    headers: dict[str, str] = field(default_factory=dict)


def _nothing_done(host: ChangeableHost, _answer: Answer) -> bool:
    return host.libvirt.done == []


def _macs(_host: ChangeableHost, answer: Answer) -> list[str]:
    return [nic["mac"] for nic in answer.json["items"]]


def _scopes(host: ChangeableHost, name: str, mac: str) -> tuple[bool, bool]:
    """Whether that MAC is in the running VM, and in its configuration."""
    vm = next(vm for vm in host.libvirt.vms.values() if vm.name == name)
    return tuple(mac in [nic.mac for nic in nics] for nics in (vm.nics, host.libvirt.config.get(vm.uuid, [])))  # type: ignore[return-value]


def _one(kind: str, **fields: str) -> Callable[[ChangeableHost], object]:
    """web1's first NIC is one of another type."""

    def change(host: ChangeableHost) -> None:
        vm = _vm(host)
        vm.nics[0].type = kind
        for key, value in fields.items():
            setattr(vm.nics[0], key, value)
        host.look(vm)

    return change


def _vm(host: ChangeableHost) -> Any:
    return next(vm for vm in host.libvirt.vms.values() if vm.name == "web1")


def _ignores(host: ChangeableHost) -> None:
    host.libvirt.release[_vm(host).uuid] = Release.IGNORES


def _pending(host: ChangeableHost) -> None:
    _ignores(host)
    assert send(host, "DELETE", f"{NICS}/{MAC}", headers={"prefer": "wait=0"}).status == 202


def _live_only(host: ChangeableHost) -> None:
    assert send(host, "POST", NICS, {**NIC, "mac": NEW, "scope": "live"}).status == 201


def _deleted(host: ChangeableHost) -> None:
    assert send(host, "DELETE", f"{OFF}/{OFF_MAC}").status == 204


def send(
    host: ChangeableHost,
    method: str,
    target: str,
    body: Any = None,
    *,
    peer: Peer = LOCAL,
    headers: dict[str, str] | None = None,
) -> Answer:
    content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {"content-type": "application/json", **(headers or {})}
    return ask(host.app, target, method=method, body=content, peer=peer, headers=named)


ROWS = [
    Row("C1 the list of a VM without NICs", "GET", "/vms/bare/interfaces", 200, check=lambda h, a: _macs(h, a) == []),
    Row("C2 the list of an unknown VM", "GET", "/vms/nobody/interfaces", 404),
    Row("C2 a NIC of an unknown VM", "GET", f"/vms/nobody/interfaces/{MAC}", 404),
    Row("C3 an unknown MAC", "GET", f"{NICS}/52:54:00:99:99:99", 404),
    Row("C4 better than 404: a MAC in upper case", "GET", f"{NICS}/{MAC.upper()}", 200),
    Row("C5 a MAC with %3A", "GET", f"{NICS}/{MAC.replace(':', '%3A')}", 200),
    Row("C6 a MAC with dashes", "GET", f"{NICS}/{MAC.replace(':', '-')}", 200),
    Row("C7 better than 404: a guest's name", "GET", f"{NICS}/eth0", 200, check=lambda _h, a: a.json["mac"] == MAC),
    Row(
        "C8 type and network",
        "GET",
        f"{NICS}?type=network&network=default",
        200,
        check=lambda h, a: len(_macs(h, a)) == 2,
    ),
    Row("C9 a type that none has", "GET", f"{NICS}?type=bridge", 200, check=lambda h, a: _macs(h, a) == []),
    Row("C10 better than by prefix: exact", "GET", f"{NICS}?network=def", 200, check=lambda h, a: _macs(h, a) == []),
    Row(
        "C11 better than 500: [ is no pattern", "GET", f"{NICS}?network=%5B", 200, check=lambda h, a: _macs(h, a) == []
    ),
    Row("C11 better than 500: no filter of one VM's NICs", "GET", f"{NICS}?ips=x", 400),
    Row("C11 better than 500: an unknown filter", "GET", f"{NICS}?_x=1", 400),
    Row(
        "C12 better than 500: a NIC without network",
        "GET",
        f"{NICS}?network=default",
        200,
        before=_one("user"),
        check=lambda h, a: _macs(h, a) == ["52:54:00:00:01:01"],
    ),
    Row(
        "C13 better than {}: a NIC of type user in full",
        "GET",
        f"{NICS}/{MAC}",
        200,
        before=_one("user"),
        check=lambda _h, a: (a.json["type"], a.json["model"], a.json["name"]) == ("user", "virtio", "eth0"),
    ),
    Row("C14 an attach of nothing", "POST", NICS, 400, {}, _nothing_done),
    Row("C14 an attach of a list", "POST", NICS, 400, [], _nothing_done),
    Row("C14 an attach without type", "POST", NICS, 400, {"network": "default"}, _nothing_done),
    Row("C14 an attach without network", "POST", NICS, 400, {"type": "network"}, _nothing_done),
    Row("C15 better than 400: type bridge", "POST", NICS, 201, {"type": "bridge", "source": "br0"}),
    Row("C15 better than 400: type user", "POST", NICS, 201, {"type": "user"}),
    Row("C15 better than 400: type direct", "POST", NICS, 201, {"type": "direct", "source": "eno1"}),
    Row("C15 type bridge without a bridge", "POST", NICS, 400, {"type": "bridge"}, _nothing_done),
    Row("C16 an unknown network", "POST", NICS, 400, {**NIC, "network": "nowhere"}, _nothing_done),
    Row("C16 a network that is no text", "POST", NICS, 400, {**NIC, "network": 5}, _nothing_done),
    Row("C17 a model that there is not", "POST", NICS, 400, {**NIC, "model": "foo"}, _nothing_done),
    Row("C17 an empty model", "POST", NICS, 400, {**NIC, "model": ""}, _nothing_done),
    Row(
        "C18 better than 500: a type that begins like one",
        "POST",
        NICS,
        400,
        {**NIC, "type": "networkX"},
        _nothing_done,
    ),
    Row("C19 a MAC that is none", "POST", NICS, 400, {**NIC, "mac": "zz"}, _nothing_done),
    Row("C19 a MAC with dashes", "POST", NICS, 400, {**NIC, "mac": NEW.replace(":", "-")}, _nothing_done),
    Row(
        "C20 an empty MAC is a random one",
        "POST",
        NICS,
        201,
        {**NIC, "mac": ""},
        lambda _h, a: a.json["mac"].startswith("52:54:00:"),
    ),
    Row("C21 clearer than 400: a MAC that the VM has", "POST", NICS, 409, {**NIC, "mac": MAC}, _nothing_done),
    Row(
        "C22 better than 404: a MAC in upper case",
        "POST",
        NICS,
        201,
        {**NIC, "mac": "52:54:00:AA:BB:CC"},
        lambda h, a: (a.json["mac"], ask(h.app, a.headers["location"]).status) == ("52:54:00:aa:bb:cc", 200),
    ),
    Row("C23 better than 500: a multicast MAC", "POST", NICS, 400, {**NIC, "mac": "01:00:5e:00:00:01"}, _nothing_done),
    Row(
        "C23 better than 500: the broadcast MAC", "POST", NICS, 400, {**NIC, "mac": "ff:ff:ff:ff:ff:ff"}, _nothing_done
    ),
    Row("C23 better than 201: the all-zero MAC", "POST", NICS, 400, {**NIC, "mac": "00:00:00:00:00:00"}, _nothing_done),
    Row("C24 what is not JSON", "POST", NICS, 400, b"type=network", _nothing_done),
    Row("C24 another media type", "POST", NICS, 415, NIC, _nothing_done, headers={"content-type": "text/plain"}),
    Row(
        "C25 a running VM gets it in both",
        "POST",
        NICS,
        201,
        {**NIC, "mac": NEW},
        lambda h, _a: _scopes(h, "web1", NEW) == (True, True),
    ),
    Row(
        "C26 a transient VM gets it live",
        "POST",
        "/vms/brief/interfaces",
        201,
        {**NIC, "mac": NEW},
        lambda h, _a: _scopes(h, "brief", NEW) == (True, False),
    ),
    Row(
        "C27 better than 500: a network that is not active",
        "POST",
        NICS,
        409,
        {**NIC, "network": "asleep"},
        lambda h, a: _nothing_done(h, a) and "not active" in a.json["detail"],
    ),
    Row("C28 a detach from a VM that is off", "DELETE", f"{OFF}/{OFF_MAC}", 204),
    Row("C29 a second one", "DELETE", f"{OFF}/{OFF_MAC}", 404, before=_deleted),
    Row(
        "C30 better than 204: the guest has not let go",
        "DELETE",
        f"{NICS}/{MAC}",
        202,
        before=_ignores,
        headers={"prefer": "wait=0"},
    ),
    Row(
        "C30 the guest has let go",
        "DELETE",
        f"{NICS}/{MAC}",
        204,
        check=lambda h, _a: _scopes(h, "web1", MAC) == (False, False),
    ),
    Row(
        "C31 better than 500: a detach while one is pending",
        "DELETE",
        f"{NICS}/{MAC}",
        202,
        before=_pending,
        headers={"prefer": "wait=0"},
    ),
    Row(
        "C31 better than 500: a NIC that is only live",
        "DELETE",
        f"{NICS}/{NEW}",
        204,
        before=_live_only,
        check=lambda h, _a: _scopes(h, "web1", NEW) == (False, False),
    ),
    Row("C32 clearer than 400: a MAC while the VM runs", "PATCH", f"{NICS}/{MAC}", 409, {"mac": NEW}, _nothing_done),
    Row("C33 a change of nothing", "PATCH", f"{OFF}/{OFF_MAC}", 400, {}, _nothing_done),
    Row("C33 a MAC that is none", "PATCH", f"{OFF}/{OFF_MAC}", 400, {"mac": "zz"}, _nothing_done),
    Row("C33 its own MAC", "PATCH", f"{OFF}/{OFF_MAC}", 400, {"mac": OFF_MAC}, _nothing_done),
    Row(
        "C34 better than 500 and a lost NIC: a multicast MAC",
        "PATCH",
        f"{OFF}/{OFF_MAC}",
        400,
        {"mac": "01:00:5e:00:00:01"},
        lambda h, a: _nothing_done(h, a) and ask(h.app, f"{OFF}/{OFF_MAC}").status == 200,
    ),
    Row(
        "C35 no addresses while the VM is off",
        "GET",
        f"{OFF}/{OFF_MAC}",
        200,
        check=lambda _h, a: a.json["addresses"] == [],
    ),
    Row("C36 nobody in particular", "DELETE", f"{NICS}/{MAC}", {401, 403}, check=_nothing_done, peer=REMOTE),
    Row(
        "C37 better than 204: a user without rights", "DELETE", f"{NICS}/{MAC}", 403, check=_nothing_done, peer=STRANGER
    ),
    Row("C37 better than 201: a user without rights", "POST", NICS, 403, NIC, _nothing_done, peer=STRANGER),
    Row("C38 a wrong method", "PUT", f"{NICS}/{MAC}", 405, {"mac": NEW}, _nothing_done),
]


@pytest.fixture
def host() -> ChangeableHost:
    made = ChangeableHost()
    made.add("web1", nics=2)
    made.add("cold", state=DomainState.OFF)
    made.add("bare", nics=0)
    made.add("brief", persistent=False)
    return made


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_row_holds(host: ChangeableHost, row: Row) -> None:
    row.before(host)
    answer = send(host, row.method, row.target, row.body, peer=row.peer, headers=row.headers)
    allowed = row.status if isinstance(row.status, set) else {row.status}
    assert answer.status in allowed, answer.body
    if answer.status >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json["code"] != "internal"
    assert row.check(host, answer), answer.body


def test_every_number_of_the_list_has_a_row() -> None:
    assert {int(row.name.split()[0].removeprefix("C")) for row in ROWS} == set(range(1, 39))
