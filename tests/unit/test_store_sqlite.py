"""The store in an SQLite file: locks, kills, damage, full and read-only disks, newer versions."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event

from nicmapd.errors import Invalid, StoreCorrupt, StoreLocked, StoreTooNew, Unavailable
from nicmapd.model import Change, ChangeKind
from nicmapd.store import SqlStore, open_store
from tests.fakes.clock import FakeClock
from tests.unit.store_places import (
    HOST,
    T0,
    SqlitePlace,
    at,
    change,
    fingerprints,
    nic,
    opened,
    python,
    statements,
    vm,
)


class TestTheFile:
    def test_is_for_its_owner_only(self, sqlite_place: SqlitePlace) -> None:
        sqlite_place.path = sqlite_place.path.parent / "new" / "map.db"
        sqlite_place.url = f"sqlite:///{sqlite_place.path}"
        sqlite_place.open().apply(vm(nic()), [], at=T0)
        assert stat.S_IMODE(sqlite_place.path.parent.stat().st_mode) == 0o700
        files = {file.name: stat.S_IMODE(file.stat().st_mode) for file in sqlite_place.path.parent.iterdir()}
        assert files == dict.fromkeys(["map.db", "map.db-wal", "map.db-shm", "map.db.lock"], 0o600)

    def test_is_made_private_if_it_was_not(self, sqlite_place: SqlitePlace) -> None:
        sqlite_place.open()
        sqlite_place.close()
        sqlite_place.path.chmod(0o644)
        sqlite_place.open()
        assert stat.S_IMODE(sqlite_place.path.stat().st_mode) == 0o600

    def test_is_set_up_as_promised(self, sqlite_place: SqlitePlace) -> None:
        store = sqlite_place.open()
        wanted = {"journal_mode": "wal", "synchronous": 1, "foreign_keys": 1, "auto_vacuum": 2, "busy_timeout": 5000}
        with store.engine.connect() as connection:
            assert {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in wanted} == wanted

    def test_may_be_named_from_the_working_directory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        with closing(open_store("sqlite:///some.db", host=HOST, clock=FakeClock())):
            assert (tmp_path / "some.db").exists()

    def test_needs_no_directory_but_its_parents(self, tmp_path: Path) -> None:
        with pytest.raises(Unavailable, match="cannot be made"):
            opened(tmp_path / "one" / "two" / "map.db")

    @pytest.mark.parametrize(
        "url",
        [
            "sqlite://",
            "sqlite:///:memory:",
            "sqlite:///file:x?mode=memory&uri=true",
            "sqlite:////tmp/x.db?timeout=1",
            "sqlite+aiosqlite:////tmp/x.db",
            "mysql://localhost/nicmapd",
            "nonsense",
            "postgresql+psycopg2://localhost/nicmapd",
            "postgresql://localhost:port/nicmapd",
        ],
    )
    def test_other_urls_are_refused(self, url: str) -> None:
        with pytest.raises(Invalid, match=r"store\.url"):
            open_store(url, host=HOST, clock=FakeClock())

    def test_of_another_program_is_refused_and_not_touched(self, tmp_path: Path) -> None:
        path = tmp_path / "other.db"
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE theirs (x)")
            connection.commit()
        before = path.read_bytes()
        with pytest.raises(Invalid, match="another program"):
            opened(path)
        assert path.read_bytes() == before

    def test_gives_its_space_back(self, sqlite_place: SqlitePlace) -> None:
        store = sqlite_place.open()
        for second in range(6):
            store.note([Change(ChangeKind.RESYNC, "x" * 500)] * 500, at=at(second))
        with closing(sqlite3.connect(sqlite_place.path)) as connection:
            connection.execute("PRAGMA wal_checkpoint").fetchall()
        large = sqlite_place.path.stat().st_size
        store.prune(before=at(100))
        assert sqlite_place.path.stat().st_size < large / 4


class TestOneAtATime:
    def test_a_second_daemon_is_told_who_has_it(self, sqlite_place: SqlitePlace) -> None:
        sqlite_place.open()
        code = (
            "import sys; from nicmapd.store import open_store; from nicmapd.errors import StoreLocked\n"
            "try: open_store(sys.argv[1], host='h', clock=None)\n"
            "except StoreLocked as error: print(error.message)"
        )
        out, err = python(code, sqlite_place.url).communicate(timeout=20)
        assert out.count("\n") == 1, err
        assert str(sqlite_place.path) in out
        assert f"process {os.getpid()}" in out

    def test_a_link_to_the_file_is_the_file(self, sqlite_place: SqlitePlace, tmp_path: Path) -> None:
        sqlite_place.open()
        (tmp_path / "link.db").symlink_to(sqlite_place.path)
        with pytest.raises(StoreLocked):
            opened(tmp_path / "link.db")

    def test_it_is_free_once_closed(self, sqlite_place: SqlitePlace) -> None:
        for _ in range(3):
            sqlite_place.open().close()

    def test_it_is_free_after_a_refusal(self, tmp_path: Path) -> None:
        path = tmp_path / "map.db"
        path.write_bytes(b"SQLite format 3\0 and then something else" * 100)
        for _ in range(2):
            with pytest.raises(StoreCorrupt):
                opened(path)

    def test_a_reader_can_not_write(self, sqlite_place: SqlitePlace) -> None:
        store = sqlite_place.open()
        with (
            store._backend.reader.connect() as connection,
            pytest.raises(Exception, match="attempt to write a readonly database"),
        ):
            connection.exec_driver_sql("DELETE FROM vms")

    def test_readers_go_on_while_a_write_is_under_way(self, sqlite_place: SqlitePlace) -> None:
        store = sqlite_place.open()
        store.apply(vm(nic("eth0")), [], at=T0)
        with store.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE spans SET name = 'half'")
            assert store.load()[0].entry == vm(nic("eth0"))
            connection.rollback()

    def test_a_write_waits_its_turn_but_not_for_ever(
        self, sqlite_place: SqlitePlace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("nicmapd.store._TURN_SECONDS", 0.05)
        store = sqlite_place.open()
        with store._turn, pytest.raises(Unavailable, match="hangs"):
            store.apply(vm(), [], at=T0)
        store.apply(vm(), [], at=T0)

    def test_a_disk_that_hangs_holds_up_one_write_and_not_one_after_the_other(
        self, sqlite_place: SqlitePlace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = sqlite_place.open()
        store.apply(vm(nic()), [], at=T0)
        turn = StuckTurn()
        with monkeypatch.context() as patch:
            patch.setattr(store, "_turn", turn)
            for _ in range(3):
                with pytest.raises(Unavailable, match="hangs"):
                    store.apply(vm(nic("ens3")), [], at=at(1))
            assert turn.waited == [15.0, 0.0, 0.0]
            assert store.load()[0].entry == vm(nic())
        store.apply(vm(nic("ens3")), [], at=at(1))
        with monkeypatch.context() as patch:
            patch.setattr(store, "_turn", turn)
            with pytest.raises(Unavailable, match="hangs"):
                store.apply(vm(nic("ens4")), [], at=at(2))
            assert turn.waited[3:] == [15.0]


class StuckTurn:
    """The turn to write, which a write has that is stuck in the kernel."""

    def __init__(self) -> None:
        self.waited: list[float] = []

    def acquire(self, *, timeout: float) -> bool:
        self.waited.append(timeout)
        return False


class TestUnchangedWritesNothing:
    def test_of_all_that_is_equal(self, sqlite_place: SqlitePlace) -> None:
        store = sqlite_place.open()
        entry = vm(nic("eth0", ip="10.0.0.1"), nic("eth1", id="nic-2"))
        store.apply(entry, [], at=T0)
        store.flush_seen({"uuid-1": at(1)}, at=at(1))
        with statements(store) as sent:
            store.apply(entry, [], at=at(10))
            store.flush_seen({"uuid-1": at(1)}, at=at(11))
        assert sent == []

    def test_but_what_differs(self, sqlite_place: SqlitePlace) -> None:
        from nicmapd.model import AgentState

        store = sqlite_place.open()
        store.apply(vm(nic()), [], at=T0)
        with statements(store) as sent:
            store.apply(vm(nic(), agent=AgentState.BUSY), [], at=at(1))
        assert [statement.split()[:2] for statement in sent] == [["UPDATE", "vms"]]
        with statements(store) as sent:
            store.apply(vm(nic(seen_at=at(2)), agent=AgentState.BUSY), [], at=at(2))
        assert [statement.split()[:2] for statement in sent] == [["UPDATE", "nics"]]
        with statements(store) as sent:
            store.apply(vm(nic("ens3", seen_at=at(2)), agent=AgentState.BUSY), [change()], at=at(3))
        assert sorted(statement.split()[0] for statement in sent) == ["INSERT", "INSERT", "UPDATE"]


class TestVersions:
    def test_a_newer_store_is_refused_and_not_touched(self, sqlite_place: SqlitePlace) -> None:
        store = sqlite_place.open()
        store.apply(vm(nic()), [], at=T0)
        sqlite_place.close()
        with closing(sqlite3.connect(sqlite_place.path)) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")
            connection.execute("UPDATE alembic_version SET version_num = '9999'")
            connection.commit()
        sqlite_place.path.chmod(0o640)
        before = fingerprints(sqlite_place.path.parent)
        with pytest.raises(StoreTooNew, match=r"newer nicmapd \(schema 9999, this one knows up to 0001\)") as refused:
            sqlite_place.open()
        assert str(sqlite_place.path) in refused.value.message
        after = fingerprints(sqlite_place.path.parent)
        assert after.pop("map.db.lock")
        before.pop("map.db.lock")
        assert after == before
        assert stat.S_IMODE(sqlite_place.path.stat().st_mode) == 0o640

    def test_a_newer_store_with_an_unfinished_log_is_not_touched_either(
        self, sqlite_place: SqlitePlace, tmp_path: Path
    ) -> None:
        store = sqlite_place.open()
        with store.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
        # As a kill leaves it: the file and the log, copied while open.
        killed = tmp_path / "killed"
        killed.mkdir()
        for suffix in ("", "-wal"):
            (killed / f"map.db{suffix}").write_bytes(Path(f"{sqlite_place.path}{suffix}").read_bytes())
        before = fingerprints(killed)
        with pytest.raises(StoreTooNew):
            opened(killed / "map.db")
        after = fingerprints(killed)
        assert {name: after[name] for name in before} == before


def test_a_clock_that_stays_years_behind_is_believed_after_an_hour(tmp_path: Path) -> None:
    clock = FakeClock()
    with closing(open_store(f"sqlite:///{tmp_path}/map.db", host=HOST, clock=clock)) as store:
        store.apply(vm(nic()), [], at=at(10**8))
        for minute in range(60):
            store.flush_seen({}, at=at(60 * minute))
            clock.move(60)
            assert list(store.map_at(at(60 * minute))) == []
        store.flush_seen({}, at=at(3600))
        assert [one.since for one in store.map_at(at(3600))] == [at(3600)]


def test_other_threads_run_while_the_database_works(sqlite_place: SqlitePlace) -> None:
    """SQLite's calls let go of the interpreter: a long prune stops nobody."""
    store = sqlite_place.open()
    for second in range(10):
        store.note([Change(ChangeKind.RESYNC, "x" * 200)] * 900, at=at(second * 4000))
    worker = threading.Thread(target=lambda: store.prune(before=at(10**6)))
    ticks = 0
    worker.start()
    while worker.is_alive():
        time.sleep(0.001)
        ticks += 1
    assert ticks > 10


