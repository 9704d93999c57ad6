"""What of a store is damaged and set aside, and what is not ours and left alone."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from nicmapd.config import Config, StoreConfig
from nicmapd.daemon import open_store
from nicmapd.errors import Invalid, StoreCorrupt, Unavailable
from nicmapd.ports import NicStore
from nicmapd.store import set_aside
from tests.fakes.clock import FakeClock
from tests.unit.store_places import HOST, T0, PostgresPlace, SqlitePlace, at, change, nic, opened, vm


def damage(place: SqlitePlace, statement: str) -> None:
    """Puts something into the cells of a map of one VM, which is whole for SQLite."""
    store = place.open()
    store.apply(vm(nic()), [change()], at=T0)
    store.flush_seen({"uuid-1": T0}, at=T0)
    place.close()
    with closing(sqlite3.connect(place.path)) as connection:
        connection.execute(statement)
        connection.commit()


class TestADamagedCell:
    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE spans SET host_nic = '|' || substr(host_nic, 2)",  # one byte of a JSON text
            "UPDATE spans SET host_nic = replace(host_nic, 'mac', 'mbc')",
            "UPDATE spans SET evidence = '7'",
            "UPDATE spans SET candidates = '[1]'",
            "UPDATE spans SET addresses = '[{}]'",
            "UPDATE spans SET verdict = 'naned'",
            "UPDATE spans SET to_at = from_at",  # nothing is known of an attached NIC
            "UPDATE nics SET attached_at = 9000000000000000000",
            "UPDATE vms SET state = 'runnhng'",  # one bit
            "UPDATE vms SET name = CAST(x'77ff62' AS TEXT)",
            "UPDATE sightings SET seen = '|'",
            "UPDATE sightings SET seen = '[1]'",
            """UPDATE sightings SET seen = '{"uuid-1": "x"}'""",
        ],
    )
    def test_is_a_damaged_store_which_is_set_aside(self, sqlite_place: SqlitePlace, statement: str) -> None:
        damage(sqlite_place, statement)
        with pytest.raises(StoreCorrupt, match="is damaged"):
            sqlite_place.open().load()
        sqlite_place.close()
        with closing(started(sqlite_place.path)) as store:
            assert list(store.load()) == []
            store.apply(vm(nic()), [], at=T0)
        assert list(sqlite_place.path.parent.glob("map.db.corrupt-*"))

    def test_of_the_past_is_told_when_it_is_read(self, sqlite_place: SqlitePlace) -> None:
        damage(sqlite_place, "UPDATE changes SET details = '{'")
        with closing(started(sqlite_place.path)) as store:
            with pytest.raises(Unavailable, match="a row cannot be read") as told:
                store.feed(after=0)
            assert str(sqlite_place.path) in told.value.message
            assert store.load()[0].entry == vm(nic())

    def test_is_told_where_a_write_reads_it(self, sqlite_place: SqlitePlace) -> None:
        damage(sqlite_place, "UPDATE spans SET stack = 'x'")
        with pytest.raises(Unavailable, match="is damaged"):
            sqlite_place.open().apply(vm(nic("ens3")), [], at=at(1))

    def test_in_postgresql_is_for_its_administrator(self, postgres_place: PostgresPlace) -> None:
        postgres_place.open().apply(vm(nic()), [], at=T0)
        postgres_place.close()
        postgres_place.server.execute("UPDATE vms SET state = 'runnhng'", database=postgres_place.database)
        settings = replace(Config(), store=StoreConfig(url=postgres_place.url))
        with pytest.raises(StoreCorrupt, match=r"'runnhng' is not a valid .*backup"):
            open_store(settings, host=HOST, clock=FakeClock())


FOREIGN = {
    "a text": b"root:x:0:0:root:/root:/bin/sh\n" * 40,
    "a short one": b"\x00\xff\x13",
    "a picture": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(256)) * 40,
    "an empty disk": bytes(64 * 1024),
}


class TestWhoseFileItIs:
    """A mistyped store.url may name any file of the machine."""

    def refused(self, path: Path, match: str) -> None:
        """By the daemon, which sets a damaged store aside, and by that alone."""
        before = sorted(path.parent.iterdir())
        for _ in range(2):  # what the first start has left must not make the second one bolder
            with pytest.raises(Invalid, match=match) as told:
                started(path)
            assert str(path) in told.value.message
            with pytest.raises(Invalid):
                set_aside(f"sqlite:///{path}")
        assert sorted(path.parent.iterdir()) == before

    @pytest.mark.parametrize("what", FOREIGN)
    @pytest.mark.parametrize("by_link", [False, True])
    def test_another_file_is_left_as_it_is(self, tmp_path: Path, what: str, by_link: bool) -> None:
        path = tmp_path / "some.file"
        path.write_bytes(FOREIGN[what])
        path.chmod(0o644)
        if by_link:
            (tmp_path / "link").symlink_to(path)
            with pytest.raises(Invalid):
                started(tmp_path / "link")
        self.refused(path, "is not an SQLite database")
        assert path.read_bytes() == FOREIGN[what]
        assert path.stat().st_mode & 0o777 == 0o644

    def test_it_is_so_beside_the_lock_of_a_store_that_was_there(self, sqlite_place: SqlitePlace) -> None:
        sqlite_place.open()
        sqlite_place.close()
        other = sqlite_place.path.with_name("other")
        other.write_bytes(FOREIGN["a text"])
        sqlite_place.path.replace(sqlite_place.path.with_name("moved.db"))
        other.replace(sqlite_place.path)
        self.refused(sqlite_place.path, "is not an SQLite database")
        assert sqlite_place.path.read_bytes() == FOREIGN["a text"]

    @pytest.mark.parametrize("by_link", [False, True])
    def test_neither_is_a_directory_or_a_device(self, tmp_path: Path, by_link: bool) -> None:
        folder, device = tmp_path / "folder", tmp_path / "device"
        folder.mkdir()
        os.mkfifo(device)
        for path, match in ((folder, "a directory"), (device, "a device")):
            named = tmp_path / f"link-{path.name}" if by_link else path
            if by_link:
                named.symlink_to(path)
            with pytest.raises(Invalid, match=match):
                started(named)
            self.refused(path, match)

    def test_a_link_to_itself_is_no_file(self, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to(tmp_path / "link")
        with pytest.raises(Invalid, match="leads nowhere"):
            started(tmp_path / "link")

    def test_the_lock_of_another_program_is_left_as_it_is(self, tmp_path: Path) -> None:
        lock = tmp_path / "yarn.lock"
        lock.write_text("# yarn lockfile v1\n")
        self.refused(tmp_path / "yarn", "is not a lock of nicmapd")
        assert lock.read_text() == "# yarn lockfile v1\n"

    def test_nothing_is_written_through_a_link_in_place_of_the_lock(self, tmp_path: Path) -> None:
        (tmp_path / "precious").write_text("")
        (tmp_path / "map.db.lock").symlink_to(tmp_path / "precious")
        with pytest.raises(Unavailable, match="cannot be locked"):
            started(tmp_path / "map.db")
        assert (tmp_path / "precious").read_text() == ""

    @pytest.mark.parametrize("lock", ["", "4711\n", "\0\0\0\0\0"])
    def test_a_lock_of_an_earlier_version_or_of_a_power_cut_is_ours(self, tmp_path: Path, lock: str) -> None:
        (tmp_path / "map.db.lock").write_text(lock)
        with closing(opened(tmp_path / "map.db")):
            pass
        self.destroy(tmp_path / "map.db")
        started(tmp_path / "map.db").close()

    def destroy(self, path: Path, size: int = 4096) -> None:
        with path.open("r+b") as file:
            file.write(bytes(size))

    @pytest.mark.parametrize("size", [16, 4096, 1024 * 1024])
    def test_our_own_without_its_beginning_is_damaged(self, sqlite_place: SqlitePlace, size: int) -> None:
        sqlite_place.open().apply(vm(nic()), [], at=T0)
        sqlite_place.close()
        self.destroy(sqlite_place.path, size)
        spoilt = sqlite_place.path.read_bytes()
        with closing(started(sqlite_place.path)) as store:
            assert list(store.load()) == []
            store.apply(vm(nic()), [], at=T0)
        (aside,) = sqlite_place.path.parent.glob("map.db.corrupt-*")
        assert aside.read_bytes() == spoilt
        # And so is the new one.
        self.destroy(sqlite_place.path)
        started(sqlite_place.path).close()

    def test_of_another_program_that_migrates_as_we_do(self, tmp_path: Path) -> None:
        path = tmp_path / "other.db"
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE alembic_version (version_num)")
            connection.execute("INSERT INTO alembic_version VALUES ('0001')")
            connection.commit()
        before = path.read_bytes()
        with pytest.raises(Invalid, match="another program"):
            started(path)
        assert path.read_bytes() == before


def started(path: Path) -> NicStore:
    """The store as the daemon opens it: a damaged one is set aside."""
    settings = replace(Config(), store=StoreConfig(url=f"sqlite:///{path}"))
    return open_store(settings, host=HOST, clock=FakeClock())[0]
