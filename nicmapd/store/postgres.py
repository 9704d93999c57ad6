"""PostgreSQL: one database for many hosts, one writing session for each host.

The session that writes also holds the lock of its host (an advisory lock, which ends with the session): who cannot
have the lock cannot write, also after a connection was lost and made again.
"""

from __future__ import annotations

import hashlib
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL

from nicmapd.errors import Invalid, StoreLocked, StoreTooNew, Unavailable
from nicmapd.schema import REVISIONS
from nicmapd.store.backend import Backend
from nicmapd.store.faults import translate
from nicmapd.text import printable

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

#: Of the advisory lock that lets one program at a time change the tables.
MIGRATION_LOCK = 0x6E69636D61706400 >> 1


def host_lock(host: str) -> int:
    """The number of the advisory lock of a host: 63 bits of a hash, the database's own name space."""
    return int.from_bytes(hashlib.sha256(f"nicmapd {host}".encode()).digest()[:8]) >> 1


def open_backend(url: URL, host: str) -> Backend:
    """Connects, takes the lock of `host` and reads which schema the database has.

    Raises `StoreLocked`, `StoreTooNew`, `Unavailable`.
    """
    try:
        import psycopg
    except ImportError as error:
        raise Unavailable(
            "store.url names PostgreSQL, whose driver is not installed: pip install 'nicmapd[postgres]'"
        ) from error
    url = url.set(drivername="postgresql+psycopg")
    place = f"PostgreSQL {printable(url.render_as_string())}"
    writer, reader = _engine(url, writes=True), _engine(url, writes=False)
    lock = _HostLock(host, place)
    event.listen(writer, "connect", lock.take)

    def close() -> None:
        reader.dispose()
        writer.dispose()

    try:
        revision = _revision(writer, place)
    except psycopg.Error as error:
        close()
        raise translate(error, place) from error
    except BaseException:
        close()
        raise
    return Backend(writer=writer, reader=reader, place=place, revision=revision, compact=lambda: False, close=close)


class _HostLock:
    """Takes the lock of a host for each new writing session, or closes that session."""

    def __init__(self, host: str, place: str) -> None:
        self._host = host
        self._place = place

    def take(self, connection: Any, _record: Any) -> None:
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_try_advisory_lock(%s)", (host_lock(self._host),))
                (taken,) = cursor.fetchone()
            connection.commit()  # the lock is the session's, not the transaction's
        except BaseException:
            connection.close()
            raise
        if not taken:
            connection.close()
            raise StoreLocked(
                f"{self._place} is in use by another nicmapd for this host ({self._host}); stop that one. "
                "If there is none, its connection was lost a moment ago, and the server will notice soon"
            )


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
    given = {name: arguments[name] for name in arguments if name not in url.query}  # the operator's own words win
    return create_engine(
        url,
        connect_args=given,
        pool_size=1 if writes else _READERS,
        max_overflow=0,
        pool_timeout=5,
        pool_pre_ping=True,
        # One picture for all statements of a read.
        isolation_level="READ COMMITTED" if writes else "REPEATABLE READ",
    )


def _revision(writer: Engine, place: str) -> str | None:
    with writer.begin() as connection:
        known = connection.exec_driver_sql("SELECT to_regclass('alembic_version')").scalar_one()
        if known is None:
            return None
        found = [
            str(number) for number in connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalars()
        ]
    for number in found:
        if number not in REVISIONS:
            raise StoreTooNew(
                f"{place} was written by a newer nicmapd (schema {printable(number)}, this one knows up to "
                f"{REVISIONS[-1]}); it was not touched. Install that version, or give store.url another database",
                revision=number,
            )
    return found[0] if found else None


def check_url(url: URL) -> None:
    """Raises `Invalid` for another driver than psycopg 3."""
    if url.drivername not in ("postgresql", "postgresql+psycopg"):
        raise Invalid(
            f"store.url = {printable(url.render_as_string())}: nicmapd uses psycopg 3 only; "
            'write "postgresql://..." or "postgresql+psycopg://..."'
        )
