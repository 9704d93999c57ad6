"""The store in PostgreSQL: many hosts on one database, one daemon a host, lost and stopped servers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from sqlalchemy import event

from nicmapd.errors import NicmapError, StoreLocked, StoreTooNew, Unavailable
from nicmapd.sql import postgres_driver
from nicmapd.store import SqlStore, open_store
from tests.fakes.clock import FakeClock
from tests.postgres import PostgresServer
from tests.unit.store_places import HOST, T0, PostgresPlace, at, change, nic, vm


def opened(url: str, host: str = HOST) -> SqlStore:
    return open_store(url, host=host, clock=FakeClock())


def session(store: SqlStore) -> int:
    """The server's process for the connection that writes."""
    with store.engine.connect() as connection:
        return int(connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())


def terminate(server: PostgresServer, process: int) -> None:
    server.execute("SELECT pg_terminate_backend(%s, 30000)", process)


@contextmanager
def stopped(process: int) -> Iterator[None]:
    """That process stands still, as on a machine that hangs."""
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process, signal.SIGCONT)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_driver.PatientConnection, "patience", 0.4)
    monkeypatch.setattr(postgres_driver, "_END_ATTEMPTS", 2)
    monkeypatch.setattr("nicmapd.sql.postgres._CONNECT_TIMEOUT", 2)


