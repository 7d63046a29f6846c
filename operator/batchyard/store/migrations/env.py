"""Alembic's entry point: runs the versions on the connection, and in the transaction, that ``schema.upgrade`` opened.

Not for offline mode or a command line of its own: the lock and the checks live in ``schema.upgrade``.
"""

from __future__ import annotations

from alembic import context

from batchyard.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite knows few ALTERs; a later version rebuilds the table instead.
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
