"""The way in: from a path or URL to a store that is ready.

Not for any detail of connecting (``connect``) or of the schema (``schema``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchyard.store import schema
from batchyard.store.connect import make_engine, parse_target
from batchyard.store.sql import SqlStore

if TYPE_CHECKING:
    from batchyard.store.cluster import SqlClusterStore


def open_store(target: str, *, upgrade: bool = True) -> SqlStore:
    """Return the store at a path, ``sqlite:///PATH`` or ``postgresql://USER:PASSWORD@HOST/DATABASE``.

    With ``upgrade`` the schema (and a SQLite file with its folders) is created or brought up to date first; without, an
    outdated schema is refused. Raises ``StoreError``, ``SchemaTooNew``; no text of theirs holds a password.
    """
    engine = make_engine(parse_target(target))
    try:
        if upgrade:
            schema.upgrade(engine)
        else:
            schema.check(engine)
    except BaseException:
        engine.dispose()
        raise
    return SqlStore(engine)


def open_cluster_store(target: str) -> SqlClusterStore:
    """Return an operator's store, made or brought up to date first. Raises as ``open_store`` does."""
    # Not needed by what runs on a laptop.
    from batchyard.store.cluster import SqlClusterStore

    return SqlClusterStore(open_store(target).engine)
