"""From an URL to an open store: lock, check, bring the tables up to date; and the way out of a damaged file."""

from __future__ import annotations

import importlib.resources
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from nicmapd.errors import Invalid
from nicmapd.ports import Clock
from nicmapd.schema import REVISIONS
from nicmapd.store import postgres, sqlite
from nicmapd.store.backend import Backend
from nicmapd.store.faults import translated
from nicmapd.store.sql_store import SqlStore


def open_store(url: str, *, host: str, clock: Clock) -> SqlStore:
    """The store at `url` (`store.url`) for the rows of `host`, locked, checked, its tables up to date.

    Raises `StoreLocked` (another nicmapd has it), `StoreTooNew` (a newer one wrote it; it is not touched),
    `StoreCorrupt` (see `set_aside`), `Invalid` (the URL), `Unavailable`.
    """
    parsed = _parse(url)
    if parsed.get_backend_name() == "sqlite":
        backend = sqlite.open_backend(sqlite.path_of(parsed), clock)
    else:
        postgres.check_url(parsed)
        backend = postgres.open_backend(parsed, host)
    try:
        if backend.revision != REVISIONS[-1]:
            _migrate(backend)
    except BaseException:
        backend.close()
        raise
    return SqlStore(backend, host=host, clock=clock)


def set_aside(url: str, *, at: datetime | None = None) -> Path:
    """Moves a damaged SQLite file out of the way, so that `open_store` makes a new one; returns where it is now.

    Raises `StoreLocked`, `Unavailable`, and `Invalid` for PostgreSQL, which only its administrator can repair.
    """
    parsed = _parse(url)
    if parsed.get_backend_name() != "sqlite":
        raise Invalid("a PostgreSQL database cannot be set aside; restore it from a backup")
    return sqlite.set_aside(sqlite.path_of(parsed), at or datetime.now(UTC))


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # Not quoted: it may hold a password.
        raise Invalid('store.url is not an URL such as "sqlite:////var/lib/nicmapd/map.db"') from None
    if parsed.drivername not in ("sqlite", "sqlite+pysqlite") and parsed.get_backend_name() != "postgresql":
        raise Invalid(f"store.url: {parsed.drivername} is not supported; SQLite and PostgreSQL are")
    return parsed


def _migrate(backend: Backend) -> None:
    """Brings the tables to the newest revision, in one transaction: a kill leaves the old ones."""
    with translated(backend.place), backend.writer.begin() as connection:
        shared = connection.dialect.name == "postgresql"
        with postgres.migrating(connection, backend.place) if shared else nullcontext():
            upgrade(connection)


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Runs the migrations up to `revision` in the caller's transaction."""
    # Here, because it costs 10 MB and 0.1 s, and is needed once in the life of a schema.
    from alembic import command
    from alembic.config import Config

    folder = importlib.resources.files("nicmapd.migrations")
    with importlib.resources.as_file(folder) if not isinstance(folder, Path) else nullcontext(folder) as path:
        config = Config()
        config.set_main_option("script_location", str(path).replace("%", "%%"))
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
