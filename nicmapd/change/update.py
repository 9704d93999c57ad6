"""Changing a NIC that is there: its cable, its network, its MAC; all that was ordered, or nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from nicmapd import render
from nicmapd.change import orders
from nicmapd.change.ground import Ground, Meant, Selection, called
from nicmapd.change.orders import UpdateOrder
from nicmapd.change.results import Changed
from nicmapd.errors import NicmapError
from nicmapd.model import ChangeKind, HostNic
from nicmapd.ports import Scope
from nicmapd.text import printable


@dataclass(frozen=True, slots=True)
class _Step:
    """One change of libvirt, and what takes it back."""

    do: Callable[[], None]
    undo: Callable[[], None]


class Updater:
    """Use it in an event loop."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground

    async def update(self, uuid: str, selection: Selection, order: UpdateOrder, *, who: str) -> Changed:
        ground = self._ground
        async with ground.turns.of(uuid):
            meant = await ground.choose(uuid, selection)
            nic = meant.nic.nic
            cause = ground.causes.expect(uuid, order.mac or nic.mac, [ChangeKind.NIC_LINK, ChangeKind.NIC_MAC], who)
            try:
                await ground.workers.run(lambda: self._update(uuid, meant, order))
            except NicmapError:
                ground.causes.withdraw(uuid, cause)
                raise
            self._say(meant, order, who)
            shown = await ground.show(uuid)
            if shown:
                ground.causes.withdraw(uuid, cause)
        scopes = [scope for scope, xml in ((Scope.LIVE, meant.live), (Scope.CONFIG, meant.config)) if xml is not None]
        return Changed(*await ground.now(uuid, order.mac or nic.mac, alias=nic.alias, shown=shown), scopes)

    def _say(self, meant: Meant, order: UpdateOrder, who: str) -> None:
        words = (("link", order.link), ("network", order.network), ("MAC", order.mac))
        what = ", ".join(f"{key} {printable(value)}" for key, value in words if value is not None)
        self._ground.say(meant.vm.vm, order.mac or meant.nic.nic.mac, f"{called(meant.nic)}: {what}", who)

    def _update(self, uuid: str, meant: Meant, order: UpdateOrder) -> None:
        """All checks, then step by step; what was done is taken back if a step fails."""
        ground = self._ground
        if order.network is not None:
            orders.check_network(order.network, ground.networks.networks(), live=meant.live is not None)
        with contextlib.ExitStack() as held:
            steps = self._edits(uuid, meant, order)
            if order.mac is not None:
                orders.check_mac_change(order.mac, meant.nic.nic.mac, running=meant.domain.live is not None)
                held.enter_context(ground.macs.reserve(order.mac, meant.vm.vm.name))
                steps.append(self._new_mac(uuid, meant.nic.nic, order.mac))
            self._do(steps, meant)

    def _do(self, steps: Sequence[_Step], meant: Meant) -> None:
        done: list[_Step] = []
        for step in steps:
            try:
                step.do()
            except NicmapError:
                for earlier in reversed(done):
                    self._ground.undo(earlier.undo, meant)
                raise
            done.append(step)

    def _edits(self, uuid: str, meant: Meant, order: UpdateOrder) -> list[_Step]:
        """First the configuration, which can be put back without the guest's help, then the running VM."""
        if order.link is None and order.network is None:
            return []
        hypervisor = self._ground.hypervisor

        def step(scope: Scope, old: str) -> _Step:
            new = render.edited(old, link=order.link, network=order.network)
            return _Step(lambda: hypervisor.update(uuid, new, scope), lambda: hypervisor.update(uuid, old, scope))

        both = ((Scope.CONFIG, meant.config), (Scope.LIVE, meant.live))
        return [step(scope, old) for scope, old in both if old is not None]

    def _new_mac(self, uuid: str, nic: HostNic, mac: str) -> _Step:
        renamed = replace(nic, mac=mac)
        return _Step(lambda: self._set_mac(uuid, nic, mac), lambda: self._set_mac(uuid, renamed, nic.mac))

    def _set_mac(self, uuid: str, nic: HostNic, mac: str) -> None:
        self._ground.hypervisor.redefine(uuid, lambda xml: render.with_mac_of(xml, nic, mac))