class TestHosts:
    def test_of_different_names_work_side_by_side(self, postgres_place: PostgresPlace) -> None:
        with closing(opened(postgres_place.url, "host-a")) as a, closing(opened(postgres_place.url, "host-b")) as b:
            a.apply(vm(nic("a"), host="host-a"), [change()], at=T0)
            b.apply(vm(nic("b"), host="host-b"), [change()], at=T0)
            assert a.load()[0].entry == vm(nic("a"), host="host-a")
            assert b.load()[0].entry == vm(nic("b"), host="host-b")

    def test_numbers_of_one_host_grow_in_the_order_of_its_commits(self, postgres_place: PostgresPlace) -> None:
        faults: list[BaseException] = []

        def work(host: str) -> None:
            try:
                with closing(opened(postgres_place.url, host)) as store:
                    last = 0
                    for number in range(30):
                        for item in store.apply(vm(nic(f"n{number}"), host=host), [change()] * 3, at=at(number)):
                            assert item.id > last
                            last = item.id
                        assert [item.id for item in store.feed(after=last - 1)] == [last]
            except BaseException as fault:  # noqa: BLE001
                faults.append(fault)

        threads = [threading.Thread(target=work, args=(f"host-{number}",)) for number in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert faults == []

    def test_of_one_name_the_second_is_refused_and_told_why(self, postgres_place: PostgresPlace) -> None:
        store = postgres_place.open()
        with pytest.raises(StoreLocked, match=f"another nicmapd for this host .{HOST}.") as told:
            opened(postgres_place.url)
        assert f"session {session(store)}" in told.value.message
        store.apply(vm(), [], at=T0)
        store.close()
        opened(postgres_place.url).close()

    def test_that_start_at_once_on_an_empty_database_make_the_tables_once(self, empty_postgres: str) -> None:
        faults: list[BaseException] = []
        barrier = threading.Barrier(4)

        def start(host: str) -> None:
            barrier.wait()
            try:
                with closing(opened(empty_postgres, host)) as store:
                    store.apply(vm(nic(), host=host), [], at=T0)
            except BaseException as fault:  # noqa: BLE001
                faults.append(fault)

        threads = [threading.Thread(target=start, args=(f"host-{number}",)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert faults == []


class TestALostConnection:
    def test_is_made_again_by_the_next_call(self, postgres_place: PostgresPlace) -> None:
        store = postgres_place.open()
        store.apply(vm(nic("eth0")), [], at=T0)
        terminate(postgres_place.server, session(store))
        store.apply(vm(nic("ens3")), [], at=at(1))
        assert store.load()[0].entry == vm(nic("ens3"))
        with pytest.raises(StoreLocked):
            opened(postgres_place.url)

    def test_in_the_middle_of_a_write_changes_nothing_and_is_told(self, postgres_place: PostgresPlace) -> None:
        store = postgres_place.open()
        store.apply(vm(nic("eth0")), [change()], at=T0)
        process = session(store)
        locker = postgres_place.server.url(postgres_place.database)
        faults: list[BaseException] = []

        def write() -> None:
            try:
                store.apply(vm(nic("ens3")), [change()], at=at(1))
            except NicmapError as fault:
                faults.append(fault)

        import psycopg

        with psycopg.connect(locker) as other:
            other.execute("LOCK TABLE changes IN ACCESS EXCLUSIVE MODE")
            thread = threading.Thread(target=write)
            thread.start()
            while not postgres_place.server.execute("SELECT 1 FROM pg_locks WHERE NOT granted AND pid = %s", process):
                time.sleep(0.005)
            terminate(postgres_place.server, process)
            thread.join()
        (fault,) = faults
        assert isinstance(fault, Unavailable)
        assert "shutting down" in fault.message or "broke" in fault.message
        assert store.load()[0].entry == vm(nic("eth0"))
        store.apply(vm(nic("ens3")), [change()], at=at(2))
        assert len(store.feed(after=0)) == 2

    def test_whose_lock_another_daemon_took_meanwhile_stays_lost(self, postgres_place: PostgresPlace) -> None:
        store = postgres_place.open()
        store.apply(vm(nic("eth0")), [], at=T0)
        terminate(postgres_place.server, session(store))
        with closing(opened(postgres_place.url)) as thief:
            with pytest.raises(StoreLocked):
                store.apply(vm(nic("ens3")), [], at=at(1))
            assert thief.load()[0].entry == vm(nic("eth0"))
        store.apply(vm(nic("ens3")), [], at=at(2))
        assert store.load()[0].entry == vm(nic("ens3"))

    def test_that_only_we_know_of_does_not_lock_us_out(self, postgres_place: PostgresPlace) -> None:
        """The server still has our old session, and in it our lock: it is ended, and ours again."""
        store = postgres_place.open()
        old = session(store)
        lost = store.engine.raw_connection()
        driver = lost.driver_connection
        lost.detach()
        store.apply(vm(), [], at=T0)
        assert session(store) != old
        assert driver is not None
        driver.close()

    def test_to_a_server_that_restarts_comes_back_with_it(self, postgres_place: PostgresPlace) -> None:
        store, server = postgres_place.open(), postgres_place.server
        store.apply(vm(nic("eth0")), [], at=T0)
        server.stop(how=signal.SIGQUIT)
        with pytest.raises(Unavailable, match="PostgreSQL"):
            store.apply(vm(nic("ens3")), [], at=at(1))
        with pytest.raises(Unavailable, match="PostgreSQL"):
            store.load()
        server.start()
        store.apply(vm(nic("ens3")), [], at=at(2))
        assert store.load()[0].entry == vm(nic("ens3"))

    @pytest.mark.usefixtures("impatient")
    def test_to_a_session_that_hangs_is_given_up(self, postgres_place: PostgresPlace) -> None:
        store = postgres_place.open()
        store.apply(vm(nic("eth0")), [], at=T0)
        process = session(store)
        began = time.monotonic()
        with stopped(process), pytest.raises(Unavailable):
            store.apply(vm(nic("ens3")), [], at=at(1))
        assert time.monotonic() - began < 8
        deadline = time.monotonic() + 10
        while True:  # the server ends the old session once it runs again
            try:
                store.apply(vm(nic("ens3")), [], at=at(2))
                break
            except StoreLocked:
                assert time.monotonic() < deadline
                time.sleep(0.01)
        assert store.load()[0].entry == vm(nic("ens3"))

    @pytest.mark.usefixtures("impatient")
    def test_to_a_server_that_hangs_is_given_up(self, postgres_place: PostgresPlace) -> None:
        store = postgres_place.open()
        terminate(postgres_place.server, session(store))
        with stopped(postgres_place.server.process.pid), pytest.raises(Unavailable, match="time"):
            store.apply(vm(), [], at=T0)
        store.apply(vm(), [], at=T0)


def test_a_database_that_hung_is_left_alone_for_a_while(postgres_place: PostgresPlace) -> None:
    clock = FakeClock()
    with closing(open_store(postgres_place.url, host=HOST, clock=clock)) as store:

        def slow(*_: object) -> None:
            clock.move(3)
            terminate(postgres_place.server, driver_process)

        driver_process = session(store)
        event.listen(store.engine, "before_cursor_execute", slow, once=True)
        with pytest.raises(Unavailable, match=r"shutting down|broke"):
            store.apply(vm(), [], at=T0)
        for call in (store.load, lambda: store.apply(vm(), [], at=T0)):
            with pytest.raises(Unavailable, match="a moment ago"):
                call()
        clock.move(6)
        store.apply(vm(), [], at=T0)
        assert len(store.load()) == 1


class TestWords:
    def test_name_the_server_but_never_the_password(self) -> None:
        with pytest.raises(Unavailable) as told:
            opened("postgresql://someone:s3cret@127.0.0.1:1/nicmapd?sslmode=disable")
        assert "s3cret" not in told.value.message
        assert "someone:***@127.0.0.1:1/nicmapd" in told.value.message
        assert "\n" not in told.value.message

    def test_say_what_to_do_where_the_database_is_missing(self, postgres_server: PostgresServer) -> None:
        with pytest.raises(Unavailable, match="does not exist"):
            opened(postgres_server.url("nowhere"))

    def test_say_what_to_do_where_the_driver_is_missing(self) -> None:
        code = (
            "import sys; sys.modules['psycopg'] = None\n"
            "from nicmapd.store import open_store; from nicmapd.errors import Unavailable\n"
            "try: open_store('postgresql://localhost/x', host='h', clock=None)\n"
            "except Unavailable as error: print(error.message)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert "pip install 'nicmapd[postgres]'" in done.stdout

    def test_say_that_a_standby_takes_no_writes(self, postgres_place: PostgresPlace) -> None:
        store = postgres_place.open()
        with store.engine.begin() as connection:
            connection.exec_driver_sql("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
        with pytest.raises(Unavailable, match="takes no writes now"):
            store.apply(vm(), [], at=T0)

    def test_say_that_a_statement_took_too_long(self, postgres_place: PostgresPlace) -> None:
        store = postgres_place.open()
        with store.engine.connect() as connection:
            connection.exec_driver_sql("SET statement_timeout = 50")
            connection.commit()
        import psycopg

        with psycopg.connect(postgres_place.url) as other:
            other.execute("LOCK TABLE vms IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(Unavailable, match="took too long"):
                store.apply(vm(), [], at=T0)
        store.apply(vm(), [], at=T0)

    def test_refuse_a_newer_store(self, empty_postgres: str) -> None:
        opened(empty_postgres).close()
        import psycopg

        with psycopg.connect(empty_postgres, autocommit=True) as connection:
            connection.execute("UPDATE alembic_version SET version_num = '9999'")
            with pytest.raises(StoreTooNew, match="schema 9999"):
                opened(empty_postgres)
            connection.execute("UPDATE alembic_version SET version_num = '0001'")
        opened(empty_postgres).close()


def test_limits_of_the_session_are_set_and_the_url_may_set_others(postgres_place: PostgresPlace) -> None:
    store = postgres_place.open()
    with store.engine.connect() as connection:
        shown = {
            name: connection.exec_driver_sql(f"SHOW {name}").scalar_one()
            for name in ("statement_timeout", "lock_timeout", "application_name")
        }
    assert shown == {"statement_timeout": "10s", "lock_timeout": "5s", "application_name": "nicmapd"}
    url = f"{postgres_place.url}&application_name=mine"
    with closing(opened(url, "host-z")) as other, other.engine.connect() as connection:
        assert connection.exec_driver_sql("SHOW application_name").scalar_one() == "mine"
