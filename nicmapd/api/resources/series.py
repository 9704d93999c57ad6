"""The map as Prometheus series. Bounded: so many NICs a VM, so many names a NIC, and no guest's text but names.

`target_device` is the host's end of a NIC (`vnet3`), and `domain` the VM's name: the labels by which the libvirt
exporters' series can be joined with `nicmap_interface_info`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily
from prometheus_client.core import GaugeMetricFamily as Gauge

from nicmapd.api.resources.namelimit import NameLimit
from nicmapd.board import Board, Sight
from nicmapd.model import AgentState, Freshness, NameState, NicEntry
from nicmapd.ports import Clock
from nicmapd.status import DaemonStatus
from nicmapd.text import printable

#: NICs of one VM that are shown one by one; QEMU's machines take some 30 without ado.
MAX_NICS_PER_VM = 64

_NIC = ("domain", "uuid", "mac", "alias", "target_device")


class MapSeries:
    """The series of the board. Calls must not overlap; they may come from any thread."""

    def __init__(self, board: Board, clock: Clock) -> None:
        self._board = board
        self._clock = clock
        self._names = NameLimit()

    def collect(self, suspects: frozenset[str]) -> Iterator[Metric]:
        """All series of the map."""
        sights = [self._board.sight(entry) for entry in self._board.entries()]
        yield from _totals(sights)
        yield from _agents(sights, suspects)
        yield from self._nics(sights)

    def _nics(self, sights: Sequence[Sight]) -> Iterator[Metric]:
        info = Gauge(
            "nicmap_interface_info",
            "1 for each NIC. guest_name: what the guest calls it; empty while not certain, or changing all the time",
            labels=(*_NIC, "network", "guest_name"),
        )
        seen = Gauge("nicmap_interface_last_seen_seconds", "Since the guest last showed this NIC", labels=_NIC)
        now, omitted = self._clock.monotonic(), 0
        shown: set[str] = set()
        for sight in sights:
            nics = _distinct(sight.entry.nics)[:MAX_NICS_PER_VM]
            omitted += len(sight.entry.nics) - len(nics)
            for nic in nics:
                labels = _labels(sight, nic)
                shown.add(nic.id)
                name = self._names.admit(nic.id, nic.naming.name or "", now)
                info.add_metric((*labels, printable(nic.nic.network or "", limit=256), name), 1)
                age = self._age(sight, nic)
                if age is not None:
                    seen.add_metric(labels, age)
        self._names.keep_only(shown)
        yield info
        yield seen
        what = f"NICs without a series: {MAX_NICS_PER_VM} of a VM have one, and of those that look alike the first"
        yield Gauge("nicmap_interfaces_omitted", what, value=omitted)

    def _age(self, sight: Sight, nic: NicEntry) -> float | None:
        if nic.naming.present or nic.seen_at is None:
            return sight.age if nic.naming.present else None
        return max(0.0, (self._clock.now() - nic.seen_at).total_seconds())


def _labels(sight: Sight, nic: NicEntry) -> tuple[str, ...]:
    vm = sight.entry.vm
    return (printable(vm.name, limit=256), vm.uuid, nic.nic.mac, nic.nic.alias or "", nic.nic.target or "")


def _distinct(nics: Sequence[NicEntry]) -> list[NicEntry]:
    """`nics` without those that no label tells from another one: a VM that is off has no aliases, and may have two NICs
    of one MAC. Two series of the same labels would cost Prometheus all the others."""
    found: dict[tuple[str, str | None], NicEntry] = {}
    for nic in nics:
        found.setdefault((nic.nic.mac, nic.nic.alias), nic)
    return list(found.values())


def _totals(sights: Sequence[Sight]) -> Iterator[Metric]:
    freshness = Counter(sight.freshness for sight in sights)
    vms = Gauge("nicmap_vms", "VMs, by how much their entries may be believed", labels=["freshness"])
    for one in Freshness:
        vms.add_metric([one.value], freshness[one])
    yield vms
    states = Counter(sight.entry.agent.state for sight in sights)
    agents = Gauge("nicmap_agents", "VMs, by the state of their guest agent", labels=["state"])
    for state in AgentState:
        agents.add_metric([state.value], states[state])
    yield agents
    names = Counter(sight.name_state(nic) for sight in sights for nic in sight.entry.nics)
    interfaces = Gauge("nicmap_interfaces", "NICs, by the state of their name", labels=["state"])
    for name in NameState:
        interfaces.add_metric([name.value], names[name])
    yield interfaces


def _agents(sights: Sequence[Sight], suspects: frozenset[str]) -> Iterator[Metric]:
    which = ("domain", "uuid")
    up = Gauge("nicmap_agent_up", "Whether the VM's guest agent answers", labels=which)
    state = Gauge("nicmap_agent_state", "1, with the state of the VM's guest agent", labels=(*which, "state"))
    last = Gauge("nicmap_agent_last_success_seconds", "Since the VM's guest agent last answered", labels=which)
    breaker = Gauge(
        "nicmap_breaker_state", "1 while the VM is asked ever more seldom because its last call failed", labels=which
    )
    for sight in sights:
        vm, agent = sight.entry.vm, sight.entry.agent.state
        labels = (printable(vm.name, limit=256), vm.uuid)
        up.add_metric(labels, agent is AgentState.OK)
        state.add_metric((*labels, agent.value), 1)
        breaker.add_metric(labels, vm.uuid in suspects)
        if sight.age is not None:
            last.add_metric(labels, sight.age)
    return iter((up, state, last, breaker))


def daemon_series(daemon: DaemonStatus, *, streams: int) -> Iterator[Metric]:
    """How the daemon does. `streams`: of events, that are open."""
    info = Gauge("nicmap_build_info", "1, with the daemon's version and host", labels=["version", "host"])
    info.add_metric((daemon.version, printable(daemon.host, limit=256)), 1)
    yield info
    watch, store = daemon.watch, daemon.store
    yield Gauge("nicmap_degraded", "Whether the daemon itself is in trouble", value=bool(daemon.degraded()))
    yield Gauge("nicmap_libvirt_up", "Whether libvirt is connected", value=daemon.libvirt.connected)
    yield Gauge("nicmap_db_up", "Whether the store can be written", value=store.ok)
    yield Gauge("nicmap_db_unsaved_vms", "VMs whose newest state is only in memory", value=store.unsaved)
    yield CounterMetricFamily(
        "nicmap_db_suppressed_changes",
        "Changes left out of the history since the start, because a guest makes too many",
        value=sum(store.suppressed.values()),
    )
    if watch.last_pass_age is not None:
        yield Gauge("nicmap_last_pass_age_seconds", "Since the last finished pass", value=watch.last_pass_age)
    yield Gauge("nicmap_event_streams", "Clients that follow the events", value=streams)
    yield Gauge("nicmap_passes_stuck", "Whether VMs wait and no pass finishes", value=watch.overdue)
    yield Gauge("nicmap_queue_vms", "VMs that are due or being looked at", value=watch.queue)
    yield Gauge("nicmap_poll_interval_seconds", "Between two polls of a settled guest, now", value=watch.interval)
    yield Gauge("nicmap_poll_lateness_seconds", "How late the most overdue VM is", value=watch.lateness)
