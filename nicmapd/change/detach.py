"""Detaching a NIC: out of the configuration, then the guest is asked, and what it answers is waited for."""

from __future__ import annotations

import asyncio
import contextlib

from nicmapd import domxml
from nicmapd.change.ground import Ground, Meant, Selection, called
from nicmapd.change.removals import Removal, Removals
from nicmapd.change.results import Detached, DetachVerdict
from nicmapd.errors import Conflict, NicmapError, NotFound, Unavailable
from nicmapd.model import ChangeKind
from nicmapd.ports import Scope
from nicmapd.text import printable

#: Events are hints: without one, the XML is read so often while a guest makes up its mind (seconds).
_LOOK_EVERY = 5.0


class Detacher:
    """Use it in an event loop."""

    def __init__(self, ground: Ground, removals: Removals) -> None:
        self._ground = ground
        self._removals = removals

    async def detach(self, uuid: str, selection: Selection, *, who: str, wait: float) -> Detached:
        ground = self._ground
        with contextlib.ExitStack() as listening:
            async with ground.turns.of(uuid):
                meant = await ground.choose(uuid, selection)
                alias = meant.nic.nic.alias
                cause = ground.causes.expect(uuid, meant.nic.nic.mac, [ChangeKind.NIC_DETACHED], who)
                # Before the call, or a quick guest's answer would come while nobody listens.
                removal = listening.enter_context(self._removals.expect(uuid, alias or ""))
                try:
                    await ground.workers.run(lambda: self._release(uuid, meant))
                except NicmapError as error:
                    ground.causes.withdraw(uuid, cause)
                    raise self._refused(meant) if error.details.get("refused") else error from error
            # Others may have their turn while the guest makes up its mind.
            try:
                gone = meant.live is None or alias is None or await self._let_go(uuid, meant, removal, wait)
            except Conflict:
                ground.causes.withdraw(uuid, cause)
                raise
        self._say(meant, who, gone=gone)
        if await ground.show(uuid) and gone:
            ground.causes.withdraw(uuid, cause)
        return Detached(DetachVerdict.GONE if gone else DetachVerdict.PENDING, meant.vm, meant.nic)

    def _say(self, meant: Meant, who: str, *, gone: bool) -> None:
        nic = meant.nic.nic
        where = ", ".join(scope for scope, xml in (("config", meant.config), ("live", meant.live)) if xml is not None)
        what = "detached" if gone else "asked the guest to let go of"
        sentence = f"{what} {called(meant.nic)} of {printable(nic.source or nic.type)} ({where})"
        self._ground.say(meant.vm.vm, nic.mac, sentence, who)

    def _release(self, uuid: str, meant: Meant) -> None:
        """Out of the configuration, and then the guest is asked; if that fails, back into the configuration.

        In this order a daemon that dies in between leaves what was wanted: the NIC is gone at the latest with the next
        boot.
        """
        hypervisor = self._ground.hypervisor
        live, config = meant.live, meant.config
        if config is not None:
            hypervisor.detach(uuid, config, Scope.CONFIG)
        if live is None:
            return
        try:
            hypervisor.detach(uuid, live, Scope.LIVE)
        except NicmapError:
            self._put_back(uuid, meant)
            raise

    def _put_back(self, uuid: str, meant: Meant) -> None:
        config = meant.config
        if config is not None:
            self._ground.undo(lambda: self._ground.hypervisor.attach(uuid, config, [Scope.CONFIG]), meant)

    async def _let_go(self, uuid: str, meant: Meant, removal: Removal, wait: float) -> bool:
        """Whether the NIC is gone within `wait` seconds. Raises `Conflict` if the guest refused."""
        ground = self._ground
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait
        while True:
            left = max(0.0, deadline - loop.time())
            heard = await removal.wait(min(left, _LOOK_EVERY))
            # Whatever was heard, or not: the XML is the truth.
            if not await self._still_there(uuid, meant):
                return True
            if heard is False:
                async with ground.turns.of(uuid):
                    await ground.workers.run(lambda: self._put_back(uuid, meant))
                raise self._refused(meant)
            if loop.time() >= deadline:
                return False

    async def _still_there(self, uuid: str, meant: Meant) -> bool:
        """Whether the running VM has that NIC. While libvirt is away nobody knows: then, yes."""
        try:
            live = (await self._ground.workers.run(lambda: self._ground.hypervisor.look(uuid))).live
        except NotFound:
            return False
        except Unavailable:
            return True
        nic = meant.nic.nic
        there = domxml.parse_domain(live).nics if live is not None else ()
        return any((one.alias, one.mac) == (nic.alias, nic.mac) for one in there)

    def _refused(self, meant: Meant) -> Conflict:
        return Conflict(
            f"the guest refused to let go of {called(meant.nic)}; nothing was changed. Is it in use, or is the guest "
            "still booting?",
            refused=True,
        )
