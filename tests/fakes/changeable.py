"""A host whose VMs can be changed: the fake libvirt, real passes over it into board and store, the real Changer."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

from nicmapd.api import create_app
from nicmapd.board import Board
from nicmapd.causes import Causes
from nicmapd.change import Changer
from nicmapd.config import AgentConfig
from nicmapd.errors import NotFound
from nicmapd.interview import PassMemory
from nicmapd.keeper import Keeper
from nicmapd.model import FeedItem, Outcome
from nicmapd.refresh import Refresher
from tests.fakes.clock import FakeClock
from tests.fakes.hypervisor import FakeVm
from tests.fakes.libvirt import FakeLibvirt, changer_of
from tests.fakes.service import FakeService
from tests.fakes.store import MemoryStore


class ChangeableHost:
    """`refresh` is one pass over a VM; no watcher runs, so the map shows what was looked at and nothing else. While
    `stuck` it does not come back: another pass waits for a guest that hangs."""

    def __init__(self, *, patience: float = 60.0) -> None:
        self.clock = FakeClock()
        self.libvirt = FakeLibvirt()
        self.board = Board(self.clock)
        self.store = MemoryStore(host="host1")
        self.causes = Causes()
        numbers = itertools.count(1)
        self._refresher = Refresher(
            self.libvirt,
            Keeper(self.store, self.board, clock=self.clock),
            self.board,
            clock=self.clock,
            settings=AgentConfig(),
            new_id=lambda: f"nic-{next(numbers)}",
            causes=self.causes,
        )
        self._memories: dict[str, PassMemory] = {}
        self.refreshed: list[str] = []
        self.stuck = False
        self.changer: Changer = changer_of(
            self.libvirt, self.board, self.causes, clock=self.clock, refresh=self.refresh, patience=patience
        )
        service = FakeService(self.board, self.clock)
        service.changer = self.changer
        self.app: Any = create_app(self.board, self.store, service, self.clock)

    def add(self, name: str, *, nics: int = 1, **fields: Any) -> FakeVm:
        """A VM that is in the map, with NICs eth0, eth1, ... on network default."""
        vm = self.libvirt.add(name, nics=nics, **fields)
        self.look(vm)
        return vm

    def look(self, vm: FakeVm) -> Outcome:
        """One pass over a VM."""
        memory = self._memories.setdefault(vm.uuid, PassMemory())
        memory.domain_changed()
        return self._refresher.run(vm.ref, memory)

    async def refresh(self, uuid: str) -> Outcome:
        self.refreshed.append(uuid)
        vm = self.libvirt.vms.get(uuid)
        if vm is None:
            raise NotFound("no such domain")
        if self.stuck:
            await asyncio.Event().wait()
        await asyncio.sleep(0)
        return self.look(vm)

    def feed(self) -> list[FeedItem]:
        """The change feed."""
        return list(self.store.feed(after=0))
