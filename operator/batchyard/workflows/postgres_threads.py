"""Threads kept in PostgreSQL as LangGraph's own PostgresSaver keeps them, so that any LangGraph tool can read them.

A thread is copied there once its run is over, all of it or nothing, and comes back as the piece of a checkpoint file
that ``thread_copy`` makes. Nothing here tells the database's URL: libpq quotes it in some of its errors, so only what
the server said, or the error's name, is passed on. Not for where a worker's own checkpoints are (``checkpoints``).
"""

from __future__ import annotations

import threading
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import psycopg
from langgraph.checkpoint.base import WRITES_IDX_MAP
from langgraph.checkpoint.postgres import PostgresSaver
from psycopg.rows import DictRow, dict_row

from batchyard.model.errors import CheckpointsUnavailable, NotKept
from batchyard.model.execution import CheckpointNotFound
from batchyard.workflows.checkpoints import RECORDER_KEY, SqliteCheckpoints
from batchyard.workflows.thread_copy import export_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from langchain_core.runnables import RunnableConfig
    from langgraph.checkpoint.base import Checkpoint

    from batchyard.decide.forking import ForkPoint

_NODES, _UPCOMING = "batchyard_nodes", "batchyard_upcoming"
"""Where a checkpoint's metadata has which nodes led to it and which ran, or would have run, next."""

_LOCK = 0x42595448  # "BYTH": who holds it makes the tables
_CONNECT_SECONDS = 10
_SET_UP_SECONDS = 60.0
_LOOK_SECONDS = 0.1
_STATEMENT_MILLISECONDS = 60_000
_EXPIRED_AT_ONCE = 200

_TABLE = """
CREATE TABLE IF NOT EXISTS batchyard_threads (
    thread_id TEXT PRIMARY KEY, batch_id TEXT NOT NULL, bytes BIGINT NOT NULL,
    kept_at TIMESTAMPTZ NOT NULL DEFAULT now(), expires_at TIMESTAMPTZ NOT NULL)
"""
_INDEX = "CREATE INDEX IF NOT EXISTS batchyard_threads_{0} ON batchyard_threads ({0})"
_BYTES = """
SELECT (SELECT coalesce(sum(pg_column_size(checkpoint) + pg_column_size(metadata)), 0)
        FROM checkpoints WHERE thread_id = %(thread)s)
     + (SELECT coalesce(sum(octet_length(blob)), 0) FROM checkpoint_blobs WHERE thread_id = %(thread)s)
     + (SELECT coalesce(sum(octet_length(blob)), 0) FROM checkpoint_writes WHERE thread_id = %(thread)s) AS bytes,
       (SELECT coalesce(sum(bytes), 0) FROM batchyard_threads
        WHERE batch_id = %(batch)s AND thread_id <> %(thread)s) AS kept
"""
_NOTE = """
INSERT INTO batchyard_threads (thread_id, batch_id, bytes, expires_at)
VALUES (%s, %s, %s, now() + make_interval(days => %s))
ON CONFLICT (thread_id) DO UPDATE SET bytes = excluded.bytes, kept_at = now(), expires_at = excluded.expires_at
"""
_EXPIRED = "SELECT thread_id FROM batchyard_threads WHERE expires_at < now() ORDER BY expires_at LIMIT %s"
_WRITES = """
SELECT task_id, task_path, channel, type, blob FROM checkpoint_writes
WHERE thread_id = %s AND checkpoint_ns = %s AND checkpoint_id = %s ORDER BY task_path, task_id, idx
"""


@dataclass(frozen=True, slots=True)
class Keeping:
    """How long a batch's threads are kept, and how much of them in all."""

    batch_id: str
    days: int
    max_bytes: int


