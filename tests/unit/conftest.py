"""Fixtures of the unit tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from nicmapd.schema import metadata
from tests.fakes.clock import FakeClock
from tests.postgres import PostgresServer, start_server
from tests.unit.store_places import MemoryPlace, Place, PostgresPlace, SqlitePlace


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    with closing(start_server()) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_database(postgres_server: PostgresServer) -> str:
    """The name of a database with our tables."""
    name = postgres_server.new_database()
    place = PostgresPlace(postgres_server, name)
    place.open()
    place.close()
    return name


@pytest.fixture
def postgres_place(postgres_server: PostgresServer, postgres_database: str) -> Iterator[PostgresPlace]:
    emptied = ";".join(f"DELETE FROM {table.name}" for table in reversed(metadata.sorted_tables))
    postgres_server.execute(emptied, database=postgres_database)
    place = PostgresPlace(postgres_server, postgres_database)
    yield place
    place.close()


@pytest.fixture
def empty_postgres(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of a database of its own, with nothing in it."""
    name = postgres_server.new_database()
    yield postgres_server.url(name)
    postgres_server.drop_database(name)


@pytest.fixture
def sqlite_place(tmp_path: Path) -> Iterator[SqlitePlace]:
    place = SqlitePlace(tmp_path / "map.db")
    yield place
    place.close()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def place(request: pytest.FixtureRequest) -> Place:
    """Each kind of store in turn."""
    if request.param == "memory":
        return MemoryPlace()
    found: Place = request.getfixturevalue("sqlite_place" if request.param == "sqlite" else "postgres_place")
    return found


@pytest.fixture(params=["sqlite", "postgresql"])
def sql_place(request: pytest.FixtureRequest) -> SqlitePlace | PostgresPlace:
    """Each kind of database in turn."""
    found: SqlitePlace | PostgresPlace = request.getfixturevalue(
        "sqlite_place" if request.param == "sqlite" else "postgres_place"
    )
    return found
