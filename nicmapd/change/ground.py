"""What all operations stand on: which NIC is meant, what libvirt and the map say of it now, and how to go back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from nicmapd import changes, domxml, pending, render
from nicmapd.board import Board
from nicmapd.causes import Causes
from nicmapd.change.macs import Macs
from nicmapd.change.turns import PATIENCE, Turns, Workers
from nicmapd.errors import AgentFailure, Conflict, NicmapError, NotFound, Unavailable
from nicmapd.logs import about
from nicmapd.model import AgentState, ConnectionStatus, DomainState, HostNic, Naming, NicEntry, Outcome, VmEntry, VmRef
from nicmapd.ports import Clock, DomainXml, HypervisorChanges, Networks
from nicmapd.text import printable

_log = logging.getLogger(__name__)

#: Seconds that an answer waits for the pass that makes a change visible in the map: a healthy guest needs 0.03 s.
SHOWN_WITHIN = 1.5

#: Finds the NIC that is meant in a VM as it is now. Raises `NotFound`, `Ambiguous`, `PreconditionFailed`.
Choice = Callable[[VmEntry], Awaitable[NicEntry]]


@dataclass(frozen=True, slots=True)
class Selection:
    """Which NIC is meant. `by_name`: by its guest's name, which must be certain now. `compared`: with a state of it
    that the caller has seen (If-Match), so a fresh look is wanted if it can be had."""

    choice: Choice
    by_name: bool = False
    compared: bool = False


@dataclass(frozen=True, slots=True)
class Meant:
    """A NIC, with its `<interface>` in either XML; None where it is not."""

    vm: VmEntry
    nic: NicEntry
    domain: DomainXml
    live: str | None
    config: str | None


class Ground:
    """Use it in an event loop; only `call` and what it is given leave that."""

    def __init__(
        self,
        hypervisor: HypervisorChanges,
        networks: Networks,
        board: Board,
        causes: Causes,
        *,
        clock: Clock,
        status: Callable[[], ConnectionStatus],
        refresh: Callable[[str], Awaitable[Outcome]],
        patience: float = PATIENCE,
    ) -> None:
        self.hypervisor = hypervisor
        self.networks = networks
        self.board = board
        self.causes = causes
        self.clock = clock
        self.macs = Macs(hypervisor, board)
        self.turns = Turns()
        self.workers = Workers(patience=patience)
        self._status = status
        self._refresh = refresh

    # -- libvirt

    def check_connected(self) -> None:
        """Raises `Unavailable` while libvirt is away: waiting for it would look like a hang."""
        status = self._status()
        if not status.connected:
            raise Unavailable(f"libvirt is not connected, nothing was changed: {status.message}")

    def undo(self, step: Callable[[], None], meant: Meant) -> None:
        """Takes back a part of what failed. If even that fails it is said: the log and the map tell what is left."""
        try:
            step()
        except NicmapError as error:
            _log.error(
                "%s: %s is left half changed: what was done could not be undone: %s",
                printable(meant.vm.vm.name),
                meant.nic.nic.mac,
                error.message,
                extra=about(meant.vm.vm),
            )

    def say(self, vm: VmRef, mac: str, sentence: str, who: str) -> None:
        """The one line in the log about a change."""
        extra = {**about(vm), "mac": [mac], "who": who}
        _log.info("%s: %s, asked for by %s", printable(vm.name), sentence, who, extra=extra)

    # -- which NIC

    async def choose(self, uuid: str, selection: Selection) -> Meant:
        """The NIC that is meant, as it is at this moment. Raises `Conflict` where its name is not certain now."""
        self.check_connected()
        if selection.by_name:
            await self._look_afresh(uuid)
        elif selection.compared:
            await self.show(uuid)
        domain = await self.workers.run(lambda: self.hypervisor.look(uuid))
        entry = self.entry(uuid, domain)
        nic = await selection.choice(entry)
        live = render.find_interface(domain.live, nic.nic) if domain.live is not None else None
        config = render.find_interface(domain.config, nic.nic) if domain.config is not None else None
        if live is None and config is None:
            raise Conflict(f"{called(nic)} is going or gone at this moment; look again")
        return Meant(entry, nic, domain, live, config)

    async def _look_afresh(self, uuid: str) -> None:
        """The guest's own word, now, or nobody may act by a name."""
        try:
            outcome = await self._refresh(uuid)
        except AgentFailure as error:
            raise _uncertain(error.message, error.state) from error
        except Unavailable as error:
            raise Unavailable(f"nothing was changed, for the guest cannot be asked now: {error.message}") from error
        if outcome.gone:
            raise NotFound(outcome.sentence)
        if not outcome.answered:
            now = self.board.entry(uuid)
            raise _uncertain(now.agent.message if now else outcome.sentence, outcome.agent.value)

    # -- the map

    async def show(self, uuid: str) -> bool:
        """Lets a pass make a change visible; whether it has. It belongs to the answer only if it is quick: a guest
        may hang."""
        try:
            await asyncio.wait_for(self._refresh(uuid), SHOWN_WITHIN)
        except (TimeoutError, NicmapError) as error:
            _log.debug("the map will show it later: %s", str(error) or "the guest takes its time")
            return False
        return True

    def entry(self, uuid: str, domain: DomainXml) -> VmEntry:
        """The VM of the map, with its NICs as libvirt has them at this moment. Raises `NotFound`."""
        entry = self.board.entry(uuid)
        if entry is None:
            raise NotFound("the VM is gone from this host")
        config = () if domain.config is None else domxml.parse_domain(domain.config).nics
        if domain.live is None:
            known = changes.match(entry.all_nics, config)
            return replace(entry, state=DomainState.OFF, nics=self._known(config, known), coming=())
        live = domxml.parse_domain(domain.live).nics
        _, left = pending.counterparts(live, config)
        known = changes.match(entry.all_nics, live)
        coming = changes.match_coming(entry.all_nics, known, left)
        return replace(entry, nics=self._known(live, known), coming=self._known(left, coming))

    def _known(self, nics: Sequence[HostNic], known: Sequence[NicEntry | None]) -> tuple[NicEntry, ...]:
        """NICs of libvirt, each with what the map knows of it."""
        return tuple(
            changes.carried(old, nic) if old is not None else NicEntry("", nic, Naming(), self.clock.now())
            for nic, old in zip(nics, known, strict=True)
        )

    def on_board(self, uuid: str, mac: str, *, alias: str | None = None) -> tuple[VmEntry, NicEntry] | None:
        """A NIC as the map has it now."""
        entry = self.board.entry(uuid)
        return None if entry is None else _nic_of(entry, mac, alias)

    async def now(self, uuid: str, mac: str, *, alias: str | None = None, shown: bool) -> tuple[VmEntry, NicEntry]:
        """A NIC as the map has it if the map has been `shown` what was changed, else as libvirt has it (a hung guest's,
        or one that comes with the next boot). Raises `Conflict` if it is in neither."""
        found = self.on_board(uuid, mac, alias=alias) if shown else None
        if found is not None:
            return found
        domain = await self.workers.run(lambda: self.hypervisor.look(uuid))
        found = _nic_of(self.entry(uuid, domain), mac, alias)
        if found is not None:
            return found
        raise Conflict(f"the NIC {mac} was there a moment ago, and somebody has removed it since")


def _nic_of(entry: VmEntry, mac: str, alias: str | None) -> tuple[VmEntry, NicEntry] | None:
    found = [one for one in entry.all_nics if one.nic.mac == mac and alias in (None, one.nic.alias)]
    return (entry, found[0]) if found else None


def _uncertain(reason: str, state: str) -> Conflict:
    # A VM that is off has neither alias nor host side device.
    others = "" if state == AgentState.OFF.value else ", alias:... or dev:..."
    return Conflict(
        f"what the guest calls its NICs now is not certain ({reason}), and nothing is changed by an uncertain name; "
        f"give the MAC{others}",
        agent_state=state,
    )


def called(nic: NicEntry) -> str:
    """A NIC in a sentence."""
    return f"{nic.naming.name} ({nic.nic.mac})" if nic.naming.name is not None else nic.nic.mac
