"""The tables of the store, and how their columns keep times, text and JSON exactly on SQLite and PostgreSQL.

Every row carries its host, so that many hosts can share one PostgreSQL. docs/store.md explains the tables.
A change here needs a new file in migrations/versions and its number at the end of `REVISIONS`.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, ParamSpec, TypeVar

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.types import TypeDecorator

#: All schema revisions that this program knows, oldest first; the last is the one it works with.
REVISIONS = ("0001",)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

# PostgreSQL takes no NUL, and neither database takes a lone surrogate. Such text is stored as U+F8F0 (private use)
# and four hex digits, and comes back as it was; U+F8F0 itself likewise. text.clean lets none of them through.
_ESCAPE = "\uf8f0"
_UNSTORABLE = re.compile("[\x00\ud800-\udfff\uf8f0]")
_ESCAPED = re.compile("\uf8f0([0-9a-f]{4})")


_Given = ParamSpec("_Given")
_Value = TypeVar("_Value")


class Undecodable(Exception):
    """A row holds what this program cannot have written: the databases' own checks do not look into cells."""


def decoding(decode: Callable[_Given, _Value]) -> Callable[_Given, _Value]:
    """Errors of `decode`, which makes values of what a row holds, become `Undecodable`."""

    @functools.wraps(decode)
    def careful(*arguments: _Given.args, **keywords: _Given.kwargs) -> _Value:
        try:
            return decode(*arguments, **keywords)
        except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
            raise Undecodable(f"a row cannot be read: {type(error).__name__}: {error}") from error

    return careful


def to_microseconds(moment: datetime) -> int:
    """Microseconds since 1970 UTC of an aware datetime: exact, and ordered alike in both databases."""
    return (moment - _EPOCH) // _MICROSECOND


def from_microseconds(number: int) -> datetime:
    """The reverse of `to_microseconds`, in UTC."""
    return _EPOCH + number * _MICROSECOND


def _store_text(value: str) -> str:
    return _UNSTORABLE.sub(lambda match: f"{_ESCAPE}{ord(match[0]):04x}", value)


def _restore_text(value: str) -> str:
    return _ESCAPED.sub(lambda match: chr(int(match[1], 16)), value) if _ESCAPE in value else value


class Moment(TypeDecorator[datetime]):
    """An aware datetime, kept as microseconds since 1970 UTC."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> int | None:  # noqa: ARG002
        return None if value is None else to_microseconds(value)

    @decoding
    def process_result_value(self, value: Any | None, dialect: Any) -> datetime | None:  # noqa: ARG002
        return None if value is None else from_microseconds(value)


class ExactText(TypeDecorator[str]):
    """Any Python string, returned exactly as it was given."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:  # noqa: ARG002
        return None if value is None else _store_text(value)

    @decoding
    def process_result_value(self, value: Any | None, dialect: Any) -> str | None:  # noqa: ARG002
        return None if value is None else _restore_text(value)


