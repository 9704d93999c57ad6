"""Our psycopg connection, which never waits for ever, and the lock of a host. Imported only where psycopg is there."""

from __future__ import annotations

import hashlib
import time
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen

from nicmapd.errors import StoreLocked

#: Seconds for one statement, its answer included. The server's own limit (postgres.py) comes first, unless the server
#: or the way to it hangs.
PATIENCE = 12.0

#: The same for a migration, which may have to rewrite a table.
MIGRATION_PATIENCE = 600.0

_Result = TypeVar("_Result")


class PatientConnection(psycopg.Connection[Any]):
    """Gives a statement up, and itself with it, after `patience` seconds: a stopped server sends no error."""

    patience = PATIENCE

    def wait(self, gen: PQGen[_Result], *arguments: Any, **keywords: Any) -> _Result:
        """As psycopg's, which calls it for all that it waits for once it is connected."""
        return super().wait(self._bounded(gen), *arguments, **keywords)

    def _bounded(self, steps: PQGen[_Result]) -> PQGen[_Result]:
        deadline = time.monotonic() + self.patience
        try:
            wanted = next(steps)
            while True:
                # psycopg (3.2 and later) wakes up each 0.1 s, also when nothing has come.
                ready = yield wanted
                if not ready and time.monotonic() > deadline:
                    self.pgconn.finish()
                    raise psycopg.OperationalError(f"no answer within {self.patience:g} s, connection given up")
                following = steps.send(ready)
                wanted = following if ready else wanted
        except StopIteration as end:
            result: _Result = end.value
            return result


def lock_number(host: str) -> int:
    """The number of the advisory lock of a host: 63 bits of a hash. Such numbers are the database's own."""
    return int.from_bytes(hashlib.sha256(f"nicmapd {host}".encode()).digest()[:8]) >> 1


class HostLock:
    """Takes the lock of a host for each new writing session, or closes that session again."""

    def __init__(self, host: str, place: str) -> None:
        self._number = lock_number(host)
        self._host = host
        self._place = place
        self._session: tuple[Any, ...] | None = None

    def take(self, connection: psycopg.Connection[Any], _record: object = None) -> None:
        """Raises `StoreLocked` if another session has it, and that is not our own lost one."""
        try:
            holder = self._try(connection)
            if holder is not None and holder[:2] == self._session:
                # We lost that session, but the server has not noticed.
                connection.execute("SELECT pg_terminate_backend(%s, 2000)", holder[:1])
                holder = self._try(connection)
            if holder is not None:
                raise StoreLocked(
                    f"{self._place} is in use by another nicmapd for this host ({self._host}), in session {holder[0]} "
                    f"from {holder[2] or 'the same machine'}; stop that one, or give this one another store.url",
                    holder=str(holder[0]),
                )
            connection.commit()  # the lock is the session's, not the transaction's
        except BaseException:
            connection.close()
            raise

    def _try(self, connection: psycopg.Connection[Any]) -> tuple[Any, ...] | None:
        """None if the lock is ours now, else who has it: (process, since, address)."""
        row = connection.execute("SELECT pg_try_advisory_lock(%s)", (self._number,)).fetchone()
        taken = row is not None and row[0]
        who = connection.execute(_OURSELVES if taken else _HOLDER, () if taken else _split(self._number)).fetchone()
        if taken:
            self._session = who
            return None
        return who or (0, None, None)  # it was let go of in between; the next attempt will have it


def _split(number: int) -> tuple[int, int]:
    return number >> 32, number & 0xFFFFFFFF


_OURSELVES = "SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()"

_HOLDER = """
SELECT a.pid, a.backend_start, host(a.client_addr)
  FROM pg_locks l JOIN pg_stat_activity a USING (pid)
 WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND l.classid = %s AND l.objid = %s
   AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
