"""first tables"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_OPEN = sa.text("to_at IS NULL")
_ENDED = sa.text("to_at IS NOT NULL")


def upgrade() -> None:
    _create_map()
    _create_past()
    _create_feed()
    op.create_table(
        "sightings",
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("seen", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("host", name="pk_sightings"),
    )


def _create_map() -> None:
    op.create_table(
        "vms",
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("uuid", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("persistent", sa.Boolean(), nullable=False),
        sa.Column("agent_state", sa.Text(), nullable=False),
        sa.Column("agent_since", sa.BigInteger()),
        sa.Column("agent_message", sa.Text(), nullable=False),
        sa.Column("agent_version", sa.Text()),
        sa.Column("removed_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("host", "uuid", name="pk_vms"),
    )
    op.create_table(
        "nics",
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("vm_uuid", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("attached_at", sa.BigInteger(), nullable=False),
        sa.Column("name_since", sa.BigInteger()),
        sa.Column("seen_at", sa.BigInteger()),
        sa.Column("detached_at", sa.BigInteger()),
        sa.ForeignKeyConstraint(["host", "vm_uuid"], ["vms.host", "vms.uuid"], name="fk_nics_vms"),
        sa.PrimaryKeyConstraint("host", "vm_uuid", "id", name="pk_nics"),
    )


def _create_past() -> None:
    op.create_table(
        "spans",
        sa.Column("id", _NUMBER, sa.Identity(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("vm_uuid", sa.Text(), nullable=False),
        sa.Column("nic_id", sa.Text(), nullable=False),
        sa.Column("from_at", sa.BigInteger(), nullable=False),
        sa.Column("exact_at", sa.BigInteger()),
        sa.Column("to_at", sa.BigInteger()),
        sa.Column("mac", sa.Text(), nullable=False),
        sa.Column("host_nic", sa.Text(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("name", sa.Text()),
        sa.Column("name_source", sa.Text()),
        sa.Column("guest_mac", sa.Text()),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("reachable", sa.Boolean(), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.Column("candidates", sa.Text(), nullable=False),
        sa.Column("addresses", sa.Text(), nullable=False),
        sa.Column("stack", sa.Text(), nullable=False),
        sa.CheckConstraint("to_at IS NULL OR to_at >= from_at", name=op.f("ck_spans_ends_after_start")),
        sa.ForeignKeyConstraint(
            ["host", "vm_uuid", "nic_id"], ["nics.host", "nics.vm_uuid", "nics.id"], name="fk_spans_nics"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_spans"),
        sqlite_autoincrement=True,
    )
    _create_indexes_of_past()


def _create_indexes_of_past() -> None:
    op.create_index(
        "ix_spans_open",
        "spans",
        ["host", "vm_uuid", "nic_id"],
        unique=True,
        sqlite_where=_OPEN,
        postgresql_where=_OPEN,
    )
    op.create_index(
        "ix_spans_name",
        "spans",
        ["host", "vm_uuid", "name", "to_at"],
        sqlite_where=_ENDED,
        postgresql_where=_ENDED,
    )
    op.create_index("ix_spans_ended", "spans", ["host", "to_at"], sqlite_where=_ENDED, postgresql_where=_ENDED)
    op.create_index("ix_spans_vm_time", "spans", ["host", "vm_uuid", "from_at", "id"])
    op.create_index("ix_spans_nic_time", "spans", ["host", "vm_uuid", "nic_id", "from_at", "id"])


def _create_feed() -> None:
    op.create_table(
        "changes",
        sa.Column("id", _NUMBER, sa.Identity(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("vm_uuid", sa.Text(), nullable=False),
        sa.Column("vm_name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("sentence", sa.Text(), nullable=False),
        sa.Column("nic_id", sa.Text()),
        sa.Column("mac", sa.Text()),
        sa.Column("alias", sa.Text()),
        sa.Column("old", sa.Text()),
        sa.Column("new", sa.Text()),
        sa.Column("details", sa.Text(), nullable=False),
        sa.UniqueConstraint("host", "id", name="uq_changes_host_id"),
        sa.PrimaryKeyConstraint("id", name="pk_changes"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_changes_vm", "changes", ["host", "vm_uuid", "id"])
    op.create_index("ix_changes_at", "changes", ["host", "at"])
    op.create_table(
        "feed_marks",
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pruned_to", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("host", name="pk_feed_marks"),
    )


def downgrade() -> None:
    for table in ("sightings", "feed_marks", "changes", "spans", "nics", "vms"):
        op.drop_table(table)
