"""Where the tests keep a store: in memory, in an SQLite file, in a PostgreSQL database. And values to put in."""

from __future__ import annotations

import hashlib
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from sqlalchemy import event

from nicmapd.model import (
    AgentState,
    AgentStatus,
    Change,
    ChangeKind,
    DomainState,
    HostNic,
    NameSource,
    Naming,
    NicAddress,
    NicEntry,
    Verdict,
    VmEntry,
    VmRef,
)
from nicmapd.ports import NicStore
from nicmapd.schema import metadata
from nicmapd.store import SqlStore, open_store
from tests.fakes.clock import FakeClock
from tests.fakes.store import MemoryDatabase, MemoryStore
from tests.postgres import PostgresServer

HOST = "host-a"
T0 = datetime(2026, 1, 1, tzinfo=UTC)


class Store(NicStore, Protocol):
    @property
    def host(self) -> str: ...

    @property
    def suppressed(self) -> Mapping[str, int]: ...


class Place(Protocol):
    """Opens stores on one database: `open` for rows of a host, `restart` as a daemon that was stopped and started."""

    def open(self, host: str = HOST) -> Store: ...

    def restart(self) -> Store: ...


class MemoryPlace:
    def __init__(self) -> None:
        self._database = MemoryDatabase()

    def open(self, host: str = HOST) -> MemoryStore:
        return MemoryStore(host=host, database=self._database)

    def restart(self) -> MemoryStore:
        return self.open()


class WarmPlace:
    """A database that stays open for many tests, emptied for each: opening takes longer than most of them."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._warm: SqlStore | None = None

    def _opened(self) -> SqlStore:
        if self._warm is None:
            self._warm = open_store(self._url, host=HOST, clock=FakeClock())
        return self._warm

    def empty(self) -> None:
        with self._opened().engine.begin() as connection:
            for table in reversed(metadata.sorted_tables):
                connection.execute(table.delete())

    def open(self, host: str = HOST) -> SqlStore:
        kept_open = replace(self._opened()._backend, close=lambda: None)
        return SqlStore(kept_open, host=host, clock=FakeClock())

    def restart(self) -> SqlStore:
        self.close()
        return self.open()

    def close(self) -> None:
        if self._warm is not None:
            self._warm.close()
            self._warm = None


class _SqlPlace:
    """A database of one test; `open` again is a restart."""

    url: str

    def __init__(self) -> None:
        self._opened: SqlStore | None = None

    def open(self, host: str = HOST) -> SqlStore:
        self.close()
        self._opened = open_store(self.url, host=host, clock=FakeClock())
        return self._opened

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()
            self._opened = None


class SqlitePlace(_SqlPlace):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.url = f"sqlite:///{path}"


class PostgresPlace(_SqlPlace):
    def __init__(self, server: PostgresServer, database: str) -> None:
        super().__init__()
        self.server = server
        self.database = database
        self.url = server.url(database)


@contextmanager
def statements(store: SqlStore) -> Iterator[list[str]]:
    """Collects what is sent to the database for writing meanwhile."""
    sent: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.split(None, 1)[0] in ("INSERT", "UPDATE", "DELETE"):
            sent.append(statement)

    event.listen(store.engine, "before_cursor_execute", note)
    yield sent
    event.remove(store.engine, "before_cursor_execute", note)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def nic(
    name: str | None = "eth0",
    *,
    id: str = "nic-1",
    mac: str = "52:54:00:00:00:01",
    ip: str | None = None,
    network: str = "default",
    seen_at: datetime | None = None,
) -> NicEntry:
    """A NIC that the guest calls `name`, or does not show."""
    if name is None:
        naming = Naming(verdict=Verdict.UNSEEN, reason="the guest does not show it")
    else:
        addresses = () if ip is None else (NicAddress(name, "ipv4", ip, 24),)
        naming = Naming(Verdict.NAMED, name, NameSource.AGENT, "the only one with its MAC", addresses=addresses)
    host_nic = HostNic(mac=mac, type="network", alias="net0", network=network, slots=((2, 0), (0, 0)))
    return NicEntry(id=id, nic=host_nic, naming=naming, attached_at=T0, name_since=T0, seen_at=seen_at)


def vm(
    *nics: NicEntry,
    uuid: str = "uuid-1",
    name: str = "web1",
    host: str = HOST,
    state: DomainState = DomainState.RUNNING,
    agent: AgentState = AgentState.OK,
) -> VmEntry:
    status = AgentStatus(state=agent, since=T0, message="it answers", version="7.2.0")
    return VmEntry(vm=VmRef(uuid, name), host=host, state=state, persistent=True, agent=status, nics=nics)


def change(kind: ChangeKind = ChangeKind.NIC_RENAMED, sentence: str = "eth0 renamed to ens3") -> Change:
    return Change(kind, sentence, nic_id="nic-1", mac="52:54:00:00:00:01", alias="net0", old="eth0", new="ens3")


def opened(path: Path) -> SqlStore:
    return open_store(f"sqlite:///{path}", host=HOST, clock=FakeClock())


def integrity(path: Path) -> str:
    with closing(sqlite3.connect(path)) as connection:
        return str(connection.execute("PRAGMA integrity_check").fetchone()[0])


def fingerprints(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    pipe = subprocess.PIPE
    root = Path(__file__).parents[2]
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd=root)