class JsonText(TypeDecorator[Any]):
    """Plain JSON values as text: read and written whole, never searched by the database."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any | None, dialect: Any) -> str:  # noqa: ARG002
        return _store_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")))

    @decoding
    def process_result_value(self, value: Any | None, dialect: Any) -> Any:  # noqa: ARG002
        return None if value is None else json.loads(_restore_text(value))


metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

#: SQLite numbers rows itself only in a column that is called exactly INTEGER.
_NUMBER = BigInteger().with_variant(Integer(), "sqlite")

vms = Table(
    "vms",
    metadata,
    Column("host", ExactText, primary_key=True),
    Column("uuid", ExactText, primary_key=True),
    Column("name", ExactText, nullable=False),
    Column("state", ExactText, nullable=False),
    Column("persistent", Boolean, nullable=False),
    Column("agent_state", ExactText, nullable=False),
    Column("agent_since", Moment),
    Column("agent_message", ExactText, nullable=False),
    Column("agent_version", ExactText),
    Column("removed_at", Moment),  # None: libvirt has it
)

nics = Table(
    "nics",
    metadata,
    Column("host", ExactText, primary_key=True),
    Column("vm_uuid", ExactText, primary_key=True),
    Column("id", ExactText, primary_key=True),
    Column("position", Integer, nullable=False),  # among the NICs of its VM, as in the domain XML
    Column("attached_at", Moment, nullable=False),
    Column("name_since", Moment),
    Column("seen_at", Moment),
    Column("detached_at", Moment),  # None: attached
    ForeignKeyConstraint(["host", "vm_uuid"], ["vms.host", "vms.uuid"]),
)

# What was known of a NIC from `from_at` until before `to_at` (None: still). The open one is the map of now.
spans = Table(
    "spans",
    metadata,
    Column("id", _NUMBER, Identity(), primary_key=True),
    Column("host", ExactText, nullable=False),
    Column("vm_uuid", ExactText, nullable=False),
    Column("nic_id", ExactText, nullable=False),
    Column("from_at", Moment, nullable=False),
    # Set where the NIC changed too often to keep it all: the row is true only from then, before it is unknown.
    Column("exact_at", Moment),
    Column("to_at", Moment),
    Column("mac", ExactText, nullable=False),
    Column("host_nic", JsonText, nullable=False),
    Column("verdict", ExactText, nullable=False),
    Column("name", ExactText),
    Column("name_source", ExactText),
    Column("guest_mac", ExactText),
    Column("reason", ExactText, nullable=False),
    Column("reachable", Boolean, nullable=False),
    Column("evidence", JsonText, nullable=False),
    Column("candidates", JsonText, nullable=False),
    Column("addresses", JsonText, nullable=False),
    Column("stack", JsonText, nullable=False),
    ForeignKeyConstraint(["host", "vm_uuid", "nic_id"], ["nics.host", "nics.vm_uuid", "nics.id"]),
    CheckConstraint("to_at IS NULL OR to_at >= from_at", name="ends_after_start"),
    sqlite_autoincrement=True,
)
# Partial ones say for which rows they are, or else SQLite takes them for the way to all rows of a host or a VM.
_OPEN, _ENDED = text("to_at IS NULL"), text("to_at IS NOT NULL")
Index(
    "ix_spans_open",
    spans.c.host,
    spans.c.vm_uuid,
    spans.c.nic_id,
    unique=True,  # one present for each NIC
    sqlite_where=_OPEN,
    postgresql_where=_OPEN,
)
Index(
    "ix_spans_name",
    spans.c.host,
    spans.c.vm_uuid,
    spans.c.name,
    spans.c.to_at,
    sqlite_where=_ENDED,
    postgresql_where=_ENDED,
)
Index("ix_spans_ended", spans.c.host, spans.c.to_at, sqlite_where=_ENDED, postgresql_where=_ENDED)
Index("ix_spans_vm_time", spans.c.host, spans.c.vm_uuid, spans.c.from_at, spans.c.id)
Index("ix_spans_nic_time", spans.c.host, spans.c.vm_uuid, spans.c.nic_id, spans.c.from_at, spans.c.id)

# The change feed. Numbers are never used twice, and grow in the order of commits of one host.
changes = Table(
    "changes",
    metadata,
    Column("id", _NUMBER, Identity(), primary_key=True),
    Column("host", ExactText, nullable=False),
    Column("at", Moment, nullable=False),
    Column("vm_uuid", ExactText, nullable=False),  # "" for the host itself
    Column("vm_name", ExactText, nullable=False),
    Column("kind", ExactText, nullable=False),
    Column("sentence", ExactText, nullable=False),
    Column("nic_id", ExactText),
    Column("mac", ExactText),
    Column("alias", ExactText),
    Column("old", ExactText),
    Column("new", ExactText),
    Column("details", JsonText, nullable=False),
    UniqueConstraint("host", "id", name="uq_changes_host_id"),
    sqlite_autoincrement=True,
)
Index("ix_changes_vm", changes.c.host, changes.c.vm_uuid, changes.c.id)
Index("ix_changes_at", changes.c.host, changes.c.at)

# How far each host's feed has been pruned: the highest number that is gone.
feed_marks = Table(
    "feed_marks",
    metadata,
    Column("host", ExactText, primary_key=True),
    Column("pruned_to", BigInteger, nullable=False),
)

# When each VM's agent last answered: {uuid: microseconds since 1970 UTC}, one row a host.
sightings = Table(
    "sightings",
    metadata,
    Column("host", ExactText, primary_key=True),
    Column("at", Moment, nullable=False),
    Column("seen", JsonText, nullable=False),
)
