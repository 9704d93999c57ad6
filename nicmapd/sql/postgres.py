"""PostgreSQL: one database for many hosts, one writing session for each host.

The session that writes also holds the lock of its host (an advisory lock, which ends with the session): who cannot
have the lock cannot write, also after a connection was lost and made again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL

from nicmapd.errors import Invalid, Unavailable
from nicmapd.sql.backend import Backend, known_revision
from nicmapd.sql.faults import translated
from nicmapd.text import printable

if TYPE_CHECKING:
    from nicmapd.sql.postgres_driver import PatientConnection

#: Seconds for one attempt to connect.
_CONNECT_TIMEOUT = 5

#: Milliseconds for one statement; ours take a few. A load of 10,000 VMs takes about a second.
_STATEMENT_TIMEOUT = 10_000

#: Milliseconds to wait for a lock of the database (another host's migration, an administrator's ALTER TABLE).
_LOCK_TIMEOUT = 5_000

# Where the network or the other machine has died without a word: this many seconds until each side notices. The
# server's side matters as much, it holds the lock of our host as long.
_KEEPALIVE = {"idle": 15, "interval": 5, "count": 3}

#: Opened at the same time for reading; more wait for up to 5 s.
_READERS = 4

#: The advisory lock under which the tables are changed, by one program at a time ("nicmapd" in ASCII).
_MIGRATION_LOCK = int.from_bytes(b"nicmapd")


def check_url(url: URL) -> None:
    """Raises `Invalid` for another driver than psycopg 3."""
    if url.drivername not in ("postgresql", "postgresql+psycopg"):
        raise Invalid(
            f"store.url = {printable(url.render_as_string())}: nicmapd uses psycopg 3 only; "
            'write "postgresql://..." or "postgresql+psycopg://..."'
        )


def open_backend(url: URL, host: str) -> Backend:
    """Connects, takes the lock of `host` and reads which schema the database has.

    Raises `StoreLocked`, `StoreTooNew`, `Unavailable`.
    """
    try:
        from nicmapd.sql import postgres_driver
    except ImportError as error:
        raise Unavailable(
            f"store.url names PostgreSQL, whose driver does not load ({printable(str(error))}): "
            "pip install 'nicmapd[postgres]'"
        ) from error
    url = url.set(drivername="postgresql+psycopg")
    place = f"PostgreSQL {printable(url.set(query={}).render_as_string())}"
    writer, reader = _engine(url, writes=True), _engine(url, writes=False)
    for engine in (writer, reader):
        event.listen(engine, "do_connect", _connect)
    event.listen(writer, "connect", postgres_driver.HostLock(host, place).take)

    def close() -> None:
        reader.dispose()
        writer.dispose()

    try:
        with translated(place), writer.begin() as connection:
            revision = _revision(connection, place)
    except BaseException:
        close()
        raise
    return Backend(writer=writer, reader=reader, place=place, revision=revision, compact=lambda: False, close=close)


@contextmanager
def migrating(connection: Connection, place: str) -> Iterator[None]:
    """Waits until no other host changes the tables, and allows the time that it takes."""
    from nicmapd.sql import postgres_driver

    driver = connection.connection.driver_connection
    assert isinstance(driver, postgres_driver.PatientConnection)
    driver.patience = postgres_driver.MIGRATION_PATIENCE
    for limit in ("statement_timeout", "lock_timeout"):
        connection.execute(text(f"SET LOCAL {limit} = '{postgres_driver.MIGRATION_PATIENCE:g}s'"))
    connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _MIGRATION_LOCK})
    _revision(connection, place)  # a newer program may have been first
    yield
    driver.patience = postgres_driver.PATIENCE


def _connect(_dialect: object, _record: object, arguments: Any, keywords: Any) -> PatientConnection:
    from nicmapd.sql.postgres_driver import PatientConnection

    return PatientConnection.connect(*arguments, **keywords)


def _engine(url: URL, *, writes: bool) -> Engine:
    settings = {
        "statement_timeout": _STATEMENT_TIMEOUT,
        "lock_timeout": _LOCK_TIMEOUT,
        "idle_in_transaction_session_timeout": 6 * _STATEMENT_TIMEOUT,
        **{f"tcp_keepalives_{name}": value for name, value in _KEEPALIVE.items()},
    }
    arguments: dict[str, Any] = {
        "connect_timeout": _CONNECT_TIMEOUT,
        "application_name": "nicmapd",
        "options": " ".join(f"-c {name}={value}" for name, value in settings.items()),
        "tcp_user_timeout": 1000 * (_KEEPALIVE["idle"] + _KEEPALIVE["interval"] * _KEEPALIVE["count"]),
        **{f"keepalives_{name}": value for name, value in _KEEPALIVE.items()},
    }
    return create_engine(
        url,
        # The operator's own words in the URL win.
        connect_args={name: value for name, value in arguments.items() if name not in url.query},
        pool_size=1 if writes else _READERS,
        max_overflow=0,
        pool_timeout=5,
        pool_pre_ping=True,
        # One picture for all statements of a read.
        isolation_level="READ COMMITTED" if writes else "REPEATABLE READ",
    )


def _revision(connection: Connection, place: str) -> str | None:
    if connection.scalar(text("SELECT to_regclass('alembic_version')")) is None:
        return None
    return known_revision(connection.scalars(text("SELECT version_num FROM alembic_version")), place)
