"""Run by Alembic: the connection comes from the program, or from `-x url=...` on a developer's command line."""

from __future__ import annotations

from typing import Any, Literal

from alembic import context
from sqlalchemy import Connection, create_engine
from sqlalchemy.types import TypeDecorator

from nicmapd.schema import metadata


def _render(kind: str, item: Any, _: Any) -> str | Literal[False]:
    """Migrations are written in the databases' own types: they must not change when the program does."""
    if kind == "type" and isinstance(item, TypeDecorator):
        return f"sa.{item.impl!r}"
    return False


def _run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        compare_type=True,
        render_as_batch=True,
        render_item=_render,
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    _run(given)
else:
    url = context.get_x_argument(as_dictionary=True)["url"]
    with create_engine(url).begin() as opened:
        _run(opened)
