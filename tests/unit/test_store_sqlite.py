"""The store in an SQLite file: locks, kills, damage, full and read-only disks, newer versions."""

from __future__ import annotations

import hashlib
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event

from nicmapd.errors import Invalid, StoreCorrupt, StoreLocked, StoreTooNew, Unavailable
from nicmapd.model import Change, ChangeKind
from nicmapd.store import SqlStore, open_store, set_aside
from tests.fakes.clock import FakeClock
from tests.unit.store_places import HOST, T0, SqlitePlace, at, change, nic, statements, vm

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system: needs root")


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
        path.write_bytes(b"not a database, but long enough to look at" * 100)
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


_NURSERY = """
import os, sys
from pathlib import Path
from tests.unit.store_places import at, change, nic, vm
from tests.unit.test_store_sqlite import opened

def write_for_ever(number):
    acknowledged = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    store = opened(Path(sys.argv[1]))
    while True:
        number += 1
        nics = [nic(f"n{number}-{index}", id=f"nic-{index}") for index in range(4)]
        store.apply(vm(*nics, name=f"name-{number}"), [change()] * 2, at=at(number * 60))
        os.write(acknowledged, b"%d\\n" % number)

for line in sys.stdin:
    writer = os.fork()
    if writer == 0:
        write_for_ever(int(line))
    print(writer, flush=True)
    os.waitpid(writer, 0)
    print("dead", flush=True)
"""


def test_a_kill_at_any_moment_loses_nothing_and_halves_nothing(tmp_path: Path) -> None:
    """Twenty times SIGKILL while it writes: the next start opens, is whole, and has all that was acknowledged."""
    path, acknowledged, number = tmp_path / "map.db", tmp_path / "acknowledged", 0
    nursery = python(_NURSERY, path, acknowledged)
    assert nursery.stdin is not None
    assert nursery.stdout is not None
    for turn in range(20):
        acknowledged.write_text("")
        print(number, file=nursery.stdin, flush=True)
        writer = int(nursery.stdout.readline())
        # The first one dies while it makes the tables, the others while they write.
        wait_until(path.exists if turn == 0 else lambda: acknowledged.stat().st_size > 0)
        time.sleep(0.001 * turn)
        os.kill(writer, signal.SIGKILL)
        assert nursery.stdout.readline() == "dead\n"
        number = examine(path, least=max(map(int, acknowledged.read_text().split()), default=number))
    nursery.communicate(timeout=20)
    assert number > 20


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.0005)


def examine(path: Path, *, least: int) -> int:
    """The number of the last write, after looking whether all of it is there."""
    with closing(opened(path)) as store:
        found = [stored.entry for stored in store.load()]
        feed = len(store.feed(after=0, limit=1_000_000))
    assert integrity(path) == "ok"
    number = int(found[0].vm.name.removeprefix("name-")) if found else 0
    assert number >= least
    names = {nic.naming.name for entry in found for nic in entry.nics}
    assert names == ({f"n{number}-{index}" for index in range(4)} if found else set())
    assert feed == 2 * number
    return number


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


