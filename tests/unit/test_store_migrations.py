"""The migrations: up, down and up again, equal to the tables of schema.py, found wherever nicmapd is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import CheckConstraint, Connection, create_engine, inspect

from nicmapd import schema
from nicmapd.store import upgrade

ROOT = Path(__file__).parents[2]


def scripts() -> Config:
    config = Config()
    config.set_main_option("script_location", str(ROOT / "migrations"))
    return config


@pytest.fixture(params=["sqlite", "postgresql"])
def connection(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Connection]:
    """A transaction on an empty database of each kind."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/new.db"
    else:
        url = request.getfixturevalue("empty_postgres").replace("postgresql:", "postgresql+psycopg:")
    engine = create_engine(url)
    with engine.begin() as opened:
        yield opened
    engine.dispose()


def tables(connection: Connection) -> set[str]:
    return set(inspect(connection).get_table_names()) - {"alembic_version"}


def test_make_what_schema_says(connection: Connection) -> None:
    upgrade(connection)
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    assert compare_metadata(context, schema.metadata) == []
    found = inspect(connection)
    for table in schema.metadata.tables.values():
        checks = {check["name"] for check in found.get_check_constraints(table.name)}
        assert checks == {str(check.name) for check in table.constraints if isinstance(check, CheckConstraint)}
        assert found.get_pk_constraint(table.name)["name"] in (f"pk_{table.name}", None)  # SQLite numbers rows unnamed


def test_go_up_down_and_up_again(connection: Connection) -> None:
    expected = set(schema.metadata.tables)
    for _ in range(2):
        upgrade(connection)
        assert tables(connection) == expected
        config = scripts()
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
        assert tables(connection) == set()


def test_every_revision_is_known_to_the_program() -> None:
    found = [script.revision for script in ScriptDirectory.from_config(scripts()).walk_revisions()]
    assert tuple(reversed(found)) == schema.REVISIONS


_START = """
import importlib.util, sys
from datetime import UTC, datetime
import nicmapd
from nicmapd.store import open_store
for name in ("nicmapd", "nicmapd.migrations"):
    origin = importlib.util.find_spec(name).origin
    assert origin.startswith(sys.argv[2]), origin

class Clock:
    def now(self): return datetime.now(UTC)
    def monotonic(self): return 0.0

open_store(f"sqlite:///{sys.argv[1]}/map.db", host="h", clock=Clock()).close()
print("opened")
"""


def start(home: Path, code: Path, path: str) -> None:
    """Opens a new store in a process whose nicmapd is that in `code`."""
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-c", _START, str(home), str(code)],
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "opened\n", done.stderr


def test_are_found_by_an_editable_install(tmp_path: Path) -> None:
    start(tmp_path, ROOT, "")


def test_are_found_in_a_wheel(tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".*", "build", "*.egg-info", "tests", "__pycache__"))
    # The build backend's own door: no network, no build environment, whatever setuptools is here.
    code = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"
    built = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=source, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    wheel = tmp_path / built.stdout.split()[-1]
    installed = tmp_path / "installed"
    shutil.unpack_archive(wheel, installed, "zip")
    assert (installed / "nicmapd/migrations/env.py").exists()
    assert (installed / "nicmapd/migrations/script.py.mako").exists()
    start(tmp_path, installed, str(installed))
