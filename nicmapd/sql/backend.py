"""What the two databases have in common: a writing engine, a reading one, a name for messages, an end."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sqlalchemy import Engine

from nicmapd.errors import StoreTooNew
from nicmapd.schema import REVISIONS
from nicmapd.text import printable


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


def known_revision(found: Iterable[object], place: str) -> str | None:
    """The revision in `alembic_version`, None if that is empty. Raises `StoreTooNew` for one that we do not know."""
    revision = next((str(number) for number in found), None)
    if revision is not None and revision not in REVISIONS:
        raise StoreTooNew(
            f"{place} was written by a newer nicmapd (schema {printable(revision)}, this one knows up to "
            f"{REVISIONS[-1]}); it was not touched. Install that version, or choose another store.url",
            revision=revision,
        )
    return revision
