"""What the two databases have in common: a writing engine, a reading one, a name for messages, an end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Engine


@dataclass(frozen=True, slots=True)
class Backend:
    """An opened database.

    `writer` has exactly one connection: SQLite may have but one that writes or checkpoints, and PostgreSQL's holds
    the lock of this host. `reader` has several, which cannot write. `place` names the database in messages.
    `revision` is the schema it has (None: it is new). `compact` gives
    some space back after rows were dropped, and says whether there is more.
    """

    writer: Engine
    reader: Engine
    place: str
    revision: str | None
    compact: Callable[[], bool]
    close: Callable[[], None]
