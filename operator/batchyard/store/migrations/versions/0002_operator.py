"""Add what an operator keeps: leadership, BatchTests, places, the outbox and mirrored events."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the tables; nothing that is there changes."""
    op.create_table(
        "leadership",
        sa.Column("id", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("taken_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_leadership"),
    )
    op.create_table(
        "settings",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_settings"),
    )
    _create_cluster_batches()
    _create_environments()
    _create_outbox()
    op.create_table(
        "mirrored",
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("seen_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_mirrored"),
    )
    op.create_index("ix_mirrored_seen_at", "mirrored", ["seen_at"])
    op.create_table(
        "watch_positions",
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("position", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("kind", name="pk_watch_positions"),
    )


def _create_cluster_batches() -> None:
    op.create_table(
        "cluster_batches",
        sa.Column("batch_id", sa.Text, nullable=False),
        sa.Column("namespace", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("uid", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("batch_id", name="pk_cluster_batches"),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"], name="fk_cluster_batches_batches"),
    )
    op.create_index("uq_cluster_batches_uid", "cluster_batches", ["uid"], unique=True)
    op.create_index("ix_cluster_batches_name", "cluster_batches", ["namespace", "name"])


def _create_environments() -> None:
    op.create_table(
        "environments",
        sa.Column("batch_id", sa.Text, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("requested_at", sa.BigInteger, nullable=False),
        sa.Column("ready_at", sa.BigInteger),
        sa.Column("started_at", sa.BigInteger),
        sa.Column("heard_at", sa.BigInteger),
        sa.Column("ended_at", sa.BigInteger),
        sa.Column("released_at", sa.BigInteger),
        sa.Column("segments", sa.Integer, nullable=False),
        sa.Column("finished_at_start", sa.Integer, nullable=False),
        sa.Column("identity", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("done_stop", sa.Text),
        sa.PrimaryKeyConstraint("batch_id", "attempt", name="pk_environments"),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"], name="fk_environments_batches"),
    )
    held = sa.text("released_at IS NULL")
    op.create_index("ix_environments_held", "environments", ["batch_id"], sqlite_where=held, postgresql_where=held)


def _create_outbox() -> None:
    op.create_table(
        "outbox",
        sa.Column("batch_id", sa.Text, nullable=False),
        sa.Column("seq", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("next_at", sa.BigInteger, nullable=False),
        sa.Column("parked", sa.Boolean, nullable=False),
        sa.Column("last_error", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("batch_id", "seq", name="pk_outbox"),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"], name="fk_outbox_batches"),
    )
    op.create_index("ix_outbox_created", "outbox", ["parked", "created_at", "batch_id", "seq"])
