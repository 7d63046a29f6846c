"""The tables, as SQLAlchemy Core sees them today; the same on SQLite and PostgreSQL.

Not for creating a database: that is the migrations' work (``schema.upgrade``), and a test holds the two together.

Times are whole microseconds since 1970 in UTC: one spelling in every database, and equality survives. JSON is text, not
JSONB: JSONB refuses NUL characters, which a hostile workflow may return, and one such row would block its whole group.
"""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    }
)

# SQLite uses a partial index only if its condition stands in the query letter by letter, so both take it from here.
IS_FINAL = sa.text("final")
IS_NOT_FINAL = sa.text("NOT final")
IS_OPEN = sa.text("closed_at IS NULL")
IS_NOT_RELEASED = sa.text("released_at IS NULL")


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False)


def _integer(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, nullable=False)


def _instant(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=nullable)


def _of_batch() -> sa.Column[str]:
    return sa.Column("batch_id", sa.Text, sa.ForeignKey("batches.id"), primary_key=True)


# One short row a batch: it is written by every commit, so nothing long may stand in it.
batches = sa.Table(
    "batches",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    _text("name"),
    _text("spec_digest"),
    _text("base"),
    _integer("total"),
    _instant("accepted_at"),
    _instant("deadline_at"),
    _text("phase"),
    _text("reason"),
    _text("message"),
    _instant("started_at", nullable=True),
    _instant("completed_at", nullable=True),
    _integer("epoch"),
    _text("audit_head"),
    _integer("audit_entries"),
    _integer("audit_dropped"),
    _integer("audit_retention_days"),
    _instant("audit_pruned_at", nullable=True),
)
sa.Index("ix_batches_newest", batches.c.accepted_at, batches.c.id)
sa.Index("ix_batches_name_newest", batches.c.name, batches.c.accepted_at, batches.c.id)

documents = sa.Table(
    "documents",
    metadata,
    _of_batch(),
    _text("spec"),
    sa.Column("status", sa.Text),
)

sessions = sa.Table(
    "sessions",
    metadata,
    _of_batch(),
    sa.Column("epoch", sa.Integer, primary_key=True, autoincrement=False),
    _text("host"),
    _integer("pid"),
    _text("started"),
    _instant("opened_at"),
    _instant("heartbeat_at"),
    _instant("closed_at", nullable=True),
    sa.Column("close_reason", sa.Text),
)
sa.Index("ix_sessions_open", sessions.c.batch_id, sessions.c.epoch, sqlite_where=IS_OPEN, postgresql_where=IS_OPEN)

attempts = sa.Table(
    "attempts",
    metadata,
    _of_batch(),
    sa.Column("ordinal", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("attempt", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("final", sa.Boolean, nullable=False),
    _text("trial_id"),
    _text("combination"),
    _text("case_name"),
    _integer("repeat"),
    _integer("epoch"),
    _text("outcome"),
    _text("reason"),
    _text("message"),
    _instant("started_at"),
    _instant("ended_at"),
    sa.Column("duration_seconds", sa.Double, nullable=False),
    sa.Column("score", sa.Double),
    sa.Column("weight", sa.Double, nullable=False),
    _text("metrics"),
    _text("scores"),
    _text("boundaries"),
    sa.Column("output", sa.Text),
    _text("output_digest"),
    _text("thread_id"),
    _text("worker"),
)
sa.Index(
    "uq_attempts_final",
    attempts.c.batch_id,
    attempts.c.ordinal,
    unique=True,
    sqlite_where=IS_FINAL,
    postgresql_where=IS_FINAL,
)
# "final" is in it although it is always true there: SQLite asks it again, and would read every row for that.
sa.Index(
    "ix_attempts_final_outcome",
    attempts.c.batch_id,
    attempts.c.outcome,
    attempts.c.ordinal,
    attempts.c.final,
    sqlite_where=IS_FINAL,
    postgresql_where=IS_FINAL,
)
sa.Index(
    "ix_attempts_open",
    attempts.c.batch_id,
    attempts.c.ordinal,
    attempts.c.attempt,
    sqlite_where=IS_NOT_FINAL,
    postgresql_where=IS_NOT_FINAL,
)

audit_entries = sa.Table(
    "audit_entries",
    metadata,
    _of_batch(),
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
    _instant("at"),
    _text("type"),
    _text("severity"),
    _text("message"),
    _integer("epoch"),
    _text("trial_id"),
    _integer("attempt"),
    _text("source"),
    _text("details"),
    _text("previous"),
    _text("hash"),
)

# -- what only an operator keeps -----------------------------------------------------------------------------------

# One row: which operator may write. Every transaction of an operator looks at it first.
leadership = sa.Table(
    "leadership",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    _integer("epoch"),
    _text("holder"),
    _instant("taken_at"),
)

settings = sa.Table("settings", metadata, sa.Column("name", sa.Text, primary_key=True), _text("value"))

cluster_batches = sa.Table(
    "cluster_batches",
    metadata,
    _of_batch(),
    _text("namespace"),
    _text("name"),
    sa.Column("uid", sa.Text, nullable=False),
)
sa.Index("uq_cluster_batches_uid", cluster_batches.c.uid, unique=True)
sa.Index("ix_cluster_batches_name", cluster_batches.c.namespace, cluster_batches.c.name)

environments = sa.Table(
    "environments",
    metadata,
    _of_batch(),
    sa.Column("attempt", sa.Integer, primary_key=True, autoincrement=False),
    _text("provider"),
    _text("name"),
    _text("state"),
    _instant("requested_at"),
    _instant("ready_at", nullable=True),
    _instant("started_at", nullable=True),
    _instant("heard_at", nullable=True),
    _instant("ended_at", nullable=True),
    _instant("released_at", nullable=True),
    _integer("segments"),
    _integer("finished_at_start"),
    _text("identity"),
    _text("reason"),
    _text("message"),
    sa.Column("done_stop", sa.Text),
)
sa.Index(
    "ix_environments_held",
    environments.c.batch_id,
    sqlite_where=IS_NOT_RELEASED,
    postgresql_where=IS_NOT_RELEASED,
)

# The entries whose Kubernetes event is still to be posted; a row goes when it is.
outbox = sa.Table(
    "outbox",
    metadata,
    _of_batch(),
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
    _instant("created_at"),
    _integer("tries"),
    _instant("next_at"),
    sa.Column("parked", sa.Boolean, nullable=False),
    _text("last_error"),
)
sa.Index("ix_outbox_created", outbox.c.parked, outbox.c.created_at, outbox.c.batch_id, outbox.c.seq)

mirrored = sa.Table("mirrored", metadata, sa.Column("key", sa.Text, primary_key=True), _instant("seen_at"))
sa.Index("ix_mirrored_seen_at", mirrored.c.seen_at)

watch_positions = sa.Table("watch_positions", metadata, sa.Column("kind", sa.Text, primary_key=True), _text("position"))
