"""A pass over an unchanged guest reaches the database with nothing, not even a question."""

from __future__ import annotations

import itertools
from pathlib import Path

from sqlalchemy import event

from nicmapd.board import Board
from nicmapd.config import AgentConfig
from nicmapd.interview import PassMemory
from nicmapd.keeper import Keeper
from nicmapd.refresh import Refresher
from nicmapd.store import open_store
from tests.fakes.clock import FakeClock
from tests.fakes.hypervisor import FakeHypervisor


def test_one_pass_over_an_unchanged_guest_executes_no_statement(tmp_path: Path) -> None:
    clock, hypervisor = FakeClock(), FakeHypervisor()
    vm = hypervisor.add("web1", nics=3)
    store = open_store(f"sqlite:///{tmp_path}/map.db", host=hypervisor.host, clock=clock)
    board = Board(clock)
    numbers = itertools.count()
    refresher = Refresher(
        hypervisor,
        Keeper(store, board, clock=clock),
        board,
        clock=clock,
        settings=AgentConfig(),
        new_id=lambda: f"nic{next(numbers)}",
    )
    memory = PassMemory()
    statements: list[str] = []
    event.listen(store.engine, "before_cursor_execute", lambda *call: statements.append(call[2]))
    refresher.run(vm.ref, memory)
    assert any(statement.startswith("INSERT") for statement in statements), "the counter counts"
    statements.clear()
    for _ in range(10):
        clock.move(10)
        assert refresher.run(vm.ref, memory).answered
    assert statements == []
    store.close()
