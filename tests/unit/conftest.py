"""Fixtures of the unit tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from nicmapd.schema import metadata
from tests.fakes.clock import FakeClock
from tests.postgres import PostgresServer, start_server
from tests.unit.store_places import MemoryPlace, Place, PostgresPlace, SqlitePlace, WarmPlace


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


@pytest.fixture(scope="session")
def warm_places() -> Iterator[dict[str, WarmPlace]]:
    """Databases that stay open from test to test, by kind, as they are needed."""
    places: dict[str, WarmPlace] = {}
    yield places
    for place in places.values():
        place.close()


@pytest.fixture
def warm_sqlite(warm_places: dict[str, WarmPlace], tmp_path_factory: pytest.TempPathFactory) -> WarmPlace:
    if "sqlite" not in warm_places:
        warm_places["sqlite"] = WarmPlace(f"sqlite:///{tmp_path_factory.mktemp('warm')}/map.db")
    warm_places["sqlite"].empty()
    return warm_places["sqlite"]


@pytest.fixture
def warm_postgres(warm_places: dict[str, WarmPlace], postgres_server: PostgresServer) -> WarmPlace:
    if "postgresql" not in warm_places:
        warm_places["postgresql"] = WarmPlace(postgres_server.url(postgres_server.new_database()))
    warm_places["postgresql"].empty()
    return warm_places["postgresql"]


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def place(request: pytest.FixtureRequest) -> Place:
    """Each kind of store in turn."""
    if request.param == "memory":
        return MemoryPlace()
    found: WarmPlace = request.getfixturevalue("warm_sqlite" if request.param == "sqlite" else "warm_postgres")
    return found


@pytest.fixture(params=["sqlite", "postgresql"])
def sql_place(request: pytest.FixtureRequest) -> WarmPlace:
    """Each kind of database in turn."""
    found: WarmPlace = request.getfixturevalue("warm_sqlite" if request.param == "sqlite" else "warm_postgres")
    return found