class PostgresThreads:
    """Keeps threads in one database. Each call opens a connection of its own, and may be made again."""

    def __init__(self, url: str, keeping: Keeping) -> None:
        """``url`` is what libpq takes; it is not looked at before the first call."""
        self._url, self._keeping = url, keeping

    def keep(self, thread_id: str, piece: bytes) -> None:
        """Copy a thread, in place of what the database has of it.

        Raises ``CheckpointsUnavailable``; ``NotKept`` if the batch has kept as much as it may; ``StoreError`` if the
        piece is damaged.
        """
        keeping = self._keeping
        with TemporaryDirectory(prefix="batchyard-") as folder, self._saver() as saver, saver.conn.transaction():
            path = Path(folder) / "thread.db"
            path.write_bytes(piece)
            saver.delete_thread(thread_id)
            with closing(SqliteCheckpoints(path)) as source:
                _copy(source, saver, thread_id)
            row = saver.conn.execute(_BYTES, {"thread": thread_id, "batch": keeping.batch_id}).fetchone()
            size, kept = (int(row["bytes"]), int(row["kept"])) if row else (0, 0)
            if kept + size > keeping.max_bytes:
                raise NotKept(
                    f"the batch has kept {kept:,} bytes of the {keeping.max_bytes:,} that it may, and this thread has "
                    f"{size:,}; raise spec.checkpoints.keepLimit"
                )
            saver.conn.execute(_NOTE, (thread_id, keeping.batch_id, size, keeping.days))

    def fetch(self, point: ForkPoint) -> bytes:
        """Return a thread up to a checkpoint as a piece of a checkpoint file.

        Raises ``CheckpointsUnavailable``, and ``CheckpointNotFound`` if it is not kept, or not any more.
        """
        thread_id, checkpoint = point.thread_id, point.checkpoint
        with self._saver() as saver, TemporaryDirectory(prefix="batchyard-") as folder:
            path = Path(folder) / "thread.db"
            with closing(SqliteCheckpoints(path)) as target:
                _copy_back(saver, target, thread_id, checkpoint)
            return export_thread(path, thread_id, checkpoint)

    def tidy(self) -> None:
        """Delete the threads of all batches whose time is over. Raises ``CheckpointsUnavailable``."""
        with self._saver() as saver:
            while rows := saver.conn.execute(_EXPIRED, (_EXPIRED_AT_ONCE,)).fetchall():
                threads = [row["thread_id"] for row in rows]
                with saver.conn.transaction():
                    saver.prune(threads, strategy="delete")
                    saver.conn.execute("DELETE FROM batchyard_threads WHERE thread_id = ANY(%s)", (threads,))

    @contextmanager
    def _saver(self) -> Iterator[_Saver]:
        try:
            with psycopg.connect(
                self._url, autocommit=True, prepare_threshold=0, row_factory=dict_row, connect_timeout=_CONNECT_SECONDS
            ) as connection:
                saver = _Saver(connection)
                _set_up(saver)
                connection.execute(f"SET statement_timeout = {_STATEMENT_MILLISECONDS}")
                yield saver
        except psycopg.Error as error:
            # Without its cause: libpq repeats in some texts what it was given, and that has the password.
            raise CheckpointsUnavailable(
                f"the PostgreSQL of spec.checkpoints.postgres did not do what was asked: {_said(error)}; "
                "look at its server, and at the URL in the Secret"
            ) from None


class _Saver(PostgresSaver):
    """LangGraph's saver on one connection."""

    conn: psycopg.Connection[DictRow]


class _Replay:
    """Stands for the recorder of a run that is over: says which nodes led to the checkpoint that is put."""

    culprits: dict[str, str] = {}  # noqa: RUF012 - never written: what was stored once can be stored again
    idle = False

    def __init__(self, nodes: str) -> None:
        self._nodes = nodes

    def ran_in(self, _step: int) -> str:
        return self._nodes

    def stored(self, _step: int, _checkpoint: str) -> None:
        """Nobody asks."""


def _said(error: psycopg.Error) -> str:
    told = error.diag.message_primary
    return f"{type(error).__name__}: {told}" if told else f"{type(error).__name__}, no connection"


def _set_up(saver: _Saver) -> None:
    """Make the tables once, whoever comes first; the others look again and again.

    They must not wait for the lock: LangGraph makes indexes ``CONCURRENTLY``, which waits for all who wait in a
    statement, and so for each other.
    """
    connection, tries = saver.conn, int(_SET_UP_SECONDS / _LOOK_SECONDS)
    for _ in range(tries):
        if _is_set_up(saver):
            return
        row = connection.execute("SELECT pg_try_advisory_lock(%s) AS taken", (_LOCK,)).fetchone()
        if row is not None and row["taken"]:
            try:
                saver.setup()
                connection.execute(_TABLE)
                for column in ("batch_id", "expires_at"):
                    connection.execute(_INDEX.format(column))
            finally:
                connection.execute("SELECT pg_advisory_unlock(%s)", (_LOCK,))
            return
        threading.Event().wait(_LOOK_SECONDS)
    raise CheckpointsUnavailable(
        f"another process has been making the tables for kept checkpoints for {_SET_UP_SECONDS:.0f} s; see what holds "
        "it up in pg_stat_activity"
    )


