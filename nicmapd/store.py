"""The map and its past in SQLite or PostgreSQL: the `NicStore` of ports.py, opened, checked and brought up to date.

The statements are in `nicmapd.sql`; with it and schema.py (the tables) this is the only room with SQL.
"""

from __future__ import annotations

import importlib.resources
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection, Engine
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from nicmapd.errors import Invalid, Unavailable
from nicmapd.model import Change, FeedItem, PastNic, VmEntry, VmRef
from nicmapd.ports import Clock, StoredVm
from nicmapd.schema import REVISIONS
from nicmapd.sql import postgres, pruning, reading, sqlite, sqlite_file, writing
from nicmapd.sql.backend import Backend
from nicmapd.sql.faults import translated

#: Seconds that a write waits for others before it. They take milliseconds, unless the disk or the server hangs: then
#: it is better to say so than to hold up one caller after the other.
_TURN_SECONDS = 15.0

#: A call that fails after this many seconds has met a database that hangs, not one that says no.
_SLOW_SECONDS = 1.0

#: Seconds for which such a database is left alone: callers are told at once, and go on with what is in memory.
_REST_SECONDS = 5.0

#: Seconds after which a clock that is behind the stored past by more than a day is believed.
_BELIEVED_SECONDS = 3600.0


def open_store(url: str, *, host: str, clock: Clock) -> SqlStore:
    """The store at `url` (`store.url`) for the rows of `host`, locked, checked, its tables up to date.

    Raises `StoreLocked` (another nicmapd has it), `StoreTooNew` (a newer one wrote it; it is not touched),
    `StoreCorrupt` (see `set_aside`), `Invalid` (the URL), `Unavailable`.
    """
    parsed = check_url(url)
    if parsed.get_backend_name() == "sqlite":
        backend = sqlite.open_backend(sqlite.path_of(parsed), clock)
    else:
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

    Raises `StoreLocked`, `Unavailable`, and `Invalid` for a file that is not surely ours and for PostgreSQL, which only
    its administrator can repair.
    """
    parsed = _parse(url)
    if parsed.get_backend_name() != "sqlite":
        raise Invalid("a PostgreSQL database cannot be set aside; restore it from a backup")
    return sqlite_file.set_aside(sqlite.path_of(parsed), at or datetime.now(UTC))


def check_url(url: str) -> URL:
    """`url`, as one that `open_store` takes. Raises `Invalid`, naming `store.url`."""
    parsed = _parse(url)
    if parsed.get_backend_name() == "sqlite":
        sqlite.path_of(parsed)
    else:
        postgres.check_url(parsed)
    return parsed


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # Not quoted: it may hold a password.
        raise Invalid('store.url: must be an URL such as "sqlite:////var/lib/nicmapd/map.db"') from None
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


class SqlStore:
    """A store, opened for the rows of one host. Made by `open_store`. Thread-safe: one write at a time, reads beside.

    Every failure of the database is `Unavailable` (or one of its children), has changed nothing, and needs no care:
    the next call tries again, with a new connection if the old one is lost.
    """

    def __init__(self, backend: Backend, *, host: str, clock: Clock) -> None:
        self._backend = backend
        self._host = host
        self._clock = clock
        self._rests_until = float("-inf")
        self._turn = threading.Lock()
        self._hangs = False
        self._future_since: float | None = None
        self._closed = False
        self._suppressed: Counter[str] = Counter()
        self._counting = threading.Lock()

    @property
    def host(self) -> str:
        """Whose rows these are."""
        return self._host

    @property
    def engine(self) -> Engine:
        """The engine that all writes go through, for tests that count statements."""
        return self._backend.writer

    @property
    def suppressed(self) -> Mapping[str, int]:
        """By VM: pieces of the past and feed items that were too many to keep, since the store was opened."""
        with self._counting:
            return dict(self._suppressed)

    @contextmanager
    def _careful(self) -> Iterator[None]:
        """Errors are ours, and a database that hangs costs few callers their time."""
        self._refuse_closed()
        began = self._clock.monotonic()
        if began < self._rests_until:
            raise Unavailable(f"{self._backend.place} did not answer in time a moment ago", fault="resting")
        try:
            with translated(self._backend.place):
                yield
        except Unavailable:
            now = self._clock.monotonic()
            if now - began > _SLOW_SECONDS:
                self._rests_until = now + _REST_SECONDS
            raise

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One write at a time: there is one connection for them."""
        self._refuse_closed()
        # Where one has waited in vain nobody else waits: not until the write that hangs has come back.
        if not self._turn.acquire(timeout=0.0 if self._hangs else _TURN_SECONDS):
            self._hangs = True
            raise Unavailable(f"{self._backend.place} hangs: an earlier write is not finished", fault="busy")
        self._hangs = False
        try:
            with self._careful():
                yield
        finally:
            self._turn.release()

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with self._alone(), self._backend.writer.begin() as connection:
            yield connection

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with self._careful(), self._backend.reader.begin() as connection:
            yield connection

    def _refuse_closed(self) -> None:
        if self._closed:
            raise Unavailable(f"{self._backend.place} is closed: nicmapd is stopping", fault="closed")

    def load(self) -> Sequence[StoredVm]:
        with self._reading() as connection:
            return reading.load(connection, self._host)

    def apply(self, entry: VmEntry, changes: Sequence[Change], *, at: datetime) -> Sequence[FeedItem]:
        if entry.host != self._host:
            raise ValueError(f"{entry.vm.uuid} is of host {entry.host}, this store is of {self._host}")
        with self._writing() as connection:
            writing.write_vm(connection, entry)
            coarse = writing.write_nics(connection, entry, at)
            items, left_out = writing.write_feed(connection, changes, host=self._host, vm=entry.vm, at=at)
        self._count(entry.vm, coarse + left_out)
        return items

    def remove(self, uuid: str, changes: Sequence[Change], *, at: datetime) -> Sequence[FeedItem]:
        with self._writing() as connection:
            vm = writing.remove_vm(connection, self._host, uuid, at)
            items, left_out = writing.write_feed(connection, changes, host=self._host, vm=vm, at=at)
        self._count(vm, left_out)
        return items

    def note(self, changes: Sequence[Change], *, at: datetime) -> Sequence[FeedItem]:
        """As the port says; the items' `vm` has an empty UUID and an empty name."""
        with self._writing() as connection:
            items, left_out = writing.write_feed(connection, changes, host=self._host, vm=VmRef("", ""), at=at)
        self._count(VmRef("", ""), left_out)
        return items

    def begin(self, first: Change, *, number: int, at: datetime) -> None:
        """Puts the first change of a new store into its feed, with that number; what was before is not there any more.

        SQLite only. `Unavailable` if there are changes already.
        """
        with self._writing() as connection:
            writing.begin_feed(connection, first, host=self._host, number=number, at=at)

    def _count(self, vm: VmRef, suppressed: int) -> None:
        if suppressed:
            with self._counting:
                self._suppressed[vm.uuid] += suppressed

    def flush_seen(self, seen: Mapping[str, datetime], *, at: datetime) -> None:
        with self._writing() as connection:
            writing.write_seen(connection, seen, host=self._host, at=at)
            self._straighten(connection, at)

    def _straighten(self, connection: Connection, at: datetime) -> None:
        """Once in a while: nothing is in the future, or a clock that was set back would hide the present.

        One that is years behind is more likely wrong for some seconds, as at a boot before NTP.
        """
        newest, now = writing.newest_moment(connection, self._host), self._clock.monotonic()
        if newest is None or newest <= at + writing.NEAR:
            self._future_since = None
            return
        if self._future_since is None:
            self._future_since = now
        if newest <= at + writing.FAR or now - self._future_since >= _BELIEVED_SECONDS:
            writing.straighten(connection, at, writing.of_host(self._host))
            self._future_since = None

    def history(
        self, uuid: str, *, nic_id: str | None = None, since: datetime | None = None, limit: int = 500
    ) -> Sequence[PastNic]:
        with self._reading() as connection:
            return reading.history(connection, self._host, uuid, nic_id=nic_id, since=since, limit=limit)

    def map_at(self, at: datetime, *, uuid: str | None = None) -> Sequence[PastNic]:
        with self._reading() as connection:
            return reading.map_at(connection, self._host, at, uuid=uuid)

    def last_bearer(self, uuid: str, name: str) -> PastNic | None:
        with self._reading() as connection:
            return reading.last_bearer(connection, self._host, uuid, name)

    def find_vm(self, name_or_uuid: str) -> str | None:
        with self._reading() as connection:
            return reading.find_vm(connection, self._host, name_or_uuid)

    def feed(self, *, after: int, uuid: str | None = None, limit: int = 500) -> Sequence[FeedItem]:
        with self._reading() as connection:
            return reading.feed(connection, self._host, after=after, uuid=uuid, limit=limit)

    def feed_bounds(self) -> tuple[int, int]:
        with self._reading() as connection:
            return reading.feed_bounds(connection, self._host)

    def prune(self, *, before: datetime) -> int:
        """As the port says, in small transactions, so that other writes get in between."""
        total = 0
        for step in pruning.STEPS:
            while True:
                with self._writing() as connection:
                    dropped = step(connection, self._host, before)
                total += dropped
                if dropped < pruning.BATCH:
                    break
        if total:
            self._compact()
        return total

    def _compact(self) -> None:
        more = True
        while more:
            with self._alone():
                more = self._backend.compact()

    def close(self) -> None:
        """Waits for a write that is under way; reads that are under way finish by themselves."""
        with self._turn:
            if not self._closed:
                self._closed = True
                self._backend.close()
