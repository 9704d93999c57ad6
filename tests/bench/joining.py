"""Part `join`: a pass over few and many interfaces, and what verifying costs a real guest with a bond."""

from __future__ import annotations

import itertools
import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from nicmapd import agent
from nicmapd.board import Board
from nicmapd.clock import SystemClock
from nicmapd.config import AgentConfig
from nicmapd.hypervisor import LibvirtHypervisor
from nicmapd.interview import PassMemory
from nicmapd.keeper import Keeper
from nicmapd.model import ConnectionStatus, Domain, VmRef
from nicmapd.refresh import Refresher
from tests.bench.figures import Report, at_most, median
from tests.bench.ground import Ground
from tests.bench.simulated import NICS, SimulatedHypervisor
from tests.fakes.store import MemoryStore
from tests.lab.guest import Guest
from tests.lab.waiting import eventually

#: Interfaces in a reply: a plain guest, one with bonds and VLANs, a container host.
SIZES = (3, 30, 2000)
#: Seconds in which a size is measured, pass after pass.
MEASURED = 1.5

#: Stands where the counter of a reply goes.
_MARK = "packets"


def run(report: Report, ground: Ground) -> None:
    for size in SIZES:
        report.add(
            f"join.pass_{size}_ms",
            _pass_over(size) * 1000,
            "ms",
            f"an unchanged pass over {size} interfaces: parse, join, compare; no libvirt",
        )
    at_rest = _pass_over(SIZES[1], busy=False) * 1000
    report.add(
        "join.rest_ms", at_rest, "ms", f"the same, {SIZES[1]} interfaces of a guest at rest: no counter has moved"
    )
    _bond(report, ground)


class _Crowded(SimulatedHypervisor):
    """One guest whose reply has so many interfaces: its NICs, and containers' veth pairs. `busy`: one of them carries
    a packet from reply to reply."""

    def __init__(self, size: int, *, busy: bool) -> None:
        super().__init__(1)
        self._packets, self._busy = 0, busy
        (self.only,) = self.domains()
        listed = json.loads(super().agent_command(self.only.vm.uuid, agent.INTERFACES_REQUEST, timeout=1))["return"]
        plain = listed[-1]
        for number in range(size - len(listed)):
            mac = f"8a:00:00:00:{number >> 8:02x}:{number & 255:02x}"
            address = {"ip-address-type": "ipv6", "ip-address": f"fe80::8a:{number:x}", "prefix": 64}
            listed.append({**plain, "name": f"veth{number:07x}", "hardware-address": mac, "ip-addresses": [address]})
        listed[-1] = {**listed[-1], "statistics": {**listed[-1]["statistics"], "rx-packets": _MARK}}
        self._before, _, self._behind = json.dumps({"return": listed}).partition(json.dumps(_MARK))

    def agent_command(self, uuid: str, command: str, *, timeout: int) -> str:
        if command == agent.INTERFACES_REQUEST:
            self._packets += self._busy
            return f"{self._before}{1_000_000 + self._packets}{self._behind}"
        return super().agent_command(uuid, command, timeout=timeout)


def _pass_over(size: int, *, busy: bool = True) -> float:
    """CPU seconds of a settled pass over that many interfaces, the median."""
    hypervisor = _Crowded(size, busy=busy)
    refresher, board = _refresher(hypervisor)
    memory, taken = PassMemory(), []
    refresher.run(hypervisor.only.vm, memory)
    ends = time.perf_counter() + MEASURED
    while time.perf_counter() < ends:
        started = time.thread_time()
        outcome = refresher.run(hypervisor.only.vm, memory)
        taken.append(time.thread_time() - started)
        if not outcome.answered or outcome.changes:
            raise RuntimeError(f"not an unchanged pass: {outcome.sentence}")
    entry = board.entry(hypervisor.only.vm.uuid)
    assert entry is not None
    if [nic.naming.name for nic in entry.nics] != [f"eth{number}" for number in range(NICS)]:
        raise RuntimeError("the NICs are not named")
    return median(taken)


