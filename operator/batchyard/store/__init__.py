"""Where batches, results and audit trails are kept: SQLite in a file, or PostgreSQL by URL."""

from batchyard.store.opening import open_store
from batchyard.store.sql import SqlStore
from batchyard.store.writer import GroupCommitWriter

__all__ = ["GroupCommitWriter", "SqlStore", "open_store"]
