"""`HypervisorChanges` and `Networks` on the fake hypervisor: two XMLs of each VM, guests that let go or do not.

Honest where it matters: live and persistent configuration are two lists, detach only asks the guest and an event tells
what it did, events come from another thread, a second unplug of the same device is refused as QEMU does.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import StrEnum
from xml.etree import ElementTree

from nicmapd import domxml
from nicmapd.board import Board
from nicmapd.causes import Causes
from nicmapd.change import Changer
from nicmapd.errors import Conflict, Invalid, NicmapError
from nicmapd.model import Domain, HostNic, Outcome
from nicmapd.ports import Clock, DomainXml, EventKind, Network, Scope
from tests.fakes.hypervisor import FakeHypervisor, FakeNic, FakeVm


class Release(StrEnum):
    """What a guest does when it is asked to let a NIC go."""

    AT_ONCE = "at once"
    REFUSES = "refuses"
    IGNORES = "ignores"


def network(name: str, *, active: bool = True) -> Network:
    """A libvirt network."""
    return Network(name, f"00000000-0000-4000-9000-{len(name):012d}", active, True, True, f"vir-{name}", "nat")


class FakeLibvirt(FakeHypervisor):
    """See the module. `config` holds the persistent NICs of each VM; `broken` what an operation fails with, once;
    `done` what was changed, in order."""

    def __init__(self, *, host: str = "host1") -> None:
        super().__init__(host=host)
        self.config: dict[str, list[FakeNic]] = {}
        self.nets: list[Network] = [network("default"), network("storage"), network("asleep", active=False)]
        self.release: dict[str, Release] = {}
        self.leaving: set[tuple[str, str]] = set()
        self.broken: dict[tuple[str, Scope | None], NicmapError] = {}
        self.done: list[tuple[str, str, str]] = []
        self.running = 0
        self.most_running = 0
        self.pause: threading.Event | None = None
        self._guard = threading.Lock()

    def add(self, name: str, *, nics: int = 1, **fields: object) -> FakeVm:
        vm = super().add(name, nics=nics, **fields)
        for number, nic in enumerate(vm.nics):
            nic.alias, nic.target = f"net{number}", f"vnet{number}"
        if vm.persistent:
            self.config[vm.uuid] = [copy.copy(nic) for nic in vm.nics]
        return vm

    def let_go(self, vm: FakeVm, mac: str) -> None:
        """The guest lets a NIC go, at last."""
        nic = next(one for one in vm.nics if one.mac == mac)
        vm.nics.remove(nic)
        self.leaving.discard((vm.uuid, nic.alias))
        self.event(EventKind.DEVICE_REMOVED, vm, nic.alias)

    def _configured(self, vm: FakeVm) -> Sequence[FakeNic]:
        return self.config[vm.uuid]

    # -- the ports

    def look(self, uuid: str) -> DomainXml:
        vm = self._vm(uuid)
        alive = vm.state.alive
        config = self.config.get(uuid) if vm.persistent else None
        if config is not None and not alive:
            vm.nics = config
        return DomainXml(
            Domain(vm.ref, vm.state, vm.persistent),
            live=vm.xml() if alive else None,
            config=None if config is None else vm.xml_of(config, active=False),
        )

    def attach(self, uuid: str, interface: str, scopes: Sequence[Scope]) -> None:
        vm = self._begin("attach", uuid, interface, scopes)
        for scope in scopes:
            nic = self._new(vm, interface)
            if scope is Scope.CONFIG:
                self.config[uuid].append(nic)
            else:
                vm.nics.append(nic)
        if Scope.LIVE in scopes:
            self._tell(EventKind.DEVICE_ADDED, vm, vm.nics[-1].alias)

    def detach(self, uuid: str, interface: str, scope: Scope) -> None:
        vm = self._begin("detach", uuid, interface, [scope])
        if scope is Scope.CONFIG:
            self.config[uuid].remove(self._find(self.config[uuid], interface))
            return
        nic = self._find(vm.nics, interface)
        way = self.release.get(uuid, Release.AT_ONCE)
        if way is Release.AT_ONCE:
            vm.nics.remove(nic)
            self._tell(EventKind.DEVICE_REMOVED, vm, nic.alias)
        elif way is Release.REFUSES:
            self._tell(EventKind.DEVICE_REMOVAL_FAILED, vm, nic.alias)
        else:
            self.leaving.add((uuid, nic.alias))

    def update(self, uuid: str, interface: str, scope: Scope) -> None:
        vm = self._begin("update", uuid, interface, [scope])
        nic = self._find(self.config[uuid] if scope is Scope.CONFIG else vm.nics, interface)
        new = _parse(interface)
        nic.type, nic.network, nic.link = new.type, new.source or "", new.link

    def redefine(self, uuid: str, change: Callable[[str], str]) -> None:
        vm = self._begin("redefine", uuid, "", [])
        nics = domxml.parse_domain(change(vm.xml_of(self.config[uuid], active=False))).nics
        for old, new in zip(self.config[uuid], nics, strict=True):
            old.mac = new.mac

    def macs(self) -> Mapping[str, str]:
        found = {}
        for vm in self.vms.values():
            for nic in [*vm.nics, *self.config.get(vm.uuid, ())]:
                found[nic.mac] = vm.name
        return found

    def networks(self) -> Sequence[Network]:
        return sorted(self.nets, key=lambda one: one.name)

    # -- private

    def _begin(self, what: str, uuid: str, interface: str, scopes: Sequence[Scope]) -> FakeVm:
        vm = self._vm(uuid)
        with self._guard:
            self.running += 1
            self.most_running = max(self.most_running, self.running)
        try:
            if self.pause is not None:
                self.pause.wait(5)
            for scope in [*scopes, None]:
                error = self.broken.pop((what, scope), None)
                if error is not None:
                    raise error
        finally:
            with self._guard:
                self.running -= 1
        mac = _parse(interface).mac if interface else ""
        self.done.append((what, "+".join(scope.value for scope in scopes), mac))
        return vm

    def _new(self, vm: FakeVm, interface: str) -> FakeNic:
        asked = _parse(interface)
        everything = [*vm.nics, *self.config.get(vm.uuid, ())]
        known = next((one for one in everything if one.mac == asked.mac), None)
        numbers = [int(one.alias.removeprefix("net")) for one in everything]
        number = int(known.alias.removeprefix("net")) if known else 1 + max(numbers, default=-1)
        slot = known.slot if known else 1 + max((one.slot for one in everything), default=0)
        return FakeNic(
            mac=asked.mac,
            name=f"eth{number}",
            slot=slot,
            network=asked.source or "",
            alias=f"net{number}",
            target=f"vnet{number}",
            type=asked.type,
            model=asked.model or "virtio",
            link=asked.link,
        )

    def _find(self, nics: list[FakeNic], interface: str) -> FakeNic:
        asked = _parse(interface)
        for nic in nics:
            if nic.mac == asked.mac and asked.alias in (None, nic.alias):
                return nic
        raise Conflict(f"cannot find the NIC: no matching network device was found: {asked.mac}")

    def _tell(self, kind: EventKind, vm: FakeVm, alias: str) -> None:
        """From another thread, and it is over when this returns: libvirt's event is often faster than its answer."""
        thread = threading.Thread(target=self.event, args=(kind, vm, alias))
        thread.start()
        thread.join()


def _parse(interface: str) -> HostNic:
    """An `<interface>` as libvirt reads it."""
    element = ElementTree.fromstring(interface)
    if element.tag != "interface":
        raise Invalid("this is no interface")
    return domxml.parse_domain(f"<domain><devices>{interface}</devices></domain>").nics[0]


def changer_of(
    libvirt: FakeLibvirt,
    board: Board,
    causes: Causes,
    *,
    clock: Clock,
    refresh: Callable[[str], Awaitable[Outcome]],
    patience: float = 60.0,
) -> Changer:
    """A Changer on that libvirt, which hears of its events."""
    made = Changer(
        libvirt, libvirt, board, causes, clock=clock, status=libvirt.status, refresh=refresh, patience=patience
    )
    libvirt.subscribe(made.take)
    return made
