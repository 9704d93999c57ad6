"""A small host for the tests of api and nicmapctl: some VMs in each state, hostile names, and a past.

| VM | what is odd about it |
|---|---|
| web1 | all well: eth0 (with bond and VLAN above), ens7 (was eth1 until two hours ago), a NIC that is eth5 or eth6 |
| pair | two NICs of one MAC (a teaming pair), each with its name |
| HOSTILE | its own name and those of its NICs try everything |
| win10 | hung agent, 14 minutes old; "Ethernet 2" |
| db1 | no agent channel: nothing was ever known |
| old | off since three days, transient |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from nicmapd.api.feed import Feed, FeedLimits
from nicmapd.board import Board
from nicmapd.model import (
    AgentState,
    AgentStatus,
    Contact,
    DomainState,
    HostNic,
    NameSource,
    Naming,
    NicAddress,
    NicEntry,
    StackKind,
    StackLayer,
    Statistics,
    Verdict,
    VmEntry,
    VmRef,
)
from nicmapd.text import clean
from tests.fakes.clock import FakeClock
from tests.fakes.service import FakeService
from tests.fakes.store import MemoryStore

#: A domain name that libvirt takes; it must never reach a terminal or a header as it is.
HOSTILE = "<b>\x1b[31mred\u202e [/oops] 以太网"

#: Guest names, as agent.py would give them: cleaned, but whatever is printable.
HOSTILE_NAMES = (
    "<script>alert(1)</script>",
    "a/b",
    "%41",
    "Ethernet 2 以太网",
    "..",
    "52:54:00:00:00:01",
    "alias:net0",
)

#: Those of them that read as something else in a path.
UNREACHABLE = ("52:54:00:00:00:01", "alias:net0")

HOST = "host1"
HOUR = timedelta(hours=1)


def uuid_of(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012x}"


def named(name: str, *, source: NameSource = NameSource.PROBE, **fields: object) -> Naming:
    return Naming(
        verdict=Verdict.NAMED,
        name=name,
        source=source,
        reason="verified in the guest's sysfs",
        evidence=(f"{name} is the device at 0000:01:00.0",),
        **fields,  # type: ignore[arg-type]
    )


def ambiguous(*candidates: str) -> Naming:
    return Naming(
        verdict=Verdict.AMBIGUOUS,
        reason="two guest interfaces have its MAC and neither could be verified",
        candidates=candidates,
    )


@dataclass(slots=True)
class World:
    """Everything that `create_app` wants, and shorthands."""

    clock: FakeClock
    board: Board
    store: MemoryStore
    service: FakeService
    feed: Feed

    def nic(
        self,
        number: int,
        index: int,
        naming: Naming,
        *,
        mac: str | None = None,
        network: str | None = "default",
        kind: str = "network",
        live: bool = True,
        statistics: Statistics | None = None,
    ) -> NicEntry:
        return NicEntry(
            id=f"nic-{number}-{index}",
            nic=HostNic(
                mac=mac or f"52:54:00:00:{number:02x}:{index:02x}",
                type=kind,
                alias=f"net{index}" if live else None,
                pci=f"0000:0{index + 1}:00.0",
                network=network,
                source=network,
                bridge="virbr0" if network else None,
                model="virtio",
                target=f"vnet{number}{index}" if live else None,
            ),
            naming=naming,
            attached_at=self.clock.now() - timedelta(days=5),
            name_since=self.clock.now() - timedelta(days=1) if naming.name else None,
            seen_at=self.clock.now() - timedelta(days=3) if naming.name else None,
            statistics=statistics,
        )

    def vm(
        self,
        number: int,
        name: str,
        nics: Sequence[NicEntry],
        *,
        age: float | None = 2.0,
        state: DomainState = DomainState.RUNNING,
        agent: AgentState = AgentState.OK,
        message: str = "answers",
        persistent: bool = True,
        ago: timedelta = timedelta(),
    ) -> VmEntry:
        """Makes this what is known of a VM, on the board and, since `ago`, in the store."""
        entry = VmEntry(
            vm=VmRef(uuid_of(number), name),
            host=HOST,
            state=state,
            persistent=persistent,
            agent=AgentStatus(agent, self.clock.now() - timedelta(minutes=14), message, "9.2.0"),
            nics=tuple(nics),
        )
        self.board.put(entry)
        now = self.clock.monotonic()
        success = None if age is None else now - age
        self.board.touch(entry.vm.uuid, Contact(success, success, now + 8.0, 10.0))
        self.store.apply(entry, (), at=self.clock.now() - ago)
        return entry

    def remove(self, entry: VmEntry, *, ago: timedelta = timedelta()) -> None:
        """The VM left this host."""
        self.board.drop(entry.vm.uuid)
        self.store.remove(entry.vm.uuid, (), at=self.clock.now() - ago)


def empty_world(*, now: datetime | None = None, limits: FeedLimits | None = None) -> World:
    """A host without VMs, at `now` (else the fake clock's own time)."""
    clock = FakeClock()
    clock.wall = now or clock.wall
    board = Board(clock)
    store = MemoryStore(host=HOST)
    return World(clock, board, store, FakeService(board, clock, host=HOST), Feed(store, limits))


def make_world(*, now: datetime | None = None) -> World:
    """The host of the module's table."""
    world = empty_world(now=now)
    _add_web1(world)
    pair_mac = "52:54:00:aa:aa:aa"
    pair = [world.nic(2, 0, named("ens9"), mac=pair_mac), world.nic(2, 1, named("ens10"), mac=pair_mac, network=None)]
    world.vm(2, "pair", pair, ago=HOUR)
    hostile = [
        world.nic(3, index, named(clean(name), reachable=name not in UNREACHABLE))
        for index, name in enumerate(HOSTILE_NAMES)
    ]
    world.vm(3, HOSTILE, hostile, ago=HOUR)
    world.vm(
        4,
        "win10",
        [world.nic(4, 0, named("Ethernet 2", source=NameSource.AGENT))],
        age=840.0,
        agent=AgentState.UNRESPONSIVE,
        message="no answer within 2 s",
        ago=HOUR,
    )
    world.vm(
        5,
        "db1",
        [world.nic(5, 0, Naming(), network=None, kind="bridge")],
        age=None,
        agent=AgentState.NO_CHANNEL,
        message="the domain XML has no channel org.qemu.guest_agent.0",
        ago=HOUR,
    )
    world.vm(
        6,
        "old",
        [world.nic(6, 0, named("eth0"), live=False)],
        age=3 * 86400.0,
        state=DomainState.OFF,
        agent=AgentState.OFF,
        message="the VM is off",
        persistent=False,
        ago=HOUR,
    )
    return world


def crowd(vms: int, *, now: datetime) -> World:
    """A host of many VMs with two NICs each."""
    world = empty_world(now=now)
    for number in range(vms):
        macs = [
            f"52:54:{index:02x}:{number >> 16:02x}:{number >> 8 & 255:02x}:{number & 255:02x}" for index in range(2)
        ]
        nics = [world.nic(number % 200, index, named(f"ens{index + 3}"), mac=mac) for index, mac in enumerate(macs)]
        world.vm(number, f"vm-{number:04d}", nics)
    return world


def _add_web1(world: World) -> None:
    addresses = (
        NicAddress("eth0", "ipv4", "192.168.122.10", 24),
        NicAddress("eth0", "ipv6", "fe80::5054:ff:fe3f:2eb8", 64),
        NicAddress("bond0.100", "ipv4", "10.9.0.10", 24),
    )
    stack = (StackLayer("bond0", StackKind.BOND, "52:54:00:00:01:00"), StackLayer("bond0.100", StackKind.VLAN, None))
    eth0 = world.nic(
        1, 0, named("eth0", addresses=addresses, stack=stack), statistics=Statistics(1000, 10, 0, 0, 2000, 20, 0, 0)
    )
    ens7 = world.nic(1, 1, named("ens7", guest_mac="52:54:00:dd:00:01"), network="storage")
    maybe = world.nic(1, 2, ambiguous("eth5", "eth6"))
    before = [eth0, replace(ens7, naming=named("eth1")), maybe]
    for nics, hours in (([world.nic(1, 9, named("eth9"))], 48), ([], 30), (before, 24), ([eth0, ens7, maybe], 2)):
        world.vm(1, "web1", nics, ago=hours * HOUR)
