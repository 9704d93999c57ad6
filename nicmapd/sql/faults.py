"""Errors of the databases and their drivers, said for people: what is wrong, and what to do."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from nicmapd.errors import StoreCorrupt, Unavailable
from nicmapd.schema import Undecodable
from nicmapd.text import printable

# Primary result codes of SQLite (sqlite.org/rescode.html): the part of `sqlite_errorname` after SQLITE_, up to a "_".
_SQLITE = {
    "FULL": "no space is left for {place}; free some, writing resumes by itself",
    "READONLY": "{place} cannot be written: a read-only file system, or wrong permissions",
    "IOERR": "reading or writing {place} failed; see the kernel's log and the disk's space",
    "CANTOPEN": "{place} cannot be opened: check that its directory exists and may be written",
    "BUSY": "{place} is locked by another program",
    "LOCKED": "{place} is locked by another program",
    "PERM": "{place} may not be opened: check its owner and mode",
}
_SQLITE_CORRUPT = ("CORRUPT", "NOTADB")

#: What Python's driver says, without a code, of a text with a byte that is none of UTF-8's.
_NO_TEXT = "Could not decode to UTF-8"

# Codes of PostgreSQL (its manual, appendix A), longest prefix first.
_POSTGRES = {
    "25006": "{place} takes no writes now: a standby, or default_transaction_read_only is on",
    "28": "{place} refuses the login: check user, password and pg_hba.conf",
    "3D000": "{place} does not exist; create it: createdb",
    "42501": "{place} does not permit it: grant the rights to this user",
    "42P07": "{place} has tables of another program under our names; use a database (or schema) of its own",
    "53100": "the server of {place} has no disk space left; writing resumes by itself once it has",
    "53300": "{place} takes no more connections (max_connections)",
    "55P03": "{place} is locked by another transaction",
    "57014": "{place} took too long to answer, the call was given up",
    "57P": "{place} is shutting down or starting",
    "08": "the connection to {place} broke",
}


def driver_name(error: BaseException) -> str:
    """SQLite's primary result code (`FULL`) or PostgreSQL's SQLSTATE (`57014`) of a driver's error, else ``""``."""
    name = getattr(error, "sqlite_errorname", None)
    if isinstance(name, str):
        return name.removeprefix("SQLITE_").partition("_")[0]
    return str(getattr(error, "sqlstate", None) or "")


def translate(error: Exception, place: str) -> Unavailable:
    """The error of this program for one of the database; `place` names the file or the database."""
    origin: BaseException = error
    if isinstance(error, DBAPIError) and error.orig is not None:
        origin = error.orig
    name = driver_name(origin)
    said = printable(" ".join(str(origin).split()), limit=300)
    if name in _SQLITE_CORRUPT or said.startswith(_NO_TEXT):
        return StoreCorrupt(f"{place} is damaged ({said})", fault="corrupt")
    text = _SQLITE.get(name) or next((text for code, text in _POSTGRES.items() if name.startswith(code)), None)
    if text is not None:
        return Unavailable(f"{text.format(place=place)} ({said})", fault=name.lower())
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return Unavailable(f"the connection to {place} broke ({said})", fault="connection")
    if isinstance(error, DBAPIError) and error.statement is None:
        return Unavailable(f"{place} cannot be reached: {said}", fault="connection")
    if isinstance(error, PoolTimeout):
        return Unavailable(f"{place} is busy: too many readers at once", fault="busy")
    return Unavailable(f"{place} does not work: {said or type(origin).__name__}", fault=name.lower() or "unknown")


@contextmanager
def translated(place: str) -> Iterator[None]:
    """Errors of the database within become errors of this program, and so does what its rows cannot hold."""
    try:
        yield
    except Undecodable as error:
        raise StoreCorrupt(f"{place} is damaged ({printable(str(error), limit=300)})", fault="corrupt") from error
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise translate(error, place) from error