class TestDamage:
    def spoil(self, path: Path) -> None:
        """Flips bytes in the middle of every page but the first."""
        content = bytearray(path.read_bytes())
        for page in range(4096, len(content), 4096):
            content[page : page + 64] = bytes(byte ^ 0xFF for byte in content[page : page + 64])
        path.write_bytes(content)

    def test_is_told_with_the_name_of_the_file(self, sqlite_place: SqlitePlace) -> None:
        sqlite_place.open().apply(vm(nic()), [], at=T0)
        sqlite_place.close()
        self.spoil(sqlite_place.path)
        with pytest.raises(StoreCorrupt, match="is damaged") as told:
            sqlite_place.open()
        assert str(sqlite_place.path) in told.value.message
        assert "\n" not in told.value.message

    @pytest.mark.parametrize("content", [b"x", b"SQLite format 3\0", b"SQLite format 3\0" + bytes(5000)])
    def test_is_also_a_file_that_is_something_else(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "map.db").write_bytes(content)
        with pytest.raises(StoreCorrupt):
            opened(tmp_path / "map.db")

    def test_an_empty_file_is_a_new_store(self, tmp_path: Path) -> None:
        (tmp_path / "map.db").touch()
        with closing(opened(tmp_path / "map.db")) as store:
            assert list(store.load()) == []

    def test_is_set_aside_for_a_new_store(self, sqlite_place: SqlitePlace) -> None:
        sqlite_place.open().apply(vm(nic()), [], at=T0)
        sqlite_place.close()
        self.spoil(sqlite_place.path)
        spoilt = sqlite_place.path.read_bytes()
        Path(f"{sqlite_place.path}-wal").write_bytes(b"an old log")
        with pytest.raises(StoreCorrupt):
            sqlite_place.open()
        aside = set_aside(sqlite_place.url, at=T0)
        assert aside == sqlite_place.path.with_name("map.db.corrupt-20260101T000000Z")
        assert aside.read_bytes() == spoilt
        assert Path(f"{aside}-wal").read_bytes() == b"an old log"
        store = sqlite_place.open()
        assert list(store.load()) == []
        store.apply(vm(nic()), [], at=T0)

    def test_set_aside_twice_in_a_second_keeps_both(self, tmp_path: Path) -> None:
        path = tmp_path / "map.db"
        names = []
        for content in (b"one", b"two"):
            path.write_bytes(content)
            names.append(set_aside(f"sqlite:///{path}", at=T0))
        assert [name.read_bytes() for name in names] == [b"one", b"two"]

    def test_a_store_in_use_is_not_set_aside(self, sqlite_place: SqlitePlace) -> None:
        sqlite_place.open()
        with pytest.raises(StoreLocked):
            set_aside(sqlite_place.url)

    def test_postgresql_is_not_set_aside(self) -> None:
        with pytest.raises(Invalid, match="backup"):
            set_aside("postgresql://localhost/nicmapd")

    def test_found_later_is_told_as_damage_too(self, sqlite_place: SqlitePlace) -> None:
        store = sqlite_place.open()
        store.apply(vm(nic()), [], at=T0)
        with closing(sqlite3.connect(sqlite_place.path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        self.spoil(sqlite_place.path)
        store.engine.dispose()
        store._backend.reader.dispose()
        with pytest.raises(StoreCorrupt, match="is damaged"):
            store.load()

    def test_a_journal_left_by_a_kill_at_the_very_start_is_played_back(self, tmp_path: Path) -> None:
        path = tmp_path / "map.db"
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA cache_size = 1")
            connection.execute("BEGIN")
            connection.execute("CREATE TABLE half (x)")
            connection.execute("INSERT INTO half SELECT hex(randomblob(5000)) FROM (VALUES (1), (2), (3), (4), (5))")
            copies = {suffix: Path(f"{path}{suffix}").read_bytes() for suffix in ("", "-journal")}
        killed = tmp_path / "killed.db"
        for suffix, content in copies.items():
            Path(f"{killed}{suffix}").write_bytes(content)
        with closing(opened(killed)) as store:
            assert list(store.load()) == []


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a small disk: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def fill(path: Path) -> None:
    """Writes until nothing more goes in."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


class TestTheDisk:
    @needs_root
    def test_full_is_told_and_writing_resumes_by_itself(self, tmp_path: Path) -> None:
        with small_disk(tmp_path / "disk", "1m") as disk, closing(opened(disk / "map.db")) as store:
            store.apply(vm(nic("eth0")), [change()], at=T0)
            filler = disk / "filler"
            fill(filler)
            names = ["eth0"]

            def write_on() -> None:
                for number in range(200):
                    store.apply(vm(nic(f"n{number}")), [change()] * 5, at=at(number + 1))
                    names.append(f"n{number}")

            with pytest.raises(Unavailable, match="no space is left") as told:
                write_on()
            assert told.value.details["fault"] == "full"
            assert str(disk / "map.db") in told.value.message
            # Reading goes on, of what was acknowledged last.
            assert store.load()[0].entry == vm(nic(names[-1]))
            filler.unlink()
            store.apply(vm(nic("ens3")), [change()], at=at(1000))
            assert store.load()[0].entry == vm(nic("ens3"))
            store.close()
            assert integrity(disk / "map.db") == "ok"

    @needs_root
    def test_full_at_the_start_is_told(self, tmp_path: Path) -> None:
        with small_disk(tmp_path / "disk", "64k") as disk:
            (disk / "filler").write_bytes(bytes(60 * 1024))
            with pytest.raises(Unavailable, match="no space is left"):
                opened(disk / "map.db")
            (disk / "filler").unlink()

    @needs_root
    def test_read_only_is_told_and_writing_resumes_by_itself(self, tmp_path: Path) -> None:
        with small_disk(tmp_path / "disk", "2m") as disk:
            with closing(opened(disk / "map.db")) as store:
                store.apply(vm(nic("eth0")), [], at=T0)
            subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
            with pytest.raises(Unavailable, match="Read-only file system"):
                opened(disk / "map.db")
            subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
            with closing(opened(disk / "map.db")) as store:
                assert store.load()[0].entry == vm(nic("eth0"))

    def test_a_file_size_limit_is_told_and_writing_resumes_by_itself(self, tmp_path: Path) -> None:
        """RLIMIT_FSIZE stands for an I/O error: the same path in SQLite, no mount needed."""
        code = """
import resource, signal, sys
from nicmapd.errors import Unavailable
from tests.unit.store_places import at, change, nic, vm
from tests.unit.test_store_sqlite import opened
from pathlib import Path

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = opened(Path(sys.argv[1]))
store.apply(vm(nic("eth0")), [], at=at(0))
resource.setrlimit(resource.RLIMIT_FSIZE, (8192, resource.RLIM_INFINITY))
try:
    store.apply(vm(nic("ens3")), [change()] * 100, at=at(1))
except Unavailable as error:
    print(error.message)
assert store.load()[0].entry == vm(nic("eth0"))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
store.apply(vm(nic("ens3")), [change()], at=at(2))
assert store.load()[0].entry == vm(nic("ens3"))
store.close()
"""
        process = python(code, tmp_path / "map.db")
        out, err = process.communicate(timeout=20)
        assert process.returncode == 0, err
        assert "failed; see the kernel's log" in out or "no space is left" in out

    def test_another_program_that_holds_the_file_is_told(
        self, sqlite_place: SqlitePlace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("nicmapd.sql.sqlite._BUSY_TIMEOUT", 50)
        monkeypatch.setattr("nicmapd.sql.sqlite._WRITER", ("busy_timeout = 50", "foreign_keys = ON"))
        store = sqlite_place.open()
        with closing(sqlite3.connect(sqlite_place.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(Unavailable, match="locked by another program"):
                store.apply(vm(), [], at=T0)
            other.execute("ROLLBACK")
        store.apply(vm(), [], at=T0)

    def test_a_failure_in_the_middle_changes_nothing(self, sqlite_place: SqlitePlace) -> None:
        store = sqlite_place.open()
        store.apply(vm(nic("eth0")), [change()], at=T0)
        before = store.load(), store.history("uuid-1"), store.feed(after=0)
        twice = vm(nic("ens3"), nic("a", id="same"), nic("b", id="same"))
        with pytest.raises(Unavailable):
            store.apply(twice, [change()], at=at(1))
        assert (store.load(), store.history("uuid-1"), store.feed(after=0)) == before
        # A defect of the caller is not hidden, and also changes nothing.
        with pytest.raises(Exception, match="not JSON serializable"):
            store.apply(vm(nic("ens3")), [Change(ChangeKind.VM_STATE, "x", details={"a": object()})], at=at(1))
        assert (store.load(), store.history("uuid-1"), store.feed(after=0)) == before


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