def _is_set_up(saver: _Saver) -> bool:
    tables = saver.conn.execute(
        "SELECT to_regclass('checkpoint_migrations') IS NOT NULL "
        "AND to_regclass('batchyard_threads') IS NOT NULL AS made"
    ).fetchone()
    if tables is None or not tables["made"]:
        return False
    newest = saver.conn.execute("SELECT max(v) AS v FROM checkpoint_migrations").fetchone()
    return newest is not None and newest["v"] is not None and int(newest["v"]) >= len(saver.MIGRATIONS) - 1


def _copy(source: SqliteCheckpoints, target: _Saver, thread_id: str) -> None:
    stored: set[tuple[str, str, object]] = set()
    upcoming = {milestone.id: milestone.next for milestone in source.history(thread_id)}
    for found, row, writes in source.stored(thread_id):
        ns, checkpoint = found.config["configurable"]["checkpoint_ns"], _counted_by(_as_text, found.checkpoint)
        versions = checkpoint["channel_versions"].items()
        new = {channel: version for channel, version in versions if (ns, channel, version) not in stored}
        stored.update((ns, channel, version) for channel, version in new.items())
        metadata: Any = {**found.metadata}
        if row.nodes:
            metadata[_NODES] = row.nodes
        if not ns and checkpoint["id"] in upcoming:
            metadata[_UPCOMING] = list(upcoming[checkpoint["id"]])
        at = target.put(_config(thread_id, ns, row.parent), checkpoint, metadata, new)
        for task, path, values in writes:
            target.put_writes(at, values, task, path)


def _copy_back(source: _Saver, target: SqliteCheckpoints, thread_id: str, checkpoint: str) -> None:
    rows = source.conn.execute(
        "SELECT checkpoint_ns, checkpoint_id FROM checkpoints WHERE thread_id = %s AND checkpoint_id <= %s "
        "ORDER BY checkpoint_id",
        (thread_id, checkpoint),
    ).fetchall()
    if all((row["checkpoint_ns"], row["checkpoint_id"]) != ("", checkpoint) for row in rows):
        raise CheckpointNotFound(
            f"thread {thread_id} is not kept, or not any more, up to checkpoint {checkpoint}; see spec.checkpoints of "
            "the batch it is of, and the messages of its trials"
        )
    for row in rows:
        ns, id_ = row["checkpoint_ns"], row["checkpoint_id"]
        found = source.get_tuple(_config(thread_id, ns, id_))
        if found is None:
            continue
        metadata: Any = {**found.metadata}
        nodes, upcoming = metadata.pop(_NODES, ""), metadata.pop(_UPCOMING, None)
        parent = found.parent_config["configurable"]["checkpoint_id"] if found.parent_config else None
        config = _config(thread_id, ns, parent)
        config["configurable"][RECORDER_KEY] = _Replay(nodes)
        at = target.put(config, _counted_by(_as_number, found.checkpoint), metadata, {})
        for task, path, values in _writes_on(source, thread_id, ns, id_):
            target.put_writes(at, values, task, path)
        if upcoming is not None and id_ == checkpoint:
            target.note_upcoming(thread_id, id_, upcoming)


def _writes_on(saver: _Saver, thread_id: str, ns: str, id_: str) -> Iterator[tuple[str, str, list[tuple[str, Any]]]]:
    rows = saver.conn.execute(_WRITES, (thread_id, ns, id_)).fetchall()

    def group(row: Mapping[str, Any]) -> tuple[str, str, bool]:
        return row["task_path"], row["task_id"], row["channel"] in WRITES_IDX_MAP

    for (path, task, _), members in groupby(rows, group):
        values = [(row["channel"], saver.serde.loads_typed((row["type"], row["blob"]))) for row in members]
        yield task, path, values


def _config(thread_id: str, ns: str, id_: str | None) -> RunnableConfig:
    return {"configurable": {"thread_id": thread_id, "checkpoint_ns": ns, "checkpoint_id": id_}}


def _counted_by(convert: Callable[[object], str | int], checkpoint: Checkpoint) -> Checkpoint:
    """Return a checkpoint with each version of its channels converted."""
    counted: Any = {
        **checkpoint,
        "channel_versions": {channel: convert(version) for channel, version in checkpoint["channel_versions"].items()},
        "versions_seen": {
            node: {channel: convert(version) for channel, version in seen.items()}
            for node, seen in checkpoint["versions_seen"].items()
        },
    }
    made: Checkpoint = counted
    return made


def _as_text(version: object) -> str:
    """Return a channel's version as PostgresSaver counts on from it: with numbers it would mix two kinds."""
    return version if isinstance(version, str) else f"{version:032}.{0:016}"


def _as_number(version: object) -> int:
    return int(str(version).partition(".")[0])
