"""Create batches, documents, sessions, attempts and audit entries, and make the trail append-only."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create every table, then the triggers."""
    _create_batches()
    _create_sessions()
    _create_attempts()
    _create_audit_entries()
    triggers = _SQLITE_TRIGGERS if op.get_bind().dialect.name == "sqlite" else _POSTGRESQL_TRIGGERS
    for statement in triggers:
        op.execute(statement)


def _create_batches() -> None:
    op.create_table(
        "batches",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("spec_digest", sa.Text, nullable=False),
        sa.Column("base", sa.Text, nullable=False),
        sa.Column("total", sa.Integer, nullable=False),
        sa.Column("accepted_at", sa.BigInteger, nullable=False),
        sa.Column("deadline_at", sa.BigInteger, nullable=False),
        sa.Column("phase", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("started_at", sa.BigInteger),
        sa.Column("completed_at", sa.BigInteger),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("audit_head", sa.Text, nullable=False),
        sa.Column("audit_entries", sa.Integer, nullable=False),
        sa.Column("audit_dropped", sa.Integer, nullable=False),
        sa.Column("audit_retention_days", sa.Integer, nullable=False),
        sa.Column("audit_pruned_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_batches"),
    )
    op.create_index("ix_batches_newest", "batches", ["accepted_at", "id"])
    op.create_index("ix_batches_name_newest", "batches", ["name", "accepted_at", "id"])
    op.create_table(
        "documents",
        sa.Column("batch_id", sa.Text, nullable=False),
        sa.Column("spec", sa.Text, nullable=False),
        sa.Column("status", sa.Text),
        sa.PrimaryKeyConstraint("batch_id", name="pk_documents"),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"], name="fk_documents_batches"),
    )


def _create_sessions() -> None:
    op.create_table(
        "sessions",
        sa.Column("batch_id", sa.Text, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("started", sa.Text, nullable=False),
        sa.Column("opened_at", sa.BigInteger, nullable=False),
        sa.Column("heartbeat_at", sa.BigInteger, nullable=False),
        sa.Column("closed_at", sa.BigInteger),
        sa.Column("close_reason", sa.Text),
        sa.PrimaryKeyConstraint("batch_id", "epoch", name="pk_sessions"),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"], name="fk_sessions_batches"),
    )
    _create_partial_index("ix_sessions_open", "sessions", ["batch_id", "epoch"], "closed_at IS NULL")


def _create_attempts() -> None:
    op.create_table(
        "attempts",
        sa.Column("batch_id", sa.Text, nullable=False),
        sa.Column("ordinal", sa.Integer, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("final", sa.Boolean, nullable=False),
        sa.Column("trial_id", sa.Text, nullable=False),
        sa.Column("combination", sa.Text, nullable=False),
        sa.Column("case_name", sa.Text, nullable=False),
        sa.Column("repeat", sa.Integer, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("started_at", sa.BigInteger, nullable=False),
        sa.Column("ended_at", sa.BigInteger, nullable=False),
        sa.Column("duration_seconds", sa.Double, nullable=False),
        sa.Column("score", sa.Double),
        sa.Column("weight", sa.Double, nullable=False),
        sa.Column("metrics", sa.Text, nullable=False),
        sa.Column("scores", sa.Text, nullable=False),
        sa.Column("boundaries", sa.Text, nullable=False),
        sa.Column("output", sa.Text),
        sa.Column("output_digest", sa.Text, nullable=False),
        sa.Column("thread_id", sa.Text, nullable=False),
        sa.Column("worker", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("batch_id", "ordinal", "attempt", name="pk_attempts"),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"], name="fk_attempts_batches"),
    )
    _create_partial_index("uq_attempts_final", "attempts", ["batch_id", "ordinal"], "final", unique=True)
    _create_partial_index("ix_attempts_final_outcome", "attempts", ["batch_id", "outcome", "ordinal", "final"], "final")
    _create_partial_index("ix_attempts_open", "attempts", ["batch_id", "ordinal", "attempt"], "NOT final")


def _create_audit_entries() -> None:
    op.create_table(
        "audit_entries",
        sa.Column("batch_id", sa.Text, nullable=False),
        sa.Column("seq", sa.Integer, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("severity", sa.Text, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("trial_id", sa.Text, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("details", sa.Text, nullable=False),
        sa.Column("previous", sa.Text, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("batch_id", "seq", name="pk_audit_entries"),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"], name="fk_audit_entries_batches"),
    )


def _create_partial_index(name: str, table: str, columns: list[str], where: str, *, unique: bool = False) -> None:
    condition = sa.text(where)
    op.create_index(name, table, columns, unique=unique, sqlite_where=condition, postgresql_where=condition)


# The only way to delete entries is to mark their batch as pruned first, in the same transaction.
_SQLITE_TRIGGERS = (
    """
    CREATE TRIGGER audit_entries_keep BEFORE UPDATE ON audit_entries
    BEGIN SELECT RAISE(ABORT, 'audit entries are append-only'); END
    """,
    """
    CREATE TRIGGER audit_entries_stay BEFORE DELETE ON audit_entries
    WHEN NOT EXISTS (SELECT 1 FROM batches WHERE id = OLD.batch_id AND audit_pruned_at IS NOT NULL)
    BEGIN SELECT RAISE(ABORT, 'audit entries are append-only'); END
    """,
)

_POSTGRESQL_TRIGGERS = (
    """
    CREATE FUNCTION audit_entries_guard() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      IF TG_OP = 'DELETE' THEN
        IF EXISTS (SELECT 1 FROM batches WHERE id = OLD.batch_id AND audit_pruned_at IS NOT NULL) THEN
          RETURN OLD;
        END IF;
      END IF;
      RAISE EXCEPTION 'audit entries are append-only';
    END $$
    """,
    """
    CREATE TRIGGER audit_entries_keep BEFORE UPDATE OR DELETE ON audit_entries
    FOR EACH ROW EXECUTE FUNCTION audit_entries_guard()
    """,
    """
    CREATE TRIGGER audit_entries_stay BEFORE TRUNCATE ON audit_entries
    FOR EACH STATEMENT EXECUTE FUNCTION audit_entries_guard()
    """,
)