def _refresher(hypervisor: SimulatedHypervisor | _Counting) -> tuple[Refresher, Board]:
    clock, numbers = SystemClock(), itertools.count()
    board = Board(clock)
    keeper = Keeper(MemoryStore(host=hypervisor.host), board, clock=clock)
    settings = AgentConfig()
    made = Refresher(
        hypervisor,
        keeper,
        board,
        clock=clock,
        settings=settings,
        new_id=lambda: f"nic{next(numbers)}",
        xml_seconds=0,
    )
    return made, board


@dataclass(slots=True)
class _Counting:
    """libvirt, and how often each command was sent to an agent."""

    real: LibvirtHypervisor
    sent: Counter[str] = field(default_factory=Counter)

    @property
    def host(self) -> str:
        return self.real.host

    def status(self) -> ConnectionStatus:
        return self.real.status()

    def subscribe(self, callback: object) -> None:
        raise NotImplementedError

    def domains(self) -> Sequence[Domain]:
        return self.real.domains()

    def domain(self, uuid: str) -> Domain:
        return self.real.domain(uuid)

    def domain_xml(self, uuid: str) -> str:
        return self.real.domain_xml(uuid)

    def config_xml(self, uuid: str) -> str:
        return self.real.config_xml(uuid)

    def rx_filter(self, uuid: str) -> Mapping[str, str]:
        return self.real.rx_filter(uuid)

    def agent_command(self, uuid: str, command: str, *, timeout: int) -> str:
        self.sent[json.loads(command)["execute"]] += 1
        return self.real.agent_command(uuid, command, timeout=timeout)


def _bond(report: Report, ground: Ground) -> None:
    """A bond that carries nothing, one in use, and one that deals its packets out evenly.

    Agents give no counters of interfaces without addresses (seen with 7.2): then nothing in a reply tells whether two
    members have swapped names, and each pass has to ask sysfs.
    """
    guest = ground.guests(1)[0]
    idle, first_ms, _ = _bonded(guest, ground.lab.uri, "active-backup", carries=False)
    report.add("join.bond_first_calls", idle[0], "", "extra agent calls of the first pass over a bond of two NICs")
    report.add("join.bond_first_ms", first_ms, "ms", "that first pass, in a real guest")
    report.add("join.bond_idle_calls", max(idle[2:]), "", "extra agent calls of a settled pass, nothing carried yet")
    used, _, settled_ms = _bonded(guest, ground.lab.uri, "active-backup", carries=True)
    report.add("join.bond_settled_calls", max(used[2:]), "", "the same of a bond in use, active-backup", at_most(0))
    report.add("join.bond_settled_ms", settled_ms, "ms", "that settled pass")
    dealt, _, dealt_ms = _bonded(guest, ground.lab.uri, "balance-rr", carries=True)
    report.add("join.bond_even_calls", max(dealt[2:]), "", "the same, balance-rr: members that count in step")
    report.add("join.bond_even_ms", dealt_ms, "ms", "that settled pass")


def _bonded(guest: Guest, uri: str, mode: str, *, carries: bool) -> tuple[list[int], float, float]:
    """Extra agent calls of each pass, and ms of the first pass and of a settled one."""
    guest.add_bond(["eth0", "eth1"], mode=mode)
    if carries:
        guest.check("ip address add 192.168.122.50/24 dev bond0; ping -i 0.1 192.168.122.1 > /dev/null 2>&1 & sleep 2")
    hypervisor = _Counting(LibvirtHypervisor(uri, host="bench", clock=SystemClock()))
    hypervisor.real.start()
    try:
        eventually(lambda: hypervisor.status().connected, within=10, what="connection to libvirt")
        refresher, board = _refresher(hypervisor)
        memory, vm = PassMemory(), VmRef(guest.uuid, guest.name)
        extra: list[int] = []
        seconds: list[float] = []
        for _ in range(8):
            hypervisor.sent.clear()
            seconds.append(refresher.run(vm, memory).seconds)
            extra.append(hypervisor.sent.total() - 1)
            time.sleep(0.5)
    finally:
        hypervisor.real.stop()
        guest.run("killall ping")
        guest.reset()
    entry = board.entry(guest.uuid)
    assert entry is not None
    if {nic.naming.name for nic in entry.nics} != {"eth0", "eth1"}:
        raise RuntimeError("the members of the bond are not named")
    return extra, seconds[0] * 1000, median(seconds[2:]) * 1000
