"""The store in an SQLite file when things go wrong: kills, damage, full and read-only disks."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from nicmapd.config import Config, StoreConfig
from nicmapd.daemon import open_store
from nicmapd.errors import Invalid, StoreCorrupt, StoreLocked, Unavailable
from nicmapd.model import Change, ChangeKind
from nicmapd.store import set_aside
from tests.fakes.clock import FakeClock
from tests.unit.store_places import (
    HOST,
    T0,
    SqlitePlace,
    at,
    change,
    integrity,
    nic,
    opened,
    python,
    vm,
)

MAGIC = b"SQLite format 3\0"

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system: needs root")


_NURSERY = """
import os, sys
from pathlib import Path
from tests.unit.store_places import at, change, nic, opened, vm

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

    @pytest.mark.parametrize("content", [MAGIC, MAGIC + bytes(5000)])
    def test_is_also_a_file_that_only_begins_as_one(self, tmp_path: Path, content: bytes) -> None:
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

    def test_the_feed_of_the_new_store_is_behind_all_numbers_of_the_old_one(self, sqlite_place: SqlitePlace) -> None:
        """Or a reader that comes back would get what follows its number, and not know what it has missed."""
        (old,) = sqlite_place.open().apply(vm(nic()), [change()], at=T0)
        sqlite_place.close()
        self.spoil(sqlite_place.path)
        settings = replace(Config(), store=StoreConfig(url=sqlite_place.url))
        clock = FakeClock()
        with closing(open_store(settings, host=HOST, clock=clock)[0]) as store:
            first = int(clock.now().timestamp())
            assert old.id < first
            assert store.feed_bounds() == (first, first)
            (item,) = store.feed(after=0)
            assert (item.change.kind, item.change.sentence) == (
                ChangeKind.RESYNC,
                "the file of the map was damaged, and a new one was begun",
            )
            (new,) = store.apply(vm(nic()), [change()], at=at(1))
            assert new.id == first + 1

    def test_set_aside_twice_in_a_second_keeps_both(self, tmp_path: Path) -> None:
        path = tmp_path / "map.db"
        names = []
        for content in (MAGIC + b"one", MAGIC + b"two"):
            path.write_bytes(content)
            names.append(set_aside(f"sqlite:///{path}", at=T0))
        assert [name.read_bytes() for name in names] == [MAGIC + b"one", MAGIC + b"two"]

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

    def test_is_looked_for_within_a_bounded_time(
        self, sqlite_place: SqlitePlace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sqlite_place.open().apply(vm(nic()), [], at=T0)
        monkeypatch.setattr("nicmapd.sql.sqlite._CHECK_SECONDS", -1.0)
        monkeypatch.setattr("nicmapd.sql.sqlite._CHECK_STEPS", 1)
        assert sqlite_place.open().load()[0].entry == vm(nic())

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
from tests.unit.store_places import at, change, nic, opened, vm
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
