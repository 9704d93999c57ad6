"""SQLite: one file, one process, one connection that writes.

Exactly one connection writes and checkpoints, because SQLite from 3.7.0 to 3.51.2 can damage a file when two do so
at once (sqlite.org/wal.html, "WAL-reset bug"); readers never do either. A lock file keeps other processes away.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine import URL
from sqlalchemy.pool import QueuePool

from nicmapd.errors import Invalid, StoreCorrupt
from nicmapd.ports import Clock
from nicmapd.sql import sqlite_file
from nicmapd.sql.backend import Backend, known_revision
from nicmapd.sql.faults import translate
from nicmapd.text import printable

#: Milliseconds to wait for a lock of SQLite; only a tool like sqlite3 can hold one.
_BUSY_TIMEOUT = 5000

#: Seconds that the check for damage may take at start: some GB. What it has not reached by then is not checked.
_CHECK_SECONDS = 10.0

#: Steps of SQLite's machine between two looks at the clock: some milliseconds.
_CHECK_STEPS = 100_000

#: Pages given back in one step, 1 MB: readers and writers get in between.
_VACUUM_PAGES = 256

#: The write-ahead log is cut to this size once it was copied into the file.
_JOURNAL_BYTES = 4 * 1024 * 1024

#: Opened at the same time for reading; more wait for up to 5 s.
_READERS = 8


def path_of(url: URL) -> Path:
    """The file that `url` names, with symbolic links resolved: one file has one lock. Raises `Invalid`."""
    name = url.database or ""
    if not name or name.startswith((":", "file:")) or url.query or url.host:
        raise Invalid(
            f"store.url = {printable(url.render_as_string())}: must name a file, such as "
            '"sqlite:////var/lib/nicmapd/map.db", without options'
        )
    return sqlite_file.resolved(name)


def open_backend(path: Path, clock: Clock) -> Backend:
    """Takes the lock, checks the file without writing to it, and connects.

    Raises `StoreLocked`, `StoreTooNew`, `StoreCorrupt`, `Invalid` (a file of another program), `Unavailable`.
    """
    sqlite_file.make_directory(path.parent)
    lock = sqlite_file.lock(path)
    try:
        revision = _inspect(path, lock, clock)
        sqlite_file.make_file(path, lock)
    except BaseException:
        os.close(lock)
        raise
    writer, reader = _engine(path, writes=True), _engine(path, writes=False)

    def close() -> None:
        reader.dispose()  # the last connection to close checkpoints: that must be the writer's
        writer.dispose()
        os.close(lock)

    return Backend(
        writer=writer,
        reader=reader,
        place=str(path),
        revision=revision,
        compact=lambda: _compact(writer),
        close=close,
    )


def _inspect(path: Path, locked: int, clock: Clock) -> str | None:
    """The schema revision of the file; nothing is written to it. None: there is no file, or an empty one."""
    if not sqlite_file.look(path, locked):
        return None
    mode = "rw" if sqlite_file.unfinished(path) else "ro"
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode={mode}", uri=True, timeout=_BUSY_TIMEOUT / 1000)) as found:
            revision = _revision(found, path)
            _check(found, path, clock)
    except sqlite3.Error as error:
        raise translate(error, str(path)) from error
    return revision


def _revision(connection: sqlite3.Connection, path: Path) -> str | None:
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables:
        return None
    theirs = Invalid(f"{path} is a database of another program; give store.url another file")
    if "alembic_version" not in tables:
        raise theirs
    revision = known_revision(
        (number for (number,) in connection.execute("SELECT version_num FROM alembic_version")), str(path)
    )
    if revision is not None and "spans" not in tables:  # Alembic is not ours alone, and many begin at 0001
        raise theirs
    return revision


def _check(connection: sqlite3.Connection, path: Path, clock: Clock) -> None:
    deadline = clock.monotonic() + _CHECK_SECONDS
    connection.set_progress_handler(lambda: clock.monotonic() > deadline, _CHECK_STEPS)
    try:
        found = [str(row[0]) for row in connection.execute("PRAGMA quick_check(3)")]
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
            return
        raise
    if found != ["ok"]:
        raise StoreCorrupt(f"{path} is damaged ({printable('; '.join(found), limit=300)})", fault="corrupt")


def _engine(path: Path, *, writes: bool) -> Engine:
    engine = create_engine(
        make_url("sqlite://").set(database=str(path)),
        poolclass=QueuePool,
        pool_size=1 if writes else _READERS,
        max_overflow=0,
        pool_timeout=5,
        connect_args={"check_same_thread": False, "timeout": _BUSY_TIMEOUT / 1000},
    )

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions are ours, see _begin
        settings = _WRITER if writes else _READER
        try:
            for setting in settings:
                connection.execute(f"PRAGMA {setting}").fetchall()
        except sqlite3.Error:
            connection.close()
            raise

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # IMMEDIATE waits for its turn at the beginning; a reader that becomes a writer would fail at once.
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


_WRITER = (
    f"busy_timeout = {_BUSY_TIMEOUT}",
    "auto_vacuum = INCREMENTAL",  # takes effect in a new file only
    "journal_mode = WAL",
    "synchronous = NORMAL",  # survives a kill; a power cut may take the last seconds, never more
    "foreign_keys = ON",
    f"journal_size_limit = {_JOURNAL_BYTES}",
)
_READER = (f"busy_timeout = {_BUSY_TIMEOUT}", "query_only = ON", "wal_autocheckpoint = 0")


def _compact(writer: Engine) -> bool:
    """Gives some free pages back to the file system; True if there are more."""
    pooled = writer.raw_connection()  # a pragma of this kind needs to be outside of our transactions
    try:
        cursor = pooled.cursor()
        cursor.execute(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})").fetchall()
        (free,) = cursor.execute("PRAGMA freelist_count").fetchone()
        if not free:
            cursor.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        return bool(free)
    finally:
        pooled.close()
