"""Attach, detach and change on the fake libvirt: what was ordered is done, wholly or not at all, never to another."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import TypeVar

import pytest

from nicmapd.api import selection
from nicmapd.change import DetachVerdict, Selection
from nicmapd.change.macs import Macs
from nicmapd.change.orders import AttachOrder, UpdateOrder
from nicmapd.errors import AgentFailure, Conflict, Invalid, NicmapError, NoDevice, NotFound, Unavailable
from nicmapd.model import ChangeKind, DomainState, NicEntry, VmEntry
from nicmapd.ports import EventKind, Scope
from tests.fakes.changeable import ChangeableHost
from tests.fakes.hypervisor import FakeNic, FakeVm
from tests.fakes.libvirt import Release

WHO = "uid 0 (pid 1)"
NEW = "52:54:00:12:34:56"
T = TypeVar("T")


@pytest.fixture
def host() -> ChangeableHost:
    return ChangeableHost()


@pytest.fixture
def vm(host: ChangeableHost) -> FakeVm:
    return host.add("web1", nics=2)


def by(text: str) -> Selection:
    async def choice(entry: VmEntry) -> NicEntry:
        return selection.find_nic(entry, text)

    return Selection(choice, by_name=selection.is_name(text))


def run(work: Callable[[], Awaitable[T]]) -> T:
    async def inner() -> T:
        return await work()

    return asyncio.run(inner())


def attach(host: ChangeableHost, vm: FakeVm, *, wait: float = 0, **order: str) -> tuple[VmEntry, NicEntry, bool]:
    wanted = AttachOrder(**{"type": "network", "source": "default", **order})
    done = run(lambda: host.changer.attach(vm.uuid, wanted, who=WHO, wait=wait))
    return done.vm, done.nic, done.named


def detach(host: ChangeableHost, vm: FakeVm, nic: str, *, wait: float = 1) -> DetachVerdict:
    return run(lambda: host.changer.detach(vm.uuid, by(nic), who=WHO, wait=wait)).verdict


def update(host: ChangeableHost, vm: FakeVm, nic: str, **order: str) -> NicEntry:
    return run(lambda: host.changer.update(vm.uuid, by(nic), UpdateOrder(**order), who=WHO)).nic


def both(host: ChangeableHost, vm: FakeVm) -> tuple[list[str], list[str]]:
    """The MACs of the running VM and of its configuration."""
    return [nic.mac for nic in vm.nics], [nic.mac for nic in host.libvirt.config.get(vm.uuid, [])]


# -- attach


def test_an_attach_is_live_and_in_the_configuration_and_on_the_map(host: ChangeableHost, vm: FakeVm) -> None:
    _, nic, _ = attach(host, vm, mac=NEW, source="storage", model="e1000")
    assert (nic.nic.mac, nic.nic.network, nic.nic.model, nic.nic.alias) == (NEW, "storage", "e1000", "net2")
    assert [macs[-1] for macs in both(host, vm)] == [NEW, NEW]
    entry = host.board.entry(vm.uuid)
    assert entry is not None
    assert entry.nics[-1].nic.mac == NEW


def test_an_attach_that_waits_tells_the_name(host: ChangeableHost, vm: FakeVm) -> None:
    _, nic, named = attach(host, vm, wait=2)
    assert named
    assert nic.naming.name == "eth2"


def test_a_name_that_does_not_stay_is_not_told(host: ChangeableHost, vm: FakeVm) -> None:
    """udev renames what the kernel has just called eth2."""

    async def work() -> str | None:
        going = asyncio.create_task(host.changer.attach(vm.uuid, AttachOrder("network", "default"), who=WHO, wait=5))
        while len(vm.nics) < 3 or host.board.entry(vm.uuid).nics[-1].naming.name != "eth2":  # type: ignore[union-attr]
            await asyncio.sleep(0.01)
        vm.nics[-1].name = "enp6s0"
        return (await going).nic.naming.name

    assert run(work) == "enp6s0"


def test_a_hung_guest_keeps_nobody_waiting(host: ChangeableHost, vm: FakeVm) -> None:
    vm.failure = AgentFailure("no answer within 2 s", state="unresponsive")
    _, nic, named = attach(host, vm, mac=NEW, wait=0.2)
    assert not named
    assert nic.naming.name is None
    assert NEW in both(host, vm)[0]


def test_the_answer_is_libvirt_s_while_the_map_waits_for_a_hung_guest(host: ChangeableHost, vm: FakeVm) -> None:
    host.stuck = True
    changed = update(host, vm, vm.nics[1].mac, link="down", network="storage")
    assert (changed.nic.link, changed.nic.network) == ("down", "storage")
    assert changed.id, "it is the NIC of the map"


@pytest.mark.parametrize(
    ("scope", "live", "config"), [("live", True, False), ("config", False, True), ("both", True, True)]
)
def test_a_scope_is_kept(host: ChangeableHost, vm: FakeVm, scope: str, live: bool, config: bool) -> None:
    _, nic, _ = attach(host, vm, mac=NEW, scope=scope)
    assert nic.nic.mac == NEW
    assert tuple(NEW in macs for macs in both(host, vm)) == (live, config)


def test_a_transient_vm_has_no_configuration(host: ChangeableHost) -> None:
    vm = host.add("brief", persistent=False)
    attach(host, vm, mac=NEW)
    assert NEW in both(host, vm)[0]
    with pytest.raises(Conflict, match="transient"):
        attach(host, vm, scope="both")


def test_a_vm_that_is_off_has_only_a_configuration(host: ChangeableHost) -> None:
    vm = host.add("cold", state=DomainState.OFF)
    attach(host, vm, mac=NEW)
    assert host.libvirt.done == [("attach", "config", NEW)]
    with pytest.raises(Conflict, match="does not run"):
        attach(host, vm, scope="live")


def test_a_taken_mac_is_refused_before_libvirt_is_asked(host: ChangeableHost, vm: FakeVm) -> None:
    other = host.libvirt.add("unseen")  # not in the map yet
    for mac, owner in ((vm.nics[0].mac, "web1"), (other.nics[0].mac, "unseen")):
        with pytest.raises(Conflict, match=owner):
            attach(host, vm, mac=mac)
    assert host.libvirt.done == []


def test_a_mac_that_only_the_configuration_has_is_taken(host: ChangeableHost, vm: FakeVm) -> None:
    attach(host, vm, mac=NEW, scope="config")
    with pytest.raises(Conflict, match=NEW):
        attach(host, vm, mac=NEW)


def test_two_who_want_one_mac_at_once_do_not_both_get_it(host: ChangeableHost, vm: FakeVm) -> None:
    other = host.add("web2")
    host.libvirt.pause = threading.Event()

    async def work() -> list[object]:
        order = AttachOrder("network", "default", mac=NEW)
        calls = [asyncio.create_task(host.changer.attach(one.uuid, order, who=WHO)) for one in (vm, other)]
        while host.libvirt.running < 1:
            await asyncio.sleep(0.01)
        done, _ = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        host.libvirt.pause.set()  # type: ignore[union-attr]
        assert len(done) == 1
        return [type(one) for one in await asyncio.gather(*calls, return_exceptions=True)]

    assert run(work).count(Conflict) == 1


def test_a_mac_is_held_before_libvirt_is_asked_who_has_it(host: ChangeableHost) -> None:
    """The list takes a while with hundreds of VMs. One that was begun before another request took the MAC and let it go
    again, attached, does not show that."""
    attached: list[str] = []

    def list_slowly() -> Mapping[str, str]:
        with pytest.raises(Conflict, match='a NIC of "slow"'), macs.reserve(NEW, "other") as mac:
            attached.append(mac)
        return {}

    macs = Macs(SimpleNamespace(macs=list_slowly), host.board)
    with macs.reserve(NEW, "slow") as mac:
        assert (mac, attached) == (NEW, [])


def test_generated_macs_are_qemu_s_and_unique(host: ChangeableHost, vm: FakeVm) -> None:
    macs = [attach(host, vm)[1].nic.mac for _ in range(5)]
    assert len(set(macs)) == 5
    assert all(mac.startswith("52:54:00:") for mac in macs)


def test_a_mac_that_libvirt_keeps_for_the_host_is_refused(host: ChangeableHost, vm: FakeVm) -> None:
    with pytest.raises(Invalid, match="host's end"):
        attach(host, vm, mac="fe:54:00:00:00:01")


def test_an_unknown_network_is_told_with_those_that_there_are(host: ChangeableHost, vm: FakeVm) -> None:
    with pytest.raises(Invalid, match="did you mean storage"):
        attach(host, vm, source="storag")
    with pytest.raises(Conflict, match="virsh net-start"):
        attach(host, vm, source="asleep")
    assert host.libvirt.done == []
    attach(host, vm, source="asleep", scope="config")  # it may be awake by then


def test_a_model_that_the_machine_has_not_is_told_with_those_that_it_has(host: ChangeableHost, vm: FakeVm) -> None:
    with pytest.raises(Invalid, match="did you mean e1000") as raised:
        attach(host, vm, model="e100")
    assert "virtio" in raised.value.details["known"]  # type: ignore[operator]


@pytest.mark.parametrize(("kind", "what"), [("bridge", "bridge"), ("direct", "network device")])
def test_a_device_that_the_host_has_not_is_the_client_s_fault(
    host: ChangeableHost, vm: FakeVm, kind: str, what: str
) -> None:
    missing = NoDevice("cannot attach the NIC: no such device")
    host.libvirt.broken["attach", None] = missing
    with pytest.raises(Invalid, match=f'^source: there is no {what} "br9" on the host') as raised:
        attach(host, vm, type=kind, source="br9")
    assert raised.value.details == {"key": "source"}
    host.libvirt.broken["attach", None] = missing
    with pytest.raises(Conflict, match="cannot attach the NIC"):
        attach(host, vm)  # its network's bridge is missing: nothing that the client said is wrong


def test_what_libvirt_refuses_leaves_nothing_and_blames_nobody(host: ChangeableHost, vm: FakeVm) -> None:
    host.libvirt.broken["attach", None] = Conflict("cannot attach the NIC: internal error: No more PCI slots")
    before = both(host, vm)
    with pytest.raises(Conflict, match="No more PCI slots"):
        attach(host, vm, mac=NEW)
    assert both(host, vm) == before
    attach(host, vm, mac=NEW)  # its MAC is free again


# -- detach


@pytest.mark.parametrize("nic", ["eth1", "alias:net1", "dev:vnet1", "52-54-00-00-01-01"])
def test_a_detach_takes_the_one_that_is_meant(host: ChangeableHost, vm: FakeVm, nic: str) -> None:
    keep, go = (one.mac for one in vm.nics)
    assert detach(host, vm, nic) is DetachVerdict.GONE
    assert both(host, vm) == ([keep], [keep])
    assert go not in [one.nic.mac for one in host.board.entry(vm.uuid).nics]  # type: ignore[union-attr]


def test_a_name_means_who_bears_it_now(host: ChangeableHost, vm: FakeVm) -> None:
    first, second = vm.nics
    first.name, second.name = second.name, first.name  # nobody has looked since
    assert detach(host, vm, "eth0") is DetachVerdict.GONE
    assert vm.nics == [first]


def test_by_name_a_silent_guest_loses_nothing(host: ChangeableHost, vm: FakeVm) -> None:
    vm.failure = AgentFailure("no answer within 2 s", state="unresponsive")
    with pytest.raises(Conflict, match="no answer within 2 s") as raised:
        detach(host, vm, "eth0")
    assert raised.value.details["agent_state"] == "unresponsive"
    assert host.libvirt.done == []


def test_by_name_it_says_that_nothing_was_done_when_libvirt_goes_while_the_guest_is_asked(
    host: ChangeableHost, vm: FakeVm
) -> None:
    before = both(host, vm)
    vm.failure = Unavailable("cannot read the XML of domain: connection closed due to keepalive timeout")
    with pytest.raises(Unavailable, match="nothing was changed, for the guest cannot be asked now: cannot read"):
        detach(host, vm, "eth1")
    vm.failure = None
    assert both(host, vm) == before


def test_by_name_a_vm_that_is_off_loses_nothing(host: ChangeableHost, vm: FakeVm) -> None:
    vm.state = DomainState.OFF
    with pytest.raises(Conflict, match="the VM is off") as raised:
        detach(host, vm, "eth0")
    assert raised.value.message.endswith("; give the MAC"), "it has neither alias nor device"
    assert detach(host, vm, vm.nics[0].mac) is DetachVerdict.GONE
    assert host.libvirt.done == [("detach", "config", "52:54:00:00:01:00")]


def test_a_guest_that_refuses_keeps_its_nic_and_its_configuration(host: ChangeableHost, vm: FakeVm) -> None:
    host.libvirt.release[vm.uuid] = Release.REFUSES
    before = both(host, vm)
    with pytest.raises(Conflict, match="refused") as raised:
        detach(host, vm, "eth1")
    assert raised.value.details["refused"] is True
    assert both(host, vm) == before


def test_libvirt_may_tell_of_the_refusal_itself(host: ChangeableHost, vm: FakeVm) -> None:
    host.libvirt.broken["detach", Scope.LIVE] = Conflict("unplug of device was rejected by the guest", refused=True)
    before = both(host, vm)
    with pytest.raises(Conflict, match="nothing was changed") as raised:
        detach(host, vm, "eth1")
    assert raised.value.details["refused"] is True
    assert both(host, vm) == before


def test_a_guest_that_ignores_it_is_pending_and_the_truth_comes_later(host: ChangeableHost, vm: FakeVm) -> None:
    host.libvirt.release[vm.uuid] = Release.IGNORES
    mac = vm.nics[1].mac
    assert detach(host, vm, "eth1", wait=0.05) is DetachVerdict.PENDING
    assert tuple(mac in macs for macs in both(host, vm)) == (True, False)
    host.libvirt.let_go(vm, mac)
    host.look(vm)
    detached = [item.change for item in host.feed() if item.change.kind is ChangeKind.NIC_DETACHED]
    assert [(one.mac, one.details["by"]) for one in detached] == [(mac, WHO)]


def test_a_second_detach_waits_for_the_first_one_s_answer(host: ChangeableHost, vm: FakeVm) -> None:
    host.libvirt.release[vm.uuid] = Release.IGNORES
    mac = vm.nics[1].mac

    async def work() -> list[DetachVerdict]:
        calls = [asyncio.create_task(host.changer.detach(vm.uuid, by(mac), who=WHO, wait=5)) for _ in range(2)]
        while len([one for one in host.libvirt.done if one[:2] == ("detach", "live")]) < 2:
            await asyncio.sleep(0.01)
        host.libvirt.let_go(vm, mac)
        return [(await call).verdict for call in calls]

    assert run(work) == [DetachVerdict.GONE, DetachVerdict.GONE]


def test_a_vm_that_stops_meanwhile_has_let_go(host: ChangeableHost, vm: FakeVm) -> None:
    host.libvirt.release[vm.uuid] = Release.IGNORES

    async def work() -> DetachVerdict:
        call = asyncio.create_task(host.changer.detach(vm.uuid, by("eth1"), who=WHO, wait=30))
        while not host.libvirt.leaving:
            await asyncio.sleep(0.01)
        vm.state = DomainState.OFF
        host.libvirt.event(EventKind.LIFECYCLE, vm, "stopped")
        return (await call).verdict

    assert run(work) is DetachVerdict.GONE


@pytest.mark.parametrize("scope", ["live", "config"])
def test_a_nic_of_one_xml_only_goes_from_there(host: ChangeableHost, vm: FakeVm, scope: str) -> None:
    before = both(host, vm)
    attach(host, vm, mac=NEW, scope=scope)
    host.libvirt.done.clear()
    assert detach(host, vm, NEW) is DetachVerdict.GONE
    assert host.libvirt.done == [("detach", scope, NEW)]
    assert both(host, vm) == before


def test_a_live_detach_that_fails_puts_the_configuration_back(host: ChangeableHost, vm: FakeVm) -> None:
    host.libvirt.broken["detach", Scope.LIVE] = Unavailable("cannot detach the NIC: cannot acquire state change lock")
    before = both(host, vm)
    with pytest.raises(Unavailable, match="state change lock"):
        detach(host, vm, "eth0")
    assert [sorted(macs) for macs in both(host, vm)] == [sorted(macs) for macs in before]


def test_what_cannot_be_put_back_is_told(host: ChangeableHost, vm: FakeVm, caplog: pytest.LogCaptureFixture) -> None:
    host.libvirt.broken["detach", Scope.LIVE] = Conflict("no")
    host.libvirt.broken["attach", Scope.CONFIG] = Conflict("the disk is full")
    with pytest.raises(Conflict, match="no"):
        detach(host, vm, "eth0")
    assert "half changed" in caplog.text
    assert "the disk is full" in caplog.text


def test_a_nic_that_is_gone_already_is_not_found(host: ChangeableHost, vm: FakeVm) -> None:
    mac = vm.nics[1].mac
    detach(host, vm, mac)
    with pytest.raises(NotFound):
        detach(host, vm, mac)


# -- update


def test_a_cable_is_pulled_in_both(host: ChangeableHost, vm: FakeVm) -> None:
    nic = update(host, vm, "eth0", link="down")
    assert nic.nic.link == "down"
    assert [vm.nics[0].link, host.libvirt.config[vm.uuid][0].link] == ["down", "down"]
    assert update(host, vm, "eth0", link="up").nic.link == "up"


def test_a_nic_is_moved_to_another_network(host: ChangeableHost, vm: FakeVm) -> None:
    nic = update(host, vm, "eth0", network="storage", link="down")
    assert (nic.nic.network, nic.nic.link, nic.nic.alias) == ("storage", "down", "net0")
    with pytest.raises(Conflict, match="not active"):
        update(host, vm, "eth0", network="asleep")
    with pytest.raises(Invalid, match="no libvirt network"):
        update(host, vm, "eth0", network="nowhere")


@pytest.mark.parametrize("scope", [Scope.CONFIG, Scope.LIVE])
def test_a_change_that_fails_leaves_all_as_it_was(host: ChangeableHost, vm: FakeVm, scope: Scope) -> None:
    host.libvirt.broken["update", scope] = Conflict("cannot change the NIC: Operation not supported: no bridge")
    with pytest.raises(Conflict, match="no bridge"):
        update(host, vm, "eth0", network="storage", link="down")
    for nic in (vm.nics[0], host.libvirt.config[vm.uuid][0]):
        assert (nic.network, nic.link) == ("default", "up")


def test_a_mac_is_changed_only_while_the_vm_is_off(host: ChangeableHost, vm: FakeVm) -> None:
    with pytest.raises(Conflict, match="while the VM is off"):
        update(host, vm, "eth0", mac=NEW)
    vm.state = DomainState.OFF
    old = vm.nics[0].mac
    with pytest.raises(Invalid, match="already"):
        update(host, vm, old, mac=old)
    with pytest.raises(Conflict, match="web1"):
        update(host, vm, old, mac=vm.nics[1].mac)
    assert update(host, vm, old, mac=NEW).nic.mac == NEW
    assert both(host, vm)[1][0] == NEW


def test_a_mac_that_libvirt_refuses_takes_the_cable_back_too(host: ChangeableHost, vm: FakeVm) -> None:
    vm.state = DomainState.OFF
    host.libvirt.broken["redefine", None] = Invalid("XML error: expected unicast mac address")
    with pytest.raises(Invalid, match="unicast"):
        update(host, vm, vm.nics[0].mac, mac=NEW, link="down")
    nic = host.libvirt.config[vm.uuid][0]
    assert (nic.mac, nic.link) == ("52:54:00:00:01:00", "up")


# -- all of them


def test_operations_of_a_vm_are_one_after_the_other_and_of_two_at_once(host: ChangeableHost, vm: FakeVm) -> None:
    other = host.add("web2")

    async def work(*vms: FakeVm) -> int:
        host.libvirt.pause, host.libvirt.most_running = threading.Event(), 0
        order = AttachOrder("network", "default")
        calls = [asyncio.create_task(host.changer.attach(one.uuid, order, who=WHO)) for one in vms]
        while host.libvirt.running < len({one.uuid for one in vms}):
            await asyncio.sleep(0.01)
        host.libvirt.pause.set()
        await asyncio.gather(*calls)
        return host.libvirt.most_running

    assert run(lambda: work(vm, vm, vm, vm)) == 1
    assert run(lambda: work(vm, other)) == 2
    assert len(vm.nics) == 7


def test_who_asked_is_in_the_log_and_in_the_feed(
    host: ChangeableHost, vm: FakeVm, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="nicmapd.change"):
        attach(host, vm, mac=NEW)
        update(host, vm, NEW, link="down")
        detach(host, vm, NEW)
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("nicmapd.change")]
    assert lines == [
        f"web1: attached {NEW} to default (config, live), asked for by {WHO}",
        f"web1: eth2 ({NEW}): link down, asked for by {WHO}",
        f"web1: detached eth2 ({NEW}) of default (config, live), asked for by {WHO}",
    ]
    kinds = {ChangeKind.NIC_ATTACHED, ChangeKind.NIC_LINK, ChangeKind.NIC_DETACHED}
    caused = [item.change for item in host.feed() if item.change.kind in kinds]
    assert [(one.kind.value, one.details.get("by")) for one in caused[-3:]] == [
        ("nic.attached", WHO),
        ("nic.link", WHO),
        ("nic.detached", WHO),
    ]


def test_what_comes_with_the_next_boot_is_in_the_feed_too(host: ChangeableHost, vm: FakeVm) -> None:
    attach(host, vm, mac=NEW, scope="config")
    detach(host, vm, NEW)
    found = [item.change for item in host.feed() if item.change.mac == NEW]
    assert [(one.kind.value, one.details["scope"], one.details["by"]) for one in found] == [
        ("nic.attached", "config", WHO),
        ("nic.detached", "config", WHO),
    ]


def test_a_nic_to_come_at_the_place_of_a_running_one_is_another_one(host: ChangeableHost, vm: FakeVm) -> None:
    attach(host, vm, mac=NEW, scope="live")
    other = "52:54:00:ab:cd:02"
    # libvirt gives out the addresses of either XML by itself.
    host.libvirt.config[vm.uuid].append(FakeNic(other, "eth9", vm.nics[-1].slot, alias="net9"))
    host.look(vm)
    entry = host.board.entry(vm.uuid)
    assert entry is not None
    assert len({nic.id for nic in entry.all_nics}) == len(entry.all_nics) == 4
    detach(host, vm, other)
    told = [item.change for item in host.feed() if item.change.mac in (NEW, other)]
    assert [(one.kind.value, one.mac) for one in told if one.kind.value in ("nic.attached", "nic.detached")] == [
        ("nic.attached", NEW),
        ("nic.attached", other),
        ("nic.detached", other),
    ]


def test_what_is_still_to_come_is_not_told_anew_after_a_restart(host: ChangeableHost, vm: FakeVm) -> None:
    attach(host, vm, mac=NEW, scope="config")
    told = len(host.feed())
    entry = host.board.entry(vm.uuid)
    assert entry is not None
    host.board.put(replace(entry, coming=None))  # as loaded from the store
    host.look(vm)
    assert len(host.feed()) == told
    assert [one.nic.mac for one in host.board.entry(vm.uuid).coming or ()] == [NEW]  # type: ignore[union-attr]


def test_what_somebody_else_does_is_not_laid_at_our_door(host: ChangeableHost, vm: FakeVm) -> None:
    mac = vm.nics[1].mac
    attach(host, vm, mac=NEW)
    detach(host, vm, NEW)
    update(host, vm, mac, link="down")
    vm.nics[1].link = "up"  # virsh domif-setlink
    host.look(vm)
    vm.nics.pop()  # virsh detach-interface
    host.look(vm)
    by_whom = [item.change.details.get("by") for item in host.feed() if item.change.mac == mac]
    assert by_whom[-2:] == [None, None]


@pytest.mark.parametrize(
    "work",
    [
        lambda host, vm: attach(host, vm),
        lambda host, vm: detach(host, vm, vm.nics[0].mac),
        lambda host, vm: update(host, vm, vm.nics[0].mac, link="down"),
    ],
)
def test_without_libvirt_it_is_told_at_once(
    host: ChangeableHost, vm: FakeVm, work: Callable[[ChangeableHost, FakeVm], object]
) -> None:
    host.libvirt.connected = False
    with pytest.raises(Unavailable, match="libvirt"):
        work(host, vm)


def test_a_libvirt_that_hangs_is_not_waited_for_for_ever() -> None:
    host = ChangeableHost(patience=0.2)
    vms = [host.add(f"web{number}") for number in range(6)]
    host.libvirt.pause = threading.Event()

    async def work() -> list[str]:
        order = AttachOrder("network", "default")
        calls = [host.changer.attach(vm.uuid, order, who=WHO) for vm in vms]
        found = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(one, Unavailable) for one in found), found
        return [str(one) for one in found]

    try:
        outcomes = run(work)
    finally:
        host.libvirt.pause.set()
    assert sum("not known" in one for one in outcomes) == 4, "as many as libvirt was called for"
    assert sum("nothing was done" in one for one in outcomes) == 2
    host.changer.stop()


def test_after_the_stop_nothing_is_begun(host: ChangeableHost, vm: FakeVm) -> None:
    host.changer.stop()
    with pytest.raises(Unavailable, match="stopping"):
        attach(host, vm)


def test_a_vm_that_is_gone_is_told(host: ChangeableHost, vm: FakeVm) -> None:
    del host.libvirt.vms[vm.uuid]
    for work in (lambda: attach(host, vm), lambda: detach(host, vm, "eth0")):
        with pytest.raises(NicmapError) as raised:
            work()
        assert raised.value.code == "not_found"