def test_no_question_reads_more_rows_than_it_needs(sqlite_place: SqlitePlace) -> None:
    """Of each statement, how SQLite looks for rows: never through all, and for one VM by that VM."""
    store = sqlite_place.open()
    store.apply(vm(nic()), [change()], at=at(0))
    plans = plans_of(store)
    store.apply(vm(nic("x"), nic(id="2")), [change()], at=at(1))
    store.apply(vm(nic("x")), [change()], at=at(2))
    store.history("uuid-1")
    store.history("uuid-1", nic_id="nic-1")
    store.last_bearer("uuid-1", "x")
    store.feed(after=1)
    store.feed(after=1, uuid="uuid-1")
    store.feed_bounds()
    of_one_vm = list(plans)
    plans.clear()
    store.map_at(at(1))
    store.load()
    store.prune(before=at(1))
    assert not [plan for plan in of_one_vm + plans if plan.startswith("SCAN") and "anon" not in plan]
    used = {plan for plan in of_one_vm if " spans " in plan}
    assert used == {
        "SEARCH spans USING INDEX ix_spans_open (host=? AND vm_uuid=? AND nic_id=?)",
        "SEARCH spans USING INDEX ix_spans_ended (host=? AND to_at>?)",  # what a clock set back left after now
        "SEARCH spans USING INTEGER PRIMARY KEY (rowid=?)",
        "SEARCH spans USING COVERING INDEX ix_spans_nic_time (host=? AND vm_uuid=? AND nic_id=?)",
        "SEARCH spans USING INDEX ix_spans_nic_time (host=? AND vm_uuid=? AND nic_id=?)",
        "SEARCH spans USING INDEX ix_spans_vm_time (host=? AND vm_uuid=?)",
        "SEARCH spans USING INDEX ix_spans_name (host=? AND vm_uuid=? AND name=? AND to_at>?)",
    }
    assert "SEARCH spans USING INDEX ix_spans_open (host=?)" in plans


def plans_of(store: SqlStore) -> list[str]:
    """Grows with the plan of every statement that the store sends from now on."""
    plans: list[str] = []
    looking = False

    def look(connection: Connection, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        nonlocal looking
        if looking or statement.split(None, 1)[0] not in ("SELECT", "UPDATE", "DELETE"):
            return
        looking = True
        values = parameters[0] if isinstance(parameters, list) else parameters
        plans.extend(str(row[3]) for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values))
        looking = False

    for engine in (store.engine, store._backend.reader):
        event.listen(engine, "before_cursor_execute", look)
    return plans
