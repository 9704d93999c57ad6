"""Our psycopg connection, which never waits for ever, and the lock of a host. Imported only where psycopg is there."""

from __future__ import annotations

import hashlib
import select
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.waiting import Ready, Wait

from nicmapd.errors import StoreLocked, Unavailable

#: Seconds for one statement, its answer included. The server's own limit (postgres.py) comes first, unless the server
#: or the way to it hangs.
PATIENCE = 12.0

#: The same for a migration, which may have to rewrite a table.
MIGRATION_PATIENCE = 600.0

#: How often, and how many seconds apart, to look whether a lost session has ended: it takes some milliseconds.
_END_ATTEMPTS = 20
_END_PAUSE = 0.1

_EVENTS = {
    Wait.R: select.POLLIN,
    Wait.W: select.POLLOUT,
    Wait.RW: select.POLLIN | select.POLLOUT,
}

_Result = TypeVar("_Result")


class PatientConnection(psycopg.Connection[Any]):
    """Gives a statement up, and itself with it, after `patience` seconds: a stopped server sends no error."""

    patience = PATIENCE

    def wait(self, gen: PQGen[_Result], *_: Any, **__: Any) -> _Result:
        """In place of psycopg's, which calls it for all that it waits for once it is connected.

        `gen` says what it waits for (reading, writing), and is told what has come, until it returns.
        """
        deadline = time.monotonic() + self.patience
        poll = select.poll()
        try:
            wanted = next(gen)
            while True:
                poll.register(self.pgconn.socket, _EVENTS[Wait(wanted)])
                events = poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
                if not events:
                    self.pgconn.finish()
                    raise psycopg.OperationalError(f"no answer within {self.patience:g} s, connection given up")
                wanted = gen.send(_ready(events[0][1]))
        except StopIteration as end:
            result: _Result = end.value
            return result


def _ready(events: int) -> Ready:
    """What poll says in psycopg's words; of a broken connection, that there is something to read: its end."""
    if events & ~(select.POLLIN | select.POLLOUT):
        return Ready.R
    return Ready((Ready.R if events & select.POLLIN else 0) | (Ready.W if events & select.POLLOUT else 0))


def lock_number(host: str) -> int:
    """The number of the advisory lock of a host: 63 bits of a hash. Such numbers are the database's own."""
    return int.from_bytes(hashlib.sha256(f"nicmapd {host}".encode()).digest()[:8]) >> 1


class HostLock:
    """Takes the lock of a host for each new writing session, or closes that session again."""

    def __init__(self, host: str, place: str) -> None:
        self._number = lock_number(host)
        self._host = host
        self._place = place
        self._session: _Session | None = None

    def take(self, connection: psycopg.Connection[Any], _record: object = None) -> None:
        """Raises `StoreLocked` if another daemon has it, `Unavailable` if a lost session of ours does not end."""
        try:
            holder = self._try(connection)
            if holder is not None and holder == self._session:
                holder = self._end_lost(connection, holder)
            if holder is not None:
                raise self._refusal(holder)
            connection.commit()  # the lock is the session's, not the transaction's
        except BaseException:
            connection.close()
            raise

    def _try(self, connection: psycopg.Connection[Any]) -> _Session | None:
        """None if the lock is ours now, else who has it."""
        row = connection.execute("SELECT pg_try_advisory_lock(%s)", (self._number,)).fetchone()
        if row is not None and row[0]:
            self._session = _session(connection, _OURSELVES)
            return None
        # It may have been let go of in between; the next attempt will have it.
        return _session(connection, _HOLDER, self._number >> 32, self._number & 0xFFFFFFFF) or _Session(0, None, None)

    def _end_lost(self, connection: psycopg.Connection[Any], lost: _Session) -> _Session | None:
        """Ends the session that we lost and the server has kept; None if the lock is ours then."""
        connection.execute("SELECT pg_terminate_backend(%s)", (lost.process,))
        for _ in range(_END_ATTEMPTS):
            holder = self._try(connection)
            if holder is None:
                return None
            time.sleep(_END_PAUSE)
        return holder

    def _refusal(self, holder: _Session) -> Unavailable:
        if holder == self._session:
            return Unavailable(
                f"{self._place} has not ended our lost session {holder.process} yet, which keeps the lock of this host"
            )
        return StoreLocked(
            f"{self._place} is in use by another nicmapd for this host ({self._host}), in session {holder.process} "
            f"from {holder.address or 'the same machine'}; stop that one, or give this one another store.url",
            holder=str(holder.process),
        )


@dataclass(frozen=True, slots=True)
class _Session:
    """A session of the server; process numbers are used again, so its beginning belongs to it."""

    process: int
    since: datetime | None
    address: str | None


def _session(connection: psycopg.Connection[Any], query: LiteralString, *arguments: int) -> _Session | None:
    row = connection.execute(query, arguments).fetchone()
    return None if row is None else _Session(*row)


_OURSELVES = "SELECT pid, backend_start, host(client_addr) FROM pg_stat_activity WHERE pid = pg_backend_pid()"

_HOLDER = """
SELECT a.pid, a.backend_start, host(a.client_addr)
  FROM pg_locks l JOIN pg_stat_activity a USING (pid)
 WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND l.classid = %s AND l.objid = %s
   AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
