"""Attaching a NIC, and waiting for the name that its guest gives it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from nicmapd import domxml, render
from nicmapd.causes import Cause
from nicmapd.change import orders
from nicmapd.change.ground import Ground
from nicmapd.change.orders import AttachOrder
from nicmapd.change.results import Changed
from nicmapd.errors import NicmapError
from nicmapd.model import ChangeKind
from nicmapd.ports import DomainXml, Scope
from nicmapd.text import printable

#: A name that udev has not changed for so long after a plug is taken for the one that stays (0.1 s were measured).
SETTLED = 0.3


class Attacher:
    """Use it in an event loop."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground

    async def attach(self, uuid: str, order: AttachOrder, *, who: str, wait: float) -> Changed:
        ground = self._ground
        ground.check_connected()
        async with ground.turns.of(uuid):
            nic, domain, scopes, cause = await ground.workers.run(lambda: self._attach(uuid, order, who))
        where = ", ".join(scope.value for scope in scopes)
        sentence = f"attached {nic.mac} to {printable(nic.source or nic.type)} ({where})"
        ground.say(domain.domain.vm, nic.mac, sentence, who)
        deadline = asyncio.get_running_loop().time() + wait
        shown = await ground.show(uuid)
        if shown:
            ground.causes.withdraw(uuid, cause)
        named = wait > 0 and Scope.LIVE in scopes and await self._named(uuid, nic.mac, deadline)
        return Changed(*await ground.now(uuid, nic.mac, shown=shown or named), scopes, named)

    def _attach(
        self, uuid: str, order: AttachOrder, who: str
    ) -> tuple[render.NewNic, DomainXml, Sequence[Scope], Cause]:
        ground = self._ground
        domain = ground.hypervisor.look(uuid)
        scopes = orders.scopes(order.scope, domain)
        description = domxml.parse_domain(domain.config or domain.live or "")
        if order.type == "network":
            orders.check_network(order.source or "", ground.networks.networks(), live=Scope.LIVE in scopes)
        model = orders.model(order.model, description)
        with ground.macs.reserve(order.mac, domain.domain.vm.name) as mac:
            nic = render.NewNic(order.type, mac, model, order.source, order.mode, order.link)
            cause = ground.causes.expect(uuid, mac, [ChangeKind.NIC_ATTACHED], who)
            try:
                ground.hypervisor.attach(uuid, render.new_interface(nic), scopes)
            except NicmapError as error:
                ground.causes.withdraw(uuid, cause)
                orders.blame_source(error, order)
                raise
        return nic, domain, scopes, cause

    async def _named(self, uuid: str, mac: str, deadline: float) -> bool:
        """Whether the guest shows the NIC under a name that stays, before `deadline`."""
        ground = self._ground
        with ground.board.listening(uuid) as changed:
            while (left := deadline - asyncio.get_running_loop().time()) > 0:
                changed.clear()
                name = self._name(uuid, mac)
                if name is None:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(changed.wait(), left)
                elif await self._stays(uuid, mac, name, min(SETTLED, left)):
                    return True
        return False

    async def _stays(self, uuid: str, mac: str, name: str, seconds: float) -> bool:
        """Whether a look at the guest `seconds` from now still finds that name: udev renames what it was shown."""
        await asyncio.sleep(seconds)
        return await self._ground.show(uuid) and self._name(uuid, mac) == name

    def _name(self, uuid: str, mac: str) -> str | None:
        found = self._ground.on_board(uuid, mac)
        return found[1].naming.name if found is not None else None
