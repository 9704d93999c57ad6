"""One pass over one VM: what is asked, what is kept, what is written, and the sentence that it comes to."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from nicmapd.board import Board
from nicmapd.config import AgentConfig
from nicmapd.errors import AgentFailure, Unavailable
from nicmapd.interview import PassMemory
from nicmapd.keeper import Keeper
from nicmapd.model import (
    AgentState,
    ChangeKind,
    DomainState,
    Freshness,
    NameSource,
    NameState,
    Outcome,
    Verdict,
    VmEntry,
)
from nicmapd.refresh import CONFIG_SECONDS, XML_SECONDS, Refresher
from tests.fakes.brittle import BrittleStore
from tests.fakes.clock import FakeClock
from tests.fakes.hypervisor import FakeHypervisor, FakeNic, FakeVm
from tests.lab.waiting import eventually

PROBE_CALLS = {"guest-file-open", "guest-file-read", "guest-file-close"}


@dataclass
class Bench:
    """A refresher with fakes all around."""

    clock: FakeClock
    hypervisor: FakeHypervisor
    store: BrittleStore
    board: Board
    keeper: Keeper
    refresher: Refresher
    memories: dict[str, PassMemory]

    def run(self, vm: FakeVm) -> Outcome:
        """A pass, ten seconds after the last."""
        self.clock.move(10)
        return self.again(vm)

    def again(self, vm: FakeVm) -> Outcome:
        """A pass, now."""
        return self.refresher.run(vm.ref, self.memories.setdefault(vm.uuid, PassMemory()))

    def event(self, vm: FakeVm) -> None:
        """What the watcher does when libvirt tells of the domain."""
        self.memories[vm.uuid].domain_changed()

    def names(self, vm: FakeVm) -> list[str | None]:
        entry = self.board.entry(vm.uuid)
        assert entry is not None
        return [nic.naming.name for nic in entry.nics]

    def state(self, vm: FakeVm) -> AgentState:
        entry = self.board.entry(vm.uuid)
        assert entry is not None
        return entry.agent.state


def make(*, settings: AgentConfig | None = None, hypervisor: FakeHypervisor | None = None) -> Bench:
    clock, hypervisor = FakeClock(), hypervisor or FakeHypervisor()
    board, store = Board(clock), BrittleStore(host=hypervisor.host)
    keeper = Keeper(store, board, clock=clock)
    numbers = itertools.count()
    refresher = Refresher(
        hypervisor,
        keeper,
        board,
        clock=clock,
        settings=settings or AgentConfig(timeout=1),
        new_id=lambda: f"nic{next(numbers)}",
    )
    return Bench(clock, hypervisor, store, board, keeper, refresher, {})


@pytest.fixture
def bench() -> Bench:
    return make()


def test_the_first_pass_names_verifies_and_stores(bench: Bench) -> None:
    vm = bench.hypervisor.add("web1", nics=2)
    outcome = bench.run(vm)
    assert outcome.answered
    assert outcome.written
    assert bench.names(vm) == ["eth0", "eth1"]
    entry = bench.board.entry(vm.uuid)
    assert entry is not None
    assert {nic.naming.source for nic in entry.nics} == {NameSource.PROBE}
    assert [stored.entry for stored in bench.store.load()] == [entry]
    assert entry.agent.version == "7.2.22"


def test_a_vm_is_known_before_it_is_asked_and_its_past_begins_with_its_names(bench: Bench) -> None:
    vm = bench.hypervisor.add("web1", nics=2)
    memory = bench.memories[vm.uuid] = PassMemory()
    met = bench.refresher.meet(vm.ref, memory)
    assert (met.agent, met.changes, vm.calls) == (AgentState.UNKNOWN, (), [])
    assert met.sentence == "web1: found with 2 NICs, its guest comes next"
    entry = bench.board.entry(vm.uuid)
    assert entry is not None
    assert entry.agent.message == "the guest has not been asked yet"
    assert bench.names(vm) == [None, None]
    assert bench.store.load() == []
    ids = [nic.id for nic in entry.nics]
    outcome = bench.run(vm)
    kinds = [change.kind for change in outcome.changes]
    assert kinds == [ChangeKind.VM_ADDED, *[ChangeKind.NIC_ATTACHED, ChangeKind.NIC_NAMED] * 2]
    past = bench.store.history(vm.uuid)
    assert {one.nic_id: one.naming.name for one in past} == dict(zip(ids, ["eth0", "eth1"], strict=True))
    assert len(past) == 2


def test_who_needs_not_be_asked_is_known_whole_at_once(bench: Bench) -> None:
    vm = bench.hypervisor.add("off", state=DomainState.OFF)
    met = bench.refresher.meet(vm.ref, PassMemory())
    assert (met.agent, met.written) == (AgentState.OFF, True)
    assert [stored.entry for stored in bench.store.load()] == bench.board.entries()


def test_a_vm_that_goes_before_it_was_asked_was_never_there(bench: Bench) -> None:
    vm = bench.hypervisor.add("brief")
    memory = PassMemory()
    bench.refresher.meet(vm.ref, memory)
    del bench.hypervisor.vms[vm.uuid]
    outcome = bench.refresher.run(vm.ref, memory)
    assert (outcome.gone, outcome.changes, outcome.written) == (True, (), False)
    assert bench.board.entries() == []
    assert bench.refresher.meet(vm.ref, PassMemory()).gone


def test_a_pass_over_an_unchanged_guest_asks_once_and_writes_nothing(bench: Bench) -> None:
    vm = bench.hypervisor.add("web1", nics=2)
    bench.run(vm)
    vm.calls.clear()
    writes = bench.store.writes
    outcome = bench.run(vm)
    assert outcome.sentence == "web1: 2 of 2 NICs named, nothing new"
    assert not outcome.written
    assert bench.store.writes == writes
    assert vm.calls == ["guest-network-get-interfaces"]


def test_a_settled_pass_asks_libvirt_for_the_xml_alone(bench: Bench) -> None:
    vm = bench.hypervisor.add("web1")
    bench.run(vm)
    bench.hypervisor.asked.clear()
    bench.run(vm)
    assert bench.hypervisor.asked == ["domain_xml"]
    bench.clock.move(CONFIG_SECONDS)
    bench.hypervisor.asked.clear()
    bench.run(vm)
    assert bench.hypervisor.asked == ["domain_xml", "config_xml"], "of which libvirt tells nobody"
    bench.hypervisor.asked.clear()
    vm.name = "web2"
    bench.run(vm)
    again = ["domain_xml", "domain", "config_xml"]
    assert bench.hypervisor.asked == again, "other XML: libvirt is asked what it is"


def at_rest(bench: Bench, vm: FakeVm) -> VmEntry:
    """A guest whose counters stand still, once that is known; the entry that passes leave as it is."""
    vm.raw = bench.hypervisor.agent_command(vm.uuid, '{"execute": "guest-network-get-interfaces"}', timeout=1)
    for _ in range(3):
        assert bench.run(vm).answered
    entry = bench.board.entry(vm.uuid)
    assert entry is not None
    outcome = bench.run(vm)
    assert outcome.sentence == "web1: 2 of 2 NICs named, nothing new"
    assert bench.board.entry(vm.uuid) is entry, "it has not been made anew"
    return entry


def _renamed(_bench: Bench, vm: FakeVm) -> None:
    assert vm.raw is not None
    vm.raw = vm.raw.replace('"eth1"', '"ens7"')


def _other_xml(_bench: Bench, vm: FakeVm) -> None:
    vm.nics[0].link = "down"


def _rebooted(bench: Bench, vm: FakeVm) -> None:
    bench.memories[vm.uuid].guest_booted()


def _reconnected(bench: Bench, vm: FakeVm) -> None:
    bench.memories[vm.uuid].agent_restarted()


def _other_settings(bench: Bench, _vm: FakeVm) -> None:
    bench.refresher.configure(AgentConfig(timeout=1, probe="never"))


def _failed_between(bench: Bench, vm: FakeVm) -> None:
    vm.failure = AgentFailure("busy", state="busy")
    bench.run(vm)
    assert bench.state(vm) is AgentState.BUSY
    vm.failure = None


def _forgotten(bench: Bench, vm: FakeVm) -> None:
    bench.board.drop(vm.uuid)


@pytest.mark.parametrize(
    "happens",
    [_renamed, _other_xml, _rebooted, _reconnected, _other_settings, _failed_between, _forgotten],
)
def test_the_pass_before_over_again_is_not_worked_out_again(
    bench: Bench, happens: Callable[[Bench, FakeVm], None]
) -> None:
    vm = bench.hypervisor.add("web1", nics=2)
    entry = at_rest(bench, vm)
    happens(bench, vm)
    bench.run(vm)
    found = bench.board.entry(vm.uuid)
    assert found is not None
    assert found is not entry, "what is other now is worked out"
    assert bench.state(vm) is AgentState.OK
    other = make()
    other.hypervisor.vms = bench.hypervisor.vms
    other.run(vm)
    anew = other.board.entry(vm.uuid)
    assert anew is not None
    assert [(nic.nic, nic.naming.name) for nic in found.nics] == [(nic.nic, nic.naming.name) for nic in anew.nics]


def test_what_a_full_disk_kept_back_is_written_by_a_pass_with_nothing_new(bench: Bench) -> None:
    vm = bench.hypervisor.add("web1", nics=2)
    bench.store.fault = Unavailable("no space")
    at_rest(bench, vm)
    assert bench.keeper.unsaved() == [vm.uuid]
    bench.store.fault = None
    assert bench.run(vm).written
    assert [stored.entry for stored in bench.store.load()] == bench.board.entries()


def test_passes_in_quick_succession_read_the_xml_once(bench: Bench) -> None:
    vm = bench.hypervisor.add("web1")
    bench.run(vm)
    bench.run(vm)
    bench.hypervisor.asked.clear()
    vm.calls.clear()
    vm.nics[0].link = "down"
    bench.clock.move(XML_SECONDS * 0.9)
    bench.again(vm)
    assert bench.hypervisor.asked == []
    assert vm.calls == ["guest-network-get-interfaces"], "the guest is asked in each"
    bench.clock.move(XML_SECONDS * 0.2)
    bench.again(vm)
    assert bench.hypervisor.asked[:2] == ["domain_xml", "domain"], "libvirt tells nobody of a link"
    bench.hypervisor.asked.clear()
    bench.event(vm)
    bench.again(vm)
    assert bench.hypervisor.asked[:2] == ["domain_xml", "domain"], "but of what comes and goes"
    bench.hypervisor.asked.clear()
    vm.state = DomainState.PAUSED
    bench.again(vm)
    assert bench.state(vm) is AgentState.PAUSED, "and silence is looked into"


@pytest.mark.parametrize("state", [DomainState.PAUSED, DomainState.OFF, DomainState.SUSPENDED])
def test_a_domain_that_stops_without_an_event_is_found_by_its_silence(bench: Bench, state: DomainState) -> None:
    vm = bench.hypervisor.add("web1")
    bench.run(vm)
    vm.state = state
    outcome = bench.run(vm)
    entry = bench.board.entry(vm.uuid)
    assert entry is not None
    assert entry.state is state
    assert outcome.agent in (AgentState.PAUSED, AgentState.OFF)
    vm.state = DomainState.RUNNING
    assert bench.run(vm).answered
    entry = bench.board.entry(vm.uuid)
    assert entry is not None
    assert entry.state is DomainState.RUNNING


def test_a_rename_is_one_change_and_one_sentence(bench: Bench) -> None:
    vm = bench.hypervisor.add("web1")
    bench.run(vm)
    vm.nics[0].name = "ens3"
    outcome = bench.run(vm)
    assert [change.kind for change in outcome.changes] == [ChangeKind.NIC_RENAMED]
    assert outcome.sentence == f"web1: eth0 renamed to ens3 ({vm.nics[0].mac})"
    entry = bench.board.entry(vm.uuid)
    assert entry is not None
    assert entry.nics[0].name_since == bench.clock.now()


@pytest.mark.parametrize("state", ["unresponsive", "busy", "frozen", "disabled", "not_connected", "bad_reply"])
def test_a_failing_agent_ages_names_and_deletes_none(bench: Bench, state: str) -> None:
    vm = bench.hypervisor.add("web1", nics=2)
    bench.run(vm)
    vm.failure = AgentFailure("the agent does not do its part", state=state)
    outcome = bench.run(vm)
    assert not outcome.answered
    assert bench.names(vm) == ["eth0", "eth1"]
    assert bench.state(vm).value == state
    entry = bench.board.entry(vm.uuid)
    assert entry is not None
    sight = bench.board.sight(entry)
    assert sight.freshness is Freshness.STALE
    assert sight.name_state(entry.nics[0]) is NameState.STALE
    assert outcome.changes[0].kind is ChangeKind.AGENT_STATE
    writes = bench.store.writes
    assert not bench.run(vm).changes
    assert bench.store.writes == writes, "the same failure again is nothing new"


def test_what_libvirt_did_is_known_before_a_guest_that_hangs_and_after() -> None:
    bench = make(settings=AgentConfig(timeout=3))
    vm = bench.hypervisor.add("web1")
    bench.run(vm)

    def macs() -> list[str]:
        entry = bench.board.entry(vm.uuid)
        return [] if entry is None else [nic.nic.mac for nic in entry.nics]

    first, second = "52:54:00:aa:00:01", "52:54:00:aa:00:02"
    vm.hang = threading.Event()  # never set: the call times out
    vm.nics.append(FakeNic(first, "eth1", 2))
    outcomes: list[Outcome] = []
    asking = threading.Thread(target=lambda: outcomes.append(bench.run(vm)))
    asking.start()
    eventually(lambda: first in macs(), within=2.5, what="the first NIC")
    assert asking.is_alive(), "while the guest is being asked"
    assert bench.names(vm) == ["eth0", None]
    vm.nics.append(FakeNic(second, "eth2", 3))
    del vm.nics[0]
    asking.join()
    assert macs() == [first, second]
    kinds = [(change.kind, change.mac) for change in outcomes[0].changes if change.mac is not None]
    assert kinds[0] == (ChangeKind.NIC_ATTACHED, first)
    assert (ChangeKind.NIC_ATTACHED, second) in kinds
    assert len(kinds) == 3
    assert [item.change for item in bench.store.feed(after=0)][-len(outcomes[0].changes) :] == [*outcomes[0].changes]


@pytest.mark.parametrize(
    "raw", ["", "[]", "null", '{"return": []}', '{"return": null}', '{"return": {}}', "{" * 100_000]
)
def test_an_empty_or_broken_reply_wipes_nothing(bench: Bench, raw: str) -> None:
    vm = bench.hypervisor.add("web1")
    bench.run(vm)
    vm.raw = raw
    assert not bench.run(vm).answered
    assert bench.names(vm) == ["eth0"]
    assert bench.state(vm) is AgentState.BAD_REPLY


@pytest.mark.parametrize(
    ("change", "state"),
    [
        ({"state": DomainState.OFF}, AgentState.OFF),
        ({"state": DomainState.PAUSED}, AgentState.PAUSED),
        ({"channel": False}, AgentState.NO_CHANNEL),
        ({"connected": False}, AgentState.NOT_CONNECTED),
    ],
)
def test_a_guest_that_cannot_answer_is_not_asked(bench: Bench, change: dict[str, object], state: AgentState) -> None:
    vm = bench.hypervisor.add("web1")
    bench.run(vm)
    for key, value in change.items():
        setattr(vm, key, value)
    bench.event(vm)
    vm.calls.clear()
    outcome = bench.run(vm)
    assert not outcome.asked
    assert vm.calls == []
    assert bench.state(vm) is state
    assert bench.names(vm) == ["eth0"]


def test_an_opted_out_guest_never_hears_from_us() -> None:
    bench = make(settings=AgentConfig(timeout=1, opt_out=("untrusted-*",)))
    vm = bench.hypervisor.add("untrusted-7")
    bench.run(vm)
    assert vm.calls == []
    assert bench.state(vm) is AgentState.OPTED_OUT
    entry = bench.board.entry(vm.uuid)
    assert entry is not None
    assert entry.nics[0].naming.verdict is Verdict.NEVER


def test_a_disabled_command_is_not_tried_again_until_the_agent_connects_anew(bench: Bench) -> None:
    vm = bench.hypervisor.add("web1")
    vm.failure = AgentFailure("the command has been disabled", state="disabled")
    bench.run(vm)
    vm.failure = None
    vm.calls.clear()
    bench.run(vm)
    assert vm.calls == []
    bench.memories[vm.uuid].agent_restarted()
    bench.run(vm)
    assert bench.names(vm) == ["eth0"]


@pytest.mark.parametrize("files", [True, False])
def test_probes_are_asked_for_only_where_the_agent_allows_them(bench: Bench, files: bool) -> None:
    vm = bench.hypervisor.add("web1", files=files)
    bench.run(vm)
    assert bool(PROBE_CALLS & set(vm.calls)) is files
    entry = bench.board.entry(vm.uuid)
    assert entry is not None
    assert entry.nics[0].naming.source is (NameSource.PROBE if files else NameSource.AGENT)


def test_probe_never_means_never() -> None:
    bench = make(settings=AgentConfig(timeout=1, probe="never"))
    vm = bench.hypervisor.add("web1", nics=2)
    bench.run(vm)
    bench.run(vm)
    assert not PROBE_CALLS & set(vm.calls)
    assert bench.names(vm) == ["eth0", "eth1"]


def test_a_nic_plugged_and_unplugged(bench: Bench) -> None:
    vm = bench.hypervisor.add("web1")
    bench.run(vm)
    vm.nics.append(FakeNic("52:54:00:00:00:99", "eth1", 9))
    kinds = [change.kind for change in bench.run(vm).changes]
    assert ChangeKind.NIC_ATTACHED in kinds
    assert bench.names(vm) == ["eth0", "eth1"]
    vm.nics.pop()
    kinds = [change.kind for change in bench.run(vm).changes]
    assert ChangeKind.NIC_DETACHED in kinds
    assert bench.names(vm) == ["eth0"]
    past = bench.store.history(vm.uuid)
    assert "52:54:00:00:00:99" in {item.nic.mac for item in past if item.until is not None}


def test_a_nic_that_the_guest_no_longer_shows_loses_its_name_and_keeps_when_it_was_seen(bench: Bench) -> None:
    vm = bench.hypervisor.add("web1", nics=2)
    bench.run(vm)
    seen = bench.clock.now()
    vm.nics[1].hidden = True
    bench.run(vm)
    entry = bench.board.entry(vm.uuid)
    assert entry is not None
    nic = entry.nics[1]
    assert (nic.naming.name, nic.naming.verdict, nic.seen_at) == (None, Verdict.UNSEEN, seen)
    bench.run(vm)
    assert bench.board.sight(entry).seen_at(nic) == seen


def test_a_domain_that_is_gone_is_removed_and_remembered(bench: Bench) -> None:
    vm = bench.hypervisor.add("web1")
    bench.run(vm)
    del bench.hypervisor.vms[vm.uuid]
    outcome = bench.run(vm)
    assert outcome.gone
    assert bench.board.entry(vm.uuid) is None
    assert bench.store.load() == []
    assert bench.store.find_vm("web1") == vm.uuid
    assert not bench.run(vm).written


def test_libvirt_away_changes_nothing(bench: Bench) -> None:
    vm = bench.hypervisor.add("web1")
    bench.run(vm)
    entry = bench.board.entry(vm.uuid)
    bench.hypervisor.connected = False
    with pytest.raises(Unavailable):
        bench.run(vm)
    assert bench.board.entry(vm.uuid) == entry


def test_a_renamed_domain_keeps_its_nics(bench: Bench) -> None:
    vm = bench.hypervisor.add("web1")
    bench.run(vm)
    before = bench.board.entry(vm.uuid)
    vm.name = "web2"
    outcome = bench.run(vm)
    assert [change.kind for change in outcome.changes] == [ChangeKind.VM_RENAMED]
    after = bench.board.entry(vm.uuid)
    assert before is not None
    assert after is not None
    assert after.nics == before.nics


def test_a_frozen_guest_of_a_newer_agent_is_told_from_a_disabled_command(bench: Bench) -> None:
    vm = bench.hypervisor.add("web1")
    bench.run(vm)
    words = "Command guest-network-get-interfaces has been disabled: the command is not allowed"
    vm.refusal = json.dumps({"error": {"class": "CommandNotFound", "desc": words}})
    vm.frozen = True
    bench.run(vm)
    assert bench.state(vm) is AgentState.FROZEN
    vm.frozen = False
    bench.memories[vm.uuid].agent_restarted()
    bench.run(vm)
    assert bench.state(vm) is AgentState.DISABLED


def test_the_mac_that_the_hypervisor_sees_is_taken_along(bench: Bench) -> None:
    bench.hypervisor.rx_filters = True
    vm = bench.hypervisor.add("web1", files=False)
    vm.nics[0].guest_mac = "02:00:00:00:00:01"
    bench.run(vm)
    entry = bench.board.entry(vm.uuid)
    assert entry is not None
    assert entry.nics[0].nic.current_mac == "02:00:00:00:00:01"
    assert (entry.nics[0].naming.name, entry.nics[0].naming.guest_mac) == ("eth0", "02:00:00:00:00:01")


def test_a_restart_keeps_ages_and_unsaved_knowledge_is_saved_later(bench: Bench) -> None:
    vm = bench.hypervisor.add("web1")
    bench.run(vm)
    bench.store.fail(Unavailable("database or disk is full"))
    vm.nics[0].name = "eth7"
    outcome = bench.run(vm)
    assert not outcome.written
    assert bench.names(vm) == ["eth7"]
    bench.store.fail(None)
    assert bench.run(vm).written, "written again although nothing is new"
    assert bench.store.load()[0].entry.nics[0].naming.name == "eth7"


def test_a_guest_that_renames_all_the_time_fills_no_store_and_is_counted(bench: Bench) -> None:
    vm = bench.hypervisor.add("web1")
    bench.run(vm)
    for number in range(400):  # ten seconds apart: more than an hour
        vm.nics[0].name = f"n{number}"
        assert bench.names(vm) != [vm.nics[0].name]
        bench.run(vm)
        assert bench.names(vm) == [vm.nics[0].name], "what is known now is always kept"
    rows = bench.store.history(vm.uuid, limit=1000)
    assert 120 <= len(rows) <= 2 * 120 + 2
    assert rows[0].naming.name == "n399"
    assert bench.keeper.suppressed[vm.uuid] >= 100


def test_what_could_not_be_written_is_written_at_the_stop(bench: Bench) -> None:
    vms = [bench.hypervisor.add(f"vm{number}") for number in range(3)]
    for vm in vms:
        bench.run(vm)
    bench.store.fail(Unavailable("database or disk is full"))
    for vm in vms[:2]:
        vm.nics[0].name = "eth9"
        bench.run(vm)
    del bench.hypervisor.vms[vms[2].uuid]
    bench.run(vms[2])
    assert bench.keeper.fault
    bench.store.fail(None)
    bench.run(vms[0])
    assert bench.keeper.fault, "two still wait"
    bench.keeper.save_rest()
    assert bench.keeper.fault == ""
    assert {vm.entry.nics[0].naming.name for vm in bench.store.load()} == {"eth9"}
    assert len(bench.store.load()) == 2
